"""Which examples of a split a subset stands for."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from landscape.errors import ConfigurationError

PyTree = Any


def example_numbers(subset: Any) -> np.ndarray | None:
    """Return the numbers of the examples that a count or a list means; None for all."""
    if subset is None:
        return None
    found = np.asarray(subset)
    if found.dtype.kind not in "iu" or found.ndim > 1:
        raise ConfigurationError(
            "subset: not whole numbers",
            expected="a count or a list of example numbers",
            got=repr(subset)[:60],
        )
    return np.arange(int(found)) if found.ndim == 0 else found


def subset_of(arrays: PyTree, subset: np.ndarray | None, split: str) -> PyTree:
    """Return those examples of arrays that lie on the device."""
    if subset is None:
        return arrays
    check_subset(subset, jax.tree.leaves(arrays)[0].shape[0], split)
    return jax.tree.map(lambda x: x[subset], arrays)


def check_subset(subset: np.ndarray, count: int, split: str) -> None:
    """Refuse numbers that are not those of examples of a split with `count` of them.

    Raises
    ------
    ConfigurationError
        Naming the range.
    """
    if not subset.size or int(subset.max()) >= count or int(subset.min()) < 0:
        raise ConfigurationError(
            "subset: not examples of the split",
            expected=f"between 1 and {count:,} examples, numbered from 0",
            got=f"{subset.size:,} of {split}",
            hint="Ask for fewer (--examples), or leave it out for all.",
        )


def stated(subset: np.ndarray | None) -> int | list[int] | None:
    """Return a subset in short: the number of leading examples, or their numbers."""
    if subset is None:
        return None
    leading = np.array_equal(subset, np.arange(len(subset)))
    return len(subset) if leading else [int(number) for number in subset]
