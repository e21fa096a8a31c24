"""The subject of an analysis: a network, and the coordinates in which it is free. No jax."""

from __future__ import annotations

import dataclasses
import fnmatch
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from landscape.errors import ConfigurationError, InputError, MaskError
from landscape.files import Checkpoint, load
from landscape.network.parts import parts_of, statistics_in, weights_only
from landscape.results import read_from
from landscape.trees import (
    Layout,
    arrays_by_path,
    arrays_with_paths,
    check_finite,
    checked_mask,
    count_non_finite,
    tree_digest,
)

if TYPE_CHECKING:
    from landscape.problem import Problem

PyTree = Any

UNNAMED = "params"  # what a network is called that has no file


@dataclasses.dataclass(frozen=True, kw_only=True)
class Subject:
    """A network and its free coordinates.

    Attributes
    ----------
    name : str
        What messages call it.
    params : pytree
        All parameters.
    batch_stats : pytree or None
        Stored statistics of normalisation layers; held fixed.
    layout : Layout
        Paths and shapes of the differentiated leaves, in the order of the vector.
    free : numpy.ndarray or None
        Positions of the free entries in the layout's vector; None if all are.
    finite : bool
        Whether every weight is.
    notes : tuple of str
        Warnings for the reader.
    checkpoint : Checkpoint or None
        Where the network was read from.
    """

    name: str
    params: PyTree
    batch_stats: PyTree
    layout: Layout
    free: np.ndarray | None
    finite: bool
    notes: tuple[str, ...]
    checkpoint: Checkpoint | None

    @property
    def dim(self) -> int:
        """Number of free coordinates."""
        return self.layout.size if self.free is None else len(self.free)

    @property
    def point(self) -> PyTree:
        """What the loss takes first."""
        return self.params if self.batch_stats is None else (self.params, self.batch_stats)

    @property
    def digest(self) -> str:
        """Digest of parameters and batch statistics."""
        return tree_digest(self.point)

    @property
    def file(self) -> str | None:
        """The file that the network was read from, as an absolute path."""
        path = self.checkpoint.path if self.checkpoint is not None else None
        return str(path.absolute()) if path else None

    @property
    def is_free(self) -> np.ndarray:
        """Which entries of the layout's vector are free [size]."""
        free = np.ones(self.layout.size, bool)
        if self.free is not None:
            free[:] = False
            free[self.free] = True
        return free

    def digests(self, problem: Problem, split: str) -> dict[str, Any]:
        """Return the digests of parameters and data, and the file of another tool they are from."""
        return {
            "params": self.digest,
            "data": {split: problem.data_digest(split)},
            **read_from({"params": self.checkpoint}),
        }

    def flatten(self, tree: PyTree, dtype: np.dtype) -> np.ndarray:
        """Return the free entries [dim] of a tree like the parameters."""
        leaves = arrays_by_path(tree)
        parts = [np.asarray(leaves[path], dtype).reshape(-1) for path in self.layout.paths]
        vector: np.ndarray = self.gather(np.concatenate(parts)[None])[0]
        return vector

    def scatter(self, rows: np.ndarray) -> np.ndarray:
        """Return vectors [b, dim] in the layout's coordinates [b, size], zero where not free."""
        if self.free is None:
            return rows
        full = np.zeros((len(rows), self.layout.size), rows.dtype)
        full[:, self.free] = rows
        return full

    def gather(self, rows: np.ndarray) -> np.ndarray:
        """Return the free entries [b, dim] of vectors [b, size]."""
        return rows if self.free is None else rows[:, self.free]

    def layers(self) -> dict[str, np.ndarray]:
        """Return, by path, the positions [dim] of each leaf's free coordinates, empty ones left out."""
        positions = np.arange(self.layout.size) if self.free is None else self.free
        found = {}
        for path, where in self.layout.slices.items():
            first, last = np.searchsorted(positions, (where.start, where.stop))
            if last > first:
                found[path] = np.arange(first, last)
        return found


def make_subject(
    problem: Problem,
    given: Any,
    *,
    mask: Any = None,
    where: str | Iterable[str] | None = None,
    allow_nonfinite: bool = False,
) -> Subject:
    """Check a network and choose its free coordinates.

    Parameters
    ----------
    problem : Problem
        Says whether a bare pair is ``(params, batch_stats)``.
    given : Checkpoint, path of one, or pytree
        The network.
    mask : pytree of bool, or False, optional
        Entries that are free; by default the checkpoint's mask, False for none.
    where : str or iterable of str, optional
        Patterns of paths (``"Dense_0/*"``) of the leaves to differentiate.
    allow_nonfinite : bool
        Whether NaN and infinite weights are let through.

    Raises
    ------
    NonFiniteError
        If a weight is NaN or infinite.
    MaskError
        If the mask does not fit, or nothing is free.
    ConfigurationError
        If a pattern matches no leaf.
    InputError
        If there are no floating-point leaves.
    """
    given = load(given) if isinstance(given, (str, Path)) else given
    name, params, stats, checkpoint = _parts(problem, given)
    finite = _check_weights(name, params, stats, allow=allow_nonfinite)
    statistics = statistics_in(problem, params)
    held = frozenset() if problem.form is None else problem.form.constant
    layout, notes = _selected(name, params, where, statistics, held=held)
    if problem.form is not None:
        notes = (*problem.form.notes, *(checkpoint.warnings if checkpoint is not None else ()), *notes)
    if mask is None and checkpoint is not None:
        mask = checkpoint.mask
    elif stats is not None:
        mask = weights_only(mask)
    free, more = (None, ()) if mask is None or mask is False else _free(params, mask, layout)
    return Subject(
        name=name,
        params=params,
        batch_stats=stats,
        layout=layout,
        free=free,
        finite=finite,
        notes=(*notes, *more),
        checkpoint=checkpoint,
    )


