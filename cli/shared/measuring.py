"""What commands that measure checkpoints have in common: read the request, load, measure, record, write."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cli.shared import devices, own_problem, stored, writing
from cli.shared.frame import Outcome, Session
from cli.shared.text import aligned, cell, strict
from landscape.errors import ConfigurationError

if TYPE_CHECKING:
    from landscape.compute import Progress
    from landscape.network import Estimate
    from landscape.results import Result

# Takes the problem (None for the checkpoints' own task), the checkpoints and the progress display.
Measure = Callable[[Any, list[Any], "Progress"], "Result"]
# Takes the problem and the checkpoints; says how long measuring them takes, and how much memory.
Forecast = Callable[[Any, list[Any]], "Estimate"]
# Options that decide where and how a result is written; all others decide what is computed.
HANDLING = ("config_file", "outputs", "labels", "title", "plotlyjs", "device", "force", "dry_run")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Request:
    """What a command line asks for.

    Attributes
    ----------
    command : str
        The name of the command.
    checkpoints : tuple of Path
        The networks.
    options : dict
        Options that decide what is computed: stored with the result, and read again by ``--config``.
    labels : tuple of str
        What pages and pictures call the networks; empty for short names of the files.
    title : str, optional
        Of pages and pictures.
    """

    command: str
    checkpoints: tuple[Path, ...]
    options: dict[str, Any]
    outputs: tuple[Path, ...]
    labels: tuple[str, ...]
    title: str | None
    plotlyjs: str
    device: str
    force: bool
    dry_run: bool

    @property
    def names(self) -> list[str]:
        """What the networks are called in the result."""
        return [str(path) for path in self.checkpoints]


def requested(
    ctx: click.Context,
    checkpoints: tuple[Path, ...],
    options: Mapping[str, Any],
    *,
    adopt: stored.Adopt = lambda _: None,
) -> Request:
    """Return what is asked for, with what ``--config`` adds."""
    computed = {key: value for key, value in options.items() if key not in (*HANDLING, "step")}
    checkpoints = _at_step(checkpoints, options.get("step"))
    if options["config_file"] is not None:
        checkpoints, computed = stored.restored(
            ctx, options["config_file"], checkpoints, computed, adopt=adopt
        )
    handling = {key: options[key] for key in HANDLING if key != "config_file"}
    return Request(command=str(ctx.info_name), checkpoints=checkpoints, options=computed, **handling)


def _at_step(paths: tuple[Path, ...], step: int | None) -> tuple[Path, ...]:
    """Return the paths with managers' folders as that of a step: it is what the result then names.

    Raises
    ------
    CheckpointError
        If a folder holds no such step, naming those that are there.
    """
    if step is None:
        return paths
    from landscape.files import step_folder

    return tuple(step_folder(path, step) if path.is_dir() else path for path in paths)


def keywords(
    options: Mapping[str, Any], *, left_out: tuple[str, ...], names: Mapping[str, str]
) -> dict[str, Any]:
    """Return options as keywords of the library.

    Parameters
    ----------
    options : mapping
        As `Request` has them.
    left_out : tuple of str
        Options that the library does not take.
    names : mapping
        The library's name of options that it takes under another one.
    """
    found = {names.get(key, key): value for key, value in options.items() if key not in left_out}
    if "where" in found:
        found["where"] = tuple(found["where"]) or None
    return found


def prepare(request: Request) -> None:
    """Refuse outputs that could not be written, and set the device up, before anything is loaded."""
    writing.check(request.outputs, force=request.force, inputs=request.checkpoints)
    writing.check_labels(request.outputs, request.labels, request.title)
    if request.labels and len(request.labels) != len(set(request.checkpoints)):
        raise ConfigurationError(
            "--names: not one per network",
            expected=str(len(set(request.checkpoints))),
            got=f"{len(request.labels)}: {', '.join(request.labels)}",
            hint="Give --names once per file, in their order.",
        )
    devices.configure(request.device)


def kept_in(session: Session, request: Request) -> Path | None:
    """Return the folder beside the first output that keeps finished parts, and say so; None without outputs.

    The analysis removes it when it is complete.
    """
    if not request.outputs or request.dry_run:
        return None
    folder = request.outputs[0].with_suffix(".partial")
    if folder.is_dir():
        session.say(f"going on with what is kept in {folder}")
    else:
        session.say(f"finished parts are kept in {folder} until the end: if stopped, give the command again")
    return folder


# What an interrupted analysis leaves, where its command keeps finished parts.
RESUMABLE = {"130, 143": "stopped by Ctrl-C or SIGTERM; with -o, the same command goes on where it was"}


def answered(session: Session, request: Request, measure: Measure, *, forecast: Forecast) -> Outcome:
    """Measure, record the command in the result, write every output, and say how the command ends.

    With ``--dry-run`` nothing is measured, and the forecast is the answer.
    """
    from landscape import load

    nonfinite = bool(request.options.get("allow_nonfinite"))
    given = [load(path, allow_nonfinite=nonfinite) for path in request.checkpoints]
    session.detail(f"device: {devices.require(request.device)}")
    problem = own_problem.load(request.options["problem"])
    if request.dry_run:
        estimate = forecast(problem, given)
        return Outcome(text=str(estimate), data=estimate.to_dict())
    result = measure(problem, given, session.progress())
    session.shown.stop()
    session.detail(f"stats: {cell(strict(result.stats))}")
    result = stored.recorded(result, request.command, request.checkpoints, request.options)
    return outcome_of(result, _written(result, request))


def _written(result: Result, request: Request) -> list[Path]:
    """Write every output; return every file written."""
    handling = ("plotlyjs", "force", "labels", "title")
    how = {key: getattr(request, key) for key in handling}
    return [file for path in request.outputs for file in writing.write_result(result, path, **how)]


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
    status = [] if result.trustworthy else [("status", result.status)]
    lines = [aligned([*result.printed(), *status])]
    return "\n".join([*lines, *(f"warning: {cell(warning)}" for warning in result.warnings)])
