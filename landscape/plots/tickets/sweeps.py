"""Figures of sparse tickets: test score and density of each layer against weights remaining.

Pure functions of plain numbers; where a value is unknown, give None.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from landscape.plots.series import (
    FEW_SEEDS,
    Ends,
    Rows,
    add_band,
    add_heading,
    checked_densities,
    error_bars,
    interval_text,
    mean_at,
    percent,
    prepared,
    remaining_axis,
)
from landscape.plots.text import label, shorten
from landscape.plots.theme import GREY, log_axis, numbers, style, style_of, tint
from landscape.plots.tickets.barriers import barrier_levels_figure, barrier_pairs_figure

__all__ = ["barrier_levels_figure", "barrier_pairs_figure", "density_figure", "sweep_figure"]

_GAP, _MARGINS, _HEADING = 64, 160, 26  # pixels between panels, around all, of a heading
_MOST_LAYERS = 12


def sweep_figure(
    curves: Sequence[Mapping[str, Any]],
    *,
    metric: str = "test accuracy",
    title: str | None = None,
    reference: tuple[str, float] | None = None,
) -> go.Figure:
    """Return a score against weights remaining, one curve per method.

    Parameters
    ----------
    curves : sequence of mappings
        Each with ``name``, ``densities`` [K] (fractions), ``values`` [S][K] (a row per seed) and optionally
        ``interval`` [K] of (low, high). Without an interval, Student's 95 % interval of the mean over
        seeds is drawn for 5 seeds or more; of fewer, each seed is an open marker. ``run_intervals`` [S][K]
        of (low, high) or None are intervals of single values, on the markers of seeds. ``incomplete``
        holds the positions k where a seed's value is not known as a number: there is no mean then, and
        each known seed is a marker. ``method`` is the key that decides how the curve looks (by default the
        name), ``panel`` the heading of the panel it is drawn in (by default there is one panel).
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
    panels = list(dict.fromkeys(str(curve.get("panel", "")) for curve in curves)) or [""]
    fig = _panels(len(panels), height=300)
    style(
        fig,
        title=title or f"{metric[:1].upper()}{metric[1:]} against weights remaining",
        y=metric,
        height=int(fig.layout.height),
        caption=_sweep_caption(curves, reference),
    )
    ready = [prepared(curve) for curve in curves]
    for curve, series in zip(curves, ready, strict=True):
        row = 1 + panels.index(str(curve.get("panel", "")))
        _add_curve(fig, curve, series, metric=metric, row=row)
    every = [density for _, densities, _, _ in ready for density in densities]
    for row, panel in enumerate(panels, start=1):
        if panel:
            add_heading(fig, label(panel), row=row)
        if reference is not None:
            _add_reference(fig, *reference, row=row)
        remaining_axis(fig, every, row=row, col=1)
    fig.update_xaxes(title_text=None)
    fig.update_xaxes(title_text="weights remaining", row=len(panels), col=1)
    if len(panels) > 1:
        _raise_legend(fig)
    if reference is not None:
        values = [value for _, _, rows, _ in ready for row in rows for value in row if value is not None]
        low, high = min([*values, reference[1]]), max([*values, reference[1]])
        pad = 0.06 * ((high - low) or 1.0)  # axes make no room for lines that are not data
        fig.update_yaxes(range=[low - pad, high + pad])
    return fig


def _panels(count: int, *, height: int) -> go.Figure:
    """Return a figure of panels of `height` pixels, one below the other on one axis."""
    whole = _MARGINS + count * height + (count - 1) * _GAP
    spacing = 0 if count < 2 else _GAP / (whole - _MARGINS)
    fig = make_subplots(rows=count, cols=1, shared_xaxes=True, vertical_spacing=spacing)
    fig.update_layout(height=whole)
    return fig


def _raise_legend(fig: go.Figure) -> None:
    """Set the legend above the heading of the first panel."""
    fig.update_layout(legend_y=1 + _HEADING / (fig.layout.height - _MARGINS))


