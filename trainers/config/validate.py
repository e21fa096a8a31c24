"""Checks of configuration values: every fault is found at once, with its key, and what was expected.

A check takes a value and returns it in its final type, or raises `Invalid` with one or more faults.
A fault is a place below the value (``""``, ``".levels"``, ``"[1].train"``) and a message.
"""

from __future__ import annotations

import copy
import dataclasses
import difflib
import itertools
import math
import numbers
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar, TypeVar

from landscape.errors import ConfigurationError, nearest

T = TypeVar("T")
Check = Callable[[Any], Any]
Fault = tuple[str, str]

NONE = "none"  # TOML has no null
UNKNOWN = "unknown key"
_LARGEST_COUNT = 2**31 - 1  # counters on the device have 32 bits
_NAME_LENGTH = 100
_SHOWN = 60


class Invalid(Exception):
    """One or more faults of a value."""

    def __init__(self, faults: Iterable[Fault]) -> None:
        self.faults = list(faults)
        super().__init__("; ".join(f"{at}: {message}" for at, message in self.faults))


def invalid(expected: str, value: Any) -> Invalid:
    """Return the fault of a value that is not what was expected."""
    return Invalid([("", f"expected {expected}, got {shown(value)}")])


def shown(value: Any) -> str:
    """Return a value as it stands in a message, cut if it is long."""
    text = NONE if value is None else repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def field(default: Any, check: Check) -> Any:
    """Return a dataclass field with a default and a check."""
    if isinstance(default, dict):
        return dataclasses.field(default_factory=lambda: copy.deepcopy(default), metadata={"check": check})
    return dataclasses.field(default=default, metadata={"check": check})


def section(cls: type[Any]) -> dict[str, Any]:
    """Return the metadata of a field that holds a table of another settings class."""
    return {"check": lambda value: build(cls, value), "section": cls}


class Settings:
    """Base of the configuration dataclasses: values are checked and converted when one is built.

    ``EXCLUSIVE`` lists pairs of keys of which a table may hold one.
    """

    EXCLUSIVE: ClassVar[tuple[tuple[str, str], ...]] = ()

    def __post_init__(self) -> None:
        values = {name: getattr(self, name) for name in _checks(type(self))}
        try:
            for name, value in _checked(type(self), values).items():
                object.__setattr__(self, name, value)
            self.settle()
        except Invalid as error:
            raise refusal(type(self).__name__, error, known_keys(type(self))) from None

    @classmethod
    def survey(cls, values: Mapping[str, Any]) -> list[Fault]:
        """Return faults that involve several keys of a table as it was given, each itself valid or not."""
        del values
        return []

    def settle(self) -> None:
        """Check what involves several fields; raises `Invalid`."""


def refusal(where: str, error: Invalid, known: Sequence[str] = ()) -> ConfigurationError:
    """Return the error that lists every fault; unknown keys are answered with the nearest of `known`."""
    problems = tuple(_problem(at.removeprefix("."), message, known) for at, message in error.faults)
    count = f"{len(problems)} problem{'s' if len(problems) != 1 else ''}"
    return ConfigurationError(f"{where}: {count}", problems=problems)


def _problem(key: str, message: str, known: Sequence[str]) -> str:
    if message != UNKNOWN:
        return f"{key or 'configuration'}: {message}"
    section = key.rpartition(".")[0]
    siblings = [leaf for plain, _, leaf in _split(known) if plain == _without_indices(section)]
    near = nearest_key(key, known)
    advice = f"did you mean {near}?" if near else "valid here are " + ", ".join(siblings)
    return f"{key}: {UNKNOWN}; {advice}"


def _without_indices(key: str) -> str:
    return re.sub(r"\[\d+\]", "", key)


def _split(known: Sequence[str]) -> list[tuple[str, str, str]]:
    return [key.rpartition(".") for key in known]


def nearest_key(key: str, known: Sequence[str]) -> str | None:
    """Return the valid key that `key` was most likely meant to be.

    A key of the same name in another section comes first, then a similar name in its own section,
    then a similar one anywhere.
    """
    section, _, leaf = key.rpartition(".")
    same = [full for full, parts in zip(known, _split(known), strict=True) if parts[2] == leaf]
    if same:
        return same[0]
    siblings = [name for plain, _, name in _split(known) if plain == _without_indices(section)]
    if near := difflib.get_close_matches(leaf, siblings, n=1):
        return f"{section}.{near[0]}" if section else near[0]
    anywhere = {parts[2]: full for full, parts in zip(known, _split(known), strict=True)}
    near = difflib.get_close_matches(leaf, anywhere, n=1, cutoff=0.7)
    return anywhere[near[0]] if near else None


