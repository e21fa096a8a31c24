"""Many points of a path or plane in one program: a small network costs more to hand over than to evaluate."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from landscape.compute import program

if TYPE_CHECKING:
    from landscape.problem.problem import Problem

__all__ = ["PointsProgram", "per_example_along"]

PyTree = Any
Path = Callable[[PyTree, jax.Array], PyTree]
Values = dict[str, np.ndarray]

# Points per call. Always so many: the last call repeats a point, so that the program, and with it every bit
# of a point's values, does not depend on which points are asked for together.
_POINTS = 8
# Parameters times examples of an evaluation that takes about ten milliseconds. Above it, what a call costs by
# itself no longer counts, and a stop would be heard late.
_MOST_WORK = 2**27


class PointsProgram:
    """Evaluates points ``path(given, coefficients)`` on examples, several per call.

    Parameters
    ----------
    values : callable
        ``values(point, batch)``: the values of every example by name.
    path : callable
        Traced: ``path(given, coefficients)`` is what the loss takes first.
    """

    def __init__(self, values: Callable[[PyTree, PyTree], dict[str, jax.Array]], path: Path) -> None:
        self._values, self._path = values, path

    @functools.cached_property
    def _run(self) -> Any:
        return program(self._evaluate, static_argnames="size")

    def _evaluate(
        self, given: PyTree, coefficients: jax.Array, arrays: PyTree, start: jax.Array, *, size: int
    ) -> dict[str, jax.Array]:
        last = jax.tree.leaves(arrays)[0].shape[0] - 1
        index = jnp.minimum(start + jnp.arange(size), last)  # pads with copies of the last example
        batch = jax.tree.map(lambda x: x[index], arrays)
        found: dict[str, jax.Array] = jax.lax.map(
            lambda place: self._values(self._path(given, place), batch), coefficients
        )
        return found

    def along(self, given: PyTree, coefficients: np.ndarray, arrays: PyTree, size: int) -> Iterator[Values]:
        """Yield by name the values [N] of every example at each point, in order.

        Parameters
        ----------
        given : pytree
            What the path starts from.
        coefficients : numpy.ndarray [P, …]
            The points.
        arrays : pytree
            The examples, on the device.
        size : int
            Examples per batch.
        """
        count = jax.tree.leaves(arrays)[0].shape[0]
        for first in range(0, len(coefficients), _POINTS):
            index = np.minimum(np.arange(first, first + _POINTS), len(coefficients) - 1)
            parts = [
                self._run(given, coefficients[index], arrays, np.int32(start), size=size)
                for start in range(0, count, size)
            ]
            host = {
                key: np.concatenate([np.asarray(part[key]) for part in parts], axis=1)[:, :count]
                for key in parts[0]
            }
            for row in range(min(_POINTS, len(coefficients) - first)):
                yield {key: value[row] for key, value in host.items()}


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
