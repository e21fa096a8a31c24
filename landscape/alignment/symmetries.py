"""The symmetries of a network that an alignment may use, and a change of a network by them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from landscape.alignment.matching import Permutations
from landscape.alignment.rescaling import Logs, Rescaling, canonical, relative, rescaled, rescalings_of
from landscape.alignment.structure import Structure, given_structure, structure_of
from landscape.errors import ConfigurationError

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

PERMUTATION, SCALE = "permutation", "scale"
CLASSES = (PERMUTATION, SCALE)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Side:
    """A network as it is matched: its leaves on the canonical scale, and how they came there."""

    leaves: Leaves
    logs: Logs


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
    """

    classes: Sequence[str]
    structure: Structure
    rescalings: Mapping[str, Rescaling]

    def identity(self) -> Permutations:
        """Return the permutations that move nothing."""
        return {name: np.arange(units.size) for name, units in self.structure.groups.items()}

    def side(self, leaves: Leaves) -> Side:
        """Return a network on its canonical scale."""
        logs = canonical(self.structure, self.rescalings, leaves)
        return Side(leaves=rescaled(self.structure, self.rescalings, logs, leaves), logs=logs)

    def change(self, permutations: Permutations, first: Side, second: Side) -> Change:
        """Return what brings the second network to the first, on the scale of the first."""
        logs = relative(self.rescalings, first.logs, second.logs, permutations)
        return Change(symmetries=self, permutations=permutations, logs=logs)

    def unchanged(self) -> Change:
        """Return the change that leaves a network as it is."""
        logs = {name: np.zeros(one.units.size) for name, one in self.rescalings.items()}
        return Change(symmetries=self, permutations=self.identity(), logs=logs)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Change:
    """Units of a network permuted, then rescaled.

    Attributes
    ----------
    symmetries : Symmetries
        Of the network.
    permutations : dict of str to numpy.ndarray
        By group; p brings unit p[i] to place i.
    logs : dict of str to numpy.ndarray
        By rescaling, the logarithm of the factor of the unit at each place.
    """

    symmetries: Symmetries
    permutations: Permutations
    logs: Logs

    @property
    def rescales(self) -> bool:
        """Whether any factor is not 1."""
        return any(np.any(logs) for logs in self.logs.values())

    def scales(self) -> dict[str, np.ndarray]:
        """Return the factors by rescaling."""
        return {name: np.exp(logs) for name, logs in self.logs.items()}

    def apply(self, leaves: Leaves, *, power: float = 1.0) -> dict[str, np.ndarray]:
        """Return changed leaves; `power` 0 only permutes, −1 is how a gradient changes with the weights."""
        structure = self.symmetries.structure
        moved = structure.apply(leaves, self.permutations)
        return rescaled(structure, self.symmetries.rescalings, self.logs, moved, power=power)


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

    Raises
    ------
    ConfigurationError
        If a stated structure is none, or goes with a class that must be read off the program.
    """
    if stated is not None:
        if SCALE in classes:
            raise ConfigurationError(
                "symmetry='scale': rescalings are known where the structure is read off the program",
                expected="structure=None",
                hint="Leave the structure out, or align by permutations alone.",
            )
        return Symmetries(classes=classes, structure=given_structure(point, stated), rescalings={})
    structure = structure_of(loss, point, batch)
    rescalings = rescalings_of(structure, loss, point, batch, held=held) if SCALE in classes else {}
    return Symmetries(classes=classes, structure=structure, rescalings=rescalings)
