"""The arrays of an Orbax folder: zarr, versions 2 and 3, in files or in OCDBT. Runs as a child.

The metadata of an array is checked before tensorstore is told to read it: known codecs, pieces that are
not larger than the array, not more pieces than any network has. The stores are the folder's own files;
tensorstore refuses names that lead out of it.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from landscape.errors import CheckpointError
from landscape.files.formats.entries import (
    FREE_BYTES,
    MAX_ENTRIES,
    Entry,
    checked_shape,
    dtype_of,
    parsed_json,
)
from landscape.files.hdf5 import boundary, refused
from landscape.files.isolation import Answer, serve

_COMPRESSORS = {"zstd", "zlib", "gzip", "blosc", "bz2"}
_CODECS = {"bytes", "transpose", "crc32c", "sharding_indexed"} | _COMPRESSORS
_MAX_JSON = 2**20


def described(path: Path, name: str, text: str) -> Entry:
    """Return what the zarr metadata of an array say, checked to be readable in bounded memory."""
    said = parsed_json(path, text, f"the zarr metadata of {name}")
    if said.get("zarr_format") == 3:
        codecs, shape, chunk = _version_3(path, said)
        dtype = str(said["data_type"])
    else:
        codecs, shape, chunk = _version_2(path, said)
        dtype = _type_of_2(str(said["dtype"]))
    if codecs - _CODECS:
        raise refused(path, f"{name} needs an unknown codec", got=", ".join(sorted(codecs - _CODECS))[:100])
    entry = Entry(shape, dtype[:40])
    _check_pieces(path, name, entry, chunk)
    return entry


def _version_2(path: Path, said: Mapping[str, Any]) -> tuple[set[str], tuple[int, ...], tuple[int, ...]]:
    compressor = said.get("compressor")
    if said.get("filters"):
        raise refused(path, "an array with filters", got=repr(said["filters"])[:100])
    codecs = set() if compressor is None else {str(compressor["id"])}
    return (
        codecs,
        checked_shape(path, "an array", said["shape"]),
        checked_shape(path, "a piece", said["chunks"]),
    )


def _version_3(path: Path, said: Mapping[str, Any]) -> tuple[set[str], tuple[int, ...], tuple[int, ...]]:
    grid = said["chunk_grid"]
    if grid["name"] != "regular":
        raise refused(path, "an array in pieces of several sizes", got=str(grid["name"])[:40])
    chunk = checked_shape(path, "a piece", grid["configuration"]["chunk_shape"])
    codecs = set()
    for codec in said["codecs"]:
        codecs.add(str(codec["name"]))
        if codec["name"] == "sharding_indexed":
            inner = checked_shape(path, "a piece", codec["configuration"]["chunk_shape"])
            if math.prod(inner) > math.prod(chunk) or math.prod(chunk) > MAX_ENTRIES * max(
                math.prod(inner), 1
            ):
                raise refused(path, "an array in too many pieces, or pieces larger than their shard")
            parts = ("codecs", "index_codecs")
            codecs |= {str(part["name"]) for key in parts for part in codec["configuration"].get(key, ())}
    return codecs, checked_shape(path, "an array", said["shape"]), chunk


def _type_of_2(text: str) -> str:
    """Return the name of a type: zarr 2 writes NumPy's short text, or the name for what NumPy lacks."""
    return np.dtype(text).name if text[:1] in "<>|" else text


def _check_pieces(path: Path, name: str, entry: Entry, chunk: tuple[int, ...]) -> None:
    dtype = dtype_of(entry.dtype)
    width = 16 if dtype is None else dtype.itemsize
    if len(chunk) != len(entry.shape) or not all(chunk):
        raise refused(path, f"{name} is cut in an invalid way", got=f"{chunk} for {entry.shape}")
    count = math.prod(-(-n // step) for n, step in zip(entry.shape, chunk, strict=True))
    if math.prod(chunk) * width > max(entry.size * width, FREE_BYTES) or count > MAX_ENTRIES:
        raise refused(
            path, f"{name} is cut in too many pieces, or in larger ones than itself", got=str(chunk)
        )


def read(request: Any) -> Answer:
    """Return the metadata of arrays, or their types and bytes (with an axis of bytes at the end)."""
    path = Path(request["path"])
    import tensorstore as ts

    found: dict[str, str] = {}
    arrays: dict[str, np.ndarray] = {}
    with boundary(path, "its arrays cannot be read"):
        for item in request["items"]:
            texts = _texts(ts, path, item)
            if not request["load"]:
                found |= texts
                continue
            for where, text in texts.items():
                described(path, where, text)
                array = _loaded(ts, item, item["names"][where])
                found[where] = array.dtype.name
                flat = np.ascontiguousarray(array).reshape(-1)
                arrays[where] = flat.view(np.uint8).reshape((*array.shape, array.dtype.itemsize))
    return found, arrays


def _store(item: Mapping[str, Any]) -> dict[str, Any]:
    where = item["folder"] + "/"
    files = {"driver": "file", "path": where}
    return {"driver": "ocdbt", "base": files} if item["ocdbt"] else files


def _texts(ts: Any, path: Path, item: Mapping[str, Any]) -> dict[str, str]:
    """Return the zarr metadata of the item's arrays as they are stored."""
    store = ts.KvStore.open(_store(item)).result()
    suffix = "zarr.json" if item["zarr3"] else ".zarray"
    asked = {where: store.read(f"{name}/{suffix}") for where, name in item["names"].items()}
    found = {}
    for where, future in asked.items():
        answer = future.result()
        if answer.state != "value" or len(answer.value) > _MAX_JSON:
            raise CheckpointError(
                f"{path}: damaged: it holds no array for {where}",
                expected="what _METADATA names",
                hint="Copy the whole folder again.",
            )
        found[where] = answer.value.decode()
    return found


def _loaded(ts: Any, item: Mapping[str, Any], name: str) -> np.ndarray:
    """Return one array; pieces that are not there are an error, not zeros, if the writer stores all."""
    spec: dict[str, Any] = {
        "driver": "zarr3" if item["zarr3"] else "zarr",
        "kvstore": {**_store(item), "path": f"{name}/"},
    }
    if not item["ocdbt"]:
        spec["kvstore"] = {"driver": "file", "path": f"{item['folder']}/{name}/"}
    if item["complete"]:
        spec["fill_missing_data_reads"] = False
    found: np.ndarray = ts.open(spec, read=True, open=True).result().read().result()
    return found


if __name__ == "__main__":
    sys.exit(serve(read))
