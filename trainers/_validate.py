"""Field checks of the configuration: each says what was expected and what came."""

from __future__ import annotations

import dataclasses
import difflib
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any


class Invalid(Exception):
    """What was expected of a value."""


Check = Callable[[Any], Any]


def field(default: Any, check: Check) -> Any:
    """Return a dataclass field with a default and a check."""
    if isinstance(default, (dict, list)):
        return dataclasses.field(default_factory=lambda: dict(default), metadata={"check": check})
    return dataclasses.field(default=default, metadata={"check": check})


def integer(*, low: int | None = None, high: int | None = None) -> Check:
    """Return a check for whole numbers in a range."""

    def check(value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int):
            raise Invalid("a whole number")
        if (low is not None and value < low) or (high is not None and value > high):
            raise Invalid(f"a whole number {_range(low, high)}")
        return value

    return check


def _range(low: float | None, high: float | None) -> str:
    if low is not None and high is not None:
        return f"from {low} to {high}"
    return f"of at least {low}" if low is not None else f"of at most {high}"


def number(
    *,
    low: float | None = None,
    high: float | None = None,
    above: float | None = None,
    below: float | None = None,
) -> Check:
    """Return a check for finite numbers in a range."""
    bounds = (("at least", low), ("at most", high), ("above", above), ("below", below))
    wanted = "a number " + " and ".join(f"{word} {bound:g}" for word, bound in bounds if bound is not None)

    def check(value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
            raise Invalid("a finite number")
        outside = (
            (low is not None and value < low)
            or (high is not None and value > high)
            or (above is not None and value <= above)
            or (below is not None and value >= below)
        )
        if outside:
            raise Invalid(wanted)
        return float(value)

    return check


def boolean(value: Any) -> bool:
    """Check for true or false."""
    if not isinstance(value, bool):
        raise Invalid("true or false")
    return value


def text(value: Any) -> str:
    """Check for a non-empty string."""
    if not isinstance(value, str) or not value:
        raise Invalid("a non-empty string")
    return value


def mapping(value: Any) -> dict[str, Any]:
    """Check for a table."""
    if not isinstance(value, Mapping):
        raise Invalid("a table")
    return dict(value)


def anything(value: Any) -> Any:
    """Accept any value; it is checked elsewhere."""
    return value


def one_of(*names: str) -> Check:
    """Return a check for one of a few words."""

    def check(value: Any) -> str:
        if value not in names:
            near = difflib.get_close_matches(str(value), names, n=1)
            raise Invalid("one of " + ", ".join(names) + (f" (did you mean {near[0]}?)" if near else ""))
        return str(value)

    return check


def optional(check: Check) -> Check:
    """Return a check that also accepts nothing (None; in TOML the word "none")."""
    return lambda value: None if value is None or value == "none" else check(value)


def densities(value: Any) -> tuple[float, ...]:
    """Check for densities from 1 strictly down, above 0."""
    wanted = "densities from 1.0 strictly down to above 0"
    if not isinstance(value, (list, tuple)) or not value:
        raise Invalid(wanted)
    single = number(above=0.0, high=1.0)
    try:
        found = tuple(single(item) for item in value)
    except Invalid as error:
        raise Invalid(wanted) from error
    if found[0] != 1.0 or any(b >= a for a, b in itertools.pairwise(found)):
        raise Invalid(wanted)
    return found


def methods(trainers: Sequence[str], scores: Sequence[str]) -> Check:
    """Return a check for distinct names ``<trainer>-<score>``."""
    names = [
        f"{trainer}-{score}" for trainer in trainers for score in scores if (trainer, score) != ("gd", "snr")
    ]

    def check(value: Any) -> tuple[str, ...]:
        if not isinstance(value, (list, tuple)) or not value:
            raise Invalid("a list of " + ", ".join(names))
        for item in value:
            if item == "gd-snr":
                raise Invalid(
                    "gd-magnitude or gd-random: gradient descent has no search distribution to score by"
                )
            one_of(*names)(item)
        if len(set(value)) != len(value):
            raise Invalid("each method once")
        return tuple(value)

    return check


def fields(
    cls: type[Any], values: Mapping[str, Any], prefix: str, problems: list[str], *, also: Sequence[str] = ()
) -> dict[str, Any]:
    """Return checked values of a dataclass's fields; what is wrong is added to `problems`."""
    checks = {f.name: f.metadata["check"] for f in dataclasses.fields(cls) if "check" in f.metadata}
    found = {}
    for key, value in values.items():
        if key not in checks:
            near = difflib.get_close_matches(str(key), [*checks, *also], n=1, cutoff=0.5)
            problems.append(
                f"{prefix}{key}: unknown key" + (f"; did you mean {prefix}{near[0]}?" if near else "")
            )
            continue
        try:
            found[key] = checks[key](value)
        except Invalid as error:
            problems.append(f"{prefix}{key}: expected {error}, got {value!r}")
    return found


def plain(value: Any) -> Any:
    """Return `value` with tuples as lists, recursively."""
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value
