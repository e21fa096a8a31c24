"""Spectral densities: of one network with its error, of a few as small panels, of many as a heat map."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from landscape.plots.names import short_names
from landscape.plots.places import Places, by_method
from landscape.plots.series import add_band
from landscape.plots.text import label, shorten
from landscape.plots.theme import (
    COLORS,
    INK,
    NETWORKS,
    level_text,
    level_ticks,
    log_axis,
    numbers,
    power_text,
    style_of,
)

__all__ = ["DENSITY", "Panel", "density_caption", "density_panels", "draw_density", "draw_log_density"]

DENSITY = (
    "**Density**: the line is the mean over random probes, the band two standard errors around it; "
    "ticks near the axis are eigenvalues computed exactly."
)
_LEAST_DENSITY = 1e-7  # of the highest point: below it a log axis would show rounding
_FEW = 4  # networks up to which each has its own panel
_MOST_NAMES = 12  # rows of a heat map that have room for their names
_GRID = 300  # points of a heat map's axis

Record = Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Panel:
    """A subplot: its heading, what it draws, and whether its horizontal axis is that of the networks."""

    title: str
    draw: Callable[[go.Figure, int], None]
    shared: bool = True


def density_panels(result: Any) -> list[Panel]:
    """Return a panel per network of a few; of many a heat map per method and one network by itself."""
    if not len(result.spectra):
        return []
    records = list(result.records)
    names = short_names([record["name"] for record in records])
    if len(records) <= _FEW:
        return [_single(result, at, f"Density at {names[at]}") for at in range(len(records))]
    maps = [_map_panel(result, method, members) for method, members in by_method(records).items()]
    return [*maps, _single(result, 0, f"One of them: density at {names[0]}")]


def density_caption(result: Any) -> str:
    """Return what the panels of `density_panels` show."""
    if len(result.records) <= _FEW:
        return f"One network per panel, by the sizes of its eigenvalues. {DENSITY}"
    return (
        "Each row of a heat map is a network, dense ones at the top; its colour is the density of "
        f"eigenvalues of that size. The last panel has the first network by itself. {DENSITY}"
    )


def _single(result: Any, at: int, title: str) -> Panel:
    record = result.records[at]
    look = style_of(str(record.get("method") or NETWORKS))

    def draw(fig: go.Figure, row: int) -> None:
        draw_log_density(fig, result.spectra[at], record["eigenvalues"], row=row, look=look)

    return Panel(title, draw, shared=False)


def _map_panel(result: Any, method: str, members: Sequence[int]) -> Panel:
    heading = "Density by network" if method == NETWORKS else f"Density by network, {shorten(method, 24)}"
    ordered = sorted(members, key=lambda at: -float(result.records[at].get("density") or 1.0))
    return Panel(heading, lambda fig, row: _map(fig, row, result, ordered), shared=False)


def _map(fig: go.Figure, row: int, result: Any, members: Sequence[int]) -> None:
    """Draw the density of the log size of each network as a row of colours, all rows on one grid."""
    spectra = [result.spectra[at] for at in range(len(result.records))]
    grid, floor, top = _common(spectra)
    rows = []
    for at in members:
        own, density = (np.asarray(spectra[at][f"log_{name}"], np.float64) for name in ("grid", "density"))
        resampled = np.interp(grid, own, np.nan_to_num(density), left=0.0, right=0.0)
        rows.append(np.log10(np.maximum(resampled, floor)))
    names = short_names([record["name"] for record in result.records])
    decades = [tick for tick in log_axis(floor, top, most=5)["tickvals"] if floor <= tick <= top]
    fig.add_heatmap(
        x=numbers(grid),
        y=list(range(len(members))),
        z=[numbers(values) for values in rows],
        text=[[label(names[at])] * len(grid) for at in members],
        zmin=float(np.log10(floor)),
        zmax=float(np.log10(top)),
        colorscale="Cividis",
        colorbar={
            "title": {"text": "density", "side": "right"},
            "tickvals": [float(np.log10(tick)) for tick in decades],
            "ticktext": [power_text(tick) for tick in decades],
            "thickness": 10,
            "len": 1,
            "outlinewidth": 0,
            **_beside(fig, row),
        },
        hovertemplate="%{text}<br>10^%{z:.3~g} at 10^%{x:.3~g}<extra></extra>",
        row=row,
        col=1,
    )
    fig.update_xaxes(title_text="log10 of the eigenvalue's size", showgrid=False, row=row, col=1)
    fig.update_yaxes(autorange="reversed", showgrid=False, ticks="", row=row, col=1)
    fig.update_yaxes(**_row_names(result.records, members, names), row=row, col=1)


def _common(spectra: Sequence[Mapping[str, Any]]) -> tuple[np.ndarray, float, float]:
    """Return a grid that holds all of theirs, and the least and the highest density that is shown."""
    ends = [(float(np.min(s["log_grid"])), float(np.max(s["log_grid"]))) for s in spectra]
    grid = np.linspace(min(low for low, _ in ends), max(high for _, high in ends), _GRID)
    tops = [float(np.nanmax(np.asarray(s["log_density"]), initial=0.0)) for s in spectra]
    top = max(tops) or 1.0
    return grid, _LEAST_DENSITY * top, top


def _beside(fig: go.Figure, row: int) -> dict[str, float | str]:
    """Return where a colour bar stands beside its own panel."""
    low, high = fig.get_subplot(row, 1).yaxis.domain
    return {"y": (low + high) / 2, "yanchor": "middle", "len": high - low}


def _row_names(records: Sequence[Record], members: Sequence[int], names: Sequence[str]) -> dict[str, Any]:
    """Return ticks of a heat map's rows: levels where they differ, else names where there is room."""
    if Places([records[at] for at in members]).spread:
        percents = [100 * float(records[at]["density"]) for at in members]
        shown = level_ticks(percents)["tickvals"]
        first = [next(i for i, p in enumerate(percents) if f"{p:.9g}" == f"{tick:.9g}") for tick in shown]
        return {"tickvals": first, "ticktext": [level_text(tick) for tick in shown]}
    if len(members) <= _MOST_NAMES:
        return {"tickvals": list(range(len(members))), "ticktext": [label(names[at]) for at in members]}
    return {"showticklabels": False}


