"""The examples over which flatness is a mean, in batches with the weights of their parts in it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import jax
import numpy as np

from landscape.compute import on_device
from landscape.flatness.evaluations import Part, Place, Programs
from landscape.problem import Problem, subset_of

PyTree = Any


class Examples:
    """The examples of a split, or some of them, without those of weight 0.

    Attributes
    ----------
    weighting : Weighting
        How much each of them counts.
    """

    def __init__(self, problem: Problem, split: str, subset: np.ndarray | None, dtype: np.dtype) -> None:
        self.problem, self.split, self.dtype = problem, split, dtype
        self.weighting = problem.weighting_among(split, subset)

    def parts(
        self, programs: Programs, place: Place, size: int, *, apart: bool = False
    ) -> Iterator[tuple[Part, float]]:
        """Yield batches of `size`, with their share in the whole.

        The weights of all batches together sum to 1; if `apart`, those of each. A short last batch is filled
        with copies of weight 0. The share is in examples; weighted ones count 1 in the mean.
        """
        count, shares = self.weighting.count, self.weighting.shares
        for number, (batch, base, real) in enumerate(self._batches(programs, place, size)):
            weights, mass = np.zeros(size, self.dtype), float(real)
            if shares is None:
                weights[:real] = self.dtype.type(1) / self.dtype.type(real if apart else count)
            else:
                own = shares[number * size :][:real]
                mass = float(own.sum()) * count
                weights[:real] = own / own.sum() if apart else own
            yield (batch, on_device(weights), base), mass

    def _batches(
        self, programs: Programs, place: Place, size: int
    ) -> Iterator[tuple[PyTree, dict[str, jax.Array], int]]:
        """Yield (batch of exactly `size`, values at the network, real examples); the others are copies."""
        if self.problem.is_stream(self.split):
            batches = self.problem.stream_batches(self.split, size, dtype=self.dtype, counted=True)
            for batch, real in batches:
                yield batch, programs.base(place, batch), real
            return
        count = self.weighting.count
        arrays = self.problem.arrays(self.split, dtype=self.dtype)
        arrays = subset_of(arrays, self.weighting.numbers, self.split)
        if size == count:
            yield arrays, programs.base(place, arrays), size
            return
        for start in range(0, count, size):
            index = np.minimum(np.arange(start, start + size), count - 1)
            yield *programs.cut(place, arrays, index), min(size, count - start)

    def mean(self, values: Sequence[np.ndarray]) -> float:
        """Return the mean in float64 of values [size] per batch, of which the last may end in copies."""
        count, weights, first, total = self.weighting.count, self.weighting.weights, 0, 0.0
        for part in values:
            real = part[: count - first]
            if weights is not None:
                real = weights[first : first + len(real)] * real.astype(np.float64)
            total += float(np.sum(real, dtype=np.float64))
            first += len(real)
        return total / (count if weights is None else float(weights.sum()))
