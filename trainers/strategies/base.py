"""What a strategy is: evosax's update rule, and the masked search's steps 1, 4 and 5 around it.

The steps are those of `trainers.strategies`.
"""

from __future__ import annotations

import abc
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from trainers.config import EvolutionConfig

PyTree = Any
LEAST_STD = 1e-12  # updates divide by the standard deviation: at zero the search would be NaN for good


class Strategy(abc.ABC):
    """An evolution strategy on vectors of a fixed length, some entries of which are masked.

    Every method but the constructor and `constants` is pure, and is about one search.

    Parameters
    ----------
    config : EvolutionConfig
        Settings; those of this strategy are read with `EvolutionConfig.setting`.
    num_dims : int
        Length n of the search vector.

    Attributes
    ----------
    es : evosax algorithm
        The update rule.
    snr_denominator : str
        ``"std"``, or ``"variance"`` where the profile asks for it: what the signal-to-noise score
        of this search divides by.
    """

    es: Any
    snr_denominator: str = "std"

    def __init__(self, config: EvolutionConfig, num_dims: int) -> None:
        self.config = config
        self.num_dims = num_dims

    @abc.abstractmethod
    def constants(self, num_free: int) -> PyTree:
        """Return the parameters of the update rule for `num_free` dimensions, from the host (step 1)."""

    def start(self, mean: jax.Array, constants: PyTree) -> PyTree:
        """Return the state of a search from `mean` [n]."""
        return self.es.init(jax.random.key(0), mean, constants)

    def fitness(self, fitness: jax.Array) -> jax.Array:
        """Return what the update rule is told [P] (step 4); here the fitness itself, whose NaN rank last."""
        return fitness

    @abc.abstractmethod
    def settle(self, state: PyTree, mask: jax.Array, constants: PyTree) -> PyTree:
        """Return the state after an update: masked entries put back, scale decayed and floored (step 5)."""

    @abc.abstractmethod
    def std(self, state: PyTree) -> jax.Array:
        """Return the standard deviation of every entry [n]; equal ones if there is one for all."""

    def decayed(self, std: jax.Array) -> jax.Array:
        """Return a standard deviation after a generation's decay, not below the floor.

        Without a floor of its own it stays above `LEAST_STD`: updates divide by it.
        """
        return jnp.maximum(std * self.config.std_decay, max(self.config.std_min, LEAST_STD))


def number(config: EvolutionConfig, key: str) -> float:
    """Return a setting that is a number."""
    value = config.setting(key)
    if value is None:
        raise TypeError(f"{key}: expected a number, got none")
    return value


def count(ratio: float, size: int) -> int:
    """Return the number of members that a ratio of `size` stands for: rounded half up, at least 1."""
    return max(1, math.floor(ratio * size + 0.5))


def softmax_weights(logits: np.ndarray) -> np.ndarray:
    """Return weights proportional to exp(logits), sum 1, in float64."""
    weights = np.exp(logits - logits.max())
    total: np.ndarray = weights / weights.sum()  # the largest weight is exp(0): the sum is at least 1
    return total


def centred_ranks(size: int) -> np.ndarray:
    """Return rank/(λ − 1) − ½ of ranks 0 to λ − 1."""
    ranks: np.ndarray = np.arange(size) / (size - 1) - 0.5
    return ranks


def step_optimizer(config: EvolutionConfig) -> optax.GradientTransformation:
    """Return plain steps of the mean at the configured rate."""
    return optax.sgd(_rate(config))


def adam_optimizer(config: EvolutionConfig) -> optax.GradientTransformation:
    """Return Adam steps of the mean at the configured rate and moments."""
    return optax.adam(_rate(config), b1=number(config, "beta1"), b2=number(config, "beta2"))


def _rate(config: EvolutionConfig) -> float | optax.Schedule:
    """Return max(floor, rate·decayᵗ) as a schedule on the update counter; a constant needs none."""
    rate, decay, floor = (number(config, f"mean_learning_rate{part}") for part in ("", "_decay", "_min"))
    if decay == 1.0:
        return max(rate, floor)
    return lambda step: jnp.maximum(rate * decay**step, floor)


def cleared(tree: PyTree, mask: jax.Array) -> PyTree:
    """Return a tree whose vectors [n, …] are zero in masked entries; other leaves as they are."""

    def clear(leaf: jax.Array) -> jax.Array:
        if leaf.ndim == 0 or leaf.shape[0] != mask.shape[0]:
            return leaf
        return jnp.where(mask.reshape(-1, *[1] * (leaf.ndim - 1)), leaf, 0)

    return jax.tree.map(clear, tree)
