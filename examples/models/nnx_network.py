"""A Flax NNX network: its parameters are split off, and every result comes back as such a state.

python examples/models/nnx_network.py a.h5 b.h5
landscape barrier a.h5 b.h5 --problem examples/models/nnx_network.py:problem -o barrier.html
"""

from __future__ import annotations

import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

import landscape


class Network(nnx.Module):
    """Two hidden layers of 32 units, layer-normalised."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        self.first = nnx.Linear(2, 32, rngs=rngs)
        self.norm = nnx.LayerNorm(32, rngs=rngs)
        self.second = nnx.Linear(32, 32, rngs=rngs)
        self.out = nnx.Linear(32, 3, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Return the logits [B, 3]."""
        hidden = nnx.gelu(self.norm(self.first(x)))
        return self.out(nnx.gelu(self.second(hidden)))


GRAPH, STATE = nnx.split(Network(nnx.Rngs(0)), nnx.Param)


def data(seed: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return points on three arms of a spiral, and which arm each lies on."""
    rng = np.random.default_rng(seed)
    arm, radius = rng.integers(0, 3, count), rng.uniform(0.1, 1, count)
    angle = 2 * np.pi * (arm / 3 + 0.7 * radius) + rng.normal(0, 0.15, count)
    points = radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return points.astype(np.float32), arm


def logits(params: Any, batch: Any) -> jax.Array:
    """Return the logits [B, 3]."""
    outputs: jax.Array = nnx.merge(GRAPH, params)(batch[0])
    return outputs


def cross_entropy(outputs: jax.Array, batch: Any) -> jax.Array:
    """Return the loss of each example [B]."""
    return optax.softmax_cross_entropy_with_integer_labels(outputs, batch[1])


def loss(params: Any, batch: Any) -> jax.Array:
    """Return the loss of each example [B]."""
    return cross_entropy(logits(params, batch), batch)


def accuracy(params: Any, batch: Any) -> jax.Array:
    """Return 1 for each example [B] that is classified correctly."""
    return jnp.argmax(logits(params, batch), axis=1) == batch[1]


def problem() -> landscape.Problem:
    """Return the problem, with outputs: Gauss-Newton and Fisher matrices need them."""
    return landscape.Problem(
        loss,
        train=data(0, 600),
        test=data(1, 300),
        metrics={"accuracy": accuracy},
        outputs=landscape.Outputs(logits, cross_entropy),
        like=STATE,  # files hold arrays by name: this is the structure that the loss takes
        name="spiral",
    )


def train(seed: int, steps: int = 600) -> Any:
    """Return the parameters of a network trained by Adam, an `nnx.State`."""
    _, params = nnx.split(Network(nnx.Rngs(seed)), nnx.Param)
    batch, adam = data(0, 600), optax.adam(3e-3)

    @jax.jit
    def step(params: Any, state: Any) -> tuple[Any, Any]:
        gradient = jax.grad(lambda p: loss(p, batch).mean())(params)
        updates, state = adam.update(gradient, state)
        return optax.apply_updates(params, updates), state

    state = adam.init(params)
    for _ in range(steps):
        params, state = step(params, state)
    return params


if __name__ == "__main__":
    for seed, path in enumerate(sys.argv[1:3]):
        landscape.save(path, landscape.Checkpoint(params=train(seed)), force=True)
