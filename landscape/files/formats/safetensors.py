"""Safetensors: a JSON header and the bytes of the arrays; also several files with an index.

Format: an unsigned 64-bit length, that number of bytes of JSON ``{name: {dtype, shape, data_offsets}}``, then
the data, without holes and without overlaps. An index (``….safetensors.index.json``) says in its
``weight_map`` which file of its folder holds which name. Both are checked before anything is read.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from landscape.errors import CheckpointError
from landscape.files.formats.entries import (
    MAX_TEXT,
    Entry,
    check_count,
    checked_shape,
    dtype_of,
    opened,
    parsed_json,
    size_of,
    tree_paths,
)
from landscape.files.hdf5 import refused

TITLE = "a safetensors file"
SUFFIXES = (".safetensors",)
_INDEX = ".safetensors.index.json"
_TYPES = {
    "BOOL": "bool", "U8": "uint8", "I8": "int8", "U16": "uint16", "I16": "int16", "U32": "uint32",
    "I32": "int32", "U64": "uint64", "I64": "int64", "F16": "float16", "BF16": "bfloat16", "F32": "float32",
    "F64": "float64", "C64": "complex64", "F8_E4M3": "float8_e4m3fn", "F8_E5M2": "float8_e5m2",
    "F8_E8M0": "float8_e8m0fnu", "F8_E4M3FNUZ": "float8_e4m3fnuz", "F8_E5M2FNUZ": "float8_e5m2fnuz",
}  # fmt: skip
_BITS = {"F4": 4, "F6_E2M3": 6, "F6_E3M2": 6}  # named, and refused by name where they are wanted


@dataclasses.dataclass(frozen=True)
class _Tensor:
    """One array: what it is, the file it is in, and where its bytes begin."""

    entry: Entry
    file: Path
    offset: int


def recognises(path: Path, head: bytes) -> bool:
    """Return whether the file begins with a length and JSON, or is an index by its name."""
    if path.name.endswith(_INDEX):
        return head.lstrip().startswith(b"{")
    if len(head) < 10 or head[8:9] != b"{" or int.from_bytes(head[:8], "little") > MAX_TEXT:
        return False
    return head[9:].lstrip()[:1] in (b'"', b"}")


def entries(path: Path) -> dict[str, Entry]:
    """Return the arrays by path, from the headers."""
    return {name: tensor.entry for name, tensor in _tensors(path).items()}


def arrays(path: Path, names: Collection[str]) -> dict[str, np.ndarray]:
    """Read the arrays of these paths; each file is opened once per array."""
    tensors, found = _tensors(path), {}
    for name in names:
        tensor = tensors[name]
        dtype = dtype_of(tensor.entry.dtype)
        if dtype is None:
            raise refused(path, f"{name} is of the type {tensor.entry.dtype}")
        with opened(tensor.file) as stream:
            stream.seek(tensor.offset)
            raw = stream.read(tensor.entry.size * dtype.itemsize)
        array = np.frombuffer(bytearray(raw), dtype.newbyteorder("<"))
        found[name] = array.reshape(tensor.entry.shape).astype(dtype, copy=False)
    return found


def _tensors(path: Path) -> dict[str, _Tensor]:
    """Return all arrays by their path in the tree."""
    named = _indexed(path) if path.name.endswith(_INDEX) else _in_file(path)
    check_count(path, len(named))
    return {where: named[name] for name, where in tree_paths(named, ".").items()}


def _indexed(path: Path) -> dict[str, _Tensor]:
    """Return the arrays that an index names, each from the file that it says."""
    with opened(path) as stream:
        weights = parsed_json(path, stream.read(MAX_TEXT), "the index").get("weight_map")
    if not isinstance(weights, Mapping) or not all(isinstance(file, str) for file in weights.values()):
        raise refused(path, "its weight_map is not a table of names and files")
    check_count(path, len(weights))
    held = {file: _in_file(_beside(path, file)) for file in sorted(set(weights.values()))}
    missing = [name for name, file in weights.items() if name not in held[file]]
    if missing:
        raise CheckpointError(
            f"{path.parent / weights[missing[0]]}: holds no {missing[0]!r}",
            expected=f"what {path.name} says",
            hint="Copy all files of the set again.",
        )
    return {name: held[file][name] for name, file in weights.items()}


def _beside(path: Path, file: str) -> Path:
    """Return a file in the folder of the index: a plain name, and no link."""
    shard = path.parent / file
    if Path(file).name != file or file in (".", "..") or "\0" in file:
        raise refused(path, f"its index names a file elsewhere: {file[:100]!r}")
    if shard.is_symlink():
        raise refused(path, f"{file} is a link", expected="a file in the folder of the index")
    if not shard.is_file():
        raise CheckpointError(
            f"{shard}: no such file",
            expected=f"a file that {path.name} names",
            hint="Copy all files of the set.",
        )
    return shard


def _in_file(path: Path) -> dict[str, _Tensor]:
    """Return the arrays of one file by name."""
    with opened(path) as stream:
        size = size_of(stream)
        header, start = _header(path, stream, size)
    check_count(path, len(header))
    found, spans = {}, []
    for name, said in header.items():
        if name != "__metadata__":
            entry, first, last = _checked(path, name, said)
            found[name] = _Tensor(entry, path, start + first)
            spans.append((first, last))
    _check_spans(path, spans, size - start)
    return found


def _header(path: Path, stream: BinaryIO, size: int) -> tuple[Mapping[str, Any], int]:
    length = int.from_bytes(stream.read(8), "little")
    if size < 8 or length > min(MAX_TEXT, size - 8):
        raise refused(path, f"a header of {length:,} bytes in a file of {size:,}")
    return parsed_json(path, stream.read(length), "the header"), 8 + length


def _checked(path: Path, name: str, said: Any) -> tuple[Entry, int, int]:
    """Return an array's entry and the first and last of its bytes."""
    if not isinstance(said, Mapping) or set(said) != {"dtype", "shape", "data_offsets"}:
        raise refused(path, f"the header of {name[:100]} is invalid")
    kind, shape = str(said["dtype"])[:40], checked_shape(path, name, said["shape"])
    first, last = checked_shape(path, name, said["data_offsets"])[:2]
    dtype = dtype_of(_TYPES.get(kind, ""))
    bits = 8 * dtype.itemsize if dtype is not None else _BITS.get(kind)
    if bits is not None and math.prod(shape) * bits != 8 * (last - first):
        raise refused(path, f"{name[:100]} has {last - first:,} bytes for the shape {shape}")
    return Entry(shape, kind if dtype is None else dtype.name), first, last


def _check_spans(path: Path, spans: list[tuple[int, int]], size: int) -> None:
    """Refuse data that overlap, leave holes, or end elsewhere than the file."""
    end = 0
    for first, last in sorted(spans):
        if first != end or last < first:
            raise refused(path, "its arrays overlap or leave holes")
        end = last
    if end != size:
        raise CheckpointError(
            f"{path}: truncated" if end > size else f"{path}: refused: it holds more than its arrays",
            expected=f"{end:,} bytes of data",
            got=f"{size:,}",
            hint="Copy the file again from where it came.",
        )
