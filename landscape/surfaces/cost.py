"""What a line, a plane or a trajectory will take, before it is measured."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

from landscape.compute import Progress
from landscape.network import Cost, Estimate, bar_label, make_subject, measure_pace
from landscape.problem import Problem, problem_for
from landscape.surfaces.directions import EIGENVECTORS, GRADIENT, RANDOM, check_drawable
from landscape.surfaces.frames import CHECKPOINTS, Origin
from landscape.surfaces.grids import (
    DEFAULT_LINES,
    DEFAULT_PLANES,
    DEFAULT_POINTS,
    TRAJECTORY_POINTS,
    Axis,
    Plan,
)
from landscape.surfaces.work import networks_of

__all__ = ["label_of", "surface_cost"]

_PRODUCTS = 60  # typical of two eigenvectors


def surface_cost(  # noqa: PLR0913  one keyword per setting
    problem: Problem | None,
    checkpoint: Any,
    *,
    directions: str = "random",
    axes: Sequence[Any] = (None, None),
    repeats: int | None = None,
    name: str = "surface",
    splits: Sequence[str] | None = None,
    split: str = "train",
    mask: Any = None,
    where: Any = None,
    batch_size: int | None = None,
    dtype: str | None = None,
    batch_stats: str = "recompute",
    allow_nonfinite: bool = False,
) -> Estimate:
    """Estimate what `loss_surface`, `loss_line` or `trajectory` would take, from the pace of one network.

    Parameters
    ----------
    problem, checkpoint, directions, splits, split, mask, where, batch_size, dtype, batch_stats, \
allow_nonfinite
        As for `loss_surface`; a list of checkpoints for a trajectory.
    axes : sequence of (low, high, points) or None
        The grid of each axis: two of a plane, one of a line.
    repeats : int, optional
        Lines on every split, or planes, of which all but the first are measured on `split` only; by default
        as many as the analysis takes.
    name : {"surface", "line", "trajectory"}
        What is measured.

    Returns
    -------
    Estimate
        ``seconds`` without compilation, ``memory`` in bytes.
    """
    given = networks_of(checkpoint, directions)
    problem = problem_for(problem, *given)
    check_drawable(problem, directions)
    subject = make_subject(problem, given[0], mask=mask, where=where, allow_nonfinite=allow_nonfinite)
    slope = directions in (GRADIENT, EIGENVECTORS)
    pace = measure_pace(
        problem, subject, split=split, batch_size=batch_size, dtype=dtype, order=1 if slope else 0
    )
    main = problem.num_examples(split)
    default = TRAJECTORY_POINTS if name == "trajectory" else DEFAULT_POINTS
    points = math.prod(int(axis[2]) if axis else default for axis in axes)
    usual = {"line": DEFAULT_LINES, "surface": DEFAULT_PLANES}.get(name, 1) if directions == RANDOM else 1
    repeats = usual if repeats is None else repeats
    lines = repeats if name == "line" else 1
    parts = {
        f"losses, {other}": Cost(
            passes=lines * points * problem.num_examples(other) / main, vectors=4 + 2 * len(given)
        )
        for other in (splits or (split, *(other for other in problem.splits if other != split)))
    }
    if name == "surface" and repeats > 1:
        parts[f"{repeats - 1} further planes, {split}"] = Cost(passes=(repeats - 1) * points)
    if name == "trajectory":
        parts["the networks and their projections"] = Cost(passes=2 * len(given), vectors=4 + 2 * len(given))
    if slope:
        train = problem.num_examples("train") / main
        found = {
            GRADIENT: Cost(gradients=train),
            EIGENVECTORS: Cost(products=_PRODUCTS * train, vectors=_PRODUCTS, stops=True),
        }
        parts[f"directions: {directions}"] = found[directions]
    if problem.update_stats is not None and batch_stats == "recompute":
        parts["batch statistics"] = Cost(passes=repeats * points * problem.num_examples("train") / main)
    return Estimate(name=name, parts=parts, networks=1, pace=pace)


def label_of(
    progress: Progress,
    problem: Problem,
    origins: Sequence[Origin],
    *,
    axes: Sequence[Axis],
    frames: int,
    name: str,
    plan: Plan,
    allow_nonfinite: bool,
) -> str:
    """Return what the bar of a line, a plane or a trajectory is called, with the estimate where it is shown.

    Parameters
    ----------
    progress, problem, origins : Progress, Problem, sequence of Origin
        Who is told, and what is measured. The directions have been found.
    axes : sequence of Axis
        The grid.
    frames : int
        Lines or planes.
    name : {"surface", "line", "trajectory"}
        What is measured.
    plan : Plan
        What is evaluated at each point.
    allow_nonfinite : bool
        As for `surface_cost`.
    """
    first = origins[0]
    return bar_label(
        progress,
        name,
        lambda: surface_cost(
            problem,
            [origin.given for origin in origins],
            directions=CHECKPOINTS,
            axes=[axis.spec for axis in axes],
            repeats=frames,
            name=name,
            mask=first.mask,
            where=first.where,
            allow_nonfinite=allow_nonfinite,
            **dataclasses.asdict(plan),
        ),
    )
