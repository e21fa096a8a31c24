"""Compiled curvature products: one program per problem and matrix, for all checkpoints of one shape.

Each of the matrices has two functions. ``prepare(point, leaves, batch, weights)`` differentiates the weighted
sum of the batch's losses at `leaves` and returns what every product needs (a pytree); ``apply(prepared,
tangent)`` is the product, linear in `tangent`.

Parameters, statistics, data and vectors are arguments of the programs, never constants in them. What a
batch needs is linearised once and kept where memory allows; otherwise each product does it anew.

Batches follow each other from Python. One compiled scan over them was measured at 3.4 times the cost
for convolutions on a CPU (inside a loop they lose their threads) and gained nothing for dense layers.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Protocol, Self

import jax
import jax.numpy as jnp
import numpy as np

from landscape.compute import on_device, program
from landscape.network import Network, differentiable
from landscape.problem import Outputs

if TYPE_CHECKING:
    from landscape.problem import Problem
    from landscape.trees import Layout

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
        z, slopes = _slopes(lambda x: self.outputs.model(point(x), batch), leaves)

        def total(values: jax.Array) -> jax.Array:
            return jnp.vdot(weights, self.outputs.loss(values, batch).astype(weights.dtype))

        return slopes, jax.linearize(jax.grad(total), z)[1]

    def apply(self, prepared: PyTree, tangent: Leaves) -> Leaves:
        """Push forward, curve, pull back."""
        slopes, curve = prepared
        return _pull_back(slopes, tangent, curve(slopes.along(tangent)))


class EmpiricalFisher:
    """``Σ w g gᵀ`` with g the gradient of one example's loss under its own label."""

    def __init__(self, loss: Function) -> None:
        self.loss = loss

    def prepare(self, point: Point, leaves: Leaves, batch: PyTree, weights: jax.Array) -> PyTree:
        """Linearise the losses of all examples."""
        return _slopes(lambda x: self.loss(point(x), batch).astype(weights.dtype), leaves)[1], weights

    def apply(self, prepared: PyTree, tangent: Leaves) -> Leaves:
        """Return the weighted sum of gradients times their slopes along the tangent."""
        slopes, weights = prepared
        return _pull_back(slopes, tangent, weights * slopes.along(tangent))


class ModelFisher:
    """``Σ w E_y[g gᵀ]`` with labels y drawn from the model's own distribution, in closed form."""

    def __init__(self, outputs: Outputs) -> None:
        self.outputs = outputs

    def prepare(self, point: Point, leaves: Leaves, batch: PyTree, weights: jax.Array) -> PyTree:
        """Linearise the model and keep its outputs."""
        z, slopes = _slopes(lambda x: self.outputs.model(point(x), batch), leaves)
        return slopes, z, weights

    def apply(self, prepared: PyTree, tangent: Leaves) -> Leaves:
        """Push forward, multiply by the Fisher matrix of the distribution, pull back."""
        slopes, z, weights = prepared
        u = slopes.along(tangent)
        scale = weights.reshape(-1, *(1 for _ in z.shape[1:]))
        if self.outputs.likelihood == "categorical":
            p = jax.nn.softmax(z, axis=-1)
            u = p * (u - jnp.sum(p * u, axis=-1, keepdims=True))
        return _pull_back(slopes, tangent, scale * u)


@dataclasses.dataclass(frozen=True)
class _Slopes:
    """The derivative J of a function at a point: J t along a tangent; Jᵀu by `_pull_back`.

    Attributes
    ----------
    linear : callable
        ``t ↦ J t``; where the function has a rule for reverse mode only (`jax.custom_vjp`), ``u ↦ Jᵀu``,
        whose own transpose is J.
    values : jax.ShapeDtypeStruct or None
        Shape of the function's values in the second case.
    """

    linear: Callable[..., Any]
    values: Any

    def along(self, tangent: Leaves) -> jax.Array:
        """Return J t."""
        if self.values is None:
            pushed: jax.Array = self.linear(tangent)
        else:
            (pushed,) = jax.linear_transpose(self.linear, self.values)((tangent,))
        return pushed


jax.tree_util.register_dataclass(_Slopes, ["linear"], ["values"])


