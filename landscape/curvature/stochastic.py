"""Trace, diagonal and Frobenius norm of a curvature matrix, with standard errors and intervals."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from landscape._settings import check_choice, check_real, check_seed, check_whole
from landscape.curvature import _estimators
from landscape.curvature._linear import SymmetricOperator, as_operator
from landscape.curvature._tracing import TraceRun, t_interval
from landscape.curvature.estimates import Diagonal, FrobeniusNorm, Trace
from landscape.progress import SILENT, Progress
from landscape.provenance import provenance

__all__ = ["diagonal", "frobenius_norm", "trace"]

METHODS = ("auto", "hutchinson", "hutch++", "xtrace", "exact")
DIAGONAL_METHODS = ("auto", "hutchinson", "xdiag", "exact")


def trace(  # noqa: PLR0913  one keyword a setting
    operator: SymmetricOperator | Any,
    *,
    method: str = "auto",
    relative_error: float = 0.02,
    absolute_error: float | None = None,
    max_matvecs: int = 1000,
    num_probes: int | None = None,
    num_replicates: int = 1,
    num_groups: int | None = None,
    confidence: float = 0.95,
    seed: int = 0,
    progress: Progress | None = None,
) -> Trace:
    r"""Estimate the trace, over all and for each layer, to a requested standard error.

    Hutchinson: the mean of :math:`z^\top A z` over random signs. Hutch++ [1]_ computes the part in the
    range of a sketch exactly and probes the rest. XTrace [2]_ leaves out one probe of its sketch at a
    time. ``"auto"`` makes ten Hutchinson probes, and goes over to Hutch++ (keeping none of them) where
    they foretell more than 60; where one product a dimension costs no more, the trace is exact.

    Parameters
    ----------
    operator : SymmetricOperator or matrix
        Real and symmetric.
    method : {"auto", "hutchinson", "hutch++", "xtrace", "exact"}
        ``"exact"`` takes one product a dimension; ``"auto"`` does so where that costs no more.
    relative_error : float
        Standard error asked for, relative to the larger of the trace's size and the Frobenius norm:
        the trace of an indefinite matrix may be 0.
    absolute_error : float, optional
        A floor in the trace's units: a smaller standard error is never asked for.
    max_matvecs : int
        Most products; the status is ``"not-converged"`` where they did not suffice.
    num_probes : int, optional
        A fixed number of probes instead of a requested error (probes of the sketch for XTrace).
    num_replicates : int
        Independent repetitions of XTrace: from 8 on they give an interval.
    num_groups : int, optional
        Groups of examples, on which the same probes measure how the trace varies with the data
        (`data_standard_error`); ten more passes over the data. By default none, 8 on a subset.
    confidence : float
        Coverage of the interval.
    seed : int
        Of the probes.
    progress : Progress, optional
        Is told of every product.

    Returns
    -------
    Trace
        Status ``"non-finite"`` if a product was.

    Notes
    -----
    After ten probes the number needed is foretold from their variance and taken at once; looking at
    every probe would stop on lucky ones. Hutch++'s guarantee is for semi-definite matrices; on others
    its interval is still that of independent probes.

    References
    ----------
    .. [1] Meyer et al., 2021. Hutch++: optimal stochastic trace estimation. arXiv:2010.09649.
    .. [2] Epperly, Tropp and Webber, 2024. XTrace. arXiv:2301.07825.

    Examples
    --------
    >>> import numpy as np
    >>> found = trace(np.diag(np.arange(50.0)), method="exact")
    >>> found.value, found.standard_error
    (1225.0, 0.0)
    """
    check_choice("method", method, METHODS)
    check_real("relative_error", relative_error)
    check_whole("num_replicates", num_replicates, 1)
    operator = as_operator(operator)
    run = TraceRun(
        operator,
        relative_error=relative_error,
        absolute_error=0.0 if absolute_error is None else check_real("absolute_error", absolute_error),
        max_matvecs=check_whole("max_matvecs", max_matvecs, 1),
        confidence=check_real("confidence", confidence, most=1),
        seed=check_seed(seed),
        progress=progress or SILENT,
    )
    started = time.perf_counter()
    if num_groups is None and operator.config.get("subset"):
        num_groups = 8
    fields = run.run(
        method,
        num_probes=None if num_probes is None else check_whole("num_probes", num_probes, 2),
        num_replicates=num_replicates,
    )
    data_error = None if num_groups is None else run.data_error(check_whole("num_groups", num_groups, 2))
    config = {
        "method": method,
        "relative_error": relative_error,
        "absolute_error": absolute_error,
        "max_matvecs": max_matvecs,
        "num_probes": num_probes,
        "num_replicates": num_replicates,
        "num_groups": num_groups,
        "confidence": confidence,
        "seed": seed,
    }
    return Trace(
        **fields,
        confidence=confidence,
        dim=operator.dim,
        data_standard_error=data_error,
        num_matvecs=run.num_matvecs,
        **_base(operator, config, started=started, warnings=run.warnings, stats=run.extra),
    )


def _base(
    operator: SymmetricOperator,
    config: Mapping[str, Any],
    *,
    started: float,
    warnings: list[str] | None = None,
    stats: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return settings, statistics and provenance."""
    seconds = time.perf_counter() - started
    return {
        "config": {**operator.config, **config},
        "stats": {**operator.stats, **(stats or {}), "seconds": seconds},
        "warnings": tuple(warnings or ()),
        "provenance": provenance(seed=config["seed"], dtype=operator.dtype.name, digests=operator.digests()),
    }


