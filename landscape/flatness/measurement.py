"""From numbers to a result: the part that all measures share."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from landscape.flatness.neighbourhood import Neighbourhood
from landscape.flatness.results import ESTIMATE, FlatnessMeasure
from landscape.results import probe_interval, provenance, too_few_probes

CONFIDENCE = 0.95


def measured(  # noqa: PLR0913  one keyword per field
    around: Neighbourhood,
    name: str,
    value: float | None,
    *,
    label: str,
    standard_error: float | None = None,
    interval: tuple[float, float] | None = None,
    radius: float | None = None,
    details: Mapping[str, Any] | None = None,
    settings: Mapping[str, Any] | None = None,
    status: str = "ok",
    warnings: Sequence[str] = (),
) -> FlatnessMeasure:
    """Return the result of a measure; a value that is not finite says so."""
    if value is not None and not math.isfinite(value) and status == "ok":
        status = "non-finite"
        warnings = (*warnings, f"{name}: the loss is not finite at some of the perturbations")
    if not around.subject.finite:
        status = "non-finite"
    if value is not None and not math.isfinite(value):
        standard_error, interval = None, None
    settings = dict(settings or {})
    return FlatnessMeasure(
        name=name,
        value=value,
        standard_error=standard_error,
        interval=interval,
        label=label,
        radius=radius,
        dim=around.dim,
        loss=around.base["loss"],
        parameter_norm=around.norm,
        details=dict(details or {}),
        status=status,
        warnings=(*around.subject.notes, *warnings),
        config={**around.config, **settings, "measure": name},
        stats=around.stats,
        provenance=provenance(seed=settings.get("seed"), dtype=around.dtype.name, digests=around.digests()),
    )


def mean_of(values: np.ndarray) -> tuple[float, float | None, tuple[float, float] | None]:
    """Return mean, standard error and Student's t interval over independent draws.

    Draws that are not all finite have no mean: NaN.
    """
    from scipy.special import stdtrit

    if not np.isfinite(values).all():
        return math.nan, None, None
    count, mean = len(values), float(np.mean(values))
    if count < 2:
        return mean, None, None
    error = float(np.std(values, ddof=1)) / math.sqrt(count)
    half = float(stdtrit(count - 1, 0.5 + CONFIDENCE / 2)) * error
    return mean, error, (mean - half, mean + half)


def drawn_mean_of(values: np.ndarray) -> tuple[float, float | None, tuple[float, float] | None]:
    """Return what `mean_of` does, with the interval of `probe_interval`, which skewed draws need.

    Where a few directions dominate, the rise along a normal draw is distributed like χ² of one degree of
    freedom; Student's interval then covers as little as .85. Fewer than ten draws have no interval.
    """
    mean, error, _ = mean_of(values)
    return mean, error, probe_interval(values) if error is not None else None


def estimate(
    around: Neighbourhood,
    name: str,
    values: np.ndarray,
    *,
    mean: Callable[[np.ndarray], tuple[float, float | None, tuple[float, float] | None]] = drawn_mean_of,
    **fields: Any,
) -> FlatnessMeasure:
    """Return the mean over independent draws as a result."""
    value, error, interval = mean(values)
    warnings = list(fields.pop("warnings", ()))
    if interval is None and error is not None:
        warnings.append(f"{name}: {too_few_probes(len(values), what='draws')}")
    return measured(
        around,
        name,
        value,
        label=ESTIMATE,
        standard_error=error,
        interval=interval,
        warnings=warnings,
        **fields,
    )
