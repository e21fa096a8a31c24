"""Several networks brought to one common alignment, consistent around every cycle.

Pairs that are aligned by themselves contradict one another: from A to B to C is not from A to C. Here every
network gets one permutation p_i to places that all share, so the way from i to j is p_j⁻¹ ∘ p_i, around every
cycle the identity. Steps (as Ainsworth et al. 2023, arXiv:2209.04836, merge many models; for the aim see
Crisostomi et al. 2024, C²M³, arXiv:2405.17897):

1. bring every network to the first;
2. in turn, bring each of the others to the mean of all but itself as they stand;
3. repeat while anything moves.

By weights, step 2 raises the sum over pairs of the inner products of the networks: its part in that sum is
its inner product with the sum of the others. By activations it lowers the sum over pairs of squared distances
of what units do. The first network stays as it is.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from landscape.alignment.bringing import Bringing, checked_settings
from landscape.alignment.equivalence import leaves_of
from landscape.alignment.matchers import ACTIVATIONS, BARRIER, WEIGHTS, Matcher
from landscape.alignment.matching import Observed, Permutations, ascend, match_activations
from landscape.alignment.symmetries import PERMUTATION, Side
from landscape.connectivity import make_ends, names_of, read
from landscape.errors import InputError
from landscape.problem import problem_for

if TYPE_CHECKING:
    from landscape.alignment.aligned import Aligned
    from landscape.problem import Problem

__all__ = ["align_all"]

_MOST_ROUNDS = 20


def align_all(  # noqa: PLR0913  one keyword per setting
    problem: Problem | None,
    checkpoints: Sequence[Any],
    *,
    method: str = WEIGHTS,
    symmetry: str | Sequence[str] = (PERMUTATION,),
    seed: int = 0,
    restarts: int = 5,
    steps: int = 100,
    split: str = "train",
    batch_size: int | None = None,
    names: Sequence[str] | None = None,
) -> tuple[Aligned, ...]:
    """Bring several networks to one common alignment, that of the first.

    Parameters
    ----------
    problem : Problem or None
        The loss and its data; None rebuilds the task that the first checkpoint names.
    checkpoints : sequence of Checkpoint, path or pytree
        At least two networks of one architecture. The first stays.
    method : {"weights", "activations", "barrier"}
        As in `landscape.align`. By weights and activations each network is brought to the mean of the others
        in turn; by barrier each is brought to the first.
    symmetry, seed, restarts, steps, split, batch_size
        As in `landscape.align`.
    names : sequence of str, optional
        What to call the networks; by default their files.

    Returns
    -------
    tuple of Aligned
        One per network, in their order; permutations, distances and barriers are those to the first.

    Raises
    ------
    InputError
        If there are fewer than two networks, or a change makes another function.
    ArchitectureMismatchError, NonFiniteError, ProblemError, ConfigurationError
        As `landscape.align`.

    Examples
    --------
    >>> import numpy as np
    >>> import jax.numpy as jnp
    >>> from landscape import Problem, align_all
    >>> x = np.random.default_rng(0).normal(size=(20, 2)).astype(np.float32)
    >>> problem = Problem(lambda p, batch: (jnp.tanh(batch @ p["w"]) @ p["v"]) ** 2, train=x)
    >>> a = {"w": np.array([[1, 2, 3], [4, 5, 6]], np.float32), "v": np.array([1, 2, 3], np.float32)}
    >>> orders = ([0, 1, 2], [2, 0, 1], [1, 0, 2])
    >>> found = align_all(problem, [{"w": a["w"][:, p], "v": a["v"][p]} for p in orders], names=list("abc"))
    >>> [float(one.distance_after) for one in found]
    [0.0, 0.0, 0.0]
    """
    settings = checked_settings(method, symmetry, seed=seed, restarts=restarts, steps=steps)
    given = [read(item) for item in checkpoints]
    if len(given) < 2:
        raise InputError("align_all: needs at least two networks", got=str(len(given)))
    problem = problem_for(problem, *given)
    ends = make_ends(given, names_of(given, names), problem=problem, allow_nonfinite=False)
    work = Bringing(problem, split=split, batch_size=batch_size, classes=settings["symmetry"])
    symmetries = work.symmetries(ends[0])
    if method == BARRIER:
        others = [work.aligned(ends[0], end, settings) for end in ends[1:]]
        first = work.result(ends[0], ends[0], symmetries.unchanged(), settings)
        return (first, *others)
    matcher = Matcher(problem, symmetries, ends[0].point, split)
    sides = [symmetries.side(leaves_of(end)) for end in ends]
    found = _Common(work, matcher, sides, settings).permutations()
    changes = [symmetries.change(p, sides[0], side) for p, side in zip(found, sides, strict=True)]
    return tuple(work.result(ends[0], end, c, settings) for end, c in zip(ends, changes, strict=True))


@dataclasses.dataclass(frozen=True)
class _Common:
    """Networks on their canonical scales, to be brought to one alignment."""

    work: Bringing
    matcher: Matcher
    sides: Sequence[Side]
    settings: Mapping[str, Any]

    def permutations(self) -> list[Permutations]:
        """Return what brings each network to the common places: steps 1 to 3."""
        first = self.sides[0]
        found = [self.matcher.symmetries.identity()]
        found += [self.work.matched(self.matcher, (first, side), self.settings) for side in self.sides[1:]]
        if len(found) < 3 or PERMUTATION not in self.matcher.symmetries.classes:
            return found
        turn = self._observed() if self.settings["method"] == ACTIVATIONS else self._weighed()
        for _ in range(_MOST_ROUNDS):
            moved = False
            for number in range(1, len(found)):
                better = turn(found, number)
                moved |= any(not np.array_equal(better[name], found[number][name]) for name in better)
                found[number] = better
            if not moved:
                break
        return found

    def _weighed(self) -> Any:
        """Return step 2 by weights."""
        structure = self.matcher.symmetries.structure
        wide = [{path: np.asarray(x, np.float64) for path, x in side.leaves.items()} for side in self.sides]
        rng = np.random.default_rng([self.settings["seed"], 0xA11])

        def turn(found: Sequence[Permutations], number: int) -> Permutations:
            stand = [structure.apply(x, p) for x, p in zip(wide, found, strict=True)]
            others = [leaves for place, leaves in enumerate(stand) if place != number]
            mean = {path: np.mean([leaves[path] for leaves in others], axis=0) for path in wide[0]}
            better, _ = ascend(structure, mean, wide[number], found[number], rng)
            return better

        return turn

    def _observed(self) -> Any:
        """Return step 2 by activations."""
        structure = self.matcher.symmetries.structure
        seen = self.matcher.observed(*self.sides)

        def turn(found: Sequence[Permutations], number: int) -> Permutations:
            stand = [_reordered(x, p) for x, p in zip(seen, found, strict=True)]
            others = [values for place, values in enumerate(stand) if place != number]
            mean = {
                name: [np.mean(rows, axis=0) for rows in zip(*(one[name] for one in others), strict=True)]
                for name in others[0]
            }
            return match_activations(structure, mean, seen[number])

        return turn


def _reordered(seen: Observed, permutations: Permutations) -> Observed:
    return {name: [rows[permutations[name]] for rows in values] for name, values in seen.items()}
