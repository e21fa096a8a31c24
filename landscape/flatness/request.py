"""Which measures are asked for, with their radii and settings: checked before anything is measured."""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from landscape.errors import ConfigurationError, did_you_mean, nearest
from landscape.flatness.neighbourhood import Neighbourhood
from landscape.flatness.register import GROUPS, MEASURES, SYNONYMS, cost_of, measures_of, needs_slopes
from landscape.flatness.results import FlatnessMeasure
from landscape.network import Cost
from landscape.problem import Problem, require_gradient
from landscape.results import check_real, check_seed, check_whole

Compute = Callable[..., Any]
Radius = float | Sequence[float]


@dataclasses.dataclass(frozen=True)
class Request:
    """What to measure, checked.

    Attributes
    ----------
    measures : tuple of str
        Names of the register.
    chosen : frozenset of str
        Those asked for by name: that one is impossible at a network is then an error.
    radii, draws, seed, settings
        As for `measure_flatness`.
    """

    measures: tuple[str, ...]
    chosen: frozenset[str]
    radii: Mapping[str, float | list[float]]
    draws: int | None
    seed: int
    settings: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)

    @classmethod
    def of(
        cls,
        measures: str | Sequence[str] | None,
        *,
        radii: Mapping[str, Radius] | None,
        draws: int | None,
        seed: int,
        settings: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> Request:
        """Check names, radii, draws and settings."""
        radii, settings = _by_first_name(radii or {}), _by_first_name(settings or {})
        names, chosen = _expanded(measures, own=[*radii, *settings])
        if draws is not None:
            check_whole("draws", draws, 2)
        _check_known(radii)
        known = _radii(radii, names)
        own = check_settings(settings, names, _computes())
        request = cls(names, chosen, known, draws, check_seed(seed), own)
        for name in {*known, *own}:
            request.check(name)
        return request

    def radius(self, name: str) -> float | None:
        """Return the radius of a measure, or None if it has none: the first of several."""
        radius = self.radii.get(name, MEASURES[name].radius)
        return radius[0] if isinstance(radius, list) else radius

    def check(self, name: str) -> None:
        """Refuse a radius and settings that exclude each other."""
        radius = self.radius(name)
        if radius is not None:
            check_reference(name, radius, self.settings.get(name, {}), MEASURES[name].compute)

    def check_slopes(self, problem: Problem) -> None:
        """Refuse a measure that was asked for by name and takes derivatives that the loss does not have.

        Raises
        ------
        ProblemError
            Naming what can be measured instead.
        """
        for name in self.measures:
            if name in self.chosen and needs_slopes(name):
                require_gradient(problem, name, instead=", ".join(filter(_is_free, MEASURES)))

    def compute(self, around: Neighbourhood, name: str) -> FlatnessMeasure:
        """Measure one by name."""
        entry = MEASURES[name]
        keywords: dict[str, Any] = {"seed": self.seed}
        if entry.radius is not None:
            keywords["radius"] = self.radius(name)
        if isinstance(self.radii.get(name), list):
            keywords["radii"] = self.radii[name]
        if entry.draws:
            keywords["draws"] = self.draws or 32
        found: FlatnessMeasure = entry.compute(around, **{**keywords, **self.settings.get(name, {})})
        return found

    def cost(self, name: str, dim: int) -> Cost:
        """Return what a measure costs at a network with `dim` free parameters."""
        if name == "mean_eigenvalue" and "trace" in self.measures:
            return Cost()  # they share their products
        given: dict[str, Any] = {"dim": dim, "radius": self.radius(name), **self.settings.get(name, {})}
        radii = self.radii.get(name)
        if isinstance(radii, list):
            given["num_radii"] = len(radii)
        if MEASURES[name].draws and self.draws:
            given.setdefault("draws", self.draws)
        return cost_of(name, given)


def _is_free(measure: str) -> bool:
    return not needs_slopes(measure) and MEASURES[measure].needs != "outputs"


def _by_first_name(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings by the name that a measure has here; synonyms of one measure may not differ."""
    found: dict[str, Any] = {}
    for name, value in given.items():
        known = SYNONYMS.get(name, name)
        if known in found and found[known] != value:
            raise ConfigurationError(
                f"{name}: is {known} under another name, and has other settings",
                expected=f"{found[known]!r}",
                got=f"{value!r}",
            )
        found[known] = value
    return found


def _expanded(
    measures: str | Sequence[str] | None, *, own: Sequence[str]
) -> tuple[tuple[str, ...], frozenset[str]]:
    """Return the measures of a list of names and groups, and which of them were given by name."""
    if measures is None:  # what has settings of its own is wanted
        measures = ["standard", *(name for name in own if name in MEASURES)]
    asked = [measures] if isinstance(measures, str) else measures
    found: dict[str, None] = {}
    chosen = set()
    for name in asked:
        if name in GROUPS:
            found |= dict.fromkeys(measures_of(name))
            continue
        known = SYNONYMS.get(name, name)
        _check_known([known])
        found[known] = None
        chosen.add(known)
    if not found:
        raise ConfigurationError("measures: nothing to measure", expected="at least one name")
    return tuple(found), frozenset(chosen)


def _check_known(names: Iterable[str]) -> None:
    for name in names:
        if name not in MEASURES:
            raise ConfigurationError(
                f"measures: there is no measure {name!r}",
                expected=f"a group ({', '.join(GROUPS)}) or a name: " + ", ".join(MEASURES),
                hint=did_you_mean(name, [*MEASURES, *SYNONYMS, *GROUPS]),
            )


def _computes() -> dict[str, Callable[..., FlatnessMeasure]]:
    return {name: entry.compute for name, entry in MEASURES.items()}


def _radii(given: Mapping[str, Radius], names: Sequence[str]) -> dict[str, float | list[float]]:
    """Return the radii, checked."""
    for name in given:
        if MEASURES[name].radius is None or name not in names:
            raise ConfigurationError(
                f"radii: {name} takes no radius" if name in names else f"radii: {name} is not measured",
                expected=", ".join(n for n in names if MEASURES[n].radius is not None),
            )
    return {name: check_radius(name, radius, _computes()) for name, radius in given.items()}


def measures_with_radius(names: Sequence[str]) -> list[str]:
    """Return those of the measures that take a radius."""
    return [name for name in names if MEASURES[name].radius is not None]


_ELSEWHERE = {"radius": "radii", "radii": "radii", "seed": "seed"}
# Several steps or starts would be the ascent; logits with a temperature, another function.
_MADE_OF = {
    "sam": {"steps": "sam_ascent", "starts": "sam_ascent"},
    "gaussian": {"temperature": "average_normalised"},
    "gaussian_relative": {"temperature": "average_normalised"},
}


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
        With every fault: an unknown measure or one that is not measured, an unknown key, a value of the
        wrong kind.
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
    near = nearest(name, known)
    return f"; did you mean {near}?" if near else ""


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
