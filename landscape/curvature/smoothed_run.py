"""How derivatives of a smoothed loss are estimated: how many pairs, and what they say.

1. *Pilot*: twenty pairs foretell how many the error takes; where that is many, a tenth as many are the pilot.
2. *Baseline*: the mean of the pilot's second differences, by which those of the answer are reduced.
3. *Answer*: fresh pairs. None of the pilot is part of it, so that it is unbiased given their number, and its
   interval is that of a fixed number (see `landscape.results.probes`).

Where fewer pairs are allowed than a pilot and an answer take, all of them are the answer, without a baseline.

The Gaussian trace weighs second differences by ‖ε‖² − n, which on a quadratic would give each pair an error
of √n times the Frobenius norm. Therefore every pair is evaluated at two lengths of one distribution, mirrored
in its quantiles, F(‖ε‖²) and 1 − F(‖ε‖²), with F that of χ² of n degrees of freedom: antithetic variates
(Hammersley and Morton, 1956. Proc. Cambridge Philosophical Society 52). What the direction does to both
cancels; about √2 times the trace and √6 times the Frobenius norm are left.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from landscape.compute import Progress
from landscape.curvature.perturbed import SPHERE, Perturbed
from landscape.curvature.smoothed_pairs import Pairs
from landscape.files import Pieces
from landscape.network import duration_text
from landscape.results import (
    FEWEST_PROBES,
    error_reached,
    hull_factors,
    probe_interval,
    probes_needed,
    too_few_probes,
)

PILOT = 20
# Pairs below which there are no intervals. Weights z² − 1 make values skewed and their tails heavy: simulated
# on quadratics of 16 spectra and 1 to 120 coordinates (600 to 4,000 draws each), a stated .95 covers .93 or
# more from here on, and as little as .89 with a third as many pairs.
FEWEST = {"gaussian": 100, "sphere": FEWEST_PROBES, "entries": 300, "slopes": 30}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Wishes:
    """How exact an answer is to be.

    Attributes
    ----------
    relative_error : float or None
        Standard error asked for, relative to the size of the answer; None for exactly `least` pairs.
    absolute_error : float
        One that is good enough in any case.
    least, most : int
        Pairs of the answer at least, and of pilot and answer at most.
    confidence : float
        Of intervals.
    """

    relative_error: float | None
    absolute_error: float = 0.0
    least: int
    most: int
    confidence: float


class SmoothedRun:
    """One estimate from pairs."""

    def __init__(
        self, around: Perturbed, wishes: Wishes, pieces: Pieces, progress: Progress, *, lengths: int = 1
    ) -> None:
        self.around, self.wishes, self.progress = around, wishes, progress
        self.pairs = Pairs(around, pieces, progress, lengths=lengths)
        self.pilot = PILOT if wishes.most >= PILOT + wishes.least else 0
        self.count = 0
        self.warnings: list[str] = [*around.subject.notes]
        self.square = around.radius**2

    # -- pairs -------------------------------------------------------------------------------------

    @property
    def finite(self) -> bool:
        """Whether the loss is at every pair, and every weight."""
        return bool(np.isfinite(self.pairs.rises).all()) and self.around.subject.finite

    @property
    def _second(self) -> np.ndarray:
        """Second differences [m, lengths] of the mean loss, less the baseline (step 2)."""
        second: np.ndarray = self.pairs.rises.sum(axis=2)
        return second - (float(np.mean(second[: self.pilot])) if self.pilot else 0.0)

    @property
    def _slopes(self) -> np.ndarray:
        """First differences [m] of the mean loss over twice the radius."""
        sides = self.pairs.rises[:, 0]
        slopes: np.ndarray = (sides[:, 0] - sides[:, 1]) / (2 * self.around.radius)
        return slopes

    def _evaluate(self, name: str, needed: Callable[[], int]) -> slice:
        """Evaluate pilot and answer; return where the answer stands among the pairs."""
        wishes = self.wishes
        self.progress.start(f"{name}, pilot", total=self.pilot or None)
        self.progress.note("compiling")
        try:
            self.pairs.upto(self.pilot, pilot=True)
            self.count = wishes.least
            if wishes.relative_error is not None and self.finite:
                self.count = max(wishes.least, self._foretold(needed)) if self.pilot else wishes.most
            self.count = min(self.count, wishes.most - self.pilot)
            if self.finite:
                self.progress.start(self._label(name), total=self.count)
                self.pairs.upto(self.pilot + self.count, pilot=False)
        finally:
            self.progress.stop()
        return slice(self.pilot, self.pilot + self.count)

    def _foretold(self, needed: Callable[[], int]) -> int:
        """Return how many pairs the error takes, from a pilot that is large enough to know (step 1)."""
        more = min(needed() // 10, (self.wishes.most - PILOT) // 10)
        if more > self.pilot:
            self.pairs.upto(more, pilot=True)
            self.pilot = more
        return needed() if self.finite else self.wishes.least

    def _label(self, name: str) -> str:
        around = self.around
        pace = around.programs.seconds.get((around.count, around.batch_size))
        seconds = 0.0 if pace is None else pace * self.count * self.pairs.stretch.shape[1]
        return f"{name}, about {duration_text(seconds)}" if seconds else name

    # -- trace -------------------------------------------------------------------------------------

    def trace(self) -> dict[str, Any]:
        """Return the fields of a trace."""
        answer = self._evaluate("smoothed trace", self._pairs_of_trace)
        fields = self._common(answer)
        if not self.finite:
            return {**fields, "value": math.nan, "standard_error": None, "interval": None, **self._no_trace()}
        shares = self._shares(answer)
        values = shares.sum(axis=1)
        value, error = float(np.mean(values)), _error(values)
        fewest = FEWEST[self.around.form]
        ends = self._interval(values, fewest)
        layers = {
            path: {
                "value": float(np.mean(column)),
                "standard_error": _error(column),
                "interval": _listed(self._interval(column, FEWEST["entries"])),
                "size": size,
            }
            for (path, size), column in zip(self._sizes().items(), shares.T, strict=True)
            if size
        }
        self._say_few(answer, fewest)
        if ends is not None and self.count < FEWEST["entries"] and len(layers) > 1:
            text = too_few_probes(self.count, what="pairs", fewest=FEWEST["entries"])
            self.warnings.append(f"layers: {text}")
        return {
            **fields,
            "value": value,
            "standard_error": None if self._flat(answer) else error,
            "interval": ends,
            "per_layer": layers,
            "data_standard_error": self._data_error(answer),
            "status": self._status(error, abs(value)),
        }

    def _no_trace(self) -> dict[str, Any]:
        return {"per_layer": {}, "data_standard_error": None, "status": self._status(None, 0.0)}

    def _sizes(self) -> dict[str, int]:
        """Return the number of free coordinates of each leaf, in the order of the layout."""
        known = {path: len(where) for path, where in self.around.layers().items()}
        return {path: known.get(path, 0) for path in self.around.subject.layout.paths}

    def _shares(self, pairs: slice) -> np.ndarray:
        """Return the share of each leaf in the trace, pair by pair [m, leaves].

        Gaussian: (w − c)·q / 2σ² with the second difference w, its baseline c and q = Σ (z_i² − 1) over the
        leaf. On the sphere E[w q] = 2σ²(n T_l − n_l T)/(n + 2) for a quadratic, T_l the trace of a leaf
        with n_l of the n coordinates; so T_l is the mean of n_l w / nσ² + (n + 2)(w − c) q / 2nσ².
        """
        sizes = np.array(list(self._sizes().values()))
        offs = self.pairs.stretch[pairs, :, None] ** 2 * (self.pairs.squares[pairs, None] + sizes) - sizes
        spread: np.ndarray = np.mean(self._second[pairs, :, None] * offs, axis=1) / (2 * self.square)
        if self.around.form != SPHERE:
            return spread
        dim, second = self.around.dim, self._means(pairs)
        parts = sizes / dim
        # Over all leaves q is 0 on the sphere, up to rounding, which would not be 0 times a large number.
        spread -= parts * spread.sum(axis=1, keepdims=True)
        return second[:, None] * parts / self.square + (dim + 2) / dim * spread

    def _means(self, pairs: slice) -> np.ndarray:
        """Return the second differences [m] of pairs, without a baseline: means over their lengths."""
        second: np.ndarray = self.pairs.rises[pairs].sum(axis=2).mean(axis=1)
        return second

    def _pairs_of_trace(self) -> int:
        """Return how many pairs the error takes.

        The size of the trace is foretold by the mean rise, which is ½σ² of it on a quadratic and known far
        better than the trace itself; the number alone depends on it.
        """
        pilot = slice(0, self.pilot)
        second = self._means(pilot) / self.square
        variance = float(np.var(self._shares(pilot).sum(axis=1), ddof=1))
        size = abs(float(np.mean(second)))
        if self.around.form != SPHERE:  # that of a quadratic: a few pairs hide how heavy their tails are
            variance = max(variance, 2 * size**2 + 3 * float(np.var(second, ddof=1)))
        return probes_needed(variance, self._goal(size))

    def _data_error(self, answer: slice) -> float | None:
        """Return the standard error from the choice of examples: each has a trace of its own."""
        pilot, second, products = self.pairs.examples
        if self.around.count < 2:
            return None
        if self.around.form == SPHERE:
            each = second / (self.square * self.count)
        else:
            square = self.pairs.stretch[answer] ** 2
            whole = self.pairs.squares[answer].sum(axis=1) + self.around.dim
            total = float(np.sum(np.mean(square * whole[:, None] - self.around.dim, axis=1)))
            baseline = pilot / self.pilot if self.pilot else 0.0
            each = (products - baseline * total) / (2 * self.square * self.count)
        return self.around.weighting.error_over(each)

    # -- entries -----------------------------------------------------------------------------------

    def diagonal(self) -> dict[str, Any]:
        """Return the fields of a diagonal."""
        return self._vector("smoothed diagonal", lambda: self._second[:, 0] / (2 * self.square), squared=True)

    def gradient(self) -> dict[str, Any]:
        """Return the fields of a gradient."""
        fields = self._vector("smoothed gradient", lambda: self._slopes, squared=False)
        values, errors = fields["values"], fields["standard_errors"]
        known = errors is not None
        layers = {
            path: {"norm": _length(values[at], errors[at]) if known else None, "size": len(at)}
            for path, at in self.around.layers().items()
        }
        return {**fields, "norm": _length(values, errors) if known else None, "per_layer": layers}

    def _vector(self, name: str, weights: Callable[[], np.ndarray], *, squared: bool) -> dict[str, Any]:
        """Estimate entries, each a mean over pairs of a weight times z, or times z² − 1."""

        def needed() -> int:
            mean, variance, _ = self._moments(slice(0, self.pilot), weights(), squared=squared)
            square = float(mean @ mean) - float(np.sum(variance)) / self.pilot
            return probes_needed(float(np.sum(variance)), self._goal(math.sqrt(max(square, 0.0))))

        answer = self._evaluate(name, needed)
        fields = self._common(answer)
        if not self.finite:
            unknown = np.full(self.around.dim, np.nan)
            nothing = {"values": unknown, "standard_errors": None, "intervals": None}
            return {**fields, **nothing, "status": self._status(None, 0.0)}
        mean, variance, skewness = self._moments(answer, weights(), squared=squared)
        errors = np.sqrt(variance / self.count)
        fewest = FEWEST["entries" if squared else "slopes"]
        few = self.count < fewest or self._flat(answer)
        self._say_few(answer, fewest)
        low, high = hull_factors(skewness, max(self.count, 3), self.wishes.confidence)
        ends = None if few else np.stack([mean - low * errors, mean + high * errors], axis=1)
        size = float(np.linalg.norm(mean))
        status = self._status(float(np.linalg.norm(errors)), size)
        return {**fields, "values": mean, "standard_errors": errors, "intervals": ends, "status": status}

    def _moments(
        self, pairs: slice, weights: np.ndarray, *, squared: bool
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return mean, sample variance and sample skewness [dim] of the entries over pairs."""
        count = pairs.stop - pairs.start
        sums = self.around.moments(pairs.start, weights[pairs], squared=squared) / count
        mean = sums[0]
        second = np.maximum(sums[1] - mean**2, 0.0)
        third = sums[2] - 3 * mean * sums[1] + 2 * mean**3
        spread = np.where(second > 0, second, 1.0) ** 1.5
        skewness = third / spread * math.sqrt(count * (count - 1)) / max(count - 2, 1)
        variance: np.ndarray = second * count / max(count - 1, 1)
        return mean, variance, skewness

    # -- what is said ------------------------------------------------------------------------------

    def _common(self, answer: slice) -> dict[str, Any]:
        """Return the fields that all results have."""
        rises = self.pairs.rises[answer].mean(axis=(1, 2))
        known = self.finite
        return {
            "radius": self.around.radius,
            "form": self.around.form,
            "dim": self.around.dim,
            "loss": self.around.loss(),
            "rise": float(np.mean(rises)) if known else None,
            "rise_standard_error": _error(rises) if known else None,
            "confidence": self.wishes.confidence,
            "num_pairs": self.count if known else 0,
            "pilot_pairs": self.pilot,
        }

    def _interval(self, values: np.ndarray, fewest: int) -> tuple[float, float] | None:
        if not np.any(values) or self.count < fewest:
            return None
        return probe_interval(values, confidence=self.wishes.confidence)

    def _flat(self, answer: slice) -> bool:
        return not np.any(self.pairs.rises[answer])

    def _say_few(self, answer: slice, fewest: int) -> None:
        """Say why there is no interval."""
        if self._flat(answer):
            self.warnings.append(
                "no interval: no pair changes any loss; a larger radius reaches beyond the steps it makes"
            )
        elif self.count < fewest:
            self.warnings.append(too_few_probes(self.count, what="pairs", fewest=fewest))

    def _goal(self, size: float) -> float:
        return max((self.wishes.relative_error or 0.0) * size, self.wishes.absolute_error)

    def _status(self, error: float | None, size: float) -> str:
        if not self.finite:
            bad = int(np.count_nonzero(~np.isfinite(self.pairs.rises).all(axis=(1, 2))))
            self.warnings.append(
                f"the loss is not finite at {bad} of {len(self.pairs.rises)} pairs: no value"
            )
            return "non-finite"
        if self.wishes.relative_error is None or error_reached(error or 0.0, self._goal(size)):
            return "ok"
        most = f"at most {self.wishes.most} pairs, and the number that a pilot foretold"
        self.warnings.append(f"the error asked for was not reached within {most}")
        return "not-converged"


def _error(values: np.ndarray) -> float:
    return float(np.std(values, ddof=1)) / math.sqrt(len(values))


def _length(values: np.ndarray, errors: np.ndarray) -> float | None:
    """Return the length of a vector without the noise of its entries; None where nothing is left."""
    square = float(values @ values) - float(errors @ errors)
    return math.sqrt(square) if square > 0 else None


def _listed(ends: tuple[float, float] | None) -> list[float] | None:
    return None if ends is None else list(ends)
