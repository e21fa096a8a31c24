"""The path between two networks: loss, its barrier with the sampling interval, and every metric."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from landscape.plots.connectivity.path_notes import barrier_text, draw_before, losses_before, note_above, ring
from landscape.plots.names import short_names
from landscape.plots.series import BAND
from landscape.plots.text import label, wrapped_label
from landscape.plots.theme import (
    COLORS,
    DASHES,
    GREY,
    INK,
    MARKERS,
    log_axis,
    numbers,
    style,
    tint,
    wide_range,
)

__all__ = ["barrier_figure"]

_SPLITS = ("train", "test", "validation")
_NAME_WIDTH = 16  # characters of an endpoint's name under the axis: two fit on a phone
_PANELS = 3  # metrics drawn below the loss; the others are in the tables


@dataclasses.dataclass(frozen=True)
class _Path:
    """The fields of a barrier that are drawn, as plain numbers."""

    alphas: list[float]
    losses: Mapping[str, Mapping[str, Any]]
    split: str
    names: tuple[str, str]
    raw: Any

    @property
    def short(self) -> list[str]:
        return short_names(self.names)

    @property
    def loss(self) -> list[float | None]:
        return numbers(self.losses[self.split]["loss"])

    @property
    def chord(self) -> list[float | None]:
        first, last = self.loss[0], self.loss[-1]
        if first is None or last is None:
            return [None] * len(self.alphas)
        return [(1 - alpha) * first + alpha * last for alpha in self.alphas]


def barrier_figure(barrier: Any) -> go.Figure:
    """Return the loss along the straight path between two networks, with every metric below it.

    Drawn are the loss on every split, the endpoints by name, the chord between them, the barrier above
    it where it is largest, the 95 % band of the sampling error that holds for all points at once,
    points that were added around the maximum, and (at the upper edge) points where the loss overflowed.

    Parameters
    ----------
    barrier : Barrier
        Only its fields are read; missing values are left out, and the figure says so.
    """
    path = _Path(
        alphas=[float(alpha) for alpha in barrier.alphas],
        losses=barrier.losses,
        split=barrier.split,
        names=_names(barrier),
        raw=barrier,
    )
    metrics = _metrics(path)[:_PANELS]
    fig = make_subplots(
        rows=1 + len(metrics),
        cols=1,
        shared_xaxes=True,
        vertical_spacing=0.07 if metrics else 0,
        row_heights=[1.0, *(0.55 for _ in metrics)],
    )
    style(fig, title=_title(path), height=500 + 190 * len(metrics), caption=_caption(path, metrics))
    _draw_loss(fig, path)
    for row, metric in enumerate(metrics, start=2):
        _draw_curves(fig, path, metric, row=row)
        fig.update_yaxes(title_text=label(metric), row=row, col=1)
    _finish_axes(fig, path, rows=1 + len(metrics))
    return fig


def _names(barrier: Any) -> tuple[str, str]:
    endpoints = barrier.endpoints
    pair = endpoints.values() if isinstance(endpoints, Mapping) else endpoints
    first, last, *_ = [*map(str, pair or ()), "a", "b"]
    return first, last


def _title(path: _Path) -> str:
    return f"Loss along the path from {path.short[0]} to {path.short[1]}"


def _caption(path: _Path, metrics: Sequence[str]) -> str:
    """Return what the lines, the band and the marks are, of those that are there."""
    chosen = path.split
    said = [
        "Each line is a split, along the straight path between the two networks; rings are the networks "
        f"themselves. The grey dashed line is the chord between their losses ({chosen})."
    ]
    if next(_band(path), None):
        said.append(
            "The band is the 95 % band of the sampling error over the examples, for all points at once."
        )
    if numbers([path.raw.barrier_above_chord])[0]:
        said.append("◆ is where the loss is highest above the chord; the stroke down to it is the barrier.")
    if numbers(getattr(path.raw, "refined_alphas", None)):
        said.append("Dots on the line are points that were added around the maximum.")
    if losses_before(path.raw, path.split):
        said.append("The dotted line is the path before the second network was aligned to the first.")
    if metrics:
        said.append(f"The panels below have the same path for: {', '.join(metrics)}.")
    return " ".join(said)


def _metrics(path: _Path) -> list[str]:
    found = dict.fromkeys(name for values in path.losses.values() for name in values)
    return [name for name in found if name != "loss"]


def _ordered(splits: Mapping[str, Any]) -> list[str]:
    known = [split for split in _SPLITS if split in splits]
    return [*known, *(split for split in splits if split not in known)]


def _look(split: str, position: int) -> dict[str, str]:
    """Return colour, dash and marker of a split: the same in every figure, whichever splits it has."""
    i = _SPLITS.index(split) if split in _SPLITS else len(_SPLITS) + position
    return {
        "color": COLORS[i % len(COLORS)],
        "dash": DASHES[i % len(DASHES)],
        "symbol": MARKERS[i % len(MARKERS)],
    }


def _draw_loss(fig: go.Figure, path: _Path) -> None:
    look = _look(path.split, 0)
    _draw_band(fig, path, look["color"])
    fig.add_scatter(
        x=path.alphas,
        y=path.chord,
        mode="lines",
        name=f"chord ({label(path.split)})",
        line={"color": GREY, "width": 1.2, "dash": "dash"},
        hoverinfo="skip",
        legendrank=1002,
        meta={"split": path.split},
    )
    draw_before(fig, path.raw, path.split)
    _draw_curves(fig, path, "loss", row=1)
    _draw_refined(fig, path, look)
    _draw_endpoints(fig, path, look["color"])
    _draw_maximum(fig, path)
    _draw_overflow(fig, path)
    fig.update_yaxes(title_text="loss", row=1, col=1)
    if wide_range(_drawn(path)):
        known = [value for value in _drawn(path) if value is not None]
        axis = log_axis(min(known), max(known), pad=1.3)
        fig.update_yaxes(title_text="loss (log scale)", **axis, row=1, col=1)


def _drawn(path: _Path) -> list[float | None]:
    values = [value for split in path.losses for value in numbers(path.losses[split]["loss"])]
    return [
        *values,
        *losses_before(path.raw, path.split),
        *(edge for segment in _band(path) for _, low, high in segment for edge in (low, high)),
    ]


def _draw_curves(fig: go.Figure, path: _Path, metric: str, *, row: int) -> None:
    """Draw one quantity on every split that has it, the split of the barrier on top."""
    splits = _ordered(path.losses)
    for split in sorted(splits, key=lambda name: name == path.split):
        if metric not in path.losses[split]:
            continue
        look = _look(split, splits.index(split))
        name = label(split)
        fig.add_scatter(
            x=path.alphas,
            y=numbers(path.losses[split][metric]),
            mode="lines+markers",
            name=name if row == 1 else f"{name} {label(metric)}",
            legendgroup=split,
            showlegend=row == 1,
            legendrank=1000 - (split == path.split),
            line={"color": look["color"], "dash": look["dash"], "width": 2.2},
            marker={"symbol": look["symbol"], "size": 5, "color": look["color"]},
            hovertemplate=f"{name} {label(metric)} %{{y:.4~g}}<br>α = %{{x:.4~g}}<extra></extra>",
            meta={"split": split},
            row=row,
            col=1,
        )


def _band(path: _Path) -> Iterator[list[tuple[float, float, float]]]:
    """Yield the stretches of the band as (alpha, low, high); a missing point parts two stretches."""
    band = (getattr(path.raw, "band", None) or {}).get("above_chord") or {}
    critical = numbers([band.get("critical")])[0]
    excess, errors = numbers(band.get("excess")), numbers(band.get("standard_error"))
    stretch: list[tuple[float, float, float]] = []
    if critical is not None and len(excess) == len(errors) == len(path.alphas) and any(errors):
        for alpha, base, mean, error in zip(path.alphas, path.chord, excess, errors, strict=True):
            if base is not None and mean is not None and error is not None:
                half = critical * error
                stretch.append((alpha, base + mean - half, base + mean + half))
            elif stretch:
                yield stretch
                stretch = []
    if stretch:
        yield stretch


def _draw_band(fig: go.Figure, path: _Path, color: str) -> None:
    """Draw the band as one closed outline per stretch."""
    floor = min((value for value in path.loss if value is not None), default=0.0)
    x: list[float | None] = []
    y: list[float | None] = []
    for stretch in _band(path):
        back = stretch[::-1]
        x.extend([*(point[0] for point in stretch), *(point[0] for point in back), None])
        # A loss is not negative: a band that reaches below zero would only squeeze the curves.
        lows = [max(point[1], 0.0) if floor >= 0 else point[1] for point in back]
        y.extend([*(point[2] for point in stretch), *lows, None])
    if x:
        fig.add_scatter(
            x=x[:-1],
            y=y[:-1],
            **BAND,
            fillcolor=tint(color, 0.16),
            name=f"95 % band ({label(path.split)})",
            legendrank=1003,
        )


def _draw_refined(fig: go.Figure, path: _Path, look: Mapping[str, str]) -> None:
    alphas = numbers(getattr(path.raw, "refined_alphas", None))
    losses = numbers(getattr(path.raw, "refined_losses", None))
    if alphas and len(alphas) == len(losses):
        fig.add_scatter(
            x=alphas,
            y=losses,
            mode="markers",
            name="refined",
            # Small, on the line and drawn before ◆: sixteen of them must not hide the maximum.
            marker={"symbol": "circle", "size": 3, "color": look["color"]},
            meta={"split": path.split},
            hovertemplate="refined loss %{y:.4~g}<br>α = %{x:.4~g}<extra></extra>",
            legendrank=1004,
        )


def _draw_endpoints(fig: go.Figure, path: _Path, color: str) -> None:
    for name, alpha, value in zip(path.names, (0.0, 1.0), (path.loss[0], path.loss[-1]), strict=True):
        if value is not None:
            fig.add_scatter(
                x=[alpha],
                y=[value],
                mode="markers",
                name=label(name),
                showlegend=False,
                marker=ring(color),
                cliponaxis=False,
                hovertemplate=f"{label(name)}<br>{label(path.split)} loss %{{y:.4~g}}<extra></extra>",
            )


def _draw_maximum(fig: go.Figure, path: _Path) -> None:
    """Mark the barrier as the distance from the chord up to the curve, with its interval."""
    text = barrier_text(path.raw)
    value = numbers([path.raw.barrier_above_chord])[0]
    alpha = numbers([(path.raw.alpha_max or {}).get("above_chord")])[0]
    top = None if alpha is None else _at(path, alpha, path.loss)
    base = None if alpha is None else _at(path, alpha, path.chord)
    if not value or alpha is None or top is None or base is None:
        _note(fig, text)
        return
    fig.add_scatter(
        x=[alpha, alpha],
        y=[base, top],
        mode="lines+markers",
        name="barrier",
        showlegend=False,
        line={"color": INK, "width": 1.5},
        marker={
            "symbol": ["line-ew", "diamond"],
            "size": [10, 12],
            "color": INK,
            "line": {"width": [1.5, 1.2], "color": [INK, "white"]},
        },
        meta={"split": path.split},
        hovertemplate=f"{text}<br>α = %{{x:.4~g}}<extra></extra>",
    )
    _note(fig, f"◆ {text}")


def _note(fig: go.Figure, text: str) -> None:
    note_above(fig, text, size=12, shift=48, room=34)  # one line of a phone holds it whole


def _at(path: _Path, alpha: float, values: Sequence[float | None]) -> float | None:
    """Return a curve at `alpha`, between grid points on a straight line."""
    known = [(x, y) for x, y in zip(path.alphas, values, strict=True) if y is not None]
    return float(np.interp(alpha, [x for x, _ in known], [y for _, y in known])) if known else None


def _draw_overflow(fig: go.Figure, path: _Path) -> None:
    """Mark, at the upper edge, where the loss is not finite on any split."""
    lost = {
        alpha
        for split in path.losses
        for alpha, value in zip(path.alphas, numbers(path.losses[split]["loss"]), strict=True)
        if value is None
    }
    lost |= {float(alpha) for alpha in (path.raw.non_finite if path.raw.non_finite is not None else ())}
    if not lost:
        return
    known = [value for value in _drawn(path) if value is not None] or [0.0, 1.0]
    low, high = min(known), max(known)
    log = wide_range(known)
    top = high * 2 if log else high + 0.12 * ((high - low) or 1.0)
    edge = [low / 1.3, top] if log else [low - 0.06 * ((high - low) or 1.0), top]
    fig.update_yaxes(range=np.log10(edge).tolist() if log else edge, row=1, col=1)
    fig.add_scatter(
        x=sorted(lost),
        y=[top] * len(lost),
        mode="markers",
        name="not finite",
        marker={"symbol": "triangle-up", "size": 11, "color": COLORS[4], "line": {"color": INK, "width": 1}},
        cliponaxis=False,
        customdata=[[None, None, None]] * len(lost),
        hovertemplate="the loss is not finite<br>α = %{x:.4~g}<extra></extra>",
        legendrank=1005,
    )


def _finish_axes(fig: go.Figure, path: _Path, *, rows: int) -> None:
    """Name the endpoints under the axis, each at its side."""
    fig.update_xaxes(range=[-0.025, 1.025], tickvals=[0, 0.25, 0.5, 0.75, 1], zeroline=False)
    lines = max(wrapped_label(name, _NAME_WIDTH).count("<br>") + 1 for name in path.short)
    fig.update_xaxes(title={"text": "position on the path, α", "standoff": 16 + 15 * lines}, row=rows, col=1)
    for i, (name, side, at) in enumerate(zip(path.names, ("left", "right"), (0, 1), strict=True)):
        fig.add_annotation(
            text=wrapped_label(path.short[i], _NAME_WIDTH),
            x=at,
            y=0,
            xref="x",
            yref=f"y{rows if rows > 1 else ''} domain",
            xanchor=side,
            yanchor="top",
            yshift=-24,
            xshift=-8 if side == "left" else 8,
            align=side,
            showarrow=False,
            hovertext=label(name),
            font={"size": 12.5, "color": GREY},
        )
