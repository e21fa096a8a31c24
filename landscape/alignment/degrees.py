"""How every value of a program answers when the units of its parameters are rescaled by positive factors.

Multiply unit u of a group by s_u > 0 wherever it stands in a parameter, to a power (a degree) that is still
unknown for each place. A value whose axis bears the group is then multiplied along it by s_u to some power,
or the rescaling is no symmetry. Each operation says what its output's degree is and what must hold:

1. what is added, compared or chosen among has one degree; zeros and infinities have any;
2. products add degrees, quotients subtract them, powers multiply them;
3. a sum, a maximum or a contraction over the group needs degree 0, and so does every function that is not
   positively homogeneous, and every constant that is added;
4. the loss has degree 0.

These are linear equations in the unknown degrees; `landscape.alignment.rescaling` solves them. Rectifiers,
pooling and normalisation by a mean need no rule of their own: they are made of maxima, sums and quotients.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from landscape.alignment.axes import Units, units_of
from landscape.alignment.rules import Axes, constant_axes

__all__ = ["Degrees", "Form", "Key", "Value", "combined", "keys_of", "literal"]

Form = Mapping[int, float]  # a linear form: unknown to coefficient
Key = tuple[int, Units]  # an axis and a group that it bears


@dataclasses.dataclass(frozen=True)
class Value:
    """A value of the program: its axes, its degree in each group per axis, and whether it has any degree.

    `loose` values consist of zeros and infinities: a positive factor leaves them as they are.
    """

    axes: Axes
    degrees: Mapping[Key, Form] = dataclasses.field(default_factory=dict)
    loose: bool = False

    def form(self, key: Key) -> Form:
        """Return the degree along an axis in a group; 0 where the value does not vary."""
        return self.degrees.get(key, {})


def literal(constant: Any) -> Value:
    """Return the value of a constant."""
    array = np.asarray(constant)
    if array.dtype.kind not in "OSUMmc":  # small floats are of kind V, and convert
        array = array.astype(np.float64)
        return Value(constant_axes(constant), loose=bool(np.all((array == 0) | np.isinf(array))))
    return Value(constant_axes(constant))


def combined(*terms: tuple[float, Form]) -> dict[int, float]:
    """Return a sum of multiples of linear forms."""
    out: dict[int, float] = {}
    for factor, form in terms:
        for unknown, coefficient in form.items():
            out[unknown] = out.get(unknown, 0.0) + factor * coefficient
    return {unknown: value for unknown, value in out.items() if value}


def keys_of(axes: Axes) -> list[Key]:
    """Return the axes and groups of a value, in order."""
    return [(number, units) for number, axis in enumerate(axes) for units in dict.fromkeys(units_of(axis))]


class Degrees:
    """The equations so far, and what adds to them.

    Attributes
    ----------
    equations : dict of Units to list
        By group, the linear forms that must vanish.
    count : int
        Number of unknowns so far.
    """

    def __init__(self) -> None:
        self.equations: dict[Units, list[Form]] = {}
        self.count = 0

    def unknown(self) -> Form:
        """Return a new unknown."""
        self.count += 1
        return {self.count - 1: 1.0}

    def vanish(self, units: Units, form: Form) -> None:
        """Demand that a degree is 0."""
        if form:
            self.equations.setdefault(units, []).append(form)

    def equal(self, units: Units, a: Form, b: Form) -> None:
        """Demand that two degrees are the same."""
        self.vanish(units, combined((1.0, a), (-1.0, b)))

    def zero(self, values: Iterable[Value]) -> None:
        """Demand that values do not answer to any rescaling."""
        for value in values:
            if not value.loose:
                for (_, units), form in value.degrees.items():
                    self.vanish(units, form)

    def alike(self, values: Sequence[Value], axes: Axes, *, seam: int | None = None) -> Value:
        """Return the value of what is added or chosen among: one degree for all, but along a seam."""
        firm = [value for value in values if not value.loose]
        degrees: dict[Key, Form] = {}
        for key in keys_of(axes):
            if key[0] == seam:
                continue
            forms = [value.form(key) for value in firm]
            for other in forms[1:]:
                self.equal(key[1], forms[0], other)
            if forms:
                degrees[key] = forms[0]
        return Value(axes, degrees, loose=not firm)

    def moved(self, value: Value, axes: Axes, origin: Mapping[int, int]) -> Value:
        """Return a value whose axis ``origin[n]`` became axis n; on axes that left degrees must be 0."""
        degrees: dict[Key, Form] = {}
        for number, units in keys_of(axes):
            if number in origin:
                degrees[number, units] = value.form((origin[number], units))
        kept = set(origin.values())
        for (number, units), form in value.degrees.items():
            if number not in kept and not value.loose:
                self.vanish(units, form)
        return Value(axes, degrees, value.loose)

    def reshaped(self, value: Value, axes: Axes) -> Value:
        """Return a reshaped value: its groups keep their order."""
        before, after = keys_of(value.axes), keys_of(axes)
        degrees: dict[Key, Form] = {}
        for units in dict.fromkeys(units for _, units in after):
            old, new = ([key for key in keys if key[1] is units] for keys in (before, after))
            forms = [value.form(key) for key in old]
            once = all(units_of(a).count(units) < 2 for a in (*value.axes, *axes))
            if len(old) != len(new) or not once:  # which is which is not known: they must be the same
                for form in forms[1:]:
                    self.equal(units, forms[0], form)
                forms = [forms[0] if forms else {}] * len(new)
            degrees.update(zip(new, forms, strict=True))
        return Value(axes, degrees, value.loose)
