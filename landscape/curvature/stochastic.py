"""Trace, diagonal and Frobenius norm of a curvature matrix, with standard errors and intervals."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from landscape.curvature import _estimators
from landscape.curvature._linear import SymmetricOperator, as_operator
from landscape.curvature._settings import check_choice, check_real, check_whole
from landscape.curvature._tracing import TraceRun, t_interval
from landscape.progress import SILENT, Progress
from landscape.provenance import provenance
from landscape.results import Result, format_value

__all__ = ["Diagonal", "FrobeniusNorm", "Trace", "diagonal", "frobenius_norm", "trace"]

METHODS = ("auto", "hutchinson", "hutch++", "xtrace", "exact")
DIAGONAL_METHODS = ("auto", "hutchinson", "xdiag", "exact")


@dataclasses.dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class _Estimated(Result):
    """A number with the uncertainty of its probes.

    Attributes
    ----------
    value : float
        The estimate.
    standard_error : float or None
        Over probes; None where the method has none.
    error_estimate : float or None
        Of XTrace: the spread of its leave-one-out values, which is not a standard error.
    interval : tuple of float, or None
        Student's t; None where nothing honest can be given.
    confidence : float
        Its coverage.
    method : str
        The estimator used.
    num_probes : int
        Independent values behind the standard error.
    dim : int
        Size of the matrix.
    num_matvecs : int
        Products in all.
    """

    value: float
    standard_error: float | None = None
    error_estimate: float | None = None
    interval: tuple[float, float] | None = None
    confidence: float = 0.95
    method: str
    num_probes: int
    dim: int
    num_matvecs: int

    def _line(self) -> str:
        text = format_value(self.value)
        if self.method == "exact":
            return f"{text} exactly"
        if self.interval is not None:
            low, high = (format_value(end) for end in self.interval)
            return (
                f"{text} ± {format_value(self.standard_error)} (standard error), "
                f"{format_value(100 * self.confidence)} % interval [{low}, {high}]"
            )
        return f"{text}, error estimate {format_value(self.error_estimate)} (no interval)"

    @classmethod
    def from_fields(cls, fields: Mapping[str, Any], **base: Any) -> Any:
        """Build it from stored fields: tuples were stored as lists."""
        mended = dict(fields)
        if mended.get("interval") is not None:
            mended["interval"] = tuple(mended["interval"])
        return super().from_fields(mended, **base)


@dataclasses.dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class Trace(_Estimated):
    """The trace of a curvature matrix.

    Attributes
    ----------
    per_layer : dict
        ``[path]`` to ``value``, ``standard_error``, ``interval`` and ``size``, from the same products.
    data_standard_error : float or None
        Standard error from the choice of examples, apart from that of the probes: the trace is that of
        a sample of data, and this says how far another sample of the size would give another one.
    """

    kind: ClassVar[str] = "trace"

    per_layer: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)
    data_standard_error: float | None = None

    def rows(self) -> list[tuple[str, str]]:
        """Return the printed lines."""
        rows = [("trace", self._line()), ("mean eigenvalue", format_value(self.value / self.dim))]
        if self.data_standard_error is not None:
            rows.append(("from the examples", f"± {format_value(self.data_standard_error)} (standard error)"))
        for path, found in list(self.per_layer.items())[:6]:
            error = found.get("standard_error")
            rows.append((path, format_value(found["value"]) + (f" ± {format_value(error)}" if error else "")))
        rows.append(("method", f"{self.method}, {self.num_matvecs} products"))
        return rows


@dataclasses.dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class FrobeniusNorm(_Estimated):
    """The Frobenius norm ``√Σ λ²`` of a curvature matrix."""

    kind: ClassVar[str] = "frobenius_norm"

    def rows(self) -> list[tuple[str, str]]:
        """Return the printed lines."""
        return [("Frobenius norm", self._line()), ("method", f"{self.method}, {self.num_matvecs} products")]


@dataclasses.dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class Diagonal(Result):
    """The diagonal of a curvature matrix.

    Attributes
    ----------
    values : numpy.ndarray [dim]
        The estimate, entry by entry.
    standard_errors : numpy.ndarray [dim] or None
        Of each entry over probes; zeros if exact, None for XDiag.
    method : str
        The estimator used.
    num_probes, dim, num_matvecs : int
        As for a trace.
    """

    kind: ClassVar[str] = "diagonal"

    values: np.ndarray
    standard_errors: np.ndarray | None = None
    method: str
    num_probes: int
    dim: int
    num_matvecs: int

    def rows(self) -> list[tuple[str, str]]:
        """Return the printed lines."""
        spread = np.quantile(self.values, [0, 0.25, 0.5, 0.75, 1])
        rows = [("quartiles", ", ".join(map(format_value, spread)))]
        rows.append(("negative entries", f"{np.mean(self.values < 0):.1%} of {self.dim:,}"))
        if self.standard_errors is not None and self.method != "exact":
            rows.append(("median standard error", format_value(float(np.median(self.standard_errors)))))
        return [*rows, ("method", f"{self.method}, {self.num_matvecs} products")]


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
    they foretell more than 60.

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
        seed=check_whole("seed", seed, 0),
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
    rng = np.random.default_rng(check_whole("seed", seed, 0))
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
    rng = np.random.default_rng(check_whole("seed", seed, 0))
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
