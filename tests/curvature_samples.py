"""Small problems with dense float64 oracles for curvature tests."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from landscape import Outputs, Problem
from landscape.curvature.symmetric import SymmetricOperator
from landscape.trees import Layout
from trainers.tasks.networks import build, initialise

RNG = np.random.default_rng(7)
INPUTS = RNG.normal(size=(11, 3)).astype(np.float32)
TARGETS = RNG.normal(size=(11,)).astype(np.float32)
LABELS = RNG.integers(0, 3, 11).astype(np.int32)

# Spectra over which intervals are to cover.
FAMILY = {
    "flat": np.random.default_rng(0).uniform(0.5, 1.5, 120),
    "1/i": 1 / np.arange(1, 121),
    "1/i²": 1 / np.arange(1, 121) ** 2,
    "spike": np.r_[100.0, np.full(119, 0.1)],
    "indefinite": np.random.default_rng(1).normal(size=120),
    "rank 3": np.r_[3.0, 2.0, 1.0, np.zeros(117)],
}


def cross_entropy(logits: jax.Array, batch: Any) -> jax.Array:
    true = jnp.take_along_axis(logits, batch[1][:, None], axis=-1)[:, 0]
    return jax.nn.logsumexp(logits, axis=-1) - true


def linear_problem(**options: Any) -> Problem:
    def model(params: Any, batch: Any) -> jax.Array:
        return batch[0] @ params["w"]

    def square(z: jax.Array, batch: Any) -> jax.Array:
        return 0.5 * (z - batch[1]) ** 2

    outputs = Outputs(model, square, likelihood="gaussian")
    return Problem(lambda p, b: square(model(p, b), b), train=(INPUTS, TARGETS), outputs=outputs, **options)


def softmax_problem(**options: Any) -> Problem:
    def model(params: Any, batch: Any) -> jax.Array:
        return batch[0] @ params["kernel"] + params["bias"]

    outputs = Outputs(model, cross_entropy, likelihood="categorical")
    return Problem(
        lambda p, b: cross_entropy(model(p, b), b), train=(INPUTS, LABELS), outputs=outputs, **options
    )


def tanh_params() -> dict[str, Any]:
    rng = np.random.default_rng(3)
    sizes = {"a": (3, 4), "b": (4, 3)}
    return {
        name: {
            "kernel": rng.normal(size=shape).astype(np.float32),
            "bias": rng.normal(size=shape[1]).astype(np.float32),
        }
        for name, shape in sizes.items()
    }


def tanh_model(params: Any, batch: Any) -> jax.Array:
    hidden = jnp.tanh(batch[0] @ params["a"]["kernel"] + params["a"]["bias"])
    return hidden @ params["b"]["kernel"] + params["b"]["bias"]


@functools.cache
def tanh_problem() -> Problem:
    """Return a small smooth network: 31 parameters, 11 examples."""
    outputs = Outputs(tanh_model, cross_entropy, likelihood="categorical")
    return Problem(lambda p, b: cross_entropy(tanh_model(p, b), b), train=(INPUTS, LABELS), outputs=outputs)


@functools.cache
def network_problem(kind: str, pixels: int = 28) -> tuple[Problem, Any]:
    """Return one of the package's networks on a few random images, with initial parameters."""
    network = {"kind": kind, "widths": [6]} if kind == "mlp" else {"kind": kind}
    shape = (pixels, pixels, 1)
    module, rng = build(network), np.random.default_rng(0)
    images = rng.normal(size=(5, *shape)).astype(np.float32)
    labels = rng.integers(0, 10, 5).astype(np.int32)

    def model(params: Any, batch: Any) -> jax.Array:
        return jnp.asarray(module.apply({"params": params}, batch[0]))

    outputs = Outputs(model, cross_entropy, likelihood="categorical")
    problem = Problem(lambda p, b: cross_entropy(model(p, b), b), train=(images, labels), outputs=outputs)
    return problem, initialise(network, shape, 0)


def dense_hessian(loss: Callable[[Any, Any], jax.Array], params: Any, batch: Any) -> np.ndarray:
    """Return the Hessian of the mean loss in float64, by differentiating it twice as a whole."""
    with jax.enable_x64(True), jax.default_matmul_precision("highest"):
        layout = Layout.of(params)
        wide = jax.tree.map(
            lambda x: jnp.asarray(x, jnp.float64) if np.asarray(x).dtype.kind == "f" else jnp.asarray(x),
            batch,
        )
        vector = jnp.asarray(layout.flatten(params), jnp.float64)
        second = jax.jit(jax.hessian(lambda v: loss(layout.unflatten(v, params), wide).mean()))
        return np.asarray(second(vector))


def prescribed(values: np.ndarray, seed: int = 0) -> np.ndarray:
    """Return a dense symmetric matrix with the given eigenvalues and random eigenvectors."""
    rng = np.random.default_rng(seed)
    vectors = np.linalg.qr(rng.standard_normal((len(values), len(values))))[0]
    return (vectors * values) @ vectors.T


class NaN(SymmetricOperator):
    """A matrix whose products are finite for a while."""

    def __init__(self, good: int) -> None:
        super().__init__(200, np.dtype(float))
        self.good = good

    def _products(self, rows: np.ndarray) -> np.ndarray:
        self.good -= len(rows)
        return rows if self.good >= 0 else rows * np.nan
