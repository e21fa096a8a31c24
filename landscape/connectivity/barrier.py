"""The loss barrier between two networks: how much worse the straight path is than its ends."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Self

import numpy as np

from landscape.connectivity.aligned_fields import ALIGNED_PATH, moved_rows
from landscape.connectivity.barrier_interval import ABOVE_CHORD, ABOVE_MEAN, DEFINITIONS
from landscape.results import (
    Items,
    KeysIn,
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
    means_by_split,
    same_fields,
    with_error,
)

__all__ = ["Barrier"]


@dataclasses.dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class Barrier(Result):
    """Losses along the straight path between two networks, and the barriers they make.

    Attributes
    ----------
    alphas : numpy.ndarray [T]
        The uniform grid on the path; 0 is the first network, 1 the second.
    losses : dict
        ``[split][metric]`` to the means along the path [T]; ``"loss"`` is one of the metrics.
    barrier_above_chord, barrier_above_mean : float or None
        ``max_α L(α) − [(1−α)L(0) + αL(1)]`` and ``max_α L(α) − ½[L(0) + L(1)]`` for the loss on
        `split`; None if a point of the grid is not finite. The maximum is over the grid, hence a
        lower bound on the supremum over the path.
    barriers : dict
        ``[split][metric][definition]`` for everything measured, definitions ``"above_chord"`` and
        ``"above_mean"``; positive where the path is worse than its ends, also for metrics of which
        more is better. Frankle's instability is ``barriers["test"]["accuracy"]["above_mean"]``.
    alpha_max : dict
        Where on the grid the maximum lies, by definition.
    interval_above_chord, interval_above_mean : tuple of float, or None
        Interval for the population that the examples stand for; on the examples themselves the
        value is exact up to the grid.
    bias_above_chord, bias_above_mean : float or None
        Bias of the plug-in maximum: bootstrap mean of the maximum minus the maximum.
    band : dict or None
        By definition: ``excess`` [T], ``standard_error`` [T] and ``critical``, the simultaneous band.
    refined_alphas, refined_losses : numpy.ndarray [R]
        Further points around the maxima, with their losses on `split`.
    barrier_refined : dict or None
        By definition, the maximum over the grid and these points.
    identical : bool
        Whether both networks are the same, so that every barrier is exactly 0.
    split : str
        The split that the two floats, their intervals and the refinement are for.
    num_points : int
        Points of the grid.
    endpoints : tuple of str
        Names of the two networks.
    non_finite : numpy.ndarray
        Points at which a loss or metric is NaN or infinite.
    densities : tuple, or None
        Fraction of kernel weights that each mask leaves, if one has a mask.
    aligned : dict or None
        If the second network was brought to the first: ``method``, ``symmetry``, the share of ``moved`` units
        and the ``units`` by group, and what the losses and barriers were ``before``.
    """

    kind: ClassVar[str] = "barrier"

    statuses = ("ok", "incomplete", "non-finite")
    spec = Record(
        {
            "alphas": Numbers("T", finite=True, increasing=True, least=0, most=1, fewest=2),
            "losses": means_by_split(Numbers("T", finite="ok")),
            "barrier_above_chord": Maybe(Numbers(finite=True)),
            "barrier_above_mean": Maybe(Numbers(finite=True)),
            "barriers": Maybe(Table(Table(Maybe(Table(Maybe(Numbers(finite=True))))))),
            "alpha_max": Maybe(Table(Maybe(Numbers(finite=True, least=0, most=1)))),
            "interval_above_chord": interval(),
            "interval_above_mean": interval(),
            "bias_above_chord": Maybe(Numbers()),
            "bias_above_mean": Maybe(Numbers()),
            "band": Maybe(
                Table(
                    Record(
                        {
                            "excess": Numbers("T", finite=True),
                            "standard_error": Numbers("T", least=0),
                            "critical": Numbers(least=0),
                        }
                    )
                )
            ),
            "refined_alphas": Numbers("R", finite=True, least=0, most=1),
            "refined_losses": Numbers("R", finite="ok"),
            "barrier_refined": Maybe(Record({name: Numbers(finite=True) for name in DEFINITIONS})),
            "identical": flag(),
            "split": Text(),
            "num_points": count(equals="T"),
            "endpoints": Items(Text(), 2),
            "non_finite": Numbers("bad", least=0, most=1),
            "densities": Maybe(Numbers(2, finite=True, least=0, most=1)),
            "aligned": ALIGNED_PATH,
        },
        (
            KeysIn("split", "losses"),
            Within("barrier_above_chord", "interval_above_chord", scale="losses"),
            Within("barrier_above_mean", "interval_above_mean", scale="losses"),
        ),
    )

    alphas: np.ndarray
    losses: Mapping[str, Mapping[str, np.ndarray]]
    barrier_above_chord: float | None = None
    barrier_above_mean: float | None = None
    barriers: Mapping[str, Mapping[str, Mapping[str, float | None]]]
    alpha_max: Mapping[str, float | None]
    interval_above_chord: tuple[float, float] | None = None
    interval_above_mean: tuple[float, float] | None = None
    bias_above_chord: float | None = None
    bias_above_mean: float | None = None
    band: Mapping[str, Mapping[str, Any]] | None = None
    refined_alphas: np.ndarray
    refined_losses: np.ndarray
    barrier_refined: Mapping[str, float] | None = None
    identical: bool
    split: str
    num_points: int
    endpoints: tuple[str, str]
    non_finite: np.ndarray
    densities: tuple[float, float] | None = None
    aligned: Mapping[str, Any] | None = None

    __hash__ = None  # type: ignore[assignment]  # holds arrays

    def __eq__(self, other: object) -> bool:
        """Compare every field, NaN equal to NaN."""
        return same_fields(self, other) if isinstance(other, Barrier) else NotImplemented

    def rows(self) -> list[tuple[str, str]]:
        """Return the printed lines: both definitions with their intervals, ends, sets and grid."""
        ends = self.losses[self.split]["loss"][[0, -1]]
        rows = [
            ("path", " → ".join(self.endpoints) + (" (identical)" if self.identical else "")),
            ("loss on", self._set()),
            ("endpoints", f"{format_value(ends[0])} at α = 0, {format_value(ends[1])} at α = 1"),
            ("barrier above chord", self._row(ABOVE_CHORD)),
            ("barrier above mean", self._row(ABOVE_MEAN)),
        ]
        rows += [(f"barriers on {name}", self._worst(name)) for name in _first(self.split, self.barriers)]
        if self.barrier_refined is not None and len(self.refined_alphas):
            rows.append(("refined", self._refined()))
        if self.aligned is not None:
            rows += moved_rows(self.aligned, _before(self.aligned["before"]))
        if self.config.get("repair"):
            rows.append(("renormalised", "each hidden unit inside the path (REPAIR)"))
        spacing = format_value(1 / (self.num_points - 1))
        rows.append(("grid", f"{self.num_points} points, spacing {spacing}: a lower bound on the supremum"))
        if self.densities is not None:
            rows.append(("density", " and ".join(map(format_value, self.densities))))
        return rows

    def _set(self) -> str:
        return self.split + (f", {self.counted()}" if self.stats.get("num_examples") else "")

    def _row(self, definition: str) -> str:
        value = getattr(self, f"barrier_{definition}")
        if value is None:
            return "not available: a point of the path is not finite"
        if self.identical:
            return "0 exactly: the two networks are identical"
        interval = getattr(self, f"interval_{definition}")
        text = f"{with_error(value, interval=interval)} at α = {format_value(self.alpha_max[definition])}"
        if interval is None:
            return text
        return f"{text}, bias {format_value(getattr(self, f'bias_{definition}'))}"

    def _worst(self, split: str) -> str:
        parts = [
            f"{metric} {format_value(found[ABOVE_CHORD])} / {format_value(found[ABOVE_MEAN])}"
            for metric, found in (
                (key, self.barriers[split][key]) for key in _first("loss", self.barriers[split])
            )
        ]
        return ", ".join(parts) + " (above chord / mean)"

    def _refined(self) -> str:
        found = self.barrier_refined or {}
        return (
            f"{format_value(found[ABOVE_CHORD])} above chord, {format_value(found[ABOVE_MEAN])} above mean, "
            f"with {len(self.refined_alphas)} more points"
        )

    @classmethod
    def from_fields(cls, fields: Mapping[str, Any], **base: Any) -> Self:
        """Build a barrier from stored fields: tuples are lists there."""
        mended = dict(fields)
        for name in ("interval_above_chord", "interval_above_mean", "endpoints", "densities"):
            if mended.get(name) is not None:
                mended[name] = tuple(mended[name])
        stored = fields.get("barriers", {})
        mended["barriers"] = {
            split: {key: _complete(stored.get(split, {}).get(key, {})) for key in metrics}
            for split, metrics in fields["losses"].items()
        }
        mended["alpha_max"] = _complete(fields.get("alpha_max", {}))
        return super().from_fields(mended, **base)


def _before(path: Mapping[str, Any]) -> str:
    value, ends = path.get("barrier_above_chord"), path.get("interval_above_chord")
    if value is None:
        return "not available: a point of the path is not finite"
    return f"{with_error(value, interval=ends)} above chord"


def _complete(found: Mapping[str, Any]) -> dict[str, Any]:
    return {definition: found.get(definition) for definition in DEFINITIONS}


def _first(leading: str, names: Iterable[str]) -> list[str]:
    return sorted(names, key=lambda name: (name != leading, name))
