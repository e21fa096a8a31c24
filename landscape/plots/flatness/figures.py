"""Figures of flatness: values of one network, measures across sparsity, perturbation curves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from landscape.flatness import title_of
from landscape.plots.flatness.curves import curve_figure
from landscape.plots.flatness.sweeps import sweep_of
from landscape.plots.flatness.values import first_space, networks_figure, quantity_title, values_figure
from landscape.plots.text import capital, label, wrapped_label
from landscape.plots.theme import caption_of, style

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
    return _panels(result, first_space(result))


def _panels(result: Any, space: str) -> go.Figure:
    """Return one figure of all measures, for a notebook: one small panel per measure."""
    drawn = [
        (m, fig) for m in (*result.measures, "parameter_norm") if (fig := sweep_of(result, m, space=space))
    ]
    if not drawn:
        return _by_network(result, space)
    rows = -(-len(drawn) // 2)
    titles = [wrapped_label(quantity_title(m), 40) for m, _ in drawn]
    fig = make_subplots(rows=rows, cols=2, subplot_titles=titles, vertical_spacing=0.3 / rows)
    caption = caption_of(drawn[0][1])
    style(fig, title="Flatness against weights remaining", height=120 + 260 * rows, caption=caption)
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
    """Return the values of every network, where sparsity does not vary: one panel per measure."""
    drawn = [(m, fig) for m in result.measures if (fig := networks_figure(result, m, space=space))]
    rows = max(len(drawn), 1)
    heights = [float(panel.layout.height) for _, panel in drawn]
    fig = make_subplots(
        rows=rows,
        cols=1,
        subplot_titles=[label(capital(title_of(measure))) for measure, _ in drawn],
        vertical_spacing=min(0.4 / rows, 90 / (sum(heights) or 1)),
    )
    caption = caption_of(drawn[0][1]) if drawn else "No network has a value."
    style(fig, title="Flatness of networks", height=120 + int(sum(heights)), caption=caption)
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
    facts = {
        "name": "network",
        "space": "network",
        "measure": result.name,
        "label": result.label,
        "details": result.details,
    }
    curve = result.details.get("curve")
    table = _Table(
        records=[{**facts, "value": result.value, "interval": result.interval}],
        networks=[facts],
        measures=[result.name],
        config=dict(result.config),
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
        self.config: dict[str, Any] = fields["config"]
