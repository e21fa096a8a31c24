"""How a trace is estimated: which method, how many probes, and what may be said of the error."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np

from landscape.compute import Progress
from landscape.curvature import estimators
from landscape.curvature.estimators import Hutchinson, HutchPP, Samples
from landscape.curvature.symmetric import SymmetricOperator
from landscape.errors import ConfigurationError

PILOT = 10  # fewest probes, and those from whose variance the number needed is foretold
MANY = 60  # Hutchinson probes from which a sketch is worth its products
SKETCH = 10
FEW_REPLICATES = 8
_MORE = 1.15  # for a variance that the pilot underestimated
_GROUP_PROBES = 10


def t_interval(mean: float, error: float, freedom: int, confidence: float) -> tuple[float, float] | None:
    """Return Student's t interval; None without degrees of freedom or with a value that is not finite."""
    if freedom < 1 or not math.isfinite(mean) or not math.isfinite(error):
        return None
    from scipy.special import stdtrit

    half = float(stdtrit(freedom, 0.5 + confidence / 2)) * error
    return mean - half, mean + half


@dataclasses.dataclass
class _Replicates:
    """Independent repetitions of XTrace.

    Attributes
    ----------
    means, spreads : list of float
        Mean and error estimate of the leave-one-out values of each.
    squares : list of float
        Estimates of the squared Frobenius norm.
    failed : bool
        Whether a product was not finite.
    """

    means: list[float] = dataclasses.field(default_factory=list)
    spreads: list[float] = dataclasses.field(default_factory=list)
    squares: list[float] = dataclasses.field(default_factory=list)
    failed: bool = False

    @property
    def value(self) -> float:
        """The estimate; NaN without a replicate."""
        return float(np.mean(self.means)) if self.means else float("nan")

    @property
    def frobenius(self) -> float:
        """Estimate of the Frobenius norm."""
        return math.sqrt(float(np.mean(self.squares))) if self.squares else float("nan")

    @property
    def error_estimate(self) -> float:
        """Spread of the leave-one-out values, over all replicates."""
        return float(np.mean(self.spreads)) / math.sqrt(len(self.means)) if self.means else float("nan")

    @property
    def standard_error(self) -> float | None:
        """Standard error over replicates; None for too few."""
        return estimators.standard_error(self.means) if len(self.means) >= FEW_REPLICATES else None

    @property
    def error(self) -> float:
        """What is compared with the error asked for: the standard error where there is one."""
        error = self.standard_error
        return self.error_estimate if error is None else error


