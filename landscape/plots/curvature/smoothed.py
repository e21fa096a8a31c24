"""Figures of derivatives of a smoothed loss: the trace by layer, and entries by size with their errors."""

from __future__ import annotations

from typing import Any

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from landscape.plots.curvature.figures import draw_layers
from landscape.plots.theme import GREY, numbers, style, swatch, tint

__all__ = ["entries_figure", "smoothed_trace_figure"]

_MOST = 1000  # entries that are drawn


def _how(result: Any) -> str:
    return f"Loss smoothed by {result.form} noise of radius {result.radius:.4g}, {result.num_pairs:,} pairs."


def _percent(result: Any) -> str:
    return f"{100 * result.confidence:.4g} %"


def smoothed_trace_figure(result: Any) -> go.Figure:
    """Return the trace, whole and by layer, with its intervals over pairs."""
    fig = make_subplots(rows=1, cols=1)
    caption = f"{_how(result)} Error bars are {_percent(result)} intervals over pairs."
    if result.interval is None:
        caption = f"{_how(result)} No intervals: too few pairs, or none that changes the loss."
    style(fig, title="Trace of the smoothed loss' Hessian", height=420, caption=caption)
    ends = None if result.interval is None else list(result.interval)
    draw_layers(fig, {"all": {"value": result.value, "interval": ends}, **result.per_layer})
    fig.update_layout(showlegend=False)
    return fig


def entries_figure(result: Any) -> go.Figure:
    """Return the entries in ascending order with their intervals; of many, evenly chosen ones."""
    values = np.asarray(result.values, np.float64)
    order = np.argsort(values)
    thin = np.unique(np.linspace(0, len(order) - 1, min(len(order), _MOST)).astype(int))
    chosen = order[thin]
    word = "Gradient" if result.kind == "smoothed_gradient" else "Hessian diagonal"
    known = result.intervals is not None
    band = f"the band is the {_percent(result)} interval over pairs of each" if known else "no intervals"
    caption = f"{_how(result)} Entries in ascending order; {band}."
    title = f"{word} of the smoothed loss"
    fig = style(go.Figure(), title=title, x="rank", height=420, caption=caption)
    if known:
        _band(fig, thin + 1, np.asarray(result.intervals)[chosen])
    look = swatch(1)
    fig.add_scatter(
        x=numbers(thin + 1),
        y=numbers(values[chosen]),
        mode="lines",
        name="entry",
        line={"color": look["color"], "width": 2},
        hovertemplate="rank %{x}: %{y:.4~g}<extra></extra>",
    )
    fig.add_hline(y=0, line={"color": GREY, "width": 1})
    fig.update_yaxes(title_text="entry")
    fig.update_layout(showlegend=False)
    return fig


def _band(fig: go.Figure, at: np.ndarray, ends: np.ndarray) -> None:
    """Draw the intervals as a band."""
    fig.add_scatter(
        x=numbers(np.concatenate([at, at[::-1]])),
        y=numbers(np.concatenate([ends[:, 0], ends[::-1, 1]])),
        mode="lines",
        fill="toself",
        fillcolor=tint(GREY, 0.25),
        line={"width": 0},
        name="interval",
        hoverinfo="skip",
    )
