"""Balls, starting points and outcomes of the maximisations of the loss."""

from __future__ import annotations

from typing import Any

import numpy as np

from landscape.compute import on_device
from landscape.flatness._programs import Ball
from landscape.flatness._surroundings import Surroundings
from landscape.results import check_real, check_seed, check_whole


def check_ascent(settings: dict[str, Any]) -> None:
    """Refuse a radius, counts or a seed that mean nothing."""
    check_real("radius", settings["radius"])
    check_whole("steps", settings["steps"], 1)
    check_whole("starts", settings["starts"], 1)
    check_seed(settings["seed"])


def make_ball(
    around: Surroundings,
    scale: np.ndarray,
    basis: np.ndarray | None,
    settings: dict[str, Any],
    *,
    norm: str,
) -> Ball:
    """Return the ball of a radius around a network, on the device and in its precision."""
    return Ball(
        scale=around.on_device(scale),
        basis=None if basis is None else around.on_device(basis),
        radius=around.on_device(np.asarray(settings["radius"], float)),
        steps=on_device(np.int32(settings["steps"])),
        words=on_device(np.random.SeedSequence(settings["seed"]).generate_state(2)),
        numbers=on_device(np.cumsum(np.asarray(scale, around.dtype) != 0, dtype=np.uint32)),
        box=on_device(np.asarray(norm == "linf")),
    )


def make_starts(ball: Ball, count: int, seed: int, number: int = 0) -> np.ndarray:
    """Return the starts [S, p]: 0 (whose first step is the first-order one), then points of the surface.

    Noise is drawn for the free coordinates alone: a ticket starts where the smaller network would.
    """
    free = np.flatnonzero(np.asarray(ball.scale))
    dtype = np.dtype(ball.scale.dtype)
    noise = np.random.default_rng((seed, number)).standard_normal((count, len(free)), np.float32)
    noise[0] = 0
    if ball.box:
        noise = np.sign(noise)
    else:
        length = np.linalg.norm(noise, axis=1, keepdims=True)
        noise /= np.where(length > 0, length, 1)
    points = np.zeros((count, ball.scale.shape[0]), dtype)
    points[:, free] = noise
    starts: np.ndarray = np.asarray(ball.radius) * points
    return starts


def known_rises(best: np.ndarray) -> np.ndarray:
    """Return the highest rises, NaN where no point of an ascent was finite."""
    return np.where(np.isneginf(best), np.nan, best)


def outcome(bad: np.ndarray, values: np.ndarray) -> dict[str, Any]:
    """Return the status of a maximisation that met points where the loss is not finite."""
    count = int(np.sum(bad))
    if not count or not np.isfinite(values).all():
        return {}  # a value that is not finite says so itself
    text = f"the loss or its gradient was not finite at {count:,} points of the ascents"
    return {"status": "non-finite", "warnings": [text]}
