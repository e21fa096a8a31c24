"""Returns, lengths and paired differences: one mark per episode, and the mean with its interval."""

from __future__ import annotations

from typing import Any

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from landscape.plots.names import short_names
from landscape.plots.text import label
from landscape.plots.theme import GREY, INK, numbers, style, swatch, tint

__all__ = ["draw_strip", "returns_figure", "strip_caption"]

_MOST = 1000  # marks per policy
_SPREAD = 0.28  # of marks across their row, in rows


def strip_caption(result: Any) -> str:
    """Return what the marks of `draw_strip` are."""
    level = f"{100 * float(result.config.get('confidence') or 0.95):.4g} %"
    count = len(result.seeds)
    every = "one mark per episode" if count <= _MOST else f"{_MOST:,} of {count:,} episodes, evenly by rank"
    known = np.isfinite(np.asarray(result.intervals, float)).all()
    bars = f"its {level} interval over episodes" if known else "without an interval: too few episodes"
    return f"Returns: {every}; the bar is the mean with {bars}."


def returns_figure(result: Any) -> go.Figure:
    """Return the returns and lengths of all episodes, and of two policies the paired differences."""
    two = result.difference is not None and len(result.returns) == 2
    count = 3 if two else 2
    heights = [len(result.names)] * 2 + ([1] if two else [])
    fig = make_subplots(rows=count, cols=1, row_heights=heights, vertical_spacing=0.3 / count)
    draw_strip(fig, result, "returns", row=1)
    draw_strip(fig, result, "lengths", row=2)
    said = f"{strip_caption(result)} Marks at the limit of {result.episode_length:,} steps did not end early."
    if two:
        _draw_differences(fig, result)
        said += " The difference is that of the same seed: second minus first."
    height = 150 + 66 * sum(heights) + 46 * count
    style(fig, title="Returns and lengths of all episodes", height=height, caption=said)
    for row, name in enumerate(("return", "steps", "difference of returns")[:count], start=1):
        fig.update_xaxes(title_text=name, row=row, col=1)
    fig.update_xaxes(range=[0, 1.04 * result.episode_length], row=2, col=1)
    fig.update_layout(showlegend=False)
    return fig


def draw_strip(fig: go.Figure, result: Any, field: str, *, row: int) -> None:
    """Draw the episodes of every policy as marks in a row of its own; of returns also mean and interval."""
    names = short_names(result.names)
    for place, (name, values) in enumerate(zip(names, getattr(result, field), strict=True)):
        color = swatch(place)["color"]
        _marks(fig, np.asarray(values, np.float64), place, name, row=row)
        if field == "returns":
            _mean(fig, (result.means[place], *result.intervals[place]), place, color=color, row=row)
    _rows_of(fig, names, row=row)


def _draw_differences(fig: go.Figure, result: Any) -> None:
    pairs = np.asarray(result.returns[1], np.float64) - np.asarray(result.returns[0], np.float64)
    _marks(fig, pairs, 0, "second − first", row=3, color=INK)
    ends = result.interval_difference or (np.nan, np.nan)
    _mean(fig, (result.difference, *ends), 0, color=INK, row=3)
    fig.add_vline(x=0, line={"color": GREY, "width": 1}, row=3, col=1)
    _rows_of(fig, ["second − first"], row=3)


def _rows_of(fig: go.Figure, names: list[str], *, row: int) -> None:
    """Make the vertical axis rows without ticks, each with its name above it."""
    count = len(names)
    fig.update_yaxes(
        range=[count - 0.4, -0.6], showticklabels=False, ticks="", showgrid=False, row=row, col=1
    )
    if count > 1:
        for place, name in enumerate(names):
            fig.add_annotation(
                text=label(name),
                x=0,
                xref="x domain",
                y=place - 0.42,
                xanchor="left",
                showarrow=False,
                font={"size": 12.5, "color": swatch(place)["color"]},
                row=row,
                col=1,
            )


def _marks(
    fig: go.Figure, values: np.ndarray, place: int, name: str, *, row: int, color: str | None = None
) -> None:
    """Draw the finite values, spread across their row by the golden ratio so that equal ones part."""
    known = np.sort(values[np.isfinite(values)])
    if len(known) > _MOST:
        known = known[np.linspace(0, len(known) - 1, _MOST).astype(int)]
    phase = (np.arange(len(known)) * 0.618034) % 1.0 - 0.5
    color = color or swatch(place)["color"]
    fig.add_scatter(
        x=numbers(known),
        y=numbers(place + 0.08 + _SPREAD * phase),
        mode="markers",
        name=label(name),
        marker={"color": tint(color, 0.45), "size": 6, "symbol": swatch(place)["symbol"]},
        hovertemplate="%{x:.4~g}<extra></extra>",
        showlegend=False,
        meta="band",  # all of them, with their seeds, stand in the table of episodes
        row=row,
        col=1,
    )


def _mean(fig: go.Figure, found: tuple[Any, ...], place: int, *, color: str, row: int) -> None:
    """Draw a mean with its interval, as far as they are known, below the marks."""
    value, low, high = numbers(found)
    if value is None:
        return
    bars = {"type": "data", "symmetric": False, "color": color, "thickness": 2.5, "width": 7}
    if low is not None and high is not None:
        bars |= {"array": [max(high - value, 0.0)], "arrayminus": [max(value - low, 0.0)]}
    fig.add_scatter(
        x=[value],
        y=[place + 0.36],
        mode="markers",
        name="mean",
        error_x=bars if low is not None and high is not None else None,
        marker={"color": color, "size": 10, "symbol": "line-ns-open", "line": {"width": 3}},
        customdata=[[value, low, high, None]],
        showlegend=False,
        meta={"horizontal": True},
        hovertemplate="mean %{x:.4~g}<extra></extra>",
        row=row,
        col=1,
    )
