"""Compiled evaluations around a network: one program per problem, for all networks of one shape.

Parameters, masks, scales, radii and data are arguments, never constants. Everything is said of the
flat vector of a `Layout`; a perturbation is an offset in it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
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


jax.tree_util.register_dataclass(Place, ["network", "flat"], ["layout"])


class Programs:
    """The compiled functions of a per-example loss and the metrics beside it.

    Attributes
    ----------
    seconds_per_pass : dict
        How long one pass took when rises along draws were evaluated last, by the size of the data.
    """

    def __init__(self, values: Values) -> None:
        self.values = values
        self.seconds_per_pass: dict[tuple[int, ...], float] = {}
        self.base = program(self._at)
        self.cut = program(self._cut)
        self.rise = program(self.rise_at)
        self.gradient = program(self._gradient)
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

    def rise_at(
        self, place: Place, direction: jax.Array, step: jax.Array, part: Part
    ) -> dict[str, jax.Array]:
        """Return by how much every quantity grows on `step` along `direction`, summed with the weights.

        Differences are taken example by example: those of two means would lose their digits.
        """
        batch, weights, base = part
        values = self._at(place.moved(step * direction), batch)
        return {name: jnp.vdot(weights, values[name] - base[name]) for name in values}

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
                "normalised logits: the model gives one number per example",
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
