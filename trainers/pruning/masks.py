"""Masks with exact counts.

Masks are bool vectors in the order of a `landscape.trees.Layout`: escaped path ascending, then C
order. One stable sort in that order makes the count exact and ties independent of how the parameter
tree was built. One pruning takes three steps: refuse what has no order (NaN, or fewer weights alive than
are to be kept); rank the surviving prunable weights by score, ties in the order of the layout; keep the
first `keep`, and everything that may not be pruned.
"""

from __future__ import annotations

import math

import numpy as np

from landscape.errors import ConfigurationError, MaskError
from landscape.trees import Layout


def count_to_keep(num_prunable: int, density: float) -> int:
    """Return floor(n·density + ½), at least 1, from the dense number of prunable weights n.

    Raises
    ------
    ConfigurationError
        If the density is not in (0, 1].
    """
    if not 0.0 < density <= 1.0:
        raise ConfigurationError("density: outside (0, 1]", got=f"{density!r}")
    return max(1, math.floor(num_prunable * density + 0.5))


def keep_highest(
    scores: np.ndarray, mask: np.ndarray, prunable: np.ndarray, keep: int, *, layout: Layout | None = None
) -> np.ndarray:
    """Return the mask that keeps the `keep` highest-scoring prunable weights of those in `mask`.

    Parameters
    ----------
    scores : array [n]
        Higher is kept first. Entries already pruned or not prunable are not looked at.
    mask : bool array [n]
        The current mask; what it has pruned stays pruned.
    prunable : bool array [n]
        Entries that pruning may remove; all others stay.
    keep : int
        Prunable weights left afterwards.
    layout : Layout, optional
        Names the leaf in an error.

    Raises
    ------
    MaskError
        If a surviving weight's score is NaN, or fewer than `keep` weights survive.
    """
    alive = mask & prunable
    if int(alive.sum()) < keep:
        raise MaskError(
            "pruning: more weights asked for than are left", expected=f"{keep} or more", got=f"{alive.sum()}"
        )
    # NaN sort last: without this refusal a diverged network would lose its weights without a word.
    unusable = alive & np.isnan(scores)
    if unusable.any():
        raise MaskError(
            f"pruning: {int(unusable.sum())} scores are NaN, the first in {_leaf_of(unusable, layout)}",
            hint="Training diverged at this level: lower the step size or the initial standard deviation.",
        )
    ranked = np.where(alive, scores.astype(np.float64), -np.inf)
    # Stable and descending: equal scores stay in the order of the layout. Pruned entries may tie
    # with a score of -inf, so they are ranked behind all that are alive.
    order = np.lexsort((np.arange(scores.size), -ranked, ~alive))
    kept = np.zeros(mask.shape, bool)
    kept[order[:keep]] = True
    result: np.ndarray = kept | (mask & ~prunable)
    return result


def _leaf_of(flags: np.ndarray, layout: Layout | None) -> str:
    first = int(np.flatnonzero(flags)[0])
    if layout is None:
        return f"entry {first}"
    return next(path for path, where in layout.slices.items() if where.start <= first < where.stop)


def layer_densities(mask: np.ndarray, layout: Layout) -> dict[str, float]:
    """Return the fraction of weights left in every leaf, by path."""
    return {path: float(mask[where].mean()) for path, where in layout.slices.items()}
