"""Episodes as examples: no seed stands twice."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from landscape.errors import ProblemError

if TYPE_CHECKING:
    from landscape.problem.splits import Split


def check_distinct(splits: Mapping[str, Split]) -> None:
    """Refuse a seed that stands twice, within a split or in two of them.

    An episode that counts twice makes intervals too narrow, and one that was trained on makes a test too
    good. Seeds are one array of whole numbers; initial conditions of any other form are not compared.

    Raises
    ------
    ProblemError
        Naming the splits.
    """
    seeds = {name: rows for name, split in splits.items() if (rows := _seeds(split)) is not None}
    for name, rows in seeds.items():
        if len(set(rows)) < len(rows):
            raise ProblemError(
                f"{name}: {len(rows) - len(set(rows)):,} of its seeds stand more than once",
                expected="distinct seeds: an episode that counts twice makes intervals too narrow",
                hint="For instance numpy.arange(64) for one split and numpy.arange(64, 128) for the next.",
            )
    for (name, rows), (other, others) in itertools.combinations(seeds.items(), 2):
        shared = len(set(rows) & set(others))
        if shared:
            raise ProblemError(
                f"{name} and {other}: share {shared:,} seeds",
                expected="disjoint seeds: what is chosen on an episode is not tested on it",
                hint="For instance numpy.arange(64) for one split and numpy.arange(64, 128) for the next.",
            )


def _seeds(split: Split) -> list[Any] | None:
    """Return the examples of a split of seeds or raw keys; None for anything else."""
    leaves = [] if split.stream else jax.tree.leaves(split.tree)
    if len(leaves) != 1 or getattr(leaves[0].dtype, "kind", "") not in "iu":
        return None
    rows = np.asarray(leaves[0])
    if rows.ndim > 2:
        return None
    return [tuple(row) for row in rows.reshape(len(rows), -1).tolist()]
