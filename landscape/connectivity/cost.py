"""The cost of a barrier, before it is measured."""

from __future__ import annotations

from typing import Any

from landscape.connectivity.line import REFINEMENTS
from landscape.network import Cost, Estimate, make_subject, measure_pace
from landscape.problem import Problem, problem_for

__all__ = ["barrier_cost"]


def barrier_cost(  # noqa: PLR0913  one keyword per setting
    problem: Problem | None,
    a: Any,
    b: Any,
    *,
    num_points: int = 25,
    split: str = "train",
    refine: bool = True,
    batch_size: int | None = None,
    dtype: str | None = None,
    batch_stats: str = "recompute",
    allow_nonfinite: bool = False,
) -> Estimate:
    """Estimate what `loss_barrier` would take, from the pace of the first network.

    Parameters
    ----------
    problem, a, b, num_points, split, refine, batch_size, dtype, batch_stats, allow_nonfinite
        As for `loss_barrier`.

    Returns
    -------
    Estimate
        ``seconds`` without compilation, ``memory`` in bytes.
    """
    problem = problem_for(problem, a, b)
    subject = make_subject(problem, a, mask=False, allow_nonfinite=allow_nonfinite)
    pace = measure_pace(problem, subject, split=split, batch_size=batch_size, dtype=dtype, order=0)
    main = problem.num_examples(split)
    parts = {
        f"losses, {name}": Cost(passes=num_points * problem.num_examples(name) / main)
        for name in (split, *(other for other in problem.splits if other != split))
    }
    if refine:
        parts["refinement of the maxima"] = Cost(passes=2 * REFINEMENTS)
    if problem.update_stats is not None and batch_stats == "recompute":
        points = num_points + (2 * REFINEMENTS if refine else 0)
        parts["batch statistics"] = Cost(passes=points * problem.num_examples("train") / main)
    return Estimate(name="barrier", parts=parts, networks=1, pace=pace)