def _sweep_caption(curves: Sequence[Mapping[str, Any]], reference: tuple[str, float] | None) -> str:
    """Return what the lines, bands and markers of a sweep are."""
    counts = [len(curve["values"]) if _nested(curve["values"]) else 1 for curve in curves]
    said = ["Lines join means over runs." if max(counts, default=1) > 1 else "Lines join the levels."]
    if any(1 < count < FEW_SEEDS for count in counts) or any(curve.get("incomplete") for curve in curves):
        own = any(curve.get("run_intervals") is not None for curve in curves)
        said.append(f"Open markers are single runs{', with their own 95 % intervals' if own else ''}.")
    student = any(
        count >= FEW_SEEDS and curve.get("interval") is None
        for count, curve in zip(counts, curves, strict=True)
    )
    if student:
        said.append("Bands are Student's 95 % intervals of the mean over runs.")
    elif any(curve.get("interval") is not None for curve in curves):
        said.append("Bands are 95 % intervals.")
    if reference is not None:
        said.append(f"The dotted line is {reference[0]}.")
    return " ".join(said)


def _nested(values: Any) -> bool:
    return len(values) > 0 and hasattr(values[0], "__len__")


def _add_curve(
    fig: go.Figure,
    curve: Mapping[str, Any],
    series: tuple[str, list[float], Rows, Ends],
    *,
    metric: str,
    row: int,
) -> None:
    name, densities, rows, ends = series
    look = style_of(str(curve.get("method", curve["name"])))
    whole = _complete(curve, ends)
    _add_interval(fig, name, densities, whole, color=look["color"], row=row)
    marked, own = _marked(curve, rows), curve.get("run_intervals")
    _add_seeds(fig, name, densities, rows=marked, look=look, own=own, row=row)
    gaps = curve.get("incomplete", ())
    means = [None if k in gaps else mean_at(rows, k) for k in range(len(densities))]
    points = list(zip(means, whole, strict=True))
    _add_mean(fig, (name, metric), densities, points=points, runs=len(rows), look=look, row=row)


def _add_interval(
    fig: go.Figure, name: str, densities: list[float], ends: Ends, *, color: str, row: int
) -> None:
    known = [
        (100 * d, low, high)
        for d, (low, high) in zip(densities, ends, strict=True)
        if low is not None and high is not None
    ]
    text = f"{label(name)}, interval"
    add_band(fig, known, text, color=color, legendgroup=name, row=row, col=1)


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
    own: Sequence[Sequence[Any]] | None,
    row: int,
) -> None:
    for seed, values in enumerate(rows):
        if all(value is None for value in values):
            continue
        ends = [(None, None)] * len(values) if own is None else [pair or (None, None) for pair in own[seed]]
        shown = [pair if v is not None else (None, None) for v, pair in zip(values, ends, strict=True)]
        known = any(low is not None for low, _ in shown)
        text = f"{label(name)}, run {seed + 1}"
        fig.add_scatter(
            x=percent(densities),
            y=values,
            mode="markers",
            name=text,
            legendgroup=name,
            showlegend=False,
            marker={"symbol": f"{look['symbol']}-open", "size": 6, "color": look["color"]},
            error_y=error_bars(values, shown, color=tint(look["color"], 0.5)) if known else None,
            customdata=[[value, *pair] for value, pair in zip(values, shown, strict=True)],
            hovertemplate=f"{text}<br>%{{x:.4~g}} %: %{{y:.4~g}}{interval_text(shown)}<extra></extra>",
            meta={"method": name, "run": seed + 1},
            row=row,
            col=1,
        )


def _add_mean(
    fig: go.Figure,
    names: tuple[str, str],
    densities: list[float],
    *,
    points: Sequence[tuple[float | None, tuple[float | None, float | None]]],
    runs: int,
    look: Mapping[str, str],
    row: int,
) -> None:
    name, metric = names
    interval = interval_text([ends for _, ends in points])
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
        meta={"method": name},
        row=row,
        col=1,
    )


def _add_reference(fig: go.Figure, name: str, value: float, *, row: int) -> None:
    fig.add_hline(
        y=value,
        line={"color": GREY, "width": 1, "dash": "dot"},
        annotation={"text": label(name), "font": {"size": 12.5, "color": GREY}},
        annotation_position="top left",
        row=row,
        col=1,
    )


