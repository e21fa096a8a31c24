"""HDF5 files that are published whole. No jax."""

from __future__ import annotations

import contextlib
import math
import os
import secrets
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from landscape.errors import CheckpointError, OutputExistsError
from landscape.files.hdf5.archive import VIEWS, read, reason, root_digest
from landscape.files.hdf5.data import MAX_STREAMED_CHUNK
from landscape.files.strict_json import dump_json
from landscape.trees import array_digest

TEMPORARY_PREFIX = ".landscape-"
TEMPORARY_SUFFIX = ".partial"
WRITER = "ticketscape"
_COMPRESSED_CHUNK = 1 << 20


def write(
    path: Path,
    *,
    schema: str,
    version: tuple[int, int],
    arrays: Mapping[str, Any],
    texts: Mapping[str, str],
    attrs: Mapping[str, str] | None = None,
    force: bool = False,
    compress: Collection[str] = (),
) -> Path:
    """Publish a file atomically: temporary in the same folder, re-read, fsync, rename, fsync.

    Parameters
    ----------
    path : Path
        Where; its folder must exist.
    schema, version : str, (int, int)
        Format and its version.
    arrays : mapping
        Arrays by HDF5 path.
    texts : mapping
        JSON texts by name under ``/meta``.
    attrs : mapping, optional
        Further root attributes.
    force : bool
        Whether an existing file is replaced.
    compress : collection of str
        Paths stored with gzip-1 and shuffle.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    OutputExistsError
        If the file is there and `force` is false.
    CheckpointError
        If the file could not be written or an array cannot be stored; nothing is left behind.
    """
    path = Path(path).expanduser()
    target = _target(path)
    _check_target(path, target, force=force)
    stored = {name: _storable(name, np.asarray(value)) for name, value in arrays.items()}
    manifest = [
        {"path": name, "shape": list(raw.shape), "dtype": dtype, "digest": array_digest(raw)}
        for name, (raw, dtype) in sorted(stored.items())
    ]
    all_texts = {**texts, "manifest": dump_json(manifest)}
    attributes = {"format": schema, "schema": f"{version[0]}.{version[1]}", "writer": WRITER, **(attrs or {})}
    temporary = target.with_name(f"{TEMPORARY_PREFIX}{os.getpid()}-{secrets.token_hex(4)}{TEMPORARY_SUFFIX}")
    try:
        attributes["digest"] = root_digest(all_texts, attributes)
        raws = {name: raw for name, (raw, _) in stored.items()}
        _fill(temporary, raws, all_texts, attributes, compress=compress)
        again = read(temporary, schema=schema, version=version)
        if again.manifest != manifest:
            raise CheckpointError(f"{path}: what was written does not read back", hint="Check the disk.")
        _sync(temporary)
        temporary.replace(target)
        _sync(target.parent)
    except (OSError, RuntimeError, ValueError) as error:
        if isinstance(error, CheckpointError) and "read back" in error.what:
            raise
        raise CheckpointError(
            f"{path}: could not be written",
            got=reason(error).replace(str(temporary), "the new file"),
            hint="Free space or choose another folder; what was there before is untouched.",
        ) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
    return path


def _target(path: Path) -> Path:
    """Return where the bytes go: a link stays a link, and what it points to is replaced."""
    if not os.path.islink(path):  # noqa: PTH114  unlike Path's, it raises for no name
        return path
    target = Path(os.path.realpath(path))
    if os.path.islink(target):  # noqa: PTH114  realpath stops where links go round in a circle
        raise CheckpointError(
            f"{path}: is a link that leads nowhere", hint="Remove the link, or name a file."
        )
    return target


def _check_target(path: Path, target: Path, *, force: bool) -> None:
    try:
        if target.is_dir():
            raise CheckpointError(f"{path}: is a folder", hint="Name a file.")
        if target.exists() and not force:
            raise OutputExistsError(
                f"{path}: already exists",
                expected="a name that is free",
                hint="Give --force (force=True), or another name.",
            )
        if not target.parent.is_dir():
            raise CheckpointError(f"{path}: its folder does not exist", hint=f"Create {target.parent} first.")
    except OSError as error:  # a name that is too long, a folder that may not be searched
        raise CheckpointError(
            f"{path}: cannot be written there",
            expected="a name that the file system takes, in a folder you may search",
            got=reason(error),
            hint="Give a shorter name, or another folder.",
        ) from error


def _storable(name: str, array: np.ndarray) -> tuple[np.ndarray, str]:
    """Return the array as HDF5 stores it, and the name of its true dtype."""
    dtype = array.dtype
    if dtype.name in VIEWS:
        unsigned = np.dtype(f"u{dtype.itemsize}")
        return np.ascontiguousarray(array).reshape(array.shape).view(unsigned), dtype.name
    if dtype.kind not in "biuf" or dtype.itemsize > 8:
        raise CheckpointError(
            f"{name}: cannot be stored",
            expected="bool, integer or floating-point numbers of at most 64 bits",
            got=str(dtype),
            hint="Convert the array first.",
        )
    return array.astype(dtype.newbyteorder("<"), copy=False), dtype.name


def _fill(
    path: Path,
    arrays: Mapping[str, np.ndarray],
    texts: Mapping[str, str],
    attributes: Mapping[str, str],
    *,
    compress: Collection[str],
) -> None:
    with h5py.File(path, "x") as file:
        for name, text in texts.items():
            raw = text.encode()
            file.create_dataset(f"meta/{name}", data=np.bytes_(raw), dtype=f"S{max(1, len(raw))}")
        for name, array in arrays.items():
            options: dict[str, Any] = {}
            if name in compress and array.size and array.ndim and _row_bytes(array) <= MAX_STREAMED_CHUNK:
                options = {
                    "compression": "gzip",
                    "compression_opts": 1,
                    "shuffle": True,
                    "chunks": _chunk(array),
                }
            file.create_dataset(name, data=array, **options)
        for name, text in attributes.items():
            file.attrs.create(name, np.bytes_(text.encode()), dtype=f"S{max(1, len(text.encode()))}")


def _chunk(array: np.ndarray) -> tuple[int, ...]:
    """Return a chunk of whole rows, about a megabyte."""
    return (max(1, min(array.shape[0], _COMPRESSED_CHUNK // _row_bytes(array))), *array.shape[1:])


def _row_bytes(array: np.ndarray) -> int:
    return max(1, math.prod(array.shape[1:]) * array.itemsize)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
