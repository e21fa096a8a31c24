"""Invertible maps inside the heads of attention, and a canonical form among them.

Queries and keys of a head meet in one inner product only, and so do values and outputs: an invertible map of
the one side, and its inverse transpose of the other, leave QKᵀ and OV as they are (Theus et al. 2025,
Generalized linear mode connectivity for transformers). Steps:

1. such spaces are proposed by the program: groups whose rescalings have degree 1 on one side and −1 on the
   other (`landscape.alignment.rescaling`), together with the group that counts the heads;
2. and confirmed by the loss: random maps, one per head, must leave the losses of examples as they are. A
   space that a nonlinearity looks into is refuted here;
3. the canonical form of a head has the least sum of squares of both sides. It comes from the singular value
   decomposition of their product, U S Vᵀ: √S Uᵀ on one side and √S Vᵀ on the other. It is unique up to an
   orthogonal map;
4. which remains is found by Procrustes against the other network, once heads are matched.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping

import numpy as np

from landscape.alignment.axes import PRODUCT, Units
from landscape.alignment.rescaling import Rescaling
from landscape.alignment.structure import Structure

__all__ = ["Maps", "Space", "balanced", "confirmed", "fitted", "mapped", "subsumed"]

Leaves = Mapping[str, np.ndarray]
Maps = dict[str, np.ndarray]

_SPREAD = 0.3  # of the random maps with which a space is tried
_ROUNDING = 1e-6  # a map nearer to the identity is the identity
_SMALLEST = 1e-10  # of the largest singular value: below it a head uses less than its space


@dataclasses.dataclass(frozen=True, kw_only=True)
class Space:
    """The inner space of all heads of one kind.

    Attributes
    ----------
    units : Units
        Its dimensions.
    heads : Units or None
        The group that counts the heads, each with a map of its own; None if all share one.
    sides : dict of (str, int) to int
        By path and axis, 1 where the map stands and −1 where its inverse transpose does.
    """

    units: Units
    heads: Units | None
    sides: Mapping[tuple[str, int], int]

    @property
    def shape(self) -> tuple[int, int, int]:
        """Heads, and the two dimensions of a map."""
        return (1 if self.heads is None else self.heads.size, self.units.size, self.units.size)

    def identity(self) -> np.ndarray:
        """Return the maps [heads, n, n] that change nothing."""
        return np.tile(np.eye(self.units.size), (self.shape[0], 1, 1))

    def fits(self, structure: Structure) -> bool:
        """Return whether every place shows its heads and dimensions apart."""
        return all(self._axes(structure, place) is not None for place in self.sides)

    def blocks(self, structure: Structure, place: tuple[str, int], leaf: np.ndarray) -> np.ndarray:
        """Return a leaf as [heads, dimensions, everything else]."""
        split, axes = self._known(structure, place)
        parted = leaf.reshape(split)
        moved = np.moveaxis(parted, axes, range(len(axes)))
        blocks: np.ndarray = moved.reshape((*self.shape[:2], -1))
        return blocks

    def filled(
        self, structure: Structure, place: tuple[str, int], leaf: np.ndarray, blocks: np.ndarray
    ) -> np.ndarray:
        """Return a leaf with other blocks: the inverse of `blocks`."""
        split, axes = self._known(structure, place)
        shape = np.moveaxis(leaf.reshape(split), axes, range(len(axes))).shape
        moved = np.moveaxis(blocks.reshape(shape), range(len(axes)), axes)
        return moved.reshape(leaf.shape)

    def _known(self, structure: Structure, place: tuple[str, int]) -> tuple[tuple[int, ...], tuple[int, ...]]:
        found = self._axes(structure, place)
        if found is None:
            raise ValueError(f"{place}: heads and dimensions are not apart")
        return found

    def _axes(
        self, structure: Structure, place: tuple[str, int]
    ) -> tuple[tuple[int, ...], tuple[int, ...]] | None:
        """Return the shape that shows heads and dimensions as axes, and which axes these are."""
        path, number = place
        shape, axes = structure.shapes[path], structure.axes[path]
        roots = [None if axis is None else axis.root() for axis in axes]
        whole = roots[number]
        if whole is self.units:
            others = [i for i, root in enumerate(roots) if root is self.heads and i != number]
            if self.heads is None:
                return shape, (number,)
            return (shape, (others[0], number)) if len(others) == 1 else None
        if whole is None or whole.form != PRODUCT or self.heads is None:
            return None
        parts = [child.root() for child in whole.children]
        if parts != [self.heads, self.units]:
            return None
        return (*shape[:number], *self.shape[:2], *shape[number + 1 :]), (number, number + 1)


def subsumed(rescaling: Rescaling, spaces: Mapping[str, Space]) -> bool:
    """Return whether a rescaling is one of the maps of a space: of its dimensions, or of whole heads."""
    paths = {path for path, _ in rescaling.degrees}
    return any(
        rescaling.units in (space.units, space.heads) and paths <= {path for path, _ in space.sides}
        for space in spaces.values()
    )


def proposed(structure: Structure, rescalings: Mapping[str, Rescaling]) -> Iterator[tuple[str, list[Space]]]:
    """Yield by group the spaces that it may be: with the groups that may count its heads, fewest first."""
    by_group: dict[str, list[Rescaling]] = {}
    for rescaling in rescalings.values():
        by_group.setdefault(rescaling.group, []).append(rescaling)
    for group, found in by_group.items():
        sides = {place: round(degree) for place, degree in found[0].degrees.items()}
        exact = all(abs(degree) == 1 for degree in found[0].degrees.values())
        if len(found) > 1 or not exact or set(sides.values()) != {1, -1}:
            continue
        if set(sides) != set(structure.places(group)):
            continue
        units = found[0].units
        counting = sorted(structure.groups.values(), key=lambda other: other.size)
        spaces = [Space(units=units, heads=other, sides=sides) for other in counting if other is not units]
        spaces.append(Space(units=units, heads=None, sides=sides))  # a single head, whose axis counts nothing
        yield group, [space for space in spaces if space.fits(structure)]


def confirmed(
    structure: Structure,
    rescalings: Mapping[str, Rescaling],
    leaves: Leaves,
    same: Callable[[Leaves], bool],
    *,
    seed: int = 0,
) -> dict[str, Space]:
    """Return the spaces under whose random maps the loss stays: steps 1 and 2.

    Parameters
    ----------
    structure, rescalings
        Of the network.
    leaves : mapping of str to array
        The network.
    same : callable
        Says whether a changed network has the losses of the given one.
    seed : int
        Of the maps.
    """
    rng = np.random.default_rng([seed, 0x5ACE])
    found = {}
    for group, spaces in proposed(structure, rescalings):
        for space in spaces:
            maps = np.eye(space.units.size) + _SPREAD * rng.normal(size=space.shape) / np.sqrt(
                space.units.size
            )
            if same(mapped(structure, {group: space}, {group: maps}, leaves)):
                found[group] = space
                break
    return found


def mapped(
    structure: Structure, spaces: Mapping[str, Space], maps: Maps, leaves: Leaves
) -> dict[str, np.ndarray]:
    """Return the leaves with maps [heads, n, n] on one side, inverse transposes on the other."""
    out = {path: np.asarray(leaf) for path, leaf in leaves.items()}
    for name, space in spaces.items():
        if np.array_equal(maps[name], np.broadcast_to(np.eye(space.units.size), space.shape)):
            continue
        inverse = np.swapaxes(np.linalg.inv(maps[name]), 1, 2)
        for place, side in space.sides.items():
            if place[0] in out:
                leaf = out[place[0]].astype(np.float64)
                blocks = (maps[name] if side > 0 else inverse) @ space.blocks(structure, place, leaf)
                out[place[0]] = space.filled(structure, place, leaf, blocks)
    return {path: out[path].astype(np.asarray(leaf).dtype) for path, leaf in leaves.items()}


def _sides(structure: Structure, space: Space, leaves: Leaves, side: int) -> np.ndarray:
    """Return everything on one side of a space [heads, n, m]."""
    parts = [
        space.blocks(structure, place, np.asarray(leaves[place[0]], np.float64))
        for place, which in space.sides.items()
        if which == side
    ]
    return np.concatenate(parts, axis=2)


def balanced(structure: Structure, spaces: Mapping[str, Space], leaves: Leaves) -> Maps:
    """Return the maps to the canonical form: step 3. A head that uses less than its space keeps its form."""
    out = {}
    for name, space in spaces.items():
        one, other = (_sides(structure, space, leaves, side) for side in (1, -1))
        maps = space.identity()
        for head in range(space.shape[0]):
            # The product of the two sides has the rank of the space: a small problem in their own bases.
            q, r = np.linalg.qr(one[head].T)
            _, s = np.linalg.qr(other[head].T)
            if min(r.shape[0], s.shape[0]) < space.units.size:
                continue
            left, values, _ = np.linalg.svd(r @ s.T)
            if values[-1] <= _SMALLEST * values[0]:
                continue
            signs = np.sign(_largest(q @ left))
            root = np.sqrt(values)[:, None]
            wanted = root * (left * signs).T @ q.T  # √S Uᵀ: what the one side becomes
            maps[head] = wanted @ np.linalg.pinv(one[head])
        out[name] = maps
    return out


def _largest(columns: np.ndarray) -> np.ndarray:
    """Return the entry of each column that is largest in size: its sign is what fixes the column's."""
    rows = np.argmax(np.abs(columns), axis=0)
    found: np.ndarray = columns[rows, np.arange(columns.shape[1])]
    return found


def fitted(
    structure: Structure,
    space: Space,
    leaves: tuple[Leaves, Leaves],
    maps: tuple[np.ndarray, np.ndarray],
) -> np.ndarray:
    """Return the maps [heads, n, n] that bring one network to another: step 4.

    Parameters
    ----------
    structure, space
        Of both.
    leaves : pair of mapping of str to array
        Both in canonical form, the second with its heads in the order of the first's.
    maps : pair of numpy.ndarray
        What brought each to its canonical form, in the same order.
    """
    total = np.zeros(space.shape)
    for side in (1, -1):
        one, other = (_sides(structure, space, network, side) for network in leaves)
        total += one @ np.swapaxes(other, 1, 2)
    left, _, right = np.linalg.svd(total)
    found: np.ndarray = np.linalg.solve(maps[0], (left @ right) @ maps[1])
    identity = np.eye(space.units.size)
    near = np.abs(found - identity).max((1, 2)) < _ROUNDING
    found[near] = identity
    return found
