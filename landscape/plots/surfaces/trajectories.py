"""Training paths on a plane, with how far each network is from what the plane shows of it."""

from __future__ import annotations

from typing import Any

import numpy as np
import plotly.graph_objects as go

from landscape.plots.surfaces.planes import with_contours
from landscape.plots.text import label, shorten
from landscape.plots.theme import numbers, style, swatch

__all__ = ["hidden_figure", "trajectory_figure"]


def _groups(paths: Any) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for position, path in enumerate(paths):
        found.setdefault(str(path), []).append(position)
    return found


def trajectory_figure(result: Any) -> go.Figure:
    """Return the paths over the contours of their plane.

    Parameters
    ----------
    result : Trajectory
        Only its fields are read. The larger a marker's ring, the farther the network lies from the plane.
    """
    fig = go.Figure()
    style(fig, title="Paths projected onto a plane", height=560)
    with_contours(fig, result.x, result.y, [np.asarray(result.surface, np.float64)])
    farthest = float(np.max(result.distances)) or 1.0
    for number, (path, places) in enumerate(_groups(result.paths).items()):
        look = swatch(number)
        fig.add_scatter(
            x=[float(result.coordinates[i][0]) for i in places],
            y=[float(result.coordinates[i][1]) for i in places],
            mode="lines+markers",
            name=label(shorten(path, 24)),
            line={"color": look["color"], "dash": look["dash"], "width": 2.4},
            marker={
                "symbol": look["symbol"],
                "size": [8 + 10 * float(result.distances[i]) / farthest for i in places],
                "color": look["color"],
                "line": {"color": "white", "width": 1.4},
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
    fig.update_layout(legend={"y": -0.16, "yanchor": "top"})
    return fig


def hidden_figure(result: Any) -> go.Figure:
    """Return the loss of each network beside the loss of its projection, along each path."""
    fig = go.Figure()
    style(
        fig,
        title="Loss of the networks and of their projections",
        x="position on the path",
        y=f"loss, {result.split}",
        height=400,
    )
    for number, (path, places) in enumerate(_groups(result.paths).items()):
        look = swatch(number)
        for values, dash, what in (
            (result.losses, "solid", "networks"),
            (result.plane_losses, "dot", "plane"),
        ):
            fig.add_scatter(
                x=list(range(1, len(places) + 1)),
                y=numbers([values[i] for i in places]),
                mode="lines+markers",
                name=label(f"{shorten(path, 24)}, {what}"),
                line={"color": look["color"], "dash": dash, "width": 2},
                marker={"symbol": look["symbol"] + ("" if what == "networks" else "-open"), "size": 8},
                text=[label(shorten(result.names[i], 40)) for i in places],
                hovertemplate="%{text}<br>loss %{y:.4g}<extra></extra>",
            )
    return fig
