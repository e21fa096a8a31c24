"""NumPy's ``.npy``: one array; it becomes the whole tree."""

from __future__ import annotations

import tokenize
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np

from landscape.files.formats.entries import Entry, opened, size_of
from landscape.files.hdf5 import refused, unreadable

TITLE = "a NumPy .npy file"
SUFFIXES = (".npy",)
MAGIC = b"\x93NUMPY"
_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
_NAMES = {"O": "Python objects", "U": "text", "S": "text", "M": "dates", "m": "times"}


def recognises(path: Path, head: bytes) -> bool:  # noqa: ARG001  one signature for all formats
    """Return whether the file begins as NumPy's do."""
    return head.startswith(MAGIC)


def entries(path: Path) -> dict[str, Entry]:
    """Return the array under the empty path: it is the tree."""
    with opened(path) as stream:
        return {"": header(path, "the array", stream, size_of(stream))}


def arrays(path: Path, names: Collection[str]) -> dict[str, np.ndarray]:
    """Read the array."""
    with opened(path) as stream:
        return {name: np.lib.format.read_array(stream, allow_pickle=False) for name in names}


def header(path: Path, name: str, stream: Any, size: int) -> Entry:
    """Return what the header of an array says, after checking that its data can be there."""
    version = np.lib.format.read_magic(stream)
    if version not in _HEADERS:
        raise refused(
            path, f"{name} is written in version {version} of NumPy's format", expected="1.0 or 2.0"
        )
    try:
        shape, _, dtype = _HEADERS[version](stream)
    except (SyntaxError, tokenize.TokenError) as error:  # NumPy reads the header as a literal of Python
        raise unreadable(path, f"the header of {name} makes no sense", error) from error
    entry = Entry(tuple(int(n) for n in shape), type_name(dtype))
    if dtype.kind != "O" and entry.size * dtype.itemsize > size:
        raise refused(path, f"{name} declares {entry.size:,} numbers in {size:,} bytes")
    return entry


def type_name(dtype: np.dtype[Any]) -> str:
    """Return the name of a type; of those that hold no numbers, what they hold."""
    return _NAMES.get(dtype.kind, dtype.name)
