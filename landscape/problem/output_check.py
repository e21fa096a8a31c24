"""The check that a problem's outputs belong to its loss."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from landscape.compute import on_device
from landscape.errors import ProblemError
from landscape.problem.probing import run_anew
from landscape.trees import opened, sealed

if TYPE_CHECKING:
    from landscape.problem.outputs import Outputs
    from landscape.problem.problem import Problem

PyTree = Any


def require_outputs(problem: Problem) -> Outputs:
    """Return the problem's outputs.

    Raises
    ------
    ProblemError
        If it has none.
    """
    if problem.outputs is None:
        raise ProblemError(
            "the problem does not say where its outputs are, which this matrix needs",
            expected="Problem(..., outputs=Outputs(model, loss))",
            got="a loss alone",
            hint="Give outputs, or use hessian or fisher(labels='data').",
        )
    return problem.outputs


def checked_outputs(problem: Problem, point: PyTree) -> Outputs:
    """Return the problem's outputs, after checking on a few examples that they compose to its loss.

    This happens once per problem, like the probe of its loss; values that are not finite prove nothing.
    """
    outputs = require_outputs(problem)
    functions = problem.loss, outputs
    if problem.__dict__.get("_composed") == functions:
        return outputs
    batch = jax.tree.map(on_device, problem.head(4))

    def both(point: PyTree, batch: PyTree) -> tuple[Any, Any]:
        given = opened(point)
        return problem.loss(given, batch), outputs.loss(outputs.model(given, batch), batch)

    whole, parts = (np.asarray(found, np.float64) for found in run_anew(both, sealed(point), batch))
    if whole.shape != parts.shape or not np.allclose(whole, parts, rtol=1e-3, atol=1e-5, equal_nan=True):
        raise ProblemError(
            "outputs: the loss of the model's outputs is not the loss of the problem",
            expected=f"{whole.flat[0]:.6g} for the first example",
            got=f"{parts.flat[0]:.6g}" if parts.size else "nothing",
            hint="Take both from one function: loss = outputs.loss(outputs.model(params, batch), batch).",
        )
    if np.isfinite(whole).all():
        problem.__dict__["_composed"] = functions
    return outputs
