"""IDX files, read strictly: a file whose content differs from its header is refused."""

from __future__ import annotations

import gzip
import hashlib
import lzma
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from landscape.errors import DataError

_UNSIGNED_BYTE = 0x08
_READ_ERRORS = (OSError, EOFError, lzma.LZMAError, zlib.error, ValueError)


def read_bytes(path: Path, limit: int) -> bytes:
    """Return at most `limit` decompressed bytes of a raw, ``.gz`` or ``.xz`` file, and one more if there are.

    Raises
    ------
    DataError
        If the file is missing or its stream is damaged.
    """
    openers: dict[str, Any] = {".gz": gzip.open, ".xz": lzma.open}
    opener = openers.get(path.suffix, open)
    try:
        with opener(path, "rb") as file:
            return bytes(file.read(limit + 1))
    except _READ_ERRORS as error:
        raise _unreadable(path, error) from error


def read_idx(
    path: Path, shape: tuple[int, ...], sha256: str | None = None, *, sha256_file: str | None = None
) -> np.ndarray:
    """Return the array of unsigned bytes in an IDX file.

    Parameters
    ----------
    path : Path
        Raw, ``.gz`` or ``.xz``.
    shape : tuple of int
        The shape that the file must have.
    sha256 : str, optional
        Digest of the decompressed file; compression does not matter to it.
    sha256_file : str, optional
        Digest of the file as it lies there, looked at before it is decompressed.

    Raises
    ------
    DataError
        If the file is missing, damaged, of another shape, or its digest differs. Never deleted.
    """
    if sha256_file is not None:
        _check_file(path, sha256_file)
    size = int(np.prod(shape))
    header = struct.pack(f">HBB{len(shape)}I", 0, _UNSIGNED_BYTE, len(shape), *shape)
    data = read_bytes(path, len(header) + size)
    if data[:4] != header[:4]:
        raise _wrong(
            path, f"an IDX file of unsigned bytes with {len(shape)} axes", f"a header {data[:4].hex(' ')}"
        )
    if data[: len(header)] != header:
        count = (len(data) - 4) // 4
        found = struct.unpack(f">{min(count, len(shape))}I", data[4 : 4 + 4 * min(count, len(shape))])
        raise _wrong(path, f"shape {shape}", f"shape {found}")
    if len(data) != len(header) + size:
        missing = len(header) + size - len(data)
        raise _wrong(path, f"{size:,} bytes of data", f"{missing:,} fewer" if missing > 0 else "more")
    if sha256 is not None and hashlib.sha256(data).hexdigest() != sha256:
        raise _wrong(path, f"sha256 {sha256[:16]}… of the decompressed file", "another digest")
    return np.frombuffer(data, np.uint8, offset=len(header)).reshape(shape)


def _check_file(path: Path, sha256: str) -> None:
    try:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise _unreadable(path, error) from error
    if found != sha256:
        raise _wrong(path, f"sha256 {sha256[:16]}… of the file", f"{found[:16]}…")


def _unreadable(path: Path, error: BaseException) -> DataError:
    return DataError(
        f"{path}: cannot be read",
        got=(str(error).splitlines() or [type(error).__name__])[0],
        hint="Replace the file by a complete copy; it was left as it is.",
    )


def _wrong(path: Path, expected: str, got: str) -> DataError:
    return DataError(
        f"{path}: damaged, or not the data set",
        expected=expected,
        got=got,
        hint="Replace the file by a complete copy; it was left as it is.",
    )
