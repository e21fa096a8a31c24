"""Flax's msgpack: a tree of dictionaries whose arrays are extensions. Read by a walk of our own.

Format: the msgpack specification (maps, sequences, numbers, texts and extensions), and Flax's own
extensions 1 (an array: shape, type and bytes), 2 (a complex number) and 3 (a number of NumPy). Arrays of more
than a gigabyte are stored in chunks, as a dictionary that says so. The walk notes where the bytes of
each array are and reads none of them.
"""

from __future__ import annotations

import dataclasses
import mmap
import struct
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from landscape.files.formats.entries import (
    MAX_DEPTH,
    Entry,
    add_leaf,
    check_count,
    checked_shape,
    component,
    dtype_of,
    opened,
    size_of,
)
from landscape.files.hdf5 import refused

TITLE = "Flax msgpack"
SUFFIXES = (".msgpack",)
_CHUNKED = "__msgpack_chunked_array__"
_ARRAY, _COMPLEX, _SCALAR = 1, 2, 3
_NUMBERS = {
    0xCA: ">f", 0xCB: ">d", 0xCC: ">B", 0xCD: ">H", 0xCE: ">I", 0xCF: ">Q",
    0xD0: ">b", 0xD1: ">h", 0xD2: ">i", 0xD3: ">q",
}  # fmt: skip
# what follows a byte: its kind, and the width of its length
_SIZED = {
    0xC4: ("bin", 1), 0xC5: ("bin", 2), 0xC6: ("bin", 4),
    0xD9: ("str", 1), 0xDA: ("str", 2), 0xDB: ("str", 4),
    0xC7: ("ext", 1), 0xC8: ("ext", 2), 0xC9: ("ext", 4),
    0xDC: ("array", 2), 0xDD: ("array", 4), 0xDE: ("map", 2), 0xDF: ("map", 4),
}  # fmt: skip
_CONSTANTS = {0xC0: None, 0xC2: False, 0xC3: True}


@dataclasses.dataclass(frozen=True)
class _Blob:
    """Bytes that were not read: where they are, and the extension that they belong to (None: plain bytes)."""

    code: int | None
    start: int
    length: int


@dataclasses.dataclass(frozen=True)
class _Array:
    """An array: what it is, and the pieces of the file that hold its numbers; or a number of Python."""

    entry: Entry
    pieces: tuple[_Blob, ...] = ()
    number: np.ndarray | None = None


class _Walk:
    """A position in the bytes of a file."""

    def __init__(self, path: Path, data: Any, start: int, end: int) -> None:
        self.path, self.data, self.place, self.end = path, data, start, end
        self.count = 0

    def take(self, length: int) -> int:
        """Step over a number of bytes and return where they begin."""
        start = self.place
        if length > self.end - start:
            raise refused(self.path, "it ends in the middle of a value")
        self.place += length
        return start

    def number(self, form: str) -> Any:
        """Return a number of a fixed form."""
        return struct.unpack_from(form, self.data, self.take(struct.calcsize(form)))[0]

    def value(self, depth: int = 0) -> Any:
        """Return the next value: containers, numbers and texts as such, arrays as where they are."""
        self.count += 1
        check_count(self.path, self.count // 4)  # a chunked array is a few values
        if depth > MAX_DEPTH:
            raise refused(self.path, "values nested too deep", expected=f"at most {MAX_DEPTH} levels")
        first = self.number(">B")
        if first < 0x80 or first >= 0xE0:
            return first if first < 0x80 else first - 256
        if first in _CONSTANTS:
            return _CONSTANTS[first]
        if first in _NUMBERS:
            return self.number(_NUMBERS[first])
        return self.sized(*self.kind(first), depth)

    def kind(self, first: int) -> tuple[str, int]:
        """Return what a byte announces, and of what length."""
        for low, mask, name in ((0x80, 0x0F, "map"), (0x90, 0x0F, "array"), (0xA0, 0x1F, "str")):
            if first < 0xC0 and low <= first <= low + mask:
                return name, first & mask
        if 0xD4 <= first <= 0xD8:
            return "ext", 1 << (first - 0xD4)
        if first not in _SIZED:
            raise refused(self.path, f"a byte that means nothing in msgpack: {first:#x}")
        name, width = _SIZED[first]
        return name, int.from_bytes(self.data[self.take(width) : self.place], "big")

    def sized(self, name: str, length: int, depth: int) -> Any:
        """Return a value of a stated length."""
        if name == "map":
            return dict(self.pairs(length, depth))
        if name == "array":
            return [self.value(depth + 1) for _ in range(length)]
        code = self.number(">b") if name == "ext" else None
        start = self.take(length)
        return str(self.data[start : self.place], "utf-8") if name == "str" else _Blob(code, start, length)

    def pairs(self, length: int, depth: int) -> Iterator[tuple[Any, Any]]:
        """Yield the items of a map, no key twice."""
        seen = set()
        for _ in range(length):
            key = self.value(depth + 1)
            if not isinstance(key, (str, int)) or key in seen:
                raise refused(
                    self.path, f"a key that is neither text nor number, or there twice: {key!r:.60}"
                )
            seen.add(key)
            yield key, self.value(depth + 1)


def recognises(path: Path, head: bytes) -> bool:
    """Return whether the file begins with a map and has the suffix: the format has no signature."""
    return (
        path.suffix.lower() in SUFFIXES
        and head[:1] != b""
        and (0x80 <= head[0] <= 0x8F or head[0] in (0xDE, 0xDF))
    )


def entries(path: Path) -> dict[str, Entry]:
    """Return the arrays by path; their numbers are not read."""
    with opened(path) as stream, _mapped(path, stream) as data:
        return {name: array.entry for name, array in _tree(path, data).items()}


def arrays(path: Path, names: Collection[str]) -> dict[str, np.ndarray]:
    """Read the arrays of these paths."""
    found = {}
    with opened(path) as stream, _mapped(path, stream) as data:
        tree = _tree(path, data)
        for name in names:
            found[name] = _numbers(path, name, data, tree[name])
    return found


def _numbers(path: Path, name: str, data: Any, array: _Array) -> np.ndarray:
    if array.number is not None:
        return array.number
    dtype = dtype_of(array.entry.dtype)
    if dtype is None or not array.pieces:
        raise refused(path, f"{name} holds {array.entry.dtype}")
    raw = bytearray().join(data[piece.start : piece.start + piece.length] for piece in array.pieces)
    flat = np.frombuffer(raw, dtype.newbyteorder("<")).astype(dtype, copy=False)
    return flat.reshape(array.entry.shape)


def _mapped(path: Path, stream: Any) -> mmap.mmap:
    if not size_of(stream):
        raise refused(path, "it is empty")
    return mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)


