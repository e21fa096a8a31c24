"""Figures of the curvature of several networks: against weights remaining, or network by network."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from landscape.plots.curvature.densities import Panel, density_caption, density_panels
from landscape.plots.places import Places, by_method
from landscape.plots.series import error_bars
from landscape.plots.text import capital, label, wrapped_label
from landscape.plots.theme import GREY, log_axis, numbers, style, style_of

__all__ = ["sweep_figures", "whole_figure"]

_HEIGHT, _GAP, _MARGINS = 300, 96, 140  # pixels of a panel, between panels, around all
_MOST_LAYERS = 12
_ASIDE = 0.025  # of the axis: how far the error from the examples is beside the error over probes
_FEW = 12  # networks whose errors from the examples have room in a figure
_EXAMPLES = "± standard error from the examples"

Record = Mapping[str, Any]
Point = tuple[float | None, float | None, float | None]  # value and ends


def whole_figure(result: Any) -> go.Figure:
    """Return everything of a table of several networks in one figure: one panel per quantity."""
    panels = [*_main(result), *_by_layer(result), *density_panels(result)]
    return _stacked(result, panels, "Curvature of several networks", _captions(result))


def sweep_figures(result: Any) -> list[tuple[go.Figure, str, str]]:
    """Return the figures of a page, each with its caption and name."""
    drawn = [
        (_main(result), _heading(result), _main_caption(result), "eigenvalues"),
        (_by_layer(result), "Trace by layer", _LAYERS, "layers"),
        (density_panels(result), "Spectral densities", density_caption(result), "densities"),
    ]
    return [
        (_stacked(result, panels, title, caption), "", name)
        for panels, title, caption, name in drawn
        if panels
    ]


def _captions(result: Any) -> str:
    said = [(_main(result), _main_caption(result)), (_by_layer(result), _LAYERS)]
    texts = [text for panels, text in said if panels]
    return " ".join([*texts, *([density_caption(result)] if len(result.spectra) else [])])


_NETWORKS = "Every network is a marker, lines are means over networks of a method."
_EIGENVALUES = (
    "The first eigenvalue has large markers, the others small ones; its bar is the residual, within which an "
    "eigenvalue lies. An open marker has not converged."
)
_TRACE = "The trace's bar is its 95 % interval over probes."
_CHOICE = "The grey bar beside it is one standard error from the choice of examples."
_IN_THE_TABLE = "Errors from the choice of examples are in the table."
_LAYERS = "The trace of each layer from the same products, with its 95 % interval over probes."


def _parts(result: Any) -> tuple[bool, bool, bool]:
    """Return whether there are eigenvalues, traces, and errors of traces from the choice of examples."""
    traces = [record["trace"] for record in result.records if record.get("trace")]
    chosen = any(trace.get("data_standard_error") is not None for trace in traces)
    return any(len(record["eigenvalues"]) for record in result.records), bool(traces), chosen


def _heading(result: Any) -> str:
    eigenvalues, traces, _ = _parts(result)
    return "Eigenvalues and trace" if eigenvalues and traces else "Eigenvalues" if eigenvalues else "Trace"


def _main_caption(result: Any) -> str:
    """Return what the marks of the first figure are, and nothing of marks that it does not have."""
    choice = _CHOICE if len(result.records) <= _FEW else _IN_THE_TABLE
    texts = zip(_parts(result), (_EIGENVALUES, _TRACE, choice), strict=True)
    return " ".join([_NETWORKS, *(text for there, text in texts if there)])


def _stacked(result: Any, panels: Sequence[Panel], title: str, caption: str) -> go.Figure:
    rows = max(len(panels), 1)
    height = _MARGINS + rows * _HEIGHT + (rows - 1) * _GAP
    fig = make_subplots(
        rows=rows,
        cols=1,
        subplot_titles=[wrapped_label(panel.title, 44) for panel in panels],
        vertical_spacing=0 if rows == 1 else _GAP / (height - _MARGINS),
    )
    style(fig, title=title, height=height, caption=caption)
    fig.update_annotations(font_size=14)
    places = Places(result.records)
    last = max((row for row, panel in enumerate(panels, start=1) if panel.shared), default=0)
    for row, panel in enumerate(panels, start=1):
        panel.draw(fig, row)
        if panel.shared:
            places.axis(fig, row, title=row == last)
    _legend(fig, result, any(trace.name == _EXAMPLES for trace in fig.data))
    return fig


def _legend(fig: go.Figure, result: Any, examples: bool) -> None:
    """Name every method once, above the heading of the first panel."""
    for method in by_method(result.records):
        look = style_of(method)
        line = {"color": look["color"], "dash": look["dash"]}
        marker = {"symbol": look["symbol"], "color": look["color"], "size": 7}
        key = {"x": [None], "y": [None], "mode": "lines+markers", "name": label(method)}
        fig.add_scatter(**key, line=line, marker=marker)
    if examples:
        marker = {"symbol": "line-ns", "size": 12, "line": {"width": 3, "color": GREY}}
        fig.add_scatter(x=[None], y=[None], mode="markers", name=_EXAMPLES, marker=marker)
    room = fig.layout.height - _MARGINS
    drawn = any(trace.type == "scatter" and trace.xaxis in (None, "x") for trace in fig.data)
    several = drawn and (len(by_method(result.records)) > 1 or examples)
    fig.update_layout(legend={"y": 1 + 30 / room}, showlegend=several)


def _main(result: Any) -> list[Panel]:
    panels = []
    if any(len(record["eigenvalues"]) for record in result.records):
        which = {"both": "largest and smallest", "magnitude": "largest in size"}.get(
            result.which, result.which
        )
        count = max(len(record["eigenvalues"]) for record in result.records)
        plural = "s" if count > 1 else ""
        name = f"{which} eigenvalue{plural}"
        panels.append(Panel(capital(name), lambda fig, row: _eigenvalues(fig, row, result, name)))
    if any(record.get("trace") for record in result.records):
        panels.append(Panel("Trace", lambda fig, row: _traces(fig, row, result)))
    return panels


def _eigenvalues(fig: go.Figure, row: int, result: Any, name: str) -> None:
    """Draw all eigenvalues: the first of each end bold, with residuals, the others faint."""
    count = max(len(record["eigenvalues"]) for record in result.records)
    bold = {0, min(result.k, count - 1)} if result.which == "both" else {0}
    for method, members in by_method(result.records).items():
        for j in sorted(range(count), key=lambda j: j in bold):
            points = [_pair(result.records[at], j) for at in members]
            open_ones = [not _converged(result.records[at], j) for at in members]
            look = style_of(method) | {"small": "" if j in bold else "yes"}
            _series(
                fig,
                row,
                (method, f"λ{j + 1}"),
                members=members,
                points=points,
                look=look,
                result=result,
                marks=open_ones,
            )
    _axis(fig, row, name, [_pair(record, j) for record in result.records for j in range(count)])


def _pair(record: Record, j: int) -> Point:
    if j >= len(record["eigenvalues"]):
        return None, None, None
    value, residual = numbers([record["eigenvalues"][j], record["residuals"][j]])
    if value is None:
        return None, None, None
    return value, value - (residual or 0.0), value + (residual or 0.0)


def _converged(record: Record, j: int) -> bool:
    found = record.get("converged", ())
    return bool(found[j]) if j < len(found) else True


def _traces(fig: go.Figure, row: int, result: Any) -> None:
    """Draw traces with their intervals over probes, and apart from them the error from the examples."""
    points = [_estimate(record.get("trace")) for record in result.records]
    if _parts(result)[2] and len(points) <= _FEW:  # first, so that the markers lie over them
        _examples(fig, row, result, points)
    for method, members in by_method(result.records).items():
        _series(
            fig,
            row,
            (method, "trace"),
            members=members,
            points=[points[at] for at in members],
            look=style_of(method),
            result=result,
        )
    _axis(fig, row, "trace", points)


def _examples(fig: go.Figure, row: int, result: Any, points: Sequence[Point]) -> None:
    places = Places(result.records)
    errors = [(record.get("trace") or {}).get("data_standard_error") for record in result.records]
    known = [
        (at, value, error)
        for at, ((value, _, _), error) in enumerate(zip(points, errors, strict=True))
        if value is not None and error is not None
    ]
    ends = [places.at(at) for at in range(len(points))]
    aside = (max(ends) / min(ends)) ** _ASIDE if places.spread else 1.0  # of a logarithmic axis
    fig.add_scatter(
        x=[places.drawn_at(at) / aside if places.spread else places.at(at) + 0.08 for at, _, _ in known],
        y=[value for _, value, _ in known],
        error_y={
            "type": "data",
            "array": [error for _, _, error in known],
            "color": GREY,
            "thickness": 3,
        },
        mode="markers",
        marker={"size": 1, "color": GREY},
        name=_EXAMPLES,
        showlegend=False,
        customdata=[[value, value - error, value + error, places.at(at)] for at, value, error in known],
        hovertemplate="from the examples: %{customdata[1]:.4~g} to %{customdata[2]:.4~g}<extra></extra>",
        row=row,
        col=1,
    )


def _estimate(found: Mapping[str, Any] | None) -> Point:
    value = numbers([found["value"]])[0] if found else None
    if not found or value is None:
        return None, None, None
    low, high = numbers(found.get("interval") or [value, value])
    return value, low, high


def _by_layer(result: Any) -> list[Panel]:
    paths = list(dict.fromkeys(path for record in result.records for path in record.get("per_layer") or {}))

    def panel(path: str) -> Panel:
        return Panel(f"Trace of {path}", lambda fig, row: _layer(fig, row, result, path))

    return [panel(path) for path in paths[:_MOST_LAYERS]]


def _layer(fig: go.Figure, row: int, result: Any, path: str) -> None:
    points = [_estimate((record.get("per_layer") or {}).get(path)) for record in result.records]
    for method, members in by_method(result.records).items():
        _series(
            fig,
            row,
            (method, path),
            members=members,
            points=[points[at] for at in members],
            look=style_of(method),
            result=result,
        )
    _axis(fig, row, "trace", points)


def _series(
    fig: go.Figure,
    row: int,
    names: tuple[str, str],
    *,
    members: Sequence[int],
    points: Sequence[Point],
    look: Mapping[str, str],
    result: Any,
    marks: Sequence[bool] = (),
) -> None:
    """Draw every network of a method as a point, and a line through the means at each place."""
    places, (method, quantity) = Places(result.records), names
    at = [places.drawn_at(member) for member in members]
    color = look["color"]
    open_ones = marks or [False] * len(members)
    fig.add_scatter(
        x=at,
        y=[value for value, _, _ in points],
        error_y=None if look.get("small") else _bars(points, color),
        mode="markers",
        name=label(f"{method}, {quantity}"),
        showlegend=False,
        marker={
            "symbol": [f"{look['symbol']}-open" if mark else look["symbol"] for mark in open_ones],
            "size": 4 if look.get("small") else 8,
            "color": color,
        },
        customdata=[[*point, places.at(member)] for point, member in zip(points, members, strict=True)],
        text=[
            label(places.names[member]) + (" (not converged)" if mark else "")
            for member, mark in zip(members, open_ones, strict=True)
        ],
        hovertemplate=f"{label(method)}, {label(quantity)}<br>%{{text}}<br>%{{y:.4~g}} "
        "[%{customdata[1]:.4~g}, %{customdata[2]:.4~g}]<extra></extra>",
        meta={"method": method},
        row=row,
        col=1,
    )
    line = {"color": color, "dash": look["dash"], "width": 1 if look.get("small") else 2}
    _means(fig, row, method, at=at, values=[value for value, _, _ in points], line=line)


def _means(
    fig: go.Figure,
    row: int,
    method: str,
    *,
    at: Sequence[float],
    values: Sequence[float | None],
    line: Mapping[str, Any],
) -> None:
    known: dict[float, list[float]] = {}
    for place, value in zip(at, values, strict=True):
        if value is not None:
            known.setdefault(float(f"{place:.9g}"), []).append(value)
    places = sorted(known)
    fig.add_scatter(
        x=places,
        y=[math.fsum(known[place]) / len(known[place]) for place in places],
        mode="lines",
        name=label(f"{method}, mean"),
        showlegend=False,
        line=dict(line),
        hoverinfo="skip",
        row=row,
        col=1,
    )


def _bars(points: Sequence[Point], color: str) -> dict[str, Any]:
    return error_bars([value for value, _, _ in points], [ends for _, *ends in points], color=color, width=4)


def _axis(fig: go.Figure, row: int, name: str, points: Sequence[Point]) -> None:
    """Choose a log axis where everything drawn, intervals too, is positive and spans a decade."""
    known = [value for point in points for value in point if value is not None]
    log = bool(known) and min(known) > 0 and max(known) > 10 * min(known)
    axis = log_axis(min(known), max(known)) if log else {"type": "linear"}
    fig.update_yaxes(title_text=name, **axis, row=row, col=1)
