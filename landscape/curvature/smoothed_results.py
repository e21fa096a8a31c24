"""Derivatives of a smoothed loss, with the uncertainty of their pairs. No jax."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from landscape.curvature.estimates import LAYERS, entry_rows, trace_rows
from landscape.results import (
    Maybe,
    Numbers,
    Record,
    Result,
    Table,
    Text,
    Within,
    count,
    format_value,
    interval,
    with_error,
)

__all__ = ["SmoothedDiagonal", "SmoothedGradient", "SmoothedTrace"]

_STATUSES = ("ok", "not-converged", "non-finite")
_FORMS = ("gaussian", "sphere")
# What is stored of every estimate from pairs.
_PAIRS = {
    "radius": Numbers(finite=True, least=0),
    "form": Text(_FORMS),
    "loss": Numbers(),
    "rise": Maybe(Numbers()),
    "rise_standard_error": Maybe(Numbers(least=0)),
    "confidence": Numbers(finite=True, least=0, most=1),
    "num_pairs": count(),
    "pilot_pairs": count(),
}
_ENTRIES = {
    "values": Numbers("dim", finite="ok", limit=None),
    "standard_errors": Maybe(Numbers("dim", least=0, limit=None)),
    "intervals": Maybe(Numbers("dim", 2, ordered=True, limit=None)),
    "dim": count(equals="dim", least=1),
}


@dataclasses.dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class _Smoothed(Result):
    """A derivative of a smoothed loss.

    Attributes
    ----------
    radius : float
        Standard deviation of each free coordinate.
    form : {"gaussian", "sphere"}
        Distribution of the pairs.
    loss : float
        Mean loss at the network itself.
    rise, rise_standard_error : float or None
        Smoothed loss minus loss: the mean over pairs. None where the loss is not finite at a pair.
    confidence : float
        Coverage of intervals.
    num_pairs, pilot_pairs : int
        Independent pairs behind the answer, and those that decided how many.
    dim : int
        Free coordinates.
    """

    statuses = _STATUSES

    radius: float
    form: str
    loss: float
    rise: float | None = None
    rise_standard_error: float | None = None
    confidence: float
    num_pairs: int
    pilot_pairs: int
    dim: int

    def _about(self) -> list[tuple[str, str]]:
        """Return the lines that all have: what smoothing does to the loss, and the pairs."""
        rows = []
        if self.rise is not None:
            rise = with_error(self.rise, self.rise_standard_error)
            rows.append(("rise of the loss", f"{rise}, from {format_value(self.loss)}"))
        pilot = f", {self.pilot_pairs} before them as a pilot" if self.pilot_pairs else ""
        how = f"{self.form}, radius {format_value(self.radius)}, {self.num_pairs:,} pairs{pilot}"
        return [*rows, ("smoothing", how)]


@dataclasses.dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class SmoothedTrace(_Smoothed):
    """The trace of the Hessian of a smoothed loss.

    Attributes
    ----------
    value : float
        The estimate; NaN where the loss is not finite at a pair.
    standard_error : float or None
        Over pairs.
    interval : tuple of float, or None
        Hull of Student's and Hall's (see `landscape.results.probes`); None, with the reason among the
        warnings, where too few pairs were made or none changed the loss.
    per_layer : dict
        ``[path]`` to ``value``, ``standard_error``, ``interval`` and ``size``, from the same pairs.
    data_standard_error : float or None
        Standard error from the choice of examples, apart from that of the pairs. It holds what pairs do to
        single examples as well: its square is too large by the square of `standard_error` at most.
    """

    kind: ClassVar[str] = "smoothed_trace"
    spec = Record(
        {
            **_PAIRS,
            "value": Numbers(finite="ok"),
            "standard_error": Maybe(Numbers(least=0)),
            "interval": interval(),
            "per_layer": LAYERS,
            "data_standard_error": Maybe(Numbers(least=0)),
            "dim": count(least=1),
        },
        (Within("value", "interval"),),
    )

    value: float
    standard_error: float | None = None
    interval: tuple[float, float] | None = None
    per_layer: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)
    data_standard_error: float | None = None

    def rows(self) -> list[tuple[str, str]]:
        """Return the printed lines."""
        return [*trace_rows(self, "smoothed trace", self._line()), *self._about()]

    def _line(self) -> str:
        if not np.isfinite(self.value):
            return _UNKNOWN
        text = with_error(self.value, self.standard_error, self.interval)
        return text if self.interval is not None else f"{text} (no interval)"

    @classmethod
    def from_fields(cls, fields: Mapping[str, Any], **base: Any) -> Any:
        """Build it from stored fields: tuples were stored as lists, and a trace without layers has none."""
        mended = {"per_layer": {}, **fields}
        if mended.get("interval") is not None:
            mended["interval"] = tuple(mended["interval"])
        return super().from_fields(mended, **base)


@dataclasses.dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class SmoothedDiagonal(_Smoothed):
    """The diagonal of the Hessian of a smoothed loss.

    Attributes
    ----------
    values : numpy.ndarray [dim]
        The estimate, entry by entry; NaN where the loss is not finite at a pair.
    standard_errors : numpy.ndarray [dim] or None
        Of each entry over pairs.
    intervals : numpy.ndarray [dim, 2] or None
        Of each entry by itself: hull of Student's and Hall's.
    """

    kind: ClassVar[str] = "smoothed_diagonal"
    spec = Record({**_PAIRS, **_ENTRIES}, (Within("values", "intervals"),))

    values: np.ndarray
    standard_errors: np.ndarray | None = None
    intervals: np.ndarray | None = None

    @property
    def method(self) -> str:
        """How the entries are known."""
        return "smoothed"

    def rows(self) -> list[tuple[str, str]]:
        """Return the printed lines."""
        return [*_entries(self.values, self.standard_errors), *self._about()]


@dataclasses.dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class SmoothedGradient(_Smoothed):
    """The gradient of a smoothed loss.

    Attributes
    ----------
    values : numpy.ndarray [dim]
        The estimate, entry by entry; NaN where the loss is not finite at a pair.
    standard_errors : numpy.ndarray [dim] or None
        Of each entry over pairs.
    intervals : numpy.ndarray [dim, 2] or None
        Of each entry by itself: hull of Student's and Hall's.
    norm : float or None
        Length of the gradient, the noise of the entries taken out of its square; None where nothing is left.
    per_layer : dict
        ``[path]`` to ``norm``, likewise, and ``size``.
    """

    kind: ClassVar[str] = "smoothed_gradient"
    spec = Record(
        {
            **_PAIRS,
            **_ENTRIES,
            "norm": Maybe(Numbers(finite="ok", least=0)),
            "per_layer": Maybe(Table(Record({"norm": Maybe(Numbers(least=0)), "size": count()}))),
        },
        (Within("values", "intervals"),),
    )

    values: np.ndarray
    standard_errors: np.ndarray | None = None
    intervals: np.ndarray | None = None
    norm: float | None = None
    per_layer: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)

    def rows(self) -> list[tuple[str, str]]:
        """Return the printed lines."""
        norm = "smaller than its noise" if self.norm is None else format_value(self.norm)
        rows = [("smoothed gradient", f"of length {norm}, {self.dim:,} entries")]
        return [*rows, *_entries(self.values, self.standard_errors), *self._about()]

    @classmethod
    def from_fields(cls, fields: Mapping[str, Any], **base: Any) -> Any:
        """Build it from stored fields: a gradient without layers has none."""
        return super().from_fields({"per_layer": {}, "norm": None, **fields}, **base)


_UNKNOWN = "unknown: the loss is not finite at a pair"


def _entries(values: np.ndarray, errors: np.ndarray | None) -> list[tuple[str, str]]:
    if not np.isfinite(values).all():
        return [("entries", _UNKNOWN)]
    return entry_rows(values, errors)
