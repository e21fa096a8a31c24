"""Loss landscapes with error bars: connectivity, curvature, flatness, and what they are measured on.

Importing this package loads neither jax nor plotly: public names are resolved when first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from landscape.checkpoint import Checkpoint as Checkpoint, load as load, save as save
    from landscape.connectivity import Barrier as Barrier, loss_barrier as loss_barrier
    from landscape.curvature import (
        Alignment as Alignment,
        CurvatureOperator as CurvatureOperator,
        CurvatureTable as CurvatureTable,
        Diagonal as Diagonal,
        Eigenpairs as Eigenpairs,
        FrobeniusNorm as FrobeniusNorm,
        MatrixOperator as MatrixOperator,
        ScaleCurvature as ScaleCurvature,
        SpectralDensity as SpectralDensity,
        Trace as Trace,
        curvature_table as curvature_table,
        diagonal as diagonal,
        fisher as fisher,
        frobenius_norm as frobenius_norm,
        gauss_newton as gauss_newton,
        gradient_alignment as gradient_alignment,
        hessian as hessian,
        scale_curvature as scale_curvature,
        spectral_density as spectral_density,
        top_eigenpairs as top_eigenpairs,
        trace as trace,
    )
    from landscape.flatness import (
        Flatness as Flatness,
        FlatnessMeasure as FlatnessMeasure,
        adaptive_sharpness as adaptive_sharpness,
        average_sharpness as average_sharpness,
        fisher_rao_norm as fisher_rao_norm,
        flatness_table as flatness_table,
        gaussian_robustness as gaussian_robustness,
        hessian_flatness as hessian_flatness,
        keskar_sharpness as keskar_sharpness,
        local_entropy as local_entropy,
        measure_flatness as measure_flatness,
        pac_bayes_flatness as pac_bayes_flatness,
        relative_flatness as relative_flatness,
        sam_sharpness as sam_sharpness,
        search_sharpness as search_sharpness,
    )
    from landscape.problem import (
        Metric as Metric,
        Outputs as Outputs,
        Problem as Problem,
        Stream as Stream,
    )
    from landscape.results import Result as Result, load_result as load_result
    from landscape.tasks import problem_of as problem_of

__version__ = "0.1.0"

_EXPORTS = {
    "Alignment": "landscape.curvature",
    "Barrier": "landscape.connectivity",
    "Checkpoint": "landscape.checkpoint",
    "CurvatureOperator": "landscape.curvature",
    "CurvatureTable": "landscape.curvature",
    "Diagonal": "landscape.curvature",
    "Eigenpairs": "landscape.curvature",
    "Flatness": "landscape.flatness",
    "FlatnessMeasure": "landscape.flatness",
    "FrobeniusNorm": "landscape.curvature",
    "MatrixOperator": "landscape.curvature",
    "Metric": "landscape.problem",
    "Outputs": "landscape.problem",
    "Problem": "landscape.problem",
    "Result": "landscape.results",
    "ScaleCurvature": "landscape.curvature",
    "SpectralDensity": "landscape.curvature",
    "Stream": "landscape.problem",
    "Trace": "landscape.curvature",
    "adaptive_sharpness": "landscape.flatness",
    "average_sharpness": "landscape.flatness",
    "curvature_table": "landscape.curvature",
    "diagonal": "landscape.curvature",
    "fisher": "landscape.curvature",
    "fisher_rao_norm": "landscape.flatness",
    "flatness_table": "landscape.flatness",
    "frobenius_norm": "landscape.curvature",
    "gauss_newton": "landscape.curvature",
    "gaussian_robustness": "landscape.flatness",
    "gradient_alignment": "landscape.curvature",
    "hessian": "landscape.curvature",
    "hessian_flatness": "landscape.flatness",
    "keskar_sharpness": "landscape.flatness",
    "load": "landscape.checkpoint",
    "load_result": "landscape.results",
    "local_entropy": "landscape.flatness",
    "loss_barrier": "landscape.connectivity",
    "measure_flatness": "landscape.flatness",
    "pac_bayes_flatness": "landscape.flatness",
    "problem_of": "landscape.tasks",
    "relative_flatness": "landscape.flatness",
    "sam_sharpness": "landscape.flatness",
    "save": "landscape.checkpoint",
    "scale_curvature": "landscape.curvature",
    "search_sharpness": "landscape.flatness",
    "spectral_density": "landscape.curvature",
    "top_eigenpairs": "landscape.curvature",
    "trace": "landscape.curvature",
}

__all__ = sorted(("errors", *_EXPORTS))  # noqa: PLE0605  every item is a string


def __getattr__(name: str) -> Any:
    if name == "errors":
        return importlib.import_module("landscape.errors")
    if name in _EXPORTS:
        value = getattr(importlib.import_module(_EXPORTS[name]), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'landscape' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
