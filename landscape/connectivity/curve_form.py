"""The form of curves between two networks: weights of control points, speed and length. No jax.

A curve is φ(t) = Σ_j w_j(t) c_j. Its speed ‖φ'(t)‖² = w'(t)ᵀ G w'(t) needs the control points' Gram matrix G
only.
"""

from __future__ import annotations

import itertools
import math

import numpy as np

__all__ = [
    "BEZIER",
    "CHAIN",
    "CURVES",
    "DEFAULT_BENDS",
    "NEB",
    "STRAIGHT",
    "arc_mean",
    "length_of",
    "weights_at",
]

BEZIER, CHAIN, NEB = "bezier", "chain", "neb"
CURVES = (BEZIER, CHAIN, NEB)
DEFAULT_BENDS = {BEZIER: 1, CHAIN: 1, NEB: 7}
# What measures the way between two networks without derivatives.
STRAIGHT = "loss_barrier or barrier_matrix, along straight lines"
_FINE = 2_001  # times at which the speed of a curve is integrated


def weights_at(curve: str, t: float | np.ndarray, bends: int) -> np.ndarray:
    """Return the weights [..., k + 2] of the control points at times [...]."""
    times = np.asarray(t, np.float64)[..., None]
    degree = bends + 1
    j = np.arange(degree + 1)
    if curve == BEZIER:
        binomials = np.array([math.comb(degree, i) for i in j], np.float64)
        bernstein: np.ndarray = binomials * times**j * (1 - times) ** (degree - j)
        return bernstein
    hats: np.ndarray = np.maximum(0.0, 1 - np.abs(times * degree - j))
    return hats


def _speeds(curve: str, controls: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Return the lengths of the pieces between successive times, divided by their durations."""
    wide = controls.astype(np.float64)
    gram = wide @ wide.T
    steps = np.diff(weights_at(curve, times, len(controls) - 2), axis=0)
    squares = np.einsum("ti,ij,tj->t", steps, gram, steps)
    speeds: np.ndarray = np.sqrt(np.maximum(squares, 0.0)) / np.diff(times)
    return speeds


def length_of(curve: str, controls: np.ndarray) -> float:
    """Return the length of a curve [k + 2, size] in parameter space, by a fine polygon."""
    times = np.linspace(0, 1, _FINE)
    return float((_speeds(curve, controls, times) * np.diff(times)).sum())


def arc_mean(curve: str, controls: np.ndarray, times: np.ndarray, values: np.ndarray) -> float:
    """Return ``∫ L dφ / ∫ dφ`` of values at times: trapezoids, weighted by the length of each piece.

    The mean over times where the curve has no length.
    """
    pieces = np.array(
        [
            (_speeds(curve, controls, fine) * np.diff(fine)).sum()
            for fine in (np.linspace(first, last, 41) for first, last in itertools.pairwise(times))
        ]
    )
    if pieces.sum() == 0:
        return float(np.mean(values))
    return float((pieces * (values[:-1] + values[1:]) / 2).sum() / pieces.sum())
