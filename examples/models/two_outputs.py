"""Regression with two outputs and two metrics, in plain JAX: a mean and the logarithm of a spread.

    python examples/models/two_outputs.py a.npz b.npz
    landscape flatness a.npz b.npz --problem examples/models/two_outputs.py:problem -o flatness.html

The networks are saved by `numpy.savez`: files of other tools need no conversion.
"""

from __future__ import annotations

import itertools
import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import landscape


def data(seed: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return numbers, and a sine of them with noise that grows."""
    rng = np.random.default_rng(seed)
    x = rng.uniform(-2, 2, (count, 1)).astype(np.float32)
    noise = rng.normal(size=count) * (0.05 + 0.1 * (x[:, 0] + 2))
    return x, (np.sin(2 * x[:, 0]) + noise).astype(np.float32)


def init(seed: int) -> dict[str, np.ndarray]:
    """Return an untrained network, arrays by name."""
    rng, sizes = np.random.default_rng(seed), (1, 32, 32, 2)
    params = {}
    for number, (rows, columns) in enumerate(itertools.pairwise(sizes)):
        scale = np.sqrt(3 / rows)
        params[f"w{number}"] = rng.uniform(-scale, scale, (rows, columns)).astype(np.float32)
        params[f"b{number}"] = rng.uniform(-scale, scale, columns).astype(np.float32)
    return params


def outputs(params: Any, batch: Any) -> jax.Array:
    """Return mean and logarithm of the standard deviation of each example [B, 2]."""
    hidden = jnp.tanh(batch[0] @ params["w0"] + params["b0"])
    hidden = jnp.tanh(hidden @ params["w1"] + params["b1"])
    return hidden @ params["w2"] + params["b2"]


def negative_log_likelihood(found: jax.Array, batch: Any) -> jax.Array:
    """Return that of a normal distribution, of each example [B]."""
    mean, log_std = found[:, 0], found[:, 1]
    return 0.5 * ((batch[1] - mean) * jnp.exp(-log_std)) ** 2 + log_std + 0.5 * np.log(2 * np.pi)


def loss(params: Any, batch: Any) -> jax.Array:
    """Return the loss of each example [B]."""
    return negative_log_likelihood(outputs(params, batch), batch)


def squared_error(params: Any, batch: Any) -> jax.Array:
    """Return the squared error of the mean of each example [B]."""
    return (outputs(params, batch)[:, 0] - batch[1]) ** 2


def within(params: Any, batch: Any) -> jax.Array:
    """Return 1 for each example [B] within two standard deviations."""
    found = outputs(params, batch)
    return jnp.abs(batch[1] - found[:, 0]) < 2 * jnp.exp(found[:, 1])


def problem() -> landscape.Problem:
    """Return the problem, with outputs: Gauss-Newton and Fisher matrices need them."""
    return landscape.Problem(
        loss,
        train=data(0, 400),
        test=data(1, 400),
        metrics={
            "squared error": squared_error,
            "within 2 sd": landscape.Metric(within, higher_is_better=True),
        },
        outputs=landscape.Outputs(outputs, negative_log_likelihood),
        name="growing noise",
    )


def train(seed: int, steps: int = 1_500) -> Any:
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


if __name__ == "__main__":
    for seed, path in enumerate(sys.argv[1:3]):
        np.savez(path, **train(seed))
