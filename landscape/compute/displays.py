"""Progress on standard error, and when: a bar on a terminal, else a plain line now and then.

Analyses called from Python show a bar by themselves where standard error is a terminal. `show_progress` and
the environment variable ``LANDSCAPE_PROGRESS`` can say otherwise, and a `progress` given to a call is used by
it.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from types import TracebackType

from landscape.compute.progress import SILENT, Progress
from landscape.compute.text import fields_text, printable
from landscape.errors import ConfigurationError

__all__ = ["PlainProgress", "make_progress", "on_terminal", "show_progress", "shown"]

INTERVAL = 30.0
VARIABLE = "LANDSCAPE_PROGRESS"
AUTO, ALWAYS, NEVER = "auto", "always", "never"
_MODES = (AUTO, ALWAYS, NEVER)
_chosen: list[str] = []  # the word of the last `show_progress`, if there was one


class show_progress:
    """Decide whether analyses show their progress on standard error.

    Takes effect at once, and until the next call; in a ``with`` statement until its end. Without a call the
    environment variable ``LANDSCAPE_PROGRESS`` decides by the same words, and without that ``"auto"``.

    Parameters
    ----------
    when : {"auto", "always", "never"}
        ``"auto"``: a bar where standard error is a terminal, and nothing under pytest and doctest.
        ``"always"``: a bar or, where standard error is not a terminal, a line every 30 seconds. ``"never"``:
        nothing. True and False stand for the last two.

    Raises
    ------
    ConfigurationError
        If `when` is something else.

    Examples
    --------
    >>> import landscape
    >>> with landscape.show_progress("never"):
    ...     pass  # analyses called here are quiet
    """

    def __init__(self, when: str | bool = AUTO) -> None:
        word = {True: ALWAYS, False: NEVER}[when] if isinstance(when, bool) else when
        self._before = list(_chosen)
        _chosen[:] = [_checked(word, "show_progress")]

    def __enter__(self) -> None:
        """Keep the choice until the end of the ``with`` statement."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Return to the choice before."""
        _chosen[:] = self._before


def _checked(word: object, where: str) -> str:
    if word not in _MODES:
        raise ConfigurationError(f"{where}: not one of its words", expected=", ".join(_MODES), got=repr(word))
    return str(word)


def shown(progress: Progress | None) -> Progress:
    """Return what a call is to tell: the caller's `progress`, or what the setting says where that is None."""
    if progress is not None:
        return progress
    word = _chosen[-1] if _chosen else _checked(os.environ.get(VARIABLE) or AUTO, VARIABLE)
    if word == NEVER or (word == AUTO and (_tested() or not on_terminal())):
        return SILENT
    return make_progress()


def _tested() -> bool:
    """Return whether pytest or doctest runs this: its output is compared or collected."""
    return "PYTEST_CURRENT_TEST" in os.environ or type(sys.stdout).__module__ == "doctest"


def make_progress(write: Callable[[str], None] | None = None) -> Progress:
    """Return what suits standard error: bars on a terminal that can redraw a line, else plain lines.

    Parameters
    ----------
    write : callable, optional
        Takes each plain line; by default it goes to standard error.
    """
    if on_terminal():
        from landscape.compute.bars import BarProgress

        return BarProgress()
    return PlainProgress(write or _write)


def on_terminal() -> bool:
    """Return whether standard error is a terminal that can redraw a line."""
    try:
        return sys.stderr.isatty() and os.environ.get("TERM", "") not in {"dumb", "unknown", ""}
    except (AttributeError, ValueError):
        return False


def _write(text: str) -> None:
    """Write a line; a standard error that is closed or full does not end a computation."""
    try:
        sys.stderr.write(text + "\n")
        sys.stderr.flush()
    except (OSError, ValueError, AttributeError):
        return


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
        write: Callable[[str], None] = _write,
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
        self._line("  ".join([*parts, fields_text(fields)]).rstrip())

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