def _tree(path: Path, data: Any) -> dict[str, _Array]:
    walk = _Walk(path, data, 0, len(data))
    root = walk.value()
    if walk.place != walk.end:
        raise refused(path, "it goes on after its value")
    found: dict[str, _Array] = {}
    for where, array in _leaves(path, data, root, ()):
        add_leaf(path, found, where, array)
    return found


def _leaves(path: Path, data: Any, node: Any, where: tuple[str, ...]) -> Iterator[tuple[str, _Array]]:
    """Yield every array, number and text with its path; numbers of Python count as arrays of no axes."""
    if isinstance(node, Mapping) and _CHUNKED in node:
        yield "/".join(where), _joined(path, data, node)
    elif isinstance(node, Mapping):
        for key, child in node.items():
            yield from _leaves(path, data, child, (*where, component(key)))
    elif isinstance(node, list):
        for i, child in enumerate(node):
            yield from _leaves(path, data, child, (*where, component(i, position=True)))
    elif isinstance(node, _Blob) and node.code in (_ARRAY, _SCALAR):
        yield "/".join(where), _array(path, data, node)
    elif isinstance(node, (bool, int, float)):
        number = np.asarray(node)
        yield "/".join(where), _Array(Entry((), number.dtype.name), number=number)
    elif node is not None:
        yield "/".join(where), _Array(Entry((), _word(node)))


def _word(node: Any) -> str:
    """Return what a value that is not an array is called."""
    if isinstance(node, _Blob):
        return {_COMPLEX: "complex128", None: "bytes"}.get(node.code, f"extension {node.code}")
    return "text"


def _array(path: Path, data: Any, blob: _Blob) -> _Array:
    """Return where the numbers of Flax's extension for an array are."""
    walk = _Walk(path, data, blob.start, blob.start + blob.length)
    said = walk.value()
    if not isinstance(said, list) or len(said) != 3 or not isinstance(said[2], _Blob):
        raise refused(path, "an array that is not shape, type and bytes")
    entry = Entry(checked_shape(path, "an array", said[0]), str(said[1])[:40])
    dtype = dtype_of(entry.dtype)
    if dtype is not None and entry.size * dtype.itemsize != said[2].length:
        raise refused(path, f"an array of {said[2].length:,} bytes for the shape {entry.shape}")
    return _Array(entry, (said[2],))


def _joined(path: Path, data: Any, node: Mapping[Any, Any]) -> _Array:
    """Return an array that is stored in chunks of its flat vector."""
    sizes, chunks = node.get("shape"), node.get("chunks")
    if not isinstance(sizes, Mapping) or not isinstance(chunks, Mapping):
        raise refused(path, "an array in chunks without shape or chunks")
    shape = checked_shape(path, "an array", [sizes.get(str(i)) for i in range(len(sizes))])
    blobs = [chunks.get(str(i)) for i in range(len(chunks))]
    if not blobs or not all(isinstance(blob, _Blob) and blob.code == _ARRAY for blob in blobs):
        raise refused(path, "an array in chunks that are not arrays")
    pieces = [_array(path, data, blob) for blob in blobs if isinstance(blob, _Blob)]
    entry = Entry(shape, pieces[0].entry.dtype)
    if {piece.entry.dtype for piece in pieces} != {entry.dtype} or sum(
        p.entry.size for p in pieces
    ) != entry.size:
        raise refused(path, f"chunks that do not make an array of the shape {shape}")
    return _Array(entry, tuple(blob for piece in pieces for blob in piece.pieces))
