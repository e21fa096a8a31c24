"""Scopes: among which weights scores compete, and how many each layer keeps.

One pruning (`prune`), every scope keeping exactly the count that is asked for, and never a weight that
is pruned already:

1. "global": all surviving weights compete in one ranking. Otherwise
2. weigh the layers: by size ("layerwise"), or by the Erdős–Rényi densities of Mocanu et al. 2018 ("er")
   and, for convolutions, of Evci et al. 2020 ("erk");
3. share the count in proportion to these weights; a layer whose share exceeds what it has left keeps
   all of it, and the others share the rest, until no share is too large (`_shares`);
4. round down, and give what is missing to the largest remainders (`layer_counts`);
5. rank within each layer.

Scores that depend on the mask are pruned in rounds (`prune_in_steps`; Tanaka et al. 2020, algorithm 1):
for k = 1 … K score the current mask and prune it to the density ρ^(k/K).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from landscape.errors import ConfigurationError, MaskError, did_you_mean
from landscape.trees import Layout
from trainers.pruning.masks import keep_highest

__all__ = ["SCOPES", "layer_counts", "prune", "prune_in_steps"]

SCOPES = ("global", "layerwise", "er", "erk")


def prune(
    scores: np.ndarray, mask: np.ndarray, prunable: np.ndarray, *, keep: int, layout: Layout, scope: str
) -> np.ndarray:
    """Return the mask [n] that keeps `keep` prunable weights of those in `mask`.

    Parameters
    ----------
    scores : array [n]
        Higher is kept first.
    mask, prunable : bool array [n]
        What is free so far, and what may be pruned.
    keep : int
        Prunable weights left afterwards.
    layout : Layout
        Where the layers are.
    scope : str
        ``"global"``: one ranking over all layers. ``"layerwise"``, ``"er"``, ``"erk"``: the counts of
        `layer_counts`, and a ranking in each layer.

    Raises
    ------
    MaskError
        If a surviving weight's score is NaN, or fewer than `keep` weights survive.
    ConfigurationError
        If there is no such scope.
    """
    if scope == "global":
        return keep_highest(scores, mask, prunable, keep, layout=layout)
    counts = layer_counts(scope, mask, prunable, keep=keep, layout=layout)
    result: np.ndarray = mask & ~prunable
    for path, where in layout.slices.items():
        inside = np.zeros(mask.shape, bool)
        inside[where] = prunable[where]
        if inside.any():
            result |= keep_highest(scores, mask & inside, inside, counts[path], layout=layout)
    return result


def layer_counts(
    scope: str, mask: np.ndarray, prunable: np.ndarray, *, keep: int, layout: Layout
) -> dict[str, int]:
    r"""Return how many prunable weights every leaf keeps; they sum to `keep`.

    The density of a layer is proportional to 1 (layerwise), to
    $(n_\text{in} + n_\text{out}) / (n_\text{in} n_\text{out})$ (er), or for convolutions to
    $(n_\text{in} + n_\text{out} + k_h + k_w) / (n_\text{in} n_\text{out} k_h k_w)$ (erk). Layers that
    would pass what they have left keep all of it, and the others share the rest in proportion. Counts
    are rounded down, and what is missing goes to the largest remainders, equal ones in the order of
    the layout.

    References
    ----------
    Mocanu et al. 2018 (arXiv 1707.04780) for er; Evci et al. 2020 (arXiv 1911.11134) for erk.
    """
    if scope not in _WEIGHTS:
        raise ConfigurationError(
            f"pruning.scope {scope!r}: unknown",
            expected="one of " + ", ".join(SCOPES),
            hint=did_you_mean(scope, SCOPES),
        )
    paths = [path for path, where in layout.slices.items() if prunable[where].any()]
    slices, shapes = layout.slices, dict(zip(layout.paths, layout.shapes, strict=True))
    alive = np.asarray([int((mask & prunable)[slices[path]].sum()) for path in paths])
    if int(alive.sum()) < keep:
        raise MaskError(
            "pruning: more weights asked for than are left", expected=f"{keep} or more", got=f"{alive.sum()}"
        )
    # Step 2.
    weight = np.asarray([_WEIGHTS[scope](shapes[path]) * math.prod(shapes[path]) for path in paths])
    wanted = _shares(weight, alive, keep)  # step 3
    # Step 4. A share that is whole but for rounding errors would lose a weight to another layer.
    counts = np.floor(wanted + 1e-9).astype(int)
    order = sorted(range(len(paths)), key=lambda i: (-(wanted[i] - counts[i]), i))
    while int(counts.sum()) < keep:
        for i in order:
            if int(counts.sum()) < keep and counts[i] < alive[i]:  # a full layer has no more to keep
                counts[i] += 1
    return {path: int(count) for path, count in zip(paths, counts, strict=True)}


def _shares(weight: np.ndarray, alive: np.ndarray, keep: int) -> np.ndarray:
    """Return real counts in proportion to `weight`, none above `alive`, that sum to `keep`."""
    full = np.zeros(len(weight), bool)
    while True:
        rest = keep - alive[full].sum()
        open_weight = weight[~full].sum()
        # Every layer may be full, then nothing is open: 0/0 would make all counts NaN.
        wanted = np.where(full, alive, weight * (rest / open_weight if open_weight else 0.0))
        beyond = ~full & (wanted > alive)
        if not beyond.any():
            return np.asarray(wanted)
        full |= beyond


def _even(shape: tuple[int, ...]) -> float:
    del shape
    return 1.0


def _erdos_renyi(shape: tuple[int, ...]) -> float:
    if len(shape) == 1:  # a bias, as a layer of one input
        return (1 + shape[0]) / shape[0]
    return (shape[-2] + shape[-1]) / (shape[-2] * shape[-1])


def _erdos_renyi_kernel(shape: tuple[int, ...]) -> float:
    return sum(shape) / math.prod(shape) if len(shape) > 1 else _erdos_renyi(shape)


_WEIGHTS: dict[str, Callable[[tuple[int, ...]], float]] = {
    "layerwise": _even,
    "er": _erdos_renyi,
    "erk": _erdos_renyi_kernel,
}


def prune_in_steps(
    score_of: Callable[[np.ndarray], np.ndarray],
    mask: np.ndarray,
    prunable: np.ndarray,
    *,
    keep: int,
    layout: Layout,
    scope: str,
    num_steps: int = 100,
) -> np.ndarray:
    """Return the mask after `num_steps` rounds of scoring and pruning, densities falling geometrically.

    Scores that depend on the mask, as SynFlow's do, must be taken again as it shrinks, or a whole
    layer goes at once (Tanaka et al. 2020, algorithm 1, 100 rounds).

    Parameters
    ----------
    score_of : callable
        ``score_of(mask) -> scores [n]``.
    mask, prunable, keep, layout, scope
        As `prune` takes them.
    num_steps : int
        Rounds.
    """
    start = int((mask & prunable).sum())
    for step in range(1, num_steps + 1):
        count = max(keep, math.floor(start * (keep / start) ** (step / num_steps) + 0.5))
        if step == num_steps:  # the power ends at keep but for rounding, the count must be exact
            count = keep
        mask = prune(score_of(mask), mask, prunable, keep=count, layout=layout, scope=scope)
    return mask
