"""The measures by name: what each is, and which rescalings of a ReLU network leave it unchanged. No jax."""

from __future__ import annotations

import dataclasses

__all__ = ["MEASURES", "Entry", "invariances", "title_of"]


@dataclasses.dataclass(frozen=True)
class Entry:
    """One measure.

    Attributes
    ----------
    title : str
        For tables and axes.
    family : str
        ``"gaussian"``, ``"worst-case"``, ``"pac-bayes"``, ``"norm"``, ``"entropy"`` or ``"hessian"``.
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
    flat: int = -1
    layer_wise: bool = False
    neuron_wise: bool = False
    counterpart: str | None = None


def _invariant(title: str, family: str) -> Entry:
    return Entry(title, family, layer_wise=True, neuron_wise=True)


MEASURES: dict[str, Entry] = {
    "gaussian": Entry("Gaussian robustness", "gaussian", counterpart="gaussian_relative"),
    "gaussian_relative": _invariant("Gaussian robustness, relative to |θ|", "gaussian"),
    "gaussian_filter": Entry("Gaussian robustness, relative to filters", "gaussian", layer_wise=True),
    "average": Entry("average-case sharpness", "gaussian", counterpart="average_adaptive"),
    "average_adaptive": _invariant("average-case sharpness, adaptive", "gaussian"),
    "average_normalised": _invariant("average-case sharpness, adaptive, normalised logits", "gaussian"),
    "search": Entry("search-distribution sharpness", "gaussian"),
    "keskar": Entry("ε-sharpness", "worst-case", counterpart="adaptive_linf"),
    "keskar_subspace": Entry("ε-sharpness in a random subspace", "worst-case", counterpart="adaptive_linf"),
    "sam": Entry("m-sharpness, first order", "worst-case", counterpart="adaptive_l2"),
    "sam_ascent": Entry("m-sharpness, ascent", "worst-case", counterpart="adaptive_l2"),
    "adaptive_l2": _invariant("adaptive worst-case sharpness, ℓ2", "worst-case"),
    "adaptive_linf": _invariant("adaptive worst-case sharpness, ℓ∞", "worst-case"),
    "adaptive_normalised": _invariant("adaptive worst-case sharpness, ℓ∞, normalised logits", "worst-case"),
    "adaptive_l2_normalised": _invariant(
        "adaptive worst-case sharpness, ℓ2, normalised logits", "worst-case"
    ),
    "pac_bayes": Entry("PAC-Bayes 1/σ²", "pac-bayes", counterpart="pac_bayes_magnitude"),
    "pac_bayes_magnitude": Entry("PAC-Bayes 1/σ′², magnitude-aware", "pac-bayes"),
    "pac_bayes_sharpness": Entry(
        "PAC-Bayes worst case 1/α²", "pac-bayes", counterpart="pac_bayes_sharpness_magnitude"
    ),
    "pac_bayes_sharpness_magnitude": Entry("PAC-Bayes worst case 1/α′², magnitude-aware", "pac-bayes"),
    "relative_flatness": Entry("relative flatness, summed over layers", "norm", layer_wise=True),
    "relative_flatness_normalised": _invariant("relative flatness, normalised features", "norm"),
    "fisher_rao": _invariant("Fisher-Rao norm, squared", "norm"),
    "fisher_rao_model": _invariant("Fisher-Rao norm, squared, labels of the model", "norm"),
    "local_entropy": Entry("local entropy against a reference", "entropy", flat=1),
    "local_entropy_gaussian": Entry("local entropy, Gaussian", "entropy", flat=1),
    "top_eigenvalue": Entry("top Hessian eigenvalue", "hessian", counterpart="relative_flatness"),
    "trace": Entry("Hessian trace", "hessian", counterpart="relative_flatness"),
    "mean_eigenvalue": Entry("Hessian trace / n", "hessian", counterpart="relative_flatness"),
}


def title_of(measure: str) -> str:
    """Return how figures and tables call a measure."""
    return MEASURES[measure].title if measure in MEASURES else measure.replace("_", " ")


def invariances() -> list[dict[str, object]]:
    """Return the table of which rescalings leave which measure unchanged, one row a measure."""
    return [
        {
            "measure": name,
            "title": entry.title,
            "layer_wise": entry.layer_wise,
            "neuron_wise": entry.neuron_wise,
        }
        for name, entry in MEASURES.items()
    ]
