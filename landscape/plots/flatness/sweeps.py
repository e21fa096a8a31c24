"""A measure of flatness against weights remaining: means over runs, single runs, and bounds."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import plotly.graph_objects as go

from landscape.flatness import bound_of
from landscape.plots.flatness.values import (
    LOWER,
    WIDE,
    first_space,
    interval_of,
    quantity_title,
    sized,
)
from landscape.plots.series import percent
from landscape.plots.text import capital, label
from landscape.plots.theme import NETWORKS, log_axis, numbers, style_of
from landscape.plots.tickets.sweeps import sweep_figure

__all__ = ["sweep_of"]

_ARROWS = "Arrows at the edge are values that lie beyond what was tried; no mean is drawn there."

Record = Mapping[str, Any]
Runs = Mapping[Any, Mapping[float, Record]]


def sweep_of(result: Any, measure: str, *, space: str | None = None) -> go.Figure | None:
    """Return a measure (or ``"parameter_norm"``) against weights remaining, one curve per method.

    Of fewer than five runs each is a marker with its own interval over draws. Where a run has only a
    bound there is no mean, and an arrow at the edge says in how many.

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
    space = space or first_space(result)
    methods = _methods(result, measure, space)
    curves = [_curve(method, runs) for method, runs in methods.items()]
    bounds = [bound for method, runs in methods.items() for bound in _bounds(method, runs)]
    densities = {density for curve in curves for density in curve["densities"]}
    known = [v for curve in curves for row in curve["values"] for v in row if v is not None]
    if len(densities) < 2 or not (known or bounds):
        return None
    name = quantity_title(measure)
    bound = any(r["label"] == LOWER for r in result.records if r["measure"] == measure)
    fig = sweep_figure(curves, metric=f"{name} (≥)" if bound else name, title=capital(name))
    fig.update_yaxes(title_text=None)
    fig.update_layout(height=400)
    log = bool(known) and min(known) > 0 and max(known) > WIDE * min(known)
    edges = _add_bounds(fig, bounds, known, log=log)
    if bounds:
        fig.update_layout(meta={**fig.layout.meta, "caption": f"{fig.layout.meta['caption']} {_ARROWS}"})
    if log:
        _log_axis(fig, [*known, *edges])
    return fig


def _log_axis(fig: go.Figure, values: Sequence[float]) -> None:
    low, high = min(values), max(values)
    # Intervals that reach below zero would hide the rest of a log axis.
    fig.update_yaxes(**log_axis(low, high, pad=(high / low) ** 0.08))
    for trace in fig.data:
        if trace.fill == "toself":
            trace.y = [None if y is None else max(y, low / 10) for y in trace.y]


def _methods(result: Any, measure: str, space: str) -> dict[str, dict[Any, dict[float, Record]]]:
    """Return the record of a measure at each density, by method and run."""
    found = {r["name"]: r for r in result.records if (r["measure"], r["space"]) == (measure, space)}
    methods: dict[str, dict[Any, dict[float, Record]]] = {}
    for network in result.networks:
        if network["space"] != space or not network.get("density"):
            continue
        level = float(f"{float(network['density']):.9g}")  # the same in every run, but for rounding
        runs = methods.setdefault(str(network.get("method") or NETWORKS), {})
        # Runs of two folders may share method and seed: the second is a run of its own.
        copies = ((network.get("seed"), copy) for copy in itertools.count())
        run = next(key for key in copies if level not in runs.get(key, {}))
        norm = {"value": network["parameter_norm"]}
        record = norm if measure == "parameter_norm" else found.get(network["name"], {})
        runs.setdefault(run, {})[level] = record
    return methods


def _curve(method: str, runs: Runs) -> dict[str, Any]:
    """Return densities [K], values [S][K] and the intervals of single runs, as `sweep_figure` has them."""
    levels = sorted({level for run in runs.values() for level in run}, reverse=True)
    table = [[run.get(level, {}) for level in levels] for run in runs.values()]
    values = [numbers([record.get("value") for record in row]) for row in table]
    own = [[_ends(record) for record in row] for row in table]
    curve: dict[str, Any] = {"name": method, "densities": levels, "values": values}
    if any(pair is not None for row in own for pair in row):
        curve |= {"interval": own[0]} if len(own) == 1 else {"run_intervals": own}
    # A mean over the runs that happen to have a value would be a biased one.
    curve["incomplete"] = [
        k
        for k in range(len(levels))
        if any(row[k] and value[k] is None for row, value in zip(table, values, strict=True))
    ]
    return curve


def _ends(record: Record) -> tuple[float, float] | None:
    low, high = interval_of(record)
    return None if low is None or high is None else (low, high)


def _bounds(method: str, runs: Runs) -> Iterator[dict[str, Any]]:
    """Yield the bounds of each density: their sign, in how many runs, and the weakest."""
    for level in sorted({level for run in runs.values() for level in run}, reverse=True):
        there = [run[level] for run in runs.values() if level in run]
        found = [bound for record in there if (bound := bound_of(record)) is not None]
        for sign in ("≤", "≥"):
            own = [value for which, value in found if which == sign]
            if own:
                value = max(own) if sign == "≤" else min(own)
                facts = {"method": method, "density": level, "sign": sign, "value": value}
                yield {**facts, "count": len(own), "runs": len(there)}


def _add_bounds(
    fig: go.Figure,
    bounds: Sequence[Mapping[str, Any]],
    known: Sequence[float],
    *,
    log: bool,
) -> list[float]:
    """Draw what lies beyond what was tried as arrows at the edges of the axis; return where these are."""
    places = sized(known or [bound["value"] for bound in bounds], log=log)
    named: set[tuple[str, str]] = set()
    for bound in bounds:
        method, sign, value = bound["method"], bound["sign"], bound["value"]
        color = style_of(method)["color"]
        text = f"{sign} {value:.3g}"
        many = f"{bound['count']} of {bound['runs']} runs"
        fig.add_scatter(
            x=percent([bound["density"]]),
            y=[places[sign] if known else value],
            mode="markers" if (method, sign) in named else "markers+text",
            name=f"{label(method)}, {many} {sign}",
            legendgroup=method,
            showlegend=False,
            meta={"method": method},
            marker={"symbol": f"triangle-{'down' if sign == '≤' else 'up'}", "size": 10, "color": color},
            text=[text],
            # Dense networks are at the left edge, sparse ones to the right.
            textposition="middle left" if bound["density"] < 1 else "middle right",
            textfont={"size": 11.5, "color": color},
            customdata=[[value, None, value] if sign == "≤" else [value, value, None]],
            hovertemplate=f"<b>{label(method)}</b><br>%{{x:.4~g}} % of weights<br>{text} in {many}: "
            "beyond what was tried<extra></extra>",
        )
        named.add((method, sign))
    return [places[bound["sign"]] for bound in bounds] if known else []
