"""Per-example quantities beside the loss, and which direction is better."""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, Any, Protocol

from landscape.errors import ProblemError

if TYPE_CHECKING:
    import jax

PyTree = Any


HIGHER_BY_NAME = ("accuracy", "return")  # ends of names of metrics whose direction need not be said


class MetricFunction(Protocol):
    """``fn(params, batch) -> [B]``: one value per example."""

    def __call__(self, params: PyTree, batch: PyTree, /) -> jax.Array:
        """Return one value for each example of `batch`."""


@dataclasses.dataclass(frozen=True)
class Metric:
    """A named per-example quantity beside the loss.

    Parameters
    ----------
    fn : callable
        ``fn(params, batch) -> [B]``.
    higher_is_better : bool
        Whether a larger mean is an improvement (accuracy, return) or not (error).
    span : float, optional
        Distance between the worst and the best value, in units of the metric: 500 for the return of
        CartPole. Measures that ask how much is lost state it relative to this.
    of_outputs : callable, optional
        The same as ``of_outputs(outputs, batch) -> [B]``, of the outputs of the problem's `Outputs`: then one
        pass through the network serves the loss and the metric.

    Raises
    ------
    ProblemError
        If the span is not a positive number.
    """

    fn: MetricFunction
    _: dataclasses.KW_ONLY
    higher_is_better: bool = False
    span: float | None = None
    of_outputs: MetricFunction | None = None

    def __post_init__(self) -> None:
        span = self.span
        if span is not None and (
            isinstance(span, bool)
            or not isinstance(span, (int, float))
            or not (span > 0 and math.isfinite(span))
        ):
            raise ProblemError(
                "metric: its span is not a distance",
                expected="a positive number: best minus worst value",
                got=repr(span)[:60],
                hint="Leave it out where it is not known.",
            )


def as_metric(key: str, value: Metric | MetricFunction) -> Metric:
    """Return a metric; of a bare function lower values are better, unless its name says otherwise.

    Raises
    ------
    ProblemError
        If it is no function, or has the name of the loss.
    """
    if key == "loss":
        raise ProblemError("metrics: 'loss' is the name of the loss itself", hint="Rename the metric.")
    if isinstance(value, Metric):
        return value
    if not callable(value):
        raise not_a_function(f"metrics: {key!r} is not a function", "fn(params, batch) -> [B]", value)
    return Metric(value, higher_is_better=key.lower().endswith(HIGHER_BY_NAME))


def not_a_function(what: str, expected: str, got: object) -> ProblemError:
    """Return the error about something that is no function."""
    hint = "Give the function itself, not what it returns."
    return ProblemError(what, expected=expected, got=repr(got)[:80], hint=hint)
