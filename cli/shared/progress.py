"""The progress of a command on standard error."""

from __future__ import annotations

from cli.shared.streams import write_err
from landscape.compute import SILENT, PlainProgress, Progress, make_progress as display, on_terminal

__all__ = ["PlainProgress", "make_progress", "on_terminal"]


def make_progress(*, quiet: bool) -> Progress:
    """Return what suits the stream: nothing if `quiet`, bars on a capable terminal, else plain lines."""
    return SILENT if quiet else display(write_err)