class TraceRun:
    """One estimate of a trace, and the products it cost."""

    def __init__(
        self,
        operator: SymmetricOperator,
        *,
        relative_error: float,
        absolute_error: float,
        max_matvecs: int,
        confidence: float,
        seed: int,
        progress: Progress,
    ) -> None:
        self.operator = operator
        self.relative_error = relative_error
        self.absolute_error = absolute_error
        self.max_matvecs = max_matvecs
        self.confidence = confidence
        self.rng = np.random.default_rng(seed)
        self.progress = progress
        self.layers = operator.layers()
        self.num_matvecs = 0
        self.warnings = [*operator.notes]
        self.extra: dict[str, Any] = {}

    def products(self, rows: np.ndarray) -> np.ndarray:
        """Return products, counted."""
        self.num_matvecs += len(rows)
        self.progress.advance(len(rows))
        return self.operator.rows(rows)

    def run(self, method: str, *, num_probes: int | None, num_replicates: int) -> dict[str, Any]:
        """Return the fields that depend on the method."""
        if method == "auto" and num_probes is None and self.operator.dim <= min(MANY, self.max_matvecs):
            method = "exact"
        self._check_means(method, num_probes, num_replicates)
        self.progress.start("trace", total=None)
        try:
            if method == "exact":
                return self._exact()
            if method == "xtrace":
                return self._xtrace(num_probes, num_replicates)
            return self._independent(method, num_probes)
        finally:
            self.progress.stop()

    def _check_means(self, method: str, num_probes: int | None, num_replicates: int) -> None:
        """Refuse fewer products than the method takes whatever it finds."""
        probes = 2 if num_probes is None else num_probes
        sketch = 2 * (1 if num_probes is None else max(2, num_probes // 3))
        least = {
            "auto": 1 if num_probes is None else num_probes,
            "hutchinson": probes,
            "hutch++": sketch + probes,
            "xtrace": 2 * probes * num_replicates,
        }.get(method, 0)
        if self.max_matvecs < least:
            raise ConfigurationError(
                f"max_matvecs: too few for {method}",
                expected=f"{least} or more",
                got=str(self.max_matvecs),
                hint="Allow more products, or ask for fewer probes or replicates.",
            )

    @property
    def _left(self) -> int:
        return self.max_matvecs - self.num_matvecs

    def _exact(self) -> dict[str, Any]:
        diagonal = np.full(self.operator.dim, np.nan)
        for i in range(self.operator.dim):
            product = self.products(np.eye(1, self.operator.dim, i, dtype=self.operator.dtype))[0]
            if not np.isfinite(product).all():
                self.warnings.append(f"the diagonal is known for the first {i} coordinates: no trace")
                break
            diagonal[i] = product[i]
        value = float(diagonal.sum())
        layers = {
            path: _layer(float(diagonal[where].sum()), 0.0, len(where), None)
            for path, where in self.layers.items()
        }
        return {
            "value": value,
            "standard_error": 0.0 if math.isfinite(value) else float("nan"),
            "interval": (value, value) if math.isfinite(value) else None,
            "method": "exact",
            "num_probes": self.operator.dim,
            "per_layer": layers,
            "status": self._status(math.isfinite(value), reached=True),
        }

    def _independent(self, method: str, num_probes: int | None) -> dict[str, Any]:
        """Estimate from independent probes: Hutchinson, or Hutch++ around a sketch."""
        operator, fixed = self.operator, num_probes is not None
        settings: dict[str, Any] = {"dtype": operator.dtype, "rng": self.rng, "layers": self.layers}
        estimator: Hutchinson = Hutchinson(self.products, operator.dim, **settings)
        chosen = "hutchinson" if method == "auto" else method
        if method == "auto":
            pilot = estimator.run(min(PILOT, self.max_matvecs, num_probes or PILOT))
            if pilot.finite and self._needed(pilot) > MANY and self._sketch_pays(num_probes):
                chosen = "hutch++"
                self.extra["pilot_matvecs"] = len(pilot.total)
        if chosen == "hutch++":
            estimator = HutchPP(self.products, operator.dim, **settings)
            size = min(SKETCH, self._left // 4) if num_probes is None else max(2, num_probes // 3)
            estimator.sketch(min(size, operator.dim // 3))
            self.extra["sketch_matvecs"] = 2 * len(getattr(estimator, "basis", ()))
        if method == "auto" and not fixed and self._dearer_than_exact(estimator):
            self.extra["abandoned_matvecs"] = self.num_matvecs
            return self._exact()
        samples = self._enough(estimator, num_probes)
        return self._fields(samples, chosen, fixed=fixed)

    def _sketch_pays(self, num_probes: int | None) -> bool:
        """Whether there are dimensions and products left for a sketch and probes behind it."""
        probes = PILOT if num_probes is None else num_probes
        sketch = SKETCH if num_probes is None else max(2, num_probes // 3)
        return self.operator.dim > 4 * SKETCH and self._left >= 2 * sketch + probes

    def _dearer_than_exact(self, estimator: Hutchinson) -> bool:
        """Whether the probes still needed cost more than one product a dimension."""
        samples = self._first(estimator, PILOT)
        left = self._left
        more = self._needed(samples) - len(samples.total) if samples.finite else 0
        return more > self.operator.dim <= left

    def _enough(self, estimator: Hutchinson, num_probes: int | None) -> Samples:
        """Probe until the standard error is what was asked for, in few looks."""
        samples = self._first(estimator, num_probes or PILOT)
        while num_probes is None and samples.finite and not self._reached(samples) and self._left > 0:
            samples = estimator.run(min(self._left, max(2, self._needed(samples) - len(samples.total))))
        return samples

    def _first(self, estimator: Hutchinson, count: int) -> Samples:
        """Bring an estimator to so many probes, within the products that are left."""
        samples = estimator.samples
        return (
            estimator.run(max(0, min(count - len(samples.total), self._left))) if samples.finite else samples
        )

    def _goal(self, samples: Samples | _Replicates) -> float:
        relative = self.relative_error * max(abs(samples.value), samples.frobenius)
        return max(relative, self.absolute_error)

    def _reached(self, samples: Samples) -> bool:
        return samples.standard_error <= self._goal(samples)

    def _needed(self, samples: Samples) -> int:
        goal = self._goal(samples)
        if not goal:
            return 0
        spread = samples.standard_error * math.sqrt(len(samples.total))
        return math.ceil(_MORE * (spread / goal) ** 2) if math.isfinite(spread / goal) else self.max_matvecs

    def _fields(self, samples: Samples, method: str, *, fixed: bool) -> dict[str, Any]:
        count = len(samples.total)
        value, error = samples.value, samples.standard_error
        layers = {}
        for path, where in self.layers.items():
            values = samples.layers.get(path, [])
            if not values:
                continue
            mean = samples.exact_layers.get(path, 0.0) + float(np.mean(values))
            spread = estimators.standard_error(values)
            ends = t_interval(mean, spread, len(values) - 1, self.confidence)
            layers[path] = _layer(mean, spread, len(where), ends)
        return {
            "value": value,
            "standard_error": error,
            "interval": t_interval(value, error, count - 1, self.confidence),
            "method": method,
            "num_probes": count,
            "per_layer": layers,
            "status": self._status(
                samples.finite, reached=fixed or self._reached(samples), kept=f"{count} finite probes"
            ),
        }

    def _xtrace(self, num_probes: int | None, num_replicates: int) -> dict[str, Any]:
        """Estimate from leave-one-out values; an interval only from enough replicates of all."""
        count = num_probes or min(3 * PILOT, self.max_matvecs // (2 * num_replicates))
        if self.operator.dim <= count:
            return self._exact()
        if self.layers:
            self.warnings.append("XTrace gives no values by layer: hutchinson and hutch++ do")
        replicates = _Replicates()
        while len(replicates.means) < num_replicates or self._another(replicates, count, num_probes):
            if not self._replicate(replicates, count):
                break
        made = len(replicates.means)
        error = replicates.standard_error
        reached = num_probes is not None or self._goal(replicates) >= replicates.error
        return {
            "value": replicates.value,
            "standard_error": error,
            "error_estimate": replicates.error_estimate,
            "interval": None
            if error is None
            else t_interval(replicates.value, error, made - 1, self.confidence),
            "method": "xtrace",
            "num_probes": count,
            "status": self._status(not replicates.failed, reached=reached, kept=f"{made} finite replicates"),
        }

    def _another(self, replicates: _Replicates, count: int, num_probes: int | None) -> bool:
        """Whether an error was asked for that is not reached, and there are products to get closer."""
        wanted = num_probes is None and replicates.error > self._goal(replicates)
        return wanted and self._left >= 2 * count

    def _replicate(self, replicates: _Replicates, count: int) -> bool:
        """Make one estimate from a sketch of its own; return whether its products were finite."""
        probes, images = self._sphere(count), []

        def products(rows: np.ndarray) -> np.ndarray:
            images.append(self.products(rows))
            return images[-1]

        try:
            values = estimators.xtrace(products, probes)
        except FloatingPointError:
            values = np.full(count, 0.0 if np.isfinite(images[0]).all() else np.nan)
        if not np.isfinite(values).all():
            replicates.failed = True
            return False
        replicates.means.append(float(values.mean()))
        replicates.spreads.append(estimators.standard_error(values))
        replicates.squares.append(float(np.mean(np.sum(images[0].astype(np.float64) ** 2, axis=1))))
        return True

    def _sphere(self, count: int) -> np.ndarray:
        rows = self.rng.standard_normal((count, self.operator.dim))
        rows *= math.sqrt(self.operator.dim) / np.linalg.norm(rows, axis=1, keepdims=True)
        return rows.astype(self.operator.dtype)

    def _status(self, finite: bool, *, reached: bool, kept: str = "") -> str:
        said = f": the value is that of the {kept} before it" if kept and not kept.startswith("0 ") else ""
        return estimators.status_of(
            self.operator, self.warnings, finite=finite, kept=said, reached=reached, most=self.max_matvecs
        )

    def data_error(self, num_groups: int) -> float | None:
        """Return the standard error from the choice of examples: the same probes on groups of them.

        What probes and groups do together (the spread of a group's values that its mean over probes
        still carries) is taken out; None, with a warning, where nothing is left.
        """
        groups = self.operator.groups(num_groups)
        if not groups:
            self.warnings.append("the matrix has no groups of examples: no error from the data")
            return None
        probes = estimators.rademacher(self.rng, _GROUP_PROBES, self.operator.dim, self.operator.dtype)
        values = np.array(
            [
                [float(np.sum(z.astype(np.float64) * group.rows(z[None])[0])) for z in probes]
                for group in groups
            ]
        )
        self.extra["data_passes"] = _GROUP_PROBES
        means = values.mean(axis=1)
        both = values - means[:, None] - values.mean(axis=0)[None] + values.mean()
        freedom = (num_groups - 1) * (_GROUP_PROBES - 1)
        noise = float(np.sum(both**2)) / freedom / _GROUP_PROBES
        variance = float(np.var(means, ddof=1)) - noise
        if variance < 0:  # 0 would claim that other examples change nothing
            self.warnings.append(
                "the error from the choice of examples is too small beside the probes' to tell"
            )
            return None
        return math.sqrt(variance / num_groups)


def _layer(value: float, error: float, size: int, ends: tuple[float, float] | None) -> dict[str, Any]:
    interval = [value, value] if error == 0 else (None if ends is None else list(ends))
    return {"value": value, "standard_error": error, "interval": interval, "size": size}
