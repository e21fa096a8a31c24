r"""Projected gradient ascent: the highest rise of the loss within a ball around a network.

For offsets of a `Ball`, z with ‖z‖ ≤ r (Euclidean or of a box), and f(z) the rise of the loss, from every
start z₀:

1. *Evaluate* f and its slope g at z. A point that is not finite is left: the best point so far takes its
   place, and every later step is half as long.
2. *Keep the best* value of all points, wherever the ascent ends.
3. *First step*: one that is longer than the ball is wide, so that its projection is the first-order maximiser
   r·g/‖g‖ or r·sign(g) where z₀ = 0 [1]_.
4. *Spectral step*: the length follows the two quotients of Barzilai and Borwein [2]_ in turn, with
   s = z − z₋₁ and y = g₋₁ − g: s·s / s·y, then s·y / y·y. They estimate the curvature along the last step.
   Where f is convex along it (s·y ≤ 0) no maximum is near, and the step is long.
5. *Project* z + length · g on the ball [3]_.
6. *Turn a corner*: where every slope at a point of a box points out of it, go on from the best point with
   some of its signs turned.

References
----------
.. [1] Foret et al., 2021. Sharpness-aware minimization for efficiently improving generalization. ICLR,
   arXiv:2010.01412.
.. [2] Barzilai and Borwein, 1988. Two-point step size gradient methods. IMA J. Numer. Anal. 8(1).
.. [3] Birgin, Martínez and Raydan, 2000. Nonmonotone spectral projected gradient methods on convex sets.
   SIAM J. Optim. 10(4).

Notes
-----
Steps have no momentum. On 360 quadratics of 40 dimensions with known maxima (l2 balls of radius 0.3, 3 and
30; 20 steps from 2 starts) the heavy ball with projection, the best of twelve settings, came as close as
these steps where the spectrum is positive or indefinite (means of 0.998 of the maximum both), but where it is
negative to 0.57 to 1.00 of it (radius 30 to 0.3), these steps to 0.97 to 1.00: one length suits no two radii.
Corners do need turning: on 360 boxes of 14 dimensions with convex quadratics, against all corners, the mean
found was 0.90 of the maximum without, 0.89 by the heavy ball, and 0.97 with turned corners, at equal
gradients.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from landscape.compute import on_device
from landscape.flatness.evaluations import Part, Place, Programs
from landscape.flatness.neighbourhood import Neighbourhood
from landscape.results import check_real, check_seed, check_whole

# Lengths of a step, in steps of the full radius: where the loss is convex along the last one, and the bounds
# of the others. On 120 quadratics of 40 dimensions (positive, negative, indefinite, with outliers) 20 steps
# from two starts come within 0.1 % of the maximum in nine of ten; the worst case, a maximum inside the ball,
# missed 18 %.
_LONG, _SHORTEST, _LONGEST = 4.0, 1e-4, 10.0
# How much of a corner is turned over when no step leads on from it.
_TURNED = 0.3


def check_ascent(settings: dict[str, Any]) -> None:
    """Refuse a radius, counts or a seed that are invalid."""
    check_real("radius", settings["radius"])
    check_whole("steps", settings["steps"], 1)
    check_whole("starts", settings["starts"], 1)
    check_seed(settings["seed"])


@dataclasses.dataclass(frozen=True)
class Ball:
    """Offsets ``scale ∘ z``, or ``(scale ∘ z) @ basis``, with ‖z‖ ≤ radius.

    Attributes
    ----------
    scale : array [p]
        Zero where nothing is free.
    basis : array [p, size] or None
        Rows that span a subspace; None for the coordinates themselves (p = size).
    radius, steps : array []
        Of the maximisation.
    words : uint32 array [2]
        Of the corners that the maximisation turns to.
    numbers : uint32 array [p]
        How many coordinates are free up to each: a ticket turns as the smaller network would.
    box : array []
        Whether the norm of z is the largest entry, and not the Euclidean one: data, so that both kinds
        of balls are one program.
    """

    scale: jax.Array
    basis: jax.Array | None
    radius: jax.Array
    steps: jax.Array
    words: jax.Array
    numbers: jax.Array
    box: jax.Array

    def offset(self, z: jax.Array) -> jax.Array:
        """Return the offset [size] of coordinates z [p]."""
        return self.scale * z if self.basis is None else (self.scale * z) @ self.basis

    def project(self, z: jax.Array) -> jax.Array:
        """Return the point of the ball next to z [p]."""
        length = jnp.sqrt(jnp.vdot(z, z))
        # At z = 0 the quotient would be NaN, and its NaN would reach the gradient.
        shrunk = z * jnp.minimum(1, self.radius / jnp.where(length > 0, length, 1))
        return jnp.where(self.box, jnp.clip(z, -self.radius, self.radius), shrunk)

    def farthest(self, slope: jax.Array, length: jax.Array) -> jax.Array:
        """Return the point of the unit ball that is farthest along a slope [p] of a given length."""
        return jnp.where(self.box, jnp.sign(slope), slope / jnp.where(length > 0, length, 1))


jax.tree_util.register_dataclass(Ball, ["scale", "basis", "radius", "steps", "words", "numbers", "box"], [])


def make_ball(
    around: Neighbourhood,
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


def ascend(
    programs: Programs, place: Place, ball: Ball, starts: np.ndarray, *, parts: Part
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Maximise the rise within a ball, from every start [S, p], as the module describes.

    Returns
    -------
    tuple
        The highest rise of each start [S], the rise after the first step of each [S], how many points
        were not finite [S], and the points of the highest rises [S, p].
    """
    climb = programs.compiled("climb", lambda: functools.partial(_climb, programs))
    # One program for any number of starts: to compile it takes longer than to run it.
    found = [climb((place, parts), ball, (np.uint32(i), start)) for i, start in enumerate(starts)]
    best, first, bad, points = (np.stack([np.asarray(x) for x in each]) for each in zip(*found, strict=True))
    return best, first, bad, points


