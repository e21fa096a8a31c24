"""What a checkpoint holds beside its parameters, changed as they are.

How each tree answers when weights are multiplied by s:

- standard deviations of a search distribution, the initialisation and the best parameters are multiplied by s
  (a deviation by |s| = s);
- a gradient is divided by s, so its running mean (Adam's first moment, momentum) is too, and the running mean
  of its square (Adam's second moment) by s²;
- masks only move with their units.

- a map inside heads mixes weights: the initialisation and the best parameters are mapped, the others are left
  out, and a mask that prunes any of these weights is refused.

Adam and momentum do not commute with rescaling (a step has the learning rate's size in any scale), so
training that goes on from a rescaled state is training from the same network, not the same training.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from landscape.alignment.symmetries import Change
from landscape.errors import InputError
from landscape.files import Checkpoint
from landscape.trees import arrays_by_path, fill

__all__ = ["travelled"]

PyTree = Any

_TREES = {"mask": 0.0, "std": 1.0, "init": 1.0, "best": 1.0}
_STATE = {
    **dict.fromkeys(("params", "mean", "best", "init", "std", "sigma", "ema"), 1.0),
    **dict.fromkeys(("mu", "m", "trace", "momentum", "first_moment", "gradient"), -1.0),
    **dict.fromkeys(("nu", "v", "second_moment"), -2.0),
}


def travelled(
    given: Checkpoint, change: Change, params: PyTree, stats: PyTree, *, prefix: str
) -> tuple[Checkpoint, tuple[str, ...]]:
    """Return a network's checkpoint with everything in it changed, and what could not be.

    Parameters
    ----------
    given : Checkpoint
        Of the network before.
    change : Change
        What was done to its parameters.
    params, stats : pytree
        Parameters and batch statistics after it.
    prefix : str
        What the paths of the parameters begin with in the change.
    """
    shapes = {
        path.removeprefix(prefix): shape
        for path, shape in change.symmetries.structure.shapes.items()
        if path.startswith(prefix)
    }
    whole = _Whole(change, shapes, prefix)
    mixed = {path.removeprefix(prefix) for path in change.mixes}
    _check_mask(given, mixed)
    parts = {name: whole.tree(getattr(given, name), power) for name, power in _TREES.items()}
    state, notes = whole.state(given.state)
    if mixed and (given.std is not None or given.state is not None):
        parts["std"], state = None, None
        notes = ("std and state are left out: a map inside heads mixes the weights that they go with",)
    made = dataclasses.replace(given, params=params, batch_stats=stats, state=state, path=None, **parts)
    return made, notes


def _check_mask(given: Checkpoint, mixed: set[str]) -> None:
    """Refuse a mask that a map would fill."""
    for path, leaf in arrays_by_path(given.mask).items() if given.mask is not None else ():
        if path in mixed and not np.all(leaf):
            raise InputError(
                f"{path}: its mask prunes single weights, and a map inside heads would fill them again",
                hint="Align by permutation and scale, which keep masks.",
            )


@dataclasses.dataclass(frozen=True)
class _Whole:
    """A change, and the paths and shapes of the parameters that it knows."""

    change: Change
    shapes: Mapping[str, tuple[int, ...]]
    prefix: str

    def leaf(self, path: str, array: np.ndarray, power: float) -> np.ndarray:
        """Return what belongs to one parameter, changed."""
        name = self.prefix + path
        return self.change.apply({name: array}, power=power)[name]

    def tree(self, tree: PyTree, power: float) -> PyTree:
        """Return a tree of the parameters' structure, changed; any other as it is."""
        leaves = {} if tree is None else {p: np.asarray(leaf) for p, leaf in arrays_by_path(tree).items()}
        if not leaves or any(self.shapes.get(path) != leaf.shape for path, leaf in leaves.items()):
            return tree
        return fill(tree, {path: self.leaf(path, leaf, power) for path, leaf in leaves.items()})

    def owner(self, path: str, shape: tuple[int, ...]) -> str | None:
        """Return the parameter to which a leaf of the state belongs: the longest path that ends its own."""
        keys = path.split("/")
        endings = ("/".join(keys[start:]) for start in range(1, len(keys)))
        return next((ending for ending in endings if self.shapes.get(ending) == shape), None)

    def state(self, state: PyTree) -> tuple[PyTree, tuple[str, ...]]:
        """Return the state that resuming needs, and notes on what was left as it was or left out."""
        if state is None or not self.shapes:
            return state, ()
        leaves = arrays_by_path(state)
        changed, left, out = {}, [], set()
        for path, leaf in leaves.items():
            array = np.asarray(leaf)
            owner = self.owner(path, array.shape)
            if owner is None:
                left += [path] if array.ndim else []
                continue
            role = path.removesuffix("/" + owner).rsplit("/", 1)[-1]
            if role not in _STATE and self.change.rescales:
                out.add(role)
                continue
            changed[path] = self.leaf(owner, array, _STATE.get(role, 0.0))
        notes = (
            [f"state: left as it was, it is no tree of the parameters: {', '.join(left[:4])}"] if left else []
        )
        if out:
            notes.append(
                f"state: left out, how {', '.join(sorted(map(repr, out)))} goes with a rescaling is not known"
            )
            return None, tuple(notes)
        return fill(state, {**leaves, **changed}), tuple(notes)
