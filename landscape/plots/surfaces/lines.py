"""The loss along lines through a network, and how it rises over random planes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import plotly.graph_objects as go

from landscape.plots.names import direction_text, names_on
from landscape.plots.series import add_band
from landscape.plots.text import label
from landscape.plots.theme import COLORS, log_axis, numbers, style, swatch, wide_range

__all__ = ["line_figure", "spread_figure"]

_FEW = 4  # lines drawn one by one with a name each
_LINES = (
    "★ is the network at the origin, ● are others on the line. Bands are ±1.96 standard errors of the "
    "difference from the origin, over the examples."
)
_MANY = (
    "★ is the network at the origin. The line is the mean over all directions; the band is their range, "
    "the lowest to the highest loss."
)
_SPREAD = "Each line is one random plane: the mean loss of the grid points at about that distance."


def line_figure(line: Any) -> go.Figure:
    """Return the loss along each line; of many random ones the mean with the range over the lines.

    Parameters
    ----------
    line : LossLine
        Only its fields are read.
    """
    loss = np.asarray(line.losses[line.split]["loss"], np.float64)
    x = list(map(float, line.x))
    short = names_on(line)
    title = f"Loss along lines through {short[line.origin]}"
    few = len(loss) <= _FEW
    x_name, y_name = "x, in units of the direction", f"loss, {line.split}"
    fig = style(go.Figure(), title=title, x=x_name, y=y_name, caption=_LINES if few else _MANY)
    if few:
        for number, (name, row) in enumerate(zip(line.direction_names, loss, strict=True)):
            error = np.asarray(line.standard_error)[number]
            _draw_line(fig, (x, row, error), direction_text(name, short), number)
    else:
        _draw_range(fig, x, loss)
    _draw_networks(fig, line, short)
    known = [value for row in loss for value in numbers(row) if value is not None]
    if wide_range(known):
        fig.update_yaxes(**log_axis(min(known), max(known)))
        _keep_positive(fig, min(known))
    return fig


def _keep_positive(fig: go.Figure, least: float) -> None:
    """Let bands that reach zero end below a logarithmic axis instead of nowhere."""
    fig.for_each_trace(
        lambda trace: trace.update(y=[max(value, 1e-3 * least) for value in trace.y]),
        selector={"meta": "band"},
    )


def _draw_networks(fig: go.Figure, line: Any, short: Mapping[str, str]) -> None:
    for name, anchor in line.anchors.items():
        fig.add_scatter(
            x=[float(anchor["x"])],
            y=numbers([anchor["loss"]]),
            mode="markers",
            name=label(short[name]),
            marker={"symbol": "star" if name == line.origin else "circle", "size": 13, "color": COLORS[1]},
            hovertemplate=label(short[name]) + "<br>its own loss %{y:.4g}<extra></extra>",
        )


def _band(x: list[float], low: np.ndarray, high: np.ndarray) -> list[tuple[float, float, float]]:
    """Return the points of a band that are finite."""
    ends = zip(x, numbers(low), numbers(high), strict=True)
    return [(at, a, b) for at, a, b in ends if a is not None and b is not None]


def _draw_line(
    fig: go.Figure, values: tuple[list[float], np.ndarray, np.ndarray], name: str, number: int
) -> None:
    x, row, error = values
    look = swatch(number)  # a direction is not a method
    low, high = row - 1.96 * error, row + 1.96 * error
    group = f"line {number}"
    add_band(fig, _band(x, low, high), group, color=look["color"], legendgroup=group)
    fig.add_scatter(
        x=x,
        y=numbers(row),
        mode="lines",
        name=label(name),
        line={"color": look["color"], "dash": look["dash"], "width": 2.2},
        customdata=_with_ends(row, low, high),
        hovertemplate="x %{x:.4g}<br>loss %{y:.4g}<extra></extra>",
        legendgroup=group,
    )


def _with_ends(values: np.ndarray, low: np.ndarray, high: np.ndarray) -> list[list[float | None]]:
    """Return what the table of the figure says of each point: value, low, high."""
    columns = zip(numbers(values), numbers(low), numbers(high), strict=True)
    return [[value, a, b, None] for value, a, b in columns]


def _draw_range(fig: go.Figure, x: list[float], loss: np.ndarray) -> None:
    with np.errstate(invalid="ignore"):
        mean, low, high = loss.mean(axis=0), loss.min(axis=0), loss.max(axis=0)
    add_band(fig, _band(x, low, high), "range", color=COLORS[0])
    fig.add_scatter(
        x=x,
        y=numbers(mean),
        mode="lines",
        name=f"mean of {len(loss)} lines",
        line={"color": COLORS[0], "width": 2.4},
        customdata=_with_ends(mean, low, high),
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
    kept = [k for k in range(len(edges) - 1) if np.any(ring == k)]
    fig = style(
        go.Figure(),
        title="Loss against the distance from the network, per random plane",
        x="distance, in units of the directions",
        y=f"mean loss of a ring, {surface.split}",
        height=400,
        caption=_SPREAD,
    )
    for number, plane in enumerate(planes):
        look = swatch(number)
        fig.add_scatter(
            x=[float(radius[ring == k].mean()) for k in kept],
            y=numbers([float(plane[ring == k].mean()) for k in kept]),
            mode="lines+markers",
            name=f"plane {number + 1}",
            line={"color": look["color"], "dash": look["dash"], "width": 2},
            marker={"symbol": look["symbol"], "size": 7},
            hovertemplate="distance %{x:.3g}<br>loss %{y:.4g}<extra></extra>",
        )
    return fig
