"""Curvature of a loss: exact products with its matrices, eigenpairs, traces and densities with error bars."""

from __future__ import annotations

from typing import TYPE_CHECKING

from landscape.lazy import lazy_names

if TYPE_CHECKING:
    from landscape.curvature.alignment import (
        Alignment as Alignment,
        gradient_alignment as gradient_alignment,
    )
    from landscape.curvature.cost import (
        curvature_cost as curvature_cost,
        smoothed_cost as smoothed_cost,
    )
    from landscape.curvature.density import (
        SpectralDensity as SpectralDensity,
        spectral_density as spectral_density,
    )
    from landscape.curvature.eigenpairs import (
        Eigenpairs as Eigenpairs,
        top_eigenpairs as top_eigenpairs,
    )
    from landscape.curvature.estimates import (
        Diagonal as Diagonal,
        FrobeniusNorm as FrobeniusNorm,
        Trace as Trace,
    )
    from landscape.curvature.lanczos import (
        Lanczos as Lanczos,
    )
    from landscape.curvature.operators import (
        CurvatureOperator as CurvatureOperator,
        fisher as fisher,
        gauss_newton as gauss_newton,
        hessian as hessian,
    )
    from landscape.curvature.scale import (
        ScaleCurvature as ScaleCurvature,
        scale_curvature as scale_curvature,
    )
    from landscape.curvature.smoothed import (
        smoothed_diagonal as smoothed_diagonal,
        smoothed_gradient as smoothed_gradient,
        smoothed_trace as smoothed_trace,
    )
    from landscape.curvature.smoothed_networks import (
        smoothed_table as smoothed_table,
    )
    from landscape.curvature.smoothed_results import (
        SmoothedDiagonal as SmoothedDiagonal,
        SmoothedGradient as SmoothedGradient,
        SmoothedTrace as SmoothedTrace,
    )
    from landscape.curvature.stochastic import (
        diagonal as diagonal,
        frobenius_norm as frobenius_norm,
        trace as trace,
    )
    from landscape.curvature.symmetric import (
        MatrixOperator as MatrixOperator,
    )
    from landscape.curvature.table import (
        CurvatureTable as CurvatureTable,
        curvature_table as curvature_table,
    )
    from landscape.curvature.table_rows import (
        check_texts as check_texts,
        probe_text as probe_text,
        products_text as products_text,
    )

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "lanczos": ("Lanczos",),
        "symmetric": ("MatrixOperator",),
        "table_rows": (
            "check_texts",
            "probe_text",
            "products_text",
        ),
        "alignment": (
            "Alignment",
            "gradient_alignment",
        ),
        "cost": ("curvature_cost", "smoothed_cost"),
        "density": (
            "SpectralDensity",
            "spectral_density",
        ),
        "eigenpairs": (
            "Eigenpairs",
            "top_eigenpairs",
        ),
        "estimates": (
            "Diagonal",
            "FrobeniusNorm",
            "Trace",
        ),
        "operators": (
            "CurvatureOperator",
            "fisher",
            "gauss_newton",
            "hessian",
        ),
        "scale": (
            "ScaleCurvature",
            "scale_curvature",
        ),
        "smoothed": (
            "smoothed_diagonal",
            "smoothed_gradient",
            "smoothed_trace",
        ),
        "smoothed_results": (
            "SmoothedDiagonal",
            "SmoothedGradient",
            "SmoothedTrace",
        ),
        "smoothed_networks": ("smoothed_table",),
        "stochastic": (
            "diagonal",
            "frobenius_norm",
            "trace",
        ),
        "table": (
            "CurvatureTable",
            "curvature_table",
        ),
    },
)
