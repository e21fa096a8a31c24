"""What commands that measure checkpoints have in common: load all, measure, record, write."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from cli.commands.barrier import outcome_of
from cli.shared import devices, own_problem, stored, writing
from cli.shared.frame import Outcome, Session
from cli.shared.text import cell, strict

if TYPE_CHECKING:
    from landscape import Checkpoint
    from landscape.results import Result

R = TypeVar("R", bound="Result")


def measured(
    session: Session,
    name: str,
    paths: tuple[Path, ...],
    *,
    device: str,
    options: Mapping[str, Any],
    measure: Callable[[Any, list[Checkpoint]], R],
) -> R:
    """Return what `measure` says of the problem and the checkpoints, with the command recorded in it."""
    from landscape import load

    given = [load(path, allow_nonfinite=bool(options["allow_nonfinite"])) for path in paths]
    session.detail(f"device: {devices.require(device)}")
    result = measure(own_problem.load(options["problem"]), given)
    session.shown.stop()
    session.detail(f"stats: {cell(strict(result.stats))}")
    return stored.recorded(result, name, paths, options)


def written(result: Result, outputs: Sequence[Path], *, plotlyjs: str, force: bool) -> Outcome:
    """Write every output and return the outcome of the command."""
    files = [
        file
        for path in outputs
        for file in writing.write_result(result, path, plotlyjs=plotlyjs, force=force)
    ]
    return outcome_of(result, files)