def _slopes(function: Callable[[Leaves], jax.Array], leaves: Leaves) -> tuple[jax.Array, _Slopes]:
    """Return a function's values and its derivative at a point."""
    values, linear = jax.linearize(function, leaves)
    if not _reverse_only(jax.make_jaxpr(linear)(leaves)):
        return values, _Slopes(linear, None)
    values, pull = jax.vjp(function, leaves)
    return values, _Slopes(pull, jax.ShapeDtypeStruct(values.shape, values.dtype))


def _reverse_only(program: Any) -> bool:
    """Return whether a derivative holds a place that can be transposed and not evaluated.

    Such a place stands for a function with a rule for reverse mode only; jax raises when it compiles one.
    """
    program = getattr(program, "jaxpr", program)
    if isinstance(program, (list, tuple)):
        return any(_reverse_only(part) for part in program)
    return any(
        equation.primitive.name == "custom_lin" or any(map(_reverse_only, equation.params.values()))
        for equation in getattr(program, "eqns", ())
    )


def _pull_back(slopes: _Slopes, tangent: Leaves, cotangent: jax.Array) -> Leaves:
    if slopes.values is None:
        (product,) = jax.linear_transpose(slopes.linear, tangent)(cotangent)
    else:
        (product,) = slopes.linear(cotangent)
    pulled: Leaves = product
    return pulled


# What one batch may keep between the products, and all of them together. One batch larger than this
# gains nothing; above the second limit products linearise anew (about a third slower).
_BATCH_BYTES = 2**28
_KEPT_BYTES = 2**30
_HIDDEN_BYTES = 2**30


class Programs:
    """The compiled functions of one kind of curvature of one problem."""

    def __init__(self, kind: Kind) -> None:
        self.kind = kind
        self.prepare = program(self._prepare, static_argnames="size")
        self.prepare_batch = program(self._prepare_batch)
        self.apply = program(self._apply, static_argnames="layout")
        self.apply_block = program(
            lambda prepared, rows, layout: jax.vmap(lambda row: self._apply(prepared, row, layout))(rows),
            static_argnames="layout",
        )
        self.footprints: dict[Any, tuple[float, float]] = {}
        self.ignored: dict[Any, list[str]] = {}

    def _prepare(
        self, network: Network, arrays: PyTree, first: jax.Array, scale: jax.Array, *, size: int
    ) -> PyTree:
        """Prepare the batch of examples from `first` on; the last one reaches back to be full.

        The examples that an earlier batch has counted already have weight 0. `scale` is the weight of each
        example, or the weights [N] of all.
        """
        count = jax.tree.leaves(arrays)[0].shape[0]
        if size == count:
            return self._prepare_batch(network, arrays, jnp.broadcast_to(scale, (size,)))
        start = jnp.minimum(first, count - size)
        batch = jax.tree.map(lambda x: jax.lax.dynamic_slice_in_dim(x, start, size), arrays)
        if scale.ndim:
            scale = jax.lax.dynamic_slice_in_dim(scale, start, size)
        weights = jnp.where(start + jnp.arange(size) >= first, scale, 0)
        return self._prepare_batch(network, batch, weights)

    def _prepare_batch(self, network: Network, batch: PyTree, weights: jax.Array) -> PyTree:
        return self.kind.prepare(network.point, network.leaves, batch, weights)

    def _apply(self, prepared: PyTree, row: jax.Array, layout: Layout) -> jax.Array:
        product = self.kind.apply(prepared, layout.split(row))
        return jnp.concatenate([product[path].reshape(-1) for path in layout.paths])

    def footprint(self, network: Network, arrays: PyTree, key: Any) -> tuple[float, float]:
        """Return the bytes that a prepared batch keeps: constant, and for each example."""
        if key not in self.footprints:
            count = jax.tree.leaves(arrays)[0].shape[0]
            sizes = [_bytes(self, network, arrays, min(count, n)) for n in (2, 4)]
            each = max((sizes[1] - sizes[0]) / 2, 1.0)
            self.footprints[key] = (max(sizes[0] - 2 * each, 0.0), each)
        return self.footprints[key]


