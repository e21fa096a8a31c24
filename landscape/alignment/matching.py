"""Which unit of one network is which of another: by their weights, or by what they do on data.

Weight matching (Ainsworth et al. 2023, arXiv:2209.04836, algorithm 1) maximises Σ_l ⟨A_l, π(B)_l⟩ over the
permutations of all groups, by coordinate ascent:

1. start from permutations of all groups, the identity or random ones;
2. take the groups in random order; with all others as they are, the objective is Σ_i M[i, p(i)] with M[i, j]
   the
   inner product of the weights of unit i of A and unit j of B: a linear assignment, solved exactly. Where a
   group stands on two axes of one array, the other axis keeps its present permutation;
3. repeat until no group gains; keep the best of several starts.

The problem is NP-hard: this finds a local optimum. Activation matching has none of these: a unit's
activations do not
depend on how other groups are permuted, so each group is one linear assignment on the correlations of its
units' activations over examples and places (Li et al. 2016, arXiv:1511.07543).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy.optimize import linear_sum_assignment

from landscape.alignment.axes import positions, units_of
from landscape.alignment.structure import Structure

__all__ = [
    "Matched",
    "Observed",
    "Permutations",
    "ascend",
    "match_activations",
    "match_weights",
    "nearness",
    "objective",
    "similarity",
]

_GAIN = 1e-12  # of the norms: a smaller gain is rounding, and rounding could go on for ever
_MOST_ROUNDS = 200

Leaves = Mapping[str, np.ndarray]
Permutations = dict[str, np.ndarray]
Observed = Mapping[str, Sequence[np.ndarray]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Matched:
    """Permutations, and how well they match.

    Attributes
    ----------
    permutations : dict of str to numpy.ndarray
        By group; permutation p brings unit p[i] of the second network to place i.
    objective : float
        Σ_l ⟨A_l, π(B)_l⟩.
    starts : int
        Starts from which the best was taken.
    """

    permutations: Permutations
    objective: float
    starts: int


def objective(structure: Structure, a: Leaves, b: Leaves, permutations: Permutations) -> float:
    """Return the inner product of the first network with the permuted second, in float64."""
    moved = structure.apply(b, permutations)
    return float(sum(np.vdot(np.asarray(a[path], np.float64), moved[path]) for path in structure.axes))


def match_weights(
    structure: Structure,
    a: Leaves,
    b: Leaves,
    *,
    rng: np.random.Generator,
    restarts: int,
    start: Permutations | None = None,
) -> Matched:
    """Return the permutations that match the weights best, by the steps in the module's docstring.

    Parameters
    ----------
    structure : Structure
        The groups.
    a, b : mapping of str to array
        Leaves of both networks.
    rng : numpy.random.Generator
        Of the order of the groups and the starts.
    restarts : int
        Random starts beside the first.
    start : dict, optional
        The first start; the identity by default.
    """
    wide = [{path: np.asarray(leaf, np.float64) for path, leaf in leaves.items()} for leaves in (a, b)]
    identity = {name: np.arange(units.size) for name, units in structure.groups.items()}
    starts = [identity if start is None else start]
    starts += [{name: rng.permutation(len(p)) for name, p in identity.items()} for _ in range(restarts)]
    found = [ascend(structure, wide[0], wide[1], first, rng) for first in starts]
    best = max(found, key=lambda item: item[1])
    return Matched(permutations=best[0], objective=best[1], starts=len(starts))


def ascend(  # noqa: PLR0917  the two networks and the state of one ascent
    structure: Structure, a: Leaves, b: Leaves, start: Permutations, rng: np.random.Generator
) -> tuple[Permutations, float]:
    """Return the local optimum that is reached from a start, and its objective; leaves in float64."""
    found = dict(start)
    names = list(structure.groups)
    scale = sum(float(np.vdot(a[path], a[path])) for path in structure.axes) or 1.0
    for _ in range(_MOST_ROUNDS):
        gained = 0.0
        for name in rng.permutation(names):
            similar = similarity(structure, str(name), a, b, found)
            rows, columns = linear_sum_assignment(similar, maximize=True)
            now = similar[np.arange(len(similar)), found[str(name)]].sum()
            gain = float(similar[rows, columns].sum() - now)
            if gain > _GAIN * scale:
                found[str(name)] = columns
                gained += gain
        if gained <= _GAIN * scale:
            break
    return found, objective(structure, a, b, found)


def similarity(  # noqa: PLR0917  the two networks and how they stand
    structure: Structure, name: str, a: Leaves, b: Leaves, permutations: Permutations
) -> np.ndarray:
    """Return M[i, j]: the inner product of unit i of A with unit j of B, other groups permuted."""
    units = structure.groups[name]
    total = np.zeros((units.size, units.size))
    others = {other: p for other, p in permutations.items() if other != name}
    for path, axes in structure.axes.items():
        for number, axis in enumerate(axes):
            if units not in units_of(axis):
                continue
            places = positions(axis, units)
            moved = structure.apply({path: b[path]}, others)[path]
            for twin, other in enumerate(axes):  # the same group on another axis keeps its permutation
                if twin != number and units in units_of(other):
                    index = _along(other, units, moved.shape[twin], permutations[name])
                    moved = np.take(moved, index, axis=twin)
            first, second = (
                np.moveaxis(leaf, number, 0)[places.T].reshape(units.size, -1) for leaf in (a[path], moved)
            )
            total += first @ second.T
    return total


def _along(axis: Any, units: Any, size: int, permutation: np.ndarray) -> np.ndarray:
    index = np.arange(size)
    places = positions(axis, units)
    index[places.reshape(-1)] = places[:, permutation].reshape(-1)
    return index


def match_activations(structure: Structure, first: Observed, second: Observed) -> Permutations:
    """Return the permutations that match what units do.

    Parameters
    ----------
    structure : Structure
        The groups.
    first, second : mapping of str to sequence of array
        Of each network by group the values [units, samples] of its units, one array per operation.
    """
    found = {}
    for name in structure.groups:
        _, columns = linear_sum_assignment(nearness(structure, name, first, second), maximize=True)
        found[name] = columns
    return found


def nearness(structure: Structure, name: str, first: Observed, second: Observed) -> np.ndarray:
    """Return how near what unit i of one network does is to what unit j of the other does."""
    similar = np.zeros((structure.groups[name].size,) * 2)
    for x, y in zip(first.get(name, ()), second.get(name, ()), strict=True):
        similar += _nearness(x, y)
    return similar


def _nearness(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return minus the squared distances of units, scaled: equal units are nearest, whatever their size.

    A correlation alone would confuse units that differ by a factor, and says nothing of dead ones.
    """
    x, y = (np.asarray(values, np.float64) for values in (x, y))
    scale = float(np.mean(np.square(x)) + np.mean(np.square(y))) * x.shape[1] or 1.0
    squares = np.square(x).sum(1)[:, None] + np.square(y).sum(1)[None] - 2 * (x @ y.T)
    near: np.ndarray = -squares / scale
    return near
