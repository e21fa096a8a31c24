"""The loss along lines through a network."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from landscape.compute import Progress, shown
from landscape.problem import problem_for
from landscape.results import (
    Items,
    KeysIn,
    Later,
    Numbers,
    Record,
    Result,
    Table,
    Text,
    check_evaluation,
    check_seed,
    check_whole,
    count,
    format_value,
    means_by_split,
)
from landscape.surfaces.cost import label_of
from landscape.surfaces.directions import DIRECTIONS, RANDOM, make_frame
from landscape.surfaces.frames import Frame, Origin, unit_lengths
from landscape.surfaces.grids import DEFAULT_LINES, Axis, Plan, axis_of
from landscape.surfaces.work import Work, networks_of

if TYPE_CHECKING:
    from landscape.problem import Problem

__all__ = ["LossLine", "loss_line"]


@dataclasses.dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class LossLine(Result):
    """Losses along lines ``θ + x·d`` through a network.

    Attributes
    ----------
    x : numpy.ndarray [n]
        Coordinates along each direction.
    losses : dict
        ``[split][metric]`` to the means [lines, n] over all examples.
    standard_error : numpy.ndarray [lines, n]
        Of the difference of the loss on `split` from that at the origin, over the examples (paired).
    split : str
        The split of the standard error.
    directions : str
        Where the directions come from; ``"random"``, ``"eigenvectors"``, ``"gradient"``, ``"checkpoints"``
        or ``"given"``.
    direction_names : tuple of str
        One per line.
    lengths : numpy.ndarray [lines]
        Length in parameter space of one unit of each direction.
    origin : str
        Name of the network at x = 0.
    anchors : dict
        By name of each network on the line: ``x`` and its ``loss`` on `split`.
    non_finite : int
        Points at which a loss or metric is NaN or infinite.
    """

    kind: ClassVar[str] = "loss_line"

    statuses = ("ok", "incomplete", "non-finite")
    spec = Record(
        {
            "x": Numbers("n", finite=True, increasing=True, fewest=2),
            "losses": means_by_split(Numbers("lines", "n", finite="ok", fewest=1)),
            "standard_error": Numbers("lines", "n", least=0),
            "split": Text(),
            "directions": Text(DIRECTIONS),
            "direction_names": Items(Text(), "lines"),
            "lengths": Numbers("lines", finite=True, least=0, fewest=1),
            "origin": Text(),
            "anchors": Table(Record({"x": Numbers(finite=True), "loss": Numbers()})),
            "non_finite": Later(count()),
        },
        (KeysIn("split", "losses"), KeysIn("origin", "anchors")),
    )

    x: np.ndarray
    losses: Mapping[str, Mapping[str, np.ndarray]]
    standard_error: np.ndarray
    split: str
    directions: str
    direction_names: tuple[str, ...]
    lengths: np.ndarray
    origin: str
    anchors: Mapping[str, Mapping[str, float]]
    non_finite: int = 0

    def rows(self) -> list[tuple[str, str]]:
        """Return the printed lines: the directions, the rise at both ends, the errors."""
        loss = np.asarray(self.losses[self.split]["loss"], np.float64)
        centre = self.anchors[self.origin]["loss"]
        rows = [
            ("lines", f"{len(loss)} through {self.origin}: {self.directions}"),
            ("loss on", f"{self.split}, {self.counted()}"),
            ("loss at the origin", format_value(centre)),
        ]
        for side, name in ((0, self.x[0]), (-1, self.x[-1])):
            rise = loss[:, side] - centre
            text = format_value(rise.mean())
            if len(rise) > 1:
                text += (
                    f" (mean of {len(rise)} lines, {format_value(rise.min())} to {format_value(rise.max())})"
                )
            rows.append((f"rise at x = {format_value(float(name))}", text))
        error = self.standard_error[np.isfinite(self.standard_error)]
        if len(error):
            rows.append(("sampling error", f"at most {format_value(error.max())} (against the origin)"))
        lengths = f"{format_value(self.lengths.min())} to {format_value(self.lengths.max())}"
        return [*rows, ("grid", f"{len(self.x)} points, one unit is {lengths} long in parameter space")]

    @classmethod
    def from_fields(cls, fields: Mapping[str, Any], **base: Any) -> LossLine:
        """Build a line from stored fields: tuples are lists there."""
        return super().from_fields({**fields, "direction_names": tuple(fields["direction_names"])}, **base)


def loss_line(  # noqa: PLR0913  one keyword per setting
    problem: Problem | None,
    checkpoint: Any,
    *,
    directions: Any = RANDOM,
    x: Any = None,
    num_lines: int | None = None,
    split: str = "train",
    splits: Iterable[str] | None = None,
    mask: Any = None,
    where: str | Iterable[str] | None = None,
    seed: int = 0,
    filter_axis: int = -1,
    batch_size: int | None = None,
    dtype: str | None = None,
    batch_stats: str = "recompute",
    allow_nonfinite: bool = False,
    names: Iterable[str] | None = None,
    resume: str | Path | None = None,
    progress: Progress | None = None,
) -> LossLine:
    r"""Measure the loss along lines :math:`L(\theta + x d)` through a network.

    Parameters are those of `landscape.loss_surface`, with one direction instead of two: `directions` may be
    one pytree, and ``"checkpoints"`` takes two networks, which lie at 0 and at their distance.

    Parameters
    ----------
    problem, checkpoint, directions, x, split, splits, mask, where, seed, filter_axis, batch_size, dtype, \
