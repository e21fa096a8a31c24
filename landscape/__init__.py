"""Loss landscapes with error bars: connectivity, curvature, flatness, and what they are measured on.

Importing this package loads neither jax nor plotly: public names are resolved when first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from landscape import errors as errors
from landscape.lazy import lazy_names

if TYPE_CHECKING:
    from landscape.alignment import Aligned as Aligned, align as align, align_all as align_all
    from landscape.compute import show_progress as show_progress
    from landscape.connectivity import (
        Barrier as Barrier,
        BarrierMatrix as BarrierMatrix,
        ConnectingCurve as ConnectingCurve,
        barrier_matrix as barrier_matrix,
        connect as connect,
        loss_barrier as loss_barrier,
    )
    from landscape.curvature import (
        Alignment as Alignment,
        CurvatureOperator as CurvatureOperator,
        CurvatureTable as CurvatureTable,
        Diagonal as Diagonal,
        Eigenpairs as Eigenpairs,
        FrobeniusNorm as FrobeniusNorm,
        MatrixOperator as MatrixOperator,
        ScaleCurvature as ScaleCurvature,
        SmoothedDiagonal as SmoothedDiagonal,
        SmoothedGradient as SmoothedGradient,
        SmoothedTrace as SmoothedTrace,
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
        smoothed_diagonal as smoothed_diagonal,
        smoothed_gradient as smoothed_gradient,
        smoothed_table as smoothed_table,
        smoothed_trace as smoothed_trace,
        spectral_density as spectral_density,
        top_eigenpairs as top_eigenpairs,
        trace as trace,
    )
    from landscape.files import (
        Checkpoint as Checkpoint,
        load as load,
        save as save,
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
        flax_statistics as flax_statistics,
        problem_of as problem_of,
    )
    from landscape.results import (
        Result as Result,
        load_result as load_result,
    )
    from landscape.rollouts import Rollout as Rollout
    from landscape.surfaces import (
        LossLine as LossLine,
        Surface as Surface,
        Trajectory as Trajectory,
        loss_line as loss_line,
        loss_surface as loss_surface,
        trajectory as trajectory,
    )
    from landscape.torch_bridge import torch_problem as torch_problem

__version__ = "0.1.0"

__getattr__, __dir__, _names = lazy_names(
    __name__,
    {
        "alignment": ("Aligned", "align", "align_all"),
        "compute": ("show_progress",),
        "connectivity": (
            "Barrier",
            "BarrierMatrix",
            "ConnectingCurve",
            "barrier_matrix",
            "connect",
            "loss_barrier",
        ),
        "curvature": (
            "Alignment",
            "CurvatureOperator",
            "CurvatureTable",
            "Diagonal",
            "Eigenpairs",
            "FrobeniusNorm",
            "MatrixOperator",
            "ScaleCurvature",
            "SmoothedDiagonal",
            "SmoothedGradient",
            "SmoothedTrace",
            "SpectralDensity",
            "Trace",
            "curvature_table",
            "diagonal",
            "fisher",
            "frobenius_norm",
            "gauss_newton",
            "gradient_alignment",
            "hessian",
            "scale_curvature",
            "smoothed_diagonal",
            "smoothed_gradient",
            "smoothed_table",
            "smoothed_trace",
            "spectral_density",
            "top_eigenpairs",
            "trace",
        ),
        "files": (
            "Checkpoint",
            "load",
            "save",
        ),
        "flatness": (
            "Flatness",
            "FlatnessMeasure",
            "adaptive_sharpness",
            "average_sharpness",
            "fisher_rao_norm",
            "flatness_table",
            "gaussian_robustness",
            "hessian_flatness",
            "keskar_sharpness",
            "local_entropy",
            "measure_flatness",
            "pac_bayes_flatness",
            "relative_flatness",
            "sam_sharpness",
            "search_sharpness",
        ),
        "problem": (
            "Metric",
            "Outputs",
            "Problem",
            "Stream",
            "flax_statistics",
            "problem_of",
        ),
        "results": (
            "Result",
            "load_result",
        ),
        "rollouts": ("Rollout",),
        "surfaces": ("LossLine", "Surface", "Trajectory", "loss_line", "loss_surface", "trajectory"),
        "torch_bridge": ("torch_problem",),
    },
)

__all__ = sorted(("errors", *_names))  # noqa: PLE0605  every item is a string
