"""Series over pruning levels: checked, averaged over runs, and set on the axis they share."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go

from landscape.errors import InputError
from landscape.plots.text import label, visible
from landscape.plots.theme import level_ticks, numbers, tint
from landscape.results import FEW_SEEDS, mean_interval

__all__ = [
    "BAND",
    "FEW_SEEDS",
    "Ends",
    "Rows",
    "add_band",
    "add_heading",
    "checked_densities",
    "ends_of",
    "error_bars",
    "in_brackets",
    "interval_text",
    "mean_at",
    "percent",
    "prepared",
    "remaining_axis",
]

Ends = list[tuple[float | None, float | None]]
Rows = list[list[float | None]]


def prepared(curve: Mapping[str, Any], key: str = "values") -> tuple[str, list[float], Rows, Ends]:
    """Return name, densities, rows of values and interval ends of a curve, checked."""
    name = visible(curve["name"])
    densities = checked_densities(curve["densities"], name)
    values = curve[key]
    nested = len(values) > 0 and hasattr(values[0], "__len__")
    rows = [numbers(row) for row in values] if nested else [numbers(values)]
    for row in rows:
        if len(row) != len(densities):
            raise InputError(
                f"curve {name!r}: a seed's values do not fit the densities",
                expected=f"{len(densities)} values",
                got=str(len(row)),
            )
    return name, densities, rows, ends_of(curve.get("interval"), rows, name)


def checked_densities(values: Any, name: str) -> list[float]:
    """Return densities as positive numbers; anything else is refused by the name of its curve."""
    densities = [value for value in numbers(values) if value is not None and value > 0]
    if len(densities) != len(values):
        raise InputError(
            f"curve {name!r}: densities on a log axis", expected="positive numbers", got=str(list(values))
        )
    return densities


def ends_of(interval: Any, rows: Rows, name: str) -> Ends:
    """Return the given interval, or that of the mean over enough seeds, or nothing."""
    count = len(rows[0]) if rows else 0
    if interval is not None:
        if len(interval) != count:
            raise InputError(f"curve {name!r}: interval", expected=f"{count} pairs", got=str(len(interval)))
        pairs = [numbers(pair) if pair is not None else [None, None] for pair in interval]
        return [(pair[0], pair[1]) for pair in pairs]
    if len(rows) < FEW_SEEDS:
        return [(None, None)] * count
    columns = [[row[k] for row in rows if row[k] is not None] for k in range(count)]
    return [mean_interval([v for v in column if v is not None]) or (None, None) for column in columns]


def mean_at(rows: Rows, k: int) -> float | None:
    """Return the mean over rows of the values at position `k` that are known, or None."""
    known = [value for row in rows if (value := row[k]) is not None]
    return math.fsum(known) / len(known) if known else None


def error_bars(
    values: Sequence[float | None],
    ends: Sequence[Sequence[float | None]],
    *,
    color: str,
    thickness: float = 1.2,
    width: float = 3,
) -> dict[str, Any]:
    """Return the error bars of markers from the ends of their intervals; none where an end is missing."""
    halves = [
        (0.0, 0.0)
        if value is None or low is None or high is None
        else (max(high - value, 0.0), max(value - low, 0.0))
        for value, (low, high) in zip(values, ends, strict=True)
    ]
    return {
        "type": "data",
        "symmetric": False,
        "array": [above for above, _ in halves],
        "arrayminus": [below for _, below in halves],
        "color": color,
        "thickness": thickness,
        "width": width,
    }


def add_band(
    fig: go.Figure, points: Sequence[tuple[float, float, float]], name: str, *, color: str, **more: Any
) -> None:
    """Draw a band through (x, low, high) as one closed outline; nothing where there are no points.

    It is marked as a band, so that no table takes its outline for data.
    """
    if not points:
        return
    back = points[::-1]
    fig.add_scatter(
        x=[*(x for x, *_ in points), *(x for x, *_ in back)],
        y=[*(high for *_, high in points), *(low for _, low, _ in back)],
        **{**BAND, "fillcolor": tint(color, 0.16), "name": name, "showlegend": False, **more},
    )


BAND = {"mode": "lines", "fill": "toself", "line": {"width": 0}, "hoverinfo": "skip", "meta": "band"}


def add_heading(fig: go.Figure, text: str, *, row: int, shift: int = 0) -> None:
    """Name a panel above its upper left corner; `text` is a label of Plotly's."""
    fig.add_annotation(
        text=f"<b>{text}</b>",
        x=0,
        y=1,
        xref="x domain",
        yref="y domain",
        xanchor="left",
        yanchor="bottom",
        yshift=shift,
        showarrow=False,
        font={"size": 13.5},
        row=row,
        col=1,
    )


def interval_text(ends: Sequence[Sequence[float | None]], key: str = "95 % interval") -> str:
    """Return the line of a hover that gives the interval in ``customdata``; empty where none is known."""
    known = any(low is not None for low, _ in ends)
    return f"<br>{label(key)} [%{{customdata[1]:.4~g}}, %{{customdata[2]:.4~g}}]" if known else ""


def in_brackets(interval: Any) -> str:
    """Return `` [low, high]`` to follow a value; empty where an end is not known."""
    low, high = numbers(interval) or (None, None)
    return "" if low is None or high is None else f" [{low:.3g}, {high:.3g}]"


def percent(densities: Sequence[float]) -> list[float]:
    """Return densities in per cent."""
    return [100 * density for density in densities]


def remaining_axis(fig: go.Figure, densities: Sequence[float], **where: int) -> None:
    """Make the horizontal axis: percentages, log, dense networks at the left as in the literature.

    `where` (row and col) names one subplot; without it all are meant.
    """
    percents = percent(densities) or [100.0]
    low, high = min(percents), max(percents)
    fig.update_xaxes(
        type="log",
        range=[math.log10(high * 1.12), math.log10(low / 1.12)],
        **level_ticks(percents),
        tickangle=0,
        title_text="weights remaining",
        **where,
    )
