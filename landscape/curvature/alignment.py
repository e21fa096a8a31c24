"""The gradient and an update against the spectrum, and the model's own part of the curvature."""

from __future__ import annotations

import dataclasses
import time
from typing import Any, ClassVar

import numpy as np

from landscape.compute import Progress
from landscape.curvature.eigenpairs import Eigenpairs, top_eigenpairs
from landscape.curvature.operators import gauss_newton, hessian
from landscape.errors import InputError
from landscape.problem import Problem, problem_for
from landscape.results import (
    Maybe,
    Numbers,
    Record,
    Result,
    check_whole,
    count,
    format_value,
    provenance,
)

__all__ = ["Alignment", "gradient_alignment"]


@dataclasses.dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class Alignment(Result):
    """The gradient and an update against the top of the Hessian's spectrum.

    Attributes
    ----------
    eigenvalues, residuals : numpy.ndarray [k]
        The largest eigenvalues, with the residuals of their vectors.
    gradient_overlap : numpy.ndarray [k]
        ``‖V_jᵀ g‖² / ‖g‖²`` with the first j vectors, for j = 1 … k; a random vector has ``j / dim``.
    update_overlap : numpy.ndarray [k] or None
        The same for the update.
    gradient_norm : float
        ``‖g‖``.
    num_outliers : int
        Eigenvalues before the largest ratio of neighbours among the positive ones found.
    gauss_newton : numpy.ndarray [k] or None
        ``vᵀGv`` of each vector: the part of its eigenvalue that is not the model's own curvature;
        None where the problem does not name its outputs.
    residual_part : numpy.ndarray [k] or None
        ``λ − vᵀGv``.
    dim, num_matvecs : int
        Sizes.
    """

    kind: ClassVar[str] = "alignment"

    statuses = ("ok", "not-converged", "incomplete", "non-finite")
    spec = Record(
        {
            "eigenvalues": Numbers("k", finite="ok"),
            "residuals": Numbers("k", finite="ok", least=0),
            "gradient_overlap": Numbers("k"),
            "update_overlap": Maybe(Numbers("k")),
            "gradient_norm": Numbers(finite="ok", least=0),
            "num_outliers": count(),
            "gauss_newton": Maybe(Numbers("k")),
            "residual_part": Maybe(Numbers("k")),
            "dim": count(least=1),
            "num_matvecs": count(),
        }
    )

    eigenvalues: np.ndarray
    residuals: np.ndarray
    gradient_overlap: np.ndarray
    update_overlap: np.ndarray | None = None
    gradient_norm: float
    num_outliers: int
    gauss_newton: np.ndarray | None = None
    residual_part: np.ndarray | None = None
    dim: int
    num_matvecs: int

    def rows(self) -> list[tuple[str, str]]:
        """Return the printed lines."""
        k = len(self.eigenvalues)
        if not k:
            return [("top eigenvalues", "none: a product was not finite"), *self._norm()]
        rows = [
            ("top eigenvalues", ", ".join(format_value(value) for value in self.eigenvalues[:5])),
            ("outliers", f"{self.num_outliers} before the largest ratio of neighbours"),
            ("gradient in the top space", self._share()),
            ("a random vector", f"{k / self.dim:.1%}"),
        ]
        if self.update_overlap is not None:
            rows.append(("update in the top space", f"{self.update_overlap[-1]:.1%}"))
        total = float(np.sum(self.eigenvalues))
        if self.gauss_newton is not None and total:
            part = float(np.sum(self.gauss_newton)) / total
            rows.append(("Gauss-Newton part", f"{part:.1%} of the top eigenvalues"))
        return rows

    def _share(self) -> str:
        if not np.isfinite(self.gradient_norm):
            return "unknown: the gradient is not finite"
        return f"{self.gradient_overlap[-1]:.1%} of its square in {len(self.eigenvalues)} directions"

    def _norm(self) -> list[tuple[str, str]]:
        known = np.isfinite(self.gradient_norm)
        return [("gradient norm", format_value(self.gradient_norm) if known else "unknown: not finite")]


