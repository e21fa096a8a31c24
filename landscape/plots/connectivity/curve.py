"""A trained curve between two networks: its loss beside the straight line's, and its training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from landscape.plots.connectivity.path_notes import note_above, ring
from landscape.plots.names import short_names
from landscape.plots.page import Page
from landscape.plots.series import in_brackets
from landscape.plots.text import label
from landscape.plots.theme import COLORS, GREY, numbers, style, swatch, wide_range

__all__ = ["add_curve", "curve_figure", "history_figure"]

_SMOOTHED = 50  # windows over which the history is averaged
_FEWEST = 5  # steps of a window: a mean of one step is the step
_CURVE = (
    "Full lines are the loss along the trained curve, the grey dashed line is the straight line between the "
    "same two networks, and rings are the networks themselves."
)
_TRAINED = (
    "Dots are losses of single minibatches at random times of the curve, the line their running mean: they "
    "need not fall to the loss of the networks."
)


def curve_figure(found: Any) -> go.Figure:
    """Return the loss along a connecting curve on every split, with the straight line beside it.

    Parameters
    ----------
    found : ConnectingCurve
        Only its fields are read.
    """
    first, last = short_names(found.endpoints)
    title = f"Loss along the curve from {first} to {last}"
    fig = style(
        go.Figure(),
        title=title,
        x="time on the curve, t",
        y=f"loss, {found.split}",
        height=500,
        caption=_CURVE,
    )
    times = [float(t) for t in found.ts]
    straight = numbers(found.line_losses)
    fig.add_scatter(
        x=times,
        y=straight,
        mode="lines",
        name=f"straight line ({label(found.split)})",
        line={"color": GREY, "dash": "dash", "width": 2},
        hovertemplate="straight line %{y:.4~g}<br>t = %{x:.3~g}<extra></extra>",
        meta={"split": found.split},
    )
    splits = [found.split, *(name for name in found.losses if name != found.split)]
    losses = {split: numbers(found.losses[split]["loss"]) for split in splits}
    for number, split in enumerate(splits):
        _draw_curve(fig, times, losses[split], split=split, number=number)
    _draw_ends(fig, found.endpoints, losses[found.split])
    if wide_range([*straight, *(value for values in losses.values() for value in values)]):
        fig.update_yaxes(type="log")
    _say_barriers(fig, found)
    return fig


def _draw_curve(
    fig: go.Figure, times: list[float], losses: list[float | None], *, split: str, number: int
) -> None:
    look = swatch(number)
    fig.add_scatter(
        x=times,
        y=losses,
        mode="lines+markers",
        name=f"curve ({label(split)})",
        line={"color": look["color"], "dash": look["dash"], "width": 2.4},
        marker={"symbol": look["symbol"], "size": 5, "color": look["color"]},
        hovertemplate=f"{label(split)} %{{y:.4~g}}<br>t = %{{x:.3~g}}<extra></extra>",
        meta={"split": split},
    )


def _draw_ends(fig: go.Figure, names: Sequence[str], losses: list[float | None]) -> None:
    fig.add_scatter(
        x=[0, 1],
        y=[losses[0], losses[-1]],
        mode="markers",
        showlegend=False,
        text=[label(name) for name in names],
        marker=ring(COLORS[0]),
        cliponaxis=False,
        hovertemplate="%{text}<br>loss %{y:.4~g}<extra></extra>",
    )


def _say_barriers(fig: go.Figure, found: Any) -> None:
    """Say both barriers in words above the plot."""
    lines = [
        "barrier above the chord",
        f"curve {_text(found.barrier_above_chord, found.interval_above_chord)}",
        f"straight line {_text(found.line_barrier_above_chord, found.line_interval_above_chord)}",
    ]
    note_above(fig, "<br>".join(lines), size=13.5, shift=40, room=72)


def _text(value: float | None, interval: Any) -> str:
    if value is None:
        return "not available: points are not finite"
    return f"<b>{value:.4g}</b>{in_brackets(interval)}"


def history_figure(found: Any) -> go.Figure:
    """Return the minibatch losses of the training, with their running mean.

    Parameters
    ----------
    found : ConnectingCurve
        Only its fields are read.
    """
    fig = style(
        go.Figure(), title="Training of the curve", x="step", y="minibatch loss", height=300, caption=_TRAINED
    )
    history = np.asarray(found.history, np.float64)
    steps = np.arange(1, len(history) + 1)
    fig.add_scattergl(
        x=steps.tolist(),
        y=numbers(history),
        mode="markers",
        name="minibatch",
        marker={"size": 3, "color": COLORS[5]},
        hovertemplate="step %{x}: %{y:.4~g}<extra></extra>",
    )
    width = max(_FEWEST, len(history) // _SMOOTHED)
    means = [float(np.mean(history[i : i + width])) for i in range(0, len(history), width)]
    fig.add_scatter(
        x=[float(np.mean(steps[i : i + width])) for i in range(0, len(history), width)],
        y=numbers(means),
        mode="lines",
        name=f"mean of {width} steps",
        line={"color": COLORS[0], "width": 2.2},
    )
    if wide_range(numbers(history)):
        fig.update_yaxes(type="log")
    return fig


def add_curve(page: Page, found: Any) -> None:
    """Add the loss along the curve, its training, and the numbers of curve and straight line."""
    page.figure(curve_figure(found), "", "curve")
    page.table(
        ("path", "barrier above chord", "95 % interval", "highest loss", "length"),
        _compared(found),
        f"Curve and straight line, {found.split}",
        "compared",
    )
    if len(found.history):
        page.figure(history_figure(found), "", "training")
    page.table(("quantity", "value"), found.printed(), "Numbers", "numbers")


def _compared(found: Any) -> list[tuple[object, ...]]:
    straight = np.asarray(found.line_losses, np.float64)
    highest = float(straight.max()) if np.isfinite(straight).all() else None
    curve = (found.barrier_above_chord, found.interval_above_chord, found.maximum, found.length)
    line = (found.line_barrier_above_chord, found.line_interval_above_chord, highest, found.line_length)
    return [(found.curve, *curve), ("straight line", *line)]
