r"""The loss of every example at mirrored random pairs around a network.

1. *Draw*: pair k has a standard normal vector z in the free coordinates, a function of the seed and of k
   alone. On the sphere it is scaled to the length √n of n free coordinates: each has variance 1 either way.
2. *Mirror*: the network is moved to θ + sσz and θ − sσz, σ the radius and s = 1 or another length.
3. *Subtract*: for every example, the same ones on both sides (common random numbers), the loss there minus
   the loss at θ. Differences are taken example by example, so that they keep their digits in float32.

A free coordinate takes the entry of z with its rank among the free ones: a ticket and the network of its free
weights alone meet the same pairs, and one compiled program serves every sparsity.
"""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from landscape.compute import compile_seconds, device_memory, on_device, precision, program
from landscape.network import Network, Subject, make_subject, network_of
from landscape.problem import Problem, Weighting, example_numbers, problem_for, stated, subset_of
from landscape.results import check_choice, check_real, check_seed
from landscape.trees import Layout

PyTree = Any

GAUSSIAN, SPHERE = "gaussian", "sphere"
FORMS = (GAUSSIAN, SPHERE)
MOST_PAIRS = 64  # of one call
_MOST_VALUES = 4_000_000  # differences held on the device by one call
_PATIENCE = 0.25  # seconds of one call: between two, progress is shown and Ctrl-C is heard


@dataclasses.dataclass(frozen=True)
class Ball:
    """A network and the pairs around it, as the argument of a program."""

    network: Network
    flat: jax.Array  # [size]
    free: jax.Array  # [size], 1 where free
    rank: jax.Array  # [size], of a free coordinate among the free ones
    key: jax.Array
    radius: jax.Array
    layout: Layout
    sphere: bool

    def drawn(self, number: jax.Array) -> jax.Array:
        """Return the vector z [size] of a pair, zero where not free (step 1)."""
        key = jax.random.fold_in(self.key, number)
        z = jax.random.normal(key, self.flat.shape, self.flat.dtype)[self.rank] * self.free
        if not self.sphere:
            return z
        return z * jnp.sqrt(jnp.sum(self.free) / jnp.sum(z**2))

    def point(self, offset: jax.Array) -> PyTree:
        """Return what the loss takes first at an offset [size] (step 2)."""
        return self.network.point(self.layout.split(self.flat + offset))


jax.tree_util.register_dataclass(
    Ball, ["network", "flat", "free", "rank", "key", "radius"], ["layout", "sphere"]
)


class Wanted(NamedTuple):
    """Which pairs: whole numbers, and the length s of each [MOST_PAIRS]."""

    first: Any
    count: Any
    lengths: np.ndarray


class PairPrograms:
    """The compiled functions of one problem, and the seconds that a pair took, by the size of the data."""

    def __init__(self, loss: Any) -> None:
        self.loss = loss
        self.seconds: dict[tuple[int, int], float] = {}
        self.base = program(self._base)
        self.along = program(self._along)
        self.squares = program(_squares)
        self.moments = program(_moments, static_argnames="squared")

    def _base(self, ball: Ball, batch: PyTree) -> jax.Array:
        values: jax.Array = self.loss(ball.point(jnp.zeros_like(ball.flat)), batch)
        return values.astype(ball.flat.dtype)

    def _along(self, ball: Ball, wanted: Wanted, batch: PyTree, base: jax.Array) -> jax.Array:
        """Return the differences [MOST_PAIRS, 2, B] at both points of each pair (step 3), 0 beyond them."""

        def each(row: jax.Array, found: jax.Array) -> jax.Array:
            offset = ball.radius * wanted.lengths[row] * ball.drawn(wanted.first + row.astype(jnp.uint32))
            sides = [self.loss(ball.point(moved), batch).astype(base.dtype) for moved in (offset, -offset)]
            return found.at[row].set(jnp.stack(sides) - base)

        zeros = jnp.zeros((MOST_PAIRS, 2, *base.shape), base.dtype)
        found: jax.Array = lax.fori_loop(0, wanted.count, each, zeros)
        return found


def _squares(ball: Ball, first: jax.Array, count: jax.Array) -> jax.Array:
    """Return ``Σ (z_i² − 1)`` over the free coordinates of each leaf, for each pair [MOST_PAIRS, leaves]."""
    parts = list(ball.layout.slices.values())

    def each(row: jax.Array, found: jax.Array) -> jax.Array:
        off = (ball.drawn(first + row.astype(jnp.uint32)) ** 2 - 1) * ball.free
        return found.at[row].set(jnp.stack([jnp.sum(off[where]) for where in parts]))

    found: jax.Array = lax.fori_loop(0, count, each, jnp.zeros((MOST_PAIRS, len(parts)), ball.flat.dtype))
    return found


