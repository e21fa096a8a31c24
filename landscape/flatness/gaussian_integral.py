"""The Gaussian integral around a network, from the Hessian's spectrum."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from landscape.compute import SILENT, Progress

_DENSE_UP_TO = 256
_STEPS, _MOST_STEPS = 30, 150  # of the quadrature; the error falls as exp(-4 steps / √condition)
FINEST = {"float32": 1e-6, "float64": 1e-13}  # tolerances that eigenpairs can still reach


@dataclasses.dataclass(frozen=True, kw_only=True)
class Spectrum:
    """From the spectrum: the lowest eigenvalue, log det of every probe, solve, how far both moved."""

    lowest: float = math.nan
    determinants: np.ndarray
    solved: float = math.nan
    truncation: float = 0.0
    steps: int = 0
    undecided: bool = False  # whether the lowest eigenvalue is -γ or less within its residual
    status: str = "ok"


def spectrum_beside(
    operator: Any,
    slope: np.ndarray,
    stiffness: tuple[float, float],
    *,
    probes: int,
    seed: int,
    progress: Progress = SILENT,
) -> Spectrum:
    """Return the differences of log det(I + H/γ) over probes, and of ½ gᵀ(H + γI)⁻¹g, between two γ."""
    gamma, reference = stiffness

    def logarithm(values: np.ndarray) -> np.ndarray:
        with np.errstate(invalid="ignore", divide="ignore"):
            found: np.ndarray = np.log1p(values / gamma) - np.log1p(values / reference)
        return found

    def inverse(values: np.ndarray) -> np.ndarray:
        found: np.ndarray = 0.5 * (1 / (values + gamma) - 1 / (values + reference))
        return found

    if operator.dim <= _DENSE_UP_TO:
        matrix = operator.dense().astype(np.float64)
        if not np.isfinite(matrix).all():
            return Spectrum(determinants=np.array([math.nan]), status="non-finite")
        values, vectors = np.linalg.eigh((matrix + matrix.T) / 2)
        solved = float(inverse(values) @ (vectors.T @ slope) ** 2)
        return Spectrum(
            lowest=float(values[0]), determinants=np.array([logarithm(values).sum()]), solved=solved
        )
    from landscape.curvature import top_eigenpairs

    # Ritz values say nothing of what lies beyond them; a pair with its residual and probe does. One
    # below -γ is proof enough; one above it needs a residual that γ is large beside.
    ends = top_eigenpairs(operator, 1, which="both", tolerance=1e-3, seed=seed, progress=progress)
    if not len(ends.eigenvalues):
        return Spectrum(determinants=np.array([]), status=ends.status)
    below = ends.eigenvalues - ends.residuals
    if np.min(below) <= -gamma < np.min(ends.eigenvalues):
        finer = max(0.25 * gamma / ends.scale, FINEST[np.dtype(operator.dtype).name])
        ends = top_eigenpairs(operator, 1, which="both", tolerance=finer, seed=seed, progress=progress)
        below = ends.eigenvalues - ends.residuals
    lowest = float(np.min(ends.eigenvalues))
    undecided = float(np.min(below)) <= -gamma
    top = float(np.max(ends.eigenvalues))
    condition = max((top + gamma) / max(lowest + gamma, 1e-3 * gamma), 1.0)
    steps = min(operator.dim, _MOST_STEPS, max(_STEPS, math.ceil(2 * math.sqrt(condition))))
    rng = np.random.default_rng(seed)
    starts = rng.choice((-1.0, 1.0), (probes, operator.dim))
    square = float(slope @ slope)
    projections = []
    for start in (*starts, slope if square else starts[0]):
        projections.append(_projected(operator, start, rng, steps))
        progress.advance(steps)
    runs, toward = projections[:-1], projections[-1]

    def totals(size: int) -> tuple[np.ndarray, float]:
        each = [_form(run[:size, :size], logarithm) for run in runs]
        return operator.dim * np.array(each), square * _form(toward[:size, :size], inverse)

    determinants, solved = totals(steps)
    fewer, less = totals(max(2, 2 * steps // 3))
    with np.errstate(invalid="ignore"):
        truncation = abs(float(np.mean(solved - 0.5 * determinants) - np.mean(less - 0.5 * fewer)))
    return Spectrum(
        lowest=lowest,
        determinants=determinants,
        solved=solved,
        truncation=truncation,
        steps=steps,
        undecided=undecided,
    )


def _projected(operator: Any, start: np.ndarray, rng: np.random.Generator, steps: int) -> np.ndarray:
    """Return the matrix that Lanczos projects to from a vector [steps, steps]."""
    from landscape.curvature import Lanczos

    run = Lanczos(
        operator.rows,
        operator.dim,
        num_vectors=steps + 1,
        rng=rng,
        dtype=operator.dtype,
        start=start[None].astype(operator.dtype),
    )
    for _ in range(steps - 1):
        run.step()
    run.last_step()
    return run.projected[: run.count, : run.count].copy()


def _form(projected: np.ndarray, function: Callable[[np.ndarray], np.ndarray]) -> float:
    """Return the quadratic form of a function of the matrix in the unit start vector, by Gauss' rule."""
    theta, vectors = np.linalg.eigh(projected)
    return float(vectors[0] ** 2 @ function(theta))
