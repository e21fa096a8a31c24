"""Flatness as curvature: top eigenvalue, trace and mean eigenvalue of the Hessian."""

from __future__ import annotations

from typing import Any

from landscape.compute import Progress
from landscape.flatness.gaussian_integral import FINEST
from landscape.flatness.measurement import measured
from landscape.flatness.meter import with_bar
from landscape.flatness.neighbourhood import Neighbourhood
from landscape.flatness.options import Options
from landscape.flatness.results import ESTIMATE, EXACT, LOWER_BOUND, FlatnessMeasure
from landscape.results import check_choice, check_real

__all__ = ["hessian_flatness"]

SUMMARIES = ("top_eigenvalue", "trace", "mean_eigenvalue")


@with_bar
def hessian_flatness(
    problem: Any,
    params: Any,
    *,
    summary: str = "top_eigenvalue",
    tolerance: float = 1e-4,
    relative_error: float = 0.05,
    seed: int = 0,
    progress: Progress | None = None,
    **options: Any,
) -> FlatnessMeasure:
    """Summarise the Hessian: its largest eigenvalue, its trace, or its trace over the dimension.

    Parameters
    ----------
    problem, params
        As for `gaussian_robustness`.
    summary : {"top_eigenvalue", "trace", "mean_eigenvalue"}
        What of it.
    tolerance : float
        Of the eigenvalue's residual, see `top_eigenpairs`: ``details["residual"]``, within which of the
        value an eigenvalue lies for certain. The value is a Ritz value, and so a lower bound, unless the
        matrix is small enough to be formed.
    relative_error : float
        Standard error of the trace asked for, see `trace`.
    seed, progress, **options
        As for `gaussian_robustness`.
    """
    around = Neighbourhood(
        problem, params, Options(**options), progress=progress, slopes_of="hessian_flatness"
    )
    return hessian_of(around, summary=summary, tolerance=tolerance, relative_error=relative_error, seed=seed)


def hessian_of(
    around: Neighbourhood,
    *,
    summary: str,
    tolerance: float = 1e-4,
    relative_error: float = 0.05,
    seed: int,
) -> FlatnessMeasure:
    """Compute `hessian_flatness` in given surroundings; trace and mean share their products."""
    from landscape.curvature import top_eigenpairs, trace

    check_choice("summary", summary, SUMMARIES)
    check_real("tolerance", tolerance)
    settings = {"seed": seed, "summary": summary}
    operator = around.operator("hessian")
    if summary == "top_eigenvalue":
        pairs = top_eigenpairs(operator, 1, tolerance=tolerance, seed=seed, progress=around.products)
        settings = {**settings, "tolerance": tolerance}
        if not len(pairs.eigenvalues):
            return measured(
                around,
                summary,
                None,
                label=LOWER_BOUND,
                settings=settings,
                status=pairs.status,
                warnings=pairs.warnings,
            )
        # The tolerance is relative to the largest size, which may be that of a negative eigenvalue.
        for _ in range(2):
            value, residual = float(pairs.eigenvalues[0]), float(pairs.residuals[0])
            if residual <= tolerance * abs(value) or value == 0:
                break
            finer = max(0.5 * tolerance * abs(value) / pairs.scale, FINEST[around.dtype.name])
            pairs = top_eigenpairs(operator, 1, tolerance=finer, seed=seed, progress=around.products)
        value, residual = float(pairs.eigenvalues[0]), float(pairs.residuals[0])
        warnings = list(pairs.warnings)
        if residual > 0.1 * abs(value):
            warnings.append(
                f"top_eigenvalue: {value:.3g} has a residual of {residual:.2g}, beside an eigenvalue of size "
                f"{pairs.scale:.3g}"
            )
        exact = bool(pairs.complete_probe.get("exact"))
        return measured(
            around,
            summary,
            value,
            label=EXACT if exact else LOWER_BOUND,
            details={"residual": residual, "num_matvecs": pairs.num_matvecs},
            settings=settings,
            status=pairs.status,
            warnings=warnings,
        )
    found = around.shared(
        f"trace {relative_error} {seed}",
        lambda: trace(operator, relative_error=relative_error, seed=seed, progress=around.products),
    )
    by = operator.dim if summary == "mean_eigenvalue" else 1
    return measured(
        around,
        summary,
        found.value / by,
        label=EXACT if found.method == "exact" else ESTIMATE,
        standard_error=None if not found.standard_error else found.standard_error / by,
        interval=None if found.interval is None else (found.interval[0] / by, found.interval[1] / by),
        details={"num_matvecs": found.num_matvecs, "method": found.method},
        settings={**settings, "relative_error": relative_error},
        status=found.status,
        warnings=found.warnings,
    )
