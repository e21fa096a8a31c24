"""Many points of a path or plane: a small network costs more to hand over than to evaluate."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from landscape.problem.many_points import Path, Values

if TYPE_CHECKING:
    from landscape.problem.problem import Problem

__all__ = ["per_example_along"]

PyTree = Any

# Parameters times examples of an evaluation that takes about ten milliseconds. Above it, what a call costs by
# itself no longer counts, and a stop would be heard late.
_MOST_WORK = 2**27


def per_example_along(
    problem: Problem,
    path: Path,
    given: PyTree,
    coefficients: np.ndarray,
    *,
    splits: Iterable[str],
    batch_size: int | None = None,
    dtype: Any = None,
) -> Iterator[dict[str, Values]] | None:
    """Yield ``[split][metric]`` to the values of every example at points ``path(given, coefficients[p])``.

    Several points share a program. The values are those of `Problem.per_example` but for rounding. None where
    a call per point is as good: no points, large networks or data, streams, episodes, or a loss that no
    finite value has shown to be one of single examples. The caller sets the precision.
    """
    splits = tuple(splits)
    streamed = any(map(problem.is_stream, splits))
    if not len(coefficients) or not problem.checked or not problem.differentiable or streamed:
        return None
    point = jax.eval_shape(path, given, coefficients[0])
    size = sum(leaf.size for leaf in jax.tree.leaves(point))
    if size * max(problem.num_examples(split) for split in splits) > _MOST_WORK:
        return None
    run = problem.points_program(path)
    rows = [
        run.along(
            given,
            coefficients,
            problem.arrays(split, dtype=dtype),
            problem.resolve_batch_size(split, batch_size),
        )
        for split in splits
    ]
    return (dict(zip(splits, values, strict=True)) for values in zip(*rows, strict=True))
