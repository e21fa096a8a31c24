"""Standard streams that never end in a traceback: closed, full, broken or of a small character set."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from typing import TextIO

from landscape.compute import printable
from landscape.errors import InputError

__all__ = ["prepare", "printable", "printable_lines", "silence", "write_err", "write_out"]


def prepare() -> None:
    """Make the standard streams usable, whatever this process inherited.

    Closed descriptors are filled with the null device first: otherwise the next file opened, a
    checkpoint for instance, would get number 1 or 2 and collect our messages.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    if sys.stdout is None:
        sys.stdout = _null()
    if sys.stderr is None:
        sys.stderr = _null()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError, ValueError, OSError):
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]


def _null() -> TextIO:
    return open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123  lives as long as the process


def printable_lines(text: str) -> str:
    """Return `text` escaped as by `printable`, its line breaks kept."""
    return "\n".join(printable(line) for line in text.split("\n"))


def silence(stream: TextIO) -> None:
    """Point a broken stream at the null device, so that flushing it at exit says nothing."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)


def write_out(text: str) -> None:
    """Write the result of a command to standard output.

    A reader that went away (``| head``) is not an error.

    Raises
    ------
    InputError
        If standard output cannot take the text for another reason, a full disk for instance.
    """
    try:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()
    except BrokenPipeError:
        silence(sys.stdout)
    except OSError as error:
        silence(sys.stdout)
        if error.errno != errno.EBADF:
            raise InputError(
                f"standard output: {error.strerror or error}",
                hint="The result was not printed: make room, or send it elsewhere.",
            ) from error


def write_err(text: str) -> None:
    """Write a message to standard error; where it is closed, say nothing."""
    try:
        sys.stderr.write(text + "\n")
        sys.stderr.flush()
    except (OSError, ValueError):
        silence(sys.stderr)