class _Ascent(NamedTuple):
    """The state of one ascent: the point and the one before it, the best, and what was not finite."""

    z: jax.Array
    before: jax.Array
    slope: jax.Array
    best: jax.Array
    best_z: jax.Array
    best_slope: jax.Array
    first: jax.Array
    shrink: jax.Array
    bad: jax.Array

    @classmethod
    def at(cls, z: jax.Array) -> _Ascent:
        """Return the state before the first evaluation."""
        zero, one = jnp.zeros_like(z), jnp.ones((), z.dtype)
        low = jnp.full((), -jnp.inf, z.dtype)
        return cls(z, z, zero, low, z, zero, low, one, jnp.zeros((), jnp.int32))


def _climb(
    programs: Programs, there: tuple[Place, Part], ball: Ball, start: tuple[jax.Array, jax.Array]
) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
    """Ascend from one start: its number and the point [p]."""
    place, parts = there
    rise = jax.value_and_grad(lambda z: programs.stacked_loss(place.moved(ball.offset(z)), parts))
    number, origin = start

    def advance(i: jax.Array, state: _Ascent) -> _Ascent:
        value, slope = rise(state.z)  # 1. evaluate
        # Of the last point the value alone counts: no step goes on from it.
        fine = jnp.isfinite(value) & (jnp.isfinite(slope).all() | (i == ball.steps))
        kept = _keep_best(state, value, slope, fine=fine)
        z = jnp.where(fine, state.z, kept.best_z)
        slope = jnp.where(fine, slope, kept.best_slope)
        kept = kept._replace(first=jnp.where(i == 1, value, state.first))
        to, stuck = _next_point(ball, kept, (z, slope), step=i)
        to = jnp.where(stuck, _turned(kept.best_z, ball, number, i), to)  # 6. turn a corner
        return kept._replace(z=to, before=z, slope=slope)

    # One turn more than steps, for the value of the last point. Its gradient goes to waste, but a
    # second program for the value alone would take longer to compile than most ascents to run.
    ended = lax.fori_loop(0, ball.steps + 1, advance, _Ascent.at(origin))
    return ended.best, ended.first, ended.bad, ended.best_z