def known_keys(cls: type[Any], prefix: str = "") -> list[str]:
    """Return the dotted keys of a settings class and its sections."""
    keys = []
    for item in dataclasses.fields(cls):
        keys.append(f"{prefix}{item.name}")
        section = item.metadata.get("section")
        if section is not None:
            keys += known_keys(section, f"{prefix}{item.name}.")
    return keys


def _checks(cls: type[Any]) -> dict[str, Check]:
    return {item.name: item.metadata["check"] for item in dataclasses.fields(cls)}


def _checked(cls: type[Any], values: Mapping[Any, Any]) -> dict[str, Any]:
    """Return the values of a class's fields in their final types; raises `Invalid` with all faults."""
    checks, found = _checks(cls), {}
    faults: list[Fault] = []
    for key, value in values.items():
        if key not in checks:
            faults.append((f".{key}", UNKNOWN))
            continue
        try:
            found[key] = checks[key](value)
        except Invalid as error:
            faults += [(f".{key}{at}", message) for at, message in error.faults]
    if faults:
        raise Invalid(faults)
    return found


def build(cls: type[T], values: Any) -> T:
    """Return settings of a table of plain values; what is left out has its default.

    Raises
    ------
    Invalid
        With every fault of every key.
    """
    if isinstance(values, cls):
        return values
    mapping(values)
    faults = [
        (f".{first}", f"conflicts with {second}: give one of the two")
        for first, second in getattr(cls, "EXCLUSIVE", ())
        if is_given(values.get(first)) and is_given(values.get(second))
    ]
    found: dict[str, Any] = {}
    try:
        found = _checked(cls, values)
    except Invalid as error:
        faults += error.faults
    faults += getattr(cls, "survey", lambda _: [])(values)
    if faults:
        raise Invalid(faults)
    try:
        return cls(**found)
    except ConfigurationError as error:  # what `settle` found
        parts = (problem.partition(": ") for problem in error.problems)
        raise Invalid((f".{key}", message) for key, _, message in parts) from None


def is_given(value: Any) -> bool:
    """Return whether a value is given: neither None nor the word "none"."""
    return value is not None and value != NONE


def integer(*, low: int = 0, high: int = _LARGEST_COUNT, why: str = "") -> Check:
    """Return a check for whole numbers in a range; `why` explains the bound."""
    wanted = f"a whole number from {low} to {high}" if high != _LARGEST_COUNT else f"a whole number ≥ {low}"
    wanted += f" ({why})" if why else ""

    def check(value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, numbers.Integral):
            raise invalid(wanted, value)
        found = int(value)
        if not low <= found <= high:
            raise invalid(wanted if found < low else f"a whole number ≤ {high}", found)
        return found

    return check


def number(
    *,
    low: float | None = None,
    high: float | None = None,
    above: float | None = None,
    below: float | None = None,
) -> Check:
    """Return a check for finite numbers in a range; whole numbers become floats."""
    bounds = (("≥", low), (">", above), ("≤", high), ("<", below))
    limits = " and ".join(f"{sign} {bound:g}" for sign, bound in bounds if bound is not None)
    wanted = f"a finite number {limits}".rstrip()

    def check(value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, numbers.Real):
            raise invalid(wanted, value)
        try:
            found = float(value)
        except OverflowError:
            raise invalid(wanted, value) from None
        inside = (
            math.isfinite(found)
            and (low is None or found >= low)
            and (high is None or found <= high)
            and (above is None or found > above)
            and (below is None or found < below)
        )
        if not inside:
            raise invalid(wanted, value)
        return found

    return check


def boolean(value: Any) -> bool:
    """Check for true or false."""
    if not isinstance(value, bool):
        raise invalid("true or false", value)
    return value


def text(value: Any) -> str:
    """Check for a non-empty string of printable characters."""
    if not isinstance(value, str) or not value or not value.isprintable():
        raise invalid("a non-empty string of printable characters", value)
    return value


