"""What stands beside the path between two networks: its barrier in words, the path before an alignment."""

from __future__ import annotations

from typing import Any

import plotly.graph_objects as go

from landscape.plots.text import label
from landscape.plots.theme import COLORS, numbers

__all__ = ["barrier_text", "draw_before", "losses_before"]


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
    ends = [end for end in numbers(barrier.interval_above_chord) if end is not None]
    interval = f" [{ends[0]:.3g}, {ends[1]:.3g}]" if len(ends) == 2 else ""
    return f"barrier <b>{value:.4g}</b>{interval} above the chord"
