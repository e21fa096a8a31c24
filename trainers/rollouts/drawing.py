"""What is drawn of an episode: lines and marks in the plane, from the states of the classic tasks. No jax.

A part that moves has points for every state [S + 1, n, 2], one that stands still has points [n, 2]. Lengths
are those of the dynamics; angles are as each environment counts them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

__all__ = ["CHANNELS", "cells_of", "drawing_of"]

States = Mapping[str, np.ndarray]
Part = dict[str, Any]
Parts = tuple[list[Part], list[Part]]

# What each channel of a game's observations holds, in their order (Young & Tian 2019).
CHANNELS: dict[str, tuple[str, ...]] = {
    "asterix": ("player", "enemy", "trail", "treasure", "not used"),
    "breakout": ("paddle", "ball", "trail", "brick"),
    "freeway": ("chicken", "car", *(f"trail of speed {speed}" for speed in range(1, 6))),
    "seaquest": (
        "submarine, front", "submarine, back", "own bullet", "trail", "enemy bullet", "fish",
        "enemy submarine", "oxygen", "divers on board", "diver",
    ),
    "space_invaders": (
        "cannon", "alien", "aliens to the left", "aliens to the right", "own bullet", "enemy bullet",
    ),
}  # fmt: skip


def cells_of(observations: np.ndarray) -> np.ndarray:
    """Return what each cell shows: 1 plus the first channel that is not zero, 0 where all are.

    Parameters
    ----------
    observations : numpy.ndarray [S + 1, H, W, C]
        Images.
    """
    there = observations != 0
    first = np.argmax(there, axis=-1) + 1
    return np.where(there.any(axis=-1), first, 0).astype(np.int8)


def drawing_of(task: str, states: States, physics: Mapping[str, Any]) -> Parts:
    """Return the moving and the still parts of an episode; none of a task that has no drawing.

    Parameters
    ----------
    task : str
        Its name.
    states : mapping of str to numpy.ndarray [S + 1, n]
        By name.
    physics : mapping
        Options of the task, among them the constants of its dynamics.
    """
    draw = _DRAWN.get(task)
    return ([], []) if draw is None else draw(states, physics)


def _line(name: str, *points: np.ndarray) -> Part:
    return {"name": name, "form": "line", "points": np.stack(points, axis=-2)}


def _marker(name: str, *points: np.ndarray) -> Part:
    return {"name": name, "form": "marker", "points": np.stack(points, axis=-2)}


def _goal(name: str, *points: np.ndarray) -> Part:
    return {**_marker(name, *points), "form": "goal"}


def _xy(x: Any, y: Any) -> np.ndarray:
    return np.stack(np.broadcast_arrays(np.asarray(x, np.float64), np.asarray(y, np.float64)), axis=-1)


def _pendulum(states: States, physics: Mapping[str, Any]) -> Parts:
    """Draw the rod; its angle is 0 upright and grows anticlockwise."""
    angle, length = states["theta"][:, 0], float(physics.get("length", 1.0))
    tip = length * _xy(-np.sin(angle), np.cos(angle))
    pivot = np.zeros_like(tip)
    return [_line("rod", pivot, tip), _marker("mass", tip)], [_marker("pivot", pivot[0])]


def _cartpole(states: States, physics: Mapping[str, Any]) -> Parts:
    """Draw cart and pole; the angle is 0 upright and grows clockwise. Beyond ±2.4 the episode ends."""
    x, angle = states["x"][:, 0], states["theta"][:, 0]
    length = 2 * float(physics.get("half_length", 0.5))
    corners = [_xy(x + side, height) for side, height in _CART]
    joint = _xy(x, 0.15)
    pole = _line("pole", joint, joint + length * _xy(np.sin(angle), np.cos(angle)))
    track = _line("track", np.array([-2.4, -0.15]), np.array([2.4, -0.15]))
    return [_line("cart", *corners), pole], [track]


_CART = ((-0.25, -0.15), (0.25, -0.15), (0.25, 0.15), (-0.25, 0.15), (-0.25, -0.15))


def _acrobot(states: States, _: Mapping[str, Any]) -> Parts:
    """Draw two links of length 1; the first angle is 0 hanging, the second relative to the first."""
    first = states["joint_angle1"][:, 0]
    both = first + states["joint_angle2"][:, 0]
    elbow = _xy(np.sin(first), -np.cos(first))
    tip = elbow + _xy(np.sin(both), -np.cos(both))
    links = _line("links", np.zeros_like(elbow), elbow, tip)
    goal = _line("height to reach", np.array([-2.0, 1.0]), np.array([2.0, 1.0]))
    return [links, _marker("joint and tip", elbow, tip)], [goal, _marker("pivot", np.zeros(2))]


def _height(x: Any) -> Any:
    return 0.45 * np.sin(3 * np.asarray(x, np.float64)) + 0.55


def _mountain_car(states: States, _: Mapping[str, Any]) -> Parts:
    """Draw the car on the hill y = 0.45 sin 3x + 0.55, and the flag at x = 0.45."""
    x = states["position"][:, 0]
    slope = np.linspace(-1.2, 0.6, 60)
    hill = {"name": "hill", "form": "line", "points": _xy(slope, _height(slope))}
    foot = np.array([0.45, float(_height(0.45))])
    flag = _line("goal", foot, foot + np.array([0.0, 0.2]))
    return [_marker("car", _xy(x, _height(x)))], [hill, flag]


def _reacher(states: States, _: Mapping[str, Any]) -> Parts:
    """Draw links of length 1 whose angles are all counted from the x axis, and the goal of the tip."""
    angles = states["angles"]
    places = np.cumsum(_xy(np.cos(angles), np.sin(angles)), axis=1)
    joints = [places[:, i] for i in range(places.shape[1])]
    pivot = np.zeros_like(joints[0])
    moving = [_line("links", pivot, *joints), _marker("joint and tip", *joints)]
    return moving, [_goal("goal", states["goal_xy"][0]), _marker("pivot", np.zeros(2))]


def _swimmer(states: States, _: Mapping[str, Any]) -> Parts:
    """Draw the point, its whole path, the goal, and the urchins that it is to keep away from.

    They lie within ±1; nothing holds the point there, and a policy without brakes leaves the picture.
    """
    place = states["xy"]
    urchins = states["urchin_xys"][0].reshape(-1, 2)
    path = {"name": "path", "form": "line", "points": np.asarray(place, np.float64)}
    still = [path, _goal("goal", states["goal_xy"][0]), _marker("urchins", *urchins)]
    view = {"name": "view", "form": "frame", "points": np.array([[-1.5, -1.5], [1.5, 1.5]])}
    return [_marker("swimmer", place)], [*still, view]


_DRAWN: dict[str, Callable[[States, Mapping[str, Any]], Parts]] = {
    "pendulum": _pendulum,
    "cartpole": _cartpole,
    "acrobot": _acrobot,
    "mountain_car_continuous": _mountain_car,
    "reacher": _reacher,
    "swimmer": _swimmer,
}
