"""The measures by name: definition, function, cost, and the rescalings that leave them unchanged. No jax.

To add a measure: one module (or a function in the module of its family) and one line of `MEASURES`.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
from collections.abc import Callable, Mapping
from typing import Any

from landscape.flatness import costs
from landscape.flatness.costs import Costing
from landscape.network import Cost

__all__ = [
    "GROUPS",
    "MEASURES",
    "SYNONYMS",
    "Entry",
    "invariances",
    "measures_of",
    "needs_slopes",
    "title_of",
]

GROUPS = ("quick", "standard", "all")
# What a measure may need beside a loss and a network, and how it is given.
NEEDS = {
    "outputs": "Problem(outputs=Outputs(model, loss))",
    "likelihood": "Problem(outputs=Outputs(model, loss, likelihood=…))",
    "accuracy": "Problem(metrics={'accuracy': Metric(fn, higher_is_better=True)}), or a metric with a span",
    "features": "Problem(features=…)",
    "std": "a checkpoint of an evolution strategy, with std",
    "kernels": "a network with kernels",
}
# Another name in the literature for the same number, which is computed once: the average-case sharpness of
# Andriushchenko et al. 2023 (arXiv:2302.07011) is Gaussian robustness, whose noise is absolute or relative.
SYNONYMS = {"average": "gaussian", "average_adaptive": "gaussian_relative"}
_SYNONYM_TITLES = {
    "average": "average-case sharpness",
    "average_adaptive": "average-case sharpness, adaptive",
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Entry:
    """One measure.

    Attributes
    ----------
    title : str
        For tables and axes.
    family : str
        ``"gaussian"``, ``"worst-case"``, ``"pac-bayes"``, ``"norm"``, ``"entropy"`` or ``"hessian"``.
    function : str
        ``"module:function"`` of this room, which takes a `Neighbourhood` and keywords.
    fixed : mapping
        Keywords that make it this measure, and defaults of its own.
    radius : float or None
        The default radius; None if it has none.
    draws : bool
        Whether it draws mirrored pairs, so that `draws` is one of its keywords.
    cost : callable
        Returns its `Cost` with given settings.
    needs : str
        What the problem or the network must have, a key of `NEEDS`; empty for nothing.
    group : {"quick", "standard", "all"}
        The smallest group that it is in.
    flat : int
        -1 if a larger value means sharper, +1 if flatter.
    layer_wise, neuron_wise : bool
        Whether rescaling a layer by α and the next one by 1/α, or a single unit likewise, leaves the
        measure of a ReLU network unchanged (Dinh et al. 2017, arXiv:1703.04933).
    counterpart : str or None
        The scale-relative measure that a raw one is shown beside; one may serve several.
    """

    title: str
    family: str
    function: str
    cost: Costing
    fixed: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    radius: float | None = None
    draws: bool = False
    needs: str = ""
    group: str = "all"
    flat: int = -1
    layer_wise: bool = False
    neuron_wise: bool = False
    counterpart: str | None = None

    @functools.cached_property
    def compute(self) -> Callable[..., Any]:
        """The function that measures, with what makes it this measure; loads jax."""
        module, name = self.function.split(":")
        function = getattr(importlib.import_module(f"landscape.flatness.{module}"), name)
        return functools.partial(function, **self.fixed)


def _invariant(title: str, family: str, function: str, cost: Costing, **more: Any) -> Entry:
    """Return a measure that no rescaling of units changes."""
    more = {"layer_wise": True, "neuron_wise": True, **more}
    return Entry(title=title, family=family, function=function, cost=cost, **more)


def _noise(title: str, scale: str, radius: float, **more: Any) -> Entry:
    """Return a mean rise under Gaussian noise of a scale."""
    more = {"fixed": {"scale": scale}, "radius": radius, "draws": True, **more}
    return Entry(title=title, family="gaussian", function="gaussian:gaussian_of", cost=costs.of_curve, **more)


def _ascent(title: str, norm: str, **more: Any) -> Entry:
    """Return a scale-relative worst case within a ball of a norm, by ascent."""
    fixed = {"norm": norm, "steps": 20, "starts": 2, **more.pop("fixed", {})}
    more = {"radius": ADAPTIVE_RADII[norm], "fixed": fixed, **more}
    return _invariant(title, "worst-case", "worst_case:adaptive_of", costs.of_ascents, **more)


def _worst(title: str, function: str, cost: Costing, radius: float, **more: Any) -> Entry:
    return Entry(title=title, family="worst-case", function=function, cost=cost, radius=radius, **more)


def _bayes(title: str, *, magnitude: bool, worst: bool = False, **more: Any) -> Entry:
    fixed = {"steps": 10, "starts": 2} if worst else {"draws": 16}
    function, cost = (
        ("sharpness_of", costs.of_box_search) if worst else ("pac_bayes_of", costs.of_noise_search)
    )
    fixed |= {"magnitude": magnitude}
    return Entry(
        title=title,
        family="pac-bayes",
        function=f"pac_bayes:{function}",
        cost=cost,
        fixed=fixed,
        needs="accuracy",
        **more,
    )


def _entropy(title: str, function: str, cost: Costing, **fixed: Any) -> Entry:
    fixed = {"reference": 1e4, **fixed}
    return Entry(
        title=title, family="entropy", function=function, cost=cost, fixed=fixed, radius=100.0, flat=1
    )


def _hessian(title: str, summary: str, cost: Costing) -> Entry:
    return Entry(
        title=title,
        family="hessian",
        function="spectral:hessian_of",
        cost=cost,
        fixed={"summary": summary},
        counterpart="relative_flatness",
    )


ADAPTIVE_RADII = {"l2": 0.5, "linf": 0.005}
_AVERAGE = {"adaptive": True, "temperature": 1.0}
_SUBSPACE = {"subspace": 100, "subspaces": 4, "steps": 20, "starts": 3}
_PER_DRAW = {"draws": 64}

MEASURES: dict[str, Entry] = {
    "gaussian": _noise("Gaussian robustness", "absolute", 0.05, counterpart="gaussian_relative"),
    "gaussian_relative": _noise(
        "Gaussian robustness, relative to |θ|",
        "weights",
        0.25,
        group="standard",
        layer_wise=True,
        neuron_wise=True,
    ),
    "gaussian_filter": _noise("Gaussian robustness, relative to filters", "filter", 0.25, layer_wise=True),
    "average_normalised": _invariant(
        "average-case sharpness, adaptive, normalised logits",
        "gaussian",
        "gaussian:average_of",
        costs.of_draws,
        fixed=_AVERAGE,
        needs="outputs",
        radius=0.25,
        draws=True,
        group="quick",
    ),
    "search": Entry(
        title="search-distribution sharpness",
        family="gaussian",
        function="gaussian:search_of",
        needs="std",
        cost=costs.of_curve,
        radius=1.0,
        draws=True,
    ),
    "keskar": _worst(
        "ε-sharpness",
        "keskar:keskar_of",
        costs.of_ascents,
        1e-3,
        fixed={"steps": 20, "starts": 3},
        counterpart="adaptive_linf",
    ),
    "keskar_subspace": _worst(
        "ε-sharpness in a random subspace",
        "keskar:keskar_of",
        costs.of_subspaces,
        1e-3,
        fixed=_SUBSPACE,
        counterpart="adaptive_linf",
    ),
    "sam": _worst(
        "m-sharpness, first order",
        "worst_case:sam_of",
        costs.of_ascents,
        0.05,
        fixed={"steps": 1, "starts": 1},
        group="quick",
        counterpart="adaptive_l2",
    ),
    "sam_ascent": _worst(
        "m-sharpness, ascent",
        "worst_case:sam_of",
        costs.of_ascents,
        0.05,
        fixed={"steps": 20, "starts": 2},
        counterpart="adaptive_l2",
    ),
    "adaptive_l2": _ascent("adaptive worst-case sharpness, ℓ2", "l2", group="standard"),
    "adaptive_linf": _ascent("adaptive worst-case sharpness, ℓ∞", "linf", group="standard"),
    "adaptive_normalised": _ascent(
        "adaptive worst-case sharpness, ℓ∞, normalised logits",
        "linf",
        fixed={"temperature": 1.0},
        needs="outputs",
    ),
    "adaptive_l2_normalised": _ascent(
        "adaptive worst-case sharpness, ℓ2, normalised logits",
        "l2",
        fixed={"temperature": 1.0},
        needs="outputs",
    ),
    "pac_bayes": _bayes("PAC-Bayes 1/σ²", magnitude=False, counterpart="pac_bayes_magnitude"),
    "pac_bayes_magnitude": _bayes("PAC-Bayes 1/σ′², magnitude-aware", magnitude=True),
    "pac_bayes_sharpness": _bayes(
        "PAC-Bayes worst case 1/α²", magnitude=False, worst=True, counterpart="pac_bayes_sharpness_magnitude"
    ),
    "pac_bayes_sharpness_magnitude": _bayes(
        "PAC-Bayes worst case 1/α′², magnitude-aware", magnitude=True, worst=True
    ),
    "relative_flatness": Entry(
        title="relative flatness, summed over layers",
        family="norm",
        function="norms:relative_of",
        needs="kernels",
        cost=costs.of_products,
        fixed=_PER_DRAW,
        layer_wise=True,
    ),
    "relative_flatness_normalised": _invariant(
        "relative flatness, normalised features",
        "norm",
        "norms:relative_of",
        costs.of_products,
        fixed={"feature_std": "measured", **_PER_DRAW},
        needs="features",
    ),
    "fisher_rao": _invariant(
        "Fisher-Rao norm, squared", "norm", "norms:fisher_rao_of", costs.of_one_product, group="quick"
    ),
    "fisher_rao_model": _invariant(
        "Fisher-Rao norm, squared, labels of the model",
        "norm",
        "norms:fisher_rao_of",
        costs.of_one_product,
        fixed={"labels": "model"},
        needs="likelihood",
        group="quick",
    ),
    "local_entropy": _entropy(
        "local entropy against a reference", "entropy:entropy_of", costs.of_chains, chains=4, samples=40
    ),
    "local_entropy_gaussian": _entropy(
        "local entropy, Gaussian", "entropy:gaussian_entropy_of", costs.of_quadrature, probes=10
    ),
    "top_eigenvalue": _hessian("top Hessian eigenvalue", "top_eigenvalue", costs.of_eigenpair),
    "trace": _hessian("Hessian trace", "trace", costs.of_trace),
    "mean_eigenvalue": _hessian("Hessian trace / n", "mean_eigenvalue", costs.of_trace),
}


def measures_of(group: str) -> tuple[str, ...]:
    """Return the measures of a group: every group holds the smaller ones."""
    size = GROUPS.index(group)
    return tuple(name for name, entry in MEASURES.items() if GROUPS.index(entry.group) <= size)


def needs_slopes(measure: str) -> bool:
    """Return whether a measure takes derivatives of the loss."""
    cost = cost_of(measure)
    return cost.gradients > 0 or cost.products > 0


def cost_of(measure: str, settings: Mapping[str, Any] | None = None) -> Cost:
    """Return what a measure costs at one network, with these settings instead of its own."""
    entry = MEASURES[measure]
    drawn = {"draws": 32} if entry.draws else {}
    return entry.cost({"radius": entry.radius, **drawn, **entry.fixed, **(settings or {})})


def title_of(measure: str) -> str:
    """Return how figures and tables call a measure."""
    if measure in _SYNONYM_TITLES:
        return _SYNONYM_TITLES[measure]
    return MEASURES[measure].title if measure in MEASURES else measure.replace("_", " ")


def invariances() -> list[dict[str, object]]:
    """Return the catalogue: which rescalings leave which measure unchanged, its group and its cost."""
    return [
        {
            "measure": name,
            "title": entry.title,
            "layer_wise": entry.layer_wise,
            "neuron_wise": entry.neuron_wise,
            "group": entry.group,
            "cost": {
                key: getattr(cost_of(name), key) for key in ("passes", "gradients", "products", "vectors")
            },
            "also_called": [other for other, same in SYNONYMS.items() if same == name],
        }
        for name, entry in MEASURES.items()
    ]
