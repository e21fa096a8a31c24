"""How long computations report their progress.

Library functions take a `Progress` and print nothing themselves; the default is silent.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

__all__ = ["SILENT", "Progress"]


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
