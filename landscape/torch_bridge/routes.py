"""Which way a derivative is computed: the first of several that works on a few examples and is right there.

A route is tried when a program that needs it is compiled, so that what PyTorch cannot differentiate is
refused by name before anything runs. It is right if it agrees with another way to the same number: ⟨u, J t⟩
with ⟨Jᵀu, t⟩, and second derivatives by dual numbers with those by two backward passes, or with differences
of gradients.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import re
from collections.abc import Callable, Sequence
from typing import Any

import torch

from landscape.errors import LandscapeError, ProblemError, first_line
from landscape.torch_bridge import derivatives
from landscape.torch_bridge.derivatives import FUSED, PLAIN, PLAIN_ATTENTION, Directions, kernels
from landscape.torch_bridge.primitives import FORWARD, REVERSE, SECOND, TWICE, VALUE

Route = tuple[str, str]  # the way, the kernels

_WAYS: dict[str, Callable[..., Any]] = {
    "value": derivatives.value,
    "reverse": derivatives.reverse,
    "forward": derivatives.forward,
    "reverse twice": derivatives.forward_by_reverse,
    "forward over reverse": derivatives.forward_over_reverse,
    "reverse over reverse": derivatives.reverse_over_reverse,
    "reverse thrice": derivatives.twice,
}
ROUTES: dict[str, tuple[Route, ...]] = {
    VALUE: (("value", FUSED),),
    REVERSE: (("reverse", FUSED), ("reverse", PLAIN)),
    FORWARD: (
        ("forward", FUSED),
        ("forward", PLAIN_ATTENTION),
        ("forward", PLAIN),
        ("reverse twice", PLAIN),
    ),
    SECOND: (
        ("forward over reverse", FUSED),
        ("forward over reverse", PLAIN_ATTENTION),
        ("forward over reverse", PLAIN),
        ("reverse over reverse", FUSED),
        ("reverse over reverse", PLAIN),
    ),
    TWICE: (("reverse thrice", FUSED), ("reverse thrice", PLAIN_ATTENTION), ("reverse thrice", PLAIN)),
}
_MEANT = {
    REVERSE: "gradient",
    FORWARD: "derivative along a direction",
    SECOND: "second derivative",
    TWICE: "second derivative",
}
_LEFT = {
    REVERSE: "What needs no gradients works: barriers, surfaces, gaussian_robustness.",
    FORWARD: "What needs gradients alone works: barriers, surfaces, curves, sharpness.",
    SECOND: "What needs no second derivatives works: barriers, surfaces, sharpness, gauss_newton, fisher.",
}
_LEFT[TWICE] = _LEFT[SECOND]
# Two routes differ by rounding; a wrong derivative is off by much more.
_TOLERANCE = {torch.float64: 1e-4, torch.float32: 2e-2}


def compute(
    route: Route, function: Callable[[Sequence[Any]], Any], x: Sequence[Any], at: Directions
) -> list[Any]:
    """Return the results of an operation by a route."""
    way, kind = route
    with kernels(kind):
        found = _WAYS[way](function, x, at)
    return [tensor.detach() for tensor in (found if isinstance(found, list) else [found])]


def choose(operation: str, name: str, function: Callable[[Sequence[Any]], Any], x: Sequence[Any]) -> Route:
    """Return the first route of an operation that works at x and is right there.

    Raises
    ------
    ProblemError
        If there is none, naming the operation of PyTorch that is in the way.
    """
    trial = _Trial(name, function, x)
    errors: list[Exception] = []
    for route in ROUTES[operation]:
        try:
            if trial.right(operation, route):
                return route
            errors.append(RuntimeError("two ways to compute it give different numbers"))
        except LandscapeError:
            raise
        except (RuntimeError, TypeError, AttributeError) as error:
            errors.append(error)
    raise _refused(operation, name, errors)


class _Trial:
    """Runs the routes at one point, with fixed directions."""

    def __init__(self, name: str, function: Callable[[Sequence[Any]], Any], x: Sequence[Any]) -> None:
        self.name = name
        self.function = function
        self.x = list(x)
        everything = tuple(range(len(self.x)))
        self.at = Directions(
            inward=everything,
            outward=everything,
            u=_wave(derivatives.value(function, self.x, Directions()), 3.0),
            t=[_wave(tensor, 1.0) for tensor in self.x],
            s=[_wave(tensor, 2.0) for tensor in self.x],
        )
        self.tolerance = _TOLERANCE.get(self.at.u.dtype, 2e-2)

    def run(self, route: Route) -> list[Any]:
        return compute(route, self.function, self.x, self.at)

    def right(self, operation: str, route: Route) -> bool:
        found = self.run(route)
        if operation == FORWARD:
            pulled = self.run(ROUTES[REVERSE][0])
            return self._same(_inner(found, [self.at.u]), _inner(pulled, self.at.t))
        if operation == TWICE:
            second = self.run(choose(SECOND, self.name, self.function, self.x))
            return self._same(_inner(found, [self.at.u]), _inner(second, self.at.s))
        if operation != SECOND:
            return True
        if route[0] == "forward over reverse":
            with contextlib.suppress(RuntimeError):  # no such route: differences decide
                if self._alike(found, self.run(("reverse over reverse", PLAIN))):
                    return True
        # Two backward passes alone prove nothing: where the graph of the first is cut, PyTorch takes what it
        # does not reach for zero.
        return self._alike(found, self._differences())

    def _differences(self) -> list[Any]:
        """Return ∂(Jᵀu)·t by central differences of gradients, in float64."""
        x, t = ([tensor.double() for tensor in given] for given in (self.x, self.at.t))
        at = dataclasses.replace(self.at, u=self.at.u.double())
        step = 1e-5 * max(_length(x), 1.0) / max(_length(t), 1e-30)
        ends = [
            compute(
                ("reverse", PLAIN),
                self.function,
                [a + sign * step * b for a, b in zip(x, t, strict=True)],
                at,
            )
            for sign in (1, -1)
        ]
        return [(a - b) / (2 * step) for a, b in zip(*ends, strict=True)]

    def _same(self, a: tuple[float, float], b: tuple[float, float]) -> bool:
        return not abs(a[0] - b[0]) > self.tolerance * max(a[1], b[1]) + 1e-12

    def _alike(self, found: Sequence[Any], other: Sequence[Any]) -> bool:
        gap = _length([a.double() - b.double() for a, b in zip(found, other, strict=True)])
        return not gap > self.tolerance * _length(other) + 1e-12


def _wave(like: Any, frequency: float) -> Any:
    """Return a fixed direction with entries of both signs; no random numbers are drawn."""
    steps = torch.arange(like.numel(), device=like.device, dtype=torch.float64)
    return torch.cos(1 + frequency * 0.7 * steps).to(like.dtype).reshape(like.shape)


def _inner(a: Sequence[Any], b: Sequence[Any]) -> tuple[float, float]:
    """Return ⟨a, b⟩, and the sum of what is added up without signs."""
    terms = [(x.double() * y.double()) for x, y in zip(a, b, strict=True)]
    return float(sum(x.sum() for x in terms)), float(sum(x.abs().sum() for x in terms))


def _length(a: Sequence[Any]) -> float:
    return math.sqrt(sum(float(x.double().square().sum()) for x in a))


def _refused(operation: str, name: str, errors: Sequence[Exception]) -> ProblemError:
    lines = [first_line(error) for error in errors]
    broken = next((line for line in lines if "inplace" in line), None)
    if broken is not None:
        return ProblemError(
            f"{name}: {broken[:300]}",
            expected="a forward pass whose in-place changes PyTorch can differentiate",
            hint="Write the operation that it names without changing its operand in place.",
        )
    named = [found for line in map(str, errors) if (found := _operation_in(line))]
    culprit = named[-1] if named else "one of its operations"
    return ProblemError(
        f"{name}: {culprit} has no {_MEANT[operation]} in PyTorch",
        expected=f"operations whose {_MEANT[operation]} PyTorch computes",
        got=lines[-1][:200],
        hint=_LEFT[operation],
    )


def _operation_in(message: str) -> str | None:
    """Return the operation that a message of PyTorch's says it cannot differentiate."""
    patterns = (
        r"aten::_?(\w+?)(?:_backward)?\b",
        r"forward AD with (\w+)",
        r"(\w+)Backward\w* (?:for|of|that)",
    )
    for pattern in patterns:
        found = re.search(pattern, message)
        if found:
            return found[1]
    return None
