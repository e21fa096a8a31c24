"""Figures of sparse tickets: test score, per-layer density and barriers against weights remaining.

Pure functions of plain numbers; where a value is unknown, give None.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go

from landscape.plots._series import (
    FEW_SEEDS,
    Ends,
    Rows,
    checked_densities,
    mean_at,
    percent,
    prepared,
    remaining_axis,
)
from landscape.plots._text import label
from landscape.plots.theme import GREY, INK, numbers, percent_ticks, style, swatch, tint
from landscape.plots.ticket_barriers import barrier_levels_figure, barrier_pairs_figure

__all__ = ["barrier_levels_figure", "barrier_pairs_figure", "density_figure", "sweep_figure"]


def sweep_figure(
    curves: Sequence[Mapping[str, Any]],
    *,
    metric: str = "test accuracy",
    title: str | None = None,
    reference: tuple[str, float] | None = None,
) -> go.Figure:
    """Return a score against weights remaining, one curve a method.

    Parameters
    ----------
    curves : sequence of mappings
        Each with ``name``, ``densities`` [K] (fractions), ``values`` [S][K] (a row a seed) and optionally
        ``interval`` [K] of (low, high). Without an interval, Student's 95 % interval of the mean over
        seeds is drawn from 5 seeds on; with fewer, each seed is a faint marker.
    metric : str
        Name of the vertical axis.
    title : str, optional
        Default: the metric against weights remaining.
    reference : (str, float), optional
        A named horizontal line, for instance ``("chance", 0.1)``.

    Raises
    ------
    InputError
        If lengths differ or a density is not positive.
    """
    fig = style(go.Figure(), title=title or f"{metric[:1].upper()}{metric[1:]} of sparse tickets", y=metric)
    fig.update_layout(height=460)
    looks = [swatch(i) for i in range(len(curves))]
    ready = [prepared(curve) for curve in curves]
    for (name, densities, rows, ends), look in zip(ready, looks, strict=True):
        _add_interval(fig, name, densities, ends, color=look["color"])
        if len(rows) < FEW_SEEDS:
            _add_seeds(fig, name, densities, rows=rows, look=look)
    for (name, densities, rows, ends), look in zip(ready, looks, strict=True):
        _add_mean(fig, name, metric, densities=densities, rows=rows, ends=ends, look=look)
    if reference is not None:
        _add_reference(fig, *reference)
        values = [value for _, _, rows, _ in ready for row in rows for value in row if value is not None]
        low, high = min([*values, reference[1]]), max([*values, reference[1]])
        pad = 0.06 * ((high - low) or 1.0)  # axes make no room for lines that are no data
        fig.update_yaxes(range=[low - pad, high + pad])
    remaining_axis(fig, [density for _, densities, _, _ in ready for density in densities])
    return fig


def _add_interval(fig: go.Figure, name: str, densities: list[float], ends: Ends, *, color: str) -> None:
    known = [(100 * d, low, high) for d, (low, high) in zip(densities, ends, strict=True) if low is not None]
    if not known:
        return
    x = [point[0] for point in known]
    fig.add_scatter(
        x=[*x, *x[::-1]],
        y=[*(point[2] for point in known), *(point[1] for point in known[::-1])],
        mode="lines",
        fill="toself",
        fillcolor=tint(color, 0.14),
        line={"width": 0},
        name=f"{label(name)}, interval",
        legendgroup=name,
        showlegend=False,
        hoverinfo="skip",
    )


def _add_seeds(
    fig: go.Figure, name: str, densities: list[float], *, rows: Rows, look: Mapping[str, str]
) -> None:
    if len(rows) < 2:
        return
    for seed, row in enumerate(rows):
        fig.add_scatter(
            x=percent(densities),
            y=row,
            mode="markers",
            name=f"{label(name)}, run {seed + 1}",
            legendgroup=name,
            showlegend=False,
            marker={"symbol": f"{look['symbol']}-open", "size": 6, "color": tint(look["color"], 0.55)},
            hovertemplate=f"{label(name)}, run {seed + 1}<br>%{{x:.4~g}} %: %{{y:.4~g}}<extra></extra>",
        )


def _add_mean(
    fig: go.Figure,
    name: str,
    metric: str,
    *,
    densities: list[float],
    rows: Rows,
    ends: Ends,
    look: Mapping[str, str],
) -> None:
    means = [mean_at(rows, k) for k in range(len(densities))]
    known = any(low is not None for low, _ in ends)
    interval = "<br>interval %{customdata[1]:.4~g} to %{customdata[2]:.4~g}" if known else ""
    several = f", mean of {len(rows)} runs" if len(rows) > 1 else ""
    fig.add_scatter(
        x=percent(densities),
        y=means,
        mode="lines+markers",
        name=label(name),
        legendgroup=name,
        line={"color": look["color"], "dash": look["dash"], "width": 2.4},
        marker={
            "symbol": look["symbol"],
            "size": 8,
            "color": look["color"],
            "line": {"color": "white", "width": 1},
        },
        customdata=[[mean, *pair] for mean, pair in zip(means, ends, strict=True)],
        hovertemplate=(
            f"<b>{label(name)}</b>{several}<br>%{{x:.4~g}} % of weights<br>"
            f"{label(metric)} %{{y:.4~g}}{interval}<extra></extra>"
        ),
    )


def _add_reference(fig: go.Figure, name: str, value: float) -> None:
    fig.add_hline(
        y=value,
        line={"color": GREY, "width": 1, "dash": "dot"},
        annotation={"text": label(name), "font": {"size": 12.5, "color": GREY}},
        annotation_position="top left",
    )


def density_figure(
    layers: Sequence[Mapping[str, Sequence[float]]],
    densities: Sequence[Any],
    names: Sequence[str],
    *,
    title: str = "Density of each layer",
) -> go.Figure:
    """Return the density of each layer against the density of the whole network.

    Colour is the layer, dash and marker the method; the thin line is a network pruned evenly.

    Parameters
    ----------
    layers : sequence of mappings
        For each method, layer name → densities [K].
    densities : sequence
        Of the whole network: [K], or one [K] a method.
    names : sequence of str
        The methods.
    """
    fig = style(go.Figure(), title=title, y="weights remaining in the layer", height=460)
    shared = not (len(densities) > 0 and hasattr(densities[0], "__len__"))
    every = dict.fromkeys(layer for method in layers for layer in method)
    colors = {layer: swatch(i)["color"] for i, layer in enumerate(every)}
    totals: list[float] = []
    for i, (method, name) in enumerate(zip(layers, names, strict=True)):
        own = checked_densities(densities if shared else densities[i], name)
        totals.extend(own)
        for layer, values in method.items():
            _add_layer(fig, (name, layer), own, values=numbers(values), color=colors[layer], look=swatch(i))
    _add_keys(fig, colors, names)
    low = 100 * min(totals, default=1.0)
    _add_even(fig, low)
    remaining_axis(fig, totals)
    drawn = [y for trace in fig.data for y in trace.y if y is not None and y > 0]
    fig.update_yaxes(type="log", **percent_ticks(min(drawn, default=1.0), 100.0))
    return fig


def _add_layer(
    fig: go.Figure,
    who: tuple[str, str],
    densities: list[float],
    *,
    values: list[float | None],
    color: str,
    look: Mapping[str, str],
) -> None:
    name, layer = who
    fig.add_scatter(
        x=percent(densities),
        y=[None if value is None or value <= 0 else 100 * value for value in values],
        mode="lines+markers",
        name=f"{label(name)}, {label(layer)}",
        legendgroup=layer,
        showlegend=False,
        line={"color": color, "dash": look["dash"], "width": 2},
        marker={
            "symbol": look["symbol"],
            "size": 7,
            "color": color,
            "line": {"color": "white", "width": 0.8},
        },
        customdata=[[None if value is None else 100 * value] for value in values],
        hovertemplate=(
            f"<b>{label(layer)}</b>, {label(name)}<br>%{{customdata[0]:.4~g}} % of the layer<br>"
            "%{x:.4~g} % of all weights<extra></extra>"
        ),
    )


def _add_keys(fig: go.Figure, colors: Mapping[str, str], names: Sequence[str]) -> None:
    """Add the legend as two keys, layers and methods, instead of one entry for each pair."""
    for layer, color in colors.items():
        fig.add_scatter(
            x=[None],
            y=[None],
            mode="lines",
            name=label(layer),
            legendgroup=layer,
            line={"color": color, "width": 3},
        )
    for i, name in enumerate(names):
        look = swatch(i)
        fig.add_scatter(
            x=[None],
            y=[None],
            mode="lines+markers",
            name=label(name),
            line={"color": INK, "dash": look["dash"], "width": 1.6},
            marker={"symbol": look["symbol"], "size": 7, "color": INK},
        )


def _add_even(fig: go.Figure, low: float) -> None:
    fig.add_scatter(
        x=[100, low],
        y=[100, low],
        mode="lines",
        name="even pruning",
        line={"color": GREY, "width": 1, "dash": "dot"},
        hoverinfo="skip",
    )
