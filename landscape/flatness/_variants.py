"""Which keywords of a measure can be set, and the refusal of everything else before work begins."""

from __future__ import annotations

import difflib
import functools
import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from landscape.errors import ConfigurationError
from landscape.results import check_real, check_whole

Compute = Callable[..., Any]

_ELSEWHERE = {"radius": "radii", "radii": "radii", "seed": "seed"}
# Several steps or starts would be the ascent.
_MADE_OF = {"sam": {"steps": "sam_ascent", "starts": "sam_ascent"}}


def settable(name: str, computes: Mapping[str, Compute]) -> dict[str, Any]:
    """Return the keywords of a measure that can be set, with their defaults.

    Left out are those that make it the measure it is, see `defining`.
    """
    taken = defining(name, computes)
    parameters = inspect.signature(computes[name]).parameters
    return {
        key: parameter.default
        for key, parameter in parameters.items()
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY and key not in {*taken, *_ELSEWHERE}
    }


def defining(name: str, computes: Mapping[str, Compute]) -> dict[str, str | None]:
    """Return the keywords that make a measure what it is, with the measure that another value would make.

    They are the words and flags that its recipe fixes (numbers are defaults), and what the recipe of
    another measure fixes of the same function while this one leaves it alone.
    """
    fixed = _fixed(computes[name])
    found: dict[str, str | None] = {key: None for key, value in fixed.items() if not _is_number(value)}
    for other, compute in computes.items():
        if other != name and _function(compute) is _function(computes[name]):
            new = [key for key, value in _fixed(compute).items() if value is not None]
            found |= {key: other for key in new if fixed.get(key) is None and not found.get(key)}
    return found | _MADE_OF.get(name, {})


def _fixed(compute: Compute) -> dict[str, Any]:
    return dict(compute.keywords) if isinstance(compute, functools.partial) else {}


def _function(compute: Compute) -> Compute:
    function: Compute = inspect.unwrap(compute.func if isinstance(compute, functools.partial) else compute)
    return function


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def check_settings(
    settings: Mapping[str, Mapping[str, Any]], names: Sequence[str], computes: Mapping[str, Compute]
) -> dict[str, dict[str, Any]]:
    """Return the settings of every measure, checked.

    Raises
    ------
    ConfigurationError
        With every fault: a measure that is none or not measured, a key that it has not, a value of
        another kind.
    """
    problems = [
        problem for name, own in settings.items() for problem in _faults(name, own, names, computes=computes)
    ]
    if problems:
        raise ConfigurationError(
            "settings: not possible",
            problems=tuple(problems),
            hint="For instance settings={'sam': {'m': 64}}, or --set sam.m=64.",
        )
    return {name: dict(own) for name, own in settings.items()}


def _faults(name: str, own: Any, names: Sequence[str], *, computes: Mapping[str, Compute]) -> Iterable[str]:
    if name not in computes:
        yield f"{name}: there is no such measure{_nearest(name, computes)}"
    elif name not in names:
        yield f"{name}: is not measured, only {', '.join(names)}"
    elif not isinstance(own, Mapping):
        yield f"{name}: expected keys and values, got {own!r}"
    else:
        for key, value in own.items():
            fault = _fault(name, str(key), value, computes=computes)
            if fault:
                yield f"{name}.{key}: {fault}"


def _fault(name: str, key: str, value: Any, *, computes: Mapping[str, Compute]) -> str | None:
    known = settable(name, computes)
    if key in known:
        return _wrong(value, known[key])
    if key in _ELSEWHERE:
        return f"is not set here, but by {_ELSEWHERE[key]} (--{key.replace('radii', 'radius')})"
    taken = defining(name, computes)
    if key in taken:
        other = f": measure {taken[key]}" if taken[key] else ""
        return f"makes the measure what it is{other}"
    listed = f"; it has {', '.join(known)}" if known else "; it has no settings"
    return f"no such key{_nearest(key, known) or listed}"


def _nearest(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {near[0]}?" if near else ""


def _wrong(value: Any, default: Any) -> str | None:
    """Return what is wrong with a value beside the default: its kind, or a number that is not positive."""
    try:
        if isinstance(default, str) and not isinstance(value, str):
            return f"expected a word, got {value!r}"
        if isinstance(default, bool) or value == default or default is None:
            return None
        if isinstance(default, int) or default is inspect.Parameter.empty:
            check_whole("value", value, 1)
        elif isinstance(default, float):
            check_real("value", value)
    except ConfigurationError as error:
        return f"expected {error.expected}, got {value!r}"
    return None


def check_radius(name: str, radius: Any, computes: Mapping[str, Compute]) -> float | list[float]:
    """Return the radius of a measure, or the radii of its curve.

    Raises
    ------
    ConfigurationError
        If one is not a positive number, or the measure has no curve.
    """
    if isinstance(radius, (int, float)) or not isinstance(radius, Iterable) or isinstance(radius, str):
        return check_real(f"radius of {name}", radius)
    values = [check_real(f"radius of {name}", value) for value in radius]
    if "radii" not in inspect.signature(computes[name]).parameters:
        able = [other for other, one in computes.items() if "radii" in inspect.signature(one).parameters]
        raise ConfigurationError(
            f"radii: {name} takes one radius",
            expected="one number; several for " + ", ".join(able),
            got=f"{len(values)} numbers",
        )
    if not values:
        raise ConfigurationError(f"radii: no radius of {name}", expected="at least one number")
    return values


def check_reference(name: str, gamma: float, settings: Mapping[str, Any], compute: Compute) -> None:
    """Refuse a stiffness that is not below its reference, before anything is measured.

    Raises
    ------
    ConfigurationError
        Saying how to set both.
    """
    parameter = inspect.signature(compute).parameters.get("reference")
    if parameter is None:
        return
    reference = settings.get("reference", parameter.default)
    if not reference > gamma:
        raise ConfigurationError(
            f"radius of {name}: γ is not below its reference γ₀",
            expected=f"less than {reference:g}",
            got=f"{gamma:g}",
            hint=f"Raise the reference as well: --set {name}.reference={10 * gamma:g}.",
        )
