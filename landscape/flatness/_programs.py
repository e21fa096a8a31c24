"""Compiled evaluations around a network: one program a problem, for all networks of one shape.

Parameters, masks, scales, radii and data are arguments, never constants. Everything is said of the
flat vector of a `Layout`; a perturbation is an offset in it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from landscape.compute import program
from landscape.errors import ProblemError
from landscape.network import Network
from landscape.problem import Problem
from landscape.results import check_real
from landscape.trees import Layout

PyTree = Any
# Batch, weights [B], values at the network; or several of them along a leading axis.
Part = tuple[PyTree, jax.Array, dict[str, jax.Array]]
# Functions (point, batch) -> [B] by name, "loss" among them.
Values = Mapping[str, Callable[[PyTree, PyTree], jax.Array]]

# Lengths of a step of the ascent, in steps of the full radius: where the loss is convex along the last
# one, and the bounds of the others. On 120 quadratics of 40 dimensions (positive, negative, indefinite,
# with outliers) 20 steps from two starts come within 0.1 % of the maximum in nine of ten; the worst case,
# a maximum inside the ball, missed 18 %.
_LONG, _SHORTEST, _LONGEST = 4.0, 1e-4, 10.0
# How much of a corner is turned over when no step leads on from it.
_TURNED = 0.3


@dataclasses.dataclass(frozen=True)
class Place:
    """A network as the argument of a program: its vector, how to read it, and the constants beside it."""

    network: Network
    flat: jax.Array
    layout: Layout

    def moved(self, offset: jax.Array) -> Place:
        """Return the network at an offset [size]."""
        return dataclasses.replace(self, flat=self.flat + offset)

    @property
    def point(self) -> PyTree:
        """What the loss takes first."""
        return self.network.point(self.layout.split(self.flat))


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
        shrunk = z * jnp.minimum(1, self.radius / jnp.where(length > 0, length, 1))
        return jnp.where(self.box, jnp.clip(z, -self.radius, self.radius), shrunk)

    def farthest(self, slope: jax.Array, length: jax.Array) -> jax.Array:
        """Return the point of the unit ball that is farthest along a slope [p] of a given length."""
        return jnp.where(self.box, jnp.sign(slope), slope / jnp.where(length > 0, length, 1))


jax.tree_util.register_dataclass(Place, ["network", "flat"], ["layout"])
jax.tree_util.register_dataclass(Ball, ["scale", "basis", "radius", "steps", "words", "numbers", "box"], [])


class _Climb(NamedTuple):
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
    def at(cls, z: jax.Array, low: jax.Array) -> _Climb:
        """Return the state before the first evaluation."""
        zero = jnp.zeros_like(z)
        one = jnp.ones((), z.dtype)
        return cls(z, z, zero, low, z, zero, low, one, jnp.zeros((), jnp.int32))


# A program goes through up to so many draws, and steps along each of them; fewer cost no more memory or time.
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


class Programs:
    """The compiled functions of a per-example loss and the metrics beside it.

    Attributes
    ----------
    seconds_a_pass : dict
        How long one pass of `along` took when it ran last, by the size of the data.
    """

    def __init__(self, values: Values) -> None:
        self.values = values
        self.seconds_a_pass: dict[tuple[int, ...], float] = {}
        self.base = program(self._at)
        self.cut = program(self._cut)
        self.rise = program(self._rise)
        self.along = program(self._along)
        self.gradient = program(self._gradient)
        self.climb = program(self._climb)
        self._compiled: dict[str, Any] = {}

    def compiled(self, name: str, make: Callable[[], Callable[..., Any]]) -> Any:
        """Return a further program on this loss, compiled once."""
        if name not in self._compiled:
            self._compiled[name] = program(make())
        return self._compiled[name]

    def _at(self, place: Place, batch: PyTree) -> dict[str, jax.Array]:
        """Return every quantity of every example, {name: [B]}."""
        point = place.point
        return {name: fn(point, batch).astype(place.flat.dtype) for name, fn in self.values.items()}

    def _cut(self, place: Place, arrays: PyTree, index: jax.Array) -> tuple[PyTree, dict[str, jax.Array]]:
        """Return those examples, and every quantity of each of them."""
        batch = jax.tree.map(lambda x: x[index], arrays)
        return batch, self._at(place, batch)

    def _rise(self, place: Place, direction: jax.Array, step: jax.Array, part: Part) -> dict[str, jax.Array]:
        """Return by how much every quantity grows on `step` along `direction`, summed with the weights.

        Differences are taken example by example: those of two means would lose their digits.
        """
        batch, weights, base = part
        values = self._at(place.moved(step * direction), batch)
        return {name: jnp.vdot(weights, values[name] - base[name]) for name in values}

    def _along(self, place: Place, rays: Rays, part: Part) -> dict[str, jax.Array]:
        """Return the rises on each step along each draw, {name: [MOST_DRAWS, MOST_STEPS]}, 0 beyond those.

        One program for all of them: a small network is evaluated in less time than it takes to call one.
        """
        zeros = jnp.zeros((MOST_DRAWS, MOST_STEPS), place.flat.dtype)

        def each_draw(row: jax.Array, rises: dict[str, jax.Array]) -> dict[str, jax.Array]:
            direction = draw(rays.key, rays.first + row.astype(jnp.uint32), rays.scale)

            def each_step(column: jax.Array, rises: dict[str, jax.Array]) -> dict[str, jax.Array]:
                found = self._rise(place, direction, rays.steps[column], part)
                return {name: rises[name].at[row, column].set(found[name]) for name in rises}

            stepped: dict[str, jax.Array] = lax.fori_loop(0, rays.num_steps, each_step, rises)
            return stepped

        rises: dict[str, jax.Array] = lax.fori_loop(
            0, rays.num_draws, each_draw, dict.fromkeys(self.values, zeros)
        )
        return rises

    def loss(self, place: Place, part: Part) -> jax.Array:
        """Return the rise of the loss alone at a place, summed with the weights."""
        batch, weights, base = part
        value = self.values["loss"](place.point, batch).astype(place.flat.dtype)
        return jnp.vdot(weights, value - base["loss"])

    def _gradient(self, place: Place, part: Part) -> jax.Array:
        slope: jax.Array = jax.grad(lambda flat: self.loss(dataclasses.replace(place, flat=flat), part))(
            place.flat
        )
        return slope

    def stacked_loss(self, place: Place, parts: Part) -> jax.Array:
        """Return the rise of the loss over one part, or over several along a leading axis."""
        if parts[1].ndim == 1:
            return self.loss(place, parts)
        total: jax.Array = lax.map(lambda part: self.loss(place, part), parts).sum()
        return total

    def ascend(
        self, place: Place, ball: Ball, starts: np.ndarray, parts: Part
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Maximise the rise within a ball, from every start [S, p].

        Projected gradient steps whose length follows Barzilai and Borwein's two quotients in turn, which
        estimate the curvature along the last step; where the loss is convex there, steps are long. The
        first step, of the full radius from the start 0, ends at the first-order maximiser. After a point
        that is not finite the search goes on from the best one with half the length. A corner of a box
        that no step leads away from is left for the best corner with a random 0.3 of its signs turned.
        The highest value of all steps counts, wherever they end.

        Returns
        -------
        tuple
            The highest rise of each start [S], the rise after the first step of each [S], how many points
            were not finite [S], and the points of the highest rises [S, p].

        Notes
        -----
        Steps have no momentum. On 360 quadratics of 40 dimensions with known maxima (l2 balls of radius
        0.3, 3 and 30; 20 steps from 2 starts) the heavy ball with projection, the best of twelve settings,
        came as close as these steps where the spectrum is positive or indefinite (means of 0.998 of the
        maximum both), but where it is negative to 0.57 to 1.00 of it (radius 30 to 0.3), these steps to
        0.97 to 1.00: one length suits no two radii. Corners do need turning: on 360 boxes of 14
        dimensions with convex quadratics, against all corners, the mean found was 0.90 of the maximum
        without, 0.89 by the heavy ball, and 0.97 with turned corners, at equal gradients.
        """
        # One program for any number of starts: to compile it takes longer than to run it.
        found = [self.climb(place, ball, (np.uint32(i), start), parts) for i, start in enumerate(starts)]
        best, first, bad, points = (
            np.stack([np.asarray(x) for x in each]) for each in zip(*found, strict=True)
        )
        return best, first, bad, points

    def _climb(
        self, place: Place, ball: Ball, start: tuple[jax.Array, jax.Array], parts: Part
    ) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
        """Do what `ascend` does from one start: its number and the point [p].

        Sums are taken together: each that stands alone is three loops to compile.
        """
        rise = jax.value_and_grad(lambda z: self.stacked_loss(place.moved(ball.offset(z)), parts))
        dtype = place.flat.dtype
        tiny = float(np.finfo(dtype).tiny)
        # Length of the radius in the ball's own norm, in units of the Euclidean one.
        span = jnp.where(ball.box, jnp.sqrt(ball.numbers[-1].astype(dtype)), 1)

        def advance(i: jax.Array, state: _Climb) -> _Climb:
            value, slope = rise(state.z)
            # Of the last point the value alone counts: no step goes on from it.
            fine = jnp.isfinite(value) & (jnp.isfinite(slope).all() | (i == ball.steps))
            first = jnp.where(i == 1, value, state.first)
            better = fine & (value > state.best)
            best = jnp.where(better, value, state.best)
            best_z = jnp.where(better, state.z, state.best_z)
            best_slope = jnp.where(better, slope, state.best_slope)
            shrink = jnp.where(fine, state.shrink, state.shrink / 2)
            z, slope = jnp.where(fine, state.z, best_z), jnp.where(fine, slope, best_slope)
            moved, turned = z - state.before, slope - state.slope
            # In a box, a point is stuck where every slope points out of it.
            leads = jnp.where(slope != 0, ball.radius * jnp.sign(slope), z) != z
            products = moved * turned, moved * moved, turned * turned, slope * slope, leads.astype(dtype)
            bend, far, change, steep, leading = jnp.stack(products).sum(1)
            bend = -bend  # positive where the loss is concave along the step
            steep = jnp.sqrt(steep)
            full = ball.radius * span / jnp.maximum(steep, tiny)
            long = far / jnp.where(bend > 0, bend, 1)
            short = bend / jnp.maximum(change, tiny)
            length = jnp.where(bend > 0, jnp.where(i % 2 == 1, long, short), _LONG * full)
            length = shrink * jnp.clip(length, _SHORTEST * full, _LONGEST * full)
            # The first step is longer than the radius, so that its projection has just that length.
            step = jnp.where(i == 0, 2 * ball.radius * ball.farthest(slope, steep), length * slope)
            there = ball.project(z + step)
            stuck = ball.box & (leading == 0) & (i > 0)
            there = jnp.where(stuck, _turned(best_z, ball, number, i), there)
            return _Climb(
                z=there,
                before=z,
                slope=slope,
                best=best,
                best_z=best_z,
                best_slope=best_slope,
                first=first,
                shrink=shrink,
                bad=state.bad + jnp.where(fine, 0, 1),
            )

        number, origin = start
        begun = _Climb.at(origin, jnp.full((), -jnp.inf, dtype))
        # One turn more than steps, for the value of the last point. Its gradient goes to waste, but a
        # second program for the value alone would take longer to compile than most ascents to run.
        ended = lax.fori_loop(0, ball.steps + 1, advance, begun)
        return ended.best, ended.first, ended.bad, ended.best_z


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


