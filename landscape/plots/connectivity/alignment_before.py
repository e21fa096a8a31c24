"""What an alignment did to barriers: the paths before and after, the pairs of a matrix, the moved units."""

from __future__ import annotations

from typing import Any

import numpy as np
import plotly.graph_objects as go

from landscape.plots.connectivity.alignment import moved_figure
from landscape.plots.connectivity.barrier import barrier_figure
from landscape.plots.connectivity.matrix import above_chord, add_matrix, matrix_figure
from landscape.plots.names import short_names
from landscape.plots.page import Page
from landscape.plots.text import label
from landscape.plots.theme import COLORS, GREY, numbers, style

__all__ = ["add_aligned_barrier", "add_aligned_matrix", "before_and_after_figure"]

_BOTH = (
    "Each marker is a pair of networks. Markers below the grey line have a lower barrier after the alignment."
)


def add_aligned_barrier(page: Page, found: Any) -> None:
    """Add the path, both ways if the second network was aligned, and the numbers."""
    page.figure(barrier_figure(found), "", found.kind)
    moved = {} if found.aligned is None else found.aligned["moved"]
    if moved:
        page.figure(moved_figure(found.endpoints, moved, found.aligned["units"]), "", "moved")
    page.table(("quantity", "value"), found.printed(), "Numbers", "numbers")
    if moved:
        _add_units(page, found.aligned["units"], moved)


def _add_units(page: Page, units: Any, moved: Any) -> None:
    rows = []
    for name, share in moved.items():
        count = int(units[name])
        rows.append((name, count, round(float(share) * count), float(share)))
    page.table(("group", "units", "moved", "share"), rows, "Units that moved", "units")


def add_aligned_matrix(page: Page, found: Any) -> None:
    """Add a matrix; if its networks were aligned, what its barriers were before, and the moved units."""
    add_matrix(page, found)
    if found.aligned is None:
        return
    page.section("Before the alignment")
    before = matrix_figure(found.unaligned())
    before.update_layout(meta={**(before.layout.meta or {}), "click": None})
    page.figure(before, "", "before")
    page.figure(before_and_after_figure(found), "", "both")
    rows = []
    for name, shares in found.aligned["moved"].items():
        units = int(found.aligned["units"][name])
        for network, share in zip(short_names(found.names), shares, strict=True):
            rows.append((network, name, units, round(float(share) * units)))
    page.table(("network", "group", "units", "moved"), rows, "Units that moved", "units")


def before_and_after_figure(found: Any) -> go.Figure:
    """Return the barrier of each pair before and after the alignment.

    Parameters
    ----------
    found : BarrierMatrix
        Only its fields are read.
    """
    fig = style(
        go.Figure(),
        title="Barriers before and after",
        x="barrier before the alignment",
        y="barrier after",
        caption=_BOTH,
    )
    names = [label(name) for name in short_names(found.names)]
    before, after = (
        above_chord(barriers, found.split)
        for barriers in (found.aligned["before"]["barriers"], found.barriers)
    )
    known = [*before[np.isfinite(before)], *after[np.isfinite(after)], 0.0]
    line = [float(min(known)), float(max(known))]
    fig.add_scatter(
        x=line, y=line, mode="lines", name="unchanged", line={"color": GREY, "width": 1.2, "dash": "dash"},
        hoverinfo="skip",
    )  # fmt: skip
    fig.add_scatter(
        x=numbers(before),
        y=numbers(after),
        mode="markers",
        name="pairs",
        marker={"color": COLORS[0], "size": 8},
        text=[f"{names[first]} and {names[second]}" for first, second in found.pairs],
        hovertemplate="%{text}<br>%{x:.4~g} before, %{y:.4~g} after<extra></extra>",
    )
    return fig
