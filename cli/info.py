"""``landscape info``: what is in a file or run folder. Loads no jax."""

from __future__ import annotations

from pathlib import Path

import click

from cli import _options
from cli._files import look_at
from cli._frame import Outcome, Session


@_options.command("info", examples=("landscape info a.h5", "landscape info runs/digits --json"))
@click.argument("paths", nargs=-1, required=True, type=_options.FilePath(), metavar="PATH...")
def command(session: Session, *, paths: tuple[Path, ...]) -> Outcome:
    """Say what is in a checkpoint, a result or a run folder.

    Reads names, shapes, settings and metrics; to check every byte, use verify.
    """
    from landscape.files import describe

    return look_at(session, paths, describe)
