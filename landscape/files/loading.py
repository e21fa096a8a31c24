"""Loading a checkpoint, ours or another tool's. No jax."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from landscape.files.checkpoint import (
    Checkpoint,
    load as load_own,
    load_info as load_own_info,
    restored,
)
from landscape.files.formats import KERAS, foreign_kind, read_foreign
from landscape.files.hdf5 import NotHDF5Error
from landscape.trees import arrays_by_path, check_finite, nest

__all__ = ["in_structure", "load", "load_info"]

T = TypeVar("T")


def load(
    path: str | Path, like: Any = None, *, apply_mask: bool = False, allow_nonfinite: bool = True
) -> Checkpoint:
    """Read a checkpoint. No jax is imported, nothing in the file is executed.

    Files of other tools are recognised by what they hold: Orbax folders, PyTorch's state dicts,
    safetensors, NumPy archives, Flax msgpack, ``.keras`` and ``.weights.h5``. The parameters of a train state
    are found; ``info["converted_from"]`` names the file and its format. To choose otherwise:
    `landscape.files.read_foreign`, or ``landscape convert``.

    Parameters
    ----------
    path : path
        The file or, of Orbax, the folder.
    like : pytree, optional
        Restores the structure (lists, tuples, NamedTuples) of the parameters, matched by path. In
        files of other tools a position in a list may be written as a key, and so may a whole number.
    apply_mask : bool
        Whether weights are zeroed where the mask is 0 instead of being refused.
    allow_nonfinite : bool
        Whether NaN and infinite weights may be loaded; analyses refuse them in any case.

    Raises
    ------
    CheckpointError
        If the file is missing, damaged, hostile, foreign without a reader, or of a newer major schema.
    ArchitectureMismatchError
        If `like` has other paths or shapes.
    MaskError
        If weights are not zero where the mask is 0.
    NonFiniteError
        If a weight is not finite and `allow_nonfinite` is false.
    """
    path = Path(path).expanduser()

    def foreign(kind: str) -> Checkpoint:
        found = read_foreign(path, kind=kind)
        if not allow_nonfinite:
            check_finite(found.params, str(path))
        return found if like is None else in_structure(found, like)

    def ours() -> Checkpoint:
        return load_own(path, like, apply_mask=apply_mask, allow_nonfinite=allow_nonfinite)

    return _first(path, ours, foreign)


def load_info(path: str | Path) -> Mapping[str, Any]:
    """Read the ``info`` of a checkpoint, and none of its arrays.

    Raises
    ------
    CheckpointError
        As `load`, but for damage in the arrays, which are not looked at.
    """
    path = Path(path).expanduser()
    return _first(
        path,
        lambda: load_own_info(path),
        lambda kind: {"converted_from": {"name": path.name, "format": kind}},
    )


def in_structure(checkpoint: Checkpoint, like: Any) -> Checkpoint:
    """Return a checkpoint with its trees in the structure of `like`, as `load` does.

    Raises
    ------
    ArchitectureMismatchError
        If `like` has other paths or shapes.
    """
    foreign = "converted_from" in (checkpoint.info or {})
    return restored(_renamed(checkpoint, like) if foreign else checkpoint, like)


def _first(path: Path, ours: Callable[[], T], foreign: Callable[[str], T]) -> T:
    """Return the answer of our reader; for a file that it does not know, that of another format's reader.

    Our own files are opened once: what was checked is what is read.
    """
    kind = foreign_kind(path) if path.name.lower().endswith(KERAS) else None
    if kind is not None:
        return foreign(kind)
    try:
        return ours()
    except NotHDF5Error:
        kind = foreign_kind(path)
        if kind is None:
            raise
    return foreign(kind)


def _renamed(checkpoint: Checkpoint, like: Any) -> Checkpoint:
    """Return the checkpoint with the paths of `like`, where they differ only in how a tool writes them."""
    wanted = {_plain(path): path for path in arrays_by_path(like)}
    held = {_plain(path): leaf for path, leaf in arrays_by_path(checkpoint.params).items()}
    apart = len(wanted) == len(arrays_by_path(like)) and len(held) == len(arrays_by_path(checkpoint.params))
    if not apart or wanted.keys() != held.keys():
        return checkpoint
    return dataclasses.replace(checkpoint, params=nest({wanted[path]: leaf for path, leaf in held.items()}))


def _plain(path: str) -> tuple[str, ...]:
    """Return a path without what tools add: brackets around a position, NNX's ``value`` at the end."""
    parts = [part.removeprefix("[").removesuffix("]") for part in path.split("/")]
    return tuple(parts[:-1] if len(parts) > 1 and parts[-1] == "value" else parts)
