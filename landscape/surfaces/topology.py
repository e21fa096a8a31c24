"""Topology of a sampled surface: minima, the saddles where their basins meet, and their depth. No jax.

0-dimensional persistence of sublevel sets (Edelsbrunner, Letscher, Zomorodian 2002) by the merge tree:

1. take the points of the grid in ascending order of their value (ties by position);
2. a point without a neighbour taken before begins a component: it is a minimum, its value the *birth*;
3. a point between components joins them: it is a saddle, its value the *death* of every component but the one
   born lowest (the elder rule), which goes on;
4. the component of the lowest minimum never dies.

*Persistence* is death minus birth: by how much the loss must rise to leave the basin of a minimum for a
lower one.
Neighbours are those of the triangulated grid (six in a plane, two on a line), so that the sampled surface is
a piecewise linear function and no noise is needed to break ties. Points that are not finite belong to no
sublevel set.
"""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np

__all__ = ["Topology", "topology_of"]

# Offsets to the neighbours of a point in the triangulation that cuts each cell from its lower left to its
# upper right.
_NEIGHBOURS = {1: ((-1,), (1,)), 2: ((-1, 0), (1, 0), (0, -1), (0, 1), (-1, -1), (1, 1))}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Topology:
    """Minima and saddles of a sampled surface, the most persistent minimum first.

    Attributes
    ----------
    minima : numpy.ndarray [m, d]
        Grid indices of the minima.
    saddles : numpy.ndarray [m, d]
        Grid indices of the points at which each component ends; −1 for the one that never does.
    births, deaths : numpy.ndarray [m]
        Values there; the death of the lowest minimum is infinite.
    parents : numpy.ndarray [m]
        Row of the minimum whose component each joins; −1 for the lowest.
    """

    minima: np.ndarray
    saddles: np.ndarray
    births: np.ndarray
    deaths: np.ndarray
    parents: np.ndarray

    @property
    def persistence(self) -> np.ndarray:
        """Deaths minus births [m]."""
        difference: np.ndarray = self.deaths - self.births
        return difference


def topology_of(values: np.ndarray) -> Topology:
    """Return the topology of the sublevel sets of values on a grid.

    Parameters
    ----------
    values : numpy.ndarray [n] or [nx, ny]
        NaN and infinite values belong to no sublevel set.
    """
    values = np.asarray(values, np.float64)
    flat = values.ravel()
    order = [int(i) for i in np.argsort(flat, kind="stable") if np.isfinite(flat[i])]
    tree = _MergeTree(flat)
    for index in order:
        tree.add(index, list(_taken_neighbours(index, values.shape, tree.component)))
    return tree.topology(values.shape)


def _taken_neighbours(index: int, shape: tuple[int, ...], taken: dict[int, int]) -> list[int]:
    place = np.unravel_index(index, shape)
    found = []
    for offset in _NEIGHBOURS[len(shape)]:
        moved = [int(p) + step for p, step in zip(place, offset, strict=True)]
        if all(0 <= m < n for m, n in zip(moved, shape, strict=True)):
            neighbour = int(np.ravel_multi_index(moved, shape))
            if neighbour in taken:
                found.append(neighbour)
    return found


class _MergeTree:
    """Components of the sublevel sets so far: each point leads to the minimum of its component."""

    def __init__(self, flat: np.ndarray) -> None:
        self._flat = flat
        self.component: dict[int, int] = {}
        self._deaths: dict[int, int | None] = {}
        self._parents: dict[int, int] = {}

    def _root(self, index: int) -> int:
        path = []
        while self.component[index] != index:
            path.append(index)
            index = self.component[index]
        for passed in path:
            self.component[passed] = index
        return index

    def add(self, index: int, neighbours: list[int]) -> None:
        """Take in a point whose neighbours of lower value are given."""
        roots = sorted({self._root(n) for n in neighbours}, key=lambda root: (self._flat[root], root))
        if not roots:
            self.component[index] = index
            self._deaths[index] = None
            return
        elder, *others = roots
        self.component[index] = elder
        for root in others:
            self.component[root] = elder
            self._deaths[root] = index
            self._parents[root] = elder

    def topology(self, shape: tuple[int, ...]) -> Topology:
        """Return what was found, the most persistent first; pairs without persistence are left out."""
        flat = self._flat
        pairs = [(root, end) for root, end in self._deaths.items() if end is None or flat[end] > flat[root]]
        pairs.sort(
            key=lambda pair: (-(np.inf if pair[1] is None else flat[pair[1]] - flat[pair[0]]), pair[0])
        )
        rows = {root: row for row, (root, _) in enumerate(pairs)}
        dims = len(shape)

        def place(index: int | None) -> tuple[int, ...]:
            if index is None:
                return (-1,) * dims
            return tuple(int(i) for i in np.unravel_index(index, shape))

        return Topology(
            minima=np.array([place(root) for root, _ in pairs], int).reshape(-1, dims),
            saddles=np.array([place(end) for _, end in pairs], int).reshape(-1, dims),
            births=np.array([flat[root] for root, _ in pairs], float),
            deaths=np.array([np.inf if end is None else flat[end] for _, end in pairs], float),
            parents=np.array([self._parent(root, rows) for root, _ in pairs], int),
        )

    def _parent(self, root: int, rows: dict[int, int]) -> int:
        """Return the row of the component that one joined; one without persistence hands on to its own."""
        for _ in itertools.count():
            if root not in self._parents:
                return -1
            root = self._parents[root]
            if root in rows:
                return rows[root]
        return -1
