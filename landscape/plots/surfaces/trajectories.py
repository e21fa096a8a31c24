"""Training paths on a plane, with how far each network is from what the plane shows of it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import plotly.graph_objects as go

from landscape.plots.surfaces.planes import with_contours
from landscape.plots.text import label, shorten
from landscape.plots.theme import DASHES, LIGHT, MARKERS, NETWORKS, numbers, style, style_of

__all__ = ["hidden_figure", "trajectory_figure"]

_PATHS = (
    "Colours are the loss of the plane, lines are the paths. The larger a marker, the farther its "
    "network lies from the plane: contours around a large marker say little about that network."
)
_HIDDEN = (
    "Filled markers are the networks' own losses, open markers on dotted lines the losses of their "
    "projections onto the plane."
)


def _groups(paths: Any) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for position, path in enumerate(paths):
        found.setdefault(str(path), []).append(position)
    return found


def _looks(paths: Iterable[str]) -> dict[str, dict[str, str]]:
    """Return the look of each path: the colour of its method; dash and marker move on from seed to seed."""
    found: dict[str, dict[str, str]] = {}
    counts: dict[str, int] = {}
    for path in paths:
        method = path.partition(", seed ")[0]
        look = style_of(NETWORKS if method == "path" else method)
        nth = counts[method] = counts.get(method, -1) + 1
        found[path] = {
            "color": look["color"],
            "dash": DASHES[(DASHES.index(look["dash"]) + nth) % len(DASHES)],
            "symbol": MARKERS[(MARKERS.index(look["symbol"]) + nth) % len(MARKERS)],
        }
    return found


def trajectory_figure(result: Any) -> go.Figure:
    """Return the paths over the contours of their plane.

    Parameters
    ----------
    result : Trajectory
        Only its fields are read. The larger a marker, the farther the network lies from the plane.
    """
    fig = style(go.Figure(), title="Paths projected onto a plane", height=560, caption=_PATHS)
    with_contours(fig, result.x, result.y, [np.asarray(result.surface, np.float64)])
    farthest = float(np.max(result.distances)) or 1.0
    groups = _groups(result.paths)
    looks = _looks(groups)
    for path, places in groups.items():
        look = looks[path]
        x, y = ([float(result.coordinates[i][axis]) for i in places] for axis in (0, 1))
        fig.add_scatter(  # a light edge, by which the line is seen over any colour of the scale
            x=x,
            y=y,
            mode="lines",
            line={"color": LIGHT, "width": 5},
            showlegend=False,
            hoverinfo="skip",
            legendgroup=path,
            meta="band",
        )
        fig.add_scatter(
            x=x,
            y=y,
            mode="lines+markers",
            legendgroup=path,
            name=label(shorten(path, 24)),
            line={"color": look["color"], "dash": look["dash"], "width": 2.4},
            marker={
                "symbol": look["symbol"],
                "size": [8 + 10 * float(result.distances[i]) / farthest for i in places],
                "color": look["color"],
                "opacity": 1,
                "line": {"color": LIGHT, "width": 1.4},
            },
            text=[label(shorten(result.names[i], 40)) for i in places],
            customdata=[
                [float(result.losses[i]), float(result.plane_losses[i]), float(result.distances[i])]
                for i in places
            ],
            hovertemplate="%{text}<br>its loss %{customdata[0]:.4g}<br>loss of the plane below it "
            "%{customdata[1]:.4g}<br>distance from the plane %{customdata[2]:.3g}<extra></extra>",
        )
    first, second = (shorten(name, 44) for name in result.direction_names)
    fig.update_xaxes(title_text=label(first), range=[float(result.x[0]), float(result.x[-1])])
    fig.update_yaxes(title_text=label(second), range=[float(result.y[0]), float(result.y[-1])])
    fig.update_layout(legend={"itemsizing": "constant"})
    return fig


def hidden_figure(result: Any) -> go.Figure:
    """Return the loss of each network beside the loss of its projection, along each path."""
    fig = style(
        go.Figure(),
        title="Loss of the networks and of their projections",
        x="position on the path",
        y=f"loss, {result.split}",
        height=400,
        caption=_HIDDEN,
    )
    groups = _groups(result.paths)
    looks = _looks(groups)
    for path, places in groups.items():
        look = looks[path]
        for values, dash, what in (
            (result.losses, look["dash"], "networks"),
            (result.plane_losses, "dot", "plane"),
        ):
            fig.add_scatter(
                x=list(range(1, len(places) + 1)),
                y=numbers([values[i] for i in places]),
                mode="lines+markers",
                name=label(shorten(path, 24) if what == "networks" else f"{shorten(path, 24)}, plane"),
                legendgroup=path,
                showlegend=what == "networks",
                line={"color": look["color"], "dash": dash, "width": 2},
                marker={"symbol": look["symbol"] + ("" if what == "networks" else "-open"), "size": 8},
                text=[label(shorten(result.names[i], 40)) for i in places],
                hovertemplate="%{text}<br>loss %{y:.4g}<extra></extra>",
            )
    longest = max(map(len, groups.values()))
    fig.update_xaxes(tick0=1, dtick=max(1, longest // 8))
    return fig
