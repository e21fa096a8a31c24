"""How long computations report their progress.

Library functions take a `Progress` and print nothing themselves; the default is silent.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

__all__ = ["SILENT", "Progress", "Share"]


@runtime_checkable
class Progress(Protocol):
    """Receives the steps of one task after another; `start` ends the task before it.

    Calls may come from several threads, but never two at once.
    """

    def start(self, label: str, total: int | None = None) -> None:
        """Begin a task of `total` steps (None if unknown)."""

    def advance(self, n: int = 1, **fields: float | str) -> None:
        """Count `n` more steps; `fields` (``loss=0.3``) are shown beside them."""

    def note(self, text: str) -> None:
        """Say what happens now, ``"compiling"`` for instance; shown until the next step."""

    def stop(self) -> None:
        """End the task, finished or not; calling it again does no harm."""


class _Silent:
    def start(self, label: str, total: int | None = None) -> None:
        pass

    def advance(self, n: int = 1, **fields: float | str) -> None:
        pass

    def note(self, text: str) -> None:
        pass

    def stop(self) -> None:
        pass


SILENT: Progress = _Silent()


class Share:
    """The progress of one part of a task: it moves the bar of the whole by its planned share.

    A part that takes more steps than planned stands still at the end of its share; one that takes fewer jumps
    there when it stops.

    Parameters
    ----------
    whole : Progress
        Of the task, started by its owner.
    planned : int
        Steps of the whole that this part is worth.
    """

    def __init__(self, whole: Progress, planned: int) -> None:
        self._whole, self._left = whole, planned

    def start(self, label: str, total: int | None = None) -> None:  # noqa: ARG002  the protocol's
        """Say what the part is."""
        self._whole.note(label)

    def advance(self, n: int = 1, **fields: float | str) -> None:
        """Count steps, up to the share."""
        counted = min(n, self._left)
        self._left -= counted
        self._whole.advance(counted, **fields)

    def note(self, text: str) -> None:
        """Say what happens now."""
        self._whole.note(text)

    def stop(self) -> None:
        """Count what is left of the share."""
        self._whole.advance(self._left)
        self._left = 0
