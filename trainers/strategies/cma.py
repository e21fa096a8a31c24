"""Separable CMA-ES (Ros & Hansen 2008): CMA-ES whose covariance C is diagonal.

1. Sample x_i = m + σ·√C ⊙ z_i with z_i ~ N(0, I).
2. Rank the members; with the recombination weights w over the mu best, y_w = Σ w_i (x_i − m)/σ and
   m ← m + c_m·σ·y_w.
3. Lengthen the path of the step size p_σ by y_w/√C; σ grows where ‖p_σ‖ exceeds χ_n, the expected
   norm of a standard normal vector, and shrinks where it falls short.
4. Lengthen the path of the covariance p_c by y_w, unless ‖p_σ‖ is so long that σ is about to grow
   (the stall indicator h_σ).
5. C ← (1 − c_1 − c_μ)·C + c_1·p_c² + c_μ·Σ w_i y_i², each entry by itself.
6. Settle: decay and floor σ; masked entries of m, p_σ and p_c become zero, those of C one.

Steps 3 to 5 know the dimension through χ_n, h_σ and the learning rates: all are those of the free
dimensions. With the dense n, ‖p_σ‖ of a sparse ticket would nearly always be below χ_n, and σ would
shrink whatever the fitness says.
"""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from evosax.algorithms import Sep_CMA_ES
from flax import struct

from trainers.config import EvolutionConfig
from trainers.strategies.base import Strategy, cleared, count, number

PyTree = Any


@struct.dataclass
class _SepCMAParams:
    """evosax's Sep-CMA-ES parameters and the number of free dimensions."""

    std_init: jax.Array
    std_min: jax.Array
    std_max: jax.Array
    weights: jax.Array
    mu_eff: jax.Array
    c_mean: jax.Array
    c_std: jax.Array
    d_std: jax.Array
    c_c: jax.Array
    c_1: jax.Array
    c_mu: jax.Array
    chi_n: jax.Array
    num_free: jax.Array


class _FreeSepCMAES(Sep_CMA_ES):  # type: ignore[misc]  # evosax is untyped
    """Sep-CMA-ES whose stall indicator counts the free dimensions, not the dense ones."""

    def h_std(self, norm_p_std: jax.Array, generation_counter: jax.Array, params: _SepCMAParams) -> jax.Array:
        left = norm_p_std / jnp.sqrt(1 - (1 - params.c_std) ** (2 * (generation_counter + 1)))
        return left < (1.4 + 2 / (params.num_free + 1)) * params.chi_n


class SepCMAStrategy(Strategy):
    """Separable CMA-ES (Ros & Hansen 2008)."""

    def __init__(self, config: EvolutionConfig, num_dims: int) -> None:
        super().__init__(config, num_dims)
        self.es = _FreeSepCMAES(config.population_size, jnp.zeros(num_dims))
        self.snr_denominator = "variance" if config.profile == "paper" else "std"

    def constants(self, num_free: int) -> _SepCMAParams:
        """Return every constant at n = `num_free`, in float64 on the host.

        evosax 0.3 leaves out the factor (n + 2)/3 on c_mu by which Ros & Hansen speed the separable
        update up; at n = 11,274 and λ = 128 that is 5.1e-7 instead of 1.95e-3, and the covariance
        hardly adapts. The cap 1 − c_1 keeps C positive for small n. The profile "evosax" is without
        the factor.
        """
        n = num_free
        weights = elite_weights(self.config.population_size, number(self.config, "elite_ratio"))
        mu_eff = 1.0 / float(np.sum(weights**2))
        c_1 = 2.0 / ((n + 1.3) ** 2 + mu_eff)
        c_mu = 2.0 * (mu_eff + 1.0 / mu_eff - 2.0) / ((n + 2.0) ** 2 + mu_eff)
        if self.config.profile != "evosax":
            c_mu *= (n + 2.0) / 3.0
        c_std = (mu_eff + 2.0) / (n + mu_eff + 5.0)
        values = {
            "std_init": self.config.std_init,
            "std_min": self.config.std_min,
            "std_max": 1e8,
            "mu_eff": mu_eff,
            "c_mean": number(self.config, "mean_learning_rate"),
            "c_std": c_std,
            "d_std": 1.0 + 2.0 * max(0.0, math.sqrt((mu_eff - 1.0) / (n + 1.0)) - 1.0) + c_std,
            "c_c": (4.0 + mu_eff / n) / (n + 4.0 + 2.0 * mu_eff / n),
            "c_1": c_1,
            "c_mu": min(1.0 - c_1, c_mu),  # above, C would become negative and √C NaN
            "chi_n": math.sqrt(n) * (1.0 - 1.0 / (4.0 * n) + 1.0 / (21.0 * n**2)),
            "num_free": float(n),
        }
        scalars: dict[str, Any] = {name: np.float32(value) for name, value in values.items()}
        return _SepCMAParams(weights=jnp.asarray(weights, jnp.float32), **scalars)

    def settle(self, state: PyTree, mask: jax.Array, constants: PyTree) -> PyTree:
        """Return the state with decayed step size and masked entries put back.

        The step size is floored, and then C, so that no entry's σ·√C is below the floor.
        """
        del constants
        std, covariance = self.decayed(state.std), state.C
        if self.config.std_min:  # in this order: the floor of C is relative to the floored step size
            covariance = jnp.maximum(covariance, (self.config.std_min / std) ** 2)
        zero = {name: cleared(getattr(state, name), mask) for name in ("mean", "p_std", "p_c")}
        one = {"C": jnp.where(mask, covariance, 1.0), "D": jnp.where(mask, state.D, 1.0)}
        return state.replace(std=std, **zero, **one)

    def std(self, state: PyTree) -> jax.Array:
        """Return step size times the square root of the diagonal covariance."""
        std: jax.Array = state.std * jnp.sqrt(state.C)
        return std


def elite_weights(population_size: int, elite_ratio: float) -> np.ndarray:
    """Return CMA-ES recombination weights over the best mu = elite_ratio·λ members, sum 1.

    evosax lets the elite ratio change only mu_eff and leaves the weights at the better half; here
    it means what it says (Hansen 2016, arXiv 1604.00772, equations 48 to 53, no negative weights).
    """
    num_elites = count(elite_ratio, population_size)
    rank = np.arange(1, population_size + 1)
    raw = np.maximum(math.log(num_elites + 0.5) - np.log(rank), 0.0)
    raw[num_elites:] = 0.0
    weights: np.ndarray = raw / raw.sum()
    return weights
