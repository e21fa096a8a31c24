"""Figures of flatness: values of one network, measures across sparsity, perturbation curves."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from landscape.flatness.catalogue import title_of
from landscape.plots._text import label, wrapped_label
from landscape.plots.flatness_curves import curve_figure
from landscape.plots.flatness_values import LOWER, WIDE, capital, networks_figure, values_figure
from landscape.plots.theme import log_ticks, numbers, style
from landscape.plots.tickets import sweep_figure

__all__ = [
    "curve_figure",
    "flatness_figure",
    "measure_figure",
    "networks_figure",
    "sweep_of",
    "values_figure",
]

Network = Mapping[str, Any]


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
    bound = any(r["label"] == LOWER for r in result.records if r["measure"] == measure)
    fig = sweep_figure(curves, metric=f"{name} (≥)" if bound else name, title=capital(name))
    fig.update_yaxes(title_text=None)
    fig.update_layout(height=400)
    if min(known) > 0 and max(known) > WIDE * min(known):
        _log_axis(fig, known)
    return fig


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
    methods: dict[str, dict[Any, dict[float, Any]]] = {}
    for network, value in zip(result.networks, column, strict=True):
        if network["space"] != space or not network.get("density"):
            continue
        level = float(f"{float(network['density']):.9g}")  # the same in every run, but for rounding
        runs = methods.setdefault(str(network.get("method") or "networks"), {})
        # Runs of two folders may share method and seed: the second is a run of its own.
        copies = ((network.get("seed"), copy) for copy in itertools.count())
        run = next(key for key in copies if level not in runs.get(key, {}))
        runs.setdefault(run, {})[level] = value
    curves = []
    for method, found in methods.items():
        levels = sorted({level for run in found.values() for level in run}, reverse=True)
        rows = [[run.get(level) for level in levels] for run in found.values()]
        curves.append({"name": method, "densities": levels, "values": [numbers(row) for row in rows]})
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
    """Return the values of every network, where there is no sparsity to draw against: a panel a measure."""
    drawn = [(m, fig) for m in result.measures if (fig := networks_figure(result, m, space=space))]
    rows = max(len(drawn), 1)
    heights = [float(panel.layout.height) for _, panel in drawn]
    fig = make_subplots(
        rows=rows,
        cols=1,
        subplot_titles=[label(capital(title_of(measure))) for measure, _ in drawn],
        vertical_spacing=min(0.4 / rows, 90 / (sum(heights) or 1)),
    )
    style(fig, title="Flatness of networks", height=120 + int(sum(heights)))
    for row, (_, panel) in enumerate(drawn, start=1):
        for trace in panel.data:
            trace.legendgroup = trace.name
            trace.showlegend = row == 1
            fig.add_trace(trace, row=row, col=1)
        for annotation in panel.layout.annotations:
            fig.add_annotation(annotation, row=row, col=1)
        fig.update_xaxes(panel.layout.xaxis.to_plotly_json(), row=row, col=1)
        fig.update_yaxes(panel.layout.yaxis.to_plotly_json(), row=row, col=1)
    fig.update_layout(margin={"l": 16}, showlegend=any(p.layout.showlegend for _, p in drawn))
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
