"""Which measures are asked for, and how each is computed."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from landscape.errors import ConfigurationError
from landscape.flatness import entropy, gaussian, keskar, norms, pac_bayes, spectral, worst_case
from landscape.flatness._surroundings import Surroundings
from landscape.flatness._variants import check_radius, check_reference, check_settings
from landscape.flatness.catalogue import MEASURES
from landscape.flatness.results import FlatnessMeasure
from landscape.results import check_seed, check_whole


@dataclasses.dataclass(frozen=True)
class _Recipe:
    """How a measure is computed: a function of the surroundings, its radius, and whether it draws pairs."""

    compute: Callable[..., FlatnessMeasure]
    radius: float | None = None
    draws: bool = False


def _recipe(function: Callable[..., FlatnessMeasure], **fixed: Any) -> Callable[..., FlatnessMeasure]:
    return functools.partial(function, **fixed)


def _without_seed(function: Callable[..., FlatnessMeasure]) -> Callable[..., FlatnessMeasure]:
    """Return an exact measure as one that takes the seed it does not need."""

    @functools.wraps(function)  # its keywords can be set
    def compute(around: Surroundings, *, seed: int, **settings: Any) -> FlatnessMeasure:
        del seed
        return function(around, **settings)

    return compute


def _noise(function: Callable[..., FlatnessMeasure], radius: float, **fixed: Any) -> _Recipe:
    return _Recipe(_recipe(function, **fixed), radius, draws=True)


_RECIPES: dict[str, _Recipe] = {
    "gaussian": _noise(gaussian.gaussian_of, 0.05, scale="absolute"),
    "gaussian_relative": _noise(gaussian.gaussian_of, 0.25, scale="weights"),
    "gaussian_filter": _noise(gaussian.gaussian_of, 0.25, scale="filter"),
    "average": _noise(gaussian.average_of, 0.05, adaptive=False, temperature=None),
    "average_adaptive": _noise(gaussian.average_of, 0.25, adaptive=True, temperature=None),
    "average_normalised": _noise(gaussian.average_of, 0.25, adaptive=True, temperature=1.0),
    "search": _noise(gaussian.search_of, 1.0),
    "keskar": _Recipe(keskar.keskar_of, 1e-3),
    "keskar_subspace": _Recipe(_recipe(keskar.keskar_of, subspace=100), 1e-3),
    "sam": _Recipe(_recipe(worst_case.sam_of, steps=1, starts=1), 0.05),
    "sam_ascent": _Recipe(_recipe(worst_case.sam_of, steps=20, starts=2), 0.05),
    "adaptive_l2": _Recipe(_recipe(worst_case.adaptive_of, norm="l2"), worst_case.ADAPTIVE_RADII["l2"]),
    "adaptive_linf": _Recipe(_recipe(worst_case.adaptive_of, norm="linf"), worst_case.ADAPTIVE_RADII["linf"]),
    "adaptive_normalised": _Recipe(
        _recipe(worst_case.adaptive_of, norm="linf", temperature=1.0), worst_case.ADAPTIVE_RADII["linf"]
    ),
    "adaptive_l2_normalised": _Recipe(
        _recipe(worst_case.adaptive_of, norm="l2", temperature=1.0), worst_case.ADAPTIVE_RADII["l2"]
    ),
    "pac_bayes": _Recipe(_recipe(pac_bayes.pac_bayes_of, magnitude=False)),
    "pac_bayes_magnitude": _Recipe(_recipe(pac_bayes.pac_bayes_of, magnitude=True)),
    "pac_bayes_sharpness": _Recipe(_recipe(pac_bayes.sharpness_of, magnitude=False)),
    "pac_bayes_sharpness_magnitude": _Recipe(_recipe(pac_bayes.sharpness_of, magnitude=True)),
    "relative_flatness": _Recipe(norms.relative_of),
    "relative_flatness_normalised": _Recipe(_recipe(norms.relative_of, feature_std="measured")),
    "fisher_rao": _Recipe(_without_seed(norms.fisher_rao_of)),
    "fisher_rao_model": _Recipe(_without_seed(_recipe(norms.fisher_rao_of, labels="model"))),
    "local_entropy": _Recipe(_recipe(entropy.entropy_of, reference=1e4), 100.0),
    "local_entropy_gaussian": _Recipe(_recipe(entropy.gaussian_entropy_of, reference=1e4), 100.0),
    **{name: _Recipe(_recipe(spectral.hessian_of, summary=name)) for name in spectral.SUMMARIES},
}


Radius = float | Sequence[float]


@dataclasses.dataclass(frozen=True)
class Plan:
    """What to measure, checked."""

    measures: tuple[str, ...]
    chosen: bool
    radii: Mapping[str, float | list[float]]
    draws: int | None
    seed: int
    settings: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)

    @classmethod
    def of(
        cls,
        measures: Sequence[str] | None,
        *,
        radii: Mapping[str, Radius] | None,
        draws: int | None,
        seed: int,
        settings: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> Plan:
        """Check names, radii, draws and settings."""
        asked = [measures] if isinstance(measures, str) else measures
        names = tuple(MEASURES) if asked is None else tuple(dict.fromkeys(asked))
        for name in (*names, *(radii or {})):
            if name not in MEASURES:
                raise ConfigurationError(
                    f"measures: {name!r} is none", expected="one of " + ", ".join(MEASURES)
                )
        if not names:
            raise ConfigurationError("measures: nothing to measure", expected="at least one name")
        if draws is not None:
            check_whole("draws", draws, 2)
        chosen = _radii(radii or {}, names)
        own = check_settings(settings or {}, names, _computes())
        plan = cls(names, measures is not None, chosen, draws, check_seed(seed), own)
        for name in {*chosen, *own}:
            plan.check(name)
        return plan

    def radius(self, name: str) -> float | None:
        """Return the radius of a measure, or None if it has none: the first of several."""
        radius = self.radii.get(name, _RECIPES[name].radius)
        return radius[0] if isinstance(radius, list) else radius

    def check(self, name: str) -> None:
        """Refuse a radius and settings that exclude each other."""
        radius = self.radius(name)
        if radius is not None:
            check_reference(name, radius, self.settings.get(name, {}), _RECIPES[name].compute)

    def compute(self, around: Surroundings, name: str) -> FlatnessMeasure:
        """Measure one by name."""
        recipe = _RECIPES[name]
        keywords: dict[str, Any] = {"seed": self.seed}
        if recipe.radius is not None:
            keywords["radius"] = self.radius(name)
        if isinstance(self.radii.get(name), list):
            keywords["radii"] = self.radii[name]
        if recipe.draws:
            keywords["draws"] = self.draws or 32
        return recipe.compute(around, **{**keywords, **self.settings.get(name, {})})


def _computes() -> dict[str, Callable[..., FlatnessMeasure]]:
    return {name: recipe.compute for name, recipe in _RECIPES.items()}


def _radii(given: Mapping[str, Radius], names: Sequence[str]) -> dict[str, float | list[float]]:
    """Return the radii, checked."""
    for name in given:
        if _RECIPES[name].radius is None or name not in names:
            raise ConfigurationError(
                f"radii: {name} takes no radius" if name in names else f"radii: {name} is not measured",
                expected=", ".join(n for n in names if _RECIPES[n].radius is not None),
            )
    return {name: check_radius(name, radius, _computes()) for name, radius in given.items()}


def measures_with_radius(names: Sequence[str]) -> list[str]:
    """Return those of the measures that take a radius."""
    return [name for name in names if _RECIPES[name].radius is not None]
