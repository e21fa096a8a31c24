"""Policy gradients with parameter-based exploration (PGPE; Sehnke et al. 2010).

1. Sample mirrored pairs mean ± ε_i with ε_i ~ N(0, diag(σ²)).
2. Replace the fitness by centred ranks.
3. Gradient of the mean: the average of ε_i times half the difference within its pair; an Adam step.
4. Gradient of σ: the average of (ε_i² − σ²)/σ times the mean of a pair above the baseline; a plain step
   of at most 0.2·σ.
5. Settle: decay and floor σ; masked entries of mean and moments become zero, those of σ its start.

The profile "paper" replaces step 4 by that of evosax 0.1.4, see `_PublishedPGPE`.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from evosax.algorithms import PGPE

from trainers.config import EvolutionConfig
from trainers.strategies.base import Strategy, adam_optimizer, cleared, number

PyTree = Any


class _PublishedPGPE(PGPE):  # type: ignore[misc]  # evosax is untyped
    """PGPE whose scale moves as in evosax 0.1.4, with which the paper's curves were made.

    There δσ_d = mean_i (s_i − s̄)·(ε_{i,d}² − σ_d²)/σ_d takes the score s_i of the pairs in the order
    of their rank and the noise ε_i in the order in which it was drawn. The two have nothing to do
    with each other, so σ takes no notice of curvature; and δσ is added, although fitness is a cost.
    Its rate there is 0.1 and no step is longer than 0.2·σ, as here.
    """

    def _tell(  # noqa: PLR0917 (evosax's signature)
        self, key: jax.Array, population: jax.Array, fitness: jax.Array, state: PyTree, params: PyTree
    ) -> PyTree:
        told = super()._tell(key, population, fitness, state, params)
        half = self.population_size // 2
        plus, minus = fitness[:half], fitness[half:]
        order = jnp.argsort(jnp.minimum(plus, minus))
        score = (0.5 * (plus + minus))[order] - fitness.mean()
        noise = population[:half] - state.mean
        # Ranked scores meet unranked noise: what the published program does, and wrong as a gradient.
        change = params.std_lr * (score @ ((noise**2 - state.std**2) / state.std)) / half
        limit = params.std_max_change * state.std
        return told.replace(std=state.std + jnp.clip(change, -limit, limit))


class PGPEStrategy(Strategy):
    """PGPE (Sehnke et al. 2010): mirrored samples, centred ranks, Adam on the mean."""

    def __init__(self, config: EvolutionConfig, num_dims: int) -> None:
        super().__init__(config, num_dims)
        kind = _PublishedPGPE if config.profile == "paper" else PGPE
        self.es = kind(config.population_size, jnp.zeros(num_dims), adam_optimizer(config))

    def constants(self, num_free: int) -> PyTree:
        """Return evosax's parameters; none depends on the dimension."""
        del num_free
        rate = number(self.config, "std_learning_rate")
        return self.es.default_params.replace(
            std_init=np.float32(self.config.std_init), std_lr=np.float32(rate)
        )

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
