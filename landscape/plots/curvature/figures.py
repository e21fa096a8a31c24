"""Figures of curvature: eigenvalues, densities, traces by layer, and all of them across sparsity."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from landscape.plots.curvature.densities import DENSITY, draw_density, draw_log_density
from landscape.plots.curvature.sweep import whole_figure
from landscape.plots.names import short_names
from landscape.plots.series import error_bars, interval_text
from landscape.plots.text import capital, label, shorten
from landscape.plots.theme import COLORS, GREY, INK, log_axis, numbers, style, swatch, tint

__all__ = [
    "alignment_figure",
    "curvature_figure",
    "diagonal_figure",
    "draw_layers",
    "eigenpairs_figure",
    "norm_figure",
    "spectral_density_figure",
    "trace_figure",
]

_NEGATIVE, _POSITIVE = COLORS[0], COLORS[1]  # blue and orange, parted at zero
_HEIGHT, _GAP, _MARGINS = 290, 96, 130  # pixels of a panel, between panels, around all
# What a reader sees, by kind of panel; the words hold wherever a panel stands.
_BARS = (
    "**Eigenvalues**: orange bars are positive, blue hatched ones negative, crossed ones have not converged; "
    "the error bar is the residual, within which an eigenvalue lies."
)
_LOG = "The lower panel has the sizes of the eigenvalues on a log axis."
_TRACES = "**Trace**: error bars are 95 % intervals over random probes."
_SMOOTHED = (
    "**Trace** of the loss smoothed by noise of radius {:.4g}; error bars are 95 % intervals over pairs."
)
_EXAMPLES = "The paler bar, with a grey error bar, is one standard error from the choice of examples."


def curvature_figure(result: Any) -> go.Figure:
    """Return the figure of a table: everything of one network, or all quantities of several.

    Parameters
    ----------
    result : CurvatureTable
        Only its fields are read.
    """
    if len(result.records) > 1:
        return whole_figure(result)
    record = result.records[0]
    panels = _panels(record, result.spectrum(0), result.which)
    rows = max(len(panels), 1)
    height = _MARGINS + rows * _HEIGHT + (rows - 1) * _GAP
    fig = make_subplots(
        rows=rows,
        cols=1,
        subplot_titles=[title for title, _ in panels],
        vertical_spacing=0 if rows == 1 else _GAP / (height - _MARGINS),
    )
    title = f"Curvature at {short_names([record['name']])[0]}"
    style(fig, title=title, height=height, caption=_caption(result))
    for row, (_, draw) in enumerate(panels, start=1):
        draw(fig, row)
    fig.update_layout(showlegend=False)
    return fig


def _caption(result: Any) -> str:
    record, spectrum = result.records[0], result.spectrum(0)
    found, smoothed = record.get("trace"), getattr(result, "smoothed", False)
    said = [_BARS] if len(record["eigenvalues"]) else []
    said += [] if spectrum is None else [DENSITY]
    traces = _SMOOTHED.format(result.config.get("radius") or 0.0) if smoothed else _TRACES
    said += [traces] if found else []
    said += [_EXAMPLES] if found and found.get("data_standard_error") is not None else []
    return " ".join(said) or "Nothing was measured."


def _panels(
    record: Mapping[str, Any], spectrum: Any, which: str
) -> list[tuple[str, Callable[[go.Figure, int], None]]]:
    """Return the headings of what there is to draw, and what draws it."""
    values, found = record["eigenvalues"], record.get("trace")
    panels: list[tuple[str, Callable[[go.Figure, int], None]]] = []
    if len(values):
        converged = record.get("converged")
        panels.append(
            (
                f"Eigenvalues ({which})",
                lambda fig, row: _eigenvalues(fig, values, record["residuals"], converged, row=row),
            )
        )
    if spectrum is not None:
        panels.append(("Spectral density", lambda fig, row: draw_density(fig, spectrum, values, row=row)))
        panels.append(
            ("Density of the log size", lambda fig, row: draw_log_density(fig, spectrum, values, row=row))
        )
    if found:
        layers = record.get("per_layer") or {}
        panels.append(
            ("Trace by layer" if layers else "Trace", lambda fig, row: _trace(fig, found, layers, row=row))
        )
    return panels


def _eigenvalues(fig: go.Figure, values: Any, residuals: Any, converged: Any = None, *, row: int = 1) -> None:
    """Draw eigenvalues as bars with residuals: in another colour below zero, crossed if not converged."""
    shown, errors = numbers(values), numbers(residuals)
    sure = [True] * len(shown) if converged is None else [bool(ok) for ok in converged]
    patterns = [
        "x" if not ok else "/" if value is not None and value < 0 else ""
        for value, ok in zip(shown, sure, strict=True)
    ]
    colors = [_NEGATIVE if value is not None and value < 0 else _POSITIVE for value in shown]
    fig.add_bar(
        x=list(range(1, len(shown) + 1)),
        y=shown,
        name="eigenvalue",
        marker={
            "color": colors,
            "pattern": {"shape": patterns, "fgcolor": colors, "fillmode": "replace"},
        },
        error_y={"type": "data", "array": [error or 0.0 for error in errors], "color": INK},
        customdata=_ends(shown, errors),
        hovertext=["" if ok else "not converged" for ok in sure],
        hovertemplate="λ%{x}: %{y:.4~g}<br>an eigenvalue from %{customdata[1]:.6~g} to %{customdata[2]:.6~g}"
        "<br>%{hovertext}<extra></extra>",
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


def _trace(fig: go.Figure, found: Mapping[str, Any], layers: Mapping[str, Any], *, row: int) -> None:
    """Draw the whole trace, the error from the examples apart from that of the probes, and the layers."""
    low, high = found.get("interval") or (found["value"], found["value"])
    (value,) = numbers([found["value"]])
    fig.add_bar(
        x=["all"],
        y=[value],
        name="trace, whole",
        marker={"color": COLORS[4]},
        error_y=error_bars([value], [(low, high)], color=INK, width=4),
        customdata=[[value, low, high]],
        hovertemplate=f"all: %{{y:.4~g}}{interval_text([(low, high)])}<extra></extra>",
        row=row,
        col=1,
    )
    error = found.get("data_standard_error")
    if error is not None and value is not None:
        fig.add_bar(
            x=["all, examples"],
            y=[value],
            name="trace, standard error from the examples",
            marker={"color": tint(COLORS[4], 0.35)},
            error_y={"type": "data", "array": [error], "color": GREY, "thickness": 3},
            customdata=[[value, value - error, value + error]],
            hovertemplate="from the examples: %{customdata[1]:.4~g} to %{customdata[2]:.4~g}<extra></extra>",
            row=row,
            col=1,
        )
    if layers:
        draw_layers(fig, layers, row=row)
    fig.update_yaxes(title_text="trace", row=row, col=1)


def draw_layers(fig: go.Figure, layers: Mapping[str, Mapping[str, Any]], *, row: int = 1) -> None:
    """Draw the trace of each layer as a bar with its interval."""
    paths = list(layers)
    values = numbers([layers[path]["value"] for path in paths])
    intervals = [layers[path].get("interval") or (None, None) for path in paths]
    fig.add_bar(
        x=[label(shorten(path, 24)) for path in paths],
        y=values,
        name="trace",
        marker={"color": COLORS[2]},
        error_y=error_bars(values, intervals, color=INK, width=4),
        customdata=[[value, *ends] for value, ends in zip(values, intervals, strict=True)],
        hovertemplate=f"%{{x}}: %{{y:.4~g}}{interval_text(intervals)}<extra></extra>",
        row=row,
        col=1,
    )
    fig.update_yaxes(title_text="trace", row=row, col=1)


def eigenpairs_figure(result: Any) -> go.Figure:
    """Return the eigenvalues with their residuals as bars."""
    fig = make_subplots(rows=1, cols=1)
    style(fig, title=f"Eigenvalues ({result.which})", height=420, caption=_BARS)
    _eigenvalues(fig, result.eigenvalues, result.residuals, result.converged)
    fig.update_layout(showlegend=False)
    return fig


def spectral_density_figure(result: Any) -> go.Figure:
    """Return the density, and that of the logarithm, with their bands over probes."""
    fig = make_subplots(rows=2, cols=1, vertical_spacing=0.18)
    style(fig, title="Spectral density", height=720, caption=f"{DENSITY} {_LOG}")
    fields = {name: getattr(result, name) for name in ("grid", "density", "standard_error")}
    draw_density(fig, fields, result.outliers)
    names = ("log_grid", "log_density", "log_standard_error")
    draw_log_density(fig, {name: getattr(result, name) for name in names}, result.outliers, row=2)
    fig.update_layout(showlegend=False)
    return fig


def trace_figure(result: Any) -> go.Figure:
    """Return the trace of each layer, or the whole one where layers have no names."""
    fig = make_subplots(rows=1, cols=1)
    style(fig, title="Trace by layer", height=420, caption=_TRACES)
    ends = None if result.interval is None else list(result.interval)
    draw_layers(fig, result.per_layer or {"all": {"value": result.value, "interval": ends}})
    fig.update_layout(showlegend=False)
    return fig


def norm_figure(result: Any) -> go.Figure:
    """Return the Frobenius norm as a bar with its interval over probes."""
    fig = make_subplots(rows=1, cols=1)
    ends = None if result.interval is None else list(result.interval)
    said = "exact" if result.method == "exact" else ("no interval: too few probes" if ends is None else "")
    caption = said or "The error bar is the 95 % interval over random probes."
    if ends and result.confidence != 0.95:
        caption = f"The error bar is the {100 * result.confidence:.4g} % interval over random probes."
    style(fig, title="Frobenius norm", height=420, caption=f"**Norm**: the root of Σ λ². {capital(caption)}")
    draw_layers(fig, {f"{result.dim:,} × {result.dim:,}": {"value": result.value, "interval": ends}})
    fig.update_traces(name="norm", width=0.25)
    fig.update_xaxes(range=[-1, 1])
    fig.update_yaxes(title_text="Frobenius norm")
    fig.update_layout(showlegend=False)
    return fig


def diagonal_figure(result: Any) -> go.Figure:
    """Return the entries of the diagonal in descending order, on a log axis by size."""
    caption = "The sizes of the entries in descending order, positive and negative ones apart."
    fig = style(go.Figure(), title="Diagonal entries by size", x="rank", height=420, caption=caption)
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
    sizes = np.abs(values[values != 0])
    axis = log_axis(float(sizes.min()), float(sizes.max())) if sizes.size else {}
    fig.update_yaxes(title_text="size of the entry", **axis)
    return fig


def alignment_figure(result: Any) -> go.Figure:
    """Return the share of gradient and update within the first j eigenvectors."""
    caption = (
        "How much of the squared length of a gradient or update lies within the first eigenvectors; the "
        "dotted line is what a random vector would have there."
    )
    fig = style(go.Figure(), title="Within the top eigenspace", height=420, caption=caption)
    fig.update_xaxes(title_text="eigenvectors")
    fig.update_yaxes(title_text="share of the square")
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