def _moments(
    ball: Ball, first: jax.Array, count: jax.Array, weights: jax.Array, *, squared: bool
) -> jax.Array:
    """Return the sums of x, x² and x³ [3, size] over pairs, x = w_k z or, if `squared`, w_k (z² − 1)."""

    def each(row: jax.Array, sums: jax.Array) -> jax.Array:
        z = ball.drawn(first + row.astype(jnp.uint32))
        x = weights[row] * ((z**2 - 1) * ball.free if squared else z)
        return sums + jnp.stack([x, x**2, x**3])

    zeros = jnp.zeros((3, *ball.flat.shape), ball.flat.dtype)
    sums: jax.Array = lax.fori_loop(0, count, each, zeros)
    return sums


class Perturbed:
    """A network, its data, and the pairs around it.

    Attributes
    ----------
    problem, subject, split
        The loss, the network and its data.
    dim : int
        Free coordinates.
    dtype : numpy.dtype
        Of the evaluations.
    radius : float
        Standard deviation of each free coordinate.
    form : {"gaussian", "sphere"}
        Distribution of the pairs.
    count : int
        Examples that count.
    weighting : Weighting
        How much each of them does.
    """

    def __init__(  # noqa: PLR0913  one keyword per setting
        self,
        problem: Problem | None,
        params: Any,
        *,
        radius: float,
        form: str = GAUSSIAN,
        seed: int = 0,
        mask: Any = None,
        where: Any = None,
        split: str = "train",
        subset: Any = None,
        batch_size: int | None = None,
        dtype: str | None = None,
        allow_nonfinite: bool = False,
    ) -> None:
        check_choice("dtype", dtype, (None, "float32", "float64"))
        check_choice("form", form, FORMS)
        self.radius, self.seed, self.form = check_real("radius", radius), check_seed(seed), form
        self.problem = problem_for(problem, params)
        self.subject: Subject = make_subject(
            self.problem, params, mask=mask, where=where, allow_nonfinite=allow_nonfinite
        )
        self.split, self.dtype = split, np.dtype(dtype or "float32")
        self.dim = self.subject.dim
        self._subset = example_numbers(subset)
        self.weighting: Weighting = self.problem.weighting_among(split, self._subset)
        self.count = self.weighting.count
        self.batch_size = min(self.problem.resolve_batch_size(split, batch_size), self.count)
        self.num_evaluations = 0
        self.compile_seconds = 0.0
        self.started = time.perf_counter()
        known = self.problem.__dict__.setdefault("_smoothed_programs", {})
        self.programs: PairPrograms = known.setdefault("loss", PairPrograms(self.problem.loss))
        self._kept: list[tuple[PyTree, jax.Array, int]] | None = None
        with self.computing():
            self.problem.check(self.subject.point)
            self.ball = self._ball()

    def _ball(self) -> Ball:
        layout, free = self.subject.layout, self.subject.is_free
        network = network_of(self.subject, self.dtype)
        flat = np.concatenate([np.asarray(network.leaves[path]).reshape(-1) for path in layout.paths])
        return Ball(
            dataclasses.replace(network, leaves={}),
            on_device(flat),
            on_device(free.astype(self.dtype)),
            on_device(np.where(free, np.cumsum(free) - 1, 0).astype(np.int32)),
            jax.random.key(self.seed),
            on_device(np.asarray(self.radius, self.dtype)),
            layout,
            self.form == SPHERE,
        )

    @contextlib.contextmanager
    def computing(self) -> Iterator[None]:
        """Compute at this precision; memory errors name the batch size, compile times are added up."""
        with precision(self.dtype), device_memory(self.batch_size), compile_seconds() as spent:
            yield
        self.compile_seconds += sum(spent)

    # -- the loss ----------------------------------------------------------------------------------

    def _batches(self) -> Iterator[tuple[PyTree, jax.Array, int]]:
        """Yield (batch of equal sizes, its losses at the network, real examples); the others are copies."""
        if self.problem.is_stream(self.split):
            size, dtype = self.batch_size, self.dtype
            for batch, real in self.problem.stream_batches(self.split, size, dtype=dtype, counted=True):
                yield batch, self.programs.base(self.ball, batch), real
            return
        if self._kept is None:
            self._kept = list(self._cut())
        yield from self._kept

    def _cut(self) -> Iterator[tuple[PyTree, jax.Array, int]]:
        arrays = self.problem.arrays(self.split, dtype=self.dtype)
        arrays = subset_of(arrays, self.weighting.numbers, self.split)
        for start in range(0, self.count, self.batch_size):
            index = np.minimum(np.arange(start, start + self.batch_size), self.count - 1)
            whole = self.batch_size == self.count
            batch = arrays if whole else jax.tree.map(lambda x, i=index: x[i], arrays)
            real = min(self.batch_size, self.count - start)
            yield batch, self.programs.base(self.ball, batch), real

    def loss(self) -> float:
        """Return the mean loss at the network itself."""
        with self.computing():
            parts = [np.asarray(base)[:real] for _, base, real in self._batches()]
        return float(self.weighting.over(np.concatenate(parts)))

    def affordable(self, count: int) -> int:
        """Return how many of these pairs one call should take."""
        pace = self.programs.seconds.get((self.count, self.batch_size))
        patient = 2 if pace is None else max(1, int(_PATIENCE / pace))
        return max(1, min(count, MOST_PAIRS, patient, _MOST_VALUES // (2 * self.batch_size)))

    def rises(self, first: int, count: int, lengths: np.ndarray | None = None) -> np.ndarray:
        """Return by how much the loss of each example grows on both sides of pairs [count, 2, N].

        Parameters
        ----------
        first, count : int
            Which pairs; at most `MOST_PAIRS`.
        lengths : numpy.ndarray [count], optional
            By which z is stretched, 1 unless given.
        """
        stretched = np.ones(MOST_PAIRS, self.dtype)
        stretched[:count] = 1 if lengths is None else lengths
        wanted = Wanted(np.uint32(first), np.int32(count), stretched)
        with self.computing(), compile_seconds() as compiling:
            began = time.perf_counter()
            pending = [
                (self.programs.along(self.ball, wanted, batch, base), real)
                for batch, base, real in self._batches()
            ]
            found = np.concatenate([np.asarray(part)[:count, :, :real] for part, real in pending], axis=2)
            seconds = time.perf_counter() - began
        if not compiling:
            self.programs.seconds[self.count, self.batch_size] = seconds / count
        self.num_evaluations += 2 * count
        return found.astype(np.float64)

    # -- the pairs ---------------------------------------------------------------------------------

    def squares(self, first: int, count: int) -> np.ndarray:
        """Return ``Σ (z_i² − 1)`` over the free coordinates of each leaf [count, leaves], as `rises` does."""
        with self.computing():
            found = self.programs.squares(self.ball, np.uint32(first), np.int32(count))
        return np.asarray(found, np.float64)[:count]

    def moments(self, first: int, weights: np.ndarray, *, squared: bool) -> np.ndarray:
        """Return the sums of x, x² and x³ [3, dim] over pairs from `first` on, x = w_k z or w_k (z² − 1)."""
        largest = float(np.max(np.abs(weights), initial=0.0)) or 1.0  # powers of large ones would overflow
        total = np.zeros((3, self.subject.layout.size))
        with self.computing():
            for start in range(0, len(weights), MOST_PAIRS):
                part, count = np.zeros(MOST_PAIRS, self.dtype), min(MOST_PAIRS, len(weights) - start)
                part[:count] = weights[start : start + count] / largest
                where = np.uint32(first + start), np.int32(count)
                sums = self.programs.moments(self.ball, *where, part, squared=squared)
                total += np.asarray(sums, np.float64)
        gathered: np.ndarray = self.subject.gather(total * largest ** np.arange(1, 4)[:, None])
        return gathered

    def layers(self) -> dict[str, np.ndarray]:
        """Return the coordinates of each leaf, by path."""
        return self.subject.layers()

    def flatten(self, tree: PyTree) -> np.ndarray:
        """Return the free entries [dim] of a tree like the parameters."""
        return self.subject.flatten(tree, self.dtype)

    # -- what results say --------------------------------------------------------------------------

    @property
    def config(self) -> dict[str, Any]:
        """Return the settings that describe network, data and pairs."""
        return {
            "matrix": "smoothed_hessian",
            "radius": self.radius,
            "form": self.form,
            "checkpoint": self.subject.file,
            "problem": self.problem.described,
            "split": self.split,
            "num_examples": self.count,
            "subset": stated(self._subset),
            "batch_size": self.batch_size,
            "dtype": self.dtype.name,
            "masked": self.subject.free is not None,
            "paths": list(self.subject.layout.paths),
            "batch_stats": "none" if self.subject.batch_stats is None else "stored",
        }

    @property
    def stats(self) -> dict[str, Any]:
        """Return counts and seconds."""
        return {
            "num_examples": self.count,
            "num_evaluations": self.num_evaluations,
            "num_matvecs": 0,
            "compile_seconds": self.compile_seconds,
            "seconds": time.perf_counter() - self.started,
            **self.weighting.facts,
        }

    def digests(self) -> dict[str, Any]:
        """Return the digests of parameters and data, and the file of another tool they are from."""
        return self.subject.digests(self.problem, self.split)
