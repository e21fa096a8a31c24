"""``landscape barrier``: loss along the straight path between two checkpoints."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
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

# Options that the library takes under another name; all others are spelt alike.
NAMES = {"points": "num_points", "resamples": "num_resamples"}
# What a run folder is asked, unless --pairs says otherwise.
OF_A_RUN = ("levels", "one-init", "two-inits")
OPTIONS = {theirs: ours for ours, theirs in NAMES.items()}


@option.command(
    "barrier",
    examples=(
        "landscape barrier a.h5 b.h5",
        "landscape barrier a.h5 b.h5 --split test -o barrier.html -o barrier.h5",
        "landscape barrier a.h5 b.h5 --align weights -o barrier.html",
        "landscape barrier run --pairs levels --pairs two-inits -o matrix.html",
    ),
    exit_codes=measuring.RESUMABLE,
)
@option.checkpoints("A B [C...]|RUN")
@click.option(
    "--pairs",
    type=click.Choice(["all", "one-init", "two-inits", "levels", "dense", "methods"]),
    multiple=True,
    show_default="all; of a run levels, one-init and two-inits",
    help="Which pairs of more than two networks; repeatable.",
)
@option.points
@click.option(
    "--refine/--no-refine", default=True, help="Look closer around the maximum, apart from the grid."
)
@option.resamples
@option.confidence
@option.batch_stats
@option.repair
@click.option(
    "--align",
    type=click.Choice(["weights", "activations", "barrier"]),
    default=None,
    show_default="networks as they are",
    help="Bring the other networks to the first, matching units so, and measure before and after.",
)
@option.symmetry
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
    """Measure the loss along the straight path between two networks, and its barrier.

    The barrier is given above the chord (Entezari et al. 2022) and above the mean of the endpoints
    (git-re-basin), with a 95 % interval over examples, for every split and metric. More than two
    networks, or the folder of a run, make a matrix of pairs, each measured on the grid alone.
    """
    request = measuring.requested(ctx, checkpoints, options, adopt=_of_program)
    if runs_given.runs_among(request.checkpoints):
        chosen = {**request.options, "pairs": request.options["pairs"] or OF_A_RUN}
        expanded = runs_given.expanded(request.checkpoints)
        request = dataclasses.replace(request, checkpoints=expanded, options=chosen)
    count = len(request.checkpoints)
    if count < 2:
        raise click.UsageError(f"two checkpoints are expected, got {count}", ctx)
    several = count > 2 or bool(request.options["pairs"])
    before = {} if checkpoints else _digests(options["config_file"])
    measuring.prepare(request)

    def measure(problem: Any, given: list[Checkpoint], progress: Progress) -> Result:
        if several:
            folder = measuring.kept_in(session, request)
            result = _matrix(problem, given, request, folder=folder, progress=progress)
        else:
            result = _pair(problem, given, request, progress=progress)
        return _noting_changes(result, before)

    forecast = _matrix_forecast if several else _forecast
    return measuring.answered(session, request, measure, forecast=forecast(request.options))


def _pair(problem: Any, given: list[Checkpoint], request: measuring.Request, *, progress: Progress) -> Result:
    """Measure one path, refined around its maximum."""
    from landscape import loss_barrier

    a, b = given
    first, second = request.names
    settings = _settings(request.options, ("problem", "pairs"))
    result: Result = loss_barrier(problem, a, b, **settings, names=(first, second), progress=progress)
    return result


def _matrix(
    problem: Any,
    given: list[Checkpoint],
    request: measuring.Request,
    *,
    folder: Path | None,
    progress: Progress,
) -> Result:
    """Measure the pairs of several networks."""
    from landscape import barrier_matrix

    settings = _settings(request.options, ("problem", "pairs", "refine"))
    result: Result = barrier_matrix(
        problem,
        given,
        pairs=_pairs(request.options),
        **settings,
        names=request.names,
        resume=folder,
        progress=progress,
    )
    return result


def _settings(options: Mapping[str, Any], left_out: tuple[str, ...]) -> dict[str, Any]:
    found = measuring.keywords(options, left_out=left_out, names=NAMES)
    if not found.get("symmetry", True):
        del found["symmetry"]
    return found


def _pairs(options: Mapping[str, Any]) -> list[str]:
    return list(options["pairs"]) or ["all"]


def _matrix_forecast(options: Mapping[str, Any]) -> measuring.Forecast:
    """Return what estimates a matrix with these options."""
    left_out = ("problem", "pairs", "refine", "resamples", "confidence", "seed", "align", "symmetry")
    settings = _settings(options, left_out)

    def forecast(problem: Any, networks: list[Checkpoint]) -> Estimate:
        from landscape.connectivity import matrix_cost

        once = matrix_cost(problem, networks, pairs=_pairs(options), **settings)
        return _twice(once) if options["align"] else once

    return forecast


def _forecast(options: Mapping[str, Any]) -> measuring.Forecast:
    """Return what estimates a measurement with these options."""
    same = ("split", "refine", "batch_size", "dtype", "batch_stats", "repair", "allow_nonfinite")
    settings = {"num_points": options["points"], **{key: options[key] for key in same}}

    def forecast(problem: Any, networks: list[Checkpoint]) -> Estimate:
        from landscape.connectivity import barrier_cost

        a, b = networks
        once = barrier_cost(problem, a, b, **settings)
        return _twice(once) if options["align"] else once

    return forecast


def _twice(once: Estimate) -> Estimate:
    """Return the cost of paths before and after an alignment; that of the alignment itself is not known."""
    parts = {f"{name}, {when}": cost for when in ("before", "after") for name, cost in once.parts.items()}
    return dataclasses.replace(once, parts=parts)


def _digests(path: Path) -> Mapping[str, Any]:
    """Return the digests of the networks and data that a stored result was measured on."""
    from landscape import load_result

    found = load_result(path).provenance.get("digests", {})
    return found if isinstance(found, Mapping) else {}


def _noting_changes(result: Result, before: Mapping[str, Any]) -> Result:
    """Return the result with a warning where it is not of what the stored one was measured on."""
    now = result.provenance.get("digests", {})
    names = {"a": "the first checkpoint", "b": "the second checkpoint", "data": "the data"}
    changed = [text for key, text in names.items() if key in before and before[key] != now.get(key)]
    if not changed:
        return result
    verb = "is not what it was" if len(changed) == 1 else "are not what they were"
    warning = f"{' and '.join(changed)} {verb} when the stored result was measured"
    return dataclasses.replace(result, warnings=(*result.warnings, warning))


def _of_program(result: Result) -> Mapping[str, Any] | None:
    """Return the files and options of a barrier that a program measured, not this command."""
    if result.kind != "barrier":
        return None
    config = {OPTIONS.get(key, key): value for key, value in result.config.items()}
    options: dict[str, Any] = {k: v for k, v in config.items() if isinstance(v, (int, float, str))}
    if config.get("symmetry"):
        options["symmetry"] = tuple(config["symmetry"])
    if options.get("batch_stats") == "none":  # the networks have none; not a choice of the option
        del options["batch_stats"]
    return {"checkpoints": result.config.get("checkpoints") or (), "options": options}
