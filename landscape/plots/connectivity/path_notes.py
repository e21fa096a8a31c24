"""What stands beside the path of two networks: its barrier in words, its ends, the path before alignment."""

from __future__ import annotations

from typing import Any

import plotly.graph_objects as go

from landscape.plots.series import in_brackets
from landscape.plots.text import label
from landscape.plots.theme import COLORS, INK, numbers

__all__ = ["barrier_text", "draw_before", "losses_before", "note_above", "ring"]


def losses_before(barrier: Any, split: str) -> list[float | None]:
    """Return the losses on the path before the second network was aligned, none if it was not."""
    aligned = getattr(barrier, "aligned", None)
    return [] if aligned is None else numbers(aligned["before"]["losses"][split]["loss"])


def draw_before(fig: go.Figure, barrier: Any, split: str) -> None:
    """Draw that path as a dotted line."""
    if losses := losses_before(barrier, split):
        fig.add_scatter(
            x=[float(alpha) for alpha in barrier.alphas],
            y=losses,
            mode="lines",
            name=f"{label(split)} before alignment",
            line={"color": COLORS[3], "dash": "dot", "width": 2.2},
            legendrank=1001,
            hovertemplate="before alignment %{y:.4~g}<br>α = %{x:.4~g}<extra></extra>",
            meta={"split": split},
        )


def barrier_text(barrier: Any) -> str:
    """Return the barrier above the chord with its interval, or why there is none."""
    if barrier.identical:
        return "identical networks: barrier exactly 0"
    value = numbers([barrier.barrier_above_chord])[0]
    if value is None:
        count = len(barrier.non_finite) if barrier.non_finite is not None else 0
        return f"barrier not available: {count} points not finite"
    return f"barrier <b>{value:.4g}</b>{in_brackets(barrier.interval_above_chord)} above the chord"


def note_above(fig: go.Figure, text: str, *, size: float, shift: int, room: int) -> None:
    """Say something in words just above the plot, where no curve can hide it.

    Parameters
    ----------
    fig : Figure
        Whose height is known.
    text : str
        A label of Plotly's.
    size, shift, room : float, int, int
        Pixels: of the letters, to the left of the axis, and above the plot, where the legend begins.
    """
    fig.add_annotation(
        text=text,
        x=0,
        y=1,
        xref="x domain",
        yref="y domain",
        xanchor="left",
        yanchor="bottom",
        yshift=4,
        xshift=-shift,
        showarrow=False,
        align="left",
        font={"size": size, "color": INK},
    )
    fig.update_layout(legend_y=1 + room / (fig.layout.height - 150), margin_t=78 + room)


def ring(color: str) -> dict[str, Any]:
    """Return the marker of a network at an end of a path."""
    return {"symbol": "circle", "size": 11, "color": "white", "line": {"color": color, "width": 2.5}}