def name(value: Any) -> str:
    """Check for a name that can also be the name of a folder."""
    wanted = f"a name of at most {_NAME_LENGTH} printable characters, no slash, no dot in front"
    usable = isinstance(value, str) and 0 < len(value) <= _NAME_LENGTH and value.isprintable()
    if not usable or "/" in value or value.startswith(".") or value != value.strip():
        raise invalid(wanted, value)
    return str(value)


def one_of(*names: str, refused: Mapping[str, str] | None = None) -> Check:
    """Return a check for one of a few words; `refused` gives the reason against others."""

    def check(value: Any) -> str:
        if isinstance(value, str) and value in (refused or {}):
            raise Invalid([("", f"{value} is not there: {(refused or {})[value]}")])
        if value not in names:
            near = nearest(value, names)
            advice = f" (did you mean {near}?)" if near else ""
            raise invalid("one of " + ", ".join(names) + advice, value)
        return str(value)

    return check


def optional(check: Check) -> Check:
    """Return a check that also accepts nothing: None, or in TOML the word "none"."""
    return lambda value: check(value) if is_given(value) else None


def each(check: Check, wanted: str, *, empty: bool = False) -> Check:
    """Return a check for a list each item of which passes `check`; with at least one, unless `empty`."""

    def whole(value: Any) -> tuple[Any, ...]:
        if not isinstance(value, (list, tuple)) or not (value or empty):
            raise invalid(wanted, value)
        found, faults = [], []
        for index, item in enumerate(value):
            try:
                found.append(check(item))
            except Invalid as error:
                faults += [(f"[{index}]{at}", message) for at, message in error.faults]
        if faults:
            raise Invalid(faults)
        return tuple(found)

    return whole


def distinct(check: Check, *, key: Callable[[Any], Any] = lambda item: item, why: str = "") -> Check:
    """Return `check` for a list, whose items must then differ in `key`."""

    def whole(value: Any) -> tuple[Any, ...]:
        found: tuple[Any, ...] = check(value)
        keys = [key(item) for item in found]
        twice = sorted({item for item in keys if keys.count(item) > 1})
        if twice:
            reason = f" ({why})" if why else ""
            listed = ", ".join(map(str, twice))
            raise Invalid([("", f"expected each one once{reason}, got {listed} more than once")])
        return found

    return whole


def densities(value: Any) -> tuple[float, ...]:
    """Check for densities that start at 1 and fall strictly, all above 0."""
    wanted = "a list of densities that starts at 1.0"
    found: tuple[float, ...] = each(number(above=0.0, high=1.0), wanted)(value)
    if found[0] != 1.0:
        raise invalid(wanted, value)
    rising = [i for i, (a, b) in enumerate(itertools.pairwise(found), start=1) if b >= a]
    if rising:
        raise Invalid((f"[{i}]", f"expected a density < {found[i - 1]:g}, got {found[i]:g}") for i in rising)
    return found


def mapping(value: Any) -> Mapping[str, Any]:
    """Check for a table."""
    if not isinstance(value, Mapping):
        raise invalid("a table", value)
    return value


def table(value: Any) -> dict[str, Any]:
    """Check for a table of strings, numbers, truth values, lists and tables: what TOML and JSON share."""
    faults: list[Fault] = []
    found = _plain(mapping(value), "", faults)
    if faults:
        raise Invalid(faults)
    return dict(found)


def _plain(value: Any, at: str, faults: list[Fault]) -> Any:
    if isinstance(value, Mapping):
        named = {key: item for key, item in value.items() if isinstance(key, str) and _encodes(key)}
        if len(named) != len(value):
            faults.append((at, "expected keys that are strings"))
        return {key: _plain(item, f"{at}.{key}", faults) for key, item in named.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item, f"{at}[{index}]", faults) for index, item in enumerate(value)]
    if isinstance(value, bool) or (isinstance(value, str) and _encodes(value)):
        return value
    if isinstance(value, numbers.Integral):
        return int(value)
    if isinstance(value, numbers.Real) and math.isfinite(value):
        return float(value)
    faults.append((at, f"expected a string, finite number, truth value, list or table, got {shown(value)}"))
    return None


def _encodes(string: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in string)


def plain(value: Any) -> Any:
    """Return `value` with tuples as lists, recursively."""
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, (list, tuple)) else value