def draw_density(
    fig: go.Figure,
    spectrum: Mapping[str, Any],
    outliers: Any,
    *,
    row: int = 1,
    look: Mapping[str, str] | None = None,
) -> None:
    """Draw a density on a log axis with its band over probes, and exact eigenvalues as ticks on it."""
    look = look or {"color": COLORS[0], "dash": "solid"}
    grid, density = np.asarray(spectrum["grid"]), np.asarray(spectrum["density"])
    error = np.nan_to_num(np.asarray(spectrum["standard_error"]))
    floor = _LEAST_DENSITY * float(np.max(density, initial=0.0)) or 1e-12
    thin = np.unique(np.linspace(0, len(grid) - 1, min(len(grid), 2000)).astype(int))
    grid, density, error = grid[thin], density[thin], error[thin]
    low, high = np.maximum(density - 2 * error, floor), np.maximum(density + 2 * error, floor)
    band = [(float(x), float(a), float(b)) for x, a, b in zip(grid, low, high, strict=True)]
    add_band(fig, band, "± 2 standard errors", color=look["color"], row=row, col=1)
    fig.add_scatter(
        x=numbers(grid),
        y=numbers(np.maximum(density, floor)),
        mode="lines",
        name="density",
        showlegend=False,
        line={"color": look["color"], "dash": look["dash"], "width": 1.8},
        customdata=[[None, *ends[1:]] for ends in band],
        hovertemplate="density %{y:.4~g} at %{x:.4~g}<extra></extra>",
        row=row,
        col=1,
    )
    found = numbers(outliers)
    if found:
        fig.add_scatter(
            x=found,
            y=[floor * 3] * len(found),
            mode="markers",
            name="exact eigenvalues",
            showlegend=False,
            marker={
                "symbol": "line-ns",
                "size": 14,
                "color": INK,
                "line": {"width": 2, "color": INK},
            },
            hovertemplate="eigenvalue %{x:.4~g}<extra></extra>",
            row=row,
            col=1,
        )
    fig.update_xaxes(title_text="eigenvalue", row=row, col=1)
    top = max(float(np.max(high, initial=0.0)), 10 * floor)
    fig.update_yaxes(title_text="density", **log_axis(floor, top, most=6), row=row, col=1)


def draw_log_density(
    fig: go.Figure,
    spectrum: Mapping[str, Any],
    outliers: Any,
    *,
    row: int,
    look: Mapping[str, str] | None = None,
) -> None:
    """Draw the density of the eigenvalues' sizes on a log axis."""
    logs = {name: spectrum[f"log_{name}"] for name in ("grid", "density", "standard_error")}
    sizes = np.abs(np.asarray(outliers, np.float64))
    draw_density(fig, logs, np.log10(sizes[sizes > 0]), row=row, look=look)
    fig.update_xaxes(title_text="log10 of the eigenvalue's size", row=row, col=1)
