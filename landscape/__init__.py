"""Loss landscapes with error bars: connectivity, and the checkpoints and problems it is measured on.

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
    "curvature_table": "landscape.curvature",
    "diagonal": "landscape.curvature",
    "fisher": "landscape.curvature",
    "frobenius_norm": "landscape.curvature",
    "gauss_newton": "landscape.curvature",
    "gradient_alignment": "landscape.curvature",
    "hessian": "landscape.curvature",
    "load": "landscape.checkpoint",
    "load_result": "landscape.results",
    "loss_barrier": "landscape.connectivity",
    "problem_of": "landscape.tasks",
    "save": "landscape.checkpoint",
    "scale_curvature": "landscape.curvature",
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
