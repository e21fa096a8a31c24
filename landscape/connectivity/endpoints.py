"""The two networks at the ends of a path: read, matched by name, refused if no path joins them. No jax."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from landscape.errors import ArchitectureMismatchError, ConfigurationError, InputError
from landscape.files import Checkpoint, checked_unread, load
from landscape.network import parts_of
from landscape.trees import (
    arrays_by_path,
    arrays_with_paths,
    carried_texts,
    check_finite,
    check_same_architecture,
    count_non_finite,
    fill,
    non_finite,
    tree_digest,
)

if TYPE_CHECKING:
    from landscape.problem import Problem

PyTree = Any


@dataclasses.dataclass(frozen=True)
class Endpoint:
    """One network: its name, parameters and, if the model has them, batch statistics."""

    name: str
    params: PyTree
    batch_stats: PyTree
    checkpoint: Checkpoint | None
    finite: bool = True

    @property
    def path(self) -> str | None:
        """The file it was read from."""
        return str(self.checkpoint.path) if self.checkpoint and self.checkpoint.path else None

    @property
    def point(self) -> PyTree:
        """What the loss takes first."""
        return self.params if self.batch_stats is None else (self.params, self.batch_stats)

    @property
    def digest(self) -> str:
        """Digest of parameters and batch statistics; of the parameters alone without the latter."""
        return tree_digest(self.point)

    @property
    def density(self) -> float | None:
        """Fraction of the kernel weights that the mask leaves; None without a mask."""
        known = self.checkpoint is not None and self.checkpoint.mask is not None
        return self.checkpoint.density if known and self.checkpoint is not None else None


@dataclasses.dataclass(frozen=True)
class Pair:
    """Two networks of one architecture, and warnings about them."""

    a: Endpoint
    b: Endpoint
    identical: bool
    finite: bool
    notes: tuple[str, ...]
    keys: tuple[Any, Any] = (None, None)  # of each network, where its values are kept for other pairs


def read(given: Any) -> Any:
    """Return a Checkpoint for a path, anything else as it is."""
    return load(given) if isinstance(given, (str, Path)) else given


def make_pair(
    given: tuple[Any, Any],
    *,
    names: tuple[str, str] | None,
    problem: Problem,
    allow_nonfinite: bool,
) -> Pair:
    """Check that two networks can be joined by a straight path and return them as a pair.

    Parameters
    ----------
    given : tuple
        Two networks as the problem takes them.
    names : tuple of str, optional
        What messages call them.
    problem : Problem
        Says how networks are given; see `landscape.network.parts_of`.
    allow_nonfinite : bool
        Whether NaN and infinite weights are let through.

    Raises
    ------
    ArchitectureMismatchError
        If paths or shapes differ.
    NonFiniteError
        If a weight is not finite and `allow_nonfinite` is false.
    InputError
        If integer weights differ, or a leaf is not a number.
    """
    called = names or _default_names(given)
    a, b = make_ends(given, called, problem=problem, allow_nonfinite=allow_nonfinite)
    notes = [f"{end.name}: {text}" for end in (a, b) if end.checkpoint for text in end.checkpoint.warnings]
    notes += [*_task_note(a, b), *(problem.form.notes if problem.form is not None else ())]
    return Pair(a, b, _equal(a, b), a.finite and b.finite, (*notes, *_non_finite_notes((a, b))))


def make_ends(
    given: Sequence[Any], called: Sequence[str], *, problem: Problem, allow_nonfinite: bool
) -> list[Endpoint]:
    """Check that networks can be joined by straight paths, and return them in one structure.

    Parameters
    ----------
    given : sequence
        Networks as the problem takes them.
    called : sequence of str
        What messages call them.
    problem, allow_nonfinite
        As in `make_pair`.

    Raises
    ------
    ArchitectureMismatchError, NonFiniteError, InputError
        As `make_pair`.
    """
    ends = [_endpoint(item, name, problem) for item, name in zip(given, called, strict=True)]
    first = ends[0]
    for end in ends[1:]:
        check_same_architecture(first.params, end.params, (first.name, end.name))
        check_same_architecture(first.batch_stats, end.batch_stats, (f"statistics of {first.name}", end.name))
        _check_carried(first, end)
    ends = _one_structure(ends)
    for end in ends[1:]:
        _check_kinds(ends[0], end)
    return [dataclasses.replace(end, finite=_finite(end, allow=allow_nonfinite)) for end in ends]


def pair_of(a: Endpoint, b: Endpoint, *, keys: tuple[Any, Any]) -> Pair:
    """Return two of the networks that `make_ends` checked as a pair, with the keys of their values."""
    return Pair(a, b, _equal(a, b), a.finite and b.finite, (), keys)


def names_of(given: Sequence[Any], names: Sequence[str] | None) -> list[str]:
    """Return what to call networks: the given names, their files, or their numbers.

    Raises
    ------
    ConfigurationError
        If there is not one name per network.
    """
    if names is not None and len(names) != len(given):
        raise ConfigurationError(
            "names: not one per network", expected=f"{len(given)} names", got=str(len(names))
        )
    if names is not None:
        return [str(name) for name in names]
    return [
        str(item.path) if isinstance(item, Checkpoint) and item.path else f"network {number}"
        for number, item in enumerate(given, start=1)
    ]


def distance(pair: Pair) -> float:
    """Return the length of the straight path between two networks."""
    others = arrays_by_path(pair.b.params)
    squares = [
        np.square(np.asarray(leaf, np.float64) - np.asarray(others[path], np.float64)).sum()
        for path, leaf in arrays_with_paths(pair.a.params)
    ]
    return float(np.sqrt(np.sum(squares)))


def _default_names(given: tuple[Any, Any]) -> tuple[str, str]:
    found = [
        str(item.path) if isinstance(item, Checkpoint) and item.path else fallback
        for item, fallback in zip(given, ("a", "b"), strict=True)
    ]
    return found[0], found[1]


def _endpoint(given: Any, name: str, problem: Problem) -> Endpoint:
    params, stats, checkpoint = parts_of(given, problem)
    if checkpoint is not None:
        checkpoint = checked_unread(checkpoint)
    return Endpoint(name, params, stats, checkpoint)


def _one_structure(ends: list[Endpoint]) -> list[Endpoint]:
    """Return all in the containers of one: of the first tree that is the caller's own, if there is one."""
    like = next((end for end in ends if end.checkpoint is None), ends[0])

    def refill(end: Endpoint) -> Endpoint:
        if end is like:
            return end
        params = fill(like.params, arrays_by_path(end.params))
        return dataclasses.replace(
            end, params=params, batch_stats=fill(like.batch_stats, arrays_by_path(end.batch_stats))
        )

    return [refill(end) for end in ends]


