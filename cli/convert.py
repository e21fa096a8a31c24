"""``landscape convert``: files of other tools become checkpoints. Loads no jax."""

from __future__ import annotations

import os
from pathlib import Path

import click

from cli import _options
from cli._frame import Outcome, Session
from cli._text import aligned, strict
from landscape.errors import ConfigurationError


@_options.command(
    "convert",
    examples=(
        "landscape convert weights.npz model.h5",
        "landscape convert state.msgpack model.h5 --params-path params --batch-stats-path batch_stats",
    ),
)
@click.argument("source", type=_options.FilePath(), metavar="IN")
@click.argument("target", type=_options.FilePath(), metavar="OUT.h5")
@click.option(
    "--format",
    "kind",
    type=click.Choice(["auto", "npz", "safetensors", "msgpack", "hdf5", "keras"]),
    default="auto",
    help="What IN is; auto goes by its suffix.",
)
@click.option("--params-path", default="", show_default="everything", help="Where the parameters are in IN.")
@click.option(
    "--batch-stats-path", default=None, show_default="nowhere", help="Where the batch statistics are in IN."
)
@_options.force
def command(
    _: Session,
    *,
    source: Path,
    target: Path,
    kind: str,
    params_path: str,
    batch_stats_path: str | None,
    force: bool,
) -> Outcome:
    """Make a landscape checkpoint of another tool's file.

    Reads .npz, .safetensors, Flax .msgpack, Keras and other HDF5 files. Names become a tree of
    dictionaries. Formats that need unpickling, such as PyTorch's own, are refused.
    """
    from landscape.files import read_foreign, save

    if os.path.realpath(target) == os.path.realpath(source):
        raise ConfigurationError(
            f"{target}: the same file as {source}",
            expected="another name for OUT.h5",
            hint="Choose another name; IN is never written to.",
        )
    checkpoint = read_foreign(
        source,
        kind=None if kind == "auto" else kind,
        params=params_path,
        batch_stats=batch_stats_path,
    )
    path = save(target, checkpoint, force=force)
    rows = [
        ("parameters", checkpoint.num_params),
        ("digest", checkpoint.digest),
    ]
    return Outcome(text=aligned(rows), data=strict(dict(rows)), outputs=[path])
