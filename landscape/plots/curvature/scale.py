"""The figure of a search distribution's precision against the curvature."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from landscape.plots.names import short_names
from landscape.plots.series import error_bars, interval_text
from landscape.plots.text import label, shorten, wrapped_label
from landscape.plots.theme import INK, NETWORKS, log_axis, numbers, style, style_of, tint

__all__ = ["scale_figure"]

_MOST_DECADES = 5  # that a phone has room for
_SMALLEST = 1e-8  # of the largest diagonal entry: smaller ones are rounding
_MOST_LAYERS = 12
_FIRST, _EACH, _GAP, _MARGINS = (
    300,
    190,
    84,
    150,
)  # pixels: panels of all, of a layer, between them, around all
_CAPTION = (
    "First panel: rank correlation by level; filled markers are means over networks with Student's 95 % "
    "interval, open ones the networks. Panels below it: the same means within one layer. Last panel: each "
    "point is a parameter of the network whose precision follows its curvature most."
)

Entry = Mapping[str, Any]


def scale_figure(result: Any) -> go.Figure:
    """Return the rank correlation of every method by level and layer, and the parameters of one network.

    Colour, dash and marker are the method's; the level is a place on the axis.

    Parameters
    ----------
    result : ScaleCurvature
        Only its fields are read.
    """
    networks = [record for record in result.records if record["layer"] == "all"]
    layers = list(dict.fromkeys(str(found["layer"]) for found in result.summary if found["layer"] != "all"))
    shown = ["all", *layers[:_MOST_LAYERS]]
    fig = _panels(["All parameters", *shown[1:], "Each parameter"])
    noisy = "" if result.method == "exact" else " (not corrected for noise)"
    fig.update_yaxes(title_text=f"rank correlation{noisy}", row=1, col=1)
    for method in dict.fromkeys(_method(found) for found in result.summary):
        own = [found for found in result.summary if _method(found) == method]
        _networks(fig, [record for record in networks if _method(record) == method], method)
        for row, layer in enumerate(shown, 1):
            _means(fig, [found for found in own if found["layer"] == layer], method, row=row)
    levels = sorted({found["level"] for found in result.summary if found.get("level") is not None})
    order = {"type": "category", "categoryorder": "array", "categoryarray": [*map(str, levels), NETWORKS]}
    for row in range(1, len(shown) + 1):
        fig.add_hline(y=0, line={"color": INK, "width": 1}, row=row, col=1)
        fig.update_xaxes(**order, row=row, col=1)
    fig.update_xaxes(title_text="level" if levels else None, row=len(shown), col=1)
    _parameters(fig, result, networks, row=len(shown) + 1)
    return fig


def _panels(titles: Sequence[str]) -> go.Figure:
    """Return panels one below the other: a high one, one per layer, and a high one."""
    heights = [_FIRST, *[_EACH] * (len(titles) - 2), _FIRST]
    inner = sum(heights) + _GAP * (len(titles) - 1)
    fig = make_subplots(
        rows=len(titles),
        cols=1,
        row_heights=heights,
        vertical_spacing=_GAP / inner,
        subplot_titles=[wrapped_label(title, 44) for title in titles],
    )
    style(fig, title="Search precision against curvature", height=inner + _MARGINS, caption=_CAPTION)
    fig.update_annotations(font_size=14)
    fig.update_layout(legend_y=1 + 30 / inner)
    return fig


def _place(found: Entry) -> str:
    level = found.get("level")
    return NETWORKS if level is None else str(level)


def _networks(fig: go.Figure, records: Sequence[Entry], method: str) -> None:
    look = style_of(method)
    fig.add_scatter(
        x=[_place(record) for record in records],
        y=numbers([record["rank"] for record in records]),
        mode="markers",
        name=label(f"{method}, each network"),
        legendgroup=method,
        showlegend=False,
        marker={"symbol": f"{look['symbol']}-open", "size": 6, "color": look["color"]},
        text=[label(name) for name in short_names([record["name"] for record in records])],
        hovertemplate=f"{label(method)}, level %{{x}}<br>%{{text}}: %{{y:.4~g}}<extra></extra>",
        meta={"method": method},
        row=1,
        col=1,
    )


def _means(fig: go.Figure, found: Sequence[Entry], method: str, *, row: int) -> None:
    """Draw means with their intervals over networks, by level."""
    look = style_of(method)
    members = [one for one in found if one["rank"] is not None]
    values = [float(one["rank"]) for one in members]
    ends = [one["rank_interval"] or (None, None) for one in members]
    levels = [_place(one) for one in members]
    layers = [label(shorten(str(one["layer"]), 24)) for one in members]
    fig.add_scatter(
        x=levels,
        y=values,
        error_y=error_bars(values, ends, color=look["color"], width=4),
        mode="markers",
        name=label(method),
        legendgroup=method,
        showlegend=row == 1,
        marker={"symbol": look["symbol"], "size": 9, "color": look["color"]},
        customdata=[[value, *pair] for value, pair in zip(values, ends, strict=True)],
        text=[f"{layer}, level {level}" for layer, level in zip(layers, levels, strict=True)],
        hovertemplate=f"{label(method)}, %{{text}}: mean %{{y:.4~g}}{interval_text(ends)}<extra></extra>",
        meta={"method": method},
        row=row,
        col=1,
    )


def _method(found: Mapping[str, Any]) -> str:
    return str(found.get("method") or NETWORKS)


def _parameters(fig: go.Figure, result: Any, networks: Sequence[Entry], *, row: int) -> None:
    """Draw every parameter of the network whose precision follows the curvature most."""
    ranks = [record["rank"] if record["rank"] is not None else -1.0 for record in networks]
    best = int(np.argmax(ranks))
    curvature = np.asarray(result.curvature[best])
    short = short_names([record["name"] for record in networks])[best]
    fig.add_scatter(
        x=numbers(np.where(curvature > _SMALLEST * curvature.max(), curvature, np.nan)),
        y=numbers(result.precision[best]),
        mode="markers",
        name=label(short),
        showlegend=False,
        marker={"size": 4, "color": tint(INK, 0.35)},
        hovertemplate="curvature %{x:.4~g}, 1/σ² %{y:.4~g}<extra></extra>",
        row=row,
        col=1,
    )
    fig.update_xaxes(
        title_text="Hessian diagonal, positive entries",
        **_log(fig.data[-1].x),
        row=row,
        col=1,
    )
    fig.layout.annotations[row - 1].text = wrapped_label(f"Each parameter of {short}", 44)
    fig.update_yaxes(title_text="1/σ²", **_log(fig.data[-1].y), row=row, col=1)


def _log(values: Sequence[float | None]) -> dict[str, Any]:
    known = [value for value in values if value is not None and value > 0]
    return log_axis(min(known), max(known), most=_MOST_DECADES) if known else {"type": "log"}
