"""Two networks matched by their weights or by what their units do, on the canonical scale of both."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np

from landscape.alignment.matching import (
    Matched,
    Observed,
    Permutations,
    match_activations,
    match_weights,
)
from landscape.alignment.observing import observer
from landscape.alignment.structure import structure_of
from landscape.alignment.symmetries import PERMUTATION, Side, Symmetries
from landscape.compute import device_memory
from landscape.errors import ConfigurationError
from landscape.trees import fill

if TYPE_CHECKING:
    from landscape.problem import Problem

__all__ = ["ACTIVATIONS", "BARRIER", "METHODS", "OBSERVED", "WEIGHTS", "Matcher"]

PyTree = Any

WEIGHTS, ACTIVATIONS, BARRIER = "weights", "activations", "barrier"
METHODS = (WEIGHTS, ACTIVATIONS, BARRIER)
OBSERVED = 256  # examples on which units are observed


@dataclasses.dataclass(frozen=True)
class Matcher:
    """Matches the units of networks of one architecture.

    Attributes
    ----------
    problem : Problem
        The loss and its data.
    symmetries : Symmetries
        What may be changed.
    like : pytree
        The structure of a network: parameters, or the pair with batch statistics.
    split : str
        On which units are observed.
    """

    problem: Problem
    symmetries: Symmetries
    like: PyTree
    split: str

    @property
    def observes(self) -> bool:
        """Whether units can be seen at work: a structure that the user gave names no operations."""
        return bool(self.symmetries.structure.observed)

    def by_weights(
        self, first: Side, second: Side, *, rng: np.random.Generator, restarts: int
    ) -> Permutations:
        """Return the permutations that match weights best, from several starts."""
        if not self._permutes:
            return self.symmetries.identity()
        structure = self.symmetries.structure
        found = match_weights(structure, first.leaves, second.leaves, rng=rng, restarts=restarts)
        if self.observes and structure.groups:
            start = self.by_activations(first, second)
            other = match_weights(structure, first.leaves, second.leaves, rng=rng, restarts=0, start=start)
            found = max(found, other, key=_objective)
        return found.permutations

    def by_activations(self, first: Side, second: Side) -> Permutations:
        """Return the permutations that match what units do."""
        if not self._permutes:
            return self.symmetries.identity()
        seen = self.observed(first, second)
        return match_activations(self.symmetries.structure, *seen)

    def observed(self, *sides: Side) -> list[Observed]:
        """Return what the units of several networks do on examples.

        Raises
        ------
        ConfigurationError
            If the structure was given.
        """
        if not self.observes:
            raise ConfigurationError(
                "method='activations': units are observed where the structure was read off the program",
                expected="structure=None",
                hint="Leave the structure out, or match by weights.",
            )
        count = min(OBSERVED, self.problem.num_examples(self.split))
        batch = self.problem.head(count, self.split)
        # The program for this number of examples has the same operations; its structure is read again for its
        # shapes.
        again = structure_of(self.problem.plain_loss, self.like, batch)
        observe = observer(again, self.problem.plain_loss, batch)
        with device_memory(count):
            return [observe(fill(self.like, side.leaves)) for side in sides]

    @property
    def _permutes(self) -> bool:
        return PERMUTATION in self.symmetries.classes


def _objective(found: Matched) -> float:
    return found.objective
