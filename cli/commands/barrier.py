"""``landscape barrier``: loss along the straight path between two checkpoints."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cli.shared import devices, estimates, option, own_problem, stored as stored_options, writing
from cli.shared.frame import Outcome, Session
from cli.shared.text import cell, strict
from landscape.errors import ConfigurationError

if TYPE_CHECKING:
    from landscape.results import Result

# Options that say what is computed: stored with the result, and taken up again by --config.
STORED = (
    "points",
    "split",
    "refine",
    "resamples",
    "confidence",
    "seed",
    "batch_size",
    "dtype",
    "problem",
    "allow_nonfinite",
    "batch_stats",
)
# Settings that the library stores under another name than the option has.
RENAMED = {"num_points": "points", "num_resamples": "resamples"}


@option.command(
    "barrier",
    examples=(
        "landscape barrier a.h5 b.h5",
        "landscape barrier a.h5 b.h5 --split test -o barrier.html -o barrier.h5",
    ),
)
@click.argument("checkpoints", nargs=-1, type=option.FilePath(), metavar="A B")
@option.points
@option.split
@click.option(
    "--refine/--no-refine", default=True, help="Look closer around the maximum, apart from the grid."
)
@click.option(
    "--resamples",
    type=click.IntRange(min=1),
    default=1000,
    help="Bootstrap resamples of the examples for the interval.",
)
@click.option(
    "--confidence",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    default=0.95,
    help="Level of the interval.",
)
@option.seed
@option.batch_size
@option.dtype
@option.problem
@click.option("--allow-nonfinite", is_flag=True, help="Compute with NaN or infinite weights (exit status 4).")
@click.option(
    "--batch-stats",
    type=click.Choice(["recompute", "keep"]),
    default="recompute",
    help="Batch-norm statistics of the networks on the path.",
)
@option.config("A stored result (.h5): the options not given here, and A and B, are taken from it.")
@option.output_files
@option.plotlyjs
@option.device
@option.force
@option.dry_run
@click.pass_context
def command(
    ctx: click.Context,
    /,
    session: Session,
    *,
    checkpoints: tuple[Path, ...],
    outputs: tuple[Path, ...],
    config_file: Path | None,
    plotlyjs: str,
    device: str,
    force: bool,
    **options: Any,
) -> Outcome:
    """Measure the loss along the straight path between two networks, and its barrier.

    The barrier is given above the chord (Entezari et al. 2022) and above the mean of the endpoints
    (git-re-basin), with a 95 % interval over examples, for every split and metric.
    """
    dry_run = options.pop("dry_run")
    before: Mapping[str, Any] = {}
    if config_file is not None:
        before = {} if checkpoints else _digests(config_file)
        checkpoints, options = _stored(ctx, config_file, checkpoints, options)
    if len(checkpoints) != 2:
        raise click.UsageError(f"two checkpoints are expected, got {len(checkpoints)}", ctx)
    writing.check(outputs, force=force, inputs=checkpoints)
    devices.configure(device)
    if dry_run:
        return _planned(checkpoints, device, options)
    result = _noting_changes(_compute(session, checkpoints, device, options), before)
    written = [
        file
        for path in outputs
        for file in writing.write_result(result, path, plotlyjs=plotlyjs, force=force)
    ]
    return outcome_of(result, written)


def _planned(paths: tuple[Path, ...], device: str, options: Mapping[str, Any]) -> Outcome:
    """Return what a dry run says."""
    same = ("split", "refine", "batch_size", "dtype", "batch_stats", "allow_nonfinite")
    given = {"num_points": options["points"], **{key: options[key] for key in same}}

    def estimate(problem: Any, networks: list[Any]) -> Any:
        from landscape.connectivity import barrier_cost

        return barrier_cost(problem, *networks, **given)

    return estimates.planned(paths, device=device, options=options, estimate=estimate)


def _compute(session: Session, paths: tuple[Path, ...], device: str, options: Mapping[str, Any]) -> Result:
    """Load both, measure, and record the command in the result."""
    from landscape import load, loss_barrier

    a, b = (load(path, allow_nonfinite=bool(options["allow_nonfinite"])) for path in paths)
    session.detail(f"device: {devices.require(device)}")
    result: Result = loss_barrier(
        own_problem.load(options["problem"]),
        a,
        b,
        num_points=options["points"],
        split=options["split"],
        refine=options["refine"],
        num_resamples=options["resamples"],
        confidence=options["confidence"],
        seed=options["seed"],
        batch_size=options["batch_size"],
        dtype=options["dtype"],
        allow_nonfinite=options["allow_nonfinite"],
        batch_stats=options["batch_stats"],
        names=(str(paths[0]), str(paths[1])),
        progress=session.progress(),
    )
    session.shown.stop()
    session.detail(f"stats: {cell(strict(result.stats))}")
    return stored_options.recorded(result, "barrier", paths, options)


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


def _stored(
    ctx: click.Context, path: Path, checkpoints: tuple[Path, ...], options: dict[str, Any]
) -> tuple[tuple[Path, ...], dict[str, Any]]:
    """Fill what was not given on the command line from a stored result."""
    from landscape import load_result

    result = load_result(path)
    command = result.config.get("command")
    if isinstance(command, Mapping) and command.get("name") == "barrier":
        stored, names = command.get("options"), command.get("checkpoints")
    elif result.kind == "barrier":  # measured by a program, not by this command
        stored = {RENAMED.get(key, key): value for key, value in result.config.items()}
        stored = {key: value for key, value in stored.items() if isinstance(value, (int, float, str))}
        names = result.config.get("checkpoints") or ()
    else:
        raise ConfigurationError(
            f"--config {path}: not a barrier",
            expected="a result that landscape barrier wrote",
            got=f"a result of kind {result.kind!r}",
            hint=f"Give it to the command that wrote it: landscape {result.kind} --config …",
        )
    if isinstance(stored, Mapping):  # "none" is what became of the option, not what was asked for
        stored = {key: value for key, value in stored.items() if (key, value) != ("batch_stats", "none")}
    taken = stored_options.taken(ctx, path, stored, STORED)
    return checkpoints or stored_options.files(path, names), {**options, **taken}


def outcome_of(result: Result, written: list[Path]) -> Outcome:
    """Return how the command ends for a result: status 4 unless it can be trusted.

    Names of files in it are relative to the working folder.
    """
    result = result.relative_to(Path())
    form = result.to_dict()
    return Outcome(
        text=text_of(result),
        data=form["data"],
        status=result.status,
        warnings=form["warnings"],
        provenance=form["provenance"],
        outputs=written,
        exit_code=0 if result.trustworthy else 4,
        extra={"schema": form["schema"], "stats": form["stats"], "config": form["config"]},
    )


def text_of(result: Result) -> str:
    """Return ``str(result)`` with the text of each cell escaped for the terminal."""
    from cli.shared.text import aligned

    status = [] if result.trustworthy else [("status", result.status)]
    lines = [aligned([*result.rows(), *status])]
    return "\n".join([*lines, *(f"warning: {cell(warning)}" for warning in result.warnings)])
