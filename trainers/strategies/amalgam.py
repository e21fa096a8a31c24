"""Incremental AMaLGaM with a diagonal covariance (Bosman, Grahl & Thierens 2013).

1. Sample members from N(mean, C), C diagonal, and move some of them on along the anticipated mean
   shift.
2. Select the mu = elite_ratio·λ best; the mean becomes their average.
3. Blend the shift of the mean into its running average, at the rate η_shift.
4. Blend the elites' spread around the mean into C, at the rate η_std.
5. Settle: decay and floor √C; masked entries of the mean and of its shift become zero, those of C the
   variance of the start.
"""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from evosax.algorithms import iAMaLGaM_Univariate

from trainers.config import EvolutionConfig
from trainers.strategies.base import Strategy, cleared, count, number

PyTree = Any


class _ElitesAMaLGaM(iAMaLGaM_Univariate):  # type: ignore[misc]  # evosax is untyped
    """iAMaLGaM whose elite ratio is an argument.

    evosax samples with σ + √C, a schedule plus an estimate; here the schedule is zero.
    """

    def __init__(self, population_size: int, solution: jax.Array, elite_ratio: float) -> None:
        super().__init__(population_size, solution, std_schedule=lambda _: jnp.zeros(()))
        # At least one member is left to be shifted: the share below divides by their number.
        self._elites = min(count(elite_ratio, population_size), population_size - 1)
        share = 0.5 * elite_ratio * population_size / (population_size - self._elites)
        self.ams_population_size = min(int(share * (population_size - 1)), population_size)

    @property
    def num_elites(self) -> int:
        return getattr(self, "_elites", 1)


class AMaLGaMStrategy(Strategy):
    """Incremental AMaLGaM (Bosman, Grahl & Thierens 2013), diagonal covariance.

    Its covariance learns at 1 − exp(−1.1·mu^1.2 / n^1.6), which is 6e-4 at n = 2,410 and mu = 64: with
    a network's number of weights its signal-to-noise score orders them nearly as magnitude does.
    """

    def __init__(self, config: EvolutionConfig, num_dims: int) -> None:
        super().__init__(config, num_dims)
        self.es = _ElitesAMaLGaM(config.population_size, jnp.zeros(num_dims), number(config, "elite_ratio"))

    def constants(self, num_free: int) -> PyTree:
        """Return evosax's parameters; both learning rates 1 − exp(a·mu^b / n^c) at n = `num_free`."""
        elites = self.es.num_elites
        rates = {
            "eta_std": 1 - math.exp(-1.1 * elites**1.2 / num_free**1.6),
            "eta_shift": 1 - math.exp(-1.2 * elites**0.31 / num_free**0.5),
        }
        return self.es.default_params.replace(**{name: np.float32(value) for name, value in rates.items()})

    def start(self, mean: jax.Array, constants: PyTree) -> PyTree:
        """Return the state of a search from `mean` [n], at the variance of the start."""
        state = super().start(mean, constants)
        return state.replace(C=jnp.full_like(state.C, self.config.std_init**2))

    def settle(self, state: PyTree, mask: jax.Array, constants: PyTree) -> PyTree:
        """Return the state with decayed scale and masked entries put back."""
        del constants
        # Masked entries do not vary, so C would sink there; the rule takes the largest of the ratios to C
        # over all entries, and 0/0 in one of them would be NaN for the whole search.
        covariance = self.decayed(jnp.sqrt(state.C)) ** 2
        zero = {name: cleared(getattr(state, name), mask) for name in ("mean", "mean_shift")}
        return state.replace(C=jnp.where(mask, covariance, self.config.std_init**2), **zero)

    def std(self, state: PyTree) -> jax.Array:
        """Return the standard deviation of every entry."""
        std: jax.Array = jnp.sqrt(state.C)
        return std
