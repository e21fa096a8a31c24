"""Separable natural evolution strategies (SNES; Schaul, Glasmachers & Schmidhuber 2011).

1. Sample x_i = mean + σ ⊙ z_i with z_i ~ N(0, I).
2. Rank the members; u_i are their utilities: softmax of the ranks at a temperature
   (Lange & Sprekeler 2023), or those of Wierstra et al. 2014.
3. Natural gradients: ∇mean = Σ u_i z_i and ∇σ = Σ u_i (z_i² − 1), each entry by itself.
4. mean ← mean + rate·σ ⊙ ∇mean; σ ← σ ⊙ exp(½·η_σ·∇σ) with η_σ = (3 + log n) / (5 √n).
5. Settle: decay and floor σ; masked entries of the mean become zero, those of σ its start.
"""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from evosax.algorithms import SNES

from trainers.config import EvolutionConfig
from trainers.strategies.base import (
    Strategy,
    centred_ranks,
    cleared,
    softmax_weights,
    step_optimizer,
)

PyTree = Any


class SNESStrategy(Strategy):
    """Separable NES (Wierstra et al. 2014) with optional softmax rank weights."""

    def __init__(self, config: EvolutionConfig, num_dims: int) -> None:
        super().__init__(config, num_dims)
        self.es = SNES(config.population_size, jnp.zeros(num_dims), step_optimizer(config))
        self.defaults = self.es.default_params

    def constants(self, num_free: int) -> PyTree:
        """Return evosax's parameters for `num_free` dimensions.

        The learning rate of σ is (3 + log n) / (5 √n). Weights are softmax(−T·(rank/(λ−1) − ½)) at
        temperature T (Lange & Sprekeler 2023), or evosax's own utilities without one.
        """
        weights = np.asarray(self.defaults.weights, np.float64)
        temperature = self.config.setting("temperature")
        if temperature is not None:
            weights = softmax_weights(-temperature * centred_ranks(self.config.population_size))
        lr_std = (3 + math.log(num_free)) / (5 * math.sqrt(num_free))
        return self.defaults.replace(
            std_init=np.float32(self.config.std_init),
            weights=weights.astype(np.float32),
            lr_std_init=np.float32(lr_std),
        )

    def settle(self, state: PyTree, mask: jax.Array, constants: PyTree) -> PyTree:
        """Return the state with decayed scale and masked entries put back."""
        # In masked entries z is 0 and ∇σ is −Σ u_i in every generation: σ would sink towards z = 0/0.
        return state.replace(
            mean=jnp.where(mask, state.mean, 0.0),
            std=jnp.where(mask, self.decayed(state.std), constants.std_init),
            opt_state=cleared(state.opt_state, mask),
        )

    def std(self, state: PyTree) -> jax.Array:
        """Return the standard deviation of every entry."""
        std: jax.Array = state.std
        return std
