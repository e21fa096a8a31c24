"""Figures of the curvature of several networks: against weights remaining, or network by network."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from landscape.plots.places import Places, by_method
from landscape.plots.text import label, shorten, wrapped_label
from landscape.plots.theme import GREY, numbers, style, swatch, tint

__all__ = ["densities_figure", "layers_figure", "sweep_figures", "whole_figure"]

_HEIGHT, _GAP, _MARGINS = 300, 96, 140  # pixels of a panel, between panels, around all
_MOST_LAYERS = 12
_EXAMPLES = "± standard error from the examples"
_LEAST_DENSITY = 1e-7  # of the highest point: below it a log axis would show rounding

Record = Mapping[str, Any]
Point = tuple[float | None, float | None, float | None]  # value and ends


@dataclasses.dataclass(frozen=True)
class Panel:
    """A subplot: its heading, what it draws, and whether its horizontal axis is that of the networks."""

    title: str
    draw: Callable[[go.Figure, int], None]
    shared: bool = True


def whole_figure(result: Any) -> go.Figure:
    """Return everything of a table of several networks in one figure: a panel a quantity."""
    panels = [*_main(result), *_by_layer(result), *_densities(result)]
    return _stacked(result, panels, "Curvature across sparsity")


def sweep_figures(result: Any) -> list[tuple[go.Figure, str, str]]:
    """Return the figures of a page, each with its caption and name."""
    found = [(_stacked(result, _main(result), "Eigenvalues and trace"), _MAIN, "eigenvalues")]
    drawn = [(layers_figure(result), _LAYERS, "layers"), (densities_figure(result), _DENSITIES, "densities")]
    return [*(found if _main(result) else []), *((f, c, n) for f, c, n in drawn if f is not None)]


_MAIN = (
    "Every network is a marker, lines are means over networks of a method. The first eigenvalue is bold, "
    "the others are faint; its bar is the residual, within which an eigenvalue lies. An open marker has "
    "not converged. The trace's bar is its 95 % interval over probes; a grey bar beside it, where only "
    "some examples were used, one standard error from the choice of examples."
)
_LAYERS = "The trace of each layer from the same products, with its 95 % interval over probes."
_DENSITIES = (
    "A line a network, paler the fewer weights remain. On the second panel the eigenvalues' sizes are on "
    "a log axis: of a sparse or flat network the bulk lies within a point of the first."
)


def layers_figure(result: Any) -> go.Figure | None:
    """Return the traces by layer, a panel a layer; None where there are none."""
    panels = _by_layer(result)
    return _stacked(result, panels, "Trace by layer") if panels else None


def densities_figure(result: Any) -> go.Figure | None:
    """Return the spectral densities over each other, linear and logarithmic; None where there are none."""
    panels = _densities(result)
    return _stacked(result, panels, "Spectral densities") if panels else None


def _stacked(result: Any, panels: Sequence[Panel], title: str) -> go.Figure:
    rows = max(len(panels), 1)
    height = _MARGINS + rows * _HEIGHT + (rows - 1) * _GAP
    fig = make_subplots(
        rows=rows,
        cols=1,
        subplot_titles=[wrapped_label(panel.title, 44) for panel in panels],
        vertical_spacing=0 if rows == 1 else _GAP / (height - _MARGINS),
    )
    style(fig, title=title, height=height)
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
    """Name every method once, under the figure: the headings of panels leave no room above it."""
    for i, method in enumerate(by_method(result.records)):
        look = swatch(i)
        line = {"color": look["color"], "dash": look["dash"]}
        marker = {"symbol": look["symbol"], "color": look["color"], "size": 7}
        fig.add_scatter(
            x=[None], y=[None], mode="lines+markers", name=label(method), line=line, marker=marker
        )
    if examples:
        marker = {"symbol": "line-ns", "size": 12, "line": {"width": 3, "color": GREY}}
        fig.add_scatter(x=[None], y=[None], mode="markers", name=_EXAMPLES, marker=marker)
    fig.update_layout(legend={"y": 0, "yref": "container", "yanchor": "bottom"}, margin={"b": 90})


def _main(result: Any) -> list[Panel]:
    panels = []
    if any(len(record["eigenvalues"]) for record in result.records):
        which = {"both": "largest and smallest", "magnitude": "largest in size"}.get(
            result.which, result.which
        )
        count = max(len(record["eigenvalues"]) for record in result.records)
        plural = "s" if count > 1 else ""
        name = f"{which} eigenvalue{plural}"
        panels.append(Panel(_capital(name), lambda fig, row: _eigenvalues(fig, row, result, name)))
    if any(record.get("trace") for record in result.records):
        panels.append(Panel("Trace", lambda fig, row: _traces(fig, row, result)))
    return panels


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _eigenvalues(fig: go.Figure, row: int, result: Any, name: str) -> None:
    """Draw all eigenvalues: the first of each end bold, with residuals, the others faint."""
    count = max(len(record["eigenvalues"]) for record in result.records)
    bold = {0, min(result.k, count - 1)} if result.which == "both" else {0}
    for i, (method, members) in enumerate(by_method(result.records).items()):
        for j in sorted(range(count), key=lambda j: j in bold):
            points = [_pair(result.records[at], j) for at in members]
            open_ones = [not _converged(result.records[at], j) for at in members]
            look = swatch(i) | {"faint": "" if j in bold else "yes"}
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
    for i, (method, members) in enumerate(by_method(result.records).items()):
        _series(
            fig,
            row,
            (method, "trace"),
            members=members,
            points=[points[at] for at in members],
            look=swatch(i),
            result=result,
        )
    if any((record.get("trace") or {}).get("data_standard_error") is not None for record in result.records):
        _examples(fig, row, result, points)
    _axis(fig, row, "trace", points)


def _examples(fig: go.Figure, row: int, result: Any, points: Sequence[Point]) -> None:
    places = Places(result.records)
    errors = [(record.get("trace") or {}).get("data_standard_error") for record in result.records]
    known = [
        (at, value, error)
        for at, ((value, _, _), error) in enumerate(zip(points, errors, strict=True))
        if value is not None and error is not None
    ]
    fig.add_scatter(
        x=[places.drawn_at(at) / 1.01 if places.spread else places.at(at) + 0.08 for at, _, _ in known],
        y=[value for _, value, _ in known],
        error_y={"type": "data", "array": [error for _, _, error in known], "color": GREY, "thickness": 3},
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
    for i, (method, members) in enumerate(by_method(result.records).items()):
        _series(
            fig,
            row,
            (method, path),
            members=members,
            points=[points[at] for at in members],
            look=swatch(i),
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
    color = tint(look["color"], 0.4) if look.get("faint") else look["color"]
    open_ones = marks or [False] * len(members)
    fig.add_scatter(
        x=at,
        y=[value for value, _, _ in points],
        error_y=None if look.get("faint") else _bars(points, color),
        mode="markers",
        name=label(f"{method}, {quantity}"),
        showlegend=False,
        marker={
            "symbol": [f"{look['symbol']}-open" if mark else look["symbol"] for mark in open_ones],
            "size": 5 if look.get("faint") else 7,
            "color": color,
        },
        customdata=[[*point, places.at(member)] for point, member in zip(points, members, strict=True)],
        text=[
            label(shorten(str(result.records[member]["name"]), 50)) + (" (not converged)" if mark else "")
            for member, mark in zip(members, open_ones, strict=True)
        ],
        hovertemplate=f"{label(method)}, {label(quantity)}<br>%{{text}}<br>%{{y:.4~g}}, "
        "%{customdata[1]:.4~g} to %{customdata[2]:.4~g}<extra></extra>",
        row=row,
        col=1,
    )
    line = {"color": color, "dash": look["dash"], "width": 1 if look.get("faint") else 2}
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
    ends = [(value, low, high) for value, low, high in points]
    return {
        "type": "data",
        "symmetric": False,
        "array": [0.0 if v is None or high is None else high - v for v, _, high in ends],
        "arrayminus": [0.0 if v is None or low is None else v - low for v, low, _ in ends],
        "color": color,
        "thickness": 1.2,
        "width": 4,
    }


def _axis(fig: go.Figure, row: int, name: str, points: Sequence[Point]) -> None:
    """Choose a log axis where everything drawn, intervals too, is positive and spans a decade."""
    known = [value for point in points for value in point if value is not None]
    log = bool(known) and min(known) > 0 and max(known) > 10 * min(known)
    fig.update_yaxes(title_text=name, type="log" if log else "linear", row=row, col=1)


def _densities(result: Any) -> list[Panel]:
    if not len(result.spectra):
        return []
    return [
        Panel("Spectral density", lambda fig, row: _overlaid(fig, row, result, ""), shared=False),
        Panel("Density of the log size", lambda fig, row: _overlaid(fig, row, result, "log_"), shared=False),
    ]


def _overlaid(fig: go.Figure, row: int, result: Any, prefix: str) -> None:
    """Draw the density of every network on a log axis, paler the fewer weights remain."""
    tops = [float(np.nanmax(np.asarray(found[f"{prefix}density"]), initial=0.0)) for found in result.spectra]
    floor = _LEAST_DENSITY * max(tops) or 1e-12
    for i, members in enumerate(by_method(result.records).values()):
        look, shades = swatch(i), _shades([result.records[at] for at in members])
        for at, shade in zip(members, shades, strict=True):
            found = result.spectra[at]
            grid, density = (np.asarray(found[f"{prefix}{name}"]) for name in ("grid", "density"))
            thin = np.unique(np.linspace(0, len(grid) - 1, min(len(grid), 1000)).astype(int))
            fig.add_scatter(
                x=numbers(grid[thin]),
                y=numbers(np.where(density[thin] > floor, density[thin], np.nan)),
                mode="lines",
                name=label(shorten(str(result.records[at]["name"]), 50)),
                showlegend=False,
                line={"color": tint(look["color"], shade), "dash": look["dash"], "width": 1.6},
                hovertemplate=f"{label(shorten(str(result.records[at]['name']), 50))}<br>"
                "density %{y:.4~g} at %{x:.4~g}<extra></extra>",
                row=row,
                col=1,
            )
    of = "log10 of the eigenvalue's size" if prefix else "eigenvalue"
    fig.update_xaxes(title_text=of, row=row, col=1)
    fig.update_yaxes(title_text="density", type="log", row=row, col=1)


def _shades(records: Sequence[Record]) -> list[float]:
    order = sorted({float(record.get("density") or 1.0) for record in records}, reverse=True)
    steps = max(len(order) - 1, 1)
    return [1 - 0.65 * order.index(float(record.get("density") or 1.0)) / steps for record in records]
