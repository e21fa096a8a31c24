"""Problems with known flatness: quadratic and linear losses, bias-free and other rectifier networks."""

from __future__ import annotations

import functools
import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from curvature_samples import cross_entropy

from landscape import Checkpoint, Metric, Outputs, Problem

F64: dict[str, Any] = {"dtype": "float64"}
QUICK = ["gaussian", "sam", "fisher_rao", "top_eigenvalue"]


def quadratic(
    size: int = 6, examples: int = 5, *, seed: int = 0, shift: float = 0.0, slope: float = 1.0
) -> tuple[Problem, dict[str, np.ndarray], np.ndarray, np.ndarray]:
    """Return a problem with mean loss ½ θᵀAθ + b·θ, parameters, the Hessian A and the gradient there."""
    rng = np.random.default_rng(seed)
    raw = rng.normal(size=(examples, size, size))
    matrices = (raw + raw.transpose(0, 2, 1)) / 2 + shift * np.eye(size)
    linear = slope * rng.normal(size=(examples, size))
    theta = rng.normal(size=size)

    def loss(params: Any, batch: Any) -> jax.Array:
        w = params["w"]
        return 0.5 * jnp.einsum("i,bij,j->b", w, batch[0], w) + batch[1] @ w

    problem = Problem(loss, train=(matrices, linear))
    hessian = matrices.mean(0)
    if slope == 0:  # a critical point
        theta = np.zeros(size)
    return problem, {"w": theta}, hessian, hessian @ theta + linear.mean(0)


def linear(size: int = 7, examples: int = 4) -> tuple[Problem, dict[str, np.ndarray], np.ndarray]:
    """Return a problem whose loss is linear, parameters, and the gradients of the examples."""
    rng = np.random.default_rng(1)
    slopes, theta = rng.normal(size=(examples, size)), rng.normal(size=size)
    return Problem(lambda p, b: b @ p["w"], train=slopes), {"w": theta}, slopes


SIZES = (4, 5, 6, 3)


def relu_model(params: Any, batch: Any) -> jax.Array:
    value = batch[0]
    for i in range(3):
        layer = params[f"Dense_{i}"]
        value = value @ layer["kernel"] + layer.get("bias", 0.0)
        value = jax.nn.relu(value) if i < 2 else value
    return value


def relu_features(params: Any, batch: Any) -> dict[str, jax.Array]:
    """Return what enters each kernel of `relu_model`."""
    found, value = {}, batch[0]
    for i in range(3):
        layer = params[f"Dense_{i}"]
        found[f"Dense_{i}/kernel"] = value
        value = jax.nn.relu(value @ layer["kernel"] + layer.get("bias", 0.0))
    return found


def relu_network(*, bias: bool = False, seed: int = 2) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    network = {}
    for i, shape in enumerate(itertools.pairwise(SIZES)):
        layer = {"kernel": rng.normal(size=shape)}
        if bias:
            layer["bias"] = rng.normal(size=shape[1])
        network[f"Dense_{i}"] = layer
    return network


def relu_problem(**options: Any) -> Problem:
    return _relu_problem() if not options else _new_relu_problem(**options)


@functools.cache
def _relu_problem() -> Problem:
    return _new_relu_problem()  # one for all tests: its programs are compiled once


def _new_relu_problem(examples: int = 60, **options: Any) -> Problem:
    """Return images of noise with the labels that `relu_network()` gives them, a fifth of them random."""
    rng = np.random.default_rng(5)
    inputs, labels = rng.normal(size=(examples, SIZES[0])), rng.integers(0, SIZES[-1], examples)
    own = np.asarray(relu_model(relu_network(), (inputs,))).argmax(-1)
    data = (inputs, np.where(np.arange(examples) % 5, own, labels).astype(np.int32))

    def correct(params: Any, batch: Any) -> jax.Array:
        return relu_model(params, batch).argmax(-1) == batch[1]

    return Problem(
        lambda p, b: cross_entropy(relu_model(p, b), b),
        train=data,
        metrics={"accuracy": Metric(correct, higher_is_better=True)},
        outputs=Outputs(relu_model, cross_entropy, likelihood="categorical"),
        features=relu_features,
        **options,
    )


def rescaled(network: dict[str, Any], factor: float, *, unit: int | None = None) -> dict[str, Any]:
    """Return the same function with the first layer, or one unit of it, scaled up and the next one down."""
    copy = jax.tree.map(np.array, network)
    at = slice(None) if unit is None else unit
    copy["Dense_0"]["kernel"][:, at] *= factor
    if "bias" in copy["Dense_0"]:
        copy["Dense_0"]["bias"][at] *= factor
    copy["Dense_1"]["kernel"][at] /= factor
    return copy


def trust_region(hessian: np.ndarray, slope: np.ndarray, radius: float) -> float:
    """Return the maximum of g·ε + ½ εᵀHε over ‖ε‖ ≤ radius, from the eigen-decomposition."""
    values, vectors = np.linalg.eigh(-hessian)  # minimise ½ εᵀ(−H)ε − g·ε
    along = vectors.T @ slope

    def length(multiplier: float) -> float:
        return float(np.linalg.norm(along / (values + multiplier)))

    low = max(0.0, -values[0])
    if values[0] > 0 and length(0.0) <= radius:
        multiplier = 0.0
    else:
        low += 1e-14 * max(1.0, abs(values[0]))
        high = low + np.linalg.norm(slope) / radius + np.abs(values).max()
        if length(low) < radius:  # the hard case: the rest goes along the extreme eigenvector
            step = along / np.where(values - values[0] > 1e-9, values - values[0], np.inf)
            step[0] = np.sqrt(radius**2 - step @ step)
            return float(along @ step - 0.5 * values @ step**2)
        for _ in range(200):
            middle = (low + high) / 2
            low, high = (middle, high) if length(middle) > radius else (low, middle)
        multiplier = (low + high) / 2
    step = along / (values + multiplier)
    return float(along @ step - 0.5 * values @ step**2)


def classifier(examples: int = 40, size: int = 6) -> tuple[Problem, dict[str, np.ndarray], np.ndarray]:
    """Return a linear classifier with its negative mean margin as the loss, and y x of every example."""
    rng = np.random.default_rng(8)
    theta = rng.normal(size=size)
    signed = rng.normal(size=(examples, size))
    signed *= np.sign(signed @ theta)[:, None]
    metric = Metric(lambda p, b: b @ p["w"] > 0, higher_is_better=True)
    return (
        Problem(lambda p, b: -(b @ p["w"]), train=signed, metrics={"accuracy": metric}),
        {"w": theta},
        signed,
    )


def checkpoints(seeds: int = 2, levels: int = 3) -> list[Checkpoint]:
    """Return tickets of a rectifier network that get sparser level by level."""
    found = []
    for seed in range(seeds):
        network, rng = relu_network(seed=seed), np.random.default_rng(seed)
        mask = jax.tree.map(lambda x: np.ones(x.shape, bool), network)
        for level in range(levels):
            params = jax.tree.map(np.multiply, network, mask)
            info = {"method": "es", "seed": seed, "level": level}
            found.append(Checkpoint(params=params, mask=mask, info=info))
            mask = jax.tree.map(lambda m, r=rng: m & (r.random(m.shape) < 0.8), mask)
    return found


def values(result: Any) -> dict[str, float]:
    return {record["measure"]: record["value"] for record in result.records}
