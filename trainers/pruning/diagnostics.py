"""Diagnostics of masks and scores: densities, weights on paths, overlaps, rank correlations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from landscape.trees import Layout
from trainers.pruning.masks import layer_densities
from trainers.pruning.paths import ChainLayer, effective_mask

__all__ = ["densities", "mask_overlap", "rank_correlations"]


def densities(
    mask: np.ndarray, prunable: np.ndarray, layout: Layout, chain: Sequence[ChainLayer] | None = None
) -> dict[str, Any]:
    """Return how sparse a mask is.

    Parameters
    ----------
    mask, prunable : bool array [n]
        Surviving entries, and those that pruning may remove.
    layout : Layout
        Where the layers are.
    chain : sequence of ChainLayer, optional
        The network as a chain, for the effective density.

    Returns
    -------
    dict
        ``density`` of the prunable weights, ``density_all`` over all parameters, ``num_weights``,
        ``layers`` (density of every prunable leaf), ``collapsed`` (prunable leaves with nothing left),
        and with a chain ``effective_density``: of the prunable weights, those on a path from input to
        output.
    """
    kernels = layer_densities(prunable, layout)
    layers = {path: value for path, value in layer_densities(mask, layout).items() if kernels[path] > 0}
    found: dict[str, Any] = {
        "density": float(mask[prunable].mean()),
        "density_all": float(mask.mean()),
        "num_weights": int((mask & prunable).sum()),
        "layers": layers,
        "collapsed": [path for path, value in layers.items() if value == 0.0],
    }
    if chain is not None:
        on_path = effective_mask(mask, layout, chain) & prunable
        found["effective_density"] = float(on_path.sum() / prunable.sum())
    return found


def rank_correlations(
    scores: np.ndarray, first: np.ndarray, alive: np.ndarray, layout: Layout
) -> dict[str, float | None]:
    """Return Spearman's rank correlation of scores with those of the first level, by leaf and over all.

    Parameters
    ----------
    scores, first : array [n]
        Scores of this level and of the first one.
    alive : bool array [n]
        Entries that are compared: the prunable weights that survive.
    layout : Layout
        Where the leaves are.

    Returns
    -------
    dict
        By path, and ``"all"``; None where fewer than three weights survive or all scores are equal.
        Equal scores have their mean rank.

    References
    ----------
    Lange & Sprekeler 2023, figure 7.
    """
    found: dict[str, float | None] = {"all": _spearman(scores[alive], first[alive])}
    for path, where in layout.slices.items():
        inside = alive[where]
        if inside.any():
            found[path] = _spearman(scores[where][inside], first[where][inside])
    return found


def _spearman(a: np.ndarray, b: np.ndarray) -> float | None:
    from scipy.stats import rankdata  # most of a second, which commands that rank nothing need not wait

    if a.size < 3 or not (np.isfinite(a).all() and np.isfinite(b).all()):
        return None
    x, y = (rankdata(values) - (values.size + 1) / 2 for values in (a, b))
    scale = float(np.sqrt((x**2).sum() * (y**2).sum()))
    return float((x * y).sum() / scale) if scale > 0 else None


def mask_overlap(a: np.ndarray, b: np.ndarray, prunable: np.ndarray, layout: Layout) -> Mapping[str, float]:
    """Return the Jaccard index of two masks over prunable weights, and what chance would give.

    By chance: the expected intersection of two random masks with the same number of weights in each
    layer, over the union that it implies.
    """
    both = int((a & b & prunable).sum())
    total = int((a & prunable).sum() + (b & prunable).sum())
    expected = sum(
        float(a[where][inside].sum()) * float(b[where][inside].sum()) / inside.sum()
        for where in layout.slices.values()
        if (inside := prunable[where]).any()
    )
    return {"jaccard": both / (total - both), "by_chance": expected / (total - expected)}
