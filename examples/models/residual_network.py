"""A residual convolutional network of about a million weights, with group normalisation.

python examples/models/residual_network.py a.h5 b.h5
landscape curvature a.h5 --problem examples/models/residual_network.py:problem --top 3 -o curvature.html
"""

from __future__ import annotations

import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

import landscape


class Block(nn.Module):
    """Two convolutions beside a shortcut."""

    width: int
    stride: int = 1

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Return [B, H / stride, W / stride, width]."""
        strides = (self.stride, self.stride)
        y = nn.relu(nn.GroupNorm(8)(nn.Conv(self.width, (3, 3), strides, use_bias=False)(x)))
        y = nn.GroupNorm(8)(nn.Conv(self.width, (3, 3), use_bias=False)(y))
        if y.shape != x.shape:
            x = nn.Conv(self.width, (1, 1), strides, use_bias=False)(x)
        return nn.relu(x + y)


class ResNet(nn.Module):
    """A stem, five blocks, global average pooling."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Return the logits [B, 4]."""
        x = nn.relu(nn.GroupNorm(8)(nn.Conv(48, (3, 3), use_bias=False)(x)))
        for width, stride in ((48, 1), (96, 2), (96, 1), (144, 2), (144, 1)):
            x = Block(width, stride)(x)
        return nn.Dense(4)(x.mean(axis=(1, 2)))


MODEL = ResNet()


def data(seed: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return images [count, 8, 8, 1] of stripes in four directions with noise, and their directions."""
    rng = np.random.default_rng(seed)
    kinds, phase = rng.integers(0, 4, count), rng.uniform(0, 2 * np.pi, (count, 1, 1))
    angle = (kinds * np.pi / 4)[:, None, None]
    rows, columns = np.mgrid[:8, :8]
    waves = np.sin(1.4 * (np.cos(angle) * rows + np.sin(angle) * columns) + phase)
    images = waves + rng.normal(0, 0.8, waves.shape)
    return images[..., None].astype(np.float32), kinds


def logits(params: Any, batch: Any) -> jax.Array:
    """Return the logits [B, 4]."""
    outputs: jax.Array = MODEL.apply({"params": params}, batch[0])
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
        train=data(0, 128),
        test=data(1, 128),
        metrics={"accuracy": accuracy},
        outputs=landscape.Outputs(logits, cross_entropy),
        name="stripes",
    )


def train(seed: int, steps: int = 60) -> Any:
    """Return the parameters of a network trained by Adam on fresh images."""
    params = MODEL.init(jax.random.key(seed), data(0, 1)[0])["params"]
    adam = optax.adam(1e-3)

    @jax.jit
    def step(params: Any, state: Any, batch: Any) -> tuple[Any, Any]:
        gradient = jax.grad(lambda p: loss(p, batch).mean())(params)
        updates, state = adam.update(gradient, state)
        return optax.apply_updates(params, updates), state

    state = adam.init(params)
    for number in range(steps):
        params, state = step(params, state, data(1_000 + number, 64))
    return params


if __name__ == "__main__":
    for seed, path in enumerate(sys.argv[1:3]):
        landscape.save(path, landscape.Checkpoint(params=train(seed)), force=True)
