"""Networks trained in PyTorch, saved as safetensors, measured in JAX under torch's own names.

    python examples/models/torch_state_dict.py a.safetensors b.safetensors
    landscape barrier a.safetensors b.safetensors --problem examples/models/torch_state_dict.py:problem

In PyTorch: ``safetensors.torch.save_file(model.state_dict(), "a.safetensors")``. Here the module is

    nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(128, 4))

and the same function is written in JAX for torch's shapes: kernels [out, in, …], images [B, C, H, W]; the
dots of a name are read as a path. Without PyTorch at hand this file trains that function itself and saves it
as PyTorch would.
"""

from __future__ import annotations

import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from safetensors.numpy import save_file

import landscape


def data(seed: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return images [count, 1, 8, 8] with a bright square in one of four corners, and which corner."""
    rng = np.random.default_rng(seed)
    corner = rng.integers(0, 4, count)
    images = rng.normal(0, 0.7, (count, 1, 8, 8))
    for number, place in enumerate(corner):
        row, column = 4 * (place // 2) + rng.integers(0, 2), 4 * (place % 2) + rng.integers(0, 2)
        images[number, 0, row : row + 3, column : column + 3] += 1
    return images.astype(np.float32), corner


def init(seed: int) -> Any:
    """Return an untrained network, with torch's names and its uniform initialisation."""
    rng = np.random.default_rng(seed)

    def uniform(fan_in: int, *shape: int) -> np.ndarray:
        return rng.uniform(-1, 1, shape).astype(np.float32) / np.float32(np.sqrt(fan_in))

    return {
        "0": {"weight": uniform(9, 8, 1, 3, 3), "bias": uniform(9, 8)},
        "4": {"weight": uniform(128, 4, 128), "bias": uniform(128, 4)},
    }


def logits(params: Any, batch: Any) -> jax.Array:
    """Return the logits [B, 4] of the module above."""
    images, _ = batch
    hidden = jax.lax.conv_general_dilated(
        images, params["0"]["weight"], (1, 1), "SAME", dimension_numbers=("NCHW", "OIHW", "NCHW")
    )
    hidden = jax.nn.relu(hidden + params["0"]["bias"][:, None, None])
    pooled = hidden.reshape(len(images), 8, 4, 2, 4, 2).max(axis=(3, 5))
    return pooled.reshape(len(images), -1) @ params["4"]["weight"].T + params["4"]["bias"]


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
        train=data(0, 400),
        test=data(1, 200),
        metrics={"accuracy": accuracy},
        outputs=landscape.Outputs(logits, cross_entropy),
        name="corners",
    )


def train(seed: int, steps: int = 300) -> Any:
    """Return a network trained by Adam."""
    params, batch, adam = init(seed), data(0, 400), optax.adam(3e-3)

    @jax.jit
    def step(params: Any, state: Any) -> tuple[Any, Any]:
        gradient = jax.grad(lambda p: loss(p, batch).mean())(params)
        updates, state = adam.update(gradient, state)
        return optax.apply_updates(params, updates), state

    state = adam.init(params)
    for _ in range(steps):
        params, state = step(params, state)
    return params


def state_dict(network: Any) -> dict[str, np.ndarray]:
    """Return the arrays by torch's names."""
    return {
        f"{layer}.{name}": np.asarray(array)
        for layer, arrays in network.items()
        for name, array in arrays.items()
    }


if __name__ == "__main__":
    for seed, path in enumerate(sys.argv[1:3]):
        save_file(state_dict(train(seed)), path)
