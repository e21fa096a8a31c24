"""The persistence diagram of a sampled surface."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import plotly.graph_objects as go

from landscape.plots.theme import COLORS, GREY, style

__all__ = ["persistence_figure"]

_CAPTION = (
    "Each point is a minimum of the sampled surface: how low it is, and how high the loss must rise to "
    "leave its basin for a deeper one. Points near the dashed line have no depth. ★ is the lowest "
    "minimum, whose basin joins no deeper one."
)


def persistence_figure(surface: Any) -> go.Figure:
    """Return births against deaths of the minima.

    The lowest one, whose basin joins no deeper one, is drawn at the highest loss.

    Parameters
    ----------
    surface : Surface
        Only its fields are read.
    """
    found = surface.topology
    z = np.asarray(surface.losses[surface.split]["loss"], np.float64)
    finite = z[np.isfinite(z)]
    top = float(finite.max()) if finite.size else 1.0
    low = float(finite.min()) if finite.size else 0.0
    deaths = [float(d) if math.isfinite(d) else top for d in found.deaths]
    fig = go.Figure()
    style(
        fig,
        title="Persistence of the minima",
        x="loss at the minimum",
        y="loss at which its basin ends",
        height=400,
        caption=_CAPTION,
    )
    fig.add_scatter(
        x=[low, top],
        y=[low, top],
        mode="lines",
        name="no depth",
        line={"color": GREY, "dash": "dash", "width": 1},
    )
    fig.add_scatter(
        x=[float(b) for b in found.births],
        y=deaths,
        mode="markers",
        name="minima",
        marker={
            "size": 10,
            "color": COLORS[0],
            "symbol": ["star" if not math.isfinite(d) else "circle" for d in found.deaths],
        },
        hovertemplate="minimum %{x:.4g}<br>basin ends at %{y:.4g}<extra></extra>",
    )
    return fig
