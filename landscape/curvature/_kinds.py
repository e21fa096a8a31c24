"""The three curvature matrices as linear maps of a tangent: linearised once, applied many times.

Each kind has two functions. ``prepare(point, leaves, batch, weights)`` differentiates the weighted sum
of the batch's losses at `leaves` and returns what every product needs (a pytree); ``apply(prepared,
tangent)`` is the product, linear in `tangent`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import jax
import jax.numpy as jnp

from landscape.problem import Outputs

PyTree = Any
Leaves = Mapping[str, jax.Array]
Point = Callable[[Leaves], PyTree]
Function = Callable[[PyTree, PyTree], jax.Array]


class Kind(Protocol):
    """One curvature matrix."""

    def prepare(self, point: Point, leaves: Leaves, batch: PyTree, weights: jax.Array) -> PyTree:
        """Return what the products on one batch need."""

    def apply(self, prepared: PyTree, tangent: Leaves) -> Leaves:
        """Return the product with one tangent."""


class Gradient:
    """The gradient itself, in the form of a kind: what is prepared is the result."""

    def __init__(self, loss: Function) -> None:
        self.loss = loss

    def prepare(self, point: Point, leaves: Leaves, batch: PyTree, weights: jax.Array) -> PyTree:
        """Return the gradient of the weighted sum of losses."""
        return jax.grad(lambda x: jnp.vdot(weights, self.loss(point(x), batch).astype(weights.dtype)))(leaves)

    def apply(self, prepared: PyTree, tangent: Leaves) -> Leaves:  # noqa: ARG002  there is nothing to apply
        """Return the gradient."""
        gradient: Leaves = prepared
        return gradient


class Hessian:
    """Second derivatives of the weighted sum of losses: the gradient, linearised."""

    def __init__(self, loss: Function) -> None:
        self.loss = loss

    def prepare(self, point: Point, leaves: Leaves, batch: PyTree, weights: jax.Array) -> PyTree:
        """Linearise the gradient."""

        def total(x: Leaves) -> jax.Array:
            return jnp.vdot(weights, self.loss(point(x), batch).astype(weights.dtype))

        def gradient(x: Leaves) -> Leaves:
            # jax before 0.10 leaks a tracer where an output does not depend on the input at all, which is
            # so for a leaf that the loss ignores: 0 times the leaf makes it depend.
            slopes: Leaves = jax.tree.map(lambda slope, leaf: slope + 0 * leaf, jax.grad(total)(x), x)
            return slopes

        return jax.linearize(gradient, leaves)[1]

    def apply(self, prepared: PyTree, tangent: Leaves) -> Leaves:
        """Return the directional derivative of the gradient."""
        product: Leaves = prepared(tangent)
        return product


class GaussNewton:
    """``Σ w Jᵀ (∇²ℓ) J`` with J the derivative of the model's outputs and ∇²ℓ that of the loss in them."""

    def __init__(self, outputs: Outputs) -> None:
        self.outputs = outputs

    def prepare(self, point: Point, leaves: Leaves, batch: PyTree, weights: jax.Array) -> PyTree:
        """Linearise the model, and the gradient of the loss in its outputs."""
        z, forward = jax.linearize(lambda x: self.outputs.model(point(x), batch), leaves)

        def total(values: jax.Array) -> jax.Array:
            return jnp.vdot(weights, self.outputs.loss(values, batch).astype(weights.dtype))

        return forward, jax.linearize(jax.grad(total), z)[1]

    def apply(self, prepared: PyTree, tangent: Leaves) -> Leaves:
        """Push forward, curve, pull back."""
        forward, curve = prepared
        return _pull_back(forward, tangent, curve(forward(tangent)))


class EmpiricalFisher:
    """``Σ w g gᵀ`` with g the gradient of one example's loss under its own label."""

    def __init__(self, loss: Function) -> None:
        self.loss = loss

    def prepare(self, point: Point, leaves: Leaves, batch: PyTree, weights: jax.Array) -> PyTree:
        """Linearise the losses of all examples."""
        return jax.linearize(lambda x: self.loss(point(x), batch).astype(weights.dtype), leaves)[1], weights

    def apply(self, prepared: PyTree, tangent: Leaves) -> Leaves:
        """Return the weighted sum of gradients times their slopes along the tangent."""
        slopes, weights = prepared
        return _pull_back(slopes, tangent, weights * slopes(tangent))


class ModelFisher:
    """``Σ w E_y[g gᵀ]`` with labels y drawn from the model's own distribution, in closed form."""

    def __init__(self, outputs: Outputs) -> None:
        self.outputs = outputs

    def prepare(self, point: Point, leaves: Leaves, batch: PyTree, weights: jax.Array) -> PyTree:
        """Linearise the model and keep its outputs."""
        z, forward = jax.linearize(lambda x: self.outputs.model(point(x), batch), leaves)
        return forward, z, weights

    def apply(self, prepared: PyTree, tangent: Leaves) -> Leaves:
        """Push forward, multiply by the Fisher matrix of the distribution, pull back."""
        forward, z, weights = prepared
        u = forward(tangent)
        scale = weights.reshape(-1, *(1 for _ in z.shape[1:]))
        if self.outputs.likelihood == "categorical":
            p = jax.nn.softmax(z, axis=-1)
            u = p * (u - jnp.sum(p * u, axis=-1, keepdims=True))
        return _pull_back(forward, tangent, scale * u)


def _pull_back(forward: Callable[[Leaves], jax.Array], tangent: Leaves, cotangent: jax.Array) -> Leaves:
    (product,) = jax.linear_transpose(forward, tangent)(cotangent)
    pulled: Leaves = product
    return pulled
