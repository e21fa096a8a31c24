"""The losses of a problem at points of a line or a plane, and how they are kept as they are measured."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from landscape.compute import Progress, compile_seconds, device_memory, on_device, precision
from landscape.connectivity import RECOMPUTE, treatment
from landscape.files import Pieces
from landscape.network import Network, network_of
from landscape.problem import Problem, per_example_along
from landscape.surfaces.frames import Frame, Origin
from landscape.surfaces.grids import Plan
from landscape.trees import sealed

__all__ = ["Measured", "Points", "measure"]

PyTree = Any

# Seconds of points that may be lost when a computation is stopped.
_SECONDS_PER_PIECE = 5.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Measured:
    """Means at points, in the order of the points.

    Attributes
    ----------
    losses : dict
        ``[split][metric]`` to means [P].
    standard_error : numpy.ndarray [P]
        Of the difference of the loss on the plan's split from that at the origin, over examples: paired, so
        that what all points share does not count.
    seconds : dict
        Compilation and the rest, apart.
    evaluations : int
        Evaluations of a network on a split; those that a stopped computation had kept are not counted.
    """

    losses: dict[str, dict[str, np.ndarray]]
    standard_error: np.ndarray
    seconds: dict[str, float]
    evaluations: int


@jax.jit
def _moved(
    leaves: Mapping[str, jax.Array], directions: Mapping[str, jax.Array], coefficients: np.ndarray
) -> dict[str, jax.Array]:
    """Return the leaves moved along the directions [k, …], in float32 at least."""

    def moved(leaf: jax.Array, rows: jax.Array) -> jax.Array:
        wide = jnp.promote_types(leaf.dtype, jnp.float32)  # a step in half precision would be a staircase
        step = jnp.tensordot(coefficients.astype(wide), rows.astype(wide), axes=1)
        return (leaf.astype(wide) + step).astype(leaf.dtype)

    return {path: moved(leaf, directions[path]) for path, leaf in leaves.items()}


def _on_frame(given: tuple[Network, Mapping[str, jax.Array]], coefficients: jax.Array) -> PyTree:
    network, directions = given  # sealed: a program cannot return what a tree carries along beside numbers
    return sealed(network.point(_moved(network.leaves, directions, coefficients)))


class Points:
    """Evaluates points of a frame, and counts what it costs.

    A network of the frame, its origin or another anchor, is evaluated as it is at its own coordinates: its
    loss there is bit-identical to its own loss.
    """

    def __init__(self, problem: Problem, origins: Sequence[Origin], frame: Frame, plan: Plan) -> None:
        self.problem, self.plan = problem, plan
        self.treatment = treatment(problem, origins[0].subject, plan.batch_stats)
        dtype = np.dtype(plan.dtype or np.float32)
        with precision(plan.dtype):
            found = [network_of(origin.subject, dtype) for origin in origins]
            rows = origins[0].subject.layout.split(frame.vectors)
            self._directions = {path: on_device(np.asarray(row), dtype) for path, row in rows.items()}
        self._origin = found[0]
        self._networks = {(0.0,) * len(frame.names): self._origin}
        for origin, network in zip(origins[1:], found[1:], strict=True):
            self._networks[frame.anchors[origin.subject.name]] = network
        self.evaluations = 0

    def _point(self, coefficients: tuple[float, ...]) -> PyTree:
        network = self._networks.get(coefficients)
        if network is None:
            given = np.asarray(coefficients, jnp.result_type(float))
            leaves = _moved(self._origin.leaves, self._directions, given)
            network = dataclasses.replace(self._origin, leaves=leaves)
        point = network.point(network.leaves)
        if self.treatment == RECOMPUTE:
            params, stats = point
            return params, self.problem.recompute_stats(params, stats, batch_size=self.plan.batch_size)
        return point

    def along(self, coordinates: np.ndarray) -> Iterator[dict[str, dict[str, np.ndarray]]]:
        """Yield the values at coordinates [P, k], several per program where that is faster.

        The origin has been evaluated before: the loss is checked there.
        """
        places = [tuple(float(value) for value in row) for row in coordinates]
        others = [place for place in places if place not in self._networks]
        several = None
        if self.treatment != RECOMPUTE:
            several = per_example_along(
                self.problem,
                _on_frame,
                (self._origin, self._directions),
                np.array(others, jnp.result_type(float)),
                splits=self.plan.splits,
                batch_size=self.plan.batch_size,
                dtype=self.plan.dtype,
            )
        for place in places:
            if several is None or place in self._networks:
                yield self.values(place)
                continue
            self.evaluations += len(self.plan.splits)
            yield next(several)

    def values(self, coefficients: tuple[float, ...]) -> dict[str, dict[str, np.ndarray]]:
        """Return ``[split][metric]`` to the values of every example at a point."""
        point, plan = self._point(coefficients), self.plan
        self.evaluations += len(plan.splits)
        return {
            split: self.problem.per_example(point, split, batch_size=plan.batch_size, dtype=plan.dtype)
            for split in plan.splits
        }


def measure(
    points: Points,
    coordinates: np.ndarray,
    *,
    label: str,
    pieces: Pieces,
    prefix: str = "",
    progress: Progress,
) -> Measured:
    """Return the means at coordinates [P, k], going on from the pieces that are there.

    Parameters
    ----------
    points : Points
        What evaluates.
    coordinates : numpy.ndarray [P, k]
        The points.
    label : str
        What the progress calls the computation.
    pieces : Pieces
        Receives the finished points every few seconds.
    prefix : str
        Of the names of the pieces.
    progress : Progress
        Is told of every point.

    Raises
    ------
    ProblemError, DeviceMemoryError
        From the problem.
    """
    plan, total = points.plan, len(coordinates)
    size = points.problem.resolve_batch_size(plan.split, plan.batch_size)
    table = _Table(points, total, pieces, prefix)
    progress.start(label, total=total)
    if table.done.any():
        progress.advance(int(table.done.sum()))
    progress.note("compiling")
    started = time.perf_counter()
    try:
        with precision(plan.dtype), device_memory(size), compile_seconds() as compiling:
            centre = points.values((0.0,) * coordinates.shape[1])
            left = np.flatnonzero(~table.done)
            for index, found in zip(left, points.along(coordinates[left]), strict=True):
                loss = table.add(int(index), found, centre[plan.split]["loss"])
                progress.advance(1, loss=loss)
    finally:
        table.keep()
        progress.stop()
    elapsed = time.perf_counter() - started
    seconds = {"compile": float(sum(compiling)), "run": max(0.0, elapsed - sum(compiling))}
    return Measured(
        losses=table.losses(), standard_error=table.errors, seconds=seconds, evaluations=points.evaluations
    )


class _Table:
    """The means that have been measured, and which of them are not kept yet."""

    def __init__(self, points: Points, total: int, pieces: Pieces, prefix: str) -> None:
        self._plan, self._pieces, self._prefix = points.plan, pieces, prefix
        self._weightings = {split: points.problem.weighting(split) for split in points.plan.splits}
        self._means: dict[str, np.ndarray] = {}
        self.errors = np.full(total, np.nan)
        self.done = np.zeros(total, bool)
        self._unkept: list[int] = []
        self._last = time.monotonic()
        for name, arrays in pieces.found.items():
            if name.startswith(f"{prefix}points-"):
                self._take(arrays)

    def _take(self, arrays: Mapping[str, np.ndarray]) -> None:
        index = arrays["index"]
        self.done[index] = True
        self.errors[index] = arrays["standard_error"]
        for key, values in arrays.items():
            if key not in ("index", "standard_error"):
                self._column(key)[index] = values

    def _column(self, key: str) -> np.ndarray:
        return self._means.setdefault(key, np.full(len(self.done), np.nan))

    def add(self, index: int, found: Mapping[str, Mapping[str, np.ndarray]], centre: np.ndarray) -> float:
        """Take in the values of a point and return its mean loss on the plan's split."""
        for split, metrics in found.items():
            for metric, values in metrics.items():
                self._column(f"{split}/{metric}")[index] = self._weightings[split].mean(values)
        with np.errstate(invalid="ignore", over="ignore"):
            difference = found[self._plan.split]["loss"].astype(np.float64) - centre
        self.errors[index] = self._weightings[self._plan.split].standard_error(difference)
        self.done[index] = True
        self._unkept.append(index)
        if time.monotonic() - self._last > _SECONDS_PER_PIECE:
            self.keep()
        return float(self._means[f"{self._plan.split}/loss"][index])

    def keep(self) -> None:
        """Publish what has been measured since the last time."""
        if self._unkept:
            index = np.array(self._unkept)
            arrays = {key: column[index] for key, column in self._means.items()}
            arrays |= {"index": index, "standard_error": self.errors[index]}
            self._pieces.keep(f"{self._prefix}points-{index[0]:07d}", arrays)
        self._unkept, self._last = [], time.monotonic()

    def losses(self) -> dict[str, dict[str, np.ndarray]]:
        """Return the means by split and metric."""
        found: dict[str, dict[str, np.ndarray]] = {}
        for key, column in self._means.items():
            split, metric = key.split("/", 1)
            found.setdefault(split, {})[metric] = column
        return found