def density_figure(
    layers: Sequence[Mapping[str, Sequence[float]]],
    densities: Sequence[Any],
    names: Sequence[str],
    *,
    methods: Sequence[str] | None = None,
    title: str = "Density of each layer",
) -> go.Figure:
    """Return the density of each layer against the density of the whole network, a panel per layer.

    Parameters
    ----------
    layers : sequence of mappings
        For each method, layer name → densities [K].
    densities : sequence
        Of the whole network: [K], or one [K] per method.
    names : sequence of str
        What the methods are called.
    methods : sequence of str, optional
        The keys that decide how their lines look; by default the names.
    """
    every = list(dict.fromkeys(layer for method in layers for layer in method))
    shown = every[:_MOST_LAYERS]
    fig = _panels(max(len(shown), 1), height=170)
    left_out = f" The first {_MOST_LAYERS} of {len(every)} layers." if len(every) > len(shown) else ""
    caption = f"Each panel is a layer. On the dotted line a layer keeps as much as the network.{left_out}"
    style(fig, title=title, height=int(fig.layout.height), caption=caption)
    shared = not (len(densities) > 0 and hasattr(densities[0], "__len__"))
    totals: list[float] = []
    looks = [style_of(key) for key in (methods or names)]
    for i, (method, name) in enumerate(zip(layers, names, strict=True)):
        own = checked_densities(densities if shared else densities[i], name)
        totals.extend(own)
        _add_key(fig, name, looks[i])
        for layer in method:
            if layer in shown:
                where = shown.index(layer) + 1
                values = numbers(method[layer])
                _add_layer(fig, (name, layer), own, values=values, look=looks[i], row=where)
    drawn = [y for trace in fig.data for y in trace.y if y is not None and y > 0]
    axis = log_axis(min(drawn, default=1.0), 100.0)
    axis["ticktext"] = [f"{text} %" for text in axis["ticktext"]]
    for row, layer in enumerate(shown, start=1):
        add_heading(fig, label(shorten(layer, 40)), row=row)
        _add_even(fig, 100 * min(totals, default=1.0), row=row)
        remaining_axis(fig, totals, row=row, col=1)
    fig.update_xaxes(title_text=None)
    fig.update_xaxes(title_text="weights remaining in the network", row=max(len(shown), 1), col=1)
    fig.update_yaxes(**axis)
    _raise_legend(fig)
    return fig


def _add_layer(
    fig: go.Figure,
    who: tuple[str, str],
    densities: list[float],
    *,
    values: list[float | None],
    look: Mapping[str, str],
    row: int,
) -> None:
    name, layer = who
    fig.add_scatter(
        x=percent(densities),
        y=[None if value is None or value <= 0 else 100 * value for value in values],
        mode="lines+markers",
        name=f"{label(name)}, {label(layer)}",
        legendgroup=name,
        showlegend=False,
        line={"color": look["color"], "dash": look["dash"], "width": 2},
        marker={"symbol": look["symbol"], "size": 7, "color": look["color"]},
        customdata=[[None if value is None else 100 * value] for value in values],
        hovertemplate=(
            f"<b>{label(layer)}</b>, {label(name)}<br>%{{customdata[0]:.4~g}} % of the layer<br>"
            "%{x:.4~g} % of all weights<extra></extra>"
        ),
        meta={"method": name, "layer": layer},
        row=row,
        col=1,
    )


def _add_key(fig: go.Figure, name: str, look: Mapping[str, str]) -> None:
    """Add the legend of a method once for all panels."""
    fig.add_scatter(
        x=[None],
        y=[None],
        mode="lines+markers",
        name=label(name),
        legendgroup=name,
        line={"color": look["color"], "dash": look["dash"], "width": 2},
        marker={"symbol": look["symbol"], "size": 7, "color": look["color"]},
        row=1,
        col=1,
    )


def _add_even(fig: go.Figure, low: float, *, row: int) -> None:
    fig.add_scatter(
        x=[100, low],
        y=[100, low],
        mode="lines",
        name="even pruning",
        showlegend=row == 1,
        legendgroup="even pruning",
        line={"color": GREY, "width": 1, "dash": "dot"},
        hoverinfo="skip",
        row=row,
        col=1,
    )
