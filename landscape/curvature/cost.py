"""The cost of a table of curvature, before it is measured."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from landscape.curvature.symmetric import MOST_DENSE
from landscape.network import Cost, Estimate, make_subject, measure_pace, trace_products
from landscape.problem import Problem, problem_for_all, require_gradient

__all__ = ["PARTS", "POINTS", "curvature_cost", "curvature_parts", "smoothed_cost"]

PARTS = ("eigenvalues", "trace", "density")

# Products that runs usually take (networks of 600 to 30,000 parameters): of the first pair and its probe, of
# every further one; of a density, exactly; of a diagonal that is too long to be formed.
_FIRST_PAIR, _EACH_PAIR, _DENSITY, _DIAGONAL = 25, 3, 800, 400
_BOTH_ENDS = 4
# Pairs of a smoothed trace over the square of the relative error asked for, where five eigenvalues dominate,
# and the evaluations of each.
_PAIRS, POINTS = {"gaussian": 5.0, "sphere": 0.6}, {"gaussian": 4, "sphere": 2}
_BASIS = 60  # vectors of a Lanczos basis between restarts, and of a trace's sketch


def curvature_cost(  # noqa: PLR0913  one keyword per setting
    problem: Problem | None,
    checkpoints: Iterable[Any],
    *,
    mask: Any = None,
    where: Any = None,
    split: str = "train",
    subset: int | None = None,
    batch_size: int | None = None,
    dtype: str | None = None,
    allow_nonfinite: bool = False,
    order: int = 1,
    **wanted: Any,
) -> Estimate:
    """Estimate what `curvature_table` would take, from the pace of the first network.

    Parameters
    ----------
    problem, checkpoints, where, split, subset, batch_size, dtype, allow_nonfinite
        As for `curvature_table`.
    mask : pytree of bool, or False, optional
        False for the full space.
    order : {1, 2}
        Whether a product is timed, which is a program more to compile, or has the usual price.
    **wanted
        ``k``, ``which``, ``trace``, ``relative_error``, ``density``: likewise; ``scale=True`` for the
        diagonals of `scale_curvature` instead.

    Returns
    -------
    Estimate
        ``seconds`` without compilation, ``memory`` in bytes.
    """
    given = list(checkpoints)
    problem = problem_for_all(problem, given)
    require_gradient(problem, "curvature")
    subject = make_subject(problem, given[0], mask=mask, where=where, allow_nonfinite=allow_nonfinite)
    count = problem.num_examples(split) if subset is None else subset
    pace = measure_pace(
        problem, subject, split=split, count=count, batch_size=batch_size, dtype=dtype, order=order
    )
    parts = curvature_parts(subject.dim, **wanted)
    return Estimate(name="curvature", parts=parts, networks=len(given), pace=pace)


def smoothed_cost(  # noqa: PLR0913  one keyword per setting
    problem: Problem | None,
    checkpoints: Iterable[Any],
    *,
    form: str = "gaussian",
    relative_error: float = 0.05,
    max_pairs: int = 4000,
    num_pairs: int | None = None,
    mask: Any = None,
    where: Any = None,
    split: str = "train",
    subset: int | None = None,
    batch_size: int | None = None,
    dtype: str | None = None,
    allow_nonfinite: bool = False,
) -> Estimate:
    """Estimate what `smoothed_table` would take, from the pace of the first network.

    Parameters
    ----------
    problem, checkpoints, form, relative_error, max_pairs
        As for `smoothed_table`.
    num_pairs : int, optional
        Of the diagonals of `scale_curvature` instead.
    mask : pytree of bool, or False, optional
        False for the full space.
    where, split, subset, batch_size, dtype, allow_nonfinite
        As for `smoothed_table`.

    Returns
    -------
    Estimate
        ``seconds`` without compilation; the number of pairs is that of a usual spectrum, or the cap.
    """
    given = list(checkpoints)
    problem = problem_for_all(problem, given)
    subject = make_subject(problem, given[0], mask=mask, where=where, allow_nonfinite=allow_nonfinite)
    count = problem.num_examples(split) if subset is None else subset
    pace = measure_pace(
        problem, subject, split=split, count=count, batch_size=batch_size, dtype=dtype, order=0
    )
    if num_pairs is not None:
        parts = {"diagonal": Cost(passes=2 * num_pairs, vectors=8)}
    else:
        usual = min(_PAIRS[form] / relative_error**2, max_pairs)
        parts = {"trace": Cost(passes=POINTS[form] * usual, vectors=8, stops=True)}
    return Estimate(name="smoothed curvature", parts=parts, networks=len(given), pace=pace)


def curvature_parts(
    dim: int,
    *,
    k: int = 5,
    which: str = "largest",
    trace: bool = True,
    relative_error: float = 0.05,
    density: bool = False,
    scale: bool = False,
) -> Mapping[str, Cost]:
    """Return what each part of a table costs at a network of `dim` free parameters."""
    if scale:
        return {"diagonal": Cost(products=dim if dim <= MOST_DENSE else _DIAGONAL, vectors=12)}
    ends = _BOTH_ENDS if which == "both" else 1
    parts = {}
    if k:
        parts["eigenvalues"] = _products(ends * (_FIRST_PAIR + _EACH_PAIR * k), dim, vectors=_BASIS + 2 * k)
    if trace:
        parts["trace"] = _products(trace_products(relative_error), dim, vectors=_BASIS)
    if density:
        parts["density"] = Cost(products=_DENSITY, vectors=_BASIS + 20)
    return parts


def _products(typical: float, dim: int, *, vectors: int) -> Cost:
    """Return the usual products, or those that form the matrix of a small network."""
    return Cost(products=min(typical, dim), vectors=min(vectors, dim) + 4, stops=typical < dim)