def check_networks(problem: Problem, given: Iterable[Any], **options: Any) -> None:
    """Refuse what `make_subject` refuses of any of several networks, before the first of them is measured."""
    for item in given:
        make_subject(problem, item, **options)


def check_names(names: Sequence[str] | None, given: Sequence[Any]) -> None:
    """Refuse names that are not one per network; None is none."""
    if names is not None and len(names) != len(given):
        raise ConfigurationError("names: not one per network", expected=str(len(given)), got=str(len(names)))


def _parts(problem: Problem, given: Any) -> tuple[str, PyTree, PyTree, Checkpoint | None]:
    params, stats, checkpoint = parts_of(given, problem)
    name = str(checkpoint.path) if checkpoint is not None and checkpoint.path else UNNAMED
    return name, params, stats, checkpoint


def _check_weights(name: str, params: PyTree, stats: PyTree, *, allow: bool) -> bool:
    if not allow:
        check_finite(params, name)
        check_finite(stats, f"{name}, batch statistics")
    return not count_non_finite((params, stats))


def _selected(
    name: str,
    params: PyTree,
    where: str | Iterable[str] | None,
    statistics: list[str],
    *,
    held: frozenset[str],
) -> tuple[Layout, tuple[str, ...]]:
    """Return the layout of the leaves that are differentiated, and what is left out of it."""
    shapes = {path: tuple(np.shape(leaf)) for path, leaf in arrays_with_paths(params)}
    fixed = [path for path, leaf in arrays_with_paths(params) if not _is_floating(leaf)]
    chosen = [path for path in sorted(shapes) if path not in {*fixed, *statistics, *held}]
    if not chosen and any(_kind(leaf) == "c" for _, leaf in arrays_with_paths(params)):
        raise InputError(
            f"{name}: its weights are complex numbers, of which no measure here takes derivatives",
            expected="a pytree of float arrays",
            got=", ".join(fixed[:3]),
            hint="Keep real and imaginary parts as two arrays, and put them together in the loss.",
        )
    if not chosen:
        raise InputError(
            f"{name}: has no floating-point parameters, so there is nothing to differentiate",
            expected="a pytree of float arrays",
            got=", ".join(fixed[:3]) or "an empty tree",
            hint="Convert the weights to floats, or measure the loss along a path: landscape barrier.",
        )
    notes = tuple(f"{kinds} are constants: {', '.join(found[:3])}" for kinds, found in _constants(params))
    if statistics:
        notes += (f"running statistics are constants: {', '.join(statistics[:3])}",)
    if where is not None:
        chosen = _matching(name, chosen, (where,) if isinstance(where, str) else tuple(where))
    return Layout(tuple(chosen), tuple(shapes[path] for path in chosen)), notes


def _constants(params: PyTree) -> list[tuple[str, list[str]]]:
    """Return the paths of the leaves that are not differentiated, by what they hold."""
    found: dict[str, list[str]] = {}
    for path, leaf in arrays_with_paths(params):
        if not _is_floating(leaf):
            name = {"c": "complex numbers", "b": "truth values"}.get(_kind(leaf), "whole numbers")
            found.setdefault(name, []).append(path)
    return list(found.items())


def _kind(leaf: Any) -> str:
    kind: str = getattr(leaf, "dtype", np.asarray(leaf).dtype).kind
    return kind


def _is_floating(leaf: Any) -> bool:
    kind = getattr(leaf, "dtype", np.asarray(leaf).dtype)
    return kind.kind == "f" or "float" in kind.name  # the short floats of ml_dtypes are of kind V


def _matching(name: str, paths: list[str], patterns: tuple[str, ...]) -> list[str]:
    for pattern in patterns:
        if not any(_matches(path, pattern) for path in paths):
            raise ConfigurationError(
                f"where: no parameter{'' if name == UNNAMED else f' of {name}'} matches {pattern!r}",
                expected="a pattern of " + ", ".join(paths[:8]),
                hint="A star stands for any text: 'Dense_0/*', '*/kernel'.",
            )
    return [path for path in paths if any(_matches(path, pattern) for pattern in patterns)]


def _matches(path: str, pattern: str) -> bool:
    """Whether a pattern means a path; ``[0]`` is a position in a list, not one of a set of characters."""
    literal = re.sub(r"\[(\d+)\]", r"[[]\1]", pattern)
    return path == pattern or fnmatch.fnmatchcase(path, literal)


def _free(params: PyTree, mask: PyTree, layout: Layout) -> tuple[np.ndarray | None, tuple[str, ...]]:
    masks = arrays_by_path(checked_mask(params, mask))
    chosen = {path: masks[path] for path in layout.paths}
    flags = np.concatenate([chosen[path].reshape(-1) for path in layout.paths])
    if not flags.any():
        raise MaskError(
            "mask: nothing is left of the chosen parameters",
            expected="at least one free entry",
            got=f"{flags.size:,} entries, all masked",
            hint="Choose other layers with where, or measure without the mask.",
        )
    notes = tuple(f"nothing is left of {path}" for path in layout.paths if not chosen[path].any())
    return (None if flags.all() else np.flatnonzero(flags)), notes


def facts_of(checkpoint: Checkpoint | None) -> dict[str, Any]:
    """Return the facts in a checkpoint's info: method, seed (of its training) and level; None if unsaid."""
    info = (checkpoint.info or {}) if checkpoint is not None else {}
    seeds = info.get("seeds")
    seed = seeds.get("train") if isinstance(seeds, Mapping) else info.get("seed")
    return {"method": info.get("method"), "seed": seed, "level": info.get("level")}
