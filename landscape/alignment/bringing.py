"""Bringing one network to another: the same function, its units in the other's order."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from landscape.alignment.aligned import Aligned
from landscape.alignment.cost import bar, reached
from landscape.alignment.equivalence import Checked, Equivalence, arrays_of, leaves_of
from landscape.alignment.matchers import ACTIVATIONS, BARRIER, METHODS, WEIGHTS, Matcher
from landscape.alignment.matching import Permutations, objective
from landscape.alignment.refining import Refinement, measured_barrier
from landscape.alignment.symmetries import (
    ATTENTION,
    PERMUTATION,
    SCALE,
    Change,
    Side,
    Symmetries,
    checked_classes,
    symmetries_of,
)
from landscape.alignment.travelling import travelled
from landscape.compute import SILENT, Progress, shown
from landscape.connectivity import make_ends, names_of, read
from landscape.files import Checkpoint
from landscape.problem import problem_for
from landscape.results import check_choice, check_seed, check_whole, provenance

if TYPE_CHECKING:
    from landscape.connectivity import Endpoint
    from landscape.problem import Problem

__all__ = ["Bringing", "align", "checked_settings"]

PyTree = Any
Leaves = Mapping[str, np.ndarray]

_TRACED = 2  # examples with which the loss is traced


def align(  # noqa: PLR0913  one keyword per setting
    problem: Problem | None,
    a: Any,
    b: Any,
    *,
    method: str = WEIGHTS,
    symmetry: str | Sequence[str] = (PERMUTATION,),
    structure: Mapping[str, Sequence[tuple[str, int]]] | None = None,
    seed: int = 0,
    restarts: int = 5,
    steps: int = 100,
    split: str = "train",
    batch_size: int | None = None,
    names: Sequence[str] | None = None,
    progress: Progress | None = None,
) -> Aligned:
    """Bring one network to another by symmetries: its units in the other's order, and on its scale.

    What can be changed without changing the loss is read off the program of the loss
    (`landscape.alignment.structure`, `landscape.alignment.rescaling`): for any network, in any library. That
    the function stays the same is checked on data, always.

    Parameters
    ----------
    problem : Problem or None
        The loss and its data; None rebuilds the task that the first checkpoint names.
    a, b : Checkpoint, path of one, or pytree
        The network that stays, and the one that is brought to it.
    method : {"weights", "activations", "barrier"}
        Match units by their weights [1]_ or by what they do on up to 256 examples of `split` [2]_; or lower
        the measured barrier itself, from these two and from no change at all, by gradients of the loss half
        way [1]_. The last needs a gradient, and never ends with a higher barrier on `split` than there was.
    symmetry : str or sequence of str
        Classes of symmetries: ``"permutation"`` of units; ``"scale"``, positive factors for units between
        which the network is homogeneous, as rectifiers are [3]_; ``"attention"``, invertible maps inside
        heads that leave the products of queries and keys, and of values and outputs, as they are [4]_. Units
        are matched in the form of least norm of each network; the second gets the form of the first.
    structure : mapping, optional
        Groups of units, where they are not to be derived: name to the (path, axis) pairs permuted alike.
    seed : int
        Of the starts and orders of weight matching.
    restarts : int
        Random starts of weight matching beside the identity and, where it can be had, the match by
        activations.
    steps : int
        Steps of ``method="barrier"``.
    split : str
        The data.
    batch_size : int, optional
        Examples per batch in the check.
    names : pair of str, optional
        What to call the networks.
    progress : Progress, optional
        Is told of every step; by default a bar where standard error is a terminal.

    Returns
    -------
    Aligned

    Raises
    ------
    InputError
        If permuting by the structure changes the loss: it is not one of this network.
    ConfigurationError
        If a setting or the given structure is invalid.
    ArchitectureMismatchError, NonFiniteError, ProblemError
        From the networks and the problem; the last too if ``method="barrier"`` meets a loss without gradient.

    Notes
    -----
    Two evaluations of the split for the check; values only, no gradient. ``method="barrier"`` costs `steps`
    gradients of 256 examples, an assignment per group and step, and about ten barriers of 25 points.

    References
    ----------
    .. [1] Ainsworth et al., 2023. Git re-basin: merging models modulo permutation symmetries.
       arXiv:2209.04836.
    .. [2] Li et al., 2016. Convergent learning. arXiv:1511.07543.
    .. [3] Stock et al., 2019. Equi-normalization of neural networks. arXiv:1902.10416.
    .. [4] Theus et al., 2025. Generalized linear mode connectivity for transformers. NeurIPS 2025.

    Examples
    --------
    >>> import numpy as np
    >>> import jax.numpy as jnp
    >>> from landscape import Problem, align
    >>> x = np.random.default_rng(0).normal(size=(20, 2)).astype(np.float32)
    >>> problem = Problem(lambda p, batch: (jnp.tanh(batch @ p["w"]) @ p["v"]) ** 2, train=x)
    >>> a = {"w": np.array([[1, 2, 3], [4, 5, 6]], np.float32), "v": np.array([1, 2, 3], np.float32)}
    >>> b = {"w": a["w"][:, [2, 0, 1]], "v": a["v"][[2, 0, 1]]}
    >>> bool((align(problem, a, b).params["w"] == a["w"]).all())
    True
    """
    settings = checked_settings(method, symmetry, seed=seed, restarts=restarts, steps=steps)
    given = [read(item) for item in (a, b)]
    problem = problem_for(problem, *given)
    plain = not all(isinstance(item, Checkpoint) for item in given)
    called = ["a", "b"] if names is None and plain else names_of(given, names)
    ends = make_ends(given, called, problem=problem, allow_nonfinite=False)
    how: dict[str, Any] = {"split": split, "batch_size": batch_size}
    told = shown(progress)
    work = Bringing(problem, classes=settings["symmetry"], stated=structure, progress=told, **how)
    with bar(told, problem, [end.point for end in ends], method=method, steps=int(steps), **how):
        return work.aligned(ends[0], ends[1], settings)


def checked_settings(
    method: str, symmetry: str | Sequence[str], *, seed: int, restarts: int, steps: int
) -> dict[str, Any]:
    """Return the settings that a result states, the classes of symmetries as a list.

    Raises
    ------
    ConfigurationError
        If one is invalid.
    """
    check_choice("method", method, METHODS)
    check_seed(seed)
    check_whole("restarts", restarts, 0)
    check_whole("steps", steps, 0)
    classes = checked_classes(symmetry)
    settings = {"method": method, "symmetry": list(classes), "seed": int(seed), "restarts": int(restarts)}
    return {**settings, "steps": int(steps)} if method == BARRIER else settings


@dataclasses.dataclass(frozen=True)
class Bringing:
    """Networks of one architecture, and how they are brought to one another.

    Attributes
    ----------
    problem : Problem
        The loss and its data.
    split : str
        The data on which units are observed and functions compared.
    batch_size : int or None
        Examples per batch.
    classes : sequence of str
        Symmetries that may be used.
    stated : mapping or None
        The groups of units, if the user gives them.
    progress : Progress
        Is told of stages and steps.
    """

    problem: Problem
    split: str
    batch_size: int | None
    classes: Sequence[str]
    stated: Mapping[str, Sequence[tuple[str, int]]] | None = None
    progress: Progress = SILENT

    @property
    def equivalence(self) -> Equivalence:
        """What compares a network before and after."""
        return Equivalence(self.problem, self.split, self.batch_size)

    def symmetries(self, end: Endpoint) -> Symmetries:
        """Return what can be changed without changing the loss."""
        batch = self.problem.head(_TRACED, self.split)
        held = None if end.batch_stats is None else "[1]"
        return symmetries_of(
            self.problem.plain_loss,
            end.point,
            batch,
            classes=self.classes,
            stated=self.stated,
            held=held,
            same=self.equivalence.tried(end),
        )

    def aligned(self, a: Endpoint, b: Endpoint, settings: Mapping[str, Any]) -> Aligned:
        """Return the second network brought to the first."""
        symmetries = self.symmetries(b)
        reached(self.progress, "matching")
        matcher = Matcher(self.problem, symmetries, b.point, self.split)
        first, second = (symmetries.side(leaves_of(end)) for end in (a, b))
        if settings["method"] == BARRIER:
            return self._refined((a, b), (first, second), matcher, settings)
        permutations = self.matched(matcher, (first, second), settings)
        reached(self.progress, "checking on data")
        return self.result(a, b, symmetries.change(permutations, first, second), settings)

    def matched(
        self, matcher: Matcher, sides: tuple[Side, Side], settings: Mapping[str, Any]
    ) -> Permutations:
        """Return the permutations that match units by weights or by activations."""
        if settings["method"] == ACTIVATIONS:
            return matcher.by_activations(*sides)
        rng = np.random.default_rng([settings["seed"], 0xA119])
        return matcher.by_weights(*sides, rng=rng, restarts=settings["restarts"])

    def _refined(
        self,
        ends: tuple[Endpoint, Endpoint],
        sides: tuple[Side, Side],
        matcher: Matcher,
        settings: Mapping[str, Any],
    ) -> Aligned:
        """Return the second network with the lowest barrier that was found, itself if that has it."""
        (a, b), symmetries = ends, matcher.symmetries
        refinement = Refinement(
            problem=self.problem,
            symmetries=symmetries,
            like=b.point,
            split=self.split,
            steps=settings["steps"],
            batch_size=self.batch_size,
            progress=self.progress,
        )
        starts = [symmetries.identity(), self.matched(matcher, sides, settings)]
        if matcher.observes:
            starts.append(matcher.by_activations(*sides))
        reached(self.progress, "lowering the barrier")
        found = refinement.best(*sides, starts, seed=settings["seed"])
        change = symmetries.change(found, *sides)
        checked = self.equivalence.checked(b, change)
        heights = [
            measured_barrier(self.problem, a.point, end, split=self.split, batch_size=self.batch_size)
            for end in (b.point, checked.point)
        ]
        if not heights[1] <= heights[0]:
            change, heights = symmetries.unchanged(), [heights[0]] * 2
            checked = self.equivalence.checked(b, change)
        before, after = (height if np.isfinite(height) else None for height in heights)
        barriers = {"barrier_before": before, "barrier_after": after}
        return self._result((a, b), change, checked, settings, **barriers)

    def result(self, a: Endpoint, b: Endpoint, change: Change, settings: Mapping[str, Any]) -> Aligned:
        """Return the result; refuse a change under which the loss is another.

        Raises
        ------
        InputError
            If it is.
        """
        return self._result((a, b), change, self.equivalence.checked(b, change), settings)

    def _result(
        self,
        ends: tuple[Endpoint, Endpoint],
        change: Change,
        checked: Checked,
        settings: Mapping[str, Any],
        **more: Any,
    ) -> Aligned:
        """Return the result of a change that was checked on data."""
        a, b = ends
        moved = checked.point
        params, stats = moved if b.batch_stats is not None else (moved, None)
        structure, order = change.symmetries.structure, change.permutations
        before, after, first = leaves_of(b), arrays_of(moved), leaves_of(a)
        none = change.symmetries.identity()
        checkpoint, notes = _checkpoint(b, change, params, stats)
        return Aligned(
            params=params,
            checkpoint=checkpoint,
            permutations=order,
            symmetry=tuple(self.classes),
            scales=change.scales(),
            maps=change.maps,
            rescalings={name: found.describe() for name, found in change.symmetries.rescalings.items()},
            groups=structure.describe(),
            moved={name: float(np.mean(p != none[name])) for name, p in order.items()},
            equivalence_error=checked.error,
            objective_before=objective(structure, first, before, none),
            objective_after=objective(structure, first, after, none),
            distance_before=_distance(first, before),
            distance_after=_distance(first, after),
            method=settings["method"],
            endpoints=(a.name, b.name),
            warnings=(*_warnings(change.symmetries), *checked.notes, *notes),
            config={"split": self.split, **settings},
            stats={
                "num_examples": self.problem.num_examples(self.split),
                **self.problem.weighting(self.split).facts,
            },
            provenance=provenance(
                seed=settings["seed"],
                dtype="float32",
                digests={"a": a.digest, "b": b.digest, "data": self.problem.data_digest(self.split)},
            ),
            **more,
        )


def _warnings(symmetries: Symmetries) -> tuple[str, ...]:
    notes = []
    structure = symmetries.structure
    if structure.unknown:
        notes.append(f"operations that no rule knows fix what they touch: {', '.join(structure.unknown)}")
    if not structure.groups:
        notes.append("no unit of this network can be permuted without changing its loss")
    if SCALE in symmetries.classes and not symmetries.rescalings:
        notes.append("no unit of this network can be rescaled without changing its loss")
    if ATTENTION in symmetries.classes and not symmetries.spaces:
        notes.append("no head of this network can be mapped inside without changing its loss")
    return tuple(notes)


def _checkpoint(
    end: Endpoint, change: Change, params: PyTree, stats: PyTree
) -> tuple[Checkpoint, tuple[str, ...]]:
    if end.checkpoint is None:
        return Checkpoint(params=params, batch_stats=stats), ()
    prefix = "" if end.batch_stats is None else "[0]/"
    return travelled(end.checkpoint, change, params, stats, prefix=prefix)


def _distance(a: Leaves, b: Leaves) -> float:
    squares = [np.square(a[path].astype(np.float64) - b[path].astype(np.float64)).sum() for path in a]
    return float(np.sqrt(np.sum(squares)))
