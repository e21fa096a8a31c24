"""Numbers with the uncertainty of their probes: trace, Frobenius norm, diagonal. No jax."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from landscape.results import (
    Later,
    Maybe,
    Numbers,
    Record,
    Result,
    Table,
    Text,
    Within,
    count,
    flag,
    format_value,
    interval,
    with_error,
)

__all__ = [
    "NOT_FINITE",
    "Diagonal",
    "FrobeniusNorm",
    "Trace",
    "entry_rows",
    "estimate_text",
    "layer_text",
    "trace_rows",
]

NOT_FINITE = "unknown: a product was not finite"


def estimate_text(
    value: float,
    standard_error: float | None,
    interval: Any,
    *,
    method: str,
    error_estimate: float | None = None,
) -> str:
    """Return an estimate with its error, as far as the error is known."""
    if not np.isfinite(value):
        return NOT_FINITE
    if method == "exact":
        return f"{format_value(value)} exactly"
    known = standard_error is not None and np.isfinite(standard_error)
    text = with_error(value, standard_error if known else None, interval)
    if interval is not None:
        return text
    if error_estimate is not None and np.isfinite(error_estimate):
        text += f", error estimate {format_value(error_estimate)}"
    return f"{text} (no interval)"


def layer_text(found: Mapping[str, Any]) -> str:
    """Return the share of a layer with its error; without one where it is exact."""
    error = found.get("standard_error")
    return with_error(found["value"], error, found.get("interval")) if error else format_value(found["value"])


# Of a stored `Eigenpairs.complete_probe`; results of older versions lack one or the other.
PROBE = Maybe(
    Record(
        {
            **{name: Maybe(flag()) for name in ("passed", "decided", "exact")},
            "num_matvecs": Maybe(count()),
            "most_extreme": Maybe(Numbers()),
        }
    )
)
# What is stored of an estimate, and of the share of one layer in it.
_ESTIMATE = {
    "value": Numbers(finite="ok"),
    "standard_error": Maybe(Numbers(least=0)),
    "error_estimate": Maybe(Numbers(least=0)),
    "interval": interval(),
    "confidence": Later(Numbers(finite=True, least=0, most=1)),
    "method": Text(),
    "num_probes": count(),
    "dim": count(least=1),
    "num_matvecs": count(),
}
LAYERS = Maybe(
    Table(
        Record(
            {
                "value": Numbers(),
                "standard_error": Maybe(Numbers(least=0)),
                "interval": interval(),
                "size": Maybe(count()),
            },
            (Within("value", "interval"),),
        )
    )
)


def trace_rows(found: Any, name: str, line: str) -> list[tuple[str, str]]:
    """Return the printed lines of a trace: `line`, the mean eigenvalue, errors from the examples, layers."""
    rows = [(name, line)]
    if np.isfinite(found.value):
        rows.append(("mean eigenvalue", format_value(found.value / found.dim)))
    if found.data_standard_error is not None:
        rows.append(("from the examples", f"± {format_value(found.data_standard_error)}"))
    known = [(path, layer) for path, layer in found.per_layer.items() if np.isfinite(layer["value"])]
    return [*rows, *((path, layer_text(layer)) for path, layer in known[:6])]


def entry_rows(values: np.ndarray, errors: np.ndarray | None) -> list[tuple[str, str]]:
    """Return the printed lines of known entries, and of their standard errors unless these are None."""
    spread = np.quantile(values, [0, 0.25, 0.5, 0.75, 1])
    rows = [
        ("quartiles", ", ".join(map(format_value, spread))),
        ("negative entries", f"{np.mean(values < 0):.1%} of {len(values):,}"),
    ]
    if errors is not None:
        rows.append(("median standard error", format_value(float(np.median(errors)))))
    return rows


@dataclasses.dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class _Estimated(Result):
    """A number with the uncertainty of its probes.

    Attributes
    ----------
    value : float
        The estimate.
    standard_error : float or None
        Over probes; None where the method has none.
    error_estimate : float or None
        Of XTrace: the spread of its leave-one-out values, which is not a standard error.
    interval : tuple of float, or None
        Hull of Student's and Hall's (see `landscape.results.probes`); None, with the reason among the
        warnings, where too few probes were made to know their own error.
    confidence : float
        Its coverage.
    method : str
        The estimator used.
    num_probes : int
        Independent values behind the standard error; those of a pilot are not among them.
    dim : int
        Size of the matrix.
    num_matvecs : int
        Products in all.
    """

    statuses = ("ok", "not-converged", "non-finite")
    spec = Record(_ESTIMATE, (Within("value", "interval"),))

    value: float
    standard_error: float | None = None
    error_estimate: float | None = None
    interval: tuple[float, float] | None = None
    confidence: float = 0.95
    method: str
    num_probes: int
    dim: int
    num_matvecs: int

    def _line(self) -> str:
        text = estimate_text(
            self.value,
            self.standard_error,
            self.interval,
            method=self.method,
            error_estimate=self.error_estimate,
        )
        before = self.status == "non-finite" and np.isfinite(self.value) and self.method != "exact"
        return f"{text}, from the {self.num_probes} before a product that was not finite" if before else text

    @classmethod
    def from_fields(cls, fields: Mapping[str, Any], **base: Any) -> Any:
        """Build it from stored fields: tuples were stored as lists."""
        mended = dict(fields)
        if mended.get("interval") is not None:
            mended["interval"] = tuple(mended["interval"])
        return super().from_fields(mended, **base)


@dataclasses.dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class Trace(_Estimated):
    """The trace of a curvature matrix.

    Attributes
    ----------
    per_layer : dict
        ``[path]`` to ``value``, ``standard_error``, ``interval`` and ``size``, from the same products.
    data_standard_error : float or None
        Standard error from the choice of examples, apart from that of the probes: the trace is that of
        a sample of data, and this says how far another sample of the size would give another one.
    """

    kind: ClassVar[str] = "trace"
    spec = Record(
        {**_ESTIMATE, "per_layer": LAYERS, "data_standard_error": Maybe(Numbers(least=0))},
        (Within("value", "interval"),),
    )

    per_layer: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)
    data_standard_error: float | None = None

    def rows(self) -> list[tuple[str, str]]:
        """Return the printed lines."""
        method = ("method", f"{self.method}, {self.num_matvecs} products")
        return [*trace_rows(self, "trace", self._line()), method]


@dataclasses.dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class FrobeniusNorm(_Estimated):
    """The Frobenius norm ``√Σ λ²`` of a curvature matrix."""

    kind: ClassVar[str] = "frobenius_norm"

    def rows(self) -> list[tuple[str, str]]:
        """Return the printed lines."""
        return [("Frobenius norm", self._line()), ("method", f"{self.method}, {self.num_matvecs} products")]


@dataclasses.dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class Diagonal(Result):
    """The diagonal of a curvature matrix.

    Attributes
    ----------
    values : numpy.ndarray [dim]
        The estimate, entry by entry.
    standard_errors : numpy.ndarray [dim] or None
        Of each entry over probes; zeros if exact, None for XDiag.
    error_estimates : numpy.ndarray [dim] or None
        Of XDiag: the spread of its leave-one-out values, which is not a standard error.
    intervals : numpy.ndarray [dim, 2] or None
        Student's t of each entry by itself, for Hutchinson.
    confidence : float
        Their coverage.
    method : str
        The estimator used.
    num_probes, dim, num_matvecs : int
        As for a trace.
    """

    kind: ClassVar[str] = "diagonal"
    statuses = ("ok", "not-converged", "non-finite")
    spec = Record(
        {
            "values": Numbers("dim", finite="ok", limit=None),
            "standard_errors": Maybe(Numbers("dim", least=0, limit=None)),
            "error_estimates": Maybe(Numbers("dim", least=0, limit=None)),
            "intervals": Maybe(Numbers("dim", 2, ordered=True, limit=None)),
            "confidence": Later(Numbers(finite=True, least=0, most=1)),
            "method": Text(),
            "num_probes": count(),
            "dim": count(equals="dim", least=1),
            "num_matvecs": count(),
        },
        (Within("values", "intervals"),),
    )

    values: np.ndarray
    standard_errors: np.ndarray | None = None
    error_estimates: np.ndarray | None = None
    intervals: np.ndarray | None = None
    confidence: float = 0.95
    method: str
    num_probes: int
    dim: int
    num_matvecs: int

    def rows(self) -> list[tuple[str, str]]:
        """Return the printed lines."""
        known = self.values[np.isfinite(self.values)]
        method = ("method", f"{self.method}, {self.num_matvecs} products")
        if not len(known):
            return [("entries", NOT_FINITE), method]
        rows = entry_rows(known, None if self.method == "exact" else self.standard_errors)
        if len(known) < self.dim:
            rows.insert(0, ("known", f"{len(known):,} of {self.dim:,} entries: {NOT_FINITE}"))
        if self.error_estimates is not None:
            rows.append(("median error estimate", format_value(float(np.median(self.error_estimates)))))
        return [*rows, method]
