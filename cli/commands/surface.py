"""``landscape surface``: the loss on lines and planes through checkpoints, and paths on a plane."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cli.shared import measuring, option, runs_given
from cli.shared.frame import Outcome, Session

if TYPE_CHECKING:
    from landscape import Checkpoint
    from landscape.compute import Progress
    from landscape.network import Estimate
    from landscape.results import Result

CHECKPOINTS, RANDOM = "checkpoints", "random"
# The forms of the command.
PLANE, LINE, TRAJECTORY = "a plane", "--line", "--trajectory"


class Grid(click.ParamType[tuple[float, float, int]]):
    """``LOW:HIGH:POINTS``: the uniform grid of an axis."""

    name = "grid"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[float, float, int]:
        """Return the ends and the number of points."""
        parts = list(value) if isinstance(value, (list, tuple)) else str(value).split(":")
        try:
            low, high, points = float(parts[0]), float(parts[1]), int(parts[2])
        except (IndexError, ValueError):
            self.fail(f"{value}: expected LOW:HIGH:POINTS, such as -1:1:51", param, ctx)
        if len(parts) != 3 or not (math.isfinite(low) and math.isfinite(high) and low < high) or points < 2:
            self.fail(f"{value}: expected LOW below HIGH and at least 2 POINTS, such as -1:1:51", param, ctx)
        return low, high, points


def _axis(name: str, text: str) -> Callable[[option.F], option.F]:
    """Return the option for the grid of one axis."""
    return click.option(
        f"--{name}",
        type=Grid(),
        metavar="LOW:HIGH:POINTS",
        show_default="-1:1:51; a range that holds the checkpoints, where there are several",
        help=text,
    )


@option.command(
    "surface",
    examples=(
        "landscape surface a.h5",
        "landscape surface a.h5 b.h5 c.h5 -o plane.html -o plane.h5",
        "landscape surface a.h5 --line --directions eigenvectors --planes 3 -o lines.html",
        "landscape surface run --trajectory -o paths.html",
    ),
    exit_codes=measuring.RESUMABLE,
)
@option.checkpoints("CKPT...|RUN")
@click.option("--line", is_flag=True, help="Lines instead of planes.")
@click.option(
    "--trajectory", is_flag=True, help="Paths of checkpoints or of a run on the plane of their PCA."
)
@click.option(
    "--directions",
    type=click.Choice(["random", "eigenvectors", "gradient", "checkpoints"]),
    show_default="random; checkpoints where there are several",
    help="What spans the line or plane.",
)
@_axis("x", "Grid of the first axis, in units of its direction.")
@_axis("y", "Grid of the second axis.")
@click.option(
    "--planes",
    type=click.IntRange(min=1),
    show_default="3 random planes, 5 random lines",
    help="Number of random planes or lines; with --line also that of eigenvectors.",
)
@click.option(
    "--filter-axis",
    type=int,
    default=-1,
    help="Axis of a kernel's output units: -1 as in Flax, 0 as in PyTorch.",
)
@click.option(
    "--view", type=click.Choice(["contour", "3d"]), default="contour", help="What the page of a plane shows."
)
@option.mask
@option.where
@option.batch_stats
@option.evaluation
@option.results
@click.pass_context
def command(
    ctx: click.Context,
    /,
    session: Session,
    *,
    checkpoints: tuple[Path, ...],
    **options: Any,
) -> Outcome:
    """Measure the loss on planes or lines through checkpoints, or draw training paths on a plane.

    Through one checkpoint, directions are random and filter-normalised (Li et al. 2018); several planes are
    drawn, since a single random one can mislead. Three checkpoints span a plane, two a line. --trajectory
    takes three checkpoints or more, or a run's folder, and draws the plane of their principal components.
    """
    request = measuring.requested(ctx, checkpoints, options)
    if request.options["trajectory"]:
        request = dataclasses.replace(request, checkpoints=runs_given.expanded(request.checkpoints))
    form = _form(ctx, request)
    measuring.prepare(request)

    def measure(problem: Any, given: list[Checkpoint], progress: Progress) -> Result:
        shared = {"names": request.names, "resume": measuring.kept_in(session, request), "progress": progress}
        return _measured(form, problem, given, request.options, shared=shared)

    return measuring.answered(session, request, measure, forecast=_forecast(form, request.options))


def _form(ctx: click.Context, request: measuring.Request) -> str:
    """Return which form of the command is meant, and refuse what does not go together."""
    chosen, count = request.options, len(request.checkpoints)
    form = TRAJECTORY if chosen["trajectory"] else (LINE if chosen["line"] else PLANE)
    if chosen["trajectory"] and chosen["line"]:
        raise click.UsageError("--line and --trajectory exclude each other", ctx)
    if not count:
        raise click.UsageError("at least one checkpoint is expected", ctx)
    for name in {LINE: ("y",), TRAJECTORY: ("directions", "planes", "where")}.get(form, ()):
        if chosen[name]:
            raise click.UsageError(f"--{name} does not go with {form}: leave it out", ctx)
    if form != TRAJECTORY:
        _check_slice(ctx, form, request)
    elif count < 3:
        raise click.UsageError(f"a trajectory needs at least three checkpoints, got {count}", ctx)
    return form


def _check_slice(ctx: click.Context, form: str, request: measuring.Request) -> None:
    """Refuse a number of checkpoints, or of planes, that the directions do not take."""
    count, through = len(request.checkpoints), 2 if form == LINE else 3
    directions = request.options["directions"] or (CHECKPOINTS if count > 1 else RANDOM)
    if directions == CHECKPOINTS and count != through:
        raise click.UsageError(f"{form} goes through one or {through} checkpoints, got {count}", ctx)
    if directions != CHECKPOINTS and count > 1:
        raise click.UsageError(f"--directions {directions} takes one checkpoint, got {count}", ctx)
    repeated = (RANDOM, "eigenvectors") if form == LINE else (RANDOM,)
    if request.options["planes"] and directions not in repeated:
        raise click.UsageError(f"--planes does not go with --directions {directions}: leave it out", ctx)


def _measured(
    form: str,
    problem: Any,
    given: list[Checkpoint],
    options: Mapping[str, Any],
    *,
    shared: Mapping[str, Any],
) -> Result:
    """Measure, and note in the result how its page shows it."""
    from landscape import loss_line, loss_surface, trajectory

    settings = {**_evaluated(options), **shared, "x": options["x"]}
    if form == TRAJECTORY:
        paths: Result = trajectory(problem, given, y=options["y"], **settings)
        return paths
    settings |= _slice(options, len(given))
    settings["seed"] = options["seed"]
    settings["filter_axis"] = options["filter_axis"]
    network = given if len(given) > 1 else given[0]
    if form == LINE:
        line: Result = loss_line(problem, network, num_lines=options["planes"], **settings)
        return line
    found = loss_surface(problem, network, y=options["y"], num_planes=options["planes"], **settings)
    return dataclasses.replace(found, config={**found.config, "view": options["view"]})


def _evaluated(options: Mapping[str, Any]) -> dict[str, Any]:
    return {key: options[key] for key in ("split", "batch_size", "dtype", "batch_stats", "allow_nonfinite")}


def _slice(options: Mapping[str, Any], count: int) -> dict[str, Any]:
    return {
        "directions": options["directions"] or (CHECKPOINTS if count > 1 else RANDOM),
        "mask": None if options["mask"] else False,
        "where": tuple(options["where"]) or None,
    }


def _forecast(form: str, options: Mapping[str, Any]) -> measuring.Forecast:
    """Return what estimates a measurement with these options."""

    def forecast(problem: Any, given: list[Checkpoint]) -> Estimate:
        from landscape.surfaces import surface_cost

        settings = _evaluated(options)
        if form == TRAJECTORY:
            return surface_cost(
                problem,
                given,
                directions=CHECKPOINTS,
                axes=(options["x"], options["y"]),
                name="trajectory",
                splits=(options["split"],),
                mask=False,
                **settings,
            )
        chosen = _slice(options, len(given))
        axes = (options["x"],) if form == LINE else (options["x"], options["y"])
        name = "line" if form == LINE else "surface"
        network = given if len(given) > 1 else given[0]
        return surface_cost(
            problem, network, axes=axes, repeats=options["planes"], name=name, **chosen, **settings
        )

    return forecast
