"""A bar that moves by the work done: every measure has its planned share, even if it takes more or less."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any, TypeVar

from landscape.compute import SILENT, Progress, shown
from landscape.network import PASSES_PER_GRADIENT, Cost

__all__ = ["Meter", "passes_of", "with_bar"]

F = TypeVar("F", bound=Callable[..., Any])


def with_bar(measure: F) -> F:
    """Return a measure that shows its evaluations where its caller wants to see them."""

    @functools.wraps(measure)
    def call(*args: Any, progress: Progress | None = None, **keywords: Any) -> Any:
        progress = shown(progress)
        progress.start(measure.__name__.replace("_", " "))
        try:
            return measure(*args, progress=progress, **keywords)
        finally:
            progress.stop()

    return call  # type: ignore[return-value]  # wraps keeps the signature, which its type does not say


def passes_of(cost: Cost) -> float:
    """Return a cost in forward passes at the usual prices, the unit of the bar."""
    return PASSES_PER_GRADIENT * cost.in_gradients


class Meter:
    """Tells a progress of work in forward passes.

    Attributes
    ----------
    progress : Progress
        Is told of whole passes; a measure that takes more than its share stands still at its end.
    """

    def __init__(self, progress: Progress = SILENT) -> None:
        self.progress = progress
        self._name = ""
        self._share = math.inf
        self._spent, self._told = 0.0, 0

    def begin(self, name: str, cost: Cost) -> None:
        """Begin a measure with its planned share."""
        self._name, self._share = name.replace("_", " "), passes_of(cost)
        self._spent, self._told = 0.0, 0
        self.progress.note(self._name)

    def spend(self, cost: Cost) -> None:
        """Count work that was done."""
        self._spent += passes_of(cost)
        self._tell(min(self._spent, self._share))

    def end(self) -> None:
        """End the measure: the rest of its share is done or was not needed."""
        self._tell(self._share)

    def _tell(self, passes: float) -> None:
        new = math.floor(passes) - self._told
        if new > 0:
            self._told += new
            fields = {"measure": self._name} if self._name else {}
            self.progress.advance(new, **fields)


class Products:
    """A progress for functions of curvature: their steps are products."""

    def __init__(self, meter: Meter) -> None:
        self._meter = meter

    def start(self, label: str, total: int | None = None) -> None:
        """Begin a task: the bar of the whole table stays."""

    def advance(self, n: int = 1, **fields: float | str) -> None:  # noqa: ARG002  the protocol's
        """Count products."""
        self._meter.spend(Cost(products=n))

    def note(self, text: str) -> None:
        """Say what happens now."""

    def stop(self) -> None:
        """End the task: the bar of the whole table stays."""
