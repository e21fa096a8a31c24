"""The bytes of datasets, read without the HDF5 library: nothing is larger than it was measured to be.

The library inflates a chunk as far as its stream asks and fills in what was never written; here a
chunk must hold exactly its size, and every byte of an array must be in the file.
"""

from __future__ import annotations

import dataclasses
import hashlib
import math
import zlib
from typing import Any

import h5py
import numpy as np

from landscape.files.hdf5.opening import RawFile, refused
from landscape.trees import DIGEST_BYTES, canonical_bytes

MAX_STREAMED_CHUNK = 32 * 2**20


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Chunk:
    """Where one chunk lies: in the file, and in the array."""

    position: tuple[int, ...]
    offset: int
    size: int


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Stored:
    """A dataset that was measured: its shape, and where its bytes are.

    Exactly one of `offset` (contiguous), `chunks` and `compact` (an open dataset of at most 64 KB)
    says where; all are None where there are no bytes.
    """

    path: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    offset: int | None = None
    chunks: tuple[Chunk, ...] | None = None
    chunk_shape: tuple[int, ...] = ()
    filters: tuple[int, ...] = ()
    compact: Any = None


def load_array(file: RawFile, stored: Stored) -> np.ndarray:
    """Return one array as stored."""
    array = np.empty(stored.shape, stored.dtype)
    if array.size and stored.chunks is not None:
        for chunk in stored.chunks:
            _place(array, _inflated(file, stored, chunk), chunk.position)
    elif array.size and stored.compact is not None:
        stored.compact.read(h5py.h5s.ALL, h5py.h5s.ALL, array)
    elif array.size and stored.offset is not None:
        file.read_into(array.reshape(-1).view(np.uint8).data, stored.offset)
    if array.dtype == bool and array.size and int(array.view(np.uint8).max()) > 1:
        raise refused(file.path, f"{stored.path} holds truth values other than 0 and 1")
    return array


def stream_digest(file: RawFile, stored: Stored) -> str | None:
    """Return the digest of a chunked array in the memory of one chunk; None if it is not chunked.

    Raises
    ------
    CheckpointError
        If its chunks are not whole rows, as our writer makes them, or are large.
    """
    if stored.chunks is None:
        return None
    size = stored.dtype.itemsize * math.prod(stored.chunk_shape)
    if stored.chunk_shape[1:] != stored.shape[1:] or size > MAX_STREAMED_CHUNK:
        raise refused(
            file.path,
            f"{stored.path} is compressed very much, and not in small chunks",
            expected=f"chunks of whole rows, at most {MAX_STREAMED_CHUNK:,} bytes",
            got=f"shape {stored.chunk_shape}, {size:,} bytes",
        )
    digest = hashlib.blake2b(digest_size=DIGEST_BYTES)
    before: bytes | None = None
    values: np.ndarray | None = None
    for chunk in sorted(stored.chunks, key=lambda chunk: chunk.position):
        data = file.read(chunk.offset, chunk.size)
        # Where a mask is all true, or someone wants to waste time, chunk after chunk is the same.
        if values is None or data != before:
            before, values = data, _filtered(file, stored, data)
        digest.update(canonical_bytes(values[: stored.shape[0] - chunk.position[0]]))
    return digest.hexdigest()


def _place(array: np.ndarray, chunk: np.ndarray, position: tuple[int, ...]) -> None:
    target = tuple(
        slice(start, min(start + n, length))
        for start, n, length in zip(position, chunk.shape, array.shape, strict=True)
    )
    array[target] = chunk[tuple(slice(0, part.stop - part.start) for part in target)]


def _inflated(file: RawFile, stored: Stored, chunk: Chunk) -> np.ndarray:
    """Return one chunk as it is in the array."""
    return _filtered(file, stored, file.read(chunk.offset, chunk.size))


def _filtered(file: RawFile, stored: Stored, data: bytes) -> np.ndarray:
    """Undo the filters of one chunk, last one first; never inflate past the chunk's size."""
    itemsize = stored.dtype.itemsize
    expected = int(np.prod(stored.chunk_shape, dtype=np.int64)) * itemsize
    for number in reversed(stored.filters):
        if number == h5py.h5z.FILTER_DEFLATE:
            stream = zlib.decompressobj()
            data = stream.decompress(data, expected)
            if len(data) != expected or stream.decompress(stream.unconsumed_tail, 1) or not stream.eof:
                raise refused(file.path, f"{stored.path} inflates to another size than it declares")
        elif len(data) == expected:
            data = np.frombuffer(data, np.uint8).reshape(itemsize, -1).T.tobytes()
    if len(data) != expected:
        raise refused(file.path, f"{stored.path} has a chunk of the wrong size")
    return np.frombuffer(data, stored.dtype).reshape(stored.chunk_shape)
