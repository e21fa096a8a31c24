"""Goes through the program of a loss and relates the axes of everything in it, rule by rule."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from landscape.alignment.axes import Units, fix, fixed, join
from landscape.alignment.rules import (
    ELEMENTWISE,
    RULES,
    Axes,
    constant_axes,
    elementwise,
    touch,
)
from landscape.compute import Place, inner_program, shape_of

__all__ = ["Reader"]


class Reader:
    """Goes through a program and relates the axes of everything in it.

    Attributes
    ----------
    observed : dict of tuple to list
        Axes of the outputs of each operation, by its place: the numbers of the operations that hold it, its
        own last.
    unknown : set of str
        Operations that no rule knows; everything that they touch is fixed.
    """

    def __init__(self) -> None:
        self.observed: dict[Place, list[Axes]] = {}
        self.unknown: set[str] = set()

    def read(self, jaxpr: Any, consts: Sequence[Any], given: Sequence[Axes], path: Place) -> list[Axes]:
        """Relate the axes of a program's values; return those of its outputs."""
        known: dict[Any, Axes] = {}
        for variable, value in zip(jaxpr.constvars, consts, strict=True):
            known[variable] = constant_axes(value)
        known.update(zip(jaxpr.invars, given, strict=True))

        def axes_of(atom: Any) -> Axes:
            if hasattr(atom, "val"):  # a literal
                return constant_axes(atom.val)
            return known[atom]

        for number, equation in enumerate(jaxpr.eqns):
            place = (*path, number)
            outputs = self._apply(equation, [axes_of(atom) for atom in equation.invars], place)
            self.observed[place] = outputs
            known.update(zip(equation.outvars, outputs, strict=True))
        return [axes_of(atom) for atom in jaxpr.outvars]

    def _apply(self, equation: Any, inputs: list[Axes], place: Place) -> list[Axes]:
        name = equation.primitive.name
        inner = inner_program(equation)
        if inner is not None:
            return self.read(inner[0], inner[1], inputs, place)
        if name in _LOOPS:
            return _LOOPS[name](self, equation, inputs, place)
        if name in ELEMENTWISE:
            return [elementwise(equation, inputs)] * len(equation.outvars)
        rule = RULES.get(name)
        if rule is None:
            self.unknown.add(name)
            return touch(equation, inputs)
        return rule(equation, inputs)


def _scan(reader: Reader, equation: Any, inputs: list[Axes], place: Place) -> list[Axes]:
    """Relate what a loop carries before and after; what it takes step by step is fixed along the steps."""
    params = equation.params
    inner, num_consts, num_carry = params["jaxpr"], params["num_consts"], params["num_carry"]
    consts, carry = inputs[:num_consts], inputs[num_consts : num_consts + num_carry]
    steps = inputs[num_consts + num_carry :]
    for axes in steps:
        fix(axes[0])
    shapes = [shape_of(v) for v in inner.jaxpr.invars[num_consts : num_consts + num_carry]]
    carry = [_named(axes, shape) for axes, shape in zip(carry, shapes, strict=True)]
    given = [*consts, *carry, *(axes[1:] for axes in steps)]
    found = reader.read(inner.jaxpr, inner.consts, given, place)
    after = [_joined(a, b) for a, b in zip(carry, found[:num_carry], strict=True)]
    return [*after, *((fixed(params["length"]), *axes) for axes in found[num_carry:])]


def _while(reader: Reader, equation: Any, inputs: list[Axes], place: Place) -> list[Axes]:
    params = equation.params
    tests, bodies = params["cond_nconsts"], params["body_nconsts"]
    body, test = params["body_jaxpr"], params["cond_jaxpr"]
    shapes = [shape_of(v) for v in body.jaxpr.invars[bodies:]]
    carry = [_named(a, s) for a, s in zip(inputs[tests + bodies :], shapes, strict=True)]
    reader.read(test.jaxpr, test.consts, [*inputs[:tests], *carry], (*place, -1))
    found = reader.read(body.jaxpr, body.consts, [*inputs[tests : tests + bodies], *carry], place)
    return [_joined(a, b) for a, b in zip(carry, found, strict=True)]


def _cond(reader: Reader, equation: Any, inputs: list[Axes], place: Place) -> list[Axes]:
    found = [
        reader.read(branch.jaxpr, branch.consts, inputs[1:], (*place, number))
        for number, branch in enumerate(equation.params["branches"])
    ]
    out = found[0]
    for other in found[1:]:
        out = [_joined(a, b) for a, b in zip(out, other, strict=True)]
    return out


def _named(axes: Axes, shape: Sequence[int]) -> Axes:
    """Return axes with a variable on each: what a loop carries may vary later where it does not at first."""
    return tuple(Units(n) if axis is None and n > 1 else axis for axis, n in zip(axes, shape, strict=True))


def _joined(a: Axes, b: Axes) -> Axes:
    return tuple(join(x, y) for x, y in zip(a, b, strict=True))


_LOOPS: dict[str, Callable[[Reader, Any, list[Axes], Place], list[Axes]]] = {
    "scan": _scan,
    "while": _while,
    "cond": _cond,
}
