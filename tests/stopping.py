"""A progress bar that ends a computation half way, as a signal would."""

from __future__ import annotations


class Stopped(Exception):
    """Ends a computation half way."""


class Stopping:
    """Raises `Stopped` once more than `after` steps were reported."""

    def __init__(self, after: int) -> None:
        self.left = after

    def start(self, label: str, total: int | None = None) -> None:
        pass

    def advance(self, n: int = 1, **fields: float | str) -> None:
        self.left -= n
        if self.left < 0:
            raise Stopped

    def note(self, text: str) -> None:
        pass

    def stop(self) -> None:
        pass
