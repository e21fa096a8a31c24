"""What each operation of a program does to degrees; the names are those of `jax.lax`."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from landscape.alignment.axes import units_of
from landscape.alignment.degrees import Degrees, Form, Key, Value, combined, keys_of
from landscape.alignment.rules import Axes
from landscape.compute import shape_of

__all__ = ["rule_of"]

Rule = Callable[[Degrees, Any, Sequence[Value], Sequence[Axes]], list[Value]]

_SAME = "abs conj copy copy_p cumsum cummax cummin imag neg real reduce_precision rev stop_gradient"
_ALIKE = "add add_any clamp max min optimization_barrier rem sub"
_COMPARED = "atan2 eq ge gt le lt ne"  # of what has one degree, they have none
_NO_DEGREE = "argmax argmin is_finite iota reduce_and reduce_or reduce_xor sign"
_POWERS = {"cbrt": 1 / 3, "rsqrt": -0.5, "sqrt": 0.5, "square": 2.0}


def _same(degrees: Degrees, equation: Any, inputs: Sequence[Value], outs: Sequence[Axes]) -> list[Value]:
    del degrees, equation
    return [Value(axes, inputs[0].degrees, inputs[0].loose) for axes in outs]


def _alike(degrees: Degrees, equation: Any, inputs: Sequence[Value], outs: Sequence[Axes]) -> list[Value]:
    del equation
    return [degrees.alike(inputs, axes) for axes in outs]


def _compared(degrees: Degrees, equation: Any, inputs: Sequence[Value], outs: Sequence[Axes]) -> list[Value]:
    del equation
    degrees.alike(inputs, outs[0])
    return [Value(axes) for axes in outs]


def _no_degree(degrees: Degrees, equation: Any, inputs: Sequence[Value], outs: Sequence[Axes]) -> list[Value]:
    del degrees, equation, inputs
    return [Value(axes) for axes in outs]


def _stiff(degrees: Degrees, equation: Any, inputs: Sequence[Value], outs: Sequence[Axes]) -> list[Value]:
    """Demand degree 0 of everything: the operation is not homogeneous, or not known."""
    del equation
    degrees.zero(inputs)
    return [Value(axes) for axes in outs]


def _times(degrees: Degrees, equation: Any, inputs: Sequence[Value], outs: Sequence[Axes]) -> list[Value]:
    del degrees
    sign = -1.0 if equation.primitive.name == "div" else 1.0
    a, b = inputs
    found = {key: combined((1.0, a.form(key)), (sign, b.form(key))) for key in keys_of(outs[0])}
    return [Value(outs[0], found, a.loose or b.loose)]


def _power(degrees: Degrees, equation: Any, inputs: Sequence[Value], outs: Sequence[Axes]) -> list[Value]:
    name = equation.primitive.name
    if name == "pow" and not hasattr(equation.invars[1], "val"):
        return _stiff(degrees, equation, inputs, outs)
    power = _POWERS.get(name)
    if power is None:
        power = float(equation.params["y"] if name == "integer_pow" else equation.invars[1].val)
    found = {key: combined((power, form)) for key, form in inputs[0].degrees.items()}
    return [Value(outs[0], found, inputs[0].loose)]


def _converted(degrees: Degrees, equation: Any, inputs: Sequence[Value], outs: Sequence[Axes]) -> list[Value]:
    kind = np.dtype(equation.params["new_dtype"]).kind
    if kind == "b":
        return _no_degree(degrees, equation, inputs, outs)
    return (_stiff if kind in "iu" else _same)(degrees, equation, inputs, outs)


def _chosen(degrees: Degrees, equation: Any, inputs: Sequence[Value], outs: Sequence[Axes]) -> list[Value]:
    del equation
    degrees.zero(inputs[:1])
    return [degrees.alike(inputs[1:], outs[0])]


def _reduced(degrees: Degrees, equation: Any, inputs: Sequence[Value], outs: Sequence[Axes]) -> list[Value]:
    gone = set(equation.params["axes"])
    kept = [number for number in range(len(inputs[0].axes)) if number not in gone]
    out = degrees.moved(inputs[0], outs[0], dict(enumerate(kept)))
    if equation.primitive.name == "reduce_prod":
        times = math.prod(shape_of(equation.invars[0])[number] for number in gone)
        out = Value(out.axes, {key: combined((times, form)) for key, form in out.degrees.items()}, out.loose)
    return [out]


def _transposed(
    degrees: Degrees, equation: Any, inputs: Sequence[Value], outs: Sequence[Axes]
) -> list[Value]:
    return [degrees.moved(inputs[0], outs[0], dict(enumerate(equation.params["permutation"])))]


def _broadcast(degrees: Degrees, equation: Any, inputs: Sequence[Value], outs: Sequence[Axes]) -> list[Value]:
    targets = equation.params["broadcast_dimensions"]
    return [degrees.moved(inputs[0], outs[0], {target: n for n, target in enumerate(targets)})]


def _squeezed(degrees: Degrees, equation: Any, inputs: Sequence[Value], outs: Sequence[Axes]) -> list[Value]:
    gone = set(equation.params["dimensions"])
    kept = [number for number in range(len(inputs[0].axes)) if number not in gone]
    return [degrees.moved(inputs[0], outs[0], dict(enumerate(kept)))]


def _reshaped(degrees: Degrees, equation: Any, inputs: Sequence[Value], outs: Sequence[Axes]) -> list[Value]:
    del equation
    return [degrees.reshaped(inputs[0], outs[0])]


def _joined(degrees: Degrees, equation: Any, inputs: Sequence[Value], outs: Sequence[Axes]) -> list[Value]:
    """Of several arrays one behind the other: those that bear a group along the seam answer alike."""
    where = equation.params["dimension"]
    out = degrees.alike(inputs, outs[0], seam=where)
    found = dict(out.degrees)
    for key in [key for key in keys_of(outs[0]) if key[0] == where]:
        bearing = [v for v in inputs if not v.loose and key[1] in units_of(v.axes[where])]
        forms = [value.form(key) for value in bearing]
        for other in forms[1:]:
            degrees.equal(key[1], forms[0], other)
        found[key] = forms[0] if forms else {}
    return [Value(outs[0], found, out.loose)]


def _part(degrees: Degrees, equation: Any, inputs: Sequence[Value], outs: Sequence[Axes]) -> list[Value]:
    """Of a slice, or of what is padded around: axis by axis."""
    first, *others = inputs
    if equation.primitive.name == "pad" and not others[0].loose:
        degrees.zero([first])
    degrees.zero(others)
    whole = {number: number for number in range(len(first.axes))}
    return [degrees.moved(first, axes, whole) for axes in outs]


def _gathered(degrees: Degrees, equation: Any, inputs: Sequence[Value], outs: Sequence[Axes]) -> list[Value]:
    numbers = equation.params["dimension_numbers"]
    gone = {*numbers.collapsed_slice_dims, *numbers.operand_batching_dims}
    kept = [number for number in range(len(inputs[0].axes)) if number not in gone]
    degrees.zero(inputs[1:])
    return [degrees.moved(inputs[0], outs[0], dict(zip(numbers.offset_dims, kept, strict=True)))]


def _sorted(degrees: Degrees, equation: Any, inputs: Sequence[Value], outs: Sequence[Axes]) -> list[Value]:
    del degrees, equation
    return [Value(axes, v.degrees, v.loose) for v, axes in zip(inputs, outs, strict=True)]


def _contract(degrees: Degrees, terms: Sequence[tuple[Value, int]]) -> None:
    """Demand that the degrees of what is multiplied and summed along one axis cancel."""
    groups = {units for value, number in terms for units in units_of(value.axes[number])}
    for units in groups:
        degrees.vanish(units, combined(*((1.0, value.form((number, units))) for value, number in terms)))


def _dot(degrees: Degrees, equation: Any, inputs: Sequence[Value], outs: Sequence[Axes]) -> list[Value]:
    (left_sum, right_sum), (left_batch, right_batch) = equation.params["dimension_numbers"]
    a, b = inputs
    loose = a.loose or b.loose
    for i, j in zip(left_sum, right_sum, strict=True):
        if not loose:
            _contract(degrees, [(a, i), (b, j)])
    own = [i for i in range(len(a.axes)) if i not in (*left_sum, *left_batch)]
    other = [j for j in range(len(b.axes)) if j not in (*right_sum, *right_batch)]
    sources = [*zip(left_batch, right_batch, strict=True), *((i, None) for i in own)]
    sources += [(None, j) for j in other]
    found: dict[Key, Form] = {}
    for number, units in keys_of(outs[0]):
        terms = [
            (1.0, value.form((source, units)))
            for value, source in zip((a, b), sources[number], strict=True)
            if source is not None
        ]
        found[number, units] = combined(*terms)
    return [Value(outs[0], found, loose)]


def _convolved(degrees: Degrees, equation: Any, inputs: Sequence[Value], outs: Sequence[Axes]) -> list[Value]:
    numbers = equation.params["dimension_numbers"]
    image, kernel = inputs
    channel, ins = numbers.lhs_spec[1], numbers.rhs_spec[1]
    outgoing, out_channel = numbers.rhs_spec[0], numbers.out_spec[1]
    found: dict[Key, Form] = {}
    shared = set(units_of(outs[0][out_channel]))
    for units in {*units_of(image.axes[channel]), *units_of(kernel.axes[ins])}:
        together = combined((1.0, image.form((channel, units))), (1.0, kernel.form((ins, units))))
        # Groups of channels are no sum: their factor stays, beside that of the kernel.
        if units not in shared or units_of(kernel.axes[ins]).count(units):
            degrees.vanish(units, together)
    for number, units in keys_of(outs[0]):
        if number == out_channel:
            terms = [(1.0, kernel.form((outgoing, units)))]
            if not units_of(kernel.axes[ins]).count(units):
                terms.append((1.0, image.form((channel, units))))
            found[number, units] = combined(*terms)
        elif number == numbers.out_spec[0]:
            found[number, units] = image.form((numbers.lhs_spec[0], units))
    return [Value(outs[0], found, image.loose or kernel.loose)]


def _windowed(degrees: Degrees, equation: Any, inputs: Sequence[Value], outs: Sequence[Axes]) -> list[Value]:
    whole = {number: number for number in range(len(inputs[0].axes))}
    degrees.zero(inputs[len(outs) :])
    del equation
    return [degrees.moved(value, axes, whole) for value, axes in zip(inputs, outs, strict=False)]


_RULES: dict[str, Rule] = {
    **dict.fromkeys(_SAME.split(), _same),
    **dict.fromkeys(_ALIKE.split(), _alike),
    **dict.fromkeys(_COMPARED.split(), _compared),
    **dict.fromkeys(_NO_DEGREE.split(), _no_degree),
    **dict.fromkeys((*_POWERS, "integer_pow", "pow"), _power),
    **dict.fromkeys(("mul", "div"), _times),
    **dict.fromkeys(("reduce_sum", "reduce_max", "reduce_min", "reduce_prod"), _reduced),
    **dict.fromkeys(("slice", "split", "dynamic_slice", "pad"), _part),
    **dict.fromkeys(("reduce_window_max", "reduce_window_min", "reduce_window_sum"), _windowed),
    "broadcast_in_dim": _broadcast,
    "concatenate": _joined,
    "conv_general_dilated": _convolved,
    "convert_element_type": _converted,
    "dot_general": _dot,
    "gather": _gathered,
    "reshape": _reshaped,
    "select_n": _chosen,
    "sort": _sorted,
    "squeeze": _squeezed,
    "transpose": _transposed,
}


def rule_of(name: str) -> Rule:
    """Return what an operation does to degrees; one that has no rule allows no rescaling."""
    return _RULES.get(name, _stiff)
