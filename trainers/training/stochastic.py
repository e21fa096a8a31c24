"""Policies that sample: a distribution of actions around the deterministic policy of the same outputs.

Discrete actions are drawn with the outputs as logits; the deterministic policy takes the largest. Continuous
actions are drawn from a Gaussian around the tanh of the outputs, in half ranges of the action, whose
standard deviation is learnt and the same in every state; a sample is cut to the range when it is carried out,
and its density is that of the Gaussian before the cut. Without noise both are what `Discrete.of` and
`Continuous.of` make of the outputs: the policy that evolution trains.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any, Protocol

import jax
import jax.numpy as jnp

from trainers.tasks import Continuous, Discrete

__all__ = ["Categorical", "Gaussian", "Sampler", "sampler_of"]

PyTree = Any


class Sampler(Protocol):
    """A distribution over actions; `log_std` is what it learns beside the outputs."""

    def start(self, log_std: float) -> PyTree:
        """Return what is learnt beside the outputs, at its start."""

    def noise(self, key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
        """Return the noise [*shape, num_outputs] that samples are made of."""

    def sample(self, outputs: jax.Array, log_std: PyTree, noise: jax.Array) -> jax.Array:
        """Return samples [E, …] of outputs [E, num_outputs] and noise of the same shape."""

    def action(self, samples: jax.Array) -> jax.Array:
        """Return the actions that an environment takes."""

    def log_prob(self, outputs: jax.Array, log_std: PyTree, samples: jax.Array) -> jax.Array:
        """Return the logarithm of the probability, or density, of samples: [E]."""

    def entropy(self, outputs: jax.Array, log_std: PyTree) -> jax.Array:
        """Return the entropy [E], in nats."""


@dataclasses.dataclass(frozen=True)
class Categorical:
    """One of n actions, with the outputs as logits; nothing else is learnt."""

    actions: Discrete

    def start(self, log_std: float) -> PyTree:
        """Return nothing."""
        del log_std
        return ()

    def noise(self, key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
        """Return Gumbel noise: the largest of logits plus noise is a sample (Gumbel 1954)."""
        return jax.random.gumbel(key, (*shape, self.actions.num_outputs))

    def sample(self, outputs: jax.Array, log_std: PyTree, noise: jax.Array) -> jax.Array:
        """Return numbers of actions, int32."""
        del log_std
        return self.actions.of(outputs + noise)

    def action(self, samples: jax.Array) -> jax.Array:
        """Return them as they are."""
        return samples

    def log_prob(self, outputs: jax.Array, log_std: PyTree, samples: jax.Array) -> jax.Array:
        """Return log softmax at the samples."""
        del log_std
        chosen = jnp.take_along_axis(jax.nn.log_softmax(outputs), samples[..., None], axis=-1)
        return chosen[..., 0]

    def entropy(self, outputs: jax.Array, log_std: PyTree) -> jax.Array:
        """Return −Σ p log p."""
        del log_std
        logs = jax.nn.log_softmax(outputs)
        return -jnp.sum(jnp.exp(logs) * logs, axis=-1)


@dataclasses.dataclass(frozen=True)
class Gaussian:
    """Independent Gaussians around the tanh of the outputs, in half ranges of the action."""

    actions: Continuous

    def start(self, log_std: float) -> PyTree:
        """Return the logarithms of the standard deviations [num_outputs]."""
        return jnp.full(self.actions.num_outputs, log_std, jnp.float32)

    def noise(self, key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
        """Return standard normal noise."""
        return jax.random.normal(key, (*shape, self.actions.num_outputs))

    def sample(self, outputs: jax.Array, log_std: PyTree, noise: jax.Array) -> jax.Array:
        """Return points around the means, also beyond the range."""
        return jnp.tanh(outputs) + jnp.exp(log_std) * noise

    def action(self, samples: jax.Array) -> jax.Array:
        """Return the middle of the range plus half ranges, cut to the range."""
        low, high = self.actions.low, self.actions.high
        action: jax.Array = (high + low) / 2 + (high - low) / 2 * jnp.clip(samples, -1.0, 1.0)
        return action

    def log_prob(self, outputs: jax.Array, log_std: PyTree, samples: jax.Array) -> jax.Array:
        """Return the sum of the log densities, in half ranges."""
        distance = (samples - jnp.tanh(outputs)) * jnp.exp(-log_std)
        return jnp.sum(-0.5 * distance**2 - log_std - 0.5 * math.log(2 * math.pi), axis=-1)

    def entropy(self, outputs: jax.Array, log_std: PyTree) -> jax.Array:
        """Return Σ log σ + ½ log 2πe."""
        found = jnp.sum(log_std + 0.5 * math.log(2 * math.pi * math.e))
        return jnp.broadcast_to(found, outputs.shape[:-1])


def sampler_of(actions: Discrete | Continuous) -> Sampler:
    """Return the distribution for the actions of an environment."""
    return Categorical(actions) if isinstance(actions, Discrete) else Gaussian(actions)
