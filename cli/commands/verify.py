"""``landscape verify``: the full integrity check. Loads no jax."""

from __future__ import annotations

from pathlib import Path

import click

from cli.shared import option
from cli.shared.frame import Outcome, Session
from cli.shared.looking import look_at


@option.command("verify", examples=("landscape verify a.h5", "landscape verify runs/digits"))
@click.argument("paths", nargs=-1, required=True, type=option.FilePath(), metavar="PATH...")
def command(session: Session, *, paths: tuple[Path, ...]) -> Outcome:
    """Check checkpoints, results or whole run folders completely against their digests.

    Exit status 3 if anything is damaged; all paths are checked in any case.
    """
    from landscape.files import verify

    return look_at(session, paths, verify)
