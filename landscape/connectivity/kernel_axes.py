"""Which axis of a parameter stands behind each axis of what a program makes of it."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from landscape.compute import shape_of

__all__ = ["ARRANGED", "Axes", "product_axes"]

Axes = tuple[int | None, ...]

_SAME = frozenset(["convert_element_type", "copy", "copy_p", "optimization_barrier", "reduce_precision"])


def product_axes(equation: Any, axes: Axes, side: int) -> Axes | None:
    """Return the axes of the kernel behind the axes of the product; None where they are not known."""
    rank = len(shape_of(equation.outvars[0]))
    if equation.primitive.name == "conv_general_dilated":
        numbers = equation.params["dimension_numbers"]
        if side == 0 or equation.params["batch_group_count"] != 1:
            return None
        out: list[int | None] = [None] * rank
        out[numbers.out_spec[1]] = axes[numbers.rhs_spec[0]]
        return tuple(out)
    sums, batches = equation.params["dimension_numbers"]
    free = [axis for i, axis in enumerate(axes) if i not in sums[side] and i not in batches[side]]
    batch = [axes[i] for i in batches[side]]
    others = [None] * (rank - len(batch) - len(free))
    return (*batch, *free, *others) if side == 0 else (*batch, *others, *free)


def _transposed(equation: Any, axes: Axes) -> Axes:
    return tuple(axes[i] for i in equation.params["permutation"]) if axes else ()


def _broadcast(equation: Any, axes: Axes) -> Axes:
    if not axes:
        return ()
    before, after = shape_of(equation.invars[0]), shape_of(equation.outvars[0])
    out: list[int | None] = [None] * len(after)
    for number, target in enumerate(equation.params["broadcast_dimensions"]):
        out[target] = axes[number] if before[number] == after[target] else None
    return tuple(out)


def _squeezed(equation: Any, axes: Axes) -> Axes:
    gone = {number % len(axes) for number in equation.params["dimensions"]} if axes else set()
    return tuple(axis for number, axis in enumerate(axes) if number not in gone)


def _reshaped(equation: Any, axes: Axes) -> Axes:
    """Return the axes that stand alone before and after; those that are merged or cut are known no more."""
    if not axes:
        return ()
    before, after = shape_of(equation.invars[0]), shape_of(equation.outvars[0])
    places = {math.prod(before[:i]): i for i, n in enumerate(before) if n > 1}
    out: list[int | None] = [None] * len(after)
    for number, n in enumerate(after):
        source = places.get(math.prod(after[:number]))
        if n > 1 and source is not None and before[source] == n:
            out[number] = axes[source]
    if before[-1:] == after[-1:] == (1,):  # a layer of one unit
        out[-1] = axes[-1]
    return tuple(out)


ARRANGED: dict[str, Callable[[Any, Axes], Axes]] = {
    **dict.fromkeys(_SAME, lambda _, axes: axes),
    "broadcast_in_dim": _broadcast,
    "reshape": _reshaped,
    "squeeze": _squeezed,
    "transpose": _transposed,
}
