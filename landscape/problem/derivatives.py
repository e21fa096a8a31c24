"""The refusal of derivatives of a loss that has none."""

from __future__ import annotations

from typing import TYPE_CHECKING

from landscape.errors import ProblemError

if TYPE_CHECKING:
    from landscape.problem.problem import Problem

# What stands in for derivatives where there are none.
SMOOTHED = (
    "smoothed_gradient, smoothed_diagonal or smoothed_trace (landscape curvature CKPT --smoothed RADIUS)"
)


def require_gradient(problem: Problem, what: str, *, instead: str = SMOOTHED) -> None:
    """Refuse what takes derivatives of a loss that has none.

    Parameters
    ----------
    problem : Problem
        The loss.
    what : str
        What was asked for.
    instead : str
        What measures something close to it without derivatives.

    Raises
    ------
    ProblemError
        In one sentence, if the problem is not differentiable.
    """
    if not problem.differentiable:
        raise ProblemError(
            f"{what}: needs derivatives of the loss, and that of {problem.name} has none "
            f"(differentiable=False); use {instead}"
        )
