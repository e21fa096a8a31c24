"""The loss on a plane: contours by default, three dimensions on request, networks marked where they lie."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import plotly.graph_objects as go

from landscape.plots.names import direction_text, names_on
from landscape.plots.text import label
from landscape.plots.theme import COLORS, INK, LIGHT, log_ticks, power_text, style, tint

__all__ = ["contour_figure", "contour_levels", "surface_figure", "with_contours"]

_LEVELS = 14  # contour lines, about
_DECADES = 1.5  # a loss that spans more is drawn with logarithmic levels
_FLOOR = 1e-12  # of the largest loss; zero has no logarithm
_NAMED = 3  # networks named in a title
_MOST_MINIMA = 5  # marked beside the networks; the diagram has them all

_CAPTION = (
    "Colours and contour lines are the loss; ★ is the network at the origin, ● are others in the plane, "
    "with their own losses on hover. Light circles and crosses are further minima of the sampled "
    "surface and the saddles that part them from deeper ones. Slanted marks, if any, are points at "
    "which the sampling error of the examples exceeds the spacing of the contours."
)
_RANDOM = (
    " A random plane is one draw out of very many dimensions: a shape that the other planes do not have "
    "is not a property of the network."
)


def contour_figure(surface: Any) -> go.Figure:
    """Return the contours of the loss on the plane, with buttons for further random planes.

    Parameters
    ----------
    surface : Surface
        Only its fields are read.
    """
    z = np.asarray(surface.losses[surface.split]["loss"], np.float64)
    planes = [z] if surface.planes is None else list(np.asarray(surface.planes, np.float64))
    caption = _CAPTION + (_RANDOM if surface.directions == "random" else "")
    fig = style(go.Figure(), title=_title(surface), height=560, caption=caption)
    with_contours(fig, surface.x, surface.y, planes)
    if len(planes) > 1:
        _plane_buttons(fig, len(planes))
    _draw_saddles(fig, surface)
    _draw_uncertain(fig, surface, z)
    short = names_on(surface)
    for name, anchor in surface.anchors.items():
        _draw_network(fig, short[name], anchor, origin=name == surface.origin)
    _axes(fig, surface)
    return fig


def _title(surface: Any) -> str:
    names = list(names_on(surface).values())
    through = " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
    through = through if len(names) <= _NAMED else f"{len(names)} networks"
    return f"Loss on a plane through {through}, on {surface.split}"


def contour_levels(values: np.ndarray) -> dict[str, Any]:
    """Return what is drawn of values and how its colours are labelled: logarithms where they span decades."""
    finite = values[np.isfinite(values)]
    if not finite.size:
        return {"log": False, "floor": 0.0, "bar": {}, "spacing": 0.0, "start": 0.0, "end": 0.0}
    low, high = float(finite.min()), float(finite.max())
    log = low >= 0 and high > 0 and high > 10**_DECADES * max(low, _FLOOR * high)
    floor = max(low, _FLOOR * high) if log else 0.0
    start, end = (math.log10(floor), math.log10(high)) if log else (low, high)
    bar: dict[str, Any] = {
        "title": {"text": "loss", "side": "top", "font": {"size": 13}},
        "thickness": 10,
        "outlinewidth": 0,
        "len": 1,
    }
    if log:
        ticks = log_ticks(floor, high, steps=(1,)) or log_ticks(floor, high)
        bar |= {
            "tickvals": [math.log10(tick) for tick in ticks],
            "ticktext": [power_text(tick) for tick in ticks],
        }
    return {
        "log": log,
        "floor": floor,
        "bar": bar,
        "spacing": (end - start) / _LEVELS,
        "start": start,
        "end": end,
    }


def with_contours(fig: go.Figure, x: Any, y: Any, planes: list[np.ndarray]) -> dict[str, Any]:
    """Draw one filled contour per plane, the first of them visible, with common levels; return the levels."""
    levels = contour_levels(np.stack(planes))
    for number, plane in enumerate(planes):
        shown = np.log10(np.maximum(plane, levels["floor"])) if levels["log"] else plane
        fig.add_contour(
            x=list(map(float, x)),
            y=list(map(float, y)),
            z=_rows(shown.T),
            text=_rows(plane.T),
            zmin=levels["start"],
            zmax=levels["end"],
            colorscale="Cividis",
            contours={"start": levels["start"], "end": levels["end"], "size": levels["spacing"] or None},
            line={"width": 0.6, "color": tint(LIGHT, 0.55)},
            colorbar=levels["bar"],
            hovertemplate="x %{x:.4g}<br>y %{y:.4g}<br>loss %{text:.4g}<extra></extra>",
            name="loss" if len(planes) == 1 else f"plane {number + 1}",
            visible=number == 0,
        )
    return levels


def _rows(values: np.ndarray) -> list[list[float | None]]:
    return [[float(v) if math.isfinite(v) else None for v in row] for row in values]


def _plane_buttons(fig: go.Figure, count: int) -> None:
    """Add one button per plane; what is drawn over the contours belongs to the first."""
    buttons = [
        {
            "label": f"plane {i + 1}",
            "method": "restyle",
            "args": [{"visible": [k == i for k in range(count)]}, list(range(count))],
        }
        for i in range(count)
    ]
    fig.update_layout(
        updatemenus=[
            {
                "type": "buttons",
                "direction": "right",
                "buttons": buttons,
                "x": 0,
                "xanchor": "left",
                "y": 1.02,
                "yanchor": "bottom",
                "pad": {"t": 0, "b": 0},
                "bgcolor": "white",
                "bordercolor": "#c3c8cf",
                "font": {"size": 13, "color": INK},
            }
        ],
        margin={"t": 110},
        legend={"y": -0.16, "yanchor": "top"},
    )


def _draw_network(fig: go.Figure, name: str, anchor: Mapping[str, float], *, origin: bool) -> None:
    fig.add_scatter(
        x=[float(anchor["x"])],
        y=[float(anchor["y"])],
        mode="markers",
        name=label(name),
        marker={
            "symbol": "star" if origin else "circle",
            "size": 15 if origin else 12,
            "color": COLORS[1] if origin else COLORS[4],
            "line": {"color": LIGHT, "width": 1.5},
        },
        customdata=[[float(anchor["loss"]), None, None, None]],
        hovertemplate=label(name) + "<br>its own loss %{customdata[0]:.4g}<extra></extra>",
    )


def _draw_saddles(fig: go.Figure, surface: Any) -> None:
    """Mark further minima and the saddles that part them from deeper ones, the most persistent first."""
    found = surface.topology
    rows = range(1, min(len(found.births), 1 + _MOST_MINIMA))
    if not len(rows):
        return
    for name, places, symbol in (
        ("minimum", found.minima, "circle-open"),
        ("saddle", found.saddles, "x-thin"),
    ):
        fig.add_scatter(
            x=[float(surface.x[places[row][0]]) for row in rows],
            y=[float(surface.y[places[row][1]]) for row in rows],
            mode="markers",
            showlegend=False,  # light on light there; the caption says what they are
            name=name,
            marker={"symbol": symbol, "size": 10, "color": LIGHT, "line": {"color": LIGHT, "width": 2}},
            hovertemplate=f"{name}<br>x %{{x:.4g}}<br>y %{{y:.4g}}<extra></extra>",
        )


def _draw_uncertain(fig: go.Figure, surface: Any, z: np.ndarray) -> None:
    """Mark points whose sampling error exceeds the spacing of the contours there."""
    levels = contour_levels(z)
    error = np.asarray(surface.standard_error, np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        shown = error / (np.maximum(z, levels["floor"]) * math.log(10)) if levels["log"] else error
    places = np.argwhere(shown > levels["spacing"])
    step = max(1, len(places) // 400)
    places = places[::step]
    if len(places):
        fig.add_scatter(
            x=[float(surface.x[i]) for i, _ in places],
            y=[float(surface.y[j]) for _, j in places],
            mode="markers",
            name="error of the examples above the contour spacing",
            showlegend=False,
            marker={"symbol": "line-ne-open", "size": 6, "color": tint(LIGHT, 0.7)},
            hoverinfo="skip",
        )


def _axes(fig: go.Figure, surface: Any) -> None:
    first, second = surface.lengths
    short = names_on(surface)
    names = [direction_text(name, short) for name in surface.direction_names]
    fig.update_xaxes(
        title_text=label(names[0]), range=[float(surface.x[0]), float(surface.x[-1])], constrain="domain"
    )
    fig.update_yaxes(title_text=label(names[1]), range=[float(surface.y[0]), float(surface.y[-1])])
    # One length of parameter space is as long on both axes, unless the picture would be a thin strip.
    tall = (surface.y[-1] - surface.y[0]) * second / ((surface.x[-1] - surface.x[0]) * first)
    if 0.4 <= tall <= 2.5:
        fig.update_yaxes(scaleanchor="x", scaleratio=float(second / first), constrain="domain")
    fig.update_xaxes(constraintoward="left")
    fig.update_yaxes(constraintoward="top")


def surface_figure(surface: Any) -> go.Figure:
    """Return the loss on the plane as a surface in three dimensions."""
    z = np.asarray(surface.losses[surface.split]["loss"], np.float64)
    levels = contour_levels(z)
    shown = np.log10(np.maximum(z, levels["floor"])) if levels["log"] else z
    caption = "The same plane in three dimensions: height and colour are the loss."
    fig = style(go.Figure(), title=_title(surface), height=600, caption=caption)
    fig.add_surface(
        x=list(map(float, surface.x)),
        y=list(map(float, surface.y)),
        z=_rows(shown.T),
        customdata=_rows(z.T),
        colorscale="Cividis",
        colorbar=levels["bar"],
        hovertemplate="x %{x:.4g}<br>y %{y:.4g}<br>loss %{customdata:.4g}<extra></extra>",
    )
    bar = levels["bar"]
    height = {"title": "loss", **{key: bar[key] for key in ("tickvals", "ticktext") if key in bar}}
    fig.update_layout(scene={"xaxis": {"title": "x"}, "yaxis": {"title": "y"}, "zaxis": height})
    return fig
