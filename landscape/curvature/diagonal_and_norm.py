"""How a diagonal and a Frobenius norm are estimated: by a fixed number of probes, or to an error.

With an error asked for, a pilot foretells how many probes it takes, and as many fresh ones answer (see
`landscape.results.probes`). Where that is no fewer than the matrix has dimensions, it is computed exactly.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np

from landscape.compute import SILENT, Progress
from landscape.curvature import estimators
from landscape.curvature.estimates import Ending, status_of
from landscape.curvature.estimators import rademacher
from landscape.curvature.symmetric import SymmetricOperator
from landscape.results import error_reached, probe_interval, probes_needed, too_few_probes

# Probes of a pilot. A diagonal has many entries, of which each adds to what is known of the error; a norm has
# one value per probe.
_PILOT_OF_DIAGONAL, _PILOT_OF_NORM = 10, 20


def t_interval(mean: float, error: float, freedom: int, confidence: float) -> tuple[float, float] | None:
    """Return Student's t interval; None without degrees of freedom or with a value that is not finite."""
    if freedom < 1 or not math.isfinite(mean) or not math.isfinite(error):
        return None
    from scipy.special import stdtrit

    half = float(stdtrit(freedom, 0.5 + confidence / 2)) * error
    return mean - half, mean + half


class ProbeRun:
    """Products of one estimate, counted."""

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

    @property
    def left(self) -> int:
        """Products still allowed."""
        return self.max_matvecs - self.num_matvecs

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

    def column(self, i: int) -> np.ndarray | None:
        """Return a column [n] of the matrix; None if it is not finite."""
        if self.operator.formed is not None:
            return self.operator.formed[:, i].astype(np.float64)
        return self.product(np.eye(1, self.operator.dim, i, dtype=self.operator.dtype)[0])

    def wants_pilot(self, size: int) -> bool:
        """Return whether an error was asked for, and products are left for a pilot and an answer."""
        return self.relative_error is not None and self.left >= size + self.num_probes

    def status(self, *, reached: bool, kept: str) -> str:
        """Return the status, with a warning unless it is ok."""
        ended = Ending(finite=self.finite, reached=reached, most=self.max_matvecs, kept=kept)
        status, warnings = status_of(self.operator, ended)
        self.warnings += warnings
        return status

    def reached(self, error: float, size: float) -> bool:
        """Return whether the error asked for, if one was, is reached."""
        return self.relative_error is None or error_reached(error, self.relative_error * size)


class NormRun(ProbeRun):
    """The Frobenius norm from the lengths of products: ``E‖Az‖² = ‖A‖_F²``."""

    def run(self) -> dict[str, Any]:
        """Return the fields that are estimated."""
        count = self.num_probes
        if count >= self.operator.dim or self.operator.formed is not None:
            return self._exact()
        if self.wants_pilot(_PILOT_OF_NORM):
            pilot = self._squares(_PILOT_OF_NORM)
            if not self.finite:
                return self._fields(pilot)
            count = max(count, self._needed(pilot))
            if self.left >= self.operator.dim <= count:
                return self._exact()
        return self._fields(self._squares(min(count, self.left)))

    def _squares(self, count: int) -> np.ndarray:
        """Return ``‖Az‖²`` of fresh probes, up to one that is not finite."""
        squares: list[float] = []
        for _ in range(count):
            image = self.product(self.probe())
            if image is None:
                break
            squares.append(float(image @ image))
        return np.array(squares)

    def _needed(self, pilot: np.ndarray) -> int:
        """Return how many probes the error takes; relatively, a root's is half of its square's."""
        goal = 2 * (self.relative_error or 0.0) * float(np.mean(pilot))
        return probes_needed(float(np.var(pilot, ddof=1)), goal)

    def _fields(self, squares: np.ndarray) -> dict[str, Any]:
        count = len(squares)
        value = math.sqrt(float(np.mean(squares))) if count else math.nan
        error = estimators.standard_error(squares) / (2 * value or 1.0)
        ends = probe_interval(squares, confidence=self.confidence)
        if ends is None and self.finite:
            self.warnings.append(too_few_probes(count))
        return {
            "value": value,
            "standard_error": error,
            "interval": None if ends is None else tuple(math.sqrt(max(end, 0.0)) for end in ends),
            "method": "hutchinson",
            "num_probes": count,
            "status": self.status(
                reached=self.reached(error, value),
                kept=f"the value is that of the {count} finite probes before it" if count else "no norm",
            ),
        }

    def _exact(self) -> dict[str, Any]:
        total, known = 0.0, 0
        for i in range(self.operator.dim):
            column = self.column(i)
            if column is None:
                total = math.nan
                break
            total += float(column @ column)
            known += 1
        value = math.sqrt(total)
        return {
            "value": value,
            "standard_error": 0.0 if self.finite else math.nan,
            "interval": (value, value) if self.finite else None,
            "method": "exact",
            "num_probes": known,
            "status": self.status(reached=True, kept="no norm"),
        }


