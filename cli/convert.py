"""``landscape convert``: files of other tools become checkpoints. Loads no jax."""

from __future__ import annotations

from pathlib import Path

import click

from cli import _options
from cli._frame import Outcome, Session
from cli._text import aligned, strict


@_options.command(
    "convert",
    examples=(
        "landscape convert weights.npz model.h5",
        "landscape convert state.msgpack model.h5 --params params --batch-stats batch_stats",
    ),
)
@click.argument("source", type=_options.FilePath(), metavar="IN")
@click.argument("target", type=_options.FilePath(), metavar="OUT.h5")
@click.option(
    "--format",
    "kind",
    type=click.Choice(["npz", "safetensors", "msgpack", "hdf5", "keras"]),
    help="What IN is; by default its suffix decides.",
)
@click.option(
    "--params", default="", help="Path of the parameters in IN, such as params; by default everything."
)
@click.option("--batch-stats", default=None, help="Path of the batch statistics in IN.")
@_options.force
def command(
    _: Session,
    *,
    source: Path,
    target: Path,
    kind: str | None,
    params: str,
    batch_stats: str | None,
    force: bool,
) -> Outcome:
    """Make a landscape checkpoint of another tool's file.

    Reads .npz, .safetensors, Flax .msgpack, Keras and other HDF5 files. Names become a tree of
    dictionaries. Formats that need unpickling, such as PyTorch's own, are refused.
    """
    from landscape.checkpoint import save
    from landscape.convert import read_foreign

    checkpoint = read_foreign(source, kind=kind, params=params, batch_stats=batch_stats)
    path = save(target, checkpoint, force=force)
    rows = [
        ("parameters", checkpoint.num_params),
        ("digest", checkpoint.digest),
    ]
    return Outcome(text=aligned(rows), data=strict(dict(rows)), outputs=[path])
