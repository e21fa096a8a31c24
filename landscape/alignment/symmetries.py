"""The symmetries of a network that an alignment may use, and a change of a network by them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from landscape.alignment.heads import Maps, Space, balanced, confirmed, fitted, mapped, subsumed
from landscape.alignment.matching import Permutations
from landscape.alignment.rescaling import Logs, Rescaling, canonical, relative, rescaled, rescalings_of
from landscape.alignment.structure import Structure, given_structure, structure_of
from landscape.errors import ConfigurationError
from landscape.trees import arrays_by_path

__all__ = [
    "CLASSES",
    "PERMUTATION",
    "SCALE",
    "Change",
    "Side",
    "Symmetries",
    "checked_classes",
    "symmetries_of",
]

PyTree = Any
Leaves = Mapping[str, np.ndarray]

PERMUTATION, SCALE, ATTENTION = "permutation", "scale", "attention"
CLASSES = (PERMUTATION, SCALE, ATTENTION)
_MOST_ROUNDS = 100  # of scale and form in turn
_SETTLED = 1e-9  # largest step of a logarithm


@dataclasses.dataclass(frozen=True, kw_only=True)
class Side:
    """A network as it is matched: its leaves in canonical form, and how they came there."""

    leaves: Leaves
    logs: Logs
    maps: Maps = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Symmetries:
    """What leaves the loss of a network as it is.

    Attributes
    ----------
    classes : sequence of str
        What may be used.
    structure : Structure
        Groups of units that may be permuted.
    rescalings : dict of str to Rescaling
        Positive factors per unit; none unless asked for.
    spaces : dict of str to Space
        Inner spaces of heads, whose dimensions are no group then; none unless asked for.
    """

    classes: Sequence[str]
    structure: Structure
    rescalings: Mapping[str, Rescaling]
    spaces: Mapping[str, Space] = dataclasses.field(default_factory=dict)

    def identity(self) -> Permutations:
        """Return the permutations that move nothing."""
        return {name: np.arange(units.size) for name, units in self.structure.groups.items()}

    def side(self, leaves: Leaves) -> Side:
        """Return a network on its canonical scale, and with its heads in canonical form."""
        if self.spaces:
            return self._formed(leaves)
        logs = canonical(self.structure, self.rescalings, leaves)
        return Side(leaves=rescaled(self.structure, self.rescalings, logs, leaves), logs=logs)

    def _formed(self, leaves: Leaves) -> Side:
        """Return a network with the least sum of squares over scales and maps, each in turn."""
        present = {path: leaf.astype(np.float64) for path, leaf in leaves.items()}
        still = self.unchanged()
        logs, maps = still.logs, still.maps
        for _ in range(_MOST_ROUNDS):
            step = canonical(self.structure, self.rescalings, present)
            present = rescaled(self.structure, self.rescalings, step, present)
            form = balanced(self.structure, self.spaces, present)
            present = mapped(self.structure, self.spaces, form, present)
            logs = {name: logs[name] + step[name] for name in logs}
            maps = {name: form[name] @ maps[name] for name in maps}
            if max((float(np.abs(one).max()) for one in step.values()), default=0.0) < _SETTLED:
                break
        own = {path: leaf.astype(leaves[path].dtype) for path, leaf in present.items()}
        return Side(leaves=own, logs=logs, maps=maps)

    def change(self, permutations: Permutations, first: Side, second: Side) -> Change:
        """Return what brings the second network to the first, on the scale of the first."""
        logs = relative(self.rescalings, first.logs, second.logs, permutations)
        names = {units: name for name, units in self.structure.groups.items()}
        moved, maps = self.structure.apply(second.leaves, permutations) if self.spaces else {}, {}
        for name, space in self.spaces.items():
            order = None if space.heads is None else permutations.get(names.get(space.heads, ""))
            theirs = second.maps[name] if order is None else second.maps[name][order]
            maps[name] = fitted(self.structure, space, (first.leaves, moved), (first.maps[name], theirs))
        return Change(symmetries=self, permutations=permutations, logs=logs, maps=maps)

    def placed(self, permutations: Permutations, first: Side, second: Side) -> Leaves:
        """Return the second network in canonical form, permuted and turned to the first's."""
        moved = self.structure.apply(second.leaves, permutations)
        maps = {
            name: fitted(self.structure, one, (first.leaves, moved), (one.identity(), one.identity()))
            for name, one in self.spaces.items()
        }
        return mapped(self.structure, self.spaces, maps, moved)

    def unchanged(self) -> Change:
        """Return the change that leaves a network as it is."""
        logs = {name: np.zeros(one.units.size) for name, one in self.rescalings.items()}
        maps = {name: one.identity() for name, one in self.spaces.items()}
        return Change(symmetries=self, permutations=self.identity(), logs=logs, maps=maps)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Change:
    """Units of a network permuted, then rescaled, then mapped inside heads.

    Attributes
    ----------
    symmetries : Symmetries
        Of the network.
    permutations : dict of str to numpy.ndarray
        By group; p brings unit p[i] to place i.
    logs : dict of str to numpy.ndarray
        By rescaling, the logarithm of the factor of the unit at each place.
    maps : dict of str to numpy.ndarray
        By space, the map [heads, n, n] of the head at each place.
    """

    symmetries: Symmetries
    permutations: Permutations
    logs: Logs
    maps: Maps = dataclasses.field(default_factory=dict)

    @property
    def rescales(self) -> bool:
        """Whether any factor is not 1."""
        return any(np.any(logs) for logs in self.logs.values())

    @property
    def mixes(self) -> set[str]:
        """The paths of the leaves whose entries are mixed by a map that is not the identity."""
        return {
            path
            for name, maps in self.maps.items()
            if np.any(maps != np.eye(maps.shape[1]))
            for path, _ in self.symmetries.spaces[name].sides
        }

    def scales(self) -> dict[str, np.ndarray]:
        """Return the factors by rescaling."""
        return {name: np.exp(logs) for name, logs in self.logs.items()}

    def apply(self, leaves: Leaves, *, power: float = 1.0) -> dict[str, np.ndarray]:
        """Return changed leaves; `power` 0 only permutes, −1 is how a gradient changes with the weights."""
        structure = self.symmetries.structure
        moved = structure.apply(leaves, self.permutations)
        moved = rescaled(structure, self.symmetries.rescalings, self.logs, moved, power=power)
        if power != 1:  # what goes with the squares of weights, say, is not mapped; see `travelling`
            return moved
        return mapped(structure, self.symmetries.spaces, self.maps, moved)


