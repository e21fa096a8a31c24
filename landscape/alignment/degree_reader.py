"""Goes through the program of a loss and collects what the degrees of its parameters must fulfil."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from landscape.alignment.degree_rules import rule_of
from landscape.alignment.degrees import Degrees, Value, keys_of, literal
from landscape.alignment.rules import Axes
from landscape.alignment.structure import Structure
from landscape.compute import Place, inner_program

__all__ = ["DegreeReader"]


class DegreeReader:
    """Goes through a program whose permutation structure is known.

    Attributes
    ----------
    structure : Structure
        Of the same program.
    degrees : Degrees
        The equations.
    """

    def __init__(self, structure: Structure, degrees: Degrees) -> None:
        self.structure = structure
        self.degrees = degrees

    def read(self, jaxpr: Any, consts: Sequence[Any], given: Sequence[Value], path: Place) -> list[Value]:
        """Collect the equations of a program; return its outputs."""
        known: dict[Any, Value] = {
            variable: literal(value) for variable, value in zip(jaxpr.constvars, consts, strict=True)
        }
        known.update(zip(jaxpr.invars, given, strict=True))

        def value_of(atom: Any) -> Value:
            return literal(atom.val) if hasattr(atom, "val") else known[atom]

        for number, equation in enumerate(jaxpr.eqns):
            place = (*path, number)
            outputs = self._apply(equation, [value_of(atom) for atom in equation.invars], place)
            known.update(zip(equation.outvars, outputs, strict=True))
        return [value_of(atom) for atom in jaxpr.outvars]

    def _apply(self, equation: Any, inputs: list[Value], place: Place) -> list[Value]:
        inner = inner_program(equation)
        if inner is not None:
            return self.read(inner[0], inner[1], inputs, place)
        outs = self.structure.observed[place]
        name = equation.primitive.name
        if name in _LOOPS:
            return _LOOPS[name](self, equation, inputs, place)
        return rule_of(name)(self.degrees, equation, inputs, outs)


def _carried(degrees: Degrees, axes: Sequence[Axes]) -> list[Value]:
    """Return what a loop carries: of degrees that its start and every turn must have."""
    return [Value(outer, {key: degrees.unknown() for key in keys_of(outer)}) for outer in axes]


def _same(degrees: Degrees, a: Sequence[Value], b: Sequence[Value]) -> None:
    for first, second in zip(a, b, strict=True):
        degrees.alike([first, second], first.axes)


def _scan(reader: DegreeReader, equation: Any, inputs: list[Value], place: Place) -> list[Value]:
    degrees, params, outs = reader.degrees, equation.params, reader.structure.observed[place]
    inner, num_consts, num_carry = params["jaxpr"], params["num_consts"], params["num_carry"]
    start = inputs[num_consts : num_consts + num_carry]
    carry = _carried(degrees, outs[:num_carry])
    steps = [_inside(value) for value in inputs[num_consts + num_carry :]]
    found = reader.read(inner.jaxpr, inner.consts, [*inputs[:num_consts], *carry, *steps], place)
    _same(degrees, carry, start)
    _same(degrees, carry, found[:num_carry])
    stacked = [_outside(v, axes) for v, axes in zip(found[num_carry:], outs[num_carry:], strict=True)]
    return [*carry, *stacked]


def _inside(value: Value) -> Value:
    """Return one step of what a loop takes step by step."""
    degrees = {(number - 1, units): form for (number, units), form in value.degrees.items() if number > 0}
    return Value(value.axes[1:], degrees, value.loose)


def _outside(value: Value, axes: Axes) -> Value:
    degrees = {(number + 1, units): form for (number, units), form in value.degrees.items()}
    return Value(axes, degrees, value.loose)


def _while(reader: DegreeReader, equation: Any, inputs: list[Value], place: Place) -> list[Value]:
    degrees, params = reader.degrees, equation.params
    tests, bodies = params["cond_nconsts"], params["body_nconsts"]
    body, test = params["body_jaxpr"], params["cond_jaxpr"]
    start = inputs[tests + bodies :]
    carry = _carried(degrees, reader.structure.observed[place])
    degrees.zero(reader.read(test.jaxpr, test.consts, [*inputs[:tests], *carry], (*place, -1)))
    given = [*inputs[tests : tests + bodies], *carry]
    found = reader.read(body.jaxpr, body.consts, given, place)
    _same(degrees, carry, start)
    _same(degrees, carry, found)
    return carry


def _cond(reader: DegreeReader, equation: Any, inputs: list[Value], place: Place) -> list[Value]:
    reader.degrees.zero(inputs[:1])
    found = [
        reader.read(branch.jaxpr, branch.consts, inputs[1:], (*place, number))
        for number, branch in enumerate(equation.params["branches"])
    ]
    outs = reader.structure.observed[place]
    return [reader.degrees.alike(values, axes) for *values, axes in zip(*found, outs, strict=True)]


_LOOPS: dict[str, Callable[[DegreeReader, Any, list[Value], Place], list[Value]]] = {
    "scan": _scan,
    "while": _while,
    "cond": _cond,
}