batch_stats, allow_nonfinite, names, resume, progress
        As in `landscape.loss_surface`.
    num_lines : int, optional
        Random lines, 5 by default; or eigenvectors of the largest eigenvalues, 1 by default.

    Returns
    -------
    LossLine
        With status ``"incomplete"`` if a loss is not finite at a part of the points.

    Raises
    ------
    InputError, ConfigurationError, ArchitectureMismatchError, NonFiniteError, MaskError, ProblemError, \
DeviceMemoryError, CheckpointError
        As `landscape.loss_surface`.

    Notes
    -----
    Costs ``num_lines·len(x)`` evaluations of every split.

    Examples
    --------
    >>> import numpy as np
    >>> from landscape import Problem, loss_line
    >>> problem = Problem(lambda params, batch: params["w"] ** 4 + 0 * batch, train=np.zeros(4, np.float32))
    >>> line = loss_line(problem, {"w": np.float32(0)}, directions={"w": np.float32(1)}, x=(-2, 2, 3))
    >>> line.losses["train"]["loss"].tolist()
    [[16.0, 0.0, 16.0]]
    """
    check_seed(seed)
    check_evaluation(dtype, batch_stats)
    given = networks_of(checkpoint, directions)
    problem = problem_for(problem, *given)
    origins = Origin.all_of(
        problem, given, directions, mask=mask, where=where, allow=allow_nonfinite, names=names
    )
    default = DEFAULT_LINES if isinstance(directions, str) and directions == RANDOM else 1
    count = check_whole("num_lines", default if num_lines is None else num_lines, 1)
    progress, seed, filter_axis = shown(progress), int(seed), int(filter_axis)
    frames = _frames(
        problem, origins, directions, count, seed=seed, filter_axis=filter_axis, progress=progress
    )
    low, high = _range(frames[0])
    axes = (axis_of("x", x, (low, high)),)
    plan = Plan(
        split=split,
        splits=problem.splits_with(split, splits),
        batch_size=batch_size,
        dtype=dtype,
        batch_stats=batch_stats,
    )
    label = label_of(
        progress,
        problem,
        origins,
        axes=axes,
        frames=len(frames),
        name="line",
        plan=plan,
        allow_nonfinite=allow_nonfinite,
    )
    work = Work.of(problem, origins, frames, axes, plan=plan, resume=resume, progress=progress, label=label)
    return _line(work, axes[0], seed=seed, filter_axis=filter_axis)


def _range(frame: Frame) -> tuple[float, float]:
    from landscape.surfaces.frames import span

    return span(frame, 0.25)[0] if frame.anchors else (-1.0, 1.0)


def _frames(
    problem: Problem,
    origins: list[Origin],
    directions: Any,
    count: int,
    *,
    seed: int,
    filter_axis: int,
    progress: Progress,
) -> list[Frame]:
    """Return one frame of one direction per line."""
    first, others = origins[0], origins[1:]
    if isinstance(directions, str) and directions == "eigenvectors" and count > 1:
        both = make_frame(
            problem,
            first,
            directions,
            others,
            num_axes=count,
            seed=seed,
            filter_axis=filter_axis,
            progress=progress,
        )
        return [
            Frame(kind=both.kind, names=(name,), vectors=row[None])
            for name, row in zip(both.names, both.vectors, strict=True)
        ]
    repeated = isinstance(directions, str) and directions == RANDOM
    return [
        make_frame(
            problem,
            first,
            directions,
            others,
            num_axes=1,
            seed=seed + 1_000_003 * i,
            filter_axis=filter_axis,
            progress=progress,
        )
        for i in range(count if repeated else 1)
    ]


def _line(work: Work, axis: Axis, *, seed: int, filter_axis: int) -> LossLine:
    measured = work.measure_all(all_splits=True)
    losses = {
        split: {key: np.stack([one.losses[split][key] for one in measured]) for key in found}
        for split, found in measured[0].losses.items()
    }
    anchors = {name: {"x": place[0], "loss": loss} for name, (place, loss) in work.anchor_losses().items()}
    frames = work.frames
    found = work.common(losses, measured, seed=seed, filter_axis=filter_axis)
    result = LossLine(
        x=axis.values,
        losses=losses,
        standard_error=np.stack([one.standard_error for one in measured]),
        direction_names=tuple(
            frame.names[0] if len(frames) == 1 or frame.kind != RANDOM else f"random direction {i + 1}"
            for i, frame in enumerate(frames)
        ),
        lengths=np.array([unit_lengths(frame)[0] for frame in frames]),
        anchors=anchors,
        **found,
    )
    work.finished()
    return result
