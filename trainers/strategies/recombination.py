"""Strategies that recombine members and blend their spread into one standard deviation per weight.

A simple ES and the discovered ES (DES; Lange et al. 2023, arXiv 2211.11260) differ in their weights
only:

1. Sample x_i = mean + σ ⊙ z_i with z_i ~ N(0, I).
2. Rank the members; the weights are 1/mu for the mu best (simple ES), or
   softmax(−20·sigmoid(T·(rank/(λ−1) − ½))) (DES).
3. mean ← mean + rate·Σ w_i (x_i − mean).
4. σ ← (1 − c)·σ + c·√(Σ w_i (x_i − mean)²).
5. Settle: decay and floor σ; masked entries of the mean become zero, those of σ its start.

The learned ES (LES; the same paper) has small networks in place of steps 2 to 4: they turn features of
the fitness into weights, and the paths of the search into learning rates of mean and σ.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from evosax.algorithms import DiscoveredES, LearnedES, SimpleES

from trainers.config import EvolutionConfig
from trainers.strategies.base import (
    Strategy,
    centred_ranks,
    cleared,
    count,
    number,
    softmax_weights,
    step_optimizer,
)

PyTree = Any
_SHARPNESS = 20.0  # of the published formula


class _Blended(Strategy):
    """Common to them: state of mean, std and optimiser."""

    def settle(self, state: PyTree, mask: jax.Array, constants: PyTree) -> PyTree:
        """Return the state with decayed scale and masked entries put back."""
        return state.replace(
            mean=jnp.where(mask, state.mean, 0.0),
            std=jnp.where(mask, self.decayed(state.std), constants.std_init),
            opt_state=cleared(state.opt_state, mask),
        )

    def std(self, state: PyTree) -> jax.Array:
        """Return the standard deviation of every entry."""
        std: jax.Array = state.std
        return std


class DESStrategy(_Blended):
    """Discovered evolution strategy (Lange et al. 2023, arXiv 2211.11260)."""

    def __init__(self, config: EvolutionConfig, num_dims: int) -> None:
        super().__init__(config, num_dims)
        self.es = DiscoveredES(config.population_size, jnp.zeros(num_dims), step_optimizer(config))

    def constants(self, num_free: int) -> PyTree:
        """Return evosax's parameters; weights softmax(−20·sigmoid(T·(rank/(λ−1) − ½)))."""
        del num_free
        ranks = centred_ranks(self.config.population_size)
        sigmoid = 1.0 / (1.0 + np.exp(-number(self.config, "temperature") * ranks))
        return self.es.default_params.replace(
            std_init=np.float32(self.config.std_init),
            weights=softmax_weights(-_SHARPNESS * sigmoid).astype(np.float32),
            lr_std=np.float32(number(self.config, "std_learning_rate")),
        )


class SimpleESStrategy(_Blended):
    """The mean of the best members, and a standard deviation that follows their spread."""

    def __init__(self, config: EvolutionConfig, num_dims: int) -> None:
        super().__init__(config, num_dims)
        self.es = SimpleES(config.population_size, jnp.zeros(num_dims), step_optimizer(config))

    def constants(self, num_free: int) -> PyTree:
        """Return evosax's parameters; weights 1/mu over the best mu = elite_ratio·λ members."""
        del num_free
        size = self.config.population_size
        elites = count(number(self.config, "elite_ratio"), size)
        return self.es.default_params.replace(
            std_init=np.float32(self.config.std_init),
            weights=np.where(np.arange(size) < elites, 1.0 / elites, 0.0).astype(np.float32),
            c_std=np.float32(number(self.config, "std_learning_rate")),
        )


class LearnedESStrategy(Strategy):
    """Learned evolution strategy (Lange et al. 2023, arXiv 2211.11260), with evosax's own weights.

    Its networks look at one dimension at a time, or at the population's fitness; none looks across
    dimensions, and no constant depends on their number.
    """

    def __init__(self, config: EvolutionConfig, num_dims: int) -> None:
        super().__init__(config, num_dims)
        self.es = LearnedES(config.population_size, jnp.zeros(num_dims))

    def constants(self, num_free: int) -> PyTree:
        """Return evosax's parameters: the scale of the start and the networks."""
        del num_free
        return self.es.default_params.replace(std_init=np.float32(self.config.std_init))

    def fitness(self, fitness: jax.Array) -> jax.Array:
        """Return fitness whose NaN are the worst of the others: it is standardised, not only ranked."""
        # One NaN would make mean and deviation of the whole population NaN, and with them the search.
        return jnp.where(jnp.isnan(fitness), jnp.nanmax(fitness), fitness)

    def settle(self, state: PyTree, mask: jax.Array, constants: PyTree) -> PyTree:
        """Return the state with decayed scale and masked entries put back."""
        zero = {name: cleared(getattr(state, name), mask) for name in ("mean", "p_std", "p_c")}
        return state.replace(std=jnp.where(mask, self.decayed(state.std), constants.std_init), **zero)

    def std(self, state: PyTree) -> jax.Array:
        """Return the standard deviation of every entry."""
        std: jax.Array = state.std
        return std
