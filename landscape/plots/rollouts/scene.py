"""What is drawn of an episode at a step: traces of parts in the plane, or the cells of an image.

A drawing has the same traces at every step, so that a frame of an animation exchanges only their coordinates.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from landscape.plots.text import label
from landscape.plots.theme import COLORS, GREY, GRID, INK, numbers

__all__ = ["Scene", "frame_steps", "scene_of"]

# Of cells of an image: nothing, then one colour per channel.
_CELLS = (GRID, *COLORS, INK, GREY, "#7b4fa3", "#8c6d31", "#c23b6b")
_STILL = GREY
_MARGIN = 0.06  # of the extent, around what is drawn


@dataclasses.dataclass(frozen=True)
class Scene:
    """An episode as a drawing.

    Attributes
    ----------
    episode : mapping
        As a `Rollout` holds it.
    x, y : tuple of float
        The ends of the axes; those of all policies, so that panels compare.
    channels : sequence of str
        Names of the channels of an image.
    """

    episode: Any
    x: tuple[float, float]
    y: tuple[float, float]
    channels: Sequence[str]

    @property
    def is_image(self) -> bool:
        """Whether it is made of cells."""
        return self.episode.get("cells") is not None

    @property
    def is_left(self) -> bool:
        """Whether something that moves leaves the picture."""
        points = [np.asarray(part["points"], float).reshape(-1, 2) for part in self.episode["moving"]]
        return any(
            bool((at[:, axis] < low).any() or (at[:, axis] > high).any())
            for at in points
            for axis, (low, high) in enumerate((self.x, self.y))
        )

    @property
    def num_states(self) -> int:
        """States that can be drawn: one more than steps."""
        if self.is_image:
            return len(self.episode["cells"])
        return min((len(part["points"]) for part in self.episode["moving"]), default=0)

    def still(self) -> list[dict[str, Any]]:
        """Return the traces of what does not move."""
        parts = [part for part in self.episode["still"] if part["form"] != "frame"]
        return [_trace(part, part["points"], _STILL, 1.5) for part in parts]

    def moving(self, step: int) -> list[dict[str, Any]]:
        """Return the traces at a state; empty ones beyond the last, since the episode is over."""
        over = step >= self.num_states
        if self.is_image:
            cells = np.asarray(self.episode["cells"])
            return [self._heatmap(np.zeros_like(cells[0]) if over else cells[step])]
        return [
            _trace(part, part["points"][:0, 0] if over else part["points"][step], COLORS[i % 2], 4)
            for i, part in enumerate(self.episode["moving"])
        ]

    def _heatmap(self, cells: np.ndarray) -> dict[str, Any]:
        top = len(_CELLS)
        scale = [[at / top, color] for i, color in enumerate(_CELLS) for at in (i, i + 1)]
        return {
            "type": "heatmap",
            "z": cells.tolist(),
            "zmin": -0.5,
            "zmax": top - 0.5,
            "colorscale": scale,
            "showscale": False,
            "xgap": 1,
            "ygap": 1,
            "hoverinfo": "skip",
        }

    def key(self) -> list[dict[str, Any]]:
        """Return traces without points that name the colours of the channels that appear, for the legend."""
        if not self.is_image:
            return []
        seen = [int(i) for i in np.unique(np.asarray(self.episode["cells"])) if 0 < i < len(_CELLS)]
        return [_entry(self._channel(i), _CELLS[i]) for i in seen]

    def _channel(self, number: int) -> str:
        return self.channels[number - 1] if number <= len(self.channels) else f"channel {number}"


def _entry(name: str, color: str) -> dict[str, Any]:
    return {
        "type": "scatter",
        "x": [None],
        "y": [None],
        "mode": "markers",
        "marker": {"symbol": "square", "size": 12, "color": color},
        "name": label(name),
        "legendgroup": label(name),
        "showlegend": True,
        "hoverinfo": "skip",
        "meta": "band",  # no data: a table leaves it out
    }


def _trace(part: Any, points: Any, color: str, width: float) -> dict[str, Any]:
    """Return one part, [n, 2], as a trace; it is named on hover."""
    at = np.asarray(points, np.float64).reshape(-1, 2)
    shared = {
        "type": "scatter",
        "x": numbers(at[:, 0]),
        "y": numbers(at[:, 1]),
        "name": label(part["name"]),
        "hovertemplate": label(part["name"]) + "<extra></extra>",
        "showlegend": False,
        "meta": "band",  # what is drawn stands in the table of the episode, by step
    }
    if part["form"] == "line":
        return {**shared, "mode": "lines", "line": {"color": color, "width": width}}
    if part["form"] == "goal":
        return {**shared, "mode": "markers", "marker": {"color": COLORS[2], "size": 14, "symbol": "star"}}
    size = 12 if color != _STILL else 9
    return {**shared, "mode": "markers", "marker": {"color": color, "size": size}}


def scene_of(result: Any) -> list[Scene]:
    """Return the drawings of the episode that is shown, one per policy; none without parts or cells."""
    if any(_empty(episode) for episode in result.episodes):
        return []
    cells = [episode["cells"] for episode in result.episodes if episode.get("cells") is not None]
    if cells:
        height, width = (max(np.shape(one)[axis] for one in cells) for axis in (1, 2))
        x, y = (-0.5, width - 0.5), (height - 0.5, -0.5)
    else:
        parts = [part for e in result.episodes for part in (*e["moving"], *e["still"])]
        parts = [part for part in parts if part["form"] == "frame"] or parts
        points = np.concatenate([np.asarray(part["points"], float).reshape(-1, 2) for part in parts])
        x, y = _extent(points[:, 0]), _extent(points[:, 1])
    return [Scene(episode, x, y, result.channels) for episode in result.episodes]


def _empty(episode: Any) -> bool:
    cells = episode.get("cells")
    return not np.size(cells) if cells is not None else not episode["moving"]


def _extent(values: np.ndarray) -> tuple[float, float]:
    """Return the ends of an axis around finite values."""
    known = values[np.isfinite(values) & (np.abs(values) < 1e100)]
    low, high = (float(known.min()), float(known.max())) if known.size else (0.0, 1.0)
    room = _MARGIN * (high - low) or 1.0
    return low - room, high + room


def frame_steps(count: int, most: int) -> list[int]:
    """Return at most `most` evenly spread states of `count`, the first and the last among them."""
    return sorted({round(at) for at in np.linspace(0, max(count - 1, 0), min(count, most)).tolist()})
