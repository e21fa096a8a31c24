"""The loss along lines through a network, and how it rises over random planes."""

from __future__ import annotations

from typing import Any

import numpy as np
import plotly.graph_objects as go

from landscape.plots.text import label, shorten
from landscape.plots.theme import COLORS, numbers, style, swatch, tint, wide_range

__all__ = ["FEW", "line_figure", "spread_figure"]

FEW = 4  # lines drawn one by one with a name each
_NAME = 24


def line_figure(line: Any) -> go.Figure:
    """Return the loss along each line; of many random ones the mean with the range over the lines.

    Parameters
    ----------
    line : LossLine
        Only its fields are read.
    """
    loss = np.asarray(line.losses[line.split]["loss"], np.float64)
    x = list(map(float, line.x))
    fig = go.Figure()
    style(
        fig, title=f"Loss along lines through {shorten(line.origin, _NAME)}", x="x", y=f"loss, {line.split}"
    )
    if len(loss) <= FEW:
        for number, (name, row) in enumerate(zip(line.direction_names, loss, strict=True)):
            _draw_line(fig, (x, row, np.asarray(line.standard_error)[number]), name, number)
    else:
        _draw_range(fig, x, loss)
    for name, anchor in line.anchors.items():
        fig.add_scatter(
            x=[float(anchor["x"])],
            y=[float(anchor["loss"])],
            mode="markers",
            name=label(shorten(name, _NAME)),
            marker={"symbol": "star" if name == line.origin else "circle", "size": 13, "color": COLORS[1]},
        )
    if wide_range(value for row in loss for value in numbers(row)):
        fig.update_yaxes(type="log")
    return fig


def _draw_line(
    fig: go.Figure, values: tuple[list[float], np.ndarray, np.ndarray], name: str, number: int
) -> None:
    x, row, error = values
    look = swatch(number)
    low, high = numbers(row - 1.96 * error), numbers(row + 1.96 * error)
    group = f"line {number}"
    for ends, fill in ((high, None), (low, "tonexty")):
        fig.add_scatter(
            x=x,
            y=ends,
            mode="lines",
            line={"width": 0},
            fill=fill,
            fillcolor=tint(look["color"], 0.18),
            showlegend=False,
            hoverinfo="skip",
            legendgroup=group,
            meta="band",
        )
    fig.add_scatter(
        x=x,
        y=numbers(row),
        mode="lines",
        name=label(shorten(name, 48)),
        line={"color": look["color"], "dash": look["dash"], "width": 2.2},
        customdata=[[v, a, b, None] for v, a, b in zip(numbers(row), low, high, strict=True)],
        hovertemplate="x %{x:.4g}<br>loss %{y:.4g}<extra></extra>",
        legendgroup=group,
    )


def _draw_range(fig: go.Figure, x: list[float], loss: np.ndarray) -> None:
    with np.errstate(invalid="ignore"):
        mean, low, high = loss.mean(axis=0), loss.min(axis=0), loss.max(axis=0)
    for ends, fill in ((numbers(high), None), (numbers(low), "tonexty")):
        fig.add_scatter(
            x=x,
            y=ends,
            mode="lines",
            line={"width": 0},
            fill=fill,
            fillcolor=tint(COLORS[0], 0.18),
            showlegend=False,
            hoverinfo="skip",
            meta="band",
        )
    fig.add_scatter(
        x=x,
        y=numbers(mean),
        mode="lines",
        name=f"mean of {len(loss)} lines; band: lowest to highest",
        line={"color": COLORS[0], "width": 2.4},
        customdata=[
            [m, a, b, None] for m, a, b in zip(numbers(mean), numbers(low), numbers(high), strict=True)
        ],
        hovertemplate="x %{x:.4g}<br>mean %{y:.4g}<extra></extra>",
    )


def spread_figure(surface: Any) -> go.Figure:
    """Return how the loss rises with the distance from the network, by random plane.

    Points of the grid are grouped by their distance in units of the directions; each line is the mean over a
    ring of one plane, so that lines that differ show what a single plane hides.
    """
    planes = np.asarray(surface.planes, np.float64)
    x, y = np.meshgrid(np.asarray(surface.x), np.asarray(surface.y), indexing="ij")
    radius = np.hypot(x, y)
    edges = np.linspace(0, radius.max(), max(6, min(planes.shape[1:]) // 2) + 1)
    ring = np.clip(np.digitize(radius, edges) - 1, 0, len(edges) - 2)
    fig = go.Figure()
    style(
        fig,
        title="Loss against the distance from the network, per random plane",
        x="distance, in units of the directions",
        y=f"mean loss of a ring, {surface.split}",
        height=400,
    )
    for number, plane in enumerate(planes):
        kept = [k for k in range(len(edges) - 1) if np.any(ring == k)]
        means = [float(plane[ring == k].mean()) for k in kept]
        look = swatch(number)
        fig.add_scatter(
            x=[float(radius[ring == k].mean()) for k in kept],
            y=numbers(means),
            mode="lines+markers",
            name=f"plane {number + 1}",
            line={"color": look["color"], "dash": look["dash"], "width": 2},
            marker={"symbol": look["symbol"], "size": 7},
            hovertemplate="distance %{x:.3g}<br>loss %{y:.4g}<extra></extra>",
        )
    return fig
