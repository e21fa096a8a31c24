"""Which format a file is of, and the module that reads it."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import cast

from landscape.errors import ConfigurationError, did_you_mean
from landscape.files.formats.entries import HEAD, Format, opened
from landscape.files.formats.register import FORMATS


def format_of(kind: str) -> Format:
    """Return the module that reads a kind of file.

    Raises
    ------
    ConfigurationError
        If there is none.
    """
    if kind not in FORMATS:
        raise ConfigurationError(
            f"format {kind!r}: unknown",
            expected="one of " + ", ".join(FORMATS),
            hint=did_you_mean(kind, FORMATS) or "Leave it out: the file's name and first bytes decide.",
        )
    return cast(Format, importlib.import_module(f"landscape.files.formats.{FORMATS[kind]}"))


def kind_of(path: Path) -> str | None:
    """Return the kind of a file or folder: by what it holds, else by its name; None if unknown."""
    head = b""
    if not path.is_dir():
        with opened(path) as stream:
            head = stream.read(HEAD)
    known = {kind: format_of(kind) for kind in FORMATS}
    held = next((kind for kind, reader in known.items() if reader.recognises(path, head)), None)
    return held or next(
        (kind for kind, reader in known.items() if path.suffix.lower() in reader.SUFFIXES), None
    )


def suffixes() -> tuple[str, ...]:
    """Return the suffixes of all formats."""
    return tuple(suffix for kind in FORMATS for suffix in format_of(kind).SUFFIXES)
