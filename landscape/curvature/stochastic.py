"""Trace, diagonal and Frobenius norm of a curvature matrix, with standard errors and intervals."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from landscape.compute import Progress, shown
from landscape.curvature.diagonal_and_norm import DiagonalRun, NormRun
from landscape.curvature.estimates import Diagonal, FrobeniusNorm, Trace
from landscape.curvature.metered import Estimate, Meter
from landscape.curvature.symmetric import SymmetricOperator, as_operator
from landscape.curvature.trace_run import TraceGoal, TraceRun, data_error
from landscape.results import check_choice, check_real, check_seed, check_whole, provenance

__all__ = ["diagonal", "frobenius_norm", "trace"]

METHODS = ("auto", "hutchinson", "hutch++", "xtrace", "exact")
DIAGONAL_METHODS = ("auto", "hutchinson", "xdiag", "exact")


def trace(  # noqa: PLR0913  one keyword per setting
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
    time. ``"auto"`` makes a pilot of ten Hutchinson probes, and goes over to Hutch++ (with the pilot as its
    sketch) where they foretell more than 60; where one product per dimension costs no more, or the matrix
    has been formed already, the trace is exact.

    Parameters
    ----------
    operator : SymmetricOperator or matrix
        Real and symmetric.
    method : {"auto", "hutchinson", "hutch++", "xtrace", "exact"}
        ``"exact"`` takes one product per dimension; ``"auto"`` does so where that costs no more.
    relative_error : float
        Standard error asked for, relative to the larger of the trace's size and the Frobenius norm:
        the trace of an indefinite matrix may be 0. What comes out may be up to a quarter more.
    absolute_error : float, optional
        A floor in the trace's units: a smaller standard error is never asked for.
    max_matvecs : int
        Most products of all methods but ``"exact"``; the status is ``"not-converged"`` where they did not
        suffice.
    num_probes : int, optional
        A fixed number of probes instead of a requested error (probes of the sketch for XTrace).
    num_replicates : int
        Fewest independent repetitions of XTrace, which makes as many as a first one, not part of the
        answer, foretells: 8 or more give a standard error and an interval.
    num_groups : int, optional
        Groups of examples, on which the same probes measure how the trace varies with the data
        (`data_standard_error`); ten more passes over the data. By default none, 8 on a subset.
    confidence : float
        Coverage of the interval.
    seed : int
        Of the probes.
    progress : Progress, optional
        Is told of every product; by default a bar where standard error is a terminal.

    Returns
    -------
    Trace
        Status ``"non-finite"`` if a product was: the value is that of the probes before it;
        ``"not-converged"`` if the error asked for was not reached.

    Raises
    ------
    ConfigurationError
        If a setting is invalid, or `max_matvecs` is less than the probes asked for take.

    Notes
    -----
    A pilot of ten probes foretells how many the error takes, and as many fresh ones, at least ten, are the
    answer: stopped on its own error, or averaged with the pilot, it would be biased and its interval too
    short. Intervals are the hull of Student's and of Hall's for skewed values [3]_; fewer than ten probes
    give none, and a warning says so. The simulated coverage of .95 is .936 to .965 over flat, decaying,
    spiked, indefinite and low-rank spectra. Hutch++'s guarantee is for semi-definite matrices; on others its
    interval is still that of independent probes.

    References
    ----------
    .. [1] Meyer et al., 2021. Hutch++: optimal stochastic trace estimation. arXiv:2010.09649.
    .. [2] Epperly, Tropp and Webber, 2024. XTrace. arXiv:2301.07825.
    .. [3] Hall, 1992. On the removal of skewness by transformation. J. Royal Statistical Society B 54(1).

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
    goal = TraceGoal(
        relative_error=relative_error,
        absolute_error=0.0 if absolute_error is None else check_real("absolute_error", absolute_error),
        confidence=check_real("confidence", confidence, most=1),
    )
    meter = Meter(operator, most=check_whole("max_matvecs", max_matvecs, 1), progress=shown(progress))
    rng, started = np.random.default_rng(check_seed(seed)), time.perf_counter()
    if num_groups is None and operator.config.get("subset"):
        num_groups = 8
    found = TraceRun(meter=meter, goal=goal, rng=rng, layers=operator.layers()).run(
        method,
        num_probes=None if num_probes is None else check_whole("num_probes", num_probes, 2),
        num_replicates=num_replicates,
    )
    data = Estimate(fields={})
    if num_groups is not None:
        data = data_error(operator, rng, check_whole("num_groups", num_groups, 2))
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
        **found.fields,
        **data.fields,
        confidence=confidence,
        **_base(meter, config, found, data, started=started),
    )


def _base(meter: Meter, config: Mapping[str, Any], *found: Estimate, started: float) -> dict[str, Any]:
    """Return the matrix's size, the products spent, settings, statistics, warnings and provenance."""
    operator, seconds = meter.operator, time.perf_counter() - started
    spent = {name: count for one in found for name, count in one.stats.items()}
    return {
        "dim": operator.dim,
        "num_matvecs": meter.spent,
        "config": {**operator.config, **config},
        "stats": {**operator.stats, **spent, "seconds": seconds},
        "warnings": (*operator.notes, *(warning for one in found for warning in one.warnings)),
        "provenance": provenance(seed=config["seed"], dtype=operator.dtype.name, digests=operator.digests()),
    }