def programs_of(problem: Problem, key: str, kind: Callable[[], Kind]) -> Programs:
    """Return the programs of a problem, compiled once for as long as it lives."""
    # On the problem itself: a table beside it would keep alive what the loss refers to, the problem perhaps.
    known: dict[str, Programs] = problem.__dict__.setdefault("_curvature_programs", {})
    if key not in known:
        known[key] = Programs(kind())
    return known[key]


def _bytes(programs: Programs, network: Network, arrays: PyTree, size: int) -> float:
    batch = jax.tree.map(lambda x: jax.ShapeDtypeStruct((size, *x.shape[1:]), x.dtype), arrays)
    dtype = jax.tree.leaves(network.leaves)[0].dtype
    with differentiable():
        shapes = jax.eval_shape(programs.prepare_batch, network, batch, jax.ShapeDtypeStruct((size,), dtype))
    return float(sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(shapes)))


class _Batches:
    """The common part of both ways through the examples."""

    network: Network
    scale: Any
    kept: list[PyTree] | None = None

    def instead(self, network: Network, scale: Any) -> Self:
        """Return the same batches for another network of the shape and another scale, none of it kept."""
        other = copy.copy(self)
        other.network, other.scale, other.kept = network, scale, None
        return other


class Resident(_Batches):
    """Products over arrays that lie on the device."""

    def __init__(
        self,
        programs: Programs,
        network: Network,
        arrays: PyTree,
        layout: Layout,
        *,
        batch_size: int | None,
        shares: np.ndarray | None,
        hidden: float = 0.0,
    ) -> None:
        self.programs = programs
        self.network = network
        self.arrays = arrays
        self.layout = layout
        self.count = int(jax.tree.leaves(arrays)[0].shape[0])
        leaf = jax.tree.leaves(network.leaves)[0]
        key = (layout, leaf.dtype, tuple(x.shape[1:] for x in jax.tree.leaves(arrays)))
        constant, each = programs.footprint(network, arrays, key)
        room = _BATCH_BYTES - min(constant, _BATCH_BYTES)
        limit = batch_size or max(1, int(room // each))
        if hidden and not batch_size:  # what another library keeps while it computes, but not in between
            limit = min(limit, max(1, int(_HIDDEN_BYTES // hidden)))
        self.num_batches = -(-self.count // min(limit, self.count))
        self.size = limit if batch_size else -(-self.count // self.num_batches)
        self.size = min(self.size, self.count)
        self.scale = on_device(1 / self.count if shares is None else shares, leaf.dtype)
        kept = constant * self.num_batches + each * self.count
        self.kept = [] if kept <= _KEPT_BYTES else None

    def prepared(self) -> Iterator[PyTree]:
        """Yield what the products on each batch need."""
        if self.kept:
            yield from self.kept
            return
        for first in range(0, self.count, self.size):
            with differentiable():
                one = self.programs.prepare(
                    self.network, self.arrays, jnp.int32(first), self.scale, size=self.size
                )
            if self.kept is not None:
                self.kept.append(one)
            yield one


class Streamed(_Batches):
    """Products over a stream: batch by batch from Python, nothing kept."""

    def __init__(
        self, programs: Programs, network: Network, problem: Problem, split: str, *, size: int, dtype: Any
    ) -> None:
        self.programs = programs
        self.network = network
        self.problem = problem
        self.split = split
        self.dtype = dtype
        weighting = problem.weighting(split)
        self.count, shares = weighting.count, weighting.shares
        self.size = min(size, self.count)
        self.num_batches = 0
        dtype = jax.tree.leaves(network.leaves)[0].dtype
        self.scale = np.asarray(1 / self.count if shares is None else shares, dtype)

    def prepared(self) -> Iterator[PyTree]:
        """Yield what the products on each batch need, prepared anew at every pass."""
        self.num_batches = 0
        batches = self.problem.stream_batches(self.split, self.size, dtype=self.dtype, counted=True)
        for batch, real in batches:
            weights = np.zeros(self.size, self.scale.dtype)
            first = self.num_batches * self.size
            weights[:real] = self.scale[first : first + real] if self.scale.ndim else self.scale
            self.num_batches += 1
            with differentiable():
                one = self.programs.prepare_batch(self.network, batch, weights)
            yield one
