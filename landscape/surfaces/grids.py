"""Uniform grids along the axes of a line or plane, and what is evaluated at their points. No jax."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from landscape.errors import ConfigurationError

__all__ = ["Axis", "Plan", "axis_of", "grid_of"]

# Points per axis of a grid; lines and planes of random directions, unless the caller says how many.
DEFAULT_POINTS, TRAJECTORY_POINTS = 51, 31
DEFAULT_LINES, DEFAULT_PLANES = 5, 3
_MOST_POINTS = 10_000


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
    """The splits, precision and treatment of statistics of an evaluation at each point."""

    split: str
    splits: tuple[str, ...]
    batch_size: int | None
    dtype: str | None
    batch_stats: str


@dataclasses.dataclass(frozen=True)
class Axis:
    """The grid of one axis.

    Attributes
    ----------
    values : numpy.ndarray [n]
        Ascending; exactly 0 where a point would miss it by rounding alone.
    spec : tuple (low, high, points)
        As the caller gave it.
    """

    values: np.ndarray
    spec: tuple[float, float, int]


def axis_of(name: str, given: Any, default: tuple[float, float]) -> Axis:
    """Return the uniform grid that ``(low, high, points)`` describes; None means the default range.

    Raises
    ------
    ConfigurationError
        If it is not two numbers in ascending order and a number of points, at least 2.
    """
    low, high, points = (*default, DEFAULT_POINTS) if given is None else _three(name, given)
    values = np.linspace(low, high, points)
    # The origin is evaluated as the network it is; a grid that means 0 must say 0.
    values[np.abs(values) < 1e-12 * max(abs(low), abs(high))] = 0.0
    return Axis(values, (float(low), float(high), int(points)))


def _three(name: str, given: Any) -> tuple[float, float, int]:
    expected = "(low, high, points), such as (-1, 1, 51)"
    try:
        low, high, points = given
        low, high = float(low), float(high)
        whole = int(points)
    except (TypeError, ValueError) as error:
        raise ConfigurationError(f"{name}: not a grid", expected=expected, got=repr(given)[:80]) from error
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise ConfigurationError(
            f"{name}: the ends are not in ascending order", expected=expected, got=repr(given)
        )
    if whole != points or not 2 <= whole <= _MOST_POINTS:
        raise ConfigurationError(
            f"{name}: number of points",
            expected=f"a whole number from 2 to {_MOST_POINTS:,}",
            got=repr(points),
        )
    return low, high, whole


def grid_of(axes: Sequence[Axis]) -> np.ndarray:
    """Return the coordinates [P, k] of all points, the last axis fastest."""
    meshes = np.meshgrid(*(axis.values for axis in axes), indexing="ij")
    return np.stack([mesh.ravel() for mesh in meshes], axis=1)
