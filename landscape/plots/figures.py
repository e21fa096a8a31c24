"""Which function draws a result of which kind. Loading this module tells the results."""

from __future__ import annotations

from landscape.results import figure_of, register_figures

__all__ = ["FIGURES", "figure_of"]

FIGURES = {
    "aligned": "landscape.plots.connectivity.alignment:aligned_figure",
    "alignment": "landscape.plots.curvature.figures:alignment_figure",
    "barrier": "landscape.plots.connectivity.barrier:barrier_figure",
    "barrier_matrix": "landscape.plots.connectivity.matrix:matrix_figure",
    "connecting_curve": "landscape.plots.connectivity.curve:curve_figure",
    "curvature": "landscape.plots.curvature.figures:curvature_figure",
    "diagonal": "landscape.plots.curvature.figures:diagonal_figure",
    "eigenpairs": "landscape.plots.curvature.figures:eigenpairs_figure",
    "flatness": "landscape.plots.flatness.figures:flatness_figure",
    "flatness_measure": "landscape.plots.flatness.figures:measure_figure",
    "frobenius_norm": "landscape.plots.curvature.figures:norm_figure",
    "loss_line": "landscape.plots.surfaces.lines:line_figure",
    "rollout": "landscape.plots.rollouts.stills:rollout_figure",
    "scale_curvature": "landscape.plots.curvature.scale:scale_figure",
    "smoothed_diagonal": "landscape.plots.curvature.smoothed:entries_figure",
    "smoothed_gradient": "landscape.plots.curvature.smoothed:entries_figure",
    "smoothed_trace": "landscape.plots.curvature.smoothed:smoothed_trace_figure",
    "spectral_density": "landscape.plots.curvature.figures:spectral_density_figure",
    "surface": "landscape.plots.surfaces.planes:contour_figure",
    "trace": "landscape.plots.curvature.figures:trace_figure",
    "trajectory": "landscape.plots.surfaces.trajectories:trajectory_figure",
}

register_figures(FIGURES)
