"""Which arrays of a parameter tree are no parameters: running statistics of normalisation layers.

They are recognised by what libraries call them: Flax's collections (a mapping with ``params`` beside
``batch_stats``), the types of NNX's variables, and the names of running means and variances that Keras,
PyTorch, Haiku and Flax give. No jax.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from landscape.trees.nodes import children_of, is_carried

PARAMS, BATCH_STATS = "params", "batch_stats"

# Collections of Flax that hold no weights, and NNX's types of variables that hold none.
_COLLECTIONS = {BATCH_STATS, "cache", "intermediates", "perturbations"}
_VARIABLES = {"BatchStat", "Cache", "Intermediate", "Perturbation"}

_RUNNING = re.compile(r"(running|moving)_(mean|var|variance)|num_batches_tracked")
_HAIKU = re.compile(r"(^|%2F|/)(mean|var)_ema$")
_NORMALISATION = re.compile(r"batch_?norm|batch_?stat|(^|_)bn(_?\d|$)", re.IGNORECASE)


def statistics_paths(tree: Any) -> list[str]:
    """Return the paths of the arrays in a tree of parameters that are no parameters."""
    found: list[str] = []
    _collect(tree, (), found, inside=False)
    return found


def _collect(
    node: Any, prefix: tuple[str, ...], found: list[str], *, inside: bool, parent: Any = None
) -> None:
    children = children_of(node)
    if children is None:
        if (inside or _is_running(prefix)) and not is_carried(node, parent):
            found.append("/".join(prefix))
        return
    inside = inside or _is_variable(node)
    names = {name for name, _ in children}
    for name, child in children:
        collection = name in _COLLECTIONS and (PARAMS in names or name == BATCH_STATS)
        _collect(child, (*prefix, name), found, inside=inside or collection, parent=node)


def _is_variable(node: Any) -> bool:
    return any(
        kind.__name__ in _VARIABLES and kind.__module__.startswith("flax.nnx") for kind in type(node).__mro__
    )


def _is_running(path: tuple[str, ...]) -> bool:
    """Return whether a path names a running mean or variance."""
    if not path:
        return False
    if any(_RUNNING.fullmatch(part) or _HAIKU.search(part) for part in path):
        return True
    return path[-1] in ("mean", "var") and any(_NORMALISATION.search(part) for part in path[:-1])


def split_collections(tree: Any) -> tuple[Any, Any] | None:
    """Return (params, batch_stats) of Flax's variables; None for any other tree.

    So are variables taken apart that hold these two collections and nothing else.
    """
    if isinstance(tree, Mapping) and set(tree) == {PARAMS, BATCH_STATS}:
        return tree[PARAMS], tree[BATCH_STATS]
    return None
