"""Progress on standard error: bars on a terminal, else a plain line now and then."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable

from cli.shared.streams import printable, write_err
from cli.shared.text import describe_fields
from landscape.compute import SILENT, Progress

INTERVAL = 30.0


def make_progress(*, quiet: bool) -> Progress:
    """Return what suits the stream: nothing if `quiet`, bars on a capable terminal, else plain lines."""
    if quiet:
        return SILENT
    if on_terminal():
        from cli.shared.bars import BarProgress

        return BarProgress()
    return PlainProgress()


def on_terminal() -> bool:
    """Return whether standard error is a terminal that can redraw a line."""
    try:
        return sys.stderr.isatty() and os.environ.get("TERM", "") not in {"dumb", "unknown", ""}
    except (AttributeError, ValueError):
        return False


class PlainProgress:
    """At most one line every `interval` seconds; the first comes at once.

    Parameters
    ----------
    write : callable
        Takes each line.
    clock : callable
        Returns seconds.
    interval : float
        Seconds between lines.
    """

    def __init__(
        self,
        write: Callable[[str], None] = write_err,
        clock: Callable[[], float] = time.monotonic,
        interval: float = INTERVAL,
    ) -> None:
        self._write, self._clock, self._interval = write, clock, interval
        self._last: float | None = None
        self._total: int | None = None
        self._label, self._done, self._began = "", 0, 0.0

    def start(self, label: str, total: int | None = None) -> None:
        """Begin a task."""
        self._label, self._total = printable(label), total
        self._done, self._began = 0, self._clock()
        self._line("started")

    def advance(self, n: int = 1, **fields: float | str) -> None:
        """Count steps."""
        self._done += n
        elapsed = self._clock() - self._began
        rate = self._done / elapsed if elapsed > 0 else 0.0
        parts = [f"{self._done:,}" if self._total is None else f"{self._done:,}/{self._total:,}"]
        if rate > 0:
            parts.append(f"{rate:.3g}/s")
            if self._total is not None:
                parts.append(f"{max(0.0, (self._total - self._done) / rate):.0f} s left")
        self._line("  ".join([*parts, describe_fields(fields)]).rstrip())

    def note(self, text: str) -> None:
        """Say what happens now."""
        self._line(printable(text))

    def stop(self) -> None:
        """End the task."""

    def _line(self, text: str) -> None:
        now = self._clock()
        if self._last is None or now - self._last >= self._interval:
            self._last = now
            self._write(f"{self._label}: {text}" if self._label else text)
