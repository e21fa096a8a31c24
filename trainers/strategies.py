"""Evolution strategies on a masked vector: what evosax needs around it.

The vector keeps its dense length at every sparsity. A strategy's constants are computed for the
number of *free* dimensions, sampled noise is removed from masked entries before evaluation, and the
statistics of masked entries are put back after the update, so that a masked search is the search
on the reduced vector. The update rules themselves are evosax's.
"""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from evosax.algorithms import SNES, Sep_CMA_ES
from flax import struct

from landscape.errors import ConfigurationError
from trainers.config import EvolutionConfig

PyTree = Any


def _elite_weights(population_size: int, elite_ratio: float) -> np.ndarray:
    """Return CMA-ES recombination weights over the best mu = elite_ratio·λ members, sum 1.

    evosax lets the elite ratio change only mu_eff and leaves the weights at the better half; here
    it means what it says (Hansen 2016, arXiv 1604.00772, equations 48 to 53, no negative weights).
    """
    num_elites = max(1, math.floor(elite_ratio * population_size + 0.5))
    rank = np.arange(1, population_size + 1)
    raw = np.maximum(math.log(num_elites + 0.5) - np.log(rank), 0.0)
    raw[num_elites:] = 0.0
    weights: np.ndarray = raw / raw.sum()
    return weights


class SNESStrategy:
    """Separable NES (Wierstra et al. 2014) with optional softmax rank weights."""

    def __init__(self, config: EvolutionConfig, num_dims: int) -> None:
        self.config = config
        self.es = SNES(population_size=config.population_size, solution=jnp.zeros(num_dims))
        self.defaults = self.es.default_params

    def constants(self, num_free: int) -> PyTree:
        """Return evosax's parameters for `num_free` dimensions.

        The learning rate of σ is (3 + log n) / (5 √n). Weights are softmax(−T·(rank/(λ−1) − ½)) at
        temperature T (Lange & Sprekeler 2023), or evosax's own utilities without one.
        """
        size = self.config.population_size
        weights = np.asarray(self.defaults.weights, np.float64)
        if self.config.temperature is not None:
            logits = -self.config.temperature * (np.arange(size) / (size - 1) - 0.5)
            weights = np.exp(logits - logits.max())
            weights /= weights.sum()
        lr_std = (3 + math.log(num_free)) / (5 * math.sqrt(num_free))
        return self.defaults.replace(
            std_init=np.float32(self.config.std_init),
            weights=weights.astype(np.float32),
            lr_std_init=np.float32(lr_std),
        )

    def settle(self, state: PyTree, mask: jax.Array, constants: PyTree) -> PyTree:
        """Return the state with the masked entries of one replicate put back."""
        std = jnp.maximum(state.std, self.config.std_min)
        return state.replace(
            mean=jnp.where(mask, state.mean, 0.0), std=jnp.where(mask, std, constants.std_init)
        )

    def std(self, state: PyTree) -> jax.Array:
        """Return the standard deviation of every entry."""
        std: jax.Array = state.std
        return std


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


class SepCMAStrategy:
    """Separable CMA-ES (Ros & Hansen 2008)."""

    def __init__(self, config: EvolutionConfig, num_dims: int) -> None:
        self.config = config
        self.es = _FreeSepCMAES(population_size=config.population_size, solution=jnp.zeros(num_dims))

    def constants(self, num_free: int) -> _SepCMAParams:
        """Return every constant at n = `num_free`, in float64 on the host.

        evosax 0.3 leaves out the factor (n + 2)/3 on c_mu by which Ros & Hansen speed the separable
        update up; at n = 11,274 and λ = 128 that is 5.1e-7 instead of 1.95e-3, and the covariance
        hardly adapts. The cap 1 − c_1 keeps C positive for small n.
        """
        n = num_free
        weights = _elite_weights(self.config.population_size, self.config.elite_ratio)
        mu_eff = 1.0 / float(np.sum(weights**2))
        c_1 = 2.0 / ((n + 1.3) ** 2 + mu_eff)
        c_mu = 2.0 * (mu_eff + 1.0 / mu_eff - 2.0) / ((n + 2.0) ** 2 + mu_eff)
        c_mu = min(1.0 - c_1, c_mu * (n + 2.0) / 3.0)
        c_std = (mu_eff + 2.0) / (n + mu_eff + 5.0)
        values = {
            "std_init": self.config.std_init,
            "std_min": self.config.std_min,
            "std_max": 1e8,
            "mu_eff": mu_eff,
            "c_mean": 1.0,
            "c_std": c_std,
            "d_std": 1.0 + 2.0 * max(0.0, math.sqrt((mu_eff - 1.0) / (n + 1.0)) - 1.0) + c_std,
            "c_c": (4.0 + mu_eff / n) / (n + 4.0 + 2.0 * mu_eff / n),
            "c_1": c_1,
            "c_mu": c_mu,
            "chi_n": math.sqrt(n) * (1.0 - 1.0 / (4.0 * n) + 1.0 / (21.0 * n**2)),
            "num_free": float(n),
        }
        scalars: dict[str, Any] = {name: np.float32(value) for name, value in values.items()}
        return _SepCMAParams(weights=jnp.asarray(weights, jnp.float32), **scalars)

    def settle(self, state: PyTree, mask: jax.Array, constants: PyTree) -> PyTree:
        """Return the state with the masked entries of one replicate put back."""
        del constants
        zero = {name: jnp.where(mask, getattr(state, name), 0.0) for name in ("mean", "p_std", "p_c")}
        one = {name: jnp.where(mask, getattr(state, name), 1.0) for name in ("C", "D")}
        return state.replace(**zero, **one)

    def std(self, state: PyTree) -> jax.Array:
        """Return step size times the square root of the diagonal covariance."""
        std: jax.Array = state.std * jnp.sqrt(state.C)
        return std


STRATEGIES: dict[str, type[SNESStrategy | SepCMAStrategy]] = {
    "snes": SNESStrategy,
    "sep-cma-es": SepCMAStrategy,
}


def make_strategy(config: EvolutionConfig, num_dims: int) -> SNESStrategy | SepCMAStrategy:
    """Return the strategy that `config` names, for vectors of `num_dims` entries.

    Raises
    ------
    ConfigurationError
        If there is no such strategy.
    """
    if config.strategy not in STRATEGIES:
        raise ConfigurationError(
            f"evolution.strategy: unknown {config.strategy!r}", expected="one of " + ", ".join(STRATEGIES)
        )
    return STRATEGIES[config.strategy](config, num_dims)