@dataclasses.dataclass(frozen=True, kw_only=True)
class EntryMeans:
    """Means of ``z ∘ Az``, entry by entry.

    Attributes
    ----------
    mean : numpy.ndarray [n]
        Over probes.
    variance : numpy.ndarray [n]
        Of one probe; NaN for fewer than two.
    count : int
        Probes.
    """

    mean: np.ndarray
    variance: np.ndarray
    count: int

    @property
    def standard_errors(self) -> np.ndarray:
        """Of the means [n]."""
        errors: np.ndarray = np.sqrt(self.variance / max(self.count, 1))
        return errors

    @property
    def square(self) -> float:
        """An unbiased estimate of the diagonal's squared length: the noise of the means is taken out."""
        return float(self.mean @ self.mean) - float(np.sum(self.variance)) / max(self.count, 1)


class DiagonalRun(ProbeRun):
    """The diagonal, entry by entry."""

    def run(self, method: str) -> dict[str, Any]:
        """Return the fields that are estimated."""
        known = self.operator.dim <= self.num_probes or self.operator.formed is not None
        if method == "auto" and known:
            method = "exact"
        total = self.operator.dim if method == "exact" else self.num_probes
        self.progress.start("diagonal", total=total)
        try:
            if method == "exact":
                return self._exact()
            return self._xdiag() if method == "xdiag" else self._hutchinson(may_be_exact=method == "auto")
        finally:
            self.progress.stop()

    def _exact(self) -> dict[str, Any]:
        dim = self.operator.dim
        values = np.full(dim, np.nan)
        for i in range(dim):
            column = self.column(i)
            if column is None:
                break
            values[i] = column[i]
        known = np.isfinite(values)
        number = int(np.count_nonzero(known))
        return {
            "values": values,
            "standard_errors": np.where(known, 0.0, np.nan),
            "num_probes": number,
            "method": "exact",
            "status": self.status(
                reached=True,
                kept=f"the first {number:,} of {dim:,} entries stand" if number else "no entries",
            ),
        }

    def _hutchinson(self, *, may_be_exact: bool) -> dict[str, Any]:
        count = self.num_probes
        if self.wants_pilot(_PILOT_OF_DIAGONAL):
            pilot = self._means(_PILOT_OF_DIAGONAL)
            if not self.finite:
                return self._fields(pilot)
            count = max(count, self._needed(pilot))
            if may_be_exact and self.left >= self.operator.dim <= count:
                return self._exact()
        return self._fields(self._means(min(count, self.left)))

    def _means(self, count: int) -> EntryMeans:
        """Return the means over fresh probes, up to one that is not finite."""
        mean, spread, made = np.zeros(self.operator.dim), np.zeros(self.operator.dim), 0
        for _ in range(count):
            probe = self.probe()
            image = self.product(probe)
            if image is None:
                break
            made += 1
            off = probe * image - mean
            mean += off / made
            spread += off * (probe * image - mean)  # Welford's sum of squared deviations
        unknown = np.full(self.operator.dim, np.nan)
        return EntryMeans(
            mean=mean if made else unknown, variance=spread / (made - 1) if made > 1 else unknown, count=made
        )

    def _needed(self, pilot: EntryMeans) -> int:
        goal = (self.relative_error or 0.0) * math.sqrt(max(pilot.square, 0.0))
        return probes_needed(float(np.sum(pilot.variance)), goal)

    def _fields(self, found: EntryMeans) -> dict[str, Any]:
        values, errors, count = found.mean, found.standard_errors, found.count
        half = t_interval(0.0, 1.0, count - 1, self.confidence)
        if half is None and self.finite:
            self.warnings.append(too_few_probes(count, fewest=2))
        return {
            "values": values,
            "standard_errors": errors,
            "intervals": None if half is None else values[:, None] + errors[:, None] * np.array(half),
            "num_probes": count,
            "method": "hutchinson",
            "status": self.status(
                reached=self.reached(*_lengths(errors, values)),
                kept=f"values are those of the {count} finite probes before it" if count else "no values",
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
            "num_probes": self.num_probes if self.finite else 0,
            "method": "xdiag",
            "status": self.status(reached=self.reached(*_lengths(errors, values)), kept="no values"),
        }

    def _block(self, rows: np.ndarray) -> np.ndarray:
        images = [self.product(row) for row in rows]
        return np.array([np.full(len(rows[0]), np.nan) if image is None else image for image in images])


def _lengths(errors: np.ndarray, values: np.ndarray) -> tuple[float, float]:
    return float(np.linalg.norm(errors)), float(np.linalg.norm(values))
