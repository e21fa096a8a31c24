"""``landscape info``: what is in a file or run folder. Loads no jax."""

from __future__ import annotations

import functools
from pathlib import Path

import click

from cli.shared import option
from cli.shared.frame import Outcome, Session
from cli.shared.looking import look_at


@option.command(
    "info", examples=("landscape info a.h5", "landscape info runs/digits --json", "landscape info model.pt")
)
@click.argument("paths", nargs=-1, required=True, type=option.FilePath(), metavar="PATH...")
@option.step
def command(session: Session, *, paths: tuple[Path, ...], step: int | None) -> Outcome:
    """Say what is in a checkpoint, a result, a run folder or another tool's file of weights.

    Reads names, shapes, settings and metrics; to check all data and texts, use verify. Of other tools' files
    (landscape convert --help lists them) it shows the tree, and reads no array.
    """
    from landscape.files import describe

    return look_at(session, paths, functools.partial(describe, step=step))
