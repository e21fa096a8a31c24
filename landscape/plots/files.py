"""Pages and their data, written so that the old file or the whole new one is there."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterable
from pathlib import Path

from landscape.errors import InputError, OutputExistsError


def check_targets(paths: Iterable[Path], *, force: bool) -> None:
    """Refuse, before anything is written, files that exist or cannot be written.

    Raises
    ------
    OutputExistsError
        If a file is there and `force` is false.
    InputError
        If one of them is a folder.
    """
    for path in paths:
        if os.path.isdir(path):  # noqa: PTH112  unlike Path.is_dir, False for a name too long
            raise InputError(f"{path}: is a folder", expected="the name of a file", hint="Name a file in it.")
        if os.path.lexists(path) and not force:
            raise OutputExistsError(
                f"{path}: already exists",
                expected="a name that is free",
                hint="Give force (--force) to replace it.",
            )


def write_text(path: Path, text: str) -> Path:
    """Write `text` as UTF-8; parts of undecodable file names become visible escapes."""
    return write_bytes(path, text.encode("utf-8", "backslashreplace"))


def write_bytes(path: Path, data: bytes) -> Path:
    """Write a file by way of a temporary one in the same folder.

    Raises
    ------
    InputError
        If the folder cannot be made or the file cannot be written; nothing is left behind.
    """
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=".landscape-", suffix=".partial")
        temporary = Path(name)
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
    except OSError as error:
        raise InputError(
            f"{path}: could not be written",
            got=error.strerror or type(error).__name__,
            hint="Choose another folder, or make room.",
        ) from error
    finally:
        if temporary is not None:
            with contextlib.suppress(OSError):
                temporary.unlink()
    return path


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
