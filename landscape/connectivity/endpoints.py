"""The two networks at the ends of a path: read, matched by name, refused if no path joins them. No jax."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from landscape.errors import InputError
from landscape.files import Checkpoint, load
from landscape.trees import (
    by_path,
    check_finite,
    check_same_architecture,
    count_non_finite,
    fill,
    leaves_with_paths,
    non_finite,
    tree_digest,
)

PyTree = Any


@dataclasses.dataclass(frozen=True)
class Endpoint:
    """One network: its name, parameters and, if the model has them, batch statistics."""

    name: str
    params: PyTree
    batch_stats: PyTree
    checkpoint: Checkpoint | None

    @property
    def path(self) -> str | None:
        """The file it was read from."""
        return str(self.checkpoint.path) if self.checkpoint and self.checkpoint.path else None

    @property
    def digest(self) -> str:
        """Digest of parameters and batch statistics; of the parameters alone without the latter."""
        return tree_digest(self.params if self.batch_stats is None else (self.params, self.batch_stats))

    @property
    def density(self) -> float | None:
        """Fraction of the kernel weights that the mask leaves; None without a mask."""
        known = self.checkpoint is not None and self.checkpoint.mask is not None
        return self.checkpoint.density if known and self.checkpoint is not None else None


@dataclasses.dataclass(frozen=True)
class Pair:
    """Two networks of one architecture, and what a reader should know about them."""

    a: Endpoint
    b: Endpoint
    identical: bool
    finite: bool
    notes: tuple[str, ...]


def read(given: Any) -> Any:
    """Return a Checkpoint for a path, anything else as it is."""
    return load(given) if isinstance(given, (str, Path)) else given


def make_pair(
    given: tuple[Any, Any], *, names: tuple[str, str] | None, with_stats: bool, allow_nonfinite: bool
) -> Pair:
    """Check that two networks can be joined by a straight path and return them as a pair.

    Parameters
    ----------
    given : tuple
        Two checkpoints or parameter trees; ``(params, batch_stats)`` if `with_stats`.
    names : tuple of str, optional
        What messages call them.
    with_stats : bool
        Whether the problem computes batch statistics, so that a bare pair is taken apart.
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
    a, b = (_endpoint(item, name, with_stats) for item, name in zip(given, called, strict=True))
    check_same_architecture(a.params, b.params, called)
    check_same_architecture(a.batch_stats, b.batch_stats, (f"statistics of {called[0]}", called[1]))
    a, b = _one_structure(a, b)
    _check_kinds(a, b)
    notes = [f"{end.name}: {text}" for end in (a, b) if end.checkpoint for text in end.checkpoint.warnings]
    notes += _task_note(a, b)
    bad = [_bad_weights(end, allow=allow_nonfinite) for end in (a, b)]
    return Pair(a, b, _equal(a, b), not any(bad), (*notes, *(text for text in bad if text)))


def _default_names(given: tuple[Any, Any]) -> tuple[str, str]:
    found = [
        str(item.path) if isinstance(item, Checkpoint) and item.path else fallback
        for item, fallback in zip(given, ("a", "b"), strict=True)
    ]
    return found[0], found[1]


def _endpoint(given: Any, name: str, with_stats: bool) -> Endpoint:
    if isinstance(given, Checkpoint):
        return Endpoint(name, given.params, given.batch_stats, given)
    if with_stats and isinstance(given, tuple) and len(given) == 2:
        return Endpoint(name, given[0], given[1], None)
    return Endpoint(name, given, None, None)


def _one_structure(a: Endpoint, b: Endpoint) -> tuple[Endpoint, Endpoint]:
    """Return both in the containers of one: the caller's own tree if only one came from a file."""
    like = b if a.checkpoint is not None and b.checkpoint is None else a

    def refill(end: Endpoint) -> Endpoint:
        if end is like:
            return end
        params = fill(like.params, by_path(end.params))
        return dataclasses.replace(
            end, params=params, batch_stats=fill(like.batch_stats, by_path(end.batch_stats))
        )

    return refill(a), refill(b)


def _check_kinds(a: Endpoint, b: Endpoint) -> None:
    """Refuse leaves between which there is no straight line."""
    others = by_path(b.params)
    leaves = leaves_with_paths(a.params)
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


def _bad_weights(end: Endpoint, *, allow: bool) -> str:
    """Return a note if weights are not finite; refuse them unless allowed."""
    if not allow:
        check_finite(end.params, end.name)
        check_finite(end.batch_stats, f"{end.name}, batch statistics")
        return ""
    count = sum(count_non_finite((end.params, end.batch_stats)).values())
    return f"{end.name}: {non_finite(count)}" if count else ""


def _task_note(a: Endpoint, b: Endpoint) -> list[str]:
    tasks = [(end.checkpoint.info or {}).get("task") if end.checkpoint else None for end in (a, b)]
    if None in tasks or tasks[0] == tasks[1]:
        return []
    return ["the two networks were trained on different tasks; both are measured on one"]


def _equal(a: Endpoint, b: Endpoint) -> bool:
    pairs = zip(
        leaves_with_paths((a.params, a.batch_stats)),
        leaves_with_paths((b.params, b.batch_stats)),
        strict=True,
    )
    return all(_same_array(np.asarray(x), np.asarray(y)) for (_, x), (_, y) in pairs)


def _same_array(x: np.ndarray, y: np.ndarray) -> bool:
    return x.dtype == y.dtype and (np.array_equal(x, y) or x.tobytes() == y.tobytes())  # NaN is not equal


def file_of(end: Endpoint) -> str | None:
    """Return the absolute path of the file an endpoint was read from."""
    return str(Path(end.path).absolute()) if end.path else None
