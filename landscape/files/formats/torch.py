"""PyTorch's ``.pt`` and ``.pth``: tensors and containers, read without torch and without unpickling.

Format (since PyTorch 1.6): a zip archive with ``NAME/data.pkl``, a pickle in which tensors are views
(offset, shape, strides) of storages, and ``NAME/data/KEY``, the bytes of each storage. `torch_pickle`
reads the pickle. Tensors that share a storage come out as separate arrays of equal numbers.
"""

from __future__ import annotations

import contextlib
import zipfile
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np

from landscape.errors import CheckpointError
from landscape.files.formats.entries import (
    MAX_DEPTH,
    Entry,
    add_leaf,
    check_count,
    check_declared,
    component,
    dtype_of,
    member_of,
    opened,
    opened_zip,
    size_of,
    zip_names,
)
from landscape.files.formats.torch_pickle import Tensor, read_pickle
from landscape.files.hdf5 import refused

TITLE = "a PyTorch file of tensors"
SUFFIXES = (".pt", ".pth", ".bin", ".ckpt", ".pkl", ".pickle")
_PICKLE = "/data.pkl"
_MAX_PICKLE = 16 * 2**20
_Order = Literal["<", ">"]
_PROTOCOLS = (2, 3, 4, 5)
_LEGACY = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."  # the number that files before PyTorch 1.6 begin with


def recognises(path: Path, head: bytes) -> bool:
    """Return whether the file is an archive with a pickle of PyTorch's, or a bare pickle."""
    if head.startswith(b"PK"):
        return any(name.endswith(_PICKLE) for name in zip_names(path))
    return len(head) > 2 and head[0] == 0x80 and head[1] in _PROTOCOLS


def entries(path: Path) -> dict[str, Entry]:
    """Return tensors, numbers and texts by path; no storage is read."""
    with _archive(path) as (archive, prefix):
        return {name: _entry(leaf) for name, leaf in _leaves(path, archive, prefix).items()}


def arrays(path: Path, names: Collection[str]) -> dict[str, np.ndarray]:
    """Read the tensors of these paths."""
    found = {}
    with _archive(path) as (archive, prefix):
        leaves = _leaves(path, archive, prefix)
        order = _byte_order(path, archive, prefix)
        last: tuple[str, bytes] = ("", b"")
        for name in names:
            leaf = leaves[name]
            if not isinstance(leaf, Tensor):
                found[name] = np.asarray(leaf)
                continue
            if leaf.storage.key != last[0]:
                last = (leaf.storage.key, member_of(path, archive, f"{prefix}/data/{leaf.storage.key}"))
            found[name] = _view(path, name, leaf, (last[1], order))
    return found


@contextlib.contextmanager
def _archive(path: Path) -> Iterator[tuple[zipfile.ZipFile, str]]:
    """Open an archive; with it comes the name of the folder in it that holds everything."""
    _refuse_other_layouts(path)
    with opened_zip(path) as archive:
        held = archive.namelist()
        pickles = [name for name in held if name.endswith(_PICKLE) and name.count("/") == 1]
        if len(pickles) != 1 or len(set(held)) != len(held):
            raise refused(path, "not the archive of one torch.save")
        yield archive, pickles[0].removesuffix(_PICKLE)


def _refuse_other_layouts(path: Path) -> None:
    """Refuse bare pickles: those of old versions by that name, others by what they ask for."""
    with opened(path) as stream:
        head = stream.read(len(_LEGACY))
        if head[:1] != b"\x80":
            return
        stream.seek(0)
        data = stream.read(_MAX_PICKLE)
        large = size_of(stream) > len(data)
    what = "a bare pickle, read elsewhere by unpickling, which runs code from the file"
    if head == _LEGACY:
        what = "a file of PyTorch before 1.6, read elsewhere by unpickling"
    elif not large:
        _name_what_it_asks_for(path, data)
    raise CheckpointError(
        f"{path}: {what}",
        expected="the zip archive that torch.save writes since PyTorch 1.6",
        hint="Load it where it came from and save it again: torch.save(model.state_dict(), FILE).",
    )


def _name_what_it_asks_for(path: Path, data: bytes) -> None:
    """Look at what a bare pickle asks for, so that a refusal can name it."""
    try:
        read_pickle(path, data)
    except CheckpointError as error:
        raise CheckpointError(
            f"{error.what}, a bare pickle, read elsewhere by unpickling",
            expected=error.expected,
            got=error.got,
            hint=error.hint,
        ) from error


