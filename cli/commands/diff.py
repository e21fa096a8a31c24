"""``landscape diff``: do two files match, and where do they differ. Loads no jax."""

from __future__ import annotations

from pathlib import Path

import click

from cli.shared import option
from cli.shared.frame import Outcome, Session
from cli.shared.text import outline, strict


@option.command(
    "diff",
    examples=("landscape diff a.h5 b.h5", "landscape diff a.h5 b.h5 --json"),
    exit_codes={"0": "the files match", "4": "the files differ"},
)
@click.argument("a", type=option.FilePath(), metavar="A")
@click.argument("b", type=option.FilePath(), metavar="B")
def command(_: Session, *, a: Path, b: Path) -> Outcome:
    """Say whether two checkpoints or results match, and where they differ.

    Compares what the files say: arrays path by path, settings and metadata.
    """
    from landscape.files import compare

    found = compare(a, b)
    same = bool(found["equal"])
    return Outcome(
        text=outline(found),
        data=strict(found),
        status="ok" if same else "different",
        exit_code=0 if same else 4,
    )
