"""A log axis for quantities that may be zero: values at or below the floor are drawn on it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable
from typing import Any

from landscape.plots.series import error_bars
from landscape.plots.theme import log_ticks, power_text

_MOST_ON_FLOOR = 0.25  # of the values
_DECADES = 4  # below the largest value; smaller ones are rounding, not barriers


@dataclasses.dataclass(frozen=True)
class Scale:
    """A linear axis (`floor` is None), or a log axis whose lowest position is `floor`."""

    floor: float | None
    top: float
    bottom: float = 0.0

    @classmethod
    def of(cls, values: Iterable[float | None], highs: Iterable[float | None] = ()) -> Scale:
        """Choose: log where the positive values span more than two decades, and few others are there.

        Many zeros on the floor of a log axis would look like a plunge; `highs`, the upper ends of
        intervals, only need to be inside.
        """
        known = [value for value in values if value is not None]
        positive = [value for value in known if value > 0]
        top = max([*known, *(high for high in highs if high is not None)], default=1.0)
        crowded = len(known) - len(positive) > _MOST_ON_FLOOR * len(known)
        if not positive or crowded or min(known) < -0.01 * top or max(positive) / min(positive) <= 100:
            return cls(floor=None, top=top, bottom=min([0.0, *known]))
        lowest = max(min(positive), top * 10.0**-_DECADES)
        return cls(floor=10.0 ** math.floor(math.log10(lowest)), top=top)

    def place(self, value: float | None) -> float | None:
        """Return where a value is drawn."""
        return value if value is None or self.floor is None else max(value, self.floor)

    def floored(self, value: float | None) -> bool:
        """Return whether a value is at or below the floor, and so drawn on it."""
        return value is not None and self.floor is not None and value < self.floor

    def axis(self) -> dict[str, Any]:
        """Return the settings of the axis."""
        if self.floor is None:
            span = (self.top - self.bottom) or 1.0
            return {"range": [self.bottom - 0.04 * span, self.bottom + 1.06 * span]}
        high = self.top * 1.6
        ticks = [tick for tick in log_ticks(self.floor, high, steps=(1,)) if tick > self.floor]
        names = [f"≤ {power_text(self.floor)}", *map(power_text, ticks)]
        return {
            "type": "log",
            "range": [math.log10(self.floor / 1.4), math.log10(high)],
            "tickvals": [self.floor, *ticks],
            "ticktext": names,
        }

    def error_bars(
        self, values: list[float | None], ends: list[tuple[Any, Any]], color: str
    ) -> dict[str, Any]:
        """Return asymmetric error bars from the drawn positions to the drawn ends."""
        drawn = [(self.place(low), self.place(high)) for low, high in ends]
        return error_bars([self.place(value) for value in values], drawn, color=color)
