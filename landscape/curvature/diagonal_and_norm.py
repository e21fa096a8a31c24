"""How a diagonal and a Frobenius norm are estimated: by a fixed number of probes, or to an error.

With an error asked for, a pilot foretells how many probes it takes, and as many fresh ones answer (see
`landscape.results.probes`). Where that is no fewer than the matrix has dimensions, it is computed exactly.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from landscape.curvature import estimators
from landscape.curvature.estimators import rademacher
from landscape.curvature.metered import Estimate, Meter
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


@dataclasses.dataclass(frozen=True, kw_only=True)
class ProbeRun:
    """How one number, or one diagonal, is estimated; every step returns what it found.

    Attributes
    ----------
    meter : Meter
        Products, counted.
    rng : numpy.random.Generator
        Of the probes.
    num_probes : int
        Fewest probes of the answer.
    relative_error : float or None
        Standard error asked for, relative to the size of the answer.
    confidence : float
        Coverage of intervals.
    """

    meter: Meter
    rng: np.random.Generator
    num_probes: int
    relative_error: float | None
    confidence: float

    @property
    def dim(self) -> int:
        """Size of the matrix."""
        return self.meter.operator.dim

    def probe(self) -> np.ndarray:
        """Return random signs [n]."""
        signs: np.ndarray = rademacher(self.rng, 1, self.dim, self.meter.operator.dtype)[0]
        return signs

    def wants_pilot(self, size: int) -> bool:
        """Return whether an error was asked for, and products are left for a pilot and an answer."""
        return self.relative_error is not None and self.meter.left >= size + self.num_probes

    def reached(self, error: float, size: float) -> bool:
        """Return whether the error asked for, if one was, is reached."""
        return self.relative_error is None or error_reached(error, self.relative_error * size)


@dataclasses.dataclass(frozen=True)
class Squares:
    """``‖Az‖²`` of fresh probes, up to one that is not finite."""

    values: np.ndarray
    finite: bool


class NormRun(ProbeRun):
    """The Frobenius norm from the lengths of products: ``E‖Az‖² = ‖A‖_F²``."""

    def run(self) -> Estimate:
        """Return the fields that are estimated."""
        count = self.num_probes
        if count >= self.dim or self.meter.operator.formed is not None:
            return self._exact()
        if self.wants_pilot(_PILOT_OF_NORM):
            pilot = self._squares(_PILOT_OF_NORM)
            if not pilot.finite:
                return self._found(pilot)
            count = max(count, self._needed(pilot.values))
            if self.meter.left >= self.dim <= count:
                return self._exact()
        return self._found(self._squares(min(count, self.meter.left)))

    def _squares(self, count: int) -> Squares:
        squares: list[float] = []
        for _ in range(count):
            image = self.meter.product(self.probe())
            if image is None:
                return Squares(np.array(squares), finite=False)
            squares.append(float(image @ image))
        return Squares(np.array(squares), finite=True)

    def _needed(self, pilot: np.ndarray) -> int:
        """Return how many probes the error takes; relatively, a root's is half of its square's."""
        goal = 2 * (self.relative_error or 0.0) * float(np.mean(pilot))
        return probes_needed(float(np.var(pilot, ddof=1)), goal)

    def _found(self, squares: Squares) -> Estimate:
        count = len(squares.values)
        value = math.sqrt(float(np.mean(squares.values))) if count else math.nan
        error = estimators.standard_error(squares.values) / (2 * value or 1.0)
        ends = probe_interval(squares.values, confidence=self.confidence)
        fields = {
            "value": value,
            "standard_error": error,
            "interval": None if ends is None else tuple(math.sqrt(max(end, 0.0)) for end in ends),
            "method": "hutchinson",
            "num_probes": count,
        }
        few = [too_few_probes(count)] if ends is None and squares.finite else []
        kept = f"the value is that of the {count} finite probes before it" if count else "no norm"
        return self.meter.ended(
            fields, *few, finite=squares.finite, reached=self.reached(error, value), kept=kept
        )

    def _exact(self) -> Estimate:
        total, known = 0.0, 0
        for i in range(self.dim):
            column = self.meter.column(i)
            if column is None:
                total = math.nan
                break
            total += float(column @ column)
            known += 1
        value, finite = math.sqrt(total), known == self.dim
        fields = {
            "value": value,
            "standard_error": 0.0 if finite else math.nan,
            "interval": (value, value) if finite else None,
            "method": "exact",
            "num_probes": known,
        }
        return self.meter.ended(fields, finite=finite, kept="no norm")


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
    finite : bool
        Whether every product was.
    """

    mean: np.ndarray
    variance: np.ndarray
    count: int
    finite: bool

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

    def run(self, method: str) -> Estimate:
        """Return the fields that are estimated."""
        known = self.dim <= self.num_probes or self.meter.operator.formed is not None
        if method == "auto" and known:
            method = "exact"
        total = self.dim if method == "exact" else self.num_probes
        self.meter.progress.start("diagonal", total=total)
        try:
            if method == "exact":
                return self._exact()
            return self._xdiag() if method == "xdiag" else self._hutchinson(may_be_exact=method == "auto")
        finally:
            self.meter.progress.stop()

    def _exact(self) -> Estimate:
        values = np.full(self.dim, np.nan)
        for i in range(self.dim):
            column = self.meter.column(i)
            if column is None:
                break
            values[i] = column[i]
        known = np.isfinite(values)
        number = int(np.count_nonzero(known))
        fields = {
            "values": values,
            "standard_errors": np.where(known, 0.0, np.nan),
            "num_probes": number,
            "method": "exact",
        }
        kept = f"the first {number:,} of {self.dim:,} entries stand" if number else "no entries"
        return self.meter.ended(fields, finite=number == self.dim, kept=kept)

    def _hutchinson(self, *, may_be_exact: bool) -> Estimate:
        count = self.num_probes
        if self.wants_pilot(_PILOT_OF_DIAGONAL):
            pilot = self._means(_PILOT_OF_DIAGONAL)
            if not pilot.finite:
                return self._found(pilot)
            count = max(count, self._needed(pilot))
            if may_be_exact and self.meter.left >= self.dim <= count:
                return self._exact()
        return self._found(self._means(min(count, self.meter.left)))

    def _means(self, count: int) -> EntryMeans:
        """Return the means over fresh probes, up to one that is not finite."""
        mean, spread, made = np.zeros(self.dim), np.zeros(self.dim), 0
        for _ in range(count):
            probe = self.probe()
            image = self.meter.product(probe)
            if image is None:
                break
            made += 1
            off = probe * image - mean
            mean += off / made
            spread += off * (probe * image - mean)  # Welford's sum of squared deviations
        unknown = np.full(self.dim, np.nan)
        return EntryMeans(
            mean=mean if made else unknown,
            variance=spread / (made - 1) if made > 1 else unknown,
            count=made,
            finite=made == count,
        )

    def _needed(self, pilot: EntryMeans) -> int:
        goal = (self.relative_error or 0.0) * math.sqrt(max(pilot.square, 0.0))
        return probes_needed(float(np.sum(pilot.variance)), goal)

    def _found(self, found: EntryMeans) -> Estimate:
        values, errors, count = found.mean, found.standard_errors, found.count
        half = t_interval(0.0, 1.0, count - 1, self.confidence)
        fields = {
            "values": values,
            "standard_errors": errors,
            "intervals": None if half is None else values[:, None] + errors[:, None] * np.array(half),
            "num_probes": count,
            "method": "hutchinson",
        }
        few = [too_few_probes(count, fewest=2)] if half is None and found.finite else []
        kept = f"values are those of the {count} finite probes before it" if count else "no values"
        reached = self.reached(*_lengths(errors, values))
        return self.meter.ended(fields, *few, finite=found.finite, reached=reached, kept=kept)

    def _xdiag(self) -> Estimate:
        count = max(1, min(self.num_probes // 2, self.dim))
        probes = rademacher(self.rng, count, self.dim, self.meter.operator.dtype)
        images: list[np.ndarray] = []

        def products(rows: np.ndarray) -> np.ndarray:
            images.append(np.array([self.meter.rows(row[None])[0] for row in rows], np.float64))
            return images[-1]

        try:
            values, errors = estimators.xdiag(products, probes)
        except FloatingPointError:  # the products are all zero, or not finite
            values = np.full(self.dim, 0.0)
            errors = values
        finite = all(np.isfinite(image).all() for image in images)
        if not finite:
            values = errors = np.full(self.dim, np.nan)
        fields = {
            "values": values,
            "error_estimates": errors,
            "num_probes": self.num_probes if finite else 0,
            "method": "xdiag",
        }
        reached = self.reached(*_lengths(errors, values))
        return self.meter.ended(fields, finite=finite, reached=reached, kept="no values")


def _lengths(errors: np.ndarray, values: np.ndarray) -> tuple[float, float]:
    return float(np.linalg.norm(errors)), float(np.linalg.norm(values))
