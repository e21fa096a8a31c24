"""How far the features that enter each kernel spread over the data."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from landscape.compute import on_device
from landscape.errors import ProblemError
from landscape.flatness.evaluations import Place
from landscape.flatness.neighbourhood import Neighbourhood
from landscape.problem import users_errors

PyTree = Any
Features = Callable[[PyTree, PyTree], Mapping[str, jax.Array]]

# Units in the last place of its mean by which a feature may seem to vary where it is constant.
_ROUNDING = 16


def feature_spreads(around: Neighbourhood, kernels: Mapping[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """Return the standard deviation [inputs] of each feature that enters each kernel.

    They are over all examples (and places, of a convolution), divided by their number; 0 for a
    feature that never changes.

    Raises
    ------
    ProblemError
        If the problem has no `features`, or they are not those of the kernels.
    """
    features = around.problem.features
    if features is None:
        raise ProblemError(
            "features: the problem does not say what enters its kernels",
            expected="Problem(..., features=f), f(params, batch) -> {path: [B, …, inputs]}",
            got="a loss alone",
            hint="Give them, or measure relative_flatness, with the features as they are.",
        )
    sizes = {path: int(np.prod(shape[:-1])) for path, shape in kernels.items()}
    with around.computing():
        _check_shapes(around, features, sizes)
        near = _moments(around, features, {path: np.zeros(size) for path, size in sizes.items()})
        means = {path: mean for path, (mean, _) in near.items()}
        found = _moments(around, features, means)
    around.worked(passes=2)
    spreads = {}
    for path, (shift, square) in found.items():
        spread = np.sqrt(np.maximum(square - shift**2, 0.0))
        spread[spread <= _ROUNDING * np.finfo(around.dtype).eps * np.abs(means[path])] = 0.0
        spreads[path] = spread
    return spreads


def _check_shapes(around: Neighbourhood, features: Features, sizes: Mapping[str, int]) -> None:
    """Refuse features that are not those of the kernels, by those of one example."""
    batch = jax.tree.map(on_device, around.problem.head(1, around.options.split))
    with users_errors():
        found = jax.eval_shape(lambda place, batch: features(place.point, batch), around.place, batch)
    seen = {path: tuple(found[path].shape) if path in found else () for path in sizes}
    faults = [
        f"{path}: {shape or 'none'}"
        for path, shape in seen.items()
        if len(shape) < 2 or (shape[0], shape[-1]) != (1, sizes[path])
    ]
    if faults:
        raise ProblemError(
            "features: not those of the kernels",
            expected=", ".join(f"{path} [B, …, {sizes[path]}]" for path in sizes),
            got="of one example: " + ", ".join(faults),
        )


def _moments(
    around: Neighbourhood, features: Features, origins: Mapping[str, np.ndarray]
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return the means of the features and of their squares, both as seen from an origin."""
    given = {path: around.on_device(origin) for path, origin in origins.items()}
    programs, parts = around.parts()
    sums = programs.compiled("features", lambda: functools.partial(_sums, features))
    total: Any = None
    for batch, weights, _ in parts:
        found = jax.tree.map(lambda x: np.asarray(x, np.float64), sums(around.place, (batch, weights), given))
        total = found if total is None else jax.tree.map(np.add, total, found)
    moments: dict[str, tuple[np.ndarray, np.ndarray]] = total
    return moments


def _sums(features: Features, place: Place, part: tuple[PyTree, jax.Array], origins: Any) -> Any:
    batch, weights = part
    found = features(place.point, batch)

    def of(path: str, origin: jax.Array) -> tuple[jax.Array, jax.Array]:
        away = found[path].astype(origin.dtype) - origin
        away = away.reshape(away.shape[0], -1, away.shape[-1])
        # A mean over the places of an example first: their number may be large.
        return weights @ away.mean(1), weights @ (away**2).mean(1)

    return {path: of(path, origin) for path, origin in origins.items()}
