"""``landscape convert``: files of other tools become checkpoints. Loads no jax."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from cli.shared import option
from cli.shared.frame import Outcome, Session
from cli.shared.text import aligned, strict
from landscape.errors import ConfigurationError
from landscape.files import FORMATS


@option.command(
    "convert",
    examples=(
        "landscape convert weights.npz model.h5",
        "landscape convert checkpoints model.h5 --step 100",
        "landscape convert model.pt model.h5 --transpose torch --map names.toml",
    ),
)
@click.argument("source", type=option.FilePath(), metavar="IN")
@click.argument("target", type=option.FilePath(), metavar="OUT.h5")
@click.option(
    "--format",
    "kind",
    type=click.Choice(["auto", *FORMATS]),
    default="auto",
    help="Format of IN; auto decides by its content, then by its suffix.",
)
@click.option(
    "--params-path",
    "params",
    default=None,
    show_default="those of a train state, else everything",
    help="Where the parameters are in IN; . for everything.",
)
@click.option(
    "--batch-stats-path",
    "batch_stats",
    default=None,
    show_default="batch_stats beside the params of a train state",
    help="Where the batch statistics are in IN.",
)
@option.step
@click.option(
    "--map",
    "names",
    type=option.FilePath(),
    default=None,
    show_default="names stay",
    metavar="FILE",
    help='New names, in TOML or JSON: "fc1" = "Dense_0", "head" = false to leave out.',
)
@click.option(
    "--transpose",
    type=click.Choice(["torch"]),
    default=None,
    show_default="axes stay",
    help="Turn kernels of linear layers and convolutions from PyTorch's layout to Flax's.",
)
@option.force
def command(
    _: Session,
    *,
    source: Path,
    target: Path,
    kind: str,
    names: Path | None,
    force: bool,
    **options: Any,
) -> Outcome:
    """Make a landscape checkpoint of another tool's file.

    Reads folders of Orbax (an item, a step, or a manager's folder with --step), PyTorch's .pt and .pth
    (state dicts: tensors and containers, without torch), .safetensors (also sharded: name its
    .index.json), .npz, .npy, Flax .msgpack, .keras, .weights.h5 and other HDF5. Names become a tree of
    dictionaries. Nothing is unpickled, and no code in a file runs. Optimiser states are left out, and named.
    """
    from landscape.files import read_foreign, read_names, save

    if os.path.realpath(target) == os.path.realpath(source):
        raise ConfigurationError(
            f"{target}: the same file as {source}",
            expected="another name for OUT.h5",
            hint="Choose another name; IN is never written to.",
        )
    table = None if names is None else read_names(names)
    checkpoint = read_foreign(source, kind=None if kind == "auto" else kind, names=table, **options)
    path = save(target, checkpoint, force=force)
    said = dict((checkpoint.info or {})["converted_from"])
    rows = [
        ("format", said["format"]),
        ("parameters", checkpoint.num_params),
        ("params at", said["params"]),
        ("left out", said["left_out"] or "nothing"),
        ("params_digest", checkpoint.digest),
    ]
    return Outcome(text=aligned(rows), data=strict(dict(rows)), outputs=[path])
