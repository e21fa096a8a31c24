"""The figure of a search distribution's precision against the curvature."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from landscape.plots.text import label, shorten
from landscape.plots.theme import INK, numbers, style, swatch, tint

__all__ = ["scale_figure"]

_SMALLEST = 1e-8  # of the largest diagonal entry: smaller ones are rounding


def scale_figure(result: Any) -> go.Figure:
    """Return the rank correlation of every method and level, and the parameters of one network.

    Parameters
    ----------
    result : ScaleCurvature
        Only its fields are read.
    """
    fig = make_subplots(rows=3, cols=1, vertical_spacing=0.13)
    style(fig, title="Search precision against curvature", height=1180)
    whole = [found for found in result.summary if found["layer"] == "all"]
    networks = [record for record in result.records if record["layer"] == "all"]
    for i, level in enumerate(dict.fromkeys(found["level"] for found in whole)):
        members = [found for found in whole if found["level"] == level]
        _correlations(fig, members, networks, name=_name(level), look=swatch(i))
    noisy = "" if result.method == "exact" else " (not corrected for noise)"
    for row in (1, 2):
        fig.add_hline(y=0, line={"color": INK, "width": 1}, row=row, col=1)
        fig.update_yaxes(title_text=f"rank correlation{noisy}", row=row, col=1)
    _layers(fig, result.summary)
    _parameters(fig, result, networks)
    return fig


def _layers(fig: go.Figure, summary: Sequence[Mapping[str, Any]]) -> None:
    """Draw the mean of every method, level and layer with its interval over networks."""
    groups: dict[tuple[Any, Any], list[Mapping[str, Any]]] = {}
    for found in summary:
        if found["layer"] != "all" and found["rank"] is not None:
            groups.setdefault((found["method"], found["level"]), []).append(found)
    for i, ((method, level), members) in enumerate(groups.items()):
        name = ", ".join(part for part in (_method({"method": method}), _name(level)) if part != "networks")
        _means(fig, members, name=name or "networks", look=swatch(i), row=2)


def _means(
    fig: go.Figure, members: Sequence[Mapping[str, Any]], *, name: str, look: Mapping[str, str], row: int
) -> None:
    values = [float(found["rank"]) for found in members]
    ends = [found["rank_interval"] or (value, value) for found, value in zip(members, values, strict=True)]
    fig.add_scatter(
        x=[label(shorten(str(found["layer"]), 24)) for found in members],
        y=values,
        error_y=_bars(values, ends),
        mode="markers",
        name=label(f"{name}, by layer"),
        marker={"symbol": look["symbol"], "size": 8, "color": look["color"]},
        customdata=[[value, *pair] for value, pair in zip(values, ends, strict=True)],
        hovertemplate=f"%{{x}}, {label(name)}: mean %{{y:.4~g}}<br>"
        "95 % interval %{customdata[1]:.4~g} to %{customdata[2]:.4~g}<extra></extra>",
        row=row,
        col=1,
    )


def _bars(values: Sequence[float], ends: Sequence[Sequence[float]]) -> dict[str, Any]:
    return {
        "type": "data",
        "symmetric": False,
        "array": [high - v for v, (_, high) in zip(values, ends, strict=True)],
        "arrayminus": [v - low for v, (low, _) in zip(values, ends, strict=True)],
    }


def _name(level: object) -> str:
    return "networks" if level is None else f"level {level}"


def _correlations(
    fig: go.Figure,
    members: Sequence[Mapping[str, Any]],
    networks: Sequence[Mapping[str, Any]],
    *,
    name: str,
    look: Mapping[str, str],
) -> None:
    """Draw the mean of each method with its interval over networks, and the networks themselves."""
    keys = [(found["method"], found["level"]) for found in members]
    own = [record for record in networks if (record["method"], record["level"]) in keys]
    fig.add_scatter(
        x=[label(_method(record)) for record in own],
        y=numbers([record["rank"] for record in own]),
        mode="markers",
        name=f"{name}, networks",
        legendgroup=name,
        showlegend=False,
        marker={"symbol": f"{look['symbol']}-open", "size": 6, "color": tint(look["color"], 0.5)},
        hovertemplate=f"%{{x}}, {name}: %{{y:.4~g}}<extra></extra>",
        row=1,
        col=1,
    )
    members = [found for found in members if found["rank"] is not None]
    values = [float(found["rank"]) for found in members]
    ends = [found["rank_interval"] or (value, value) for found, value in zip(members, values, strict=True)]
    fig.add_scatter(
        x=[label(_method(found)) for found in members],
        y=values,
        error_y=_bars(values, ends),
        mode="markers",
        name=name,
        legendgroup=name,
        marker={"symbol": look["symbol"], "size": 9, "color": look["color"]},
        customdata=[[value, *pair] for value, pair in zip(values, ends, strict=True)],
        hovertemplate=f"%{{x}}, {name}: mean %{{y:.4~g}}<br>"
        "95 % interval %{customdata[1]:.4~g} to %{customdata[2]:.4~g}<extra></extra>",
        row=1,
        col=1,
    )


def _method(found: Mapping[str, Any]) -> str:
    return str(found.get("method") or "networks")


def _parameters(fig: go.Figure, result: Any, networks: Sequence[Mapping[str, Any]]) -> None:
    """Draw every parameter of the network whose precision follows the curvature most."""
    ranks = [record["rank"] if record["rank"] is not None else -1.0 for record in networks]
    best = int(np.argmax(ranks))
    curvature, name = np.asarray(result.curvature[best]), str(networks[best]["name"])
    fig.add_scatter(
        x=numbers(np.where(curvature > _SMALLEST * curvature.max(), curvature, np.nan)),
        y=numbers(result.precision[best]),
        mode="markers",
        name=label(shorten(name, 40)),
        showlegend=False,
        marker={"size": 4, "color": tint(INK, 0.35)},
        hovertemplate="curvature %{x:.4~g}, 1/σ² %{y:.4~g}<extra></extra>",
        row=3,
        col=1,
    )
    fig.update_xaxes(
        title_text=label(
            f"Hessian diagonal, positive entries, of {shorten(str(networks[best]['name']), 44)}"
        ),
        type="log",
        row=3,
        col=1,
    )
    fig.update_yaxes(title_text="1/σ²", type="log", dtick="D2", row=3, col=1)
