"""A loss taken apart at the model's outputs."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from landscape.errors import ProblemError

if TYPE_CHECKING:
    import jax

PyTree = Any
Function = Callable[[PyTree, PyTree], "jax.Array"]


@dataclasses.dataclass(frozen=True)
class Outputs:
    """A loss taken apart at the model's outputs, which Gauss-Newton and Fisher matrices need.

    Parameters
    ----------
    model : callable
        ``model(params, batch) -> [B, …]``: the outputs (logits, say); `params` as the loss takes it.
    loss : callable
        ``loss(outputs, batch) -> [B]``; composed with `model` it must be the loss of the problem.
    likelihood : {"categorical", "gaussian"}, optional
        The distribution of labels whose negative log-likelihood the loss is: categorical with the
        outputs as logits along the last axis, or Gaussian of unit variance around them.
    """

    model: Function
    loss: Function
    _: dataclasses.KW_ONLY
    likelihood: str | None = None

    def __post_init__(self) -> None:
        if self.likelihood not in (None, "categorical", "gaussian"):
            raise ProblemError(
                "outputs: unknown likelihood",
                expected="categorical, gaussian or None",
                got=repr(self.likelihood),
                hint="Leave it out where the loss is not a negative log-likelihood.",
            )
