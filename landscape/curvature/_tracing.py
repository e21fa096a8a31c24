"""How a trace is estimated: which method, how many probes, and what may be said of the error."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from landscape.curvature import _estimators
from landscape.curvature._estimators import Hutchinson, HutchPP, Samples
from landscape.curvature._linear import SymmetricOperator
from landscape.progress import Progress

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
        self.warnings = [*getattr(getattr(operator, "subject", None), "notes", ())]
        self.extra: dict[str, Any] = {}

    def products(self, rows: np.ndarray) -> np.ndarray:
        """Return products, counted."""
        self.num_matvecs += len(rows)
        self.progress.advance(len(rows))
        return self.operator.rows(rows)

    def run(self, method: str, *, num_probes: int | None, num_replicates: int) -> dict[str, Any]:
        """Return the fields that depend on the method."""
        if method == "auto" and num_probes is None and self.operator.dim <= MANY:
            method = "exact"
        self.progress.start("trace", total=None)
        try:
            if method == "exact":
                return self._exact()
            if method == "xtrace":
                return self._xtrace(num_probes or 3 * PILOT, num_replicates)
            return self._independent(method, num_probes)
        finally:
            self.progress.stop()

    def _exact(self) -> dict[str, Any]:
        diagonal = np.array(
            [
                self.products(np.eye(1, self.operator.dim, i, dtype=self.operator.dtype))[0, i]
                for i in range(self.operator.dim)
            ],
            np.float64,
        )
        value = float(diagonal.sum())
        layers = {
            path: _layer(float(diagonal[where].sum()), 0.0, len(where), None)
            for path, where in self.layers.items()
        }
        return {
            "value": value,
            "standard_error": 0.0,
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
            pilot = estimator.run(PILOT if num_probes is None else min(PILOT, num_probes))
            if pilot.finite and self._needed(pilot) > MANY and operator.dim > 4 * SKETCH:
                chosen = "hutch++"
                self.extra["pilot_matvecs"] = len(pilot.total)
        if chosen == "hutch++":
            estimator = HutchPP(self.products, operator.dim, **settings)
            estimator.sketch(
                min(SKETCH if num_probes is None else max(2, num_probes // 3), operator.dim // 3)
            )
            self.extra["sketch_matvecs"] = 2 * len(getattr(estimator, "basis", ()))
        if method == "auto" and not fixed and self._dearer_than_exact(estimator):
            self.extra["abandoned_matvecs"] = self.num_matvecs
            return self._exact()
        samples = self._enough(estimator, num_probes)
        return self._fields(samples, chosen, fixed=fixed)

    def _dearer_than_exact(self, estimator: Hutchinson) -> bool:
        """Whether the probes still needed cost more than one product a dimension."""
        samples = estimator.run(max(0, PILOT - len(estimator.samples.total)))
        left = self.max_matvecs - self.num_matvecs
        more = self._needed(samples) - len(samples.total) if samples.finite else 0
        return more > self.operator.dim <= left

    def _enough(self, estimator: Hutchinson, num_probes: int | None) -> Samples:
        """Probe until the standard error is what was asked for, in few looks."""
        samples = estimator.run(max(0, (num_probes or PILOT) - len(estimator.samples.total)))
        while num_probes is None and samples.finite and not self._reached(samples):
            left = self.max_matvecs - self.num_matvecs
            if left < 1:
                break
            samples = estimator.run(min(left, max(2, self._needed(samples) - len(samples.total))))
        return samples

    def _goal(self, samples: Samples) -> float:
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
            spread = _estimators.standard_error(values)
            ends = t_interval(mean, spread, len(values) - 1, self.confidence)
            layers[path] = _layer(mean, spread, len(where), ends)
        return {
            "value": value,
            "standard_error": error,
            "interval": t_interval(value, error, count - 1, self.confidence),
            "method": method,
            "num_probes": count,
            "per_layer": layers,
            "status": self._status(samples.finite, reached=fixed or self._reached(samples)),
        }

    def _xtrace(self, num_probes: int, num_replicates: int) -> dict[str, Any]:
        """Estimate from leave-one-out values; an interval only from enough replicates of all."""
        operator = self.operator
        count = max(2, min(num_probes, operator.dim - 1))
        means, spreads = [], []
        for _ in range(num_replicates):
            probes = self._sphere(count)
            try:
                values = _estimators.xtrace(self.products, probes)
            except FloatingPointError:
                first = self.products(probes[:1])
                values = np.zeros(count) if np.isfinite(first).all() else np.full(count, np.nan)
            means.append(float(values.mean()))
            spreads.append(_estimators.standard_error(values))
        value = float(np.mean(means))
        enough = num_replicates >= FEW_REPLICATES
        error = _estimators.standard_error(means) if enough else None
        return {
            "value": value,
            "standard_error": error,
            "error_estimate": float(np.mean(spreads)) / math.sqrt(num_replicates),
            "interval": None
            if error is None
            else t_interval(value, error, num_replicates - 1, self.confidence),
            "method": "xtrace",
            "num_probes": count,
            "status": self._status(math.isfinite(value), reached=True),
        }

    def _sphere(self, count: int) -> np.ndarray:
        rows = self.rng.standard_normal((count, self.operator.dim))
        rows *= math.sqrt(self.operator.dim) / np.linalg.norm(rows, axis=1, keepdims=True)
        return rows.astype(self.operator.dtype)

    def _status(self, finite: bool, *, reached: bool) -> str:
        subject = getattr(self.operator, "subject", None)
        if not finite or (subject is not None and not subject.finite):
            self.warnings.append("a product held NaN or infinity")
            return "non-finite"
        if not reached:
            self.warnings.append(f"the error asked for was not reached within {self.max_matvecs} products")
            return "not-converged"
        return "ok"

    def data_error(self, num_groups: int) -> float | None:
        """Return the standard error from the choice of examples: the same probes on groups of them.

        What probes and groups do together (the spread of a group's values that its mean over probes
        still carries) is taken out.
        """
        groups = self.operator.groups(num_groups)
        if not groups:
            self.warnings.append("the matrix has no groups of examples: no error from the data")
            return None
        probes = _estimators.rademacher(self.rng, _GROUP_PROBES, self.operator.dim, self.operator.dtype)
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
        return math.sqrt(max(float(np.var(means, ddof=1)) - noise, 0.0) / num_groups)


def _layer(value: float, error: float, size: int, ends: tuple[float, float] | None) -> dict[str, Any]:
    interval = [value, value] if error == 0 else (None if ends is None else list(ends))
    return {"value": value, "standard_error": error, "interval": interval, "size": size}
