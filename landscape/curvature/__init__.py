"""Curvature of a loss: exact products with its matrices, eigenpairs, traces and densities with error bars."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from landscape.curvature._linear import MatrixOperator as MatrixOperator
    from landscape.curvature.alignment import Alignment as Alignment, gradient_alignment as gradient_alignment
    from landscape.curvature.density import (
        SpectralDensity as SpectralDensity,
        spectral_density as spectral_density,
    )
    from landscape.curvature.eigenpairs import Eigenpairs as Eigenpairs, top_eigenpairs as top_eigenpairs
    from landscape.curvature.estimates import (
        Diagonal as Diagonal,
        FrobeniusNorm as FrobeniusNorm,
        Trace as Trace,
    )
    from landscape.curvature.operators import (
        CurvatureOperator as CurvatureOperator,
        fisher as fisher,
        gauss_newton as gauss_newton,
        hessian as hessian,
    )
    from landscape.curvature.scale import ScaleCurvature as ScaleCurvature, scale_curvature as scale_curvature
    from landscape.curvature.stochastic import (
        diagonal as diagonal,
        frobenius_norm as frobenius_norm,
        trace as trace,
    )
    from landscape.curvature.table import CurvatureTable as CurvatureTable, curvature_table as curvature_table

# Resolved when first used: results can be loaded without jax.
_EXPORTS = {
    "Alignment": "alignment",
    "CurvatureOperator": "operators",
    "CurvatureTable": "table",
    "Diagonal": "estimates",
    "Eigenpairs": "eigenpairs",
    "FrobeniusNorm": "estimates",
    "MatrixOperator": "_linear",
    "ScaleCurvature": "scale",
    "SpectralDensity": "density",
    "Trace": "estimates",
    "curvature_table": "table",
    "diagonal": "stochastic",
    "fisher": "operators",
    "frobenius_norm": "stochastic",
    "gauss_newton": "operators",
    "gradient_alignment": "alignment",
    "hessian": "operators",
    "scale_curvature": "scale",
    "spectral_density": "density",
    "top_eigenpairs": "eigenpairs",
    "trace": "stochastic",
}

__all__ = sorted(_EXPORTS)  # noqa: PLE0605  every item is a string


def __getattr__(name: str) -> Any:
    if name in _EXPORTS:
        value = getattr(importlib.import_module(f"landscape.curvature.{_EXPORTS[name]}"), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'landscape.curvature' has no attribute {name!r}")
