"""What an alignment moved, and what it brought."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go

from landscape.plots.names import short_names
from landscape.plots.page import Page
from landscape.plots.text import label, wrapped_label
from landscape.plots.theme import COLORS, GREY, style

__all__ = ["add_aligned", "aligned_figure", "distance_figure", "moved_figure"]

_SHORT = 0.3  # of the axis: a bar that has no room for its text
_MOVED = "Each bar is a group of units that are permuted together, and the share of them that changed places."
_DISTANCE = (
    "Distances between the two networks in parameter space. The function of the second network is the same "
    "before and after."
)


def aligned_figure(found: Any) -> go.Figure:
    """Return the share of moved units by group, as bars.

    Parameters
    ----------
    found : Aligned
        Only its fields are read.
    """
    units = {name: found.groups[name]["units"] for name in found.moved}
    places = {name: _places(found, name) for name in found.moved}
    return moved_figure(found.endpoints, found.moved, units, places=places)


def moved_figure(
    endpoints: Sequence[str],
    moved: Mapping[str, float],
    units: Mapping[str, int],
    *,
    places: Mapping[str, str] | None = None,
) -> go.Figure:
    """Return the share of moved units by group, as bars.

    Parameters
    ----------
    endpoints : sequence of str
        The network that is matched, and the one whose units moved.
    moved : mapping of str to float
        The share by group.
    units : mapping of str to int
        Units of each group.
    places : mapping of str to str, optional
        Where each group is, for the hover.
    """
    first, second = short_names(endpoints)
    fig = style(
        go.Figure(),
        title=f"Units of {second} that moved to match {first}",
        x="share of the units, %",
        height=150 + 44 * max(1, len(moved)),
        caption=_MOVED,
    )
    shares = [float(share) for share in moved.values()]
    sizes = [int(units[name]) for name in moved]
    counts = [round(share * size) for share, size in zip(shares, sizes, strict=True)]
    fig.add_bar(
        x=[100 * share for share in shares],
        y=[wrapped_label(name, 20) for name in moved],
        orientation="h",
        marker={"color": COLORS[0]},
        text=[f"{count} of {size}" for count, size in zip(counts, sizes, strict=True)],
        textposition=["outside" if share < _SHORT else "auto" for share in shares],
        customdata=[[label((places or {}).get(name, ""))] for name in moved],
        hovertemplate="%{y}: %{text} units moved<br>%{customdata[0]}<extra></extra>",
        showlegend=False,
    )
    fig.update_xaxes(range=[0, 105], tickvals=[0, 25, 50, 75, 100])
    fig.update_yaxes(autorange="reversed", ticks="", showgrid=False)
    fig.update_layout(margin_t=56)
    return fig


def _places(found: Any, name: str) -> str:
    return "; ".join(map(str, list(found.groups[name].get("places") or ())[:4]))


def distance_figure(found: Any) -> go.Figure:
    """Return the distance between the two networks before and after.

    Parameters
    ----------
    found : Aligned
        Only its fields are read.
    """
    fig = style(go.Figure(), title="Distance before and after", x="distance", height=230, caption=_DISTANCE)
    values = [float(found.distance_before), float(found.distance_after)]
    fig.add_bar(
        x=values,
        y=["before", "after"],
        orientation="h",
        marker={"color": [GREY, COLORS[0]]},
        text=[f"{value:.4g}" for value in values],
        textposition="auto",
        hovertemplate="%{y}: %{x:.5~g}<extra></extra>",
        showlegend=False,
    )
    fig.update_xaxes(rangemode="tozero")
    fig.update_yaxes(autorange="reversed", ticks="", showgrid=False)
    fig.update_layout(margin_t=56)
    return fig


def add_aligned(page: Page, found: Any) -> None:
    """Add what moved, the distances, and the numbers."""
    if found.moved:
        page.figure(aligned_figure(found), "", "moved")
    page.figure(distance_figure(found), "", "distance")
    page.table(("quantity", "value"), found.printed(), "Numbers", "numbers")
    rows = []
    for name, share in found.moved.items():
        units = int(found.groups[name]["units"])
        rows.append((name, units, round(share * units), share, _places(found, name)))
    if rows:
        page.table(("group", "units", "moved", "share", "where"), rows, "Groups of units", "groups")
