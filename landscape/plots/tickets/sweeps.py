"""Figures of sparse tickets: test score, per-layer density and barriers against weights remaining.

Pure functions of plain numbers; where a value is unknown, give None.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go

from landscape.plots.series import (
    FEW_SEEDS,
    Ends,
    Rows,
    checked_densities,
    error_bars,
    mean_at,
    percent,
    prepared,
    remaining_axis,
)
from landscape.plots.text import label
from landscape.plots.theme import GREY, INK, numbers, percent_ticks, style, swatch, tint
from landscape.plots.tickets.barriers import barrier_levels_figure, barrier_pairs_figure

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
        seeds is drawn from 5 seeds on; with fewer, each seed is a faint marker. ``run_intervals`` [S][K]
        of (low, high) or None are intervals of single values, on the markers of seeds. ``incomplete``
        holds the positions k where a seed's value is not known as a number: there is no mean then, and
        each known seed is a marker.
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
    for curve, (name, densities, rows, ends), look in zip(curves, ready, looks, strict=True):
        _add_interval(fig, name, densities, _complete(curve, ends), color=look["color"])
        _add_seeds(fig, name, densities, rows=_marked(curve, rows), look=look, own=curve.get("run_intervals"))
    for curve, (name, densities, rows, ends), look in zip(curves, ready, looks, strict=True):
        gaps = curve.get("incomplete", ())
        means = [None if k in gaps else mean_at(rows, k) for k in range(len(densities))]
        points = list(zip(means, _complete(curve, ends), strict=True))
        _add_mean(fig, name, metric, densities=densities, points=points, runs=len(rows), look=look)
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


def _complete(curve: Mapping[str, Any], ends: Ends) -> Ends:
    """Return the intervals of means, without those of means that there are not."""
    gaps = curve.get("incomplete", ())
    return [(None, None) if k in gaps else pair for k, pair in enumerate(ends)]


def _marked(curve: Mapping[str, Any], rows: Rows) -> Rows:
    """Return the values of seeds that are markers: of few seeds all, else those that have no mean."""
    gaps = curve.get("incomplete", ())
    if len(rows) < 2 and not gaps:
        return []
    few = len(rows) < FEW_SEEDS
    return [[value if few or k in gaps else None for k, value in enumerate(row)] for row in rows]


def _add_seeds(
    fig: go.Figure,
    name: str,
    densities: list[float],
    *,
    rows: Rows,
    look: Mapping[str, str],
    own: Sequence[Sequence[Any]] | None = None,
) -> None:
    for seed, row in enumerate(rows):
        if all(value is None for value in row):
            continue
        ends = [(None, None)] * len(row) if own is None else [pair or (None, None) for pair in own[seed]]
        shown = [pair if value is not None else (None, None) for value, pair in zip(row, ends, strict=True)]
        known = any(low is not None for low, _ in shown)
        interval = "<br>95 % interval %{customdata[1]:.4~g} to %{customdata[2]:.4~g}" if known else ""
        text = f"{label(name)}, run {seed + 1}"
        fig.add_scatter(
            x=percent(densities),
            y=row,
            mode="markers",
            name=text,
            legendgroup=name,
            showlegend=False,
            marker={"symbol": f"{look['symbol']}-open", "size": 6, "color": tint(look["color"], 0.55)},
            error_y=error_bars(row, shown, color=look["color"]) if known else None,
            customdata=[[value, *pair] for value, pair in zip(row, shown, strict=True)],
            hovertemplate=f"{text}<br>%{{x:.4~g}} %: %{{y:.4~g}}{interval}<extra></extra>",
        )


def _add_mean(
    fig: go.Figure,
    name: str,
    metric: str,
    *,
    densities: list[float],
    points: Sequence[tuple[float | None, tuple[float | None, float | None]]],
    runs: int,
    look: Mapping[str, str],
) -> None:
    known = any(low is not None for _, (low, _) in points)
    interval = "<br>interval %{customdata[1]:.4~g} to %{customdata[2]:.4~g}" if known else ""
    several = f", mean of {runs} runs" if runs > 1 else ""
    fig.add_scatter(
        x=percent(densities),
        y=[mean for mean, _ in points],
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
        customdata=[[mean, *pair] for mean, pair in points],
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
