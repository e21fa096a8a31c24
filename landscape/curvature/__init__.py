"""Curvature of a loss: exact products with its matrices, eigenpairs, traces and densities with error bars."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from landscape.curvature._linear import MatrixOperator as MatrixOperator
    from landscape.curvature.operators import (
        CurvatureOperator as CurvatureOperator,
        fisher as fisher,
        gauss_newton as gauss_newton,
        hessian as hessian,
    )

# Resolved when first used: results can be loaded without jax.
_EXPORTS = {
    "CurvatureOperator": "operators",
    "MatrixOperator": "_linear",
    "fisher": "operators",
    "gauss_newton": "operators",
    "hessian": "operators",
}

__all__ = sorted(_EXPORTS)  # noqa: PLE0605  every item is a string


def __getattr__(name: str) -> Any:
    if name in _EXPORTS:
        value = getattr(importlib.import_module(f"landscape.curvature.{_EXPORTS[name]}"), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'landscape.curvature' has no attribute {name!r}")
