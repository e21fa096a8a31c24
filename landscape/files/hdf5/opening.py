"""Opening files that may be hostile: once, regular files only; every error is one of `landscape.errors`."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import os
import stat
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import h5py

from landscape.errors import CheckpointError, LandscapeError

SIGNATURE = b"\x89HDF\r\n\x1a\n"
HINT = "Copy the file again from where it came."
# What h5py, NumPy, zlib and json raise over bytes that make no sense. RecursionError, UnicodeError
# and IndexError are subclasses of these.
PARSE_ERRORS = (
    OSError, RuntimeError, LookupError, ValueError, TypeError, AttributeError, ArithmeticError, MemoryError,
    EOFError, BufferError, AssertionError, struct.error, zlib.error,
)  # fmt: skip
_NEXT_STEPS = {
    errno.ELOOP: "The symbolic links lead to each other: name the file itself.",
    errno.ENAMETOOLONG: "Give a shorter name.",
    errno.EACCES: "You may not read it: chmod u+r, or ask its owner.",
    errno.ENOTDIR: "Part of the path is a file: check the name.",
}
_USER_BLOCK, _TEXT, _BYTES = "HDF5 behind a user block, which is not read", "text", "bytes of no known format"
_UNKNOWN = (_USER_BLOCK, _TEXT, _BYTES)
_LOOKS = (
    (b"PK\x03\x04", "a zip archive (npz, or a PyTorch file)"),
    (b"\x1f\x8b", "gzip-compressed data"),
    (b"\xfd7zXZ", "xz-compressed data"),
    (b"\x80", "a Python pickle"),
    (b"\x93NUMPY", "a NumPy .npy file"),
    (b"version https://git-lfs", "a git-lfs pointer: the file itself was not downloaded"),
)


class NotHDF5Error(CheckpointError):
    """A folder, or a file without the signature of HDF5: not landscape's, but another reader may know it."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class RawFile:
    """A regular file, opened once: everything is read through its descriptor."""

    path: Path
    descriptor: int
    size: int

    def read(self, offset: int, length: int) -> bytes:
        """Return `length` bytes; fewer are an error."""
        out = bytearray(length)
        self.read_into(memoryview(out), offset)
        return bytes(out)

    def read_into(self, target: memoryview, offset: int) -> None:
        """Fill `target` with the bytes from `offset` on."""
        done = 0
        while done < len(target):
            count = os.preadv(self.descriptor, [target[done:]], offset + done)
            if not count:
                raise CheckpointError(f"{self.path}: truncated while it was read", hint=HINT)
            done += count


@contextlib.contextmanager
def boundary(path: Path, what: str = "it makes no sense") -> Iterator[None]:
    """Turn whatever a parser raises into one `CheckpointError` that names the file."""
    try:
        yield
    except LandscapeError:
        raise
    except PARSE_ERRORS as error:
        raise unreadable(path, what, error) from error


def unreadable(path: Path, what: str, error: BaseException) -> CheckpointError:
    """Return the error for a file that a library could not make sense of."""
    first = (str(error).splitlines() or [""])[0]
    return CheckpointError(f"{path}: damaged: {what}", got=first[:200] or type(error).__name__, hint=HINT)


def refused(path: Path, what: str, **details: str) -> CheckpointError:
    """Return the error for a file that is refused as unsafe or damaged."""
    return CheckpointError(
        f"{path}: refused: {what}", hint="Do not trust this file; ask where it came from.", **details
    )


@contextlib.contextmanager
def opened_raw(path: Path) -> Iterator[RawFile]:
    """Open a regular file with a complete HDF5 header at offset 0, without waiting for a pipe."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise CheckpointError(
            f"{path}: no such file", expected="a landscape file (.h5)", hint="Check the name."
        ) from error
    except (OSError, ValueError) as error:
        number = getattr(error, "errno", None)
        got = os.strerror(number) if number else str(error)
        hint = _NEXT_STEPS.get(number or 0, "Check the path and its permissions.")
        raise CheckpointError(
            f"{path}: cannot be opened", expected="a landscape file (.h5)", got=got, hint=hint
        ) from error
    try:
        status = os.fstat(descriptor)
        _check_regular(path, status.st_mode)
        file = RawFile(path=path, descriptor=descriptor, size=status.st_size)
        with boundary(path, "its header cannot be read"):
            _check_header(file)
        yield file
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def opened_hdf5(raw: RawFile) -> Iterator[h5py.File]:
    """Give the open file to the HDF5 library: by its descriptor, never by its name again.

    The library could open ``/proc/self/fd/N`` itself, but not once the file has been replaced.
    """
    with (
        open(raw.descriptor, "rb", closefd=False) as stream,
        h5py.File(stream, "r", locking=False) as file,
    ):
        yield file


def _check_regular(path: Path, mode: int) -> None:
    if stat.S_ISDIR(mode):
        hint = "Name one of its level-…h5 files." if (path / "run.toml").exists() else "Name a file."
        raise NotHDF5Error(f"{path}: is a folder", expected="an HDF5 file", hint=hint)
    if not stat.S_ISREG(mode):
        raise CheckpointError(
            f"{path}: not a regular file",
            expected="an HDF5 file",
            got="a pipe, socket or device",
            hint="Write the data to a file first, and name that.",
        )


def _check_header(file: RawFile) -> None:
    head = file.read(0, min(512, file.size))
    if not head.startswith(SIGNATURE):
        looks = looks_like(head)
        unknown = looks in _UNKNOWN
        raise NotHDF5Error(
            f"{file.path}: not HDF5" if unknown else f"{file.path}: is {looks}",
            expected="a landscape checkpoint, or a file of weights that landscape reads",
            got=looks if unknown else None,
            hint="Check the name; landscape convert --help lists the files of other tools that are read.",
        )
    expected = _end_of_file(file.path, head)
    if file.size < expected:
        raise CheckpointError(
            f"{file.path}: truncated",
            expected=f"{expected:,} bytes",
            got=f"{file.size:,} bytes",
            hint=HINT,
        )


def looks_like(head: bytes) -> str:
    """Return what the first bytes of a file look like, in words."""
    if not head:
        return "an empty file"
    for magic, name in _LOOKS:
        if head.startswith(magic):
            return name
    text = head.lstrip()[:64].lower()
    if text.startswith((b"<!doctype", b"<html", b"<?xml")):
        return "an HTML or XML page, perhaps a download error"
    if SIGNATURE in head:
        return _USER_BLOCK
    if text.startswith((b"{", b"[")):
        return "JSON text"
    return _TEXT if all(byte in b"\t\n\r" or 32 <= byte < 127 for byte in head) else _BYTES


def _end_of_file(path: Path, head: bytes) -> int:
    """Return the end-of-file address in the superblock (HDF5 file format, versions 0 to 3)."""
    damaged = CheckpointError(f"{path}: damaged HDF5 header", hint=HINT)
    try:
        version = head[8]
        if version in (0, 1):
            offsets, start = head[13], 24 if version == 0 else 28
            base, _, end, driver = struct.unpack_from("<4Q", head, start)
        elif version in (2, 3):
            offsets = head[9]
            base, _, end, _ = struct.unpack_from("<4Q", head, 12)
            driver = 2**64 - 1
        else:
            raise damaged
    except (IndexError, struct.error) as error:
        raise damaged from error
    if offsets != 8 or base != 0 or driver != 2**64 - 1:
        raise damaged
    return int(end)