def checked_classes(symmetry: str | Sequence[str]) -> tuple[str, ...]:
    """Return the classes that are asked for, in the order of `CLASSES`, each once.

    Raises
    ------
    ConfigurationError
        If there is none, or one that does not exist.
    """
    asked = [symmetry] if isinstance(symmetry, str) else list(symmetry)
    if not asked or any(name not in CLASSES for name in asked):
        raise ConfigurationError(
            "symmetry: which classes of symmetries may be used",
            expected="one or several of " + ", ".join(CLASSES),
            got=", ".join(map(str, asked)) or "none",
        )
    return tuple(name for name in CLASSES if name in asked)


def symmetries_of(
    loss: Callable[..., Any],
    point: PyTree,
    batch: PyTree,
    *,
    classes: Sequence[str],
    stated: Mapping[str, Sequence[tuple[str, int]]] | None,
    held: str | None,
    same: Callable[[Leaves], bool],
) -> Symmetries:
    """Return the symmetries that the program of the loss shows, or those that the user states.

    Parameters
    ----------
    loss, point, batch
        The loss, its first argument and a few examples.
    classes : sequence of str
        Of `CLASSES`.
    stated : mapping, optional
        Groups of units that the user states.
    held : str, optional
        Paths that begin so are statistics, and keep their scale.
    same : callable
        Says whether a changed network has the losses of the given one.

    Raises
    ------
    ConfigurationError
        If a stated structure is none, or goes with a class that must be read off the program.
    """
    if stated is not None:
        beyond = [name for name in classes if name != PERMUTATION]
        if beyond:
            raise ConfigurationError(
                f"symmetry={beyond[0]!r}: is known where the structure is read off the program",
                expected="structure=None",
                hint="Leave the structure out, or align by permutations alone.",
            )
        return Symmetries(classes=classes, structure=given_structure(point, stated), rescalings={})
    structure = structure_of(loss, point, batch)
    if not {SCALE, ATTENTION} & set(classes):
        return Symmetries(classes=classes, structure=structure, rescalings={})
    rescalings = rescalings_of(structure, loss, point, batch, held=held)
    spaces = {}
    if ATTENTION in classes:
        leaves = {path: np.asarray(leaf) for path, leaf in arrays_by_path(point).items()}
        spaces = confirmed(structure, rescalings, leaves, same)
        groups = {name: units for name, units in structure.groups.items() if name not in spaces}
        structure = dataclasses.replace(structure, groups=groups)
    kept = {name: one for name, one in rescalings.items() if not subsumed(one, spaces)}
    return Symmetries(
        classes=classes, structure=structure, rescalings=kept if SCALE in classes else {}, spaces=spaces
    )
