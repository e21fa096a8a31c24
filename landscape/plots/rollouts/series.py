"""Rewards, actions and states of the episode that is shown, over its steps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from landscape.plots.names import short_names
from landscape.plots.rollouts.scene import frame_steps
from landscape.plots.series import add_heading
from landscape.plots.text import label
from landscape.plots.theme import numbers, style, swatch

__all__ = ["series_figure"]

_MOST_POINTS = 600  # of one line
_MOST_PANELS = 8


def series_figure(result: Any) -> go.Figure:
    """Return one panel per quantity, the policies over each other: cumulated reward, actions, states.

    States that no policy changes are left out. Of a long episode every k-th step is drawn.
    """
    found = [dict(_quantities(episode)) for episode in result.episodes]
    names = [name for name in dict.fromkeys(name for one in found for name in one) if _varies(found, name)]
    shown = names[:_MOST_PANELS]
    height = 150 + 118 * max(len(shown), 1)
    between = 38 / (height - 80)  # room for a heading
    fig = make_subplots(rows=max(len(shown), 1), cols=1, shared_xaxes=True, vertical_spacing=between)
    for row, name in enumerate(shown, start=1):
        add_heading(fig, label(name), row=row)
        for place, (policy, series) in enumerate(zip(short_names(result.names), found, strict=True)):
            if name in series:
                _draw(fig, series[name], place, policy, row=row)
    caption = _caption(result, names, max((len(v) for one in found for v in one.values()), default=0))
    style(fig, title="The episode step by step", height=height, caption=caption)
    fig.update_xaxes(title_text="step", row=max(len(shown), 1), col=1)
    above = 1 + 30 / (height - 136)  # the legend, clear of the heading of the first panel
    fig.update_layout(showlegend=len(result.names) > 1, margin={"t": 110}, legend={"y": above})
    return fig


def _quantities(episode: Any) -> Iterator[tuple[str, np.ndarray]]:
    """Yield name and values of every quantity; rewards are summed up to each step."""
    yield "reward, summed", np.cumsum(np.asarray(episode["rewards"], np.float64))
    yield from _columns("action", episode["actions"])
    states = episode.get("states") or {}
    for name, values in states.items():
        yield from _columns(name.replace("_", " "), values)
    if not states and episode.get("observations") is not None:
        yield from _columns("observation", episode["observations"])


def _columns(name: str, values: Any) -> Iterator[tuple[str, np.ndarray]]:
    array = np.asarray(values, np.float64)
    for part in range(array.shape[1]):
        yield (f"{name} {part + 1}" if array.shape[1] > 1 else name), array[:, part]


def _varies(found: Sequence[dict[str, np.ndarray]], name: str) -> bool:
    """Return whether a quantity says something: an action or reward does even where it is constant."""
    if name.startswith(("reward", "action")):
        return True
    return any(len(set(numbers(one[name]))) > 1 for one in found if name in one)


def _draw(fig: go.Figure, values: np.ndarray, place: int, policy: str, *, row: int) -> None:
    steps = frame_steps(len(values), _MOST_POINTS)
    look = swatch(place)
    fig.add_scatter(
        x=steps,
        y=numbers(values[steps]) if len(values) else [],
        mode="lines",
        name=label(policy),
        legendgroup=str(place),
        showlegend=row == 1,
        line={"color": look["color"], "dash": look["dash"], "width": 2},
        hovertemplate="step %{x}: %{y:.4~g}<extra></extra>",
        meta="band",  # every step of it stands in the table of the episode
        row=row,
        col=1,
    )


def _caption(result: Any, names: Sequence[str], length: int) -> str:
    seed = int(result.seeds[result.shown])
    said = [f"Episode {result.shown} of {result.split}, seed {seed}. A line stops where its episode ends."]
    if len(names) > _MOST_PANELS:
        said.append(f"{_MOST_PANELS} of {len(names)} quantities are drawn; the data hold all.")
    if length > _MOST_POINTS:
        said.append(f"At most {_MOST_POINTS} steps of a line are drawn, evenly; the data hold all.")
    return " ".join(said)
