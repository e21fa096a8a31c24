"""How a diagonal and a Frobenius norm are estimated: probes until an error is reached, or products end."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from landscape.compute import SILENT, Progress
from landscape.curvature import estimators
from landscape.curvature.estimators import rademacher, status_of
from landscape.curvature.symmetric import SymmetricOperator
from landscape.curvature.trace_run import t_interval

_MORE = 1.15  # for a variance that the probes so far underestimated


class ProbeRun:
    """Products of one estimate, counted, and the probes still needed."""

    def __init__(
        self,
        operator: SymmetricOperator,
        *,
        num_probes: int,
        relative_error: float | None,
        max_matvecs: int,
        confidence: float,
        seed: int,
        progress: Progress = SILENT,
    ) -> None:
        self.operator = operator
        self.num_probes = num_probes
        self.relative_error = relative_error
        self.max_matvecs = max(max_matvecs, num_probes)
        self.confidence = confidence
        self.rng = np.random.default_rng(seed)
        self.progress = progress
        self.num_matvecs = 0
        self.finite = True
        self.warnings = [*operator.notes]

    def product(self, vector: np.ndarray) -> np.ndarray | None:
        """Return a product [n] in float64; None, and no more of them, if it is not finite."""
        self.num_matvecs += 1
        self.progress.advance()
        image = self.operator.rows(vector[None])[0].astype(np.float64)
        self.finite = self.finite and bool(np.isfinite(image).all())
        return image if self.finite else None

    def probe(self) -> np.ndarray:
        """Return random signs [n]."""
        signs: np.ndarray = rademacher(self.rng, 1, self.operator.dim, self.operator.dtype)[0]
        return signs

    def unit(self, i: int) -> np.ndarray:
        """Return a coordinate vector [n]."""
        vector: np.ndarray = np.eye(1, self.operator.dim, i, dtype=self.operator.dtype)[0]
        return vector

    def more(self, count: int, error: float, size: float) -> int:
        """Return how many probes to add to `count` of them for the error asked for."""
        if self.relative_error is None or not self.finite or error <= self.relative_error * size:
            return 0
        goal = self.relative_error * size
        needed = _MORE * count * (error / goal) ** 2 if goal else math.inf
        left = self.max_matvecs - self.num_matvecs
        return min(left, max(2, math.ceil(min(needed, 1e9)) - count))

    def status(self, *, reached: bool, kept: str) -> str:
        """Return the status, with a warning unless it is ok."""
        return status_of(
            self.operator,
            self.warnings,
            finite=self.finite,
            kept=f": {kept}",
            reached=reached,
            most=self.max_matvecs,
        )

    def reached(self, error: float, size: float) -> bool:
        """Whether the error asked for, if one was, is reached."""
        return self.relative_error is None or error <= self.relative_error * size


class NormRun(ProbeRun):
    """The Frobenius norm from the lengths of products."""

    def run(self) -> dict[str, Any]:
        """Return the fields that are estimated."""
        if self.num_probes >= self.operator.dim:
            return self._exact()
        squares: list[float] = []
        add = self.num_probes
        while add:
            for _ in range(add):
                image = self.product(self.probe())
                if image is None:
                    break
                squares.append(float(image @ image))
            add = self.more(len(squares), *self._error(squares)) if self.finite else 0
        error, value = self._error(squares)
        spread = estimators.standard_error(squares)
        ends = t_interval(value**2, spread, len(squares) - 1, self.confidence)
        return {
            "value": value,
            "standard_error": error,
            "interval": None if ends is None else tuple(math.sqrt(max(end, 0.0)) for end in ends),
            "method": "hutchinson",
            "num_probes": len(squares),
            "status": self.status(
                reached=self.reached(error, value),
                kept=f"the value is that of the {len(squares)} finite probes before it",
            ),
        }

    @staticmethod
    def _error(squares: list[float]) -> tuple[float, float]:
        """Return standard error and value of the root of a mean."""
        if not squares:
            return math.nan, math.nan
        value = math.sqrt(float(np.mean(squares)))
        return estimators.standard_error(squares) / (2 * value or 1.0), value

    def _exact(self) -> dict[str, Any]:
        total = 0.0
        for i in range(self.operator.dim):
            image = self.product(self.unit(i))
            if image is None:
                total = math.nan
                break
            total += float(image @ image)
        value = math.sqrt(total)
        return {
            "value": value,
            "standard_error": 0.0 if self.finite else math.nan,
            "interval": (value, value) if self.finite else None,
            "method": "exact",
            "num_probes": self.operator.dim,
            "status": self.status(reached=True, kept="no norm"),
        }


class DiagonalRun(ProbeRun):
    """The diagonal, entry by entry."""

    def run(self, method: str) -> dict[str, Any]:
        """Return the fields that are estimated."""
        total = self.operator.dim if method == "exact" else self.num_probes
        self.progress.start("diagonal", total=total)
        try:
            if method == "exact":
                return self._exact()
            return self._xdiag() if method == "xdiag" else self._hutchinson()
        finally:
            self.progress.stop()

    def _exact(self) -> dict[str, Any]:
        dim = self.operator.dim
        values = np.full(dim, np.nan)
        for i in range(dim):
            image = self.product(self.unit(i))
            if image is None:
                break
            values[i] = image[i]
        known = np.isfinite(values)
        return {
            "values": values,
            "standard_errors": np.where(known, 0.0, np.nan),
            "num_probes": self.num_probes,
            "status": self.status(
                reached=True, kept=f"the first {np.count_nonzero(known):,} of {dim:,} entries stand"
            ),
        }

    def _hutchinson(self) -> dict[str, Any]:
        mean, spread = np.zeros(self.operator.dim), np.zeros(self.operator.dim)
        count, add = 0, self.num_probes
        errors = np.full(self.operator.dim, np.nan)
        while add:
            for _ in range(add):
                probe = self.probe()
                image = self.product(probe)
                if image is None:
                    break
                count += 1
                off = probe * image - mean
                mean += off / count
                spread += off * (probe * image - mean)
            if count > 1:
                errors = np.sqrt(spread / (count * (count - 1)))
            add = self.more(count, *_lengths(errors, mean)) if count > 1 else 0
        values = mean if count else np.full(self.operator.dim, np.nan)
        half = t_interval(0.0, 1.0, count - 1, self.confidence)
        return {
            "values": values,
            "standard_errors": errors,
            "intervals": None if half is None else values[:, None] + errors[:, None] * np.array(half),
            "num_probes": count,
            "status": self.status(
                reached=self.reached(*_lengths(errors, values)),
                kept=f"values are those of the {count} finite probes before it",
            ),
        }

    def _xdiag(self) -> dict[str, Any]:
        operator = self.operator
        count = max(1, min(self.num_probes // 2, operator.dim))
        probes = rademacher(self.rng, count, operator.dim, operator.dtype)
        try:
            values, errors = estimators.xdiag(self._block, probes)
        except FloatingPointError:  # the products are all zero, or not finite
            values = np.full(operator.dim, 0.0 if self.finite else np.nan)
            errors = values
        return {
            "values": values,
            "error_estimates": errors,
            "num_probes": self.num_probes,
            "status": self.status(reached=self.reached(*_lengths(errors, values)), kept="no values"),
        }

    def _block(self, rows: np.ndarray) -> np.ndarray:
        images = [self.product(row) for row in rows]
        return np.array([np.full(len(rows[0]), np.nan) if image is None else image for image in images])


def _lengths(errors: np.ndarray, values: np.ndarray) -> tuple[float, float]:
    return float(np.linalg.norm(errors)), float(np.linalg.norm(values))
