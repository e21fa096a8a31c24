"""Small rollouts, made by hand: what is stored, printed and drawn needs no environment."""

from __future__ import annotations

from typing import Any

import numpy as np

from landscape.rollouts import Rollout


def _episode(steps: int, *, images: bool, start: float) -> dict[str, Any]:
    angles = start + np.arange(steps + 1) / 4
    rewards, actions = np.linspace(1.0, 0.5, steps), np.zeros((steps, 1), np.int32)
    kept = {"rewards": rewards, "actions": actions, "moving": [], "still": []}
    if images:
        cells = np.zeros((steps + 1, 3, 4), np.int32)
        cells[np.arange(steps + 1), 0, np.arange(steps + 1) % 4] = 2
        return {**kept, "cells": cells}
    tip = np.stack([np.sin(angles), np.cos(angles)], axis=-1)
    rod = np.stack([np.zeros_like(tip), tip], axis=1)
    return {
        **kept,
        "states": {"theta": angles[:, None], "goal_xy": np.ones((steps + 1, 2))},
        "observations": tip,
        "moving": [{"name": "rod", "form": "line", "points": rod}],
        "still": [{"name": "pivot", "form": "marker", "points": np.zeros((1, 2))}],
    }


def a_rollout(*, images: bool = False, lengths: tuple[int, ...] = (3, 6)) -> Rollout:
    """Return episodes of as many policies as there are lengths of the episode that is shown."""
    count, limit = len(lengths), max(lengths)
    returns = np.arange(12.0).reshape(1, 12) + np.arange(count)[:, None] * np.array([1.0, 2.0] * 6)
    all_lengths = np.full((count, 12), limit)
    all_lengths[:, 4] = lengths
    two: dict[str, Any] = {"difference": 1.5, "interval_difference": (1.1, 1.9)}
    return Rollout(
        task="breakout" if images else "pendulum",
        episode_length=limit,
        split="test",
        names=tuple(f"policy {i}" for i in range(count)),
        seeds=np.arange(12) + 2**31,
        returns=returns,
        lengths=all_lengths,
        means=returns.mean(axis=1),
        intervals=np.stack([returns.mean(axis=1) - 2, returns.mean(axis=1) + 2], axis=1),
        shown=4,
        episodes=tuple(_episode(steps, images=images, start=0.5) for steps in lengths),
        channels=("paddle", "ball") if images else (),
        stats={"num_examples": 12},
        config={"split": "test", "confidence": 0.95},
        provenance={"dtype": "float32"},
        **(two if count == 2 else {}),
    )
