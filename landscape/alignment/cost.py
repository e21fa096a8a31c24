"""The cost of bringing one network to another, before it is done."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from landscape.alignment.matchers import ACTIVATIONS, BARRIER, METHODS, OBSERVED
from landscape.alignment.refining import EXAMPLES, GRID, MEASURED
from landscape.compute import Progress
from landscape.network import Cost, Estimate, bar_label, make_subject, measure_pace
from landscape.problem import problem_for
from landscape.results import check_choice

if TYPE_CHECKING:
    from landscape.problem import Problem

__all__ = ["align_cost", "bar", "reached"]

_STARTS = 3
_STAGES = 2  # of a bar, beside the steps: the program has been read, units are matched


def align_cost(
    problem: Problem | None,
    a: Any,
    b: Any,
    *,
    method: str = "weights",
    steps: int = 100,
    split: str = "train",
    batch_size: int | None = None,
) -> Estimate:
    """Estimate what `align` would take, from the pace of the first network.

    The time of the assignments themselves, which is that of the host, is not in it: it grows with the cube of
    the largest layer.

    Parameters
    ----------
    problem, a, b, method, steps, split, batch_size
        As for `align`.

    Returns
    -------
    Estimate
        ``seconds`` without compilation and assignments, ``memory`` in bytes.
    """
    check_choice("method", method, METHODS)
    problem = problem_for(problem, a, b)
    subject = make_subject(problem, a, mask=False)
    order = 1 if method == BARRIER else 0
    pace = measure_pace(problem, subject, split=split, batch_size=batch_size, order=order)
    count = problem.num_examples(split)
    parts = {"check on data": Cost(passes=2, vectors=8)}
    if method in (ACTIVATIONS, BARRIER):
        parts["activations"] = Cost(passes=2 * min(OBSERVED, count) / count)
    if method == BARRIER:
        parts[f"{steps} steps"] = Cost(gradients=steps * min(EXAMPLES, count) / count, vectors=12)
        parts["barriers"] = Cost(passes=(_STARTS + MEASURED + 2) * GRID)
    return Estimate(name="align", parts=parts, networks=1, pace=pace)


@contextlib.contextmanager
def bar(
    progress: Progress, problem: Problem, networks: Sequence[Any], *, method: str, steps: int, **how: Any
) -> Iterator[None]:
    """Show the stages and steps of an alignment, with the estimate before the first.

    Parameters
    ----------
    progress : Progress
        Is told.
    problem, networks : Problem and pair of pytrees
        What is aligned.
    method, steps
        As for `align`.
    **how
        ``split`` and ``batch_size``, likewise.
    """
    label = bar_label(
        progress, "align", lambda: align_cost(problem, *networks, method=method, steps=steps, **how)
    )
    progress.start(label, total=_STAGES + (steps if method == BARRIER else 0))
    progress.note("reading the program of the loss")
    try:
        yield
    finally:
        progress.stop()


def reached(progress: Progress, stage: str) -> None:
    """Count a stage, and say what comes next."""
    progress.advance(1)
    progress.note(stage)
