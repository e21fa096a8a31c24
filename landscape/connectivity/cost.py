"""The cost of barriers and connecting curves, before they are measured."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from landscape.connectivity import endpoints
from landscape.connectivity.curve_form import DEFAULT_BENDS, NEB, STRAIGHT
from landscape.connectivity.refinement import REFINEMENTS
from landscape.connectivity.relations import ALL, chosen_pairs, record_of
from landscape.connectivity.renormalisation import layers_of
from landscape.network import Cost, Estimate, Subject, make_subject, measure_pace
from landscape.problem import Problem, problem_for, require_gradient

__all__ = ["barrier_cost", "curve_cost", "matrix_cost"]


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
    repair: bool = False,
    allow_nonfinite: bool = False,
) -> Estimate:
    """Estimate what `loss_barrier` would take, from the pace of the first network.

    Parameters
    ----------
    problem, a, b, num_points, split, refine, batch_size, dtype, batch_stats, repair, allow_nonfinite
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
        for name in _from(split, problem)
    }
    if refine:
        parts["refinement of the maxima"] = Cost(passes=2 * REFINEMENTS)
    points = num_points + (2 * REFINEMENTS if refine else 0)
    if repair:
        parts["renormalisation"] = _renormalisation(problem, subject, points, main)
    if batch_stats == "recompute":
        parts |= _statistics(problem, points, main)
    return Estimate(name="barrier", parts=parts, networks=1, pace=pace)


def matrix_cost(  # noqa: PLR0913  one keyword per setting
    problem: Problem | None,
    checkpoints: Sequence[Any],
    *,
    pairs: Any = ALL,
    num_points: int = 25,
    split: str = "train",
    batch_size: int | None = None,
    dtype: str | None = None,
    batch_stats: str = "recompute",
    repair: bool = False,
    allow_nonfinite: bool = False,
) -> Estimate:
    """Estimate what `barrier_matrix` would take, from the pace of the first network.

    Parameters
    ----------
    problem, checkpoints, pairs, num_points, split, batch_size, dtype, batch_stats, repair,
    allow_nonfinite
        As for `barrier_matrix`.

    Returns
    -------
    Estimate
        ``seconds`` without compilation, ``memory`` in bytes.
    """
    given = [endpoints.read(item) for item in checkpoints]
    problem = problem_for(problem, *given)
    infos = [getattr(item, "info", None) for item in given]
    count = len(chosen_pairs(pairs, [record_of(str(i), info, None) for i, info in enumerate(infos)]))
    subject = make_subject(problem, given[0], mask=False, allow_nonfinite=allow_nonfinite)
    pace = measure_pace(problem, subject, split=split, batch_size=batch_size, dtype=dtype, order=0)
    main, inner = problem.num_examples(split), count * (num_points - 2)
    parts = {
        f"{count} pairs, {name}": Cost(
            passes=(inner + len(given)) * problem.num_examples(name) / main, vectors=4 + len(given)
        )
        for name in _from(split, problem)
    }
    if repair:
        parts["renormalisation"] = _renormalisation(problem, subject, inner, main)
    if batch_stats == "recompute":
        parts |= _statistics(problem, inner, main)
    return Estimate(name="barrier matrix", parts=parts, networks=1, pace=pace)


def curve_cost(  # noqa: PLR0913  one keyword per setting
    problem: Problem | None,
    a: Any,
    b: Any,
    *,
    curve: str = "bezier",
    bends: int | None = None,
    steps: int = 500,
    train_batch_size: int = 128,
    num_points: int = 25,
    split: str = "train",
    batch_size: int | None = None,
    dtype: str | None = None,
    batch_stats: str = "recompute",
) -> Estimate:
    """Estimate what `connect` would take, from the pace of the first network.

    Parameters
    ----------
    problem, a, b, curve, bends, steps, train_batch_size, num_points, split, batch_size, dtype, batch_stats
        As for `connect`.

    Returns
    -------
    Estimate
        ``seconds`` without compilation, ``memory`` in bytes.
    """
    problem = problem_for(problem, a, b)
    require_gradient(problem, "connect", instead=STRAIGHT)
    subject = make_subject(problem, a, mask=False)
    pace = measure_pace(problem, subject, split=split, batch_size=batch_size, dtype=dtype, order=1)
    main = problem.num_examples(split)
    images = bends or DEFAULT_BENDS[curve]
    per_step = images if curve == NEB else 2
    batch = min(train_batch_size, problem.num_examples("train"))
    parts = {
        f"training, {steps} steps": Cost(gradients=steps * per_step * batch / main, vectors=4 + 4 * images),
        **{
            f"losses, {name}": Cost(
                passes=num_points * problem.num_examples(name) / main * (2 if name == split else 1)
            )
            for name in _from(split, problem)
        },
    }
    if batch_stats == "recompute":
        parts |= _statistics(problem, 2 * num_points, main)
    return Estimate(name="curve", parts=parts, networks=1, pace=pace)


def _from(split: str, problem: Problem) -> tuple[str, ...]:
    """Return the splits of a problem, one of them first."""
    return (split, *(other for other in problem.splits if other != split))


def _renormalisation(problem: Problem, subject: Subject, points: int, main: int) -> Cost:
    """Return the cost of renormalising networks: a pass over the training data per depth of layers."""
    depths = len({layer.depth for layer in layers_of(problem, subject.params, subject.batch_stats)})
    share = problem.num_examples("train") / main
    return Cost(passes=points * depths * share)


def _statistics(problem: Problem, points: int, main: int) -> dict[str, Cost]:
    """Return the cost of batch statistics recomputed at points; none of a problem without them."""
    if problem.update_stats is None:
        return {}
    return {"batch statistics": Cost(passes=points * problem.num_examples("train") / main)}
