"""Derivatives of a function of tensors, by the routes that PyTorch has.

With F(x) one value or more per example, J its derivative:

========  ======================  ==============================================================
wanted    name of the route       how
========  ======================  ==============================================================
J t       forward                 dual numbers
J t       reverse twice           ∂⟨Jᵀv, t⟩/∂v, linear in v, so at v = 0
Jᵀ u      reverse                 one backward pass
∂(Jᵀu)·t  forward over reverse    a backward pass of dual numbers (Pearlmutter 1994)
∂(Jᵀu)·t  reverse over reverse    ∂⟨Jᵀu, t⟩/∂x; H is symmetric
∂(J t)·s  reverse twice, twice    ∂/∂v of ⟨∂(Jᵀv)·t, s⟩, linear in v
========  ======================  ==============================================================

Fused kernels (attention, oneDNN's and cuDNN's recurrent layers) lack some of them; the plain kernels of the
same operations have all. Nothing here calls jax.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch.autograd import forward_ad

Tensors = Sequence[Any]
Function = Callable[[Tensors], Any]

FUSED, PLAIN_ATTENTION, PLAIN = "fused kernels", "plain attention", "plain kernels"


@dataclasses.dataclass(frozen=True)
class Directions:
    """What an operation takes beside the point.

    Attributes
    ----------
    inward, outward : tuple of int
        The tensors of x that have tangents `t`, and those that get a cotangent back (or have tangents `s`).
    u : tensor or None
        Cotangent of the values.
    t, s : sequence of tensors
        Tangents.
    """

    inward: tuple[int, ...] = ()
    outward: tuple[int, ...] = ()
    u: Any = None
    t: Tensors = ()
    s: Tensors = ()

    @property
    def both(self) -> tuple[int, ...]:
        """The tensors of x that take part."""
        return tuple(sorted({*self.inward, *self.outward}))


@contextlib.contextmanager
def kernels(kind: str) -> Iterator[None]:
    """Choose among kernels of the same operations inside the block."""
    with contextlib.ExitStack() as stack:
        if kind != FUSED:
            stack.enter_context(torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH))
        if kind == PLAIN:
            for library in (torch.backends.mkldnn, torch.backends.cudnn):
                stack.callback(setattr, library, "enabled", library.enabled)
                library.enabled = False
        yield


def value(function: Function, x: Tensors, _: Directions) -> Any:
    """Return F(x)."""
    with torch.no_grad():
        return function(x)


def reverse(function: Function, x: Tensors, at: Directions) -> list[Any]:
    """Return Jᵀu for the chosen tensors of x."""
    x = _tracked(x, at.outward)
    return _gradients(function(x), _chosen(x, at.outward), at.u)


def forward(function: Function, x: Tensors, at: Directions) -> Any:
    """Return J t by dual numbers."""
    # Tensors that are tracked keep layers off their inference paths, which know no dual numbers.
    with forward_ad.dual_level():
        found = forward_ad.unpack_dual(function(_duals(_tracked(x, at.inward), at)))
        return torch.zeros_like(found.primal) if found.tangent is None else found.tangent


def forward_by_reverse(function: Function, x: Tensors, at: Directions) -> Any:
    """Return J t by two backward passes."""
    x = _tracked(x, at.inward)
    found = function(x)
    v = torch.zeros_like(found, requires_grad=True)
    pulled = _gradients(found, _chosen(x, at.inward), v, create_graph=True)
    return _gradients(_inner(pulled, at.t), [v], None)[0]


def forward_over_reverse(function: Function, x: Tensors, at: Directions) -> list[Any]:
    """Return ∂(Jᵀu)/∂x · t by a backward pass of dual numbers."""
    with forward_ad.dual_level():
        tracked = _duals(_tracked(x, at.both), at)
        wanted = _chosen(tracked, at.outward)
        # With a graph, as dual numbers need: some backward passes take shortcuts without one.
        slopes = torch.autograd.grad(function(tracked), wanted, at.u, create_graph=True, allow_unused=True)
        return [_tangent(slope, like) for slope, like in zip(slopes, wanted, strict=True)]


def reverse_over_reverse(function: Function, x: Tensors, at: Directions) -> list[Any]:
    """Return ∂(Jᵀu)/∂x · t by two backward passes."""
    x = _tracked(x, at.both)
    slopes = _gradients(function(x), _chosen(x, at.inward), at.u, create_graph=True)
    return _gradients(_inner(slopes, at.t), _chosen(x, at.outward), None)


def twice(function: Function, x: Tensors, at: Directions) -> Any:
    """Return ∂(J t)/∂x · s by three backward passes."""
    x = _tracked(x, at.both)
    found = function(x)
    v = torch.zeros_like(found, requires_grad=True)
    slopes = _gradients(found, _chosen(x, at.inward), v, create_graph=True)
    turned = _gradients(_inner(slopes, at.t), _chosen(x, at.outward), None, create_graph=True)
    return _gradients(_inner(turned, at.s), [v], None)[0]


def _tracked(x: Tensors, numbers: Sequence[int]) -> list[Any]:
    """Return x with the chosen tensors ready for differentiation."""
    chosen = set(numbers)
    return [tensor.detach().requires_grad_(i in chosen) for i, tensor in enumerate(x)]


def _chosen(x: Tensors, numbers: Sequence[int]) -> list[Any]:
    return [x[i] for i in numbers]


def _duals(x: list[Any], at: Directions) -> list[Any]:
    for i, tangent in zip(at.inward, at.t, strict=True):
        x[i] = forward_ad.make_dual(x[i], tangent)
    return x


def _tangent(slope: Any, like: Any) -> Any:
    found = None if slope is None else forward_ad.unpack_dual(slope).tangent
    return torch.zeros_like(like) if found is None else found


def _gradients(found: Any, wanted: Sequence[Any], u: Any, *, create_graph: bool = False) -> list[Any]:
    """Return gradients, zeros where `found` does not depend on a tensor."""
    if not found.requires_grad:
        return [torch.zeros_like(x) for x in wanted]
    return list(
        torch.autograd.grad(
            found, wanted, u, create_graph=create_graph, allow_unused=True, materialize_grads=True
        )
    )


def _inner(a: Tensors, b: Tensors) -> Any:
    return sum((x * y).sum() for x, y in zip(a, b, strict=True))
