"""Shared by lines, planes and trajectories: networks, frames and grid, and the fields of every result."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from landscape.compute import Progress
from landscape.files import Checkpoint, Pieces
from landscape.results import provenance, read_from
from landscape.surfaces.frames import CHECKPOINTS, Frame, Origin
from landscape.surfaces.grids import Axis, Plan, grid_of
from landscape.trees import tree_digest

if TYPE_CHECKING:
    from landscape.problem import Problem
    from landscape.surfaces.points import Measured, Points

__all__ = ["INCOMPLETE", "NON_FINITE", "Work", "networks_of"]

INCOMPLETE, NON_FINITE = "incomplete", "non-finite"


def networks_of(checkpoint: Any, directions: Any) -> list[Any]:
    """Return the networks that a caller gave, one or a list of them; a list of layers is one network."""
    several = isinstance(checkpoint, (list, tuple)) and (
        any(isinstance(item, (str, Path, Checkpoint)) for item in checkpoint)
        or (isinstance(directions, str) and directions == CHECKPOINTS)
    )
    return list(checkpoint) if several else [checkpoint]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Work:
    """Frames to measure through one origin, on one grid.

    Attributes
    ----------
    problem : Problem
        The loss and its data.
    origins : list of Origin
        The network at the origin, then the other networks of the frame.
    frames : list of Frame
        The first bears the anchors; further ones are random draws.
    axes : tuple of Axis
        The grid, one axis per direction of a frame.
    plan : Plan
        The evaluation at each point.
    pieces : Pieces
        Keeps finished points.
    progress : Progress
        Is told of every point.
    label : str
        What its bars are called.
    """

    problem: Problem
    origins: list[Origin]
    frames: list[Frame]
    axes: tuple[Axis, ...]
    plan: Plan
    pieces: Pieces
    progress: Progress
    label: str

    @classmethod
    def of(
        cls,
        problem: Problem,
        origins: list[Origin],
        frames: list[Frame],
        axes: tuple[Axis, ...],
        *,
        plan: Plan,
        resume: str | Path | None,
        progress: Progress,
        label: str,
    ) -> Work:
        """Return the work, with the pieces that an earlier call kept."""
        key = {
            "networks": [origin.subject.digest for origin in origins],
            "directions": [tree_digest(frame.vectors) for frame in frames],
            "axes": [axis.values.tolist() for axis in axes],
            "data": {name: problem.data_digest(name) for name in plan.splits},
            "plan": dataclasses.asdict(plan),
        }
        return cls(
            problem=problem,
            origins=origins,
            frames=frames,
            axes=axes,
            plan=plan,
            pieces=Pieces(resume, key),
            progress=progress,
            label=label,
        )

    @property
    def shape(self) -> tuple[int, ...]:
        """Points per axis."""
        return tuple(len(axis.values) for axis in self.axes)

    def points(self, number: int = 0, *, all_splits: bool = True) -> Points:
        """Return what evaluates the points of a frame."""
        from landscape.surfaces.points import Points

        plan = self.plan if all_splits else dataclasses.replace(self.plan, splits=(self.plan.split,))
        return Points(self.problem, self.origins, self.frames[number], plan)

    def measure_all(self, *, all_splits: bool) -> list[Measured]:
        """Measure every frame on the grid; those behind the first on every split only if `all_splits`."""
        from landscape.surfaces.points import measure

        what = "line" if len(self.axes) == 1 else "plane"
        count = len(self.frames)
        return [
            measure(
                self.points(number, all_splits=all_splits or number == 0),
                grid_of(self.axes),
                label=self.label + (f": {what} {number + 1} of {count}" if count > 1 else ""),
                pieces=self.pieces,
                prefix=f"frame{number}-",
                progress=self.progress,
            )
            for number in range(count)
        ]

    def anchor_losses(self) -> dict[str, tuple[tuple[float, ...], float]]:
        """Return by network its coordinates in the first frame and its own loss on the plan's split."""
        places = {self.origins[0].subject.name: (0.0,) * len(self.axes), **self.frames[0].anchors}
        losses = self.losses_at(np.array(list(places.values())))
        return {
            name: (place, float(loss)) for (name, place), loss in zip(places.items(), losses, strict=True)
        }

    def losses_at(self, coordinates: np.ndarray) -> np.ndarray:
        """Return the loss on the plan's split at coordinates [P, k] of the first frame."""
        points = self.points(all_splits=False)
        with self._computing():
            return np.array([self._loss(points.values(tuple(map(float, place)))) for place in coordinates])

    def loss_of(self, origin: Origin) -> float:
        """Return a network's own loss on the plan's split, bit-identical to that of every other analysis."""
        from landscape.surfaces.points import Points

        plan = dataclasses.replace(self.plan, splits=(self.plan.split,))
        zero = (0.0,) * len(self.axes)
        with self._computing():
            return self._loss(Points(self.problem, [origin], self.frames[0], plan).values(zero))

    def _loss(self, values: Mapping[str, Mapping[str, np.ndarray]]) -> float:
        return self.problem.weighting(self.plan.split).mean(values[self.plan.split]["loss"])

    @contextlib.contextmanager
    def _computing(self) -> Iterator[None]:
        from landscape.compute import device_memory, precision

        size = self.problem.resolve_batch_size(self.plan.split, self.plan.batch_size)
        with precision(self.plan.dtype), device_memory(size):
            yield

    def common(
        self,
        losses: Mapping[str, Mapping[str, np.ndarray]],
        measured: Sequence[Measured],
        *,
        seed: int,
        filter_axis: int,
    ) -> dict[str, Any]:
        """Return the fields that every result of this room has."""
        means = [values for metrics in losses.values() for values in metrics.values()]
        bad = int((~np.isfinite(means).all(axis=0)).sum())
        subjects = [origin.subject for origin in self.origins]
        notes = dict.fromkeys(note for subject in subjects for note in subject.notes)
        warnings = (*notes, *((f"not finite at {bad:,} points",) if bad else ()))
        finite = all(subject.finite for subject in subjects)
        return {
            "split": self.plan.split,
            "directions": self.frames[0].kind,
            "origin": subjects[0].name,
            "non_finite": bad,
            "status": NON_FINITE if not finite else (INCOMPLETE if bad else "ok"),
            "warnings": warnings,
            "config": self._config(seed, filter_axis),
            "stats": {
                "num_examples": self.problem.num_examples(self.plan.split),
                "evaluations": sum(found.evaluations for found in measured),
                "seconds": {key: sum(found.seconds[key] for found in measured) for key in ("compile", "run")},
                **self.problem.weighting(self.plan.split).facts,
            },
            "provenance": self._provenance(seed),
        }

    def _config(self, seed: int, filter_axis: int) -> dict[str, Any]:
        plan, problem = self.plan, self.problem
        return {
            "split": plan.split,
            "splits": list(plan.splits),
            "directions": self.frames[0].kind,
            "frames": len(self.frames),
            **{name: list(axis.spec) for name, axis in zip("xy", self.axes, strict=False)},
            "filter_axis": filter_axis,
            "seed": seed,
            "batch_size": {name: problem.resolve_batch_size(name, plan.batch_size) for name in plan.splits},
            "dtype": plan.dtype,
            "batch_stats": self.points().treatment,
            "problem": problem.described,
            "higher_is_better": {key: metric.higher_is_better for key, metric in problem.metrics.items()},
        }

    def _provenance(self, seed: int) -> dict[str, Any]:
        digests = {
            "networks": {origin.subject.name: origin.subject.digest for origin in self.origins},
            "data": {split: self.problem.data_digest(split) for split in self.plan.splits},
            **read_from({origin.subject.name: origin.subject.checkpoint for origin in self.origins}),
        }
        return provenance(seed=seed, dtype=self.plan.dtype or "float32", digests=digests)

    def finished(self) -> None:
        """Remove the kept points: the result holds them."""
        self.pieces.remove()
