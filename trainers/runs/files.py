"""Files of a run folder that survive a crash: replaced whole, or appended line by line."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from landscape.errors import RunError
from landscape.files import jsonable

_BLOCK = 1 << 16
# The same form as the temporaries of checkpoints, so that one rule ignores and sweeps both.
_TEMPORARY = (".landscape-", ".partial")


@contextlib.contextmanager
def explained(path: Path, what: str) -> Iterator[None]:
    """Turn an error of the operating system into a `RunError` about `path`."""
    try:
        yield
    except OSError as error:
        raise RunError(
            f"{path}: {what}",
            got=error.strerror or str(error),
            hint="Check the path, its permissions and the space that is left, or choose another folder.",
        ) from error


def folder_path(path: str | Path) -> Path:
    """Return `path` with ``~`` expanded.

    Raises
    ------
    RunError
        If there is no home folder for it, it is empty or holds a NUL, or it is a link to nowhere.
    """
    if not str(path) or "\0" in str(path):
        raise RunError(f"{str(path)!r}: not a path", hint="Name a folder.")
    try:
        folder = Path(path).expanduser()
    except RuntimeError as error:
        raise RunError(f"{path}: no home folder for it", hint="Write the path out.") from error
    with explained(folder, "cannot be looked at"):
        if folder.is_symlink() and not folder.exists():
            raise RunError(f"{folder}: a symbolic link that leads nowhere", hint="Mend or remove the link.")
    return folder


def make_folder(folder: Path) -> list[Path]:
    """Create a folder with its parents, durably; return those that were not there, outermost first."""
    missing: list[Path] = []
    with explained(folder, "the folder cannot be made"):
        place = folder
        while not place.exists():
            missing.insert(0, place)
            place = place.parent
        folder.mkdir(parents=True, exist_ok=True)
        for made in missing:
            sync_folder(made.parent)
    return missing


def sync_folder(folder: Path) -> None:
    """Have the entries of a folder written to the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def is_temporary(name: str) -> bool:
    """Return whether a file of that name is what an interrupted write leaves behind."""
    return name.startswith(_TEMPORARY[0]) and name.endswith(_TEMPORARY[1])


def sweep(folder: Path) -> None:
    """Remove temporaries of processes that were killed; the caller holds the lock."""
    with contextlib.suppress(OSError):
        for path in folder.iterdir():
            if is_temporary(path.name):
                path.unlink(missing_ok=True)


def publish(path: Path, data: bytes) -> None:
    """Replace a file atomically: after the call the new file is there, after a crash the old or the new one.

    Raises
    ------
    RunError
        If it could not be written; the old file is untouched and nothing is left behind.
    """
    token = f"{os.getpid()}-{secrets.token_hex(4)}"
    temporary = path.with_name(f"{_TEMPORARY[0]}{token}{_TEMPORARY[1]}")
    with explained(path, "could not be written"):
        try:
            with temporary.open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
            sync_folder(path.parent)
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)


def read_identity(path: Path) -> dict[str, str]:
    """Return the digests in ``identity.json``, none if it is not there.

    Raises
    ------
    RunError
        If it is not one JSON object.
    """
    with explained(path, "cannot be read"):
        if not path.exists():
            return {}
        data = path.read_bytes()
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise RunError(f"{path}: damaged", expected="one JSON object", hint="Restore the file.")
    return {str(key): str(value) for key, value in found.items()}


def append_rows(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Append one line of strict JSON for each row, and have them on the disk before returning.

    A line that a crash tore is cut off first; a write that fails leaves the file as it was.
    """
    data = b"".join(_line(row) for row in rows)
    if not data:
        return
    with explained(path, "could not be appended to"):
        new = not path.exists()
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            _append(descriptor, data)
        finally:
            os.close(descriptor)
        if new:
            sync_folder(path.parent)


def _append(descriptor: int, data: bytes) -> None:
    end = _end_of_last_line(descriptor)
    if end < os.fstat(descriptor).st_size:
        os.ftruncate(descriptor, end)
    try:
        written = 0
        while written < len(data):
            written += os.pwrite(descriptor, data[written:], end + written)
        os.fsync(descriptor)
    except OSError:
        with contextlib.suppress(OSError):
            os.ftruncate(descriptor, end)
        raise


def _end_of_last_line(descriptor: int) -> int:
    """Return where the last line that is whole ends: what a crash left behind it is cut off.

    A last line that ends in a newline and yet is not JSON (blocks of zeros, after a power loss) is
    torn too.
    """
    end = _newline_before(descriptor, os.fstat(descriptor).st_size)
    while end > 0:
        start = _newline_before(descriptor, end - 1)
        if _is_row(os.pread(descriptor, end - start, start)):
            return end
        if end != _newline_before(descriptor, os.fstat(descriptor).st_size):
            return end  # damage further in is for the reader to report
        end = start
    return 0


def _newline_before(descriptor: int, start: int) -> int:
    """Return the place behind the last newline among the first `start` bytes."""
    while start > 0:
        end, start = start, max(0, start - _BLOCK)
        found = os.pread(descriptor, end - start, start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
    return 0


def _is_row(line: bytes) -> bool:
    try:
        return isinstance(json.loads(line, parse_constant=_refuse_constant), dict)
    except (ValueError, RecursionError):
        return False


def _line(row: Mapping[str, Any]) -> bytes:
    return json.dumps(jsonable(row), sort_keys=True, allow_nan=False).encode() + b"\n"


def read_rows(path: Path) -> list[tuple[bytes, dict[str, Any]]]:
    """Return the lines of a file with the rows they hold; a torn last line is left out.

    Raises
    ------
    RunError
        If any other line is not one JSON object, or the file cannot be read.
    """
    with explained(path, "cannot be read"):
        if not path.exists():
            return []
        *lines, _ = path.read_bytes().split(b"\n")
    rows = []
    for number, line in enumerate(lines, start=1):
        try:
            row = json.loads(line, parse_constant=_refuse_constant)
        except (ValueError, RecursionError):
            row = None
        if isinstance(row, dict):
            rows.append((line + b"\n", row))
        elif number < len(lines):
            hint = "Remove the line, or the file."
            raise RunError(f"{path}, line {number}: damaged", expected="one JSON object per line", hint=hint)
    return rows


def _refuse_constant(name: str) -> Any:
    raise ValueError(name)