def _check_kinds(a: Endpoint, b: Endpoint) -> None:
    """Refuse leaves between which there is no straight line."""
    others = arrays_by_path(b.params)
    leaves = arrays_with_paths(a.params)
    if not leaves:
        raise InputError(
            f"{a.name}: holds no arrays",
            expected="a pytree of arrays",
            hint="Give the parameters, or a checkpoint that holds some.",
        )
    for path, leaf in leaves:
        first, second = np.asarray(leaf), np.asarray(others[path])
        for name, array in ((a.name, first), (b.name, second)):
            if array.dtype.kind in "OSUMm":
                raise InputError(
                    f"{name}: {path or 'the array'}: not numbers",
                    expected="an array of numbers",
                    got=str(array.dtype),
                    hint="Keep only arrays of numbers in the parameters.",
                )
        if first.dtype.kind in "biu" and not np.array_equal(first, second):
            raise InputError(
                f"{path or 'the array'}: whole numbers differ between {a.name} and {b.name}",
                expected="equal values: there is no straight line between whole numbers",
                got=f"{np.count_nonzero(first != second):,} different entries",
                hint="Keep counters and tables out of params, or make them equal.",
            )


def _check_carried(a: Endpoint, b: Endpoint) -> None:
    """Refuse two networks whose functions or settings differ, where both have them."""
    mine, theirs = carried_texts(a.params), carried_texts(b.params)
    for path in sorted(mine.keys() & theirs.keys()):
        if mine[path] != theirs[path]:
            raise ArchitectureMismatchError(
                f"{path}: differs between {a.name} and {b.name}",
                expected="the same function or setting: it stays as it is along the path",
                got=f"{mine[path][:60]} and {theirs[path][:60]}",
                hint="Compare networks that differ in their weights alone.",
            )


def _finite(end: Endpoint, *, allow: bool) -> bool:
    """Return whether all weights are finite; refuse those that are not unless allowed."""
    if not allow:
        check_finite(end.params, end.name)
        check_finite(end.batch_stats, f"{end.name}, batch statistics")
    return not count_non_finite((end.params, end.batch_stats))


def _non_finite_notes(ends: Sequence[Endpoint]) -> list[str]:
    counts = [sum(count_non_finite((end.params, end.batch_stats)).values()) for end in ends]
    return [f"{end.name}: {non_finite(count)}" for end, count in zip(ends, counts, strict=True) if count]


def _task_note(a: Endpoint, b: Endpoint) -> list[str]:
    tasks = [(end.checkpoint.info or {}).get("task") if end.checkpoint else None for end in (a, b)]
    if None in tasks or tasks[0] == tasks[1]:
        return []
    return ["the two networks were trained on different tasks; both are measured on one"]


def _equal(a: Endpoint, b: Endpoint) -> bool:
    pairs = zip(
        arrays_with_paths((a.params, a.batch_stats)),
        arrays_with_paths((b.params, b.batch_stats)),
        strict=True,
    )
    return all(_same_array(np.asarray(x), np.asarray(y)) for (_, x), (_, y) in pairs)


def _same_array(x: np.ndarray, y: np.ndarray) -> bool:
    return x.dtype == y.dtype and (np.array_equal(x, y) or x.tobytes() == y.tobytes())  # NaN is not equal


def file_of(end: Endpoint) -> str | None:
    """Return the absolute path of the file an endpoint was read from."""
    return str(Path(end.path).absolute()) if end.path else None
