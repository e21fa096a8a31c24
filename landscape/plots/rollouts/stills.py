"""The figure of a rollout: returns of all episodes, and the one that is shown as a row of small drawings."""

from __future__ import annotations

from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from landscape.plots.names import short_names
from landscape.plots.rollouts.returns import draw_strip, strip_caption
from landscape.plots.rollouts.scene import Scene, frame_steps, scene_of
from landscape.plots.text import label
from landscape.plots.theme import style

__all__ = ["rollout_figure"]

_SHOWN = 5  # drawings in a row


def rollout_figure(result: Any) -> go.Figure:
    """Return the returns of every policy with their intervals, and drawings of the episode that is shown."""
    scenes = scene_of(result)
    columns = _SHOWN if scenes else 1
    specs = [[{"colspan": columns}, *[None] * (columns - 1)], *([{}] * columns for _ in scenes)]
    heights = [60 + 56 * len(result.names), *([150] * len(scenes))]
    fig = make_subplots(
        rows=len(specs), cols=columns, specs=specs, row_heights=heights, vertical_spacing=0.14
    )
    draw_strip(fig, result, "returns", row=1)
    said = [strip_caption(result)]
    for row, scene in enumerate(scenes, start=2):
        _draw_row(fig, scene, row)
    if scenes:
        who = "" if len(scenes) == 1 else ", one row per policy"
        said.append(f"Below, episode {result.shown} at even steps from its start to its end{who}.")
    height = 190 + sum(heights)
    title = f"Returns of {result.task.replace('_', ' ')}"
    style(fig, title=title, height=height, caption=" ".join(said))
    names = short_names(result.names)
    for row, name in enumerate(names[: len(scenes)], start=2):
        fig.update_yaxes(title_text=label(name), row=row, col=1)
    fig.update_xaxes(title_text="return", row=1, col=1)
    fig.update_layout(showlegend=bool(scenes and scenes[0].is_image))
    return fig


def _draw_row(fig: go.Figure, scene: Scene, row: int) -> None:
    steps = frame_steps(scene.num_states, _SHOWN)
    for column, step in enumerate(steps, start=1):
        for trace in (*scene.still(), *scene.moving(step)):
            fig.add_trace(trace, row=row, col=column)
        fig.update_xaxes(range=list(scene.x), title_text=f"step {step}", row=row, col=column)
        anchor = next(fig.select_xaxes(row=row, col=column)).plotly_name.replace("axis", "")
        fig.update_yaxes(range=list(scene.y), row=row, col=column, scaleanchor=anchor, constrain="domain")
    if row == 2:
        for trace in scene.key():
            fig.add_trace(trace, row=row, col=1)
    fig.update_xaxes(showticklabels=False, ticks="", showgrid=False, constrain="domain", row=row)
    fig.update_yaxes(showticklabels=False, ticks="", showgrid=False, row=row)