def frobenius_norm(
    operator: SymmetricOperator | Any,
    *,
    num_probes: int = 30,
    confidence: float = 0.95,
    seed: int = 0,
) -> FrobeniusNorm:
    r"""Estimate :math:`\|A\|_F` from :math:`E\|Az\|^2 = \|A\|_F^2` over random signs z.

    The interval is Student's t for the square, and its root.

    Parameters
    ----------
    operator : SymmetricOperator or matrix
        Real and symmetric.
    num_probes : int
        Products, at least 2; as many as the matrix has dimensions make it exact.
    confidence : float
        Coverage of the interval.
    seed : int
        Of the probes.
    """
    operator = as_operator(operator)
    count = check_whole("num_probes", num_probes, 2)
    check_real("confidence", confidence, most=1)
    started, exact = time.perf_counter(), count >= operator.dim
    rng = np.random.default_rng(check_seed(seed))
    squares = []
    for i in range(operator.dim if exact else count):
        if exact:
            probe = np.eye(1, operator.dim, i, dtype=operator.dtype)
        else:
            probe = _estimators.rademacher(rng, 1, operator.dim, operator.dtype)
        squares.append(float(np.sum(operator.rows(probe).astype(np.float64) ** 2)))
    mean = float(np.sum(squares)) if exact else float(np.mean(squares))
    value = float(np.sqrt(mean))
    error = 0.0 if exact else _estimators.standard_error(squares) / (2 * value or 1.0)
    ends = (
        (mean, mean)
        if exact
        else t_interval(mean, _estimators.standard_error(squares), count - 1, confidence)
    )
    config = {"num_probes": num_probes, "confidence": confidence, "seed": seed}
    return FrobeniusNorm(
        value=value,
        standard_error=error,
        interval=None if ends is None else (float(np.sqrt(max(ends[0], 0))), float(np.sqrt(max(ends[1], 0)))),
        confidence=confidence,
        method="exact" if exact else "hutchinson",
        num_probes=len(squares),
        dim=operator.dim,
        num_matvecs=len(squares),
        status="ok" if np.isfinite(value) else "non-finite",
        **_base(operator, config, started=started),
    )


def diagonal(
    operator: SymmetricOperator | Any,
    *,
    method: str = "auto",
    num_probes: int = 200,
    seed: int = 0,
    progress: Progress | None = None,
) -> Diagonal:
    r"""Compute or estimate the diagonal.

    Exactly, with one product a dimension; or as the mean of :math:`z \circ Az` over random signs; or by
    XDiag [1]_, which is exact on what its sketch captures.

    Parameters
    ----------
    operator : SymmetricOperator or matrix
        Real and symmetric.
    method : {"auto", "hutchinson", "xdiag", "exact"}
        ``"auto"`` is exact up to as many dimensions as `num_probes`, and Hutchinson above.
    num_probes : int
        Products (XDiag takes half of them for its sketch).
    seed : int
        Of the probes.
    progress : Progress, optional
        Is told of every product.

    References
    ----------
    .. [1] Epperly, Tropp and Webber, 2024. XTrace. arXiv:2301.07825.
    """
    check_choice("method", method, DIAGONAL_METHODS)
    check_whole("num_probes", num_probes, 2)
    operator, started = as_operator(operator), time.perf_counter()
    rng = np.random.default_rng(check_seed(seed))
    if method == "auto":
        method = "exact" if operator.dim <= num_probes else "hutchinson"
    before, progress = operator.num_matvecs, progress or SILENT
    progress.start("diagonal", total=operator.dim if method == "exact" else num_probes)
    try:
        values, errors = _diagonal(operator, method, num_probes, rng=rng, progress=progress)
    finally:
        progress.stop()
    spent = operator.num_matvecs - before
    config = {"method": method, "num_probes": num_probes, "seed": seed}
    return Diagonal(
        values=values,
        standard_errors=errors,
        method=method,
        num_probes=num_probes,
        dim=operator.dim,
        num_matvecs=spent,
        status="ok" if np.isfinite(values).all() else "non-finite",
        **_base(operator, config, started=started),
    )


def _diagonal(
    operator: SymmetricOperator, method: str, count: int, *, rng: np.random.Generator, progress: Progress
) -> tuple[np.ndarray, np.ndarray | None]:
    if method == "xdiag":
        probes = _estimators.rademacher(rng, min(count // 2, operator.dim), operator.dim, operator.dtype)
        try:
            return _estimators.xdiag(operator.rows, probes), None
        except FloatingPointError:  # the products are all zero, or not finite
            return operator.matvec(probes[0]).astype(np.float64) * probes[0], None
    total = np.zeros(operator.dim)
    squares = np.zeros(operator.dim)
    for i in range(operator.dim if method == "exact" else count):
        progress.advance()
        if method == "exact":
            total[i] = operator.rows(np.eye(1, operator.dim, i, dtype=operator.dtype))[0, i]
            continue
        probe = _estimators.rademacher(rng, 1, operator.dim, operator.dtype)
        each = (probe * operator.rows(probe))[0].astype(np.float64)
        total += each
        squares += each**2
    if method == "exact":
        return total, squares
    mean = total / count
    return mean, np.sqrt(np.maximum(squares / count - mean**2, 0) / (count - 1))
