"""Shared by the readers of all formats: entries of a file, names, limits, and how a file is opened."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import os
import stat
import zipfile
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import ml_dtypes
import numpy as np

from landscape.errors import CheckpointError
from landscape.files.hdf5 import refused, unreadable
from landscape.trees import escape_key

FREE_BYTES = 2**20  # below this, how well data compress does not matter
MAX_RATIO = 1_100  # deflate reaches 1,032 to 1
MAX_ENTRIES = 100_000
MAX_DEPTH = 64
MAX_RANK = 32  # of NumPy 1; no layer has more
MAX_TEXT = 64 * 2**20  # of headers and indices
HEAD = 64  # bytes by which a file is recognised


@dataclasses.dataclass(frozen=True, slots=True)
class Entry:
    """An array of a file before it is read: its shape, and the name of its type."""

    shape: tuple[int, ...]
    dtype: str

    @property
    def size(self) -> int:
        """Number of entries."""
        return math.prod(self.shape)


class Format(Protocol):
    """A module that reads one kind of file. Paths of a tree are those of `landscape.trees`."""

    TITLE: str  # what messages call it
    SUFFIXES: tuple[str, ...]

    def recognises(self, path: Path, head: bytes) -> bool:
        """Return whether a file of these first bytes (none for a folder) is of this format."""

    def entries(self, path: Path) -> dict[str, Entry]:
        """Return what the file holds, by path in its tree; no array is read."""

    def arrays(self, path: Path, names: Collection[str]) -> dict[str, np.ndarray]:
        """Read the arrays of these paths, all of which are among the entries."""


def dtype_of(name: str) -> np.dtype[Any] | None:
    """Return the type of a name that NumPy or ml_dtypes gives it; None if it has no numbers of bytes."""
    known = {dtype.name: dtype for dtype in map(np.dtype, "?bBhHiIqQefdFD")}
    if name in known:
        return known[name]
    short = getattr(ml_dtypes, name, None) if name.startswith(("bfloat", "float8")) else None
    return None if short is None else np.dtype(short)


@contextlib.contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """Open a regular file without waiting for a pipe."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise CheckpointError(
            f"{path}: cannot be opened",
            expected="a file of weights",
            got=error.strerror,
            hint="Check the path and its permissions.",
        ) from error
    with open(descriptor, "rb") as stream:  # noqa: PTH123  a descriptor has no path
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise CheckpointError(
                f"{path}: not a regular file",
                expected="a file of weights",
                hint="Write the data to a file first, and name that.",
            )
        yield stream


def size_of(stream: BinaryIO) -> int:
    """Return the number of bytes of an open file."""
    return os.fstat(stream.fileno()).st_size


def check_declared(path: Path, declared: int, stored: int) -> None:
    """Refuse more bytes of arrays than the bytes of a file can hold."""
    if declared > FREE_BYTES and declared > MAX_RATIO * stored:
        raise refused(
            path,
            f"it declares {declared:,} bytes",
            expected=f"at most {MAX_RATIO:,} times its {stored:,} bytes",
        )


def checked_shape(path: Path, name: str, shape: Any) -> tuple[int, ...]:
    """Return a shape from a file, after checking that it is one."""
    valid = isinstance(shape, (list, tuple)) and len(shape) <= MAX_RANK
    if not valid or not all(type(n) is int and 0 <= n < 2**48 for n in shape):
        raise refused(path, f"the shape of {name[:100]} is invalid", got=repr(shape)[:100])
    return tuple(shape)


def check_count(path: Path, count: int) -> None:
    """Refuse more names than any network has."""
    if count > MAX_ENTRIES:
        raise refused(path, "too many names", expected=f"at most {MAX_ENTRIES:,}")


def component(key: object, *, position: bool = False) -> str:
    """Return one part of a path: a key, or a position in a sequence."""
    return f"[{key}]" if position else escape_key(key)


def tree_paths(names: Collection[str], separator: str) -> dict[str, str]:
    """Return the path in the tree for each name, cut at `separator`.

    A name that lies inside another would be both an array and a dictionary; then all stay whole.
    """
    cut = {
        name: tuple(part for part in name.split(separator) if part) or (name,)
        for name in names
        if name.count(separator) < MAX_DEPTH
    }
    paths = set(cut.values())
    prefixes = {parts[:i] for parts in paths for i in range(1, len(parts))}
    if prefixes & paths or not len(paths) == len(cut) == len(names):
        cut = {name: (name,) for name in names}
    return {name: "/".join(map(escape_key, parts)) for name, parts in cut.items()}


def add_leaf(path: Path, found: dict[str, Any], where: str, leaf: Any) -> None:
    """Add a leaf by its path; two keys that are written alike are refused."""
    if where in found:
        raise refused(path, f"two arrays have the path {where[:100]}")
    found[where] = leaf


@contextlib.contextmanager
def opened_zip(path: Path) -> Iterator[zipfile.ZipFile]:
    """Open a zip archive that declares no more than deflate can hold."""
    try:
        with opened(path) as stream, zipfile.ZipFile(stream) as archive:
            held = archive.infolist()
            check_count(path, len(held))
            check_declared(path, sum(entry.file_size for entry in held), size_of(stream))
            if not {entry.compress_type for entry in held} <= {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}:
                raise refused(path, "it is compressed by something else than deflate")
            yield archive
    except zipfile.BadZipFile as error:
        raise unreadable(path, "it cannot be read as a zip archive", error) from error


def zip_names(path: Path) -> frozenset[str]:
    """Return the names in a zip archive; none if it cannot be read as one."""
    try:
        with opened_zip(path) as archive:
            return frozenset(archive.namelist())
    except (CheckpointError, OSError, ValueError, NotImplementedError):
        return frozenset()


def member_of(path: Path, archive: zipfile.ZipFile, name: str, *, limit: int | None = None) -> bytes:
    """Return the bytes of a member of an archive, at most `limit` of them."""
    info = archive.getinfo(name)
    if info.flag_bits & 1:
        raise refused(path, f"{name} is encrypted")
    if limit is not None and info.file_size > limit:
        raise refused(path, f"{name} is {info.file_size:,} bytes long", expected=f"at most {limit:,}")
    return archive.read(info)


def parsed_json(path: Path, text: bytes | str, what: str) -> Mapping[str, Any]:
    """Return a JSON object in which no key stands twice."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs):
            raise refused(path, f"{what} has a key twice")
        return found

    found = json.loads(text, object_pairs_hook=unique)
    if not isinstance(found, dict):
        raise refused(path, f"{what} is not a JSON object")
    return found
