"""Figures of flatness as rows of dots: every measure of one network, one measure of every network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go

from landscape.flatness import MEASURES, bound_of, title_of
from landscape.plots.names import short_names
from landscape.plots.series import error_bars
from landscape.plots.text import capital, label, shorten
from landscape.plots.theme import INK, NETWORKS, log_axis, numbers, style, style_of, swatch

__all__ = ["LOWER", "WIDE", "first_space", "networks_figure", "quantity_title", "values_figure"]

LOWER = "lower bound"
WIDE = 20.0  # spread from which an axis of positive values is logarithmic
_FAMILIES = {
    "gaussian": "Random perturbations",
    "worst-case": "Worst case",
    "pac-bayes": "PAC-Bayes",
    "norm": "Norms",
    "entropy": "Local entropy",
    "hessian": "Hessian",
}
_BOUND = "triangle-right"
_VALUES = (
    "Each marker is the size of a value, with its 95 % interval. Open markers are negative values, triangles "
    "lower bounds; arrows at the edge lie beyond what was tried. Zero has no place on the axis."
)
_NETWORKS = (
    "Each row is a network: its value with the 95 % interval, or an arrow at the edge where it lies beyond "
    "what was tried."
)
_LOWER = "Each row is a network: a lower bound (≥) of its value, which has no interval."
_MOST_NAMES = 20  # rows that have room for their names
_ROW = 44  # pixels

Record = Mapping[str, Any]


def values_figure(
    result: Any, measures: Sequence[str] | None = None, *, title: str | None = None
) -> go.Figure:
    """Return measures of one network with their intervals, one row per measure on a log axis, by family.

    Positions are sizes: a negative value is an open marker; of zero there is none. Arrows at the edges are
    values that lie beyond what was tried.

    Parameters
    ----------
    result : Flatness
        Only its fields are read.
    measures : sequence of str, optional
        Which ones; by default all.
    title : str, optional
        The default names the network.
    """
    given = result.measures if measures is None else measures
    measures = [
        m for m in given if any(_drawn(r) or bound_of(r) for r in result.records if r["measure"] == m)
    ]
    spaces = list(dict.fromkeys(record["space"] for record in result.records))
    name = short_names([result.networks[0]["name"]])[0] if len(result.networks) else ""
    fig = style(go.Figure(), title=title or f"Flatness at {name}", x="size of the value", caption=_VALUES)
    rows = _rows(measures)
    places = {row: -float(i) for i, row in enumerate(rows)}
    for i, space in enumerate(spaces):
        shown = [r for r in result.records if r["space"] == space and r["measure"] in measures and _drawn(r)]
        at = [places[record["measure"]] - 0.24 * i for record in shown]
        names = [title_of(record["measure"]) for record in shown]
        _dots(fig, shown, at, name=f"{space} space", rows=names, look={**swatch(i), "bound": _BOUND})
    drawn = [abs(x) for trace in fig.data for x in trace.x]
    for i, space in enumerate(spaces):
        own = [r for r in result.records if r["space"] == space and r["measure"] in measures]
        named = [(places[r["measure"]] - 0.24 * i, title_of(r["measure"])) for r in own]
        _arrows(fig, own, named, drawn, look=swatch(i), log=True)
    _row_axis(fig, places, list(rows.values()), heads=[row for row in rows if row not in measures])
    fig.update_xaxes(**log_axis(min(drawn, default=1.0), max(drawn, default=1.0), pad=1.6, most=6))
    fig.update_layout(height=140 + _ROW * max(len(rows), 2), showlegend=len(spaces) > 1)
    return fig


def networks_figure(result: Any, measure: str, *, space: str | None = None) -> go.Figure | None:
    """Return a measure (or ``"parameter_norm"``) of every network with its interval, one row per network.

    Parameters
    ----------
    result : Flatness
        Only its fields are read.
    measure : str
        Which one.
    space : str, optional
        By default the first that was measured.

    Returns
    -------
    Figure or None
        None where no network has a value or a bound of it.
    """
    space = space or first_space(result)
    records = _by_network(result, measure, space)
    places = {i: -float(i) for i in range(len(records))}
    methods: dict[str, list[int]] = {}
    for i, record in enumerate(records):
        if numbers([record["value"]])[0] is not None or bound_of(record):
            methods.setdefault(str(record.get("method") or NETWORKS), []).append(i)
    if not methods:
        return None
    fig = style(go.Figure(), title=capital(quantity_title(measure)), caption=_NETWORKS)
    for method, members in methods.items():
        known = [k for k in members if bound_of(records[k]) is None]
        own = [records[k] for k in known]
        names = [str(record["name"]) for record in own]
        look = {**style_of(method), "bound": style_of(method)["symbol"]}
        _dots(fig, own, [places[k] for k in known], name=method, rows=names, look=look, sizes=False)
    few = len(records) <= _MOST_NAMES
    shown = [label(name) for name in short_names([record["name"] for record in records])]
    _row_axis(fig, places, shown if few else [])
    values = [x for trace in fig.data for x in trace.x]
    log = bool(values) and min(values) > 0 and max(values) > WIDE * min(values)
    if log:
        fig.update_xaxes(**log_axis(min(values), max(values), pad=1.6, most=6))
    for method, members in methods.items():
        own = [records[k] for k in members]
        at = [(places[k], str(records[k]["name"])) for k in members]
        _arrows(fig, own, at, values, look=style_of(method), log=log)
    row = _ROW - 8 if few else 12
    fig.update_layout(height=110 + row * max(len(records), 3), showlegend=len(methods) > 1)
    if any(record["label"] == LOWER for record in records):
        fig.update_xaxes(title_text="lower bound (≥)")
        fig.update_layout(meta={**fig.layout.meta, "caption": _LOWER})
    return fig


def quantity_title(measure: str) -> str:
    """Return what a measure, or ``"parameter_norm"``, is called."""
    return "parameter norm" if measure == "parameter_norm" else title_of(measure)


def first_space(result: Any) -> str:
    """Return the space that was measured first."""
    return str(result.networks[0]["space"])


def _by_network(result: Any, measure: str, space: str) -> list[Record]:
    """Return the record of a measure at every network, made up for the norm and where there is none."""
    networks = [network for network in result.networks if network["space"] == space]
    if measure == "parameter_norm":
        return [{**n, "measure": measure, "value": n["parameter_norm"], "label": "exact"} for n in networks]
    own = [r for r in result.records if (r["measure"], r["space"]) == (measure, space)]
    found = {record["name"]: record for record in own}
    nothing = {"measure": measure, "value": None, "label": ""}
    return [found.get(network["name"], {**network, **nothing}) for network in networks]


def _rows(measures: Sequence[str]) -> dict[str, str]:
    """Return the labels of rows from the top: each family, then its measures."""
    families: dict[str, list[str]] = {}
    for measure in measures:
        family = MEASURES[measure].family if measure in MEASURES else "other"
        families.setdefault(family, []).append(measure)
    rows: dict[str, str] = {}
    for family, members in families.items():
        rows[f" {family}"] = f"<b>{label(_FAMILIES.get(family, 'Others'))}</b>"
        rows |= {measure: label(capital(title_of(measure))) for measure in members}
    return rows


def _row_axis(
    fig: go.Figure, places: Mapping[Any, float], names: Sequence[str], *, heads: Sequence[str] = ()
) -> None:
    """Put the name of each row above it, inside: a narrow screen has no room beside the plot."""
    for place, name in zip(places.values(), names, strict=False):
        fig.add_annotation(
            text=name,
            x=0,
            xref="x domain",
            xanchor="left",
            y=place,
            yanchor="bottom",
            yshift=6,
            showarrow=False,
            font={"size": 12, "color": INK},
        )
    fig.update_yaxes(
        tickvals=[place for row, place in places.items() if row not in heads],
        showticklabels=False,
        range=[-len(places) + 0.3, 0.8],
        ticks="",
        showline=False,
        fixedrange=True,
    )
    fig.update_layout(margin={"l": 16})


def sized(values: Sequence[float], *, log: bool) -> dict[str, float]:
    """Return the places of ``"≤"`` and ``"≥"``: a little beyond all values."""
    low, high = min(values, default=1.0), max(values, default=1.0)
    if log:
        step = max((high / low) ** 0.06, 1.3)
        return {"≤": low / step, "≥": high * step}
    step = 0.08 * (high - low) or 0.1 * abs(high) or 1.0
    return {"≤": low - step, "≥": high + step}


def _arrows(
    fig: go.Figure,
    records: Sequence[Record],
    places: Sequence[tuple[float, str]],
    values: Sequence[float],
    *,
    look: Mapping[str, str],
    log: bool,
) -> None:
    """Draw the bounds of values that lie beyond what was tried, at the edges of the others.

    Places are heights with the names of their rows.
    """
    found = [(*place, *bound) for r, place in zip(records, places, strict=True) if (bound := bound_of(r))]
    if not found:
        return
    edges = sized(values, log=log)
    texts = [f"{sign} {value:.3g}" for *_, sign, value in found]
    fig.add_scatter(
        x=[edges[sign] if values else value for *_, sign, value in found],
        y=[y for y, *_ in found],
        mode="markers+text",
        name="beyond what was tried",
        meta="horizontal",
        showlegend=False,
        marker={
            "symbol": ["triangle-left" if sign == "≤" else "triangle-right-open" for *_, sign, _ in found],
            "size": 10,
            "color": look["color"],
        },
        text=texts,
        textposition=["middle right" if sign == "≤" else "middle left" for *_, sign, _ in found],
        textfont={"size": 11.5, "color": look["color"]},
        customdata=[
            [value, *((None, value) if sign == "≤" else (value, None)), name]
            for _, name, sign, value in found
        ],
        hovertemplate="%{text}: beyond what was tried<extra></extra>",
    )


def _drawn(record: Record) -> bool:
    value = numbers([record["value"]])[0]
    return value is not None and value != 0


def _dots(
    fig: go.Figure,
    records: Sequence[Record],
    places: Sequence[float],
    *,
    name: str,
    rows: Sequence[str],
    look: Mapping[str, str],
    sizes: bool = True,
) -> None:
    """Draw values, or their sizes (then open markers are negative), with intervals and bounds as arrows."""
    values = [float(record["value"]) for record in records]
    x = [abs(value) for value in values] if sizes else values
    ends = [_sizes(record) if sizes else _interval(record) for record in records]
    fig.add_scatter(
        x=x,
        y=list(places),
        mode="markers",
        name=label(shorten(name, 40)),
        meta={"horizontal": True, "method": name},
        marker={
            "symbol": [_symbol(record, look, sizes=sizes) for record in records],
            "size": 10,
            "color": look["color"],
            "line": {"color": look["color"], "width": 1.5},
        },
        error_x=error_bars(x, ends, color=look["color"], thickness=1.5, width=4),
        customdata=[
            [value, *interval_of(record), row]
            for value, record, row in zip(values, records, rows, strict=True)
        ],
        text=[_hover(record, name) for record in records],
        hovertemplate="%{text}<extra></extra>",
    )


def _symbol(record: Record, look: Mapping[str, str], *, sizes: bool) -> str:
    if record["label"] == LOWER:
        return look["bound"]
    return f"{look['symbol']}-open" if sizes and float(record["value"]) < 0 else look["symbol"]


def interval_of(record: Record) -> list[float | None]:
    """Return both ends of an interval, or None twice: a lower bound has none of the maximum."""
    interval = None if record.get("label") == LOWER else record.get("interval")
    return [None, None] if interval is None else numbers(interval)


def _interval(record: Record) -> tuple[float, float]:
    value, (low, high) = float(record["value"]), interval_of(record)
    return (value, value) if low is None or high is None else (min(low, value), max(high, value))


def _sizes(record: Record) -> tuple[float, float]:
    """Return the ends of the interval as positions of a log axis of sizes: not beyond zero."""
    size, (low, high) = abs(float(record["value"])), interval_of(record)
    if low is None or high is None:
        return size, size
    near, far = sorted((abs(low), abs(high))) if low * high > 0 else (size / 10, max(abs(low), abs(high)))
    return min(near, size), max(far, size)


def _hover(record: Record, name: str) -> str:
    sign = "≥ " if record["label"] == LOWER else ""
    low, high = interval_of(record)
    interval = "" if low is None or high is None or sign else f"<br>95 % interval [{low:.4g}, {high:.4g}]"
    title = quantity_title(record["measure"])
    head = f"{label(shorten(record['name'], 60))}, {label(name)}<br><b>{label(capital(title))}</b>"
    return f"{head}<br>{sign}{float(record['value']):.4g}{interval}<br>{label(record['label'])}"
