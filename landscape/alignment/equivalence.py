"""Whether a changed network computes the function that it computed before: checked on data, always."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from landscape.alignment.symmetries import Change
from landscape.compute import program
from landscape.errors import InputError
from landscape.trees import arrays_by_path, fill, opened, sealed

if TYPE_CHECKING:
    from landscape.connectivity import Endpoint
    from landscape.problem import Problem

__all__ = ["EQUIVALENCE", "Checked", "Equivalence", "arrays_of", "leaves_of"]

PyTree = Any
Leaves = Mapping[str, np.ndarray]

# Largest relative difference of the losses that reordered sums may make in float32.
EQUIVALENCE = 1e-5
_TRIED = 64  # examples on which a proposed symmetry is tried
_LIKE = 1e-4  # of the losses' size: what float32 makes of a map that is not orthogonal


@dataclasses.dataclass(frozen=True)
class Equivalence:
    """Compares the losses of single examples.

    Attributes
    ----------
    problem : Problem
        The loss and its data.
    split : str
        The data.
    batch_size : int or None
        Examples per batch.
    """

    problem: Problem
    split: str
    batch_size: int | None

    def checked(self, b: Endpoint, change: Change) -> Checked:
        """Return a changed network and by how much its losses differ from those of before.

        Where the losses are small beside the terms of their sums, as of a network that fits its data, float32
        rounds more than `EQUIVALENCE`. Both networks are then compared in float64.

        Raises
        ------
        InputError
            If they differ.
        """
        point, leaves = b.point, leaves_of(b)
        moved, notes = fill(point, change.apply(leaves)), []
        error = self._difference(point, moved, None)
        if not error <= EQUIVALENCE:
            wide = {
                path: leaf.astype(np.float64) if _floating(leaf) else leaf for path, leaf in leaves.items()
            }
            exact = self._difference(fill(point, wide), fill(point, change.apply(wide)), np.float64)
            notes.append(f"in float32 the losses differ by {error:.2g} of their size; compared in float64")
            error = exact if exact <= EQUIVALENCE else error
        if not error <= EQUIVALENCE:
            raise InputError(
                f"{b.name}: changing its units by this structure changes the loss",
                expected=f"losses of single examples that differ by at most {EQUIVALENCE:g} of their size",
                got=f"{error:.3g}",
                hint="A given structure is not one of this network; one that was derived is a bug to report.",
            )
        return Checked(point=moved, error=error, notes=tuple(notes))

    def tried(self, b: Endpoint) -> Callable[[Leaves], bool]:
        """Return what says whether a changed network has the losses of this one, on a few examples."""
        count = min(_TRIED, self.problem.num_examples(self.split))
        batch = self.problem.head(count, self.split)
        losses = program(lambda point: self.problem.plain_loss(opened(point), batch))

        def values(leaves: Leaves) -> np.ndarray:
            return np.asarray(losses(sealed(fill(b.point, leaves))), np.float64)

        def same(leaves: Leaves) -> bool:
            before, after = values(leaves_of(b)), values(leaves)
            size = float(np.sqrt(np.mean(np.square(before))))
            return bool(np.all(np.abs(after - before) <= _LIKE * size))

        return same

    def _difference(self, before: PyTree, after: PyTree, dtype: Any) -> float:
        losses = functools.partial(
            self.problem.per_example, split=self.split, batch_size=self.batch_size, dtype=dtype
        )
        counted = self.problem.weighting(self.split).counted
        first, second = (counted(losses(point)["loss"]).astype(np.float64) for point in (before, after))
        known = np.isfinite(first)
        if not np.array_equal(known, np.isfinite(second)):
            return np.inf
        if not known.any():
            raise InputError(
                "align: no loss is finite, so nothing shows that the function stays the same",
                expected=f"a finite loss on some example of {self.split}",
                hint="Align on another split, or check the network.",
            )
        size = float(np.sqrt(np.mean(np.square(first[known]))))
        largest = float(np.max(np.abs(first[known] - second[known])))
        return largest / size if size > 0 else largest


@dataclasses.dataclass(frozen=True, kw_only=True)
class Checked:
    """A changed network that computes the same function: by what its losses differ, and notes."""

    point: PyTree
    error: float
    notes: tuple[str, ...]


def _floating(leaf: np.ndarray) -> bool:
    return leaf.dtype.kind == "f" or leaf.dtype.kind == "V"  # small floats of ml_dtypes are of kind V


def leaves_of(end: Endpoint) -> Leaves:
    """Return the leaves of a network by path."""
    return arrays_of(end.point)


def arrays_of(tree: PyTree) -> Leaves:
    """Return the leaves of a tree by path, as NumPy arrays."""
    return {path: np.asarray(leaf) for path, leaf in arrays_by_path(tree).items()}
