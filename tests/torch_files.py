"""PyTorch's files written by hand: the instructions of the pickle, and the archive around it."""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

STORAGES = {
    "float32": "FloatStorage", "float64": "DoubleStorage", "float16": "HalfStorage",
    "bfloat16": "BFloat16Storage", "int64": "LongStorage", "bool": "BoolStorage",
}  # fmt: skip
NONE, FALSE, EMPTY_TUPLE = b"N", b"\x89", b")"


def text(value: str) -> bytes:
    raw = value.encode()
    return b"X" + struct.pack("<I", len(raw)) + raw


def number(value: int) -> bytes:
    return b"J" + struct.pack("<i", value)


def named(module: str, name: str) -> bytes:
    return f"c{module}\n{name}\n".encode()


def sequence(*items: bytes) -> bytes:
    return b"(" + b"".join(items) + b"t"


def numbers(values: Sequence[int]) -> bytes:
    return sequence(*map(number, values))


def call(function: bytes, *arguments: bytes) -> bytes:
    return function + sequence(*arguments) + b"R"


def ordered(items: Mapping[str, bytes]) -> bytes:
    made = named("collections", "OrderedDict") + EMPTY_TUPLE + b"R("
    return made + b"".join(text(key) + value for key, value in items.items()) + b"u"


def storage(key: str, dtype: str, length: int) -> bytes:
    kind = named("torch", STORAGES[dtype])
    return sequence(text("storage"), kind, text(key), text("cpu"), number(length)) + b"Q"


def tensor(
    stored: bytes, shape: Sequence[int], strides: Sequence[int] | None = None, offset: int = 0
) -> bytes:
    if strides is None:
        strides = [int(np.prod(shape[i + 1 :])) for i in range(len(shape))]
    function = named("torch._utils", "_rebuild_tensor_v2")
    hooks = named("collections", "OrderedDict") + EMPTY_TUPLE + b"R"
    return call(function, stored, number(offset), numbers(shape), numbers(strides), FALSE, hooks)


def parameter(made: bytes) -> bytes:
    hooks = named("collections", "OrderedDict") + EMPTY_TUPLE + b"R"
    return call(named("torch._utils", "_rebuild_parameter"), made, b"\x88", hooks)


def archive(path: Path, pickle: bytes, storages: Mapping[str, bytes], *, order: str = "little") -> Path:
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("archive/data.pkl", b"\x80\x02" + pickle + b".")
        file.writestr("archive/byteorder", order)
        for key, raw in storages.items():
            file.writestr(f"archive/data/{key}", raw)
        file.writestr("archive/version", "3\n")
    return path


def state_dict(path: Path, arrays: Mapping[str, np.ndarray]) -> Path:
    """Write arrays as torch.save writes a state dict, with the notes that modules add to theirs."""
    items = {
        name: tensor(storage(str(i), array.dtype.name, array.size), array.shape)
        for i, (name, array) in enumerate(arrays.items())
    }
    notes = b"}" + text("_metadata") + ordered({}) + b"s" + b"b"
    raw = {str(i): np.ascontiguousarray(array).tobytes() for i, array in enumerate(arrays.values())}
    return archive(path, ordered(items) + notes, raw)
