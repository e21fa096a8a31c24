"""Further points of a path around the maxima of its grid, by golden sections. No jax."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from landscape.connectivity.barrier_interval import DEFINITIONS, baseline, excess

__all__ = ["REFINEMENTS", "refine"]

# Evaluations spent in the two grid cells beside a maximum: golden sections narrow them 29-fold.
REFINEMENTS = 8
_GOLDEN = (5**0.5 - 1) / 2


def refine(loss: Callable[[float], float], alphas: np.ndarray, losses: np.ndarray) -> None:
    """Evaluate `loss` by golden sections around the maximum of each definition on the grid.

    Parameters
    ----------
    loss : callable
        The loss at a point of the path; it keeps what it has measured.
    alphas, losses : numpy.ndarray [T]
        The grid, and its losses.
    """
    for definition in DEFINITIONS:
        top = int(np.argmax(excess(losses, alphas, definition)))
        low, high = (alphas[np.clip(top + step, 0, len(losses) - 1)] for step in (-1, 1))

        def height(alpha: float, definition: str = definition) -> float:
            base = baseline(np.array(alpha), losses[0], losses[-1], definition)
            return loss(alpha) - float(base)

        _golden_section(height, float(low), float(high))


def _golden_section(height: Callable[[float], float], low: float, high: float) -> None:
    """Evaluate `height` at `REFINEMENTS` points that close in on a maximum between `low` and `high`."""
    left, right = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
    at_left, at_right = height(left), height(right)
    for _ in range(REFINEMENTS - 2):
        if at_left >= at_right:
            high, right, at_right = right, left, at_left
            left = high - _GOLDEN * (high - low)
            at_left = height(left)
        else:
            low, left, at_left = left, right, at_right
            right = low + _GOLDEN * (high - low)
            at_right = height(right)
