"""Sharpness and flatness of minima: every measure with its error, and which rescalings it survives."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from landscape.flatness.entropy import local_entropy as local_entropy
    from landscape.flatness.gaussian import (
        average_sharpness as average_sharpness,
        gaussian_robustness as gaussian_robustness,
        search_sharpness as search_sharpness,
    )
    from landscape.flatness.keskar import keskar_sharpness as keskar_sharpness
    from landscape.flatness.norms import (
        fisher_rao_norm as fisher_rao_norm,
        relative_flatness as relative_flatness,
    )
    from landscape.flatness.pac_bayes import pac_bayes_flatness as pac_bayes_flatness
    from landscape.flatness.results import Flatness as Flatness, FlatnessMeasure as FlatnessMeasure
    from landscape.flatness.spectral import hessian_flatness as hessian_flatness
    from landscape.flatness.table import (
        flatness_table as flatness_table,
        measure_flatness as measure_flatness,
    )
    from landscape.flatness.worst_case import (
        adaptive_sharpness as adaptive_sharpness,
        sam_sharpness as sam_sharpness,
    )

# Resolved when first used: results can be loaded without jax.
_EXPORTS = {
    "Flatness": "results",
    "FlatnessMeasure": "results",
    "adaptive_sharpness": "worst_case",
    "average_sharpness": "gaussian",
    "fisher_rao_norm": "norms",
    "flatness_table": "table",
    "gaussian_robustness": "gaussian",
    "hessian_flatness": "spectral",
    "keskar_sharpness": "keskar",
    "local_entropy": "entropy",
    "measure_flatness": "table",
    "pac_bayes_flatness": "pac_bayes",
    "relative_flatness": "norms",
    "sam_sharpness": "worst_case",
    "search_sharpness": "gaussian",
}

__all__ = sorted(_EXPORTS)  # noqa: PLE0605  every item is a string


def __getattr__(name: str) -> Any:
    if name in _EXPORTS:
        value = getattr(importlib.import_module(f"landscape.flatness.{_EXPORTS[name]}"), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'landscape.flatness' has no attribute {name!r}")
