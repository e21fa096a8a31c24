"""The program that evaluates several points of a path or plane per call."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from landscape.compute import program

__all__ = ["Path", "PointsProgram", "Values", "examples_from"]

PyTree = Any
Path = Callable[[PyTree, jax.Array], PyTree]
Values = dict[str, np.ndarray]

# Points per call. Always so many: the last call repeats a point, so that the program, and with it every bit
# of a point's values, does not depend on which points are asked for together.
_POINTS = 8


def examples_from(arrays: PyTree, start: jax.Array, size: int) -> PyTree:
    """Return `size` examples from number `start` on; where there are fewer, copies of the last fill up."""
    last = jax.tree.leaves(arrays)[0].shape[0] - 1
    index = jnp.minimum(start + jnp.arange(size), last)
    return jax.tree.map(lambda x: x[index], arrays)


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
        batch = examples_from(arrays, start, size)
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
