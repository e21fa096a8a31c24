"""From numbers to a result: what all measures have in common."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from landscape.flatness._surroundings import Surroundings
from landscape.flatness.results import ESTIMATE, FlatnessMeasure
from landscape.provenance import provenance

CONFIDENCE = 0.95


def measured(  # noqa: PLR0913  one keyword a field
    around: Surroundings,
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


def estimate(around: Surroundings, name: str, values: np.ndarray, **fields: Any) -> FlatnessMeasure:
    """Return the mean over independent draws as a result."""
    value, error, interval = mean_of(values)
    return measured(around, name, value, label=ESTIMATE, standard_error=error, interval=interval, **fields)
