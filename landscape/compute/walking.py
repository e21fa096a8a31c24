"""Goes through a traced program, operation by operation, and keeps values on the way.

An operation is named by its *place*: the numbers of the operations that hold it, its own last. Programs that
an operation runs once on its own inputs (a jitted function, a rectifier with its own derivative) are entered;
loops and branches are not.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp

__all__ = ["Place", "inner_program", "run_keeping", "shape_of"]

Place = tuple[int, ...]


def shape_of(variable: Any) -> tuple[int, ...]:
    """Return the shape of a variable of a program."""
    return tuple(int(n) for n in getattr(variable.aval, "shape", ()))


def inner_program(equation: Any) -> tuple[Any, list[Any]] | None:
    """Return the program that an operation runs once on its own inputs, with constants, or None."""
    if equation.primitive.name in ("scan", "while", "cond"):
        return None
    for key in ("jaxpr", "call_jaxpr", "fun_jaxpr"):
        inner = equation.params.get(key)
        if inner is not None:
            jaxpr = getattr(inner, "jaxpr", inner)
            if len(jaxpr.invars) == len(equation.invars) and len(jaxpr.outvars) == len(equation.outvars):
                return jaxpr, list(getattr(inner, "consts", ()))
    return None


def run_keeping(closed: Any, given: Sequence[Any], wanted: set[Place]) -> dict[Place, list[Any]]:
    """Return the outputs of the operations at the places that are wanted, as far as they are reached.

    Parameters
    ----------
    closed : jax.extend.core.ClosedJaxpr
        The program, as `jax.make_jaxpr` returns it.
    given : sequence of arrays
        Its inputs, flat. Inside another program they are traced.
    wanted : set of tuple of int
        Places of operations.
    """
    found: dict[Place, list[Any]] = {}
    _run(closed.jaxpr, closed.consts, given, (), wanted, found)
    return found


def _run(  # noqa: PLR0917  one program inside another
    jaxpr: Any,
    consts: Sequence[Any],
    given: Sequence[Any],
    path: Place,
    wanted: set[Place],
    found: dict[Place, list[Any]],
) -> list[Any]:
    """Evaluate a program and keep the outputs of the operations that are wanted."""
    known: dict[Any, Any] = dict(zip(jaxpr.constvars, consts, strict=True))
    known.update(zip(jaxpr.invars, given, strict=True))

    def value_of(atom: Any) -> Any:
        return atom.val if hasattr(atom, "val") else known[atom]

    for number, equation in enumerate(jaxpr.eqns):
        place = (*path, number)
        inputs = [value_of(atom) for atom in equation.invars]
        inner = inner_program(equation)
        if inner is not None:
            outputs = _run(inner[0], inner[1], inputs, place, wanted, found)
        else:
            outputs = _bound(equation, inputs)
        if place in wanted:
            found[place] = outputs
        known.update(zip(equation.outvars, outputs, strict=True))
    return [value_of(atom) for atom in jaxpr.outvars]


def _bound(equation: Any, inputs: Sequence[Any]) -> list[Any]:
    params = equation.primitive.get_bind_params(equation.params)
    functions: Sequence[Any] = ()
    if isinstance(params, tuple):  # before jax 0.10
        functions, params = params
    result = equation.primitive.bind(*functions, *map(jnp.asarray, inputs), **params)
    return list(result) if equation.primitive.multiple_results else [result]
