"""Checks at the boundary: finite weights, masks that fit, trees that match. No jax."""

from __future__ import annotations

from typing import Any

import numpy as np

from landscape.errors import ArchitectureMismatchError, InputError, MaskError, NonFiniteError
from landscape.trees.paths import (
    arrays_by_path,
    arrays_with_paths,
    difference,
    map_arrays,
    shapes,
)


def count_non_finite(tree: Any) -> dict[str, int]:
    """Return the number of NaN and infinite entries of every leaf that has any, by path."""
    counts = {}
    for path, leaf in arrays_with_paths(tree):
        array = np.asarray(leaf)
        if array.dtype.kind in "biu":
            continue
        wide = array if array.dtype.kind == "c" else array.astype(np.float64, copy=False)
        bad = int(array.size - np.isfinite(wide).sum())
        if bad:
            counts[path] = bad
    return counts


def non_finite(count: int) -> str:
    """Return the words for a number of weights that are not finite."""
    return f"{count:,} {'weight is' if count == 1 else 'weights are'} NaN or infinite"


def check_finite(params: Any, where: str) -> None:
    """Refuse weights that hold NaN or infinity.

    Raises
    ------
    NonFiniteError
        Naming `where`, the first path and the counts.
    """
    counts = count_non_finite(params)
    if counts:
        path, first = next(iter(counts.items()))
        total = sum(counts.values())
        share = "" if total == 1 else f"{first:,} of them "
        raise NonFiniteError(
            f"{where}: {non_finite(total)}, {share}in {path or 'the array'}",
            expected="finite weights",
            hint="Training diverged; use an earlier checkpoint, or --allow-nonfinite to compute anyway.",
        )


def check_std(std: Any, where: str, *, allow_nonfinite: bool = False) -> None:
    """Refuse standard deviations of a search distribution that are negative or not finite.

    Parameters
    ----------
    std : pytree or None
        None, of a network that has none, is fine.
    where : str
        What to name in the message.
    allow_nonfinite : bool
        Whether NaN and infinity are let through: a negative number never is.

    Raises
    ------
    InputError
        Naming `where`, the first path and the count.
    """
    for path, leaf in arrays_with_paths(std):
        array = np.asarray(leaf, np.float64)
        known = np.isfinite(array)
        bad = int(np.count_nonzero((array < 0) | (~known & (not allow_nonfinite))))
        if bad:
            raise InputError(
                f"{where}: std: {path}: {bad:,} of {array.size:,} entries are not standard deviations",
                expected="finite numbers, 0 or more",
                got=f"{float(array[(array < 0) | ~known].flat[0]):g}",
                hint="The search diverged or the file was altered; use an earlier checkpoint.",
            )


def check_same_architecture(a: Any, b: Any, names: tuple[str, str] = ("the first", "the second")) -> None:
    """Refuse two trees whose paths or shapes differ; nothing is ever matched by position.

    Raises
    ------
    ArchitectureMismatchError
        With the first three differing paths and a count.
    """
    differing = difference(shapes(a), shapes(b))
    if differing:
        more = f" and {len(differing) - 3} more" if len(differing) > 3 else ""
        raise ArchitectureMismatchError(
            f"{names[0]} and {names[1]} are different networks: "
            f"{len(differing)} {'path differs' if len(differing) == 1 else 'paths differ'}",
            expected="the same paths and shapes",
            got="; ".join(differing[:3]) + more,
            hint="Compare checkpoints of one architecture; landscape diff shows every path.",
        )


def checked_mask(params: Any, mask: Any) -> Any:
    """Return the mask as bool arrays, after checking that it fits the parameters.

    Raises
    ------
    MaskError
        If its tree or a shape differs, or a value is neither 0 nor 1.
    """
    differing = difference(shapes(params), shapes(mask))
    if differing:
        raise MaskError(
            f"mask: does not fit the parameters at {len(differing)} path{'s' * (len(differing) != 1)}",
            expected="the tree and shapes of the parameters",
            got="; ".join(differing[:3]),
            hint="Build the mask from the parameters: one array of 0 and 1 for each of theirs.",
        )

    def as_bool(path: str, leaf: Any) -> np.ndarray:
        array = np.asarray(leaf)
        if array.dtype != bool and not np.isin(array, (0, 1)).all():
            raise MaskError(
                f"mask: {path}: values other than 0 and 1",
                expected="bool, or 0 and 1",
                got=f"dtype {array.dtype}",
                hint="Say what is kept: mask = values != 0, for instance.",
            )
        return array.astype(bool)

    return map_arrays(as_bool, mask)


def check_zero_where_masked(tree: Any, mask: Any, name: str) -> None:
    """Refuse a tree with non-zero entries where the mask is 0.

    Raises
    ------
    MaskError
        Naming the path and the count.
    """
    masks = arrays_by_path(mask)
    for path, leaf in arrays_with_paths(tree):
        count = int(np.count_nonzero(np.asarray(leaf)[~masks[path]]))
        if count:
            raise MaskError(
                f"{name}: {path}: {count:,} entries are not zero where the mask is 0",
                hint="Zero them, or let save and load do it with apply_mask=True.",
            )


def apply_mask(tree: Any, mask: Any) -> Any:
    """Return `tree` with zeros where the mask is 0."""
    masks = arrays_by_path(mask)
    return map_arrays(
        lambda path, leaf: np.where(masks[path], leaf, np.zeros((), np.asarray(leaf).dtype)), tree
    )


def fully_masked(mask: Any) -> list[str]:
    """Return the paths of layers of which nothing is left."""
    return [path for path, leaf in arrays_with_paths(mask) if np.size(leaf) and not np.any(leaf)]
