"""The episode that is shown as an animation with a slider and buttons, one panel per policy."""

from __future__ import annotations

from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from landscape.plots.names import short_names
from landscape.plots.rollouts.scene import Scene, frame_steps, scene_of
from landscape.plots.text import label
from landscape.plots.theme import GREY, GRID, INK, style

__all__ = ["MOST_FRAMES", "animation_figure"]

MOST_FRAMES = 250
_WIDE = 1.6  # width by height, from which drawings are stacked: beside each other they would be tiny
_SECONDS = 10.0  # that the whole episode takes at the most
_LEAST, _MOST = 40, 100  # milliseconds per frame


def animation_figure(result: Any) -> go.Figure | None:
    """Return the animation, or None where there is nothing to draw.

    A policy whose episode has ended is no longer drawn while the other's goes on. Of a long episode evenly
    spread states are frames, the first and the last among them.
    """
    scenes = scene_of(result)
    if not scenes:
        return None
    states = max(scene.num_states for scene in scenes)
    steps = frame_steps(states, MOST_FRAMES)
    panels = _panels(scenes)
    rows, columns = panels[-1]
    fig = make_subplots(rows=rows, cols=columns, horizontal_spacing=0.04, vertical_spacing=0.22)
    places = [
        place for scene, panel in zip(scenes, panels, strict=True) for place in _draw(fig, scene, panel)
    ]
    for trace in scenes[0].key():
        fig.add_trace(trace, row=1, col=1)
    fig.frames = [_frame(scenes, step, places) for step in steps]
    height = 460 + 100 * (rows - 1)
    style(fig, title=f"Episode {result.shown}", height=height, caption=_caption(result, scenes, len(steps)))
    for place, (row, column) in enumerate(panels):
        fig.update_xaxes(title_text=_title(result, place), row=row, col=column)
    pace = min(max(1000 * _SECONDS / max(len(steps), 1), _LEAST), _MOST)
    _controls(fig, steps, pace=pace, redraw=scenes[0].is_image)
    return fig


def _panels(scenes: list[Scene]) -> list[tuple[int, int]]:
    """Return row and column of each policy: side by side, or one below the other where drawings are wide."""
    scene, count = scenes[0], len(scenes)
    wide = abs(scene.x[1] - scene.x[0]) > _WIDE * abs(scene.y[1] - scene.y[0])
    return [(i, 1) if wide else (1, i) for i in range(1, count + 1)]


def _title(result: Any, place: int) -> str:
    name = short_names(result.names)[place] if len(result.names) > 1 else result.task.replace("_", " ")
    length, limit = int(result.lengths[place, result.shown]), result.episode_length
    end = f"ends after {length:,} steps" if length < limit else f"{length:,} steps, to the limit"
    return f"{label(name)}<br><span style='font-size:12px'>{label(end)}</span>"


def _draw(fig: go.Figure, scene: Scene, panel: tuple[int, int]) -> list[int]:
    """Draw the first state; return the places of the traces that move."""
    row, column = panel
    for trace in scene.still():
        fig.add_trace(trace, row=row, col=column)
    first = len(fig.data)
    for trace in scene.moving(0):
        fig.add_trace(trace, row=row, col=column)
    number = max(panel)
    anchor = "x" if number == 1 else f"x{number}"
    quiet = {"showticklabels": False, "ticks": "", "showgrid": False, "constrain": "domain"}
    fig.update_xaxes(range=list(scene.x), row=row, col=column, **quiet)
    fig.update_yaxes(range=list(scene.y), scaleanchor=anchor, row=row, col=column, **quiet)
    return list(range(first, len(fig.data)))


def _frame(scenes: list[Scene], step: int, places: list[int]) -> dict[str, Any]:
    data = [_changes(trace) for scene in scenes for trace in scene.moving(step)]
    return {"name": str(step), "data": data, "traces": places}


def _changes(trace: dict[str, Any]) -> dict[str, Any]:
    """Return what a frame exchanges of a trace."""
    return {key: trace[key] for key in ("type", "x", "y", "z") if key in trace}


def _controls(fig: go.Figure, steps: list[int], *, pace: float, redraw: bool) -> None:
    """Add the slider, and the buttons that play and stop."""
    shown = {"mode": "immediate", "transition": {"duration": 0}}
    playing = {**shown, "fromcurrent": True, "frame": {"duration": pace, "redraw": redraw}}
    at_once = {**shown, "frame": {"duration": 0, "redraw": redraw}}
    buttons = [
        {"label": "Play", "method": "animate", "args": [None, playing]},
        {"label": "Stop", "method": "animate", "args": [[None], at_once]},
    ]
    marks = [{"label": str(at), "method": "animate", "args": [[str(at)], at_once]} for at in steps]
    fig.update_layout(
        margin={"b": 150, "l": 20},
        updatemenus=[
            {
                "type": "buttons",
                "direction": "left",
                "showactive": False,
                "buttons": buttons,
                "x": 0,
                "xanchor": "left",
                "y": 0,
                "yanchor": "top",
                "pad": {"t": 112, "b": 0},
                "bgcolor": "white",
                "bordercolor": "#c3c8cf",
                "font": {"size": 13, "color": INK},
            }
        ],
        sliders=[
            {
                "steps": marks,
                "x": 0,
                "y": 0,
                "len": 1,
                "pad": {"t": 60, "b": 0},
                "ticklen": 0,
                "minorticklen": 0,
                "font": {"size": 1, "color": "rgba(0,0,0,0)"},
                "bgcolor": GRID,
                "bordercolor": GREY,
                "activebgcolor": GREY,
                "currentvalue": {
                    "prefix": "step ",
                    "xanchor": "right",
                    "font": {"size": 13, "color": INK},
                },
            }
        ],
    )


def _caption(result: Any, scenes: list[Scene], frames: int) -> str:
    states = max(scene.num_states for scene in scenes)
    said = f"Seed {int(result.seeds[result.shown])}."
    if len(result.names) > 1:
        said += " Both policies start from the same state; one whose episode has ended is no longer drawn."
    if any(scene.is_left for scene in scenes):
        said += " What leaves the picture is not drawn until it comes back."
    if frames < states:
        said += f" {frames} of {states:,} states are frames, evenly spread."
    return said
