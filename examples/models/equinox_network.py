"""An Equinox module, given whole: what is no array in it is carried along.

python examples/models/equinox_network.py a.h5 b.h5
landscape barrier a.h5 b.h5 --problem examples/models/equinox_network.py:problem -o barrier.html
"""

from __future__ import annotations

import sys
from typing import Any

import equinox as eqx
import jax
import numpy as np
import optax

import landscape


def new(seed: int) -> eqx.nn.MLP:
    """Return an untrained network: four inputs, two hidden layers of 24 units, one output."""
    return eqx.nn.MLP(4, "scalar", 24, 2, activation=jax.nn.softplus, key=jax.random.key(seed))


def data(seed: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return points in four dimensions, and Friedman's function of them with noise."""
    rng = np.random.default_rng(seed)
    x = rng.uniform(size=(count, 4)).astype(np.float32)
    y = np.sin(np.pi * x[:, 0] * x[:, 1]) + 2 * (x[:, 2] - 0.5) ** 2 + 0.5 * x[:, 3]
    return x, (y + rng.normal(0, 0.05, count)).astype(np.float32)


def loss(network: Any, batch: Any) -> jax.Array:
    """Return the squared error of each example [B]."""
    x, y = batch
    return (jax.vmap(network)(x) - y) ** 2


def problem() -> landscape.Problem:
    """Return the problem; `like` is the structure into which files are brought."""
    return landscape.Problem(loss, train=data(0, 500), test=data(1, 250), like=new(0), name="friedman")


def train(seed: int, steps: int = 600) -> Any:
    """Return a network trained by Adam."""
    network, batch, adam = new(seed), data(0, 500), optax.adam(3e-3)

    @eqx.filter_jit
    def step(network: Any, state: Any) -> tuple[Any, Any]:
        gradient = eqx.filter_grad(lambda n: loss(n, batch).mean())(network)
        updates, state = adam.update(gradient, state)
        return eqx.apply_updates(network, updates), state

    state = adam.init(eqx.filter(network, eqx.is_inexact_array))
    for _ in range(steps):
        network, state = step(network, state)
    return network


if __name__ == "__main__":
    for seed, path in enumerate(sys.argv[1:3]):
        landscape.save(path, landscape.Checkpoint(params=train(seed)), force=True)