def _keep_best(state: _Ascent, value: jax.Array, slope: jax.Array, *, fine: jax.Array) -> _Ascent:
    """Return the state with the best point so far, and shorter steps after one that is not finite."""
    better = fine & (value > state.best)
    return state._replace(
        best=jnp.where(better, value, state.best),
        best_z=jnp.where(better, state.z, state.best_z),
        best_slope=jnp.where(better, slope, state.best_slope),
        shrink=jnp.where(fine, state.shrink, state.shrink / 2),
        bad=state.bad + jnp.where(fine, 0, 1),
    )


def _next_point(
    ball: Ball, state: _Ascent, here: tuple[jax.Array, jax.Array], *, step: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Return where the next step from a point and its slope leads, and whether the point is a corner."""
    z, slope = here
    s, y = z - state.before, state.slope - slope
    # In a box, a point is stuck where every slope points out of it.
    leads = jnp.where(slope != 0, ball.radius * jnp.sign(slope), z) != z
    # Sums are taken together: each that stands alone is three loops to compile.
    products = s * y, s * s, y * y, slope * slope, leads.astype(z.dtype)
    sy, ss, yy, gg, leading = jnp.stack(products).sum(1)
    norm = jnp.sqrt(gg)
    length = state.shrink * _spectral_length(ball, (sy, ss, yy), norm, step=step)
    # 3. The first step is longer than the radius, so that its projection has just that length.
    move = jnp.where(step == 0, 2 * ball.radius * ball.farthest(slope, norm), length * slope)
    return ball.project(z + move), ball.box & (leading == 0) & (step > 0)  # 5. project


def _spectral_length(
    ball: Ball, products: tuple[jax.Array, jax.Array, jax.Array], norm: jax.Array, *, step: jax.Array
) -> jax.Array:
    """Return Barzilai and Borwein's length of a step from s·y, s·s and y·y, within bounds."""
    sy, ss, yy = products
    dtype = norm.dtype
    tiny = float(np.finfo(dtype).tiny)  # a slope of zero has no length to divide by
    # Length of the radius in the ball's own norm, in units of the Euclidean one.
    span = jnp.where(ball.box, jnp.sqrt(ball.numbers[-1].astype(dtype)), 1)
    full = ball.radius * span / jnp.maximum(norm, tiny)
    long, short = ss / jnp.where(sy > 0, sy, 1), sy / jnp.maximum(yy, tiny)
    length = jnp.where(sy > 0, jnp.where(step % 2 == 1, long, short), _LONG * full)
    return jnp.clip(length, _SHORTEST * full, _LONGEST * full)


def _turned(z: jax.Array, ball: Ball, start: jax.Array, step: jax.Array) -> jax.Array:
    """Return a point with some of its signs turned, others at every step of every start."""
    # Hashes of counters are good enough for this, and a tenth of jax.random's program to compile.
    word = _mixed(_mixed(ball.words[0] + start) ^ step.astype(jnp.uint32)) ^ ball.words[1]
    bits = _mixed(_mixed(ball.numbers ^ word) + ball.words[1])
    return jnp.where(bits < np.uint32(_TURNED * 2**32), -z, z)


def _mixed(x: jax.Array) -> jax.Array:
    """Return a bijection of uint32 that changes half the bits where one changes (Wellons 2018, lowbias32)."""
    x = (x ^ (x >> 16)) * np.uint32(0x7FEB352D)
    x = (x ^ (x >> 15)) * np.uint32(0x846CA68B)
    return x ^ (x >> 16)


def known_rises(best: np.ndarray, bad: np.ndarray) -> np.ndarray:
    """Return the highest rises, NaN where an ascent came no farther than its start.

    After a point that is not finite, a rise of 0 is that of a search that never was.
    """
    return np.where(np.isneginf(best) | ((bad > 0) & (best <= 0)), np.nan, best)


def outcome(bad: np.ndarray, values: np.ndarray) -> dict[str, Any]:
    """Return the status of a maximisation that met points where the loss is not finite."""
    count = int(np.sum(bad))
    if not count or not np.isfinite(values).all():
        return {}  # a value that is not finite says so itself
    text = f"the loss or its gradient was not finite at {count:,} points of the ascents"
    return {"status": "non-finite", "warnings": [text]}
