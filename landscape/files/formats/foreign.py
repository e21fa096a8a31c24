"""Checkpoints of other tools: what a file holds becomes a checkpoint. Nothing is unpickled. No jax.

Each format has a module in this folder (see `register`). The common part is here: recognise the
file, find the parameters, give them other names and turn their axes where asked, and read those alone.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from landscape.errors import CheckpointError, ConfigurationError, InputError, did_you_mean
from landscape.files.checkpoint import Checkpoint
from landscape.files.formats import orbax
from landscape.files.formats.entries import HEAD, Entry, Format, dtype_of, opened
from landscape.files.formats.finding import Found, find
from landscape.files.formats.hdf5 import is_keras
from landscape.files.formats.naming import Names, checked_names, renamed
from landscape.files.formats.recognition import format_of, kind_of, suffixes
from landscape.files.formats.turning import Plan, turned
from landscape.files.hdf5 import SIGNATURE, boundary, looks_like
from landscape.trees import nest, unescape_key

__all__ = ["describe_foreign", "foreign_kind", "read_foreign"]

LAYOUTS = ("torch",)


def read_foreign(
    path: str | Path,
    *,
    kind: str | None = None,
    params: str | None = None,
    batch_stats: str | None = None,
    step: int | None = None,
    names: Names | None = None,
    transpose: str | None = None,
) -> Checkpoint:
    """Return the arrays of another tool's file as a checkpoint.

    Parameters
    ----------
    path : path
        The file or, of Orbax, the folder.
    kind : str, optional
        One of the formats of `landscape.files.formats.register`; by default the file says.
    params, batch_stats : str, optional
        Paths of the subtrees that hold parameters and statistics. By default those of a train state
        are found, and where there are none everything is a parameter; ``"."`` means everything.
    step : int, optional
        The step, if `path` is the folder of an Orbax ``CheckpointManager``.
    names : mapping of str to str or False, optional
        New names by old ones (paths below the parameters, or beginnings of them); False leaves out.
    transpose : {"torch"}, optional
        Turns linear and convolution kernels from PyTorch's layout into Flax's, with Flax's names.

    Raises
    ------
    CheckpointError
        If the file is missing, damaged, hostile, or holds no numbers there.
    InputError
        If its format is unknown.
    ConfigurationError
        If a setting is invalid, or a name is not in the file.
    MissingDependencyError
        If the package that reads the format is not installed.
    """
    if transpose is not None and transpose not in LAYOUTS:
        raise ConfigurationError(
            f"transpose {transpose!r}: unknown",
            expected="one of " + ", ".join(LAYOUTS),
            hint=did_you_mean(transpose, LAYOUTS),
        )
    path, kind, reader = _opened(path, kind, step)
    with boundary(path, f"it cannot be read as {reader.TITLE}"):
        held = reader.entries(path)
        found = find(path, held, params, batch_stats)
        plan = _plan(found, names)
        plan = plan if transpose is None else turned(path, plan, held)
        sources = [*plan.params, *plan.batch_stats]
        _check_numbers(path, found, {name: held[name] for name in sources})
        arrays = {name: plan.turn(name, np.asarray(x)) for name, x in reader.arrays(path, sources).items()}
        trees = [
            nest({target: arrays[source] for source, target in where.items()})
            for where in (plan.params, plan.batch_stats)
        ]
    said = {"name": path.name, "format": kind, "params": found.where or ".", "left_out": list(found.left_out)}
    return Checkpoint(
        params=trees[0],
        batch_stats=trees[1] or None,
        info={"converted_from": {**said, **({"transposed": transpose} if transpose else {})}},
        path=path,
        warnings=_warnings(path, found),
    )


def describe_foreign(path: str | Path, *, kind: str | None = None, step: int | None = None) -> dict[str, Any]:
    """Return what another tool's file holds, as plain values; no array is read.

    Raises
    ------
    CheckpointError
        If the file is missing, damaged or hostile.
    """
    path, kind, reader = _opened(path, kind, step)
    with boundary(path, f"it cannot be read as {reader.TITLE}"):
        held = reader.entries(path)
        found = find(path, held, None, None) if held else Found({}, {}, "", ())
    return {
        "path": str(path),
        "kind": reader.TITLE,
        "format": kind,
        "parameters": sum(held[source].size for source in found.params.values()),
        "params at": found.where or "the top",
        "left out": list(found.left_out),
        **_table("params", found.params, held),
        **_table("batch_stats", found.batch_stats, held),
        **_table("other arrays", _others(held, found), held),
    }


def foreign_kind(path: Path) -> str | None:
    """Return the format of a file that is not landscape's; None for landscape's and for an unknown format."""
    if not os.path.exists(path):  # noqa: PTH110  unlike Path.exists, False for a name too long
        return None
    if path.is_dir():
        return "orbax" if orbax.recognises(path, b"") else None
    with opened(path) as stream:
        head = stream.read(HEAD)
    if head.startswith(SIGNATURE):
        return "hdf5" if is_keras(path) else None
    known = kind_of(path)
    return None if known == "hdf5" else known


def _opened(path: str | Path, kind: str | None, step: int | None) -> tuple[Path, str, Format]:
    """Return the file (or the folder of the step), its kind and its reader."""
    path = Path(path).expanduser()
    _check_there(path)
    if step is not None:
        if not path.is_dir():
            raise ConfigurationError(f"{path}: is not a folder with steps", hint="Leave --step out.")
        path = orbax.step_folder(path, step)
    with boundary(path, "it cannot be opened"):
        if kind is None:
            kind = _kind(path)
        reader = format_of(kind)
        if not path.is_dir():
            _check_content(path, reader)
        elif kind != "orbax":
            raise CheckpointError(
                f"{path}: is a folder", expected="a file of weights", hint="Name a file in it."
            )
    return path, kind, reader


def _check_there(path: Path) -> None:
    if os.path.isfile(path):  # noqa: PTH113  unlike Path.is_file, False for a name too long
        return
    what, hint = "no such file", "Check the name."
    if os.path.isdir(path):  # noqa: PTH112
        if orbax.recognises(path, b""):
            return
        what, hint = "is a folder", "Name a file in it; of folders, only those of Orbax are read."
    elif os.path.lexists(path):
        what, hint = "not a regular file", "Write the data to a file first, and name that."
    raise CheckpointError(f"{path}: {what}", expected="a file of weights", hint=hint)


def _kind(path: Path) -> str:
    kind = kind_of(path)
    if kind is None:
        raise InputError(
            f"{path}: unknown kind of file",
            expected=", ".join(suffixes()) + ", or a folder of Orbax",
            got=repr(path.suffix) if path.suffix else "a name without a suffix",
            hint="Say what it is, for instance --format npz.",
        )
    return kind


def _check_content(path: Path, reader: Format) -> None:
    """Refuse a failed download by its name, before a reader misreads it."""
    with opened(path) as stream:
        head = stream.read(512)
    if reader.recognises(path, head[:HEAD]):
        return
    looks = looks_like(head)
    if looks.startswith(("an HTML", "a git-lfs", "an empty")):
        raise CheckpointError(
            f"{path}: not {reader.TITLE}", expected=reader.TITLE, got=looks, hint="Get the file again."
        )


def _plan(found: Found, names: Names | None) -> Plan:
    """Return where each chosen array goes; the same names hold for parameters and statistics."""
    everything = sorted({*found.params, *found.batch_stats})
    new = dict(zip(everything, everything, strict=True))
    if names is not None:
        new = renamed(everything, checked_names(names, "names"))
    params, stats = (
        {source: new[where] for where, source in paths.items() if where in new}
        for paths in (found.params, found.batch_stats)
    )
    return Plan(params=params, batch_stats=stats)


def _check_numbers(path: Path, found: Found, chosen: Mapping[str, Entry]) -> None:
    """Refuse arrays of types that are not read, before any array is read."""
    short = {source: where for paths in (found.params, found.batch_stats) for where, source in paths.items()}
    for name, entry in chosen.items():
        dtype = dtype_of(entry.dtype)
        if dtype is None or dtype.kind == "c":
            what = "holds no numbers" if entry.dtype in ("text", "bytes", "Python objects") else "is not read"
            what = "holds complex numbers" if entry.dtype.startswith("complex") else what
            raise CheckpointError(
                f"{path}: {name or 'the array'} {what}",
                expected="truth values, whole numbers or floats of 8 to 64 bits",
                got=entry.dtype,
                hint=f'Leave it out: --params-path SUBTREE, or "{short[name]}" = false in a --map.',
            )


def _warnings(path: Path, found: Found) -> tuple[str, ...]:
    left = [name for name in found.left_out if name]
    shown = ", ".join(left[:6]) + (f" and {len(left) - 6} more" if len(left) > 6 else "")
    return (f"{path.name}: left out: {shown}",) if left else ()


def _others(held: Mapping[str, Entry], found: Found) -> dict[str, str]:
    used = {*found.params.values(), *found.batch_stats.values()}
    return {name: name for name in held if name not in used}


def _table(title: str, paths: Mapping[str, str], held: Mapping[str, Entry]) -> dict[str, Any]:
    """Return the rows of a table of arrays; nothing for none."""
    rows = [
        {
            "name": "/".join(unescape_key(part) for part in where.split("/")),
            "shape": "×".join(map(str, held[source].shape)) or "scalar",
            "dtype": held[source].dtype,
            "count": held[source].size,
        }
        for where, source in paths.items()
    ]
    return {title: rows} if rows else {}
