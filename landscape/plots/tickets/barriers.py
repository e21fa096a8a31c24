"""Figures of barriers between tickets: along the levels of a run, and between runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from landscape.plots.axes import Scale
from landscape.plots.series import (
    Ends,
    Rows,
    add_heading,
    ends_of,
    interval_text,
    mean_at,
    percent,
    prepared,
    remaining_axis,
)
from landscape.plots.text import label, wrapped_label
from landscape.plots.theme import INK, numbers, style, style_of, tint

__all__ = ["barrier_levels_figure", "barrier_pairs_figure"]

_LEVELS = (
    "Markers are single runs, moved sideways a little so that their 95 % intervals (bars) can be told apart; "
    "lines join means over runs. An open marker lies at or below the floor of the axis (≤)."
)
_PAIRS = (
    "Each marker is a pair of networks with its 95 % interval (bar), the upright stroke the mean of a row. "
    "Markers are filled for the first kind of pair and open for the second."
)


def barrier_levels_figure(
    series: Sequence[Mapping[str, Any]],
    *,
    quantity: str = "barrier (loss above the chord)",
    title: str = "Barriers between successive levels",
) -> go.Figure:
    """Return barriers between successive pruning levels against weights remaining.

    Parameters
    ----------
    series : sequence of mappings
        Each with ``name``, ``densities`` [K] (of the sparser endpoint), ``values`` [S][K] and optionally
        ``intervals`` [S][K] of (low, high), drawn as error bars. The line joins the means over runs.
        ``method`` is the key that decides how it looks, by default the name.
    quantity : str
        Name of the vertical axis. The axis is logarithmic, with its floor marked, where the positive
        values span more than two decades.
    """
    fig = style(go.Figure(), title=title, y=quantity, height=440, caption=_LEVELS)
    ready = [prepared(one) for one in series]
    bars = [_row_intervals(one, item) for one, item in zip(series, ready, strict=True)]
    highs = [high for runs in bars for run in runs for _, high in run]
    scale = Scale.of([value for _, _, rows, _ in ready for row in rows for value in row], highs)
    for i, ((name, densities, rows, _), ends) in enumerate(zip(ready, bars, strict=True)):
        look = style_of(str(series[i].get("method", series[i]["name"])))
        _add_mean_barrier(fig, name, densities, rows=rows, scale=scale, look=look)
        for run, row in enumerate(rows):
            place = i - (len(ready) - 1) / 2 + 0.4 * (run - (len(rows) - 1) / 2)
            points = (densities, row, ends[run])
            _add_barriers(fig, (name, run + 1), points, shift=1.025**place, scale=scale, look=look)
    fig.update_yaxes(**scale.axis())
    remaining_axis(fig, [density for _, densities, _, _ in ready for density in densities])
    return fig


def _row_intervals(one: Mapping[str, Any], ready: tuple[str, list[float], Rows, Ends]) -> list[Ends]:
    name, _, rows, _ = ready
    given = one.get("intervals")
    if given is None:
        return [[(None, None)] * len(row) for row in rows]
    if len(rows) == 1 and len(given) == len(rows[0]) and not _nested_pairs(given):
        given = [given]
    return [ends_of(pairs, [row], name) for pairs, row in zip(given, rows, strict=True)]


def _nested_pairs(given: Any) -> bool:
    first = next((item for item in given if item is not None), None)
    return first is not None and len(first) > 0 and (first[0] is None or hasattr(first[0], "__len__"))


def _add_mean_barrier(
    fig: go.Figure, name: str, densities: list[float], *, rows: Rows, scale: Scale, look: Mapping[str, str]
) -> None:
    means = [mean_at(rows, k) for k in range(len(densities))]
    line = {"color": look["color"], "dash": look["dash"], "width": 2}
    marker = {"symbol": look["symbol"], "size": 7, "color": look["color"]}
    fig.add_scatter(  # the key: the points and the line of their means are two traces
        x=[None],
        y=[None],
        mode="lines+markers",
        name=label(name),
        legendgroup=name,
        line=line,
        marker=marker,
    )
    fig.add_scatter(
        x=percent(densities),
        y=[scale.place(mean) for mean in means],
        mode="lines",
        name=f"{label(name)}, mean",
        legendgroup=name,
        showlegend=False,
        line=line,
        customdata=[[mean] for mean in means],
        hovertemplate=f"<b>{label(name)}</b>, mean<br>%{{x:.4~g}} %: %{{customdata[0]:.4~g}}<extra></extra>",
    )


def _add_barriers(
    fig: go.Figure,
    who: tuple[str, int],
    points: tuple[list[float], list[float | None], Ends],
    *,
    shift: float,
    scale: Scale,
    look: Mapping[str, str],
) -> None:
    """Draw the barriers of one run, moved sideways a little so that error bars do not hide each other."""
    densities, values, ends = points
    name = f"{label(who[0])}, run {who[1]}"
    known = any(high is not None for _, high in ends)
    interval = interval_text(ends)
    symbols = [f"{look['symbol']}-open" if scale.floored(value) else look["symbol"] for value in values]
    fig.add_scatter(
        x=[100 * density * shift for density in densities],
        y=[scale.place(value) for value in values],
        mode="markers",
        name=name,
        legendgroup=who[0],
        showlegend=False,
        marker={"symbol": symbols, "size": 7, "color": look["color"]},
        error_y=scale.error_bars(values, ends, tint(look["color"], 0.6)) if known else None,
        customdata=[[v, *pair, 100 * d] for v, pair, d in zip(values, ends, densities, strict=True)],
        meta={"method": who[0], "run": who[1]},
        hovertemplate=(
            f"{name}<br>%{{customdata[3]:.4~g}} % of weights<br>barrier %{{customdata[0]:.4~g}}{interval}"
            "<extra></extra>"
        ),
    )


def barrier_pairs_figure(
    pairs: Sequence[Mapping[str, Any]],
    *,
    quantity: str = "barrier (loss above the chord)",
    title: str = "Barriers between runs",
) -> go.Figure:
    """Return barriers between pairs of runs as dots with error bars, in rows by method and kind of pair.

    Parameters
    ----------
    pairs : sequence of mappings
        Each with ``method``, ``group`` (for instance ``"one initialisation"``), ``value``, and optionally
        ``interval`` (low, high), ``label`` (shown on hover) and ``panel`` (for instance ``"100 %"``): one
        panel is drawn for each, below each other. The upright stroke is the mean of a row.
    quantity : str
        Name of the axis; logarithmic, with its floor marked, where positive values span over two decades.
    """
    panels = list(dict.fromkeys(str(pair.get("panel", "")) for pair in pairs)) or [""]
    rows = list(dict.fromkeys((str(pair["method"]), str(pair["group"])) for pair in pairs))
    methods = list(dict.fromkeys(method for method, _ in rows))
    rows.sort(key=lambda row: methods.index(row[0]))
    height = 120 + len(panels) * (50 + 46 * len(rows))
    fig = make_subplots(rows=len(panels), cols=1, shared_xaxes=True, vertical_spacing=0.22 / len(panels))
    style(fig, title=title, height=max(height, 260), caption=_PAIRS)
    highs = numbers([pair["interval"][1] for pair in pairs if pair.get("interval") is not None])
    scale = Scale.of(numbers([pair["value"] for pair in pairs]), highs)
    for i, panel in enumerate(panels, start=1):
        members = [pair for pair in pairs if str(pair.get("panel", "")) == panel]
        for at, row in enumerate(rows):
            chosen = [pair for pair in members if (str(pair["method"]), str(pair["group"])) == row]
            _add_pairs(fig, chosen, row, at=at, panel=i, look=_pair_look(chosen, row, rows), scale=scale)
        _name_rows(fig, rows, panel=i, name=panel)
    fig.update_xaxes(**scale.axis(), showgrid=True)
    fig.update_xaxes(title_text=wrapped_label(quantity, 26), row=len(panels), col=1)
    return fig


def _pair_look(
    pairs: Sequence[Mapping[str, Any]], row: tuple[str, str], rows: Sequence[tuple[str, str]]
) -> dict[str, str]:
    """Return the colour of the method, and filled or open markers by the kind of pair."""
    groups = list(dict.fromkeys(group for _, group in rows))
    look = style_of(str(pairs[0].get("key", row[0]) if pairs else row[0]))
    return {**look, "symbol": look["symbol"] + ("" if groups.index(row[1]) % 2 == 0 else "-open")}


def _add_pairs(
    fig: go.Figure,
    pairs: Sequence[Mapping[str, Any]],
    row: tuple[str, str],
    *,
    at: int,
    panel: int,
    look: Mapping[str, str],
    scale: Scale,
) -> None:
    values = numbers([pair["value"] for pair in pairs])
    ends = ends_of([pair.get("interval") for pair in pairs], [values], ", ".join(row))
    spread = 0.5 / max(len(pairs), 4)
    y = [at + spread * (i - (len(pairs) - 1) / 2) for i in range(len(pairs))]
    name = f"{label(row[0])}, {label(row[1])}"
    known = any(high is not None for _, high in ends)
    if mean := [value for value in values if value is not None]:
        centre = scale.place(sum(mean) / len(mean))
        fig.add_shape(
            type="line",
            x0=centre,
            x1=centre,
            y0=at - 0.36,
            y1=at + 0.36,
            row=panel,
            col=1,
            line={"color": INK, "width": 1.5},
        )
    fig.add_scatter(
        x=[scale.place(value) for value in values],
        y=y,
        mode="markers",
        name=name,
        meta={"horizontal": True, "method": row[0]},
        showlegend=False,
        marker={
            "symbol": look["symbol"],
            "size": 9,
            "color": look["color"],
            "line": {"color": look["color"], "width": 1.6},
        },
        error_x=scale.error_bars(values, ends, tint(look["color"], 0.6)) if known else None,
        customdata=[[value, *pair] for value, pair in zip(values, ends, strict=True)],
        text=[label(pair.get("label", "")) for pair in pairs],
        hovertemplate=(
            f"<b>{name}</b><br>%{{text}}<br>barrier %{{customdata[0]:.4~g}}"
            f"{interval_text(ends)}<extra></extra>"
        ),
        row=panel,
        col=1,
    )


def _name_rows(fig: go.Figure, rows: Sequence[tuple[str, str]], *, panel: int, name: str) -> None:
    fig.update_yaxes(
        tickvals=list(range(len(rows))),
        ticktext=[f"{label(method)}<br>{label(group)}" for method, group in rows],
        range=[len(rows) - 0.4, -0.6],
        ticks="",
        showgrid=False,
        row=panel,
        col=1,
    )
    if name:
        add_heading(fig, label(name), row=panel)
