"""Training by evolution strategies: ask, evaluate the population, tell."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from trainers.config import EvolutionConfig
from trainers.evaluation import map_replicates
from trainers.protocol import Step
from trainers.strategies import make_strategy

PyTree = Any
# evaluate(population [S, P, n], batch [S, B, …]) -> mean losses [S, P]
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
        ``evaluate(population [S, P, n], batch [S, B, …]) -> [S, P]``.
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
        return jax.tree.map(_strong, self.strategy.constants(num_free))

    def init(self, mean: np.ndarray, mask: np.ndarray, constants: PyTree) -> PyTree:
        """Return the state of S searches from `mean` [S, n], zero where masked."""
        start = jnp.asarray(np.where(mask, mean, 0.0), jnp.float32)
        init: Callable[[jax.Array], PyTree] = jax.vmap(
            lambda m: self.strategy.es.init(jax.random.key(0), m, constants)
        )
        # evosax leaves weakly typed scalars; unmended, the first chunk would be compiled twice.
        return jax.tree.map(_strong, init(start))

    def ask(self, state: PyTree, step: Step) -> tuple[jax.Array, PyTree]:
        """Return populations [S, P, n] and the state; masked entries hold the mean."""

        def one(key: jax.Array, state: PyTree, mask: jax.Array) -> tuple[jax.Array, PyTree]:
            population, state = self.strategy.es.ask(key, state, step.constants)
            return jnp.where(mask, population, state.mean), state

        population, state = map_replicates(one, step.keys, state, step.mask)
        return population, state

    def tell(self, state: PyTree, population: jax.Array, fitness: jax.Array, step: Step) -> PyTree:
        """Return the state after fitness [S, P] (lower is better, NaN ranks last).

        A population whose finite fitness is all equal, or that has none, says nothing: its search
        keeps its mean and its standard deviation.
        """

        def one(state: PyTree, population: jax.Array, fitness: jax.Array, mask: jax.Array) -> PyTree:
            told, _ = self.strategy.es.tell(jax.random.key(0), population, fitness, state, step.constants)
            told = told.replace(mean=told.mean * (1.0 - self.config.mean_decay))
            told = self.strategy.settle(told, mask, step.constants)
            keep = stalled(fitness)
            return jax.tree.map(lambda new, old: jnp.where(keep, old, new), told, state)

        return map_replicates(one, state, population, fitness, step.mask)

    def step(self, state: PyTree, step: Step) -> tuple[PyTree, dict[str, jax.Array]]:
        """Advance every search by one generation."""
        population, state = self.ask(state, step)
        fitness = self.evaluate(population, step.batch)
        fitness = jnp.where(jnp.isfinite(fitness), fitness, jnp.nan)
        state = self.tell(state, population, fitness, step)
        free = jnp.maximum(step.mask.sum(-1), 1)
        info = {
            "loss": jnp.nanmean(fitness, axis=-1),
            "best_loss": jnp.nanmin(fitness, axis=-1),
            "num_nan": jnp.isnan(fitness).sum(-1).astype(jnp.float32),
            "stalled": jax.vmap(stalled)(fitness).astype(jnp.float32),
            "std": jnp.where(step.mask, self.strategy.std(state), 0.0).sum(-1) / free,
        }
        return state, info

    def solution(self, state: PyTree) -> jax.Array:
        """Return the search means [S, n]."""
        mean: jax.Array = state.mean
        return mean

    def std(self, state: PyTree) -> jax.Array:
        """Return the standard deviations [S, n]."""
        return self.strategy.std(state)


def stalled(fitness: jax.Array) -> jax.Array:
    """Return whether the finite entries of fitness [P] are all equal (or there are none)."""
    return ~(jnp.nanmax(fitness) > jnp.nanmin(fitness))


def _strong(leaf: Any) -> jax.Array:
    return jnp.asarray(np.asarray(leaf))