def programs_of(problem: Problem, variant: str, make: Callable[[], Values]) -> Programs:
    """Return the programs of a problem and variant of its loss.

    They are kept on the problem itself: a table beside it would hold the loss, and with a method of an
    object that holds the problem, all of them for ever.
    """
    known: dict[str, Programs] = problem.__dict__.setdefault("_flatness_programs", {})
    if variant not in known:
        known[variant] = Programs(make())
    return known[variant]


def plain(problem: Problem) -> Values:
    """Return loss and metrics; the problem itself is not kept alive by them."""
    return {"loss": problem.loss, **{name: metric.fn for name, metric in problem.metrics.items()}}


def normalised(outputs: Any, temperature: float) -> Values:
    """Return the loss of the outputs divided by their norm and the temperature.

    Andriushchenko et al. 2023 (arXiv:2302.07011) normalise logits, since cross-entropy of a network
    that fits its data falls by mere growth of them.
    """
    check_real("temperature", temperature)

    def loss(point: PyTree, batch: PyTree) -> jax.Array:
        logits = outputs.model(point, batch)
        if logits.ndim < 2:  # the norm of one number would leave its sign
            raise ProblemError(
                "normalised logits: the model gives one number an example",
                expected="outputs [B, classes]",
                got=f"shape {logits.shape}",
                hint="Return the logits of both classes, or measure without normalise.",
            )
        square = jnp.sum(logits**2, axis=-1, keepdims=True)
        # The inner choice keeps the derivative at 0 finite.
        length = jnp.where(square > 0, jnp.sqrt(jnp.where(square > 0, square, 1)), 1)
        values: jax.Array = outputs.loss(logits / (temperature * length), batch)
        return values

    return {"loss": loss}
