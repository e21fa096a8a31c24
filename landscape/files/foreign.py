"""Checkpoints of other tools: arrays by name become a parameter tree. Nothing is unpickled. No jax.

Read are ``.npz``, ``.safetensors``, Flax ``.msgpack`` and the HDF5 files of Keras and others. Names
are cut into nested dictionaries; formats that need unpickling (PyTorch's own) are refused.
"""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from landscape.errors import CheckpointError, ConfigurationError, InputError, MissingDependencyError
from landscape.files.checkpoint import Checkpoint
from landscape.files.hdf5 import boundary, isolated, reading
from landscape.trees import by_path, escape_key, nest

__all__ = ["FORMATS", "read_foreign"]

_FREE_BYTES = 2**20
_MAX_RATIO = 1_100
_SUFFIXES = {
    ".npz": "npz",
    ".safetensors": "safetensors",
    ".msgpack": "msgpack",
    ".h5": "hdf5",
    ".hdf5": "hdf5",
    ".keras": "keras",
}
_PICKLES = (".pt", ".pth", ".bin", ".pkl", ".pickle", ".ckpt")


def read_foreign(
    path: str | Path, *, kind: str | None = None, params: str = "", batch_stats: str | None = None
) -> Checkpoint:
    """Return the arrays of another tool's file as a checkpoint.

    Parameters
    ----------
    path : path
        The file.
    kind : str, optional
        One of `FORMATS`; by default the suffix decides.
    params, batch_stats : str
        Paths of the subtrees that hold parameters and statistics (``"params"``, say); by default
        everything is a parameter.

    Raises
    ------
    CheckpointError
        If the file is missing, damaged, hostile, or holds no numbers there.
    InputError
        If its format needs unpickling or is unknown.
    MissingDependencyError
        If the package that reads the format is not installed.
    """
    path = Path(path).expanduser()
    _check_file(path)
    kind = kind or _kind_of(path)
    if kind not in _READERS:
        raise ConfigurationError(
            f"format {kind!r}: unknown",
            expected="one of " + ", ".join(FORMATS),
            hint="Leave it out: the suffix of the file decides.",
        )
    with boundary(path, f"it cannot be read as {kind}"):
        leaves = _READERS[kind](path)
        tree = nest(leaves)
    wrong = next((name for name, leaf in leaves.items() if np.asarray(leaf).dtype.kind not in "biufV"), None)
    if wrong is not None:
        raise CheckpointError(
            f"{path}: {wrong} holds no numbers",
            got=str(np.asarray(leaves[wrong]).dtype),
            hint="Leave it out with --params-path.",
        )
    info = {"converted_from": {"name": path.name, "format": kind}}
    return Checkpoint(
        params=_subtree(path, tree, params),
        batch_stats=None if batch_stats is None else _subtree(path, tree, batch_stats),
        info=info,
    )


def _check_file(path: Path) -> None:
    if os.path.isfile(path):  # noqa: PTH113  unlike Path.is_file, False for a name too long
        return
    what, hint = "no such file", "Check the name."
    if os.path.lexists(path):
        what, hint = "not a regular file", "Write the data to a file first, and name that."
    if os.path.isdir(path):  # noqa: PTH112
        what, hint = "is a folder", "Name a file in it."
    raise CheckpointError(f"{path}: {what}", expected="a file of weights", hint=hint)


def _kind_of(path: Path) -> str:
    suffix = path.suffix.lower()
    if suffix in _PICKLES:
        raise InputError(
            f"{path}: files of this kind are read by unpickling, which runs code from the file",
            expected=", ".join(_SUFFIXES),
            hint="Save the arrays as safetensors with the tool that wrote them, then convert that.",
        )
    if suffix not in _SUFFIXES:
        raise InputError(
            f"{path}: unknown kind of file",
            expected=", ".join(_SUFFIXES),
            got=repr(suffix) if suffix else "a name without a suffix",
            hint="Say what it is, for instance --format npz.",
        )
    return _SUFFIXES[suffix]


