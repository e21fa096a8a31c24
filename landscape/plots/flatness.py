"""Figures of flatness: values of one network, measures across sparsity, perturbation curves."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from landscape.flatness.catalogue import title_of
from landscape.plots._text import label, shorten, wrapped_label
from landscape.plots.flatness_curves import curve_figure
from landscape.plots.theme import COLORS, log_ticks, numbers, style, swatch
from landscape.plots.tickets import sweep_figure

__all__ = [
    "curve_figure",
    "flatness_figure",
    "measure_figure",
    "sweep_of",
    "values_figure",
]

Network = Mapping[str, Any]

_LOWER = "lower bound"
_WIDE = 20.0  # spread from which an axis of positive values is logarithmic


def flatness_figure(result: Any) -> go.Figure:
    """Return the figure of a table: all values of one network, or every measure across sparsity.

    Parameters
    ----------
    result : Flatness
        Only its fields are read.
    """
    spaces = list(dict.fromkeys(network["space"] for network in result.networks))
    if len(result.networks) == len(spaces):
        return values_figure(result)
    return _panels(result, spaces[0])


def values_figure(result: Any) -> go.Figure:
    """Return every measure of one network with its interval, a row each on a log axis."""
    measures = [m for m in result.measures if any(_positive(r) for r in result.records if r["measure"] == m)]
    spaces = list(dict.fromkeys(record["space"] for record in result.records))
    name = str(result.networks[0]["name"]) if len(result.networks) else ""
    fig = style(go.Figure(), title=f"Flatness at {shorten(name, 60)}", x="value (log scale)")
    places = {measure: len(measures) - i for i, measure in enumerate(measures)}
    for i, space in enumerate(spaces):
        _dots(fig, [r for r in result.records if r["space"] == space], places, space=space, look=swatch(i))
    fig.update_yaxes(
        tickvals=list(places.values()),
        ticktext=[wrapped_label(title_of(measure), 30) for measure in places],
        range=[0.3, len(measures) + 0.7],
    )
    fig.update_xaxes(type="log", exponentformat="power")
    fig.update_layout(height=150 + 40 * max(len(measures), 2), showlegend=len(spaces) > 1)
    return fig


def _positive(record: Mapping[str, Any]) -> bool:
    value = numbers([record["value"]])[0]
    return value is not None and value != 0


def _dots(
    fig: go.Figure,
    records: Sequence[Mapping[str, Any]],
    places: Mapping[str, int],
    *,
    space: str,
    look: Mapping[str, str],
) -> None:
    """Draw the sizes of the values; open markers are negative, arrows lower bounds."""
    shown = [record for record in records if record["measure"] in places and _positive(record)]
    values = [float(record["value"]) for record in shown]
    ends = [_sizes(record) for record in shown]
    texts = [_hover(record) for record in shown]
    fig.add_scatter(
        x=[abs(value) for value in values],
        y=[places[record["measure"]] for record in shown],
        mode="markers",
        name=f"{space} space",
        meta="horizontal",
        marker={
            "symbol": [_symbol(record, look["symbol"]) for record in shown],
            "size": 10,
            "color": look["color"],
            "line": {"color": look["color"], "width": 1.5},
        },
        error_x={
            "type": "data",
            "symmetric": False,
            "array": [high - abs(v) for v, (_, high) in zip(values, ends, strict=True)],
            "arrayminus": [abs(v) - low for v, (low, _) in zip(values, ends, strict=True)],
            "color": look["color"],
            "thickness": 1.5,
            "width": 4,
        },
        customdata=[[value, *_ends(record)] for value, record in zip(values, shown, strict=True)],
        text=texts,
        hovertemplate="%{text}<extra></extra>",
    )


def _symbol(record: Mapping[str, Any], symbol: str) -> str:
    if record["label"] == _LOWER:
        return "triangle-right"
    return f"{symbol}-open" if float(record["value"]) < 0 else symbol


def _ends(record: Mapping[str, Any]) -> list[float | None]:
    interval = record.get("interval")
    return [None, None] if interval is None else numbers(interval)


def _sizes(record: Mapping[str, Any]) -> tuple[float, float]:
    """Return the ends of the interval as positions of a log axis of sizes: not beyond zero."""
    size, (low, high) = abs(float(record["value"])), _ends(record)
    if low is None or high is None:
        return size, size
    near, far = sorted((abs(low), abs(high))) if low * high > 0 else (size / 10, max(abs(low), abs(high)))
    return min(near, size), max(far, size)


def _hover(record: Mapping[str, Any]) -> str:
    sign = "≥ " if record["label"] == _LOWER else ""
    low, high = _ends(record)
    interval = "" if low is None or high is None else f"<br>95 % interval {low:.4g} to {high:.4g}"
    text = f"<b>{label(title_of(record['measure']))}</b><br>{sign}{float(record['value']):.4g}{interval}"
    return f"{text}<br>{label(record['label'])}"


def sweep_of(result: Any, measure: str, *, space: str | None = None) -> go.Figure | None:
    """Return a measure (or ``"parameter_norm"``) against weights remaining, one curve a method.

    Parameters
    ----------
    result : Flatness
        Of several networks.
    measure : str
        Which one.
    space : str, optional
        By default the first that was measured.

    Returns
    -------
    Figure or None
        None where there is nothing to draw: no value, no densities, or one density alone.
    """
    space = space or str(result.networks[0]["space"])
    curves = _curves(result, measure, space)
    densities = {density for curve in curves for density in curve["densities"]}
    known = [v for curve in curves for row in curve["values"] for v in row if v is not None]
    if len(densities) < 2 or not known:
        return None
    name = "norm of the parameters" if measure == "parameter_norm" else title_of(measure)
    bound = any(r["label"] == _LOWER for r in result.records if r["measure"] == measure)
    fig = sweep_figure(curves, metric=f"{name} (≥)" if bound else name, title=_capital(name))
    fig.update_yaxes(title_text=None)
    fig.update_layout(height=400)
    if min(known) > 0 and max(known) > _WIDE * min(known):
        _log_axis(fig, known)
    return fig


def _capital(name: str) -> str:
    """Return a title that begins with a capital, unless it begins with a symbol (``m-sharpness``)."""
    return name if name[1:2] == "-" else name[:1].upper() + name[1:]


def _log_axis(fig: go.Figure, values: Sequence[float]) -> None:
    low, high = min(values), max(values)
    # Intervals that reach below zero would hide the rest of a log axis.
    span = 0.08 * math.log10(high / low)
    steps = (1, 2, 5) if high / low < 300 else (1,)
    ticks = log_ticks(low / 1.2, high * 1.2, steps=steps)
    fig.update_yaxes(
        type="log",
        range=[math.log10(low) - span, math.log10(high) + span],
        tickvals=ticks,
        ticktext=[f"{tick:g}" for tick in ticks],
    )
    for trace in fig.data:
        if trace.fill == "toself":
            trace.y = [None if y is None else max(y, low / 10) for y in trace.y]


def _curves(result: Any, measure: str, space: str) -> list[dict[str, Any]]:
    """Return the values of a measure by method: densities [K] and values [S][K]."""
    column = (
        [network["parameter_norm"] for network in result.networks]
        if measure == "parameter_norm"
        else result.column(measure)
    )
    methods: dict[str, dict[Any, dict[Any, tuple[float, Any]]]] = {}
    for network, value in zip(result.networks, column, strict=True):
        if network["space"] != space or not network.get("density"):
            continue
        level = network["level"] if network.get("level") is not None else network["density"]
        runs = methods.setdefault(str(network.get("method") or "networks"), {})
        runs.setdefault(network.get("seed"), {})[level] = (float(network["density"]), value)
    curves = []
    for method, runs in methods.items():
        levels = sorted({level for run in runs.values() for level in run}, key=float)
        at = {level: [run[level][0] for run in runs.values() if level in run] for level in levels}
        order = sorted(levels, key=lambda level: -math.fsum(at[level]) / len(at[level]))
        curves.append(
            {
                "name": method,
                "densities": [math.fsum(at[level]) / len(at[level]) for level in order],
                "values": [
                    numbers([run[level][1] if level in run else None for level in order])
                    for run in runs.values()
                ],
            }
        )
    return curves


def _panels(result: Any, space: str) -> go.Figure:
    """Return one figure of all measures, for a notebook: a small panel each."""
    drawn = [
        (m, fig) for m in (*result.measures, "parameter_norm") if (fig := sweep_of(result, m, space=space))
    ]
    if not drawn:
        return _by_network(result, space)
    rows = -(-len(drawn) // 2)
    titles = [wrapped_label("parameter norm" if m == "parameter_norm" else title_of(m), 40) for m, _ in drawn]
    fig = make_subplots(rows=rows, cols=2, subplot_titles=titles, vertical_spacing=0.3 / rows)
    style(fig, title="Flatness across sparsity", height=120 + 260 * rows)
    for i, (_, panel) in enumerate(drawn):
        where = {"row": i // 2 + 1, "col": i % 2 + 1}
        for trace in panel.data:
            trace.showlegend = bool(i == 0 and trace.showlegend is not False)
            fig.add_trace(trace, **where)
        for axis, update in (("xaxis", fig.update_xaxes), ("yaxis", fig.update_yaxes)):
            given = panel.layout[axis]
            names = ("type", "range", "tickvals", "ticktext")
            update({name: given[name] for name in names if given[name] is not None}, **where)
    return fig


def _by_network(result: Any, space: str) -> go.Figure:
    """Return the values of every network side by side, where there is no sparsity to draw against."""
    measures = list(result.measures)
    fig = make_subplots(
        rows=max(len(measures), 1),
        cols=1,
        subplot_titles=[label(title_of(measure)) for measure in measures],
        vertical_spacing=0.5 / max(len(measures), 2),
    )
    style(fig, title="Flatness of networks", height=120 + 220 * max(len(measures), 1))
    for row, measure in enumerate(measures, start=1):
        records = [r for r in result.records if r["measure"] == measure and r["space"] == space]
        fig.add_scatter(
            x=[label(shorten(str(record["name"]), 30)) for record in records],
            y=numbers([record["value"] for record in records]),
            mode="markers",
            name=label(title_of(measure)),
            marker={"size": 9, "color": COLORS[0]},
            customdata=[[record["value"], *_ends(record)] for record in records],
            text=[_hover(record) if record["value"] is not None else "" for record in records],
            hovertemplate="%{x}<br>%{text}<extra></extra>",
            row=row,
            col=1,
        )
    fig.update_layout(showlegend=False)
    return fig


def measure_figure(result: Any) -> go.Figure:
    """Return the curve of a single measure where it has one, else its value.

    Parameters
    ----------
    result : FlatnessMeasure
        Only its fields are read.
    """
    facts = {"name": "network", "space": "network", "measure": result.name, "label": result.label}
    curve = result.details.get("curve")
    table = _Table(
        records=[{**facts, "value": result.value, "interval": result.interval}],
        networks=[facts],
        measures=[result.name],
        curves=[] if curve is None else [{**facts, "units": result.details.get("units"), **curve}],
    )
    return curve_figure(table, result.name) or values_figure(table)


class _Table:
    """The fields of a `Flatness` that a single measure has."""

    def __init__(self, **fields: Any) -> None:
        self.records: list[dict[str, Any]] = fields["records"]
        self.networks: list[dict[str, Any]] = fields["networks"]
        self.measures: list[str] = fields["measures"]
        self.curves: list[dict[str, Any]] = fields["curves"]
