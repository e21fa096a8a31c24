"""Rises of the loss along normal draws, in calls that are short enough to show progress between them."""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from landscape.compute import compile_seconds
from landscape.flatness.evaluations import Part, Place, Programs
from landscape.flatness.neighbourhood import Neighbourhood

_PATIENCE = 0.25  # seconds of one call: between two, progress is shown and Ctrl-C is heard


# A program goes through up to 16 draws, and steps along each of them; fewer cost no more memory or time.
MOST_DRAWS, MOST_STEPS = 16, 16


@jax.jit
def draw(key: jax.Array, number: Any, scale: jax.Array) -> jax.Array:
    """Return a normal vector with standard deviations `scale` [size]."""
    noise: jax.Array = jax.random.normal(jax.random.fold_in(key, number), scale.shape, scale.dtype)
    return scale * noise


class Rays(NamedTuple):
    """Steps along normal draws of one key, from draw `first` on, with standard deviations `scale` [size]."""

    key: jax.Array
    scale: jax.Array
    steps: np.ndarray  # [MOST_STEPS]
    first: Any  # whole numbers, these three
    num_draws: Any
    num_steps: Any


def rises_of_draws(
    around: Neighbourhood,
    scale: np.ndarray,
    steps: Sequence[float],
    *,
    draws: int,
    seed: int,
    temperature: float | None = None,
    done: Callable[[int], object] = lambda _: None,
) -> dict[str, np.ndarray]:
    """Return by how much the means grow at each step along each normal draw, {name: [draws, T]}.

    Draw i has standard deviations `scale` [size] and depends on the seed and on i alone. `done` is told for
    how many draws more the values are there.
    """
    rises: dict[str, np.ndarray] = {}
    row = column = 0
    with around.computing():
        key, vector = jax.random.key(seed), around.on_device(scale)
        while row < draws:
            height, width = _affordable(around, temperature, draws - row, len(steps) - column)
            height = height if width == len(steps) else 1
            padded = np.zeros(MOST_STEPS, around.dtype)
            padded[:width] = steps[column : column + width]
            rays = Rays(key, vector, padded, np.uint32(row), np.int32(height), np.int32(width))
            for name, values in _along(around, rays, temperature).items():
                whole = rises.setdefault(name, np.empty((draws, len(steps))))
                whole[row : row + height, column : column + width] = values
            around.worked(passes=height * width)
            column += width
            if column == len(steps):
                row, column = row + height, 0
                done(height)
    return rises


def _affordable(around: Neighbourhood, temperature: float | None, draws: int, steps: int) -> tuple[int, int]:
    """Return how many of these draws, and of the steps along each, one call should take."""
    pace = around.parts(temperature)[0].seconds_per_pass.get(_size_of_data(around))
    passes = 2 if pace is None else max(2, int(_PATIENCE / pace))  # a mirrored pair shares its draw
    width = min(steps, MOST_STEPS, passes)
    return min(draws, MOST_DRAWS, max(1, passes // width)), width


def _size_of_data(around: Neighbourhood) -> tuple[int, ...]:
    return around.count, around.batch_size


def _along(around: Neighbourhood, rays: Rays, temperature: float | None) -> dict[str, np.ndarray]:
    """Return the rises along these rays, and note how long they took."""
    programs, parts = around.parts(temperature)
    along = programs.compiled("along", lambda: functools.partial(_rises_along, programs))
    with compile_seconds() as compiling:
        began = time.perf_counter()
        found = [along(around.place, rays, part) for part in parts]
        shown = np.s_[: rays.num_draws, : rays.num_steps]
        cut = [{name: np.asarray(x)[shown] for name, x in rises.items()} for rises in found]
        seconds = time.perf_counter() - began
    if not compiling:
        programs.seconds_per_pass[_size_of_data(around)] = seconds / cut[0]["loss"].size
    add = np.vectorize(lambda *values: math.fsum(values), otypes=[float])
    return {name: add(*(rises[name] for rises in cut)) for name in cut[0]}


def _rises_along(programs: Programs, place: Place, rays: Rays, part: Part) -> dict[str, jax.Array]:
    """Return the rises on each step along each draw, {name: [MOST_DRAWS, MOST_STEPS]}, 0 beyond those.

    One program for all of them: a small network is evaluated in less time than it takes to call one.
    """
    zeros = jnp.zeros((MOST_DRAWS, MOST_STEPS), place.flat.dtype)

    def each_draw(row: jax.Array, rises: dict[str, jax.Array]) -> dict[str, jax.Array]:
        direction = draw(rays.key, rays.first + row.astype(jnp.uint32), rays.scale)

        def each_step(column: jax.Array, rises: dict[str, jax.Array]) -> dict[str, jax.Array]:
            found = programs.rise_at(place, direction, rays.steps[column], part)
            return {name: rises[name].at[row, column].set(found[name]) for name in rises}

        stepped: dict[str, jax.Array] = lax.fori_loop(0, rays.num_steps, each_step, rises)
        return stepped

    rises: dict[str, jax.Array] = lax.fori_loop(
        0, rays.num_draws, each_draw, dict.fromkeys(programs.values, zeros)
    )
    return rises
