"""Figures of curvature: eigenvalues, densities, traces by layer, and all of them across sparsity."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from landscape.plots._series import remaining_axis
from landscape.plots._text import label, shorten
from landscape.plots.theme import COLORS, GREY, INK, numbers, style, swatch, tint

__all__ = [
    "alignment_figure",
    "curvature_figure",
    "diagonal_figure",
    "eigenpairs_figure",
    "spectral_density_figure",
    "trace_figure",
]

_NEGATIVE, _POSITIVE = COLORS[0], COLORS[1]  # blue and orange, parted at zero
_SMALLEST = 1e-8  # of the largest diagonal entry: smaller ones are rounding
_LEAST_DENSITY = 1e-7  # of the highest point: below it a log axis would show rounding


def curvature_figure(result: Any) -> go.Figure:
    """Return the figure of a table: everything of one network, eigenvalue and trace of several.

    Parameters
    ----------
    result : CurvatureTable
        Only its fields are read.
    """
    if len(result.records) > 1:
        return _sweep(result)
    record = result.records[0]
    spectrum = result.spectra[0] if len(result.spectra) else None
    panels = [name for name, there in _panels(record, spectrum) if there]
    fig = make_subplots(rows=max(len(panels), 1), cols=1, subplot_titles=panels, vertical_spacing=0.16)
    style(fig, title=f"Curvature at {shorten(record['name'], 60)}", height=130 + 320 * max(len(panels), 1))
    for row, name in enumerate(panels, start=1):
        if name == "Eigenvalues":
            _eigenvalues(fig, record["eigenvalues"], record["residuals"], row=row)
        elif name == "Spectral density":
            _density(fig, spectrum or {}, record["eigenvalues"], row=row)
        else:
            _layers(fig, record["per_layer"], row=row)
    fig.update_layout(showlegend=False)
    return fig


def _panels(record: Mapping[str, Any], spectrum: Any) -> list[tuple[str, bool]]:
    return [
        ("Eigenvalues", len(record["eigenvalues"]) > 0),
        ("Spectral density", spectrum is not None),
        ("Trace by layer", bool(record.get("per_layer"))),
    ]


def _eigenvalues(fig: go.Figure, values: Any, residuals: Any, *, row: int = 1) -> None:
    """Draw eigenvalues as bars with their residuals, those below zero in another colour."""
    shown, errors = numbers(values), numbers(residuals)
    fig.add_bar(
        x=list(range(1, len(shown) + 1)),
        y=shown,
        name="eigenvalue",
        marker={
            "color": [_NEGATIVE if value is not None and value < 0 else _POSITIVE for value in shown],
            "pattern": {"shape": ["/" if value is not None and value < 0 else "" for value in shown]},
        },
        error_y={"type": "data", "array": [error or 0.0 for error in errors], "color": INK},
        customdata=_ends(shown, errors),
        hovertemplate="λ%{x}: %{y:.4~g}<br>an eigenvalue from %{customdata[1]:.6~g} to %{customdata[2]:.6~g}"
        "<extra></extra>",
        row=row,
        col=1,
    )
    fig.update_xaxes(title_text="rank", dtick=1 if len(shown) <= 20 else None, row=row, col=1)
    fig.update_yaxes(title_text="eigenvalue", row=row, col=1)


def _ends(values: Sequence[float | None], errors: Sequence[float | None]) -> list[list[float | None]]:
    return [
        [
            value,
            None if value is None else value - (error or 0.0),
            None if value is None else value + (error or 0.0),
        ]
        for value, error in zip(values, errors, strict=True)
    ]


def _density(fig: go.Figure, spectrum: Mapping[str, Any], outliers: Any, *, row: int = 1) -> None:
    """Draw a density on a log axis with its band over probes, and exact eigenvalues as ticks on it."""
    grid, density = np.asarray(spectrum["grid"]), np.asarray(spectrum["density"])
    error = np.nan_to_num(np.asarray(spectrum["standard_error"]))
    floor = _LEAST_DENSITY * float(np.max(density, initial=0.0)) or 1e-12
    thin = np.unique(np.linspace(0, len(grid) - 1, min(len(grid), 2000)).astype(int))
    grid, density, error = grid[thin], density[thin], error[thin]
    low, high = np.maximum(density - 2 * error, floor), np.maximum(density + 2 * error, floor)
    fig.add_scatter(
        x=numbers([*grid, *grid[::-1]]),
        y=numbers([*high, *low[::-1]]),
        mode="lines",
        fill="toself",
        fillcolor=tint(COLORS[0], 0.2),
        line={"width": 0},
        name="± 2 standard errors",
        hoverinfo="skip",
        row=row,
        col=1,
    )
    fig.add_scatter(
        x=numbers(grid),
        y=numbers(np.maximum(density, floor)),
        mode="lines",
        name="density",
        line={"color": COLORS[0], "width": 1.8},
        hovertemplate="density %{y:.4~g} at %{x:.4~g}<extra></extra>",
        row=row,
        col=1,
    )
    found = numbers(outliers)
    if found:
        fig.add_scatter(
            x=found,
            y=[floor * 3] * len(found),
            mode="markers",
            name="exact eigenvalues",
            marker={
                "symbol": "line-ns",
                "size": 14,
                "color": COLORS[1],
                "line": {"width": 2, "color": COLORS[1]},
            },
            hovertemplate="eigenvalue %{x:.4~g}<extra></extra>",
            row=row,
            col=1,
        )
    fig.update_xaxes(title_text="eigenvalue", row=row, col=1)
    fig.update_yaxes(title_text="density", type="log", row=row, col=1)


def _layers(fig: go.Figure, layers: Mapping[str, Mapping[str, Any]], *, row: int = 1) -> None:
    """Draw the trace of each layer as a bar with its interval."""
    paths = list(layers)
    values = numbers([layers[path]["value"] for path in paths])
    intervals = [layers[path].get("interval") or (None, None) for path in paths]
    upper = [0.0 if v is None or i[1] is None else i[1] - v for v, i in zip(values, intervals, strict=True)]
    lower = [0.0 if v is None or i[0] is None else v - i[0] for v, i in zip(values, intervals, strict=True)]
    fig.add_bar(
        x=[label(shorten(path, 24)) for path in paths],
        y=values,
        name="trace",
        marker={"color": COLORS[2]},
        error_y={"type": "data", "array": upper, "arrayminus": lower, "symmetric": False, "color": INK},
        customdata=[[value, *ends] for value, ends in zip(values, intervals, strict=True)],
        hovertemplate="%{x}: %{y:.4~g}<br>95 % interval %{customdata[1]:.4~g} to %{customdata[2]:.4~g}"
        "<extra></extra>",
        row=row,
        col=1,
    )
    fig.update_yaxes(title_text="trace", row=row, col=1)


def _sweep(result: Any) -> go.Figure:
    """Draw the largest eigenvalue and the trace against weights remaining, a series a method."""
    records = result.records
    quantities = [("largest eigenvalue", _largest), ("trace", _trace_value)]
    drawn = [(name, of) for name, of in quantities if any(of(record) is not None for record in records)]
    fig = make_subplots(rows=max(len(drawn), 1), cols=1, shared_xaxes=True, vertical_spacing=0.08)
    style(fig, title="Curvature across sparsity", height=130 + 320 * max(len(drawn), 1))
    for row, (name, of) in enumerate(drawn, start=1):
        for i, (method, members) in enumerate(_by_method(records).items()):
            _series(fig, method, members, of=of, look=swatch(i), row=row)
        values = [value for record in records if (value := of(record)) is not None]
        log = min(values) > 0 and max(values) > 10 * min(values)
        fig.update_yaxes(title_text=name, type="log" if log else "linear", row=row, col=1)
    known = [float(record["density"]) for record in records if record.get("density")]
    if known and max(known) > min(known):
        remaining_axis(fig, known)
    else:
        fig.update_xaxes(title_text="network")
    return fig


def _largest(record: Mapping[str, Any]) -> float | None:
    return numbers(record["eigenvalues"])[0] if len(record["eigenvalues"]) else None


def _trace_value(record: Mapping[str, Any]) -> float | None:
    found = record.get("trace")
    return numbers([found["value"]])[0] if found else None


def _by_method(records: Sequence[Mapping[str, Any]]) -> dict[str, list[tuple[int, Mapping[str, Any]]]]:
    groups: dict[str, list[tuple[int, Mapping[str, Any]]]] = {}
    for position, record in enumerate(records, start=1):
        groups.setdefault(str(record.get("method") or "networks"), []).append((position, record))
    return groups


def _series(
    fig: go.Figure,
    method: str,
    members: Sequence[tuple[int, Mapping[str, Any]]],
    *,
    of: Any,
    look: Mapping[str, str],
    row: int,
) -> None:
    """Draw every network of a method as a point, and a line through the means at each density."""
    spread = len({record.get("density") for _, record in members}) > 1
    at = [100 * float(record["density"]) if spread else position for position, record in members]
    values = [of(record) for _, record in members]
    fig.add_scatter(
        x=at,
        y=values,
        mode="markers",
        name=label(method),
        legendgroup=method,
        showlegend=row == 1,
        marker={"symbol": look["symbol"], "size": 7, "color": look["color"]},
        hovertemplate=f"{label(method)}<br>%{{x:.4~g}}: %{{y:.4~g}}<extra></extra>",
        row=row,
        col=1,
    )
    places = sorted(set(at))
    means = [
        float(
            np.mean([v for a, v in zip(at, values, strict=True) if a == place and v is not None] or [np.nan])
        )
        for place in places
    ]
    fig.add_scatter(
        x=places,
        y=numbers(means),
        mode="lines",
        name=f"{label(method)}, mean",
        legendgroup=method,
        showlegend=False,
        line={"color": look["color"], "dash": look["dash"], "width": 2},
        hoverinfo="skip",
        row=row,
        col=1,
    )


def eigenpairs_figure(result: Any) -> go.Figure:
    """Return the eigenvalues with their residuals as bars."""
    fig = make_subplots(rows=1, cols=1)
    style(fig, title=f"Eigenvalues ({result.which})", height=420)
    _eigenvalues(fig, result.eigenvalues, result.residuals)
    fig.update_layout(showlegend=False)
    return fig


def spectral_density_figure(result: Any) -> go.Figure:
    """Return the density, and that of the logarithm, with their bands over probes."""
    fig = make_subplots(rows=2, cols=1, vertical_spacing=0.18)
    style(fig, title="Spectral density", height=720)
    fields = {name: getattr(result, name) for name in ("grid", "density", "standard_error")}
    _density(fig, fields, result.outliers)
    logs = {name: getattr(result, f"log_{name}") for name in ("grid", "density", "standard_error")}
    _density(fig, logs, [], row=2)
    fig.update_xaxes(title_text="log10 of the eigenvalue's size", row=2, col=1)
    fig.update_layout(showlegend=False)
    return fig


def trace_figure(result: Any) -> go.Figure:
    """Return the trace of each layer, or the whole one where layers have no names."""
    fig = make_subplots(rows=1, cols=1)
    style(fig, title="Trace by layer", height=420)
    ends = None if result.interval is None else list(result.interval)
    _layers(fig, result.per_layer or {"all": {"value": result.value, "interval": ends}})
    fig.update_layout(showlegend=False)
    return fig


def diagonal_figure(result: Any) -> go.Figure:
    """Return the entries of the diagonal in descending order, on a log axis by size."""
    fig = style(go.Figure(), title="Diagonal entries by size", x="rank", y="size of the entry", height=420)
    values = np.asarray(result.values)
    for name, part, look in (
        ("positive", values[values > 0], swatch(1)),
        ("negative", -values[values < 0], swatch(0)),
    ):
        ordered = np.sort(part)[::-1]
        thin = np.unique(np.linspace(0, max(len(ordered) - 1, 0), min(len(ordered), 1000)).astype(int))
        fig.add_scatter(
            x=numbers(thin + 1) if len(ordered) else [],
            y=numbers(ordered[thin]) if len(ordered) else [],
            mode="lines",
            name=name,
            line={"color": look["color"], "dash": look["dash"], "width": 2},
            hovertemplate=f"{name}, rank %{{x}}: %{{y:.4~g}}<extra></extra>",
        )
    fig.update_yaxes(type="log")
    return fig


def alignment_figure(result: Any) -> go.Figure:
    """Return the share of gradient and update within the first j eigenvectors."""
    fig = style(
        go.Figure(), title="Within the top eigenspace", x="eigenvectors", y="share of the square", height=420
    )
    count = list(range(1, len(result.gradient_overlap) + 1))
    curves = [("gradient", result.gradient_overlap), ("update", result.update_overlap)]
    for i, (name, values) in enumerate((name, values) for name, values in curves if values is not None):
        look = swatch(i)
        fig.add_scatter(
            x=count,
            y=numbers(values),
            mode="lines+markers",
            name=name,
            line={"color": look["color"], "dash": look["dash"], "width": 2},
            marker={"symbol": look["symbol"], "size": 7},
            hovertemplate=f"{name}: %{{y:.4~g}} within %{{x}}<extra></extra>",
        )
    fig.add_scatter(
        x=count,
        y=[j / result.dim for j in count],
        mode="lines",
        name="a random vector",
        line={"color": GREY, "dash": "dot", "width": 1.5},
    )
    fig.update_yaxes(range=[0, 1.02])
    return fig
