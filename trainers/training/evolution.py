"""Training by evolution strategies: the masked generation of Lange & Sprekeler 2023.

A generation of one search, by the steps of `trainers.strategies`:

1. constants: those of the update rule, for the number of free dimensions; once per level;
2. ask: sample a population, without noise in masked entries;
3. evaluate: mean loss of every member on the minibatch; what is not finite becomes NaN;
4. tell: update mean and standard deviation by the ranks or values of the fitness, decay the mean;
5. settle: put masked entries back, decay and floor the standard deviation;
6. keep the state as it was if the fitness of all members is equal or nowhere finite.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from trainers.config import EvolutionConfig
from trainers.strategies import FACTS, make_strategy
from trainers.training.evaluation import map_replicates
from trainers.training.protocol import Step, strong

PyTree = Any
# evaluate(population [P, n], batch [B, …]) -> mean losses [P], of one search
Evaluate = Callable[[jax.Array, PyTree], jax.Array]


class Evolution:
    """A batch of evolution strategies that minimise the mean loss over a minibatch.

    Parameters
    ----------
    config : EvolutionConfig
        Strategy, population and length.
    num_dims : int
        Length n of the search vector.
    evaluate : callable
        ``evaluate(population [P, n], batch [B, …]) -> [P]``, the members of one search.
    """

    name = "es"
    info_names: tuple[str, ...] = ("loss", "best_loss", "num_nan", "stalled", "std")

    def __init__(self, config: EvolutionConfig, num_dims: int, evaluate: Evaluate) -> None:
        self.config = config
        self.strategy = make_strategy(config, num_dims)
        self.evaluate = evaluate
        self.batch_size = config.batch_size
        self.num_steps = config.generations
        self.eval_every = config.eval_every

    def constants(self, num_free: int) -> PyTree:
        """Return the strategy's constants for `num_free` dimensions."""
        return strong(self.strategy.constants(num_free))

    def init(
        self, mean: np.ndarray, mask: np.ndarray, constants: PyTree, *, keys: jax.Array | None = None
    ) -> PyTree:
        """Return the state of S searches from `mean` [S, n], zero where masked; nothing is drawn."""
        del keys
        start = jnp.asarray(np.where(mask, mean, 0.0), jnp.float32)
        init: Callable[[jax.Array], PyTree] = jax.vmap(lambda one: self.strategy.start(one, constants))
        return strong(init(start))

    def ask(
        self, state: PyTree, key: jax.Array, mask: jax.Array, constants: PyTree
    ) -> tuple[jax.Array, PyTree]:
        """Return the population [P, n] and the state of one search; masked entries hold the mean."""
        # Step 2. Noise in masked entries would be evaluated as if the weights were there, and would
        # enter norms such as that of Sep-CMA-ES's path.
        population, state = self.strategy.es.ask(key, state, constants)
        return jnp.where(mask, population, state.mean), state

    def tell(
        self, state: PyTree, population: jax.Array, fitness: jax.Array, *, mask: jax.Array, constants: PyTree
    ) -> PyTree:
        """Return the state of one search after fitness [P] (lower is better, NaN ranks last).

        A population whose finite fitness is all equal, or that has none, says nothing: the search
        keeps its mean and its standard deviation.
        """
        # Step 4.
        usable = self.strategy.fitness(fitness)
        told, _ = self.strategy.es.tell(jax.random.key(0), population, usable, state, constants)
        told = told.replace(mean=told.mean * (1.0 - self.config.mean_decay))
        told = self.strategy.settle(told, mask, constants)  # step 5
        # Step 6: ranks of equal fitness are the order of the members. Without this guard the search would
        # follow that order, a random walk; and rules that use values would make NaN of nothing but NaN.
        keep = stalled(fitness)
        return jax.tree.map(lambda new, old: jnp.where(keep, old, new), told, state)

    def step(self, state: PyTree, step: Step) -> tuple[PyTree, dict[str, jax.Array]]:
        """Advance every search by one generation."""

        def one(state: PyTree, batch: PyTree, key: jax.Array, mask: jax.Array) -> tuple[PyTree, Any]:
            population, state = self.ask(state, key, mask, step.constants)
            # Without the barrier XLA computes samples again inside the element-wise loops that use them.
            population = jax.lax.optimization_barrier(population)
            # Step 3. Infinities become NaN: centred by a mean, one of them would spoil every member.
            fitness = self.evaluate(population, batch)
            fitness = jnp.where(jnp.isfinite(fitness), fitness, jnp.nan)
            state = self.tell(state, population, fitness, mask=mask, constants=step.constants)
            return state, self._info(state, fitness, mask)

        result: tuple[PyTree, dict[str, jax.Array]] = map_replicates(
            one, state, step.batch, step.keys, step.mask
        )
        return result

    def _info(self, state: PyTree, fitness: jax.Array, mask: jax.Array) -> dict[str, jax.Array]:
        std = jnp.where(mask, self.strategy.std(state), 0.0).sum() / jnp.maximum(mask.sum(), 1)
        return {
            "loss": jnp.nanmean(fitness),
            "best_loss": jnp.nanmin(fitness),
            "num_nan": jnp.isnan(fitness).sum().astype(jnp.float32),
            "stalled": stalled(fitness).astype(jnp.float32),
            "std": std,
        }

    def solution(self, state: PyTree) -> jax.Array:
        """Return the search means [S, n]."""
        mean: jax.Array = state.mean
        return mean

    def std(self, state: PyTree) -> jax.Array | None:
        """Return the standard deviations [S, n]; None if a search has one for all weights."""
        if not FACTS[self.config.strategy].per_parameter:
            return None
        return jax.vmap(self.strategy.std)(state)

    @property
    def snr_denominator(self) -> str:
        """What the signal-to-noise score divides by: "std", or in one profile "variance"."""
        return self.strategy.snr_denominator

    def moments(self, state: PyTree) -> None:
        """Return None: evolution sees no gradient."""
        del state


def stalled(fitness: jax.Array) -> jax.Array:
    """Return whether the finite entries of fitness [P] are all equal (or there are none)."""
    return ~(jnp.nanmax(fitness) > jnp.nanmin(fitness))