def gradient_alignment(
    problem: Problem | None,
    params: Any,
    *,
    update: Any = None,
    k: int = 10,
    tolerance: float = 1e-4,
    seed: int = 0,
    progress: Progress | None = None,
    **options: Any,
) -> Alignment:
    r"""Measure how much of the gradient, and of an update, lies in the top eigenspace of the Hessian.

    The overlap with the first j eigenvectors is :math:`\|V_j^\top g\|^2 / \|g\|^2` [1]_. Beside it, the
    part :math:`v^\top G v` of each eigenvalue that the Gauss-Newton matrix explains; the rest is the
    curvature of the model, weighted by the residuals of the fit.

    Parameters
    ----------
    problem : Problem or None
        The loss and its data; None rebuilds the task that the checkpoint names.
    params : Checkpoint, path of one, or pytree
        The network.
    update : pytree, optional
        A step, a tree like the parameters (parameters after minus before).
    k : int
        Eigenvectors.
    tolerance, seed, progress
        As for `top_eigenpairs`.
    **options
        `mask`, `where`, `split`, `subset`, `batch_size`, `dtype`, `allow_nonfinite` of `hessian`.

    Raises
    ------
    InputError
        If the update does not fit the parameters, or is zero.

    References
    ----------
    .. [1] Gur-Ari, Roberts and Dyer, 2018. Gradient descent happens in a tiny subspace. arXiv:1812.04754.
    """
    check_whole("k", k, 1)
    started = time.perf_counter()
    problem = problem_for(problem, params)
    operator = hessian(problem, params, **options)
    pairs = top_eigenpairs(operator, k, tolerance=tolerance, seed=seed, progress=progress)
    gradient = operator.gradient()
    newton, spent = _gauss_newton_part(problem, params, pairs, options)
    step = None if update is None else _checked_step(operator.subject.params, operator.flatten, update)
    return Alignment(
        eigenvalues=pairs.eigenvalues,
        residuals=pairs.residuals,
        gradient_overlap=_overlap(pairs.eigenvectors, gradient),
        update_overlap=None if step is None else _overlap(pairs.eigenvectors, step),
        gradient_norm=float(np.linalg.norm(gradient)),
        num_outliers=num_outliers(pairs.eigenvalues),
        gauss_newton=newton,
        residual_part=None if newton is None else pairs.eigenvalues - newton,
        dim=operator.dim,
        num_matvecs=pairs.num_matvecs + spent,
        status=pairs.status if np.isfinite(gradient).all() else "non-finite",
        warnings=(*pairs.warnings, *(() if np.isfinite(gradient).all() else ("the gradient is not finite",))),
        config={**operator.config, "k": k, "tolerance": tolerance, "seed": seed},
        stats={**operator.stats, "seconds": time.perf_counter() - started},
        provenance=provenance(seed=seed, dtype=operator.dtype.name, digests=operator.digests()),
    )


def _gauss_newton_part(
    problem: Problem, params: Any, pairs: Eigenpairs, options: dict[str, Any]
) -> tuple[np.ndarray | None, int]:
    if problem.outputs is None or not len(pairs.eigenvalues):
        return None, 0
    images = gauss_newton(problem, params, **options).matmat(pairs.eigenvectors)
    part: np.ndarray = np.sum(pairs.eigenvectors.astype(np.float64) * images, axis=0)
    return part, len(pairs.eigenvalues)


def _checked_step(params: Any, flatten: Any, update: Any) -> np.ndarray:
    from landscape.trees import check_same_architecture

    check_same_architecture(params, update, ("params", "update"))
    step: np.ndarray = flatten(update).astype(np.float64)
    if not np.any(step) or not np.isfinite(step).all():
        raise InputError("update: has no direction", expected="finite, not all zero where free")
    return step


def _overlap(vectors: np.ndarray, direction: np.ndarray) -> np.ndarray:
    """Return the share of a vector's square within the first j columns, for every j."""
    square = float(direction @ direction)
    parts = (vectors.astype(np.float64).T @ direction) ** 2
    overlap: np.ndarray = np.cumsum(parts) / square if square else np.zeros(len(parts))
    return overlap


def num_outliers(eigenvalues: np.ndarray) -> int:
    """Return how many of descending eigenvalues come before the largest ratio of positive neighbours."""
    positive = eigenvalues[eigenvalues > 0]
    if len(positive) < 2:
        return len(positive)
    return int(np.argmax(positive[:-1] / positive[1:])) + 1
