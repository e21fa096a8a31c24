"""``landscape transfer``: tickets of finished runs, trained by another algorithm or on another task."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cli.shared import devices, option, training
from cli.shared.frame import Outcome, Session
from cli.shared.text import aligned, keyed, strict

if TYPE_CHECKING:
    from trainers.config import RunConfig
    from trainers.tickets import TransferCell


@option.command(
    "transfer",
    examples=(
        "landscape transfer runs/digits --to gd -o runs/to-gd",
        "landscape transfer runs/a runs/b --to snes --to pgpe --to gd --dry-run",
    ),
)
@click.argument("runs", nargs=-1, required=True, type=option.FilePath(), metavar="RUN...")
@click.option(
    "--to",
    "targets",
    multiple=True,
    required=True,
    metavar="ALGORITHM",
    help=("What trains the tickets: es, gd, ppo, a strategy or an optimiser; repeatable."),
)
@click.option(
    "--task", show_default="that of the first run", help="Task to train on, of the same input shape."
)
@click.option(
    "--method",
    "methods",
    multiple=True,
    metavar="NAME",
    show_default="those that prune by snr, else by magnitude",
    help="Method of the runs whose tickets move; repeatable.",
)
@option.output_folder(None, "runs/transfer")
@option.training
def command(  # noqa: PLR0913  one parameter per option
    session: Session,
    *,
    runs: tuple[Path, ...],
    targets: tuple[str, ...],
    task: str | None,
    methods: tuple[str, ...],
    output: Path | None,
    overrides: tuple[str, ...],
    problem: str | None,
    allow_code: tuple[str, ...],
    resume: bool,
    dry_run: bool,
    device: str,
) -> Outcome:
    """Retrain every level's ticket of finished runs: mask and initialisation are carried over.

    Each target also trains its own tickets and random ones of the same densities. Several runs and
    several targets make a matrix. The result is a run folder like that of train.
    """
    from trainers.config import named_code, override_values
    from trainers.tickets import refuse_own_problem, transfer_config

    if problem is not None and task is not None:
        raise click.UsageError("--problem and --task exclude each other: both name what to train on")
    if problem is None and task is None:
        refuse_own_problem(runs)
    config = transfer_config(
        runs, targets, task=task, methods=methods or None, overrides=override_values(overrides)
    )
    folder = output if output is not None else Path("runs") / config.name
    devices.configure(device, preallocate=True)
    if dry_run:
        return training.planned(config, folder, problem=problem, resume=resume, memory=session.verbose)
    session.detail(f"device: {devices.require(device)}")
    code = training.Code(problem=problem, allowed=(*allow_code, *named_code(overrides)))
    return _train(session, config, folder, code=code, resume=resume)


def _train(
    session: Session, config: RunConfig, folder: Path, *, code: training.Code, resume: bool
) -> Outcome:
    from trainers.tickets import transfer_table

    run = training.trained(session, config, folder, code=code, resume=resume)
    split, metric = run.headline
    cells = transfer_table(run, metric=metric, split=split)
    data = {"cells": [strict({**vars(cell), "mean": cell.mean}) for cell in cells], "run": str(folder)}
    data |= {"metric": metric, "split": split}
    return training.finished(run, text=aligned(keyed(_rows(cells))), data=data)


def _rows(cells: list[TransferCell]) -> list[tuple[str, str]]:
    """Return one line per target and kind of tickets: the mean score with its interval, dense to sparse."""
    lines: dict[tuple[str, str], list[str]] = {}
    for cell in cells:
        lines.setdefault((cell.target, cell.tickets), []).append(_score(cell))
    head = [f"{100 * density:.3g}" for density in dict.fromkeys(cell.density for cell in cells)]
    width = max(map(len, itertools.chain(head, *lines.values())), default=0)
    rows = [("weights left, %", head), *((", ".join(key), found) for key, found in lines.items())]
    return [(name, "  ".join(f"{text:<{width}}" for text in texts).rstrip()) for name, texts in rows]


def _score(cell: TransferCell) -> str:
    """Return ``mean [low, high]``, or the mean where there is no interval."""
    ends = "" if cell.interval is None else f" [{cell.interval[0]:.3f}, {cell.interval[1]:.3f}]"
    return f"{cell.mean:.3f}{ends}"