def frobenius_norm(
    operator: SymmetricOperator | Any,
    *,
    num_probes: int = 30,
    relative_error: float | None = None,
    max_matvecs: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
    progress: Progress | None = None,
) -> FrobeniusNorm:
    r"""Estimate :math:`\|A\|_F` from :math:`E\|Az\|^2 = \|A\|_F^2` over random signs z.

    The interval is that of the mean square, the hull of Student's and Hall's for skewed values, and its root:
    :math:`\|Az\|^2` is distributed like a sum of weighted :math:`\chi^2_1`. Fewer than ten probes give none.

    Parameters
    ----------
    operator : SymmetricOperator or matrix
        Real and symmetric.
    num_probes : int
        Products, at least 2; as many as the matrix has dimensions make it exact.
    relative_error : float, optional
        Standard error asked for, relative to the norm, within a quarter: a pilot of 20 probes foretells how
        many it takes, if more than `num_probes`, and as many fresh ones answer.
    max_matvecs : int
        Most products; the status is ``"not-converged"`` where they did not suffice.
    confidence : float
        Coverage of the interval.
    seed : int
        Of the probes.
    progress : Progress, optional
        Is told of every product; by default a bar where standard error is a terminal.

    Returns
    -------
    FrobeniusNorm
        Status ``"non-finite"`` if a product was: the value is that of the probes before it.
    """
    operator, started = as_operator(operator), time.perf_counter()
    check_whole("num_probes", num_probes, 2)
    most = max(check_whole("max_matvecs", max_matvecs, 2), num_probes)
    meter = Meter(operator, most=most, progress=shown(progress))
    run = NormRun(
        meter=meter,
        rng=np.random.default_rng(check_seed(seed)),
        num_probes=num_probes,
        relative_error=None if relative_error is None else check_real("relative_error", relative_error),
        confidence=check_real("confidence", confidence, most=1),
    )
    config = {
        "num_probes": num_probes,
        "relative_error": relative_error,
        "max_matvecs": max_matvecs,
        "confidence": confidence,
        "seed": seed,
    }
    meter.progress.start("Frobenius norm", total=num_probes)
    try:
        found = run.run()
    finally:
        meter.progress.stop()
    return FrobeniusNorm(
        **found.fields, confidence=confidence, **_base(meter, config, found, started=started)
    )


def diagonal(
    operator: SymmetricOperator | Any,
    *,
    method: str = "auto",
    num_probes: int = 200,
    relative_error: float | None = None,
    max_matvecs: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
    progress: Progress | None = None,
) -> Diagonal:
    r"""Compute or estimate the diagonal.

    Exactly, with one product per dimension; or as the mean of :math:`z \circ Az` over random signs; or by
    XDiag [1]_, which is exact on what its sketch captures.

    Parameters
    ----------
    operator : SymmetricOperator or matrix
        Real and symmetric.
    method : {"auto", "hutchinson", "xdiag", "exact"}
        ``"auto"`` is exact up to as many dimensions as `num_probes`, and Hutchinson above.
    num_probes : int
        Products (XDiag takes half of them for its sketch).
    relative_error : float, optional
        Length of the vector of standard errors asked for (error estimates for XDiag), relative to the
        length of the diagonal, within a quarter. For Hutchinson a pilot of ten probes foretells how many it
        takes, if more than `num_probes`, and as many fresh ones answer.
    max_matvecs : int
        Most products then; the status is ``"not-converged"`` where they did not suffice.
    confidence : float
        Coverage of each entry's interval.
    seed : int
        Of the probes.
    progress : Progress, optional
        Is told of every product; by default a bar where standard error is a terminal.

    Returns
    -------
    Diagonal
        Status ``"non-finite"`` if a product was: estimates are those of the probes before it, exact
        entries from there on are NaN.

    References
    ----------
    .. [1] Epperly, Tropp and Webber, 2024. XTrace. arXiv:2301.07825.
    """
    check_choice("method", method, DIAGONAL_METHODS)
    check_whole("num_probes", num_probes, 2)
    operator, started = as_operator(operator), time.perf_counter()
    most = max(check_whole("max_matvecs", max_matvecs, 2), num_probes)
    meter = Meter(operator, most=most, progress=shown(progress))
    run = DiagonalRun(
        meter=meter,
        rng=np.random.default_rng(check_seed(seed)),
        num_probes=num_probes,
        relative_error=None if relative_error is None else check_real("relative_error", relative_error),
        confidence=check_real("confidence", confidence, most=1),
    )
    found = run.run(method)
    config = {
        "method": method,
        "num_probes": num_probes,
        "relative_error": relative_error,
        "max_matvecs": max_matvecs,
        "confidence": confidence,
        "seed": seed,
    }
    return Diagonal(**found.fields, confidence=confidence, **_base(meter, config, found, started=started))
