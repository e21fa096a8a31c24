"""What the fields of a stored result owe to each other. No jax."""

from __future__ import annotations

import abc
import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

__all__ = ["Alike", "Among", "Filled", "KeysIn", "MismatchError", "OnePer", "Paired", "Relation", "Within"]

_ROUNDING = 1e-5  # relative: sums in another order, and square roots


class MismatchError(ValueError):
    """A stored value that is not what its class declares."""

    def __init__(self, where: str, *, expected: str, got: str) -> None:
        super().__init__(f"{where}: expected {expected}, got {got}")
        self.where, self.expected, self.got = where, expected, got


class Relation(abc.ABC):
    """What fields of one record owe to each other."""

    @abc.abstractmethod
    def check(self, record: Mapping[str, Any], where: str) -> None:
        """Refuse a record.

        Raises
        ------
        MismatchError
            Naming the field.
        """


@dataclasses.dataclass(frozen=True)
class Within(Relation):
    """A value lies in its interval, up to rounding.

    Attributes
    ----------
    value, interval : str
        Names of the two; a path of keys is written with dots, ``{name}`` is the key that a field names.
    scale : str, optional
        Numbers whose size says what rounding is, where the value is a small difference of them.
    """

    value: str
    interval: str
    scale: str | None = None

    def check(self, record: Mapping[str, Any], where: str) -> None:
        """Refuse a value outside its interval."""
        value, ends = _at(record, self.value), _at(record, self.interval)
        if value is None or ends is None:
            return
        number, (low, high) = np.asarray(value, float), np.moveaxis(np.asarray(ends, float), -1, 0)
        slack = _ROUNDING * np.fmax(np.fmax(np.abs(low), np.abs(high)), np.abs(number))
        if self.scale is not None:
            slack = slack + _ROUNDING * _largest(_at(record, self.scale))
        with np.errstate(invalid="ignore"):  # an end that is infinite excludes nothing
            outside = (number < low - slack) | (number > high + slack)
        if outside.any():
            got = f"{np.atleast_1d(number)[np.atleast_1d(outside)][0]:g}"
            ends = np.atleast_2d(np.asarray(ends, float))[np.atleast_1d(outside)][0]
            expected = f"a value within {self.interval}, [{ends[0]:g}, {ends[1]:g}]"
            raise MismatchError(f"{where}{self.value}", expected=expected, got=got)


@dataclasses.dataclass(frozen=True)
class Among(Relation):
    """A number is one of others, where both are there; names as in `Within`."""

    value: str
    numbers: str

    def check(self, record: Mapping[str, Any], where: str) -> None:
        """Refuse a number that is not one of the others."""
        value, numbers = _at(record, self.value), _at(record, self.numbers)
        if value is not None and numbers is not None and float(value) not in np.asarray(numbers, float):
            raise MismatchError(f"{where}{self.value}", expected=f"one of {self.numbers}", got=f"{value:g}")


@dataclasses.dataclass(frozen=True)
class Paired(Relation):
    """Every name with an ending has a twin with another ending."""

    ending: str
    twin: str

    def check(self, record: Mapping[str, Any], where: str) -> None:
        """Refuse a name without its twin."""
        for name in record:
            twin = name.removesuffix(self.ending) + self.twin
            if name.endswith(self.ending) and twin not in record:
                raise MismatchError(f"{where}{twin}", expected=f"a value, as {name} has one", got="none")


@dataclasses.dataclass(frozen=True)
class KeysIn(Relation):
    """A text, or each key of a mapping, is a key of another mapping."""

    name: str
    mapping: str

    def check(self, record: Mapping[str, Any], where: str) -> None:
        """Refuse a key that the other mapping lacks."""
        given, known = record.get(self.name), record.get(self.mapping) or {}
        for key in [given] if isinstance(given, str) else (given or ()):
            if key not in known:
                expected = f"one of {self.mapping}: {', '.join(list(known)[:8]) or 'none'}"
                raise MismatchError(f"{where}{self.name}", expected=expected, got=repr(key[:40]))


@dataclasses.dataclass(frozen=True)
class Filled(Relation):
    """The rows of an array are vectors that fill leaves of the given shapes."""

    rows: str
    shapes: str

    def check(self, record: Mapping[str, Any], where: str) -> None:
        """Refuse another length of the rows."""
        width, filled = (
            np.shape(record[self.rows])[1],
            sum(math.prod(map(int, s)) for s in record[self.shapes]),
        )
        if width != filled:
            expected = f"rows of {filled:,} numbers, as {self.shapes} say"
            raise MismatchError(f"{where}{self.rows}", expected=expected, got=f"{width:,}")


@dataclasses.dataclass(frozen=True)
class OnePer(Relation):
    """A list has as many entries as there are records of which a field has a value."""

    name: str
    records: str
    field: str
    value: str

    def check(self, record: Mapping[str, Any], where: str) -> None:
        """Refuse another number."""
        number = sum(one[self.field] == self.value for one in record.get(self.records) or ())
        if number != len(record[self.name]):
            expected = f"{len(record[self.name])} of {self.field} {self.value!r}, as {self.name} has"
            raise MismatchError(f"{where}{self.records}", expected=expected, got=str(number))


@dataclasses.dataclass(frozen=True)
class Alike(Relation):
    """Two lists hold arrays of the same shapes, one by one."""

    first: str
    second: str

    def check(self, record: Mapping[str, Any], where: str) -> None:
        """Refuse other shapes."""
        first, second = (
            [np.shape(one) for one in record.get(name) or ()] for name in (self.first, self.second)
        )
        if first != second:
            expected = f"the shapes of {self.first}: {str(first)[:60]}"
            raise MismatchError(f"{where}{self.second}", expected=expected, got=str(second)[:60])


def _at(record: Mapping[str, Any], path: str) -> Any:
    found: Any = record
    for part in path.split("."):
        key = record.get(part[1:-1]) if part.startswith("{") else part
        found = found.get(key) if isinstance(found, Mapping) else None
    return found


def _largest(values: Any) -> float:
    """Return the largest finite size of the numbers in nested mappings."""
    if isinstance(values, Mapping):
        return max(map(_largest, values.values()), default=0.0)
    array = np.abs(np.asarray(values, float))
    return float(array.max(initial=0.0, where=np.isfinite(array)))