def _leaves(path: Path, archive: zipfile.ZipFile, prefix: str) -> dict[str, Any]:
    """Return what the pickle holds by path, tensors checked against their storages."""
    held = read_pickle(path, member_of(path, archive, prefix + _PICKLE, limit=_MAX_PICKLE))
    found: dict[str, Any] = {}
    for count, (where, leaf) in enumerate(_walk(path, held, ())):
        check_count(path, count)
        if where:
            add_leaf(path, found, "/".join(where), leaf)
    sizes = {info.filename: info.file_size for info in archive.infolist()}
    declared = 0
    for name, leaf in found.items():
        if isinstance(leaf, Tensor):
            declared += _check_view(path, name, leaf, sizes.get(f"{prefix}/data/{leaf.storage.key}", -1))
    check_declared(path, declared, path.stat().st_size)
    return found


def _walk(path: Path, node: Any, where: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield every leaf with its path, and an empty path for every container, so that all are counted."""
    if len(where) > MAX_DEPTH:
        raise refused(path, "containers nested too deep", expected=f"at most {MAX_DEPTH} levels")
    if isinstance(node, Mapping):
        yield (), None
        for key, child in node.items():
            parts = key.split(".") if isinstance(key, str) and _cut(key, node) else (key,)
            yield from _walk(path, child, (*where, *map(component, parts)))
    elif isinstance(node, (list, tuple)):
        yield (), None
        for i, child in enumerate(node):
            yield from _walk(path, child, (*where, component(i, position=True)))
    elif node is not None:
        yield where, node


def _cut(key: str, siblings: Mapping[Any, Any]) -> bool:
    """Return whether a name such as ``fc.weight`` is cut at its dots: not if one lies inside another."""
    if key.count(".") >= MAX_DEPTH:
        return False
    parts = key.split(".")
    return all(parts) and not any(".".join(parts[:i]) in siblings for i in range(1, len(parts)))


def _entry(leaf: Any) -> Entry:
    if isinstance(leaf, Tensor):
        return Entry(leaf.shape, leaf.dtype)
    if isinstance(leaf, (bool, int, float)):
        return Entry((), np.asarray(leaf).dtype.name)
    return Entry((), "text" if isinstance(leaf, str) else "bytes" if isinstance(leaf, bytes) else "a type")


def _check_view(path: Path, name: str, tensor: Tensor, stored: int) -> int:
    """Return the bytes of a tensor, after checking that its storage has all of them."""
    dtype, kind = dtype_of(tensor.dtype), dtype_of(tensor.storage.dtype or "uint8")
    if dtype is None or kind is None:
        return 0  # refused by its type if it is wanted
    if len(tensor.shape) != len(tensor.strides):
        raise refused(path, f"{name} has {len(tensor.shape)} axes and {len(tensor.strides)} strides")
    steps = sum((n - 1) * step for n, step in zip(tensor.shape, tensor.strides, strict=True))
    size = Entry(tensor.shape, tensor.dtype).size
    needed = (tensor.offset + steps + 1) * dtype.itemsize if size else 0
    if stored != tensor.storage.length * kind.itemsize or needed > stored:
        raise refused(
            path,
            f"{name} reaches beyond its storage",
            expected=f"{max(needed, tensor.storage.length * kind.itemsize):,} bytes",
            got=f"{stored:,} bytes" if stored >= 0 else "no such storage",
        )
    return size * dtype.itemsize


def _view(path: Path, name: str, tensor: Tensor, stored: tuple[bytes, _Order]) -> np.ndarray:
    """Return the numbers of a tensor as an array of its own."""
    dtype = dtype_of(tensor.dtype)
    if dtype is None:
        raise refused(path, f"{name} is of the type {tensor.dtype}")
    raw, order = stored
    flat = np.frombuffer(raw, dtype.newbyteorder(order), count=len(raw) // dtype.itemsize)
    if not Entry(tensor.shape, "").size:
        return np.empty(tensor.shape, dtype)
    steps = tuple(step * dtype.itemsize for step in tensor.strides)
    view = np.lib.stride_tricks.as_strided(flat[tensor.offset :], tensor.shape, steps, writeable=False)
    return np.array(view, dtype, order="C")


def _byte_order(path: Path, archive: zipfile.ZipFile, prefix: str) -> _Order:
    name = f"{prefix}/byteorder"
    said = member_of(path, archive, name, limit=64) if name in archive.namelist() else b"little"
    if said not in (b"little", b"big"):
        raise refused(path, f"its byte order is {said!r}", expected="little or big")
    return "<" if said == b"little" else ">"
