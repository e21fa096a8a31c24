"""A training level as one compiled program, run in chunks.

The trip count is traced, so one executable serves chunks of any length; keys and minibatches are
functions of (train seed, level, step), so a level that is stopped and resumed is bit-identical to one
that was not. The host is touched only between chunks.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from landscape.compute import program
from landscape.errors import ConfigurationError
from trainers.training.protocol import Step, Trainer
from trainers.training.shuffle import shuffled_positions

PyTree = Any


class Carry(NamedTuple):
    """The carry of a chunk: its input and its output.

    Attributes
    ----------
    state : pytree
        The trainer's State.
    record : dict of arrays [T, S]
        The trainer's Info at every step so far, zero afterwards.
    """

    state: PyTree
    record: dict[str, jax.Array]


class Level(NamedTuple):
    """What stays the same during a level.

    Attributes
    ----------
    keys : PRNG keys [S]
        One per replicate, from its train seed and the level.
    trunk_keys : PRNG keys [S]
        What a replicate uses instead before step `branch_steps` [S].
    branch_steps : int array [S]
        Steps that a replicate shares with another; 0 for none.
    mask : bool array [S, n]
        Free entries.
    constants : pytree
        The trainer's constants.
    """

    keys: jax.Array
    trunk_keys: jax.Array
    branch_steps: jax.Array
    mask: jax.Array
    constants: PyTree


class Engine:
    """Runs a trainer over minibatches of arrays on the device.

    Parameters
    ----------
    trainer : Trainer
        What a step does.
    arrays : pytree of arrays [N, …]
        The training split, on the device.
    episodes : bool
        Whether examples are episodes, for whose long loops programs are compiled in another way.

    Raises
    ------
    ConfigurationError
        If a batch is larger than the data.
    """

    def __init__(self, trainer: Trainer, arrays: PyTree, *, episodes: bool = False) -> None:
        self.trainer = trainer
        self.arrays = arrays
        self.num_examples = int(jax.tree.leaves(arrays)[0].shape[0])
        if trainer.batch_size > self.num_examples:
            raise ConfigurationError(
                "batch_size: larger than the training data",
                expected=f"at most {self.num_examples:,} examples",
                got=f"{trainer.batch_size:,}",
                hint="Lower evolution.batch_size or gradient.batch_size.",
            )
        self.steps_per_epoch = self.num_examples // trainer.batch_size
        self._chunk = program(self._run, episodes=episodes, donate_argnums=0)

    @property
    def num_compilations(self) -> int:
        """How many executables the engine has built."""
        return int(self._chunk._cache_size())

    def level(
        self,
        train_seeds: list[int],
        level: int,
        mask: np.ndarray,
        *,
        branches: list[tuple[int, int]] | None = None,
    ) -> Level:
        """Return what stays fixed during `level`.

        Parameters
        ----------
        train_seeds : list of int
            One per replicate.
        level : int
            From 0.
        mask : bool array [S, n]
            Must free equally many entries in every row.
        branches : list of (int, int), optional
            (train seed, steps) of each replicate's trunk: for these steps it trains as that seed does.
        """
        trunks = branches or [(seed, 0) for seed in train_seeds]
        keys, trunk_keys = (
            jnp.stack([jax.random.fold_in(jax.random.key(seed), level) for seed in seeds])
            for seeds in (train_seeds, [seed for seed, _ in trunks])
        )
        free = {int(row.sum()) for row in mask}
        if len(free) != 1:
            raise ConfigurationError(
                "masks of one level free different numbers of weights", got=f"{sorted(free)}"
            )
        steps = jnp.asarray([step for _, step in trunks], jnp.int32)
        return Level(keys, trunk_keys, steps, jnp.asarray(mask), self.trainer.constants(free.pop()))

    def start(self, level: Level, mean: np.ndarray) -> Carry:
        """Return the carry before the first step, from initial vectors `mean` [S, n]."""
        branches = np.asarray(level.branch_steps) > 0  # these begin as their trunks do
        keys = jnp.where(branches, level.trunk_keys, level.keys) if branches.any() else level.keys
        state = self.trainer.init(mean, np.asarray(level.mask), level.constants, keys=keys)
        shape = (self.trainer.num_steps, mean.shape[0])
        return Carry(state, {name: jnp.zeros(shape, jnp.float32) for name in self.trainer.info_names})

    def run(self, carry: Carry, level: Level, start: int, stop: int) -> Carry:
        """Return the carry after steps `start` to `stop`; the old one's buffers are given up."""
        result: Carry = self._chunk(carry, level, self.arrays, np.asarray([start, stop], np.int32))
        return result

    def memory_bytes(self, carry: Carry, level: Level) -> int:
        """Return the bytes that the compiled program has laid out on the device, data included."""
        span = np.asarray([0, 1], np.int32)
        found = self._chunk.lower(carry, level, self.arrays, span).compile().memory_analysis()
        if found is None:  # a backend that does not tell: what goes in
            return sum(int(leaf.nbytes) for leaf in jax.tree.leaves((carry, level, self.arrays)))
        held = found.argument_size_in_bytes + found.output_size_in_bytes - found.alias_size_in_bytes
        return int(held + found.temp_size_in_bytes)

    def _run(self, carry: Carry, level: Level, arrays: PyTree, span: jax.Array) -> Carry:
        start, stop = span[0], span[1]

        def minibatch(key: jax.Array, step: jax.Array) -> jax.Array:
            epoch, position = step // self.steps_per_epoch, step % self.steps_per_epoch
            places = position * self.trainer.batch_size + jnp.arange(self.trainer.batch_size)
            return shuffled_positions(jax.random.fold_in(key, epoch), places, self.num_examples)

        def body(step: jax.Array, carry: Carry) -> Carry:
            current = jnp.where(step < level.branch_steps, level.trunk_keys, level.keys)
            index = jax.vmap(lambda key: minibatch(jax.random.fold_in(key, 0), step))(current)
            batch = jax.tree.map(lambda x: x[index], arrays)
            keys = jax.vmap(lambda key: jax.random.fold_in(jax.random.fold_in(key, 1), step))(current)
            state, info = self.trainer.step(carry.state, Step(batch, keys, level.mask, level.constants))
            record = {name: values.at[step].set(info[name]) for name, values in carry.record.items()}
            return Carry(state, record)

        result: Carry = jax.lax.fori_loop(start, stop, body, carry)
        return result


def chunks(
    start: int,
    stop: int,
    *,
    boundary: Callable[[int], int],
    seconds: float,
    run: Callable[[int, int], None],
) -> Iterator[int]:
    """Run steps `start` to `stop` in chunks of about `seconds`; yield the step after each.

    No chunk goes beyond ``boundary(step)``, the next step at which something is to be done. The
    first chunk is short: it pays for compilation and measures the speed.
    """
    step, length, warm = start, 2, False
    while step < stop:
        end = min(stop, step + length, boundary(step))
        began = time.perf_counter()
        run(step, end)
        elapsed = time.perf_counter() - began
        if warm or elapsed < seconds:
            length = max(1, int((end - step) * seconds / max(elapsed, 1e-6)))
        warm = True
        step = end
        yield step
