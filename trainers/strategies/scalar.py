"""Strategies with one standard deviation for all weights: no signal-to-noise score.

OpenAI-ES (Salimans et al. 2017, arXiv 1703.03864) and augmented random search (ARS; Mania et al. 2018,
arXiv 1803.07055):

1. Sample mirrored pairs mean ± σ·z_i with z_i ~ N(0, I).
2. Weigh: OpenAI-ES takes centred ranks of all members; ARS keeps the pairs with the best better member
   and divides their differences by the standard deviation of their fitness.
3. Gradient of the mean: the average of the weights times z_i (OpenAI-ES divides it by σ); an Adam step.
4. Settle: σ is a function of the generation, max(floor, σ_0·decayᵗ); masked entries of mean and moments
   become zero.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from evosax.algorithms import ARS, Open_ES

from trainers.config import EvolutionConfig
from trainers.strategies.base import Strategy, adam_optimizer, cleared, count, number

PyTree = Any


class _Scalar(Strategy):
    """Common to them: a standard deviation that is a function of the generation alone."""

    def _schedule(self, generation: jax.Array | int) -> jax.Array:
        std: jax.Array = self.config.std_init * self.config.std_decay ** jnp.float32(generation)
        return jnp.maximum(std, self.config.std_min)

    def constants(self, num_free: int) -> PyTree:
        """Return evosax's parameters; none depends on the dimension."""
        del num_free
        return self.es.default_params

    def settle(self, state: PyTree, mask: jax.Array, constants: PyTree) -> PyTree:
        """Return the state with the next generation's scale and masked entries put back.

        evosax asks its schedule for the generation that is over; so the first two would be alike.
        """
        del constants
        return state.replace(
            mean=jnp.where(mask, state.mean, 0.0),
            std=self._schedule(state.generation_counter),
            opt_state=cleared(state.opt_state, mask),
        )

    def std(self, state: PyTree) -> jax.Array:
        """Return the one standard deviation, once for every entry."""
        return jnp.broadcast_to(state.std, state.mean.shape)


class OpenESStrategy(_Scalar):
    """OpenAI-ES (Salimans et al. 2017): mirrored samples, centred ranks, Adam on the mean."""

    def __init__(self, config: EvolutionConfig, num_dims: int) -> None:
        super().__init__(config, num_dims)
        self.es = Open_ES(
            config.population_size,
            jnp.zeros(num_dims),
            optimizer=adam_optimizer(config),
            std_schedule=self._schedule,
        )


class _ElitesARS(ARS):  # type: ignore[misc]  # evosax is untyped
    """ARS whose elite ratio is a ratio of the pairs, rounded."""

    @property
    def num_elites(self) -> int:
        return count(self.elite_ratio, self.population_size // 2)


class ARSStrategy(_Scalar):
    """Augmented random search (Mania et al. 2018): the best pairs, scaled by their spread."""

    def __init__(self, config: EvolutionConfig, num_dims: int) -> None:
        super().__init__(config, num_dims)
        self.es = _ElitesARS(
            config.population_size, jnp.zeros(num_dims), adam_optimizer(config), self._schedule
        )
        self.es.elite_ratio = number(config, "elite_ratio")

    def fitness(self, fitness: jax.Array) -> jax.Array:
        """Return fitness whose NaN are the worst of the others: its values count, not only its ranks."""
        # One NaN among the elites would make their deviation NaN, and with it the step of the mean.
        return jnp.where(jnp.isnan(fitness), jnp.nanmax(fitness), fitness)
