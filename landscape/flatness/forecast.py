"""The cost of flatness, before it is measured: seconds, from the pace of the first network, and memory."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from landscape.flatness.neighbourhood import Neighbourhood
from landscape.flatness.options import Options
from landscape.flatness.register import MEASURES, NEEDS, needs_slopes
from landscape.flatness.request import Request
from landscape.network import Cost, Estimate, measure_pace
from landscape.problem import Problem, problem_for_all

__all__ = ["flatness_cost", "forecast"]

# Share of the time that products must have, at usual prices, for their price to be worth a program.
_WORTH = 0.1


def flatness_cost(
    problem: Problem | None,
    checkpoints: Iterable[Any],
    *,
    measures: str | Sequence[str] | None = None,
    spaces: Sequence[str] = ("ticket",),
    radii: Mapping[str, float | Sequence[float]] | None = None,
    settings: Mapping[str, Mapping[str, Any]] | None = None,
    draws: int | None = None,
    **options: Any,
) -> Estimate:
    """Estimate what `flatness_table` would take, from the pace of the first network.

    A forward pass and a gradient are timed on one batch; nothing else is compiled.

    Parameters
    ----------
    problem, checkpoints, measures, spaces, radii, settings, draws
        As for `flatness_table`.
    **options
        ``where``, ``split``, ``subset``, ``batch_size``, ``dtype``, ``allow_nonfinite``: likewise.

    Returns
    -------
    Estimate
        ``seconds`` without compilation, ``memory`` in bytes; ``str`` is a table of the measures.

    Raises
    ------
    ConfigurationError, InputError, ProblemError
        As `flatness_table` does.

    Examples
    --------
    >>> import numpy as np
    >>> from landscape import Problem
    >>> from landscape.flatness import flatness_cost
    >>> def loss(params, batch):
    ...     return 0.5 * (batch @ params["w"]) ** 2
    >>> problem = Problem(loss, train=np.eye(2, dtype=np.float32))
    >>> found = flatness_cost(problem, [{"w": np.ones(2, np.float32)}], measures=["sam", "trace"])
    >>> {name: str(cost) for name, cost in found.parts.items()}
    {'sam': '2 gradients', 'trace': '2 products'}
    """
    given = list(checkpoints)
    request = Request.of(measures, radii=radii, draws=draws, seed=0, settings=settings)
    mask = False if list(spaces) == ["full"] else None
    problem = problem_for_all(problem, given)
    request.check_slopes(problem)
    around = Neighbourhood(problem, given[0], Options(mask=mask, **options))
    return forecast(around, request, networks=len(given) * len(spaces), order=1)


def lacking(around: Neighbourhood, measure: str) -> str | None:
    """Return why a measure is impossible for a problem or a network, None if it is possible."""
    needs = MEASURES[measure].needs
    problem, checkpoint = around.problem, around.subject.checkpoint
    if needs_slopes(measure) and not problem.differentiable:
        return "the loss has no derivatives"
    has = {
        "": True,
        "outputs": problem.outputs is not None,
        "likelihood": problem.outputs is not None and problem.outputs.likelihood is not None,
        "accuracy": bool({"accuracy", "error"} & set(problem.metrics))
        or any(metric.span for metric in problem.metrics.values()),
        "features": problem.features is not None,
        "std": checkpoint is not None and checkpoint.std is not None,
        "kernels": any(len(shape) > 1 for shape in around.layout.shapes),
    }
    return None if has[needs] else f"give {NEEDS[needs]}"


def costs_of(around: Neighbourhood, request: Request) -> dict[str, Cost]:
    """Return what each measure that is possible at a network costs."""
    return {
        name: request.cost(name, around.dim)
        for name in request.measures
        if name in request.chosen or lacking(around, name) is None
    }


def forecast(around: Neighbourhood, request: Request, *, networks: int, order: int | None = None) -> Estimate:
    """Return what a request takes at several networks like this one.

    Parameters
    ----------
    around, request
        The first network, and what to measure.
    networks : int
        How many networks.
    order : {1, 2}, optional
        Whether a product is timed too; by default where products take a tenth of the time or more.
    """
    parts = costs_of(around, request)
    total = sum(parts.values(), Cost())
    if order is None:
        order = 2 if Cost(products=total.products).in_gradients > _WORTH * total.in_gradients else 1
    options = around.options
    pace = measure_pace(
        around.problem,
        around.subject,
        split=options.split,
        count=around.count,
        batch_size=options.batch_size,
        dtype=options.dtype,
        order=order,
    )
    return Estimate(name="flatness", parts=parts, networks=networks, pace=pace)