def _subtree(path: Path, tree: Any, where: str) -> Any:
    node = tree
    for part in [part for part in where.split("/") if part]:
        if not isinstance(node, Mapping) or part not in node:
            names = ", ".join(sorted(map(str, node))[:8]) if isinstance(node, Mapping) else "an array"
            raise CheckpointError(
                f"{path}: holds nothing at {where!r}",
                expected="the path of a subtree",
                got=f"beside it: {names}",
                hint="Name one of these, or leave the option out.",
            )
        node = node[part]
    if not by_path(node):
        raise CheckpointError(
            f"{path}: holds no arrays at {where or 'its root'!r}",
            expected="arrays of numbers",
            hint="Name the subtree that holds them with --params-path, or check the file.",
        )
    return node


def _nested(names: Mapping[str, Any], separator: str) -> dict[str, Any]:
    """Return leaves by escaped path, names cut at `separator`; a name inside another stays whole."""
    cut = {name: tuple(part for part in name.split(separator) if part) or (name,) for name in names}
    paths = set(cut.values())
    prefixes = {parts[:i] for parts in paths for i in range(1, len(parts))}
    if prefixes & paths or len(paths) < len(cut):
        cut = {name: (name,) for name in names}
    return {"/".join(map(escape_key, cut[name])): leaf for name, leaf in names.items()}


def _bounded_zip(path: Path) -> None:
    """Refuse archives that declare more than deflate can hold."""
    with zipfile.ZipFile(path) as archive:
        declared = sum(entry.file_size for entry in archive.infolist())
    if declared > _FREE_BYTES and declared > _MAX_RATIO * path.stat().st_size:
        raise CheckpointError(
            f"{path}: refused: it declares {declared:,} bytes", hint="Do not trust this file."
        )


def _read_npz(path: Path) -> dict[str, Any]:
    try:
        _bounded_zip(path)
        with np.load(path, allow_pickle=False) as archive:
            return _nested({name: archive[name] for name in archive.files}, "/")
    except (zipfile.BadZipFile, OSError, ValueError, EOFError, KeyError) as error:
        raise _unreadable(path, "an .npz archive of numbers", error) from error


def _read_safetensors(path: Path) -> dict[str, Any]:
    try:
        from safetensors import SafetensorError
        from safetensors.numpy import load_file
    except ImportError as error:
        raise MissingDependencyError(
            "safetensors is not installed", hint="pip install 'ticketscape[convert]'"
        ) from error
    try:
        return _nested(dict(load_file(path)), ".")
    except (SafetensorError, OSError, ValueError, KeyError) as error:
        raise _unreadable(path, "a safetensors file", error) from error


def _read_msgpack(path: Path) -> dict[str, Any]:
    from flax.serialization import msgpack_restore

    try:
        restored = msgpack_restore(path.read_bytes())
    except Exception as error:  # msgpack and flax raise many kinds for damaged input
        raise _unreadable(path, "Flax msgpack", error) from error
    return by_path(restored)


def _read_hdf5(path: Path) -> dict[str, Any]:
    """Return every numeric dataset of an HDF5 file under the rules for files from strangers."""
    if not reading.is_classic(path):
        return _nested(isolated.load_isolated(path), "/")
    with reading.opened(path) as source:
        names = isolated.load_all(source)
    return _nested(names, "/")


def _read_keras(path: Path) -> dict[str, Any]:
    """Return the weights in a Keras archive: the HDF5 file inside it."""
    import tempfile

    try:
        _bounded_zip(path)
        with zipfile.ZipFile(path) as archive, tempfile.TemporaryDirectory() as folder:
            inner = Path(folder) / "model.weights.h5"
            inner.write_bytes(archive.read("model.weights.h5"))
            return _read_hdf5(inner)
    except (zipfile.BadZipFile, OSError, KeyError, CheckpointError) as error:
        raise _unreadable(path, "a Keras archive with model.weights.h5", error) from error


def _unreadable(path: Path, expected: str, error: BaseException) -> CheckpointError:
    reason = (str(error).splitlines() or [type(error).__name__])[0]
    return CheckpointError(
        f"{path}: cannot be read",
        expected=expected,
        got=reason[:200] or type(error).__name__,
        hint="Copy the file again from where it came, or say what else it is: --format.",
    )


_READERS: dict[str, Callable[[Path], dict[str, Any]]] = {
    "npz": _read_npz,
    "safetensors": _read_safetensors,
    "msgpack": _read_msgpack,
    "hdf5": _read_hdf5,
    "keras": _read_keras,
}
FORMATS = tuple(_READERS)
