"""How a trace is estimated: the method, the number of probes, and the error.

With an error asked for instead of a number of probes:

1. *Pilot*: ten probes foretell how many the error takes (`Samples.foretold_variance`, `probes_needed`).
2. *Sketch* (Hutch++ [1]_): where ``"auto"`` foretells many, the pilot's products become the sketch, and a
   second pilot is made of what remains.
3. *Exact*: where ``"auto"`` still foretells more than one product per dimension, the diagonal is computed.
4. *Answer*: so many fresh probes. No value of a pilot is part of it: averaged in, or stopped on its own
   error, it would be biased where mean and spread of probes go together (see `landscape.results.probes`).

With fewer products allowed than a pilot and an answer take, all of them are the answer.

References
----------
.. [1] Meyer et al., 2021. Hutch++: optimal stochastic trace estimation. arXiv:2010.09649.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np

from landscape.compute import Progress
from landscape.curvature import estimators
from landscape.curvature.estimates import Ending, status_of
from landscape.curvature.estimators import FEW_REPLICATES, Hutchinson, HutchPP, Replicates, Samples
from landscape.curvature.symmetric import SymmetricOperator
from landscape.errors import ConfigurationError
from landscape.results import FEWEST_PROBES, error_reached, probe_interval, probes_needed, too_few_probes

PILOT = 10  # probes from which the number needed is foretold
MANY = 60  # Hutchinson probes from which a sketch is worth its products
SKETCH = 10
_GROUP_PROBES = 10


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
        known = self.operator.formed is not None or self.operator.dim <= min(MANY, self.max_matvecs)
        if method == "auto" and num_probes is None and known:
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
        """Refuse fewer products than the method takes in every case."""
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
            entry = self._entry(i)
            if not math.isfinite(entry):
                break
            diagonal[i] = entry
        value = float(diagonal.sum())
        finite = math.isfinite(value)
        layers = {
            path: _layer(float(diagonal[where].sum()), 0.0, len(where), None)
            for path, where in self.layers.items()
        }
        known = int(np.isfinite(diagonal).sum())
        return {
            "value": value,
            "standard_error": 0.0 if finite else float("nan"),
            "interval": (value, value) if finite else None,
            "method": "exact",
            "num_probes": known,
            "per_layer": layers,
            "status": self._status(
                finite,
                kept=f"{known:,} of {len(diagonal):,} entries are known: no trace" if known else "no trace",
            ),
        }

    def _entry(self, i: int) -> float:
        """Return an entry of the diagonal; NaN where its product is not finite."""
        if self.operator.formed is not None:
            return float(self.operator.formed[i, i])
        product = self.products(np.eye(1, self.operator.dim, i, dtype=self.operator.dtype))[0]
        return float(product[i]) if np.isfinite(product).all() else float("nan")

    # -- independent probes ------------------------------------------------------------------------

    def _independent(self, method: str, num_probes: int | None) -> dict[str, Any]:
        """Estimate from independent probes: Hutchinson, or Hutch++ around a sketch."""
        operator, fresh = self.operator, num_probes or FEWEST_PROBES
        plain = Hutchinson(
            products=self.products,
            dim=operator.dim,
            dtype=operator.dtype,
            rng=self.rng,
            layers=self.layers,
        )
        wants_pilot = (method == "auto" or num_probes is None) and method != "hutch++"
        pilot, images = None, np.empty((0, operator.dim))
        if wants_pilot and self._left >= PILOT + fresh:
            pilot, _, images = plain.kept_run(PILOT)
            self.extra["pilot_matvecs"] = len(pilot)
            if not pilot.finite:
                return self._fields(pilot, "hutchinson", fixed=True)
        many = pilot is not None and self._needed(pilot) > MANY
        if method == "hutch++" or (method == "auto" and many and self._sketch_pays(fresh)):
            return self._with_sketch(plain, pilot, images, num_probes=num_probes, auto=method == "auto")
        count = num_probes or (self._left if pilot is None else self._needed(pilot))
        return self._answer(plain, "hutchinson", count, fixed=num_probes is not None)

    def _sketch_pays(self, fresh: int) -> bool:
        """Return whether there are dimensions, and products for a basis, behind it a pilot and an answer."""
        return self.operator.dim > 4 * SKETCH and self._left >= SKETCH + PILOT + fresh

    def _with_sketch(
        self,
        plain: Hutchinson,
        pilot: Samples | None,
        images: np.ndarray,
        *,
        num_probes: int | None,
        auto: bool,
    ) -> dict[str, Any]:
        """Estimate by Hutch++: sketch, exact part, and probes of the remainder."""
        if pilot is None:
            size = min(SKETCH, self._left // 4) if num_probes is None else max(2, num_probes // 3)
            pilot, _, images = plain.kept_run(max(1, min(size, self.operator.dim // 3)))
        estimator = HutchPP.sketched(plain, images) if pilot.finite else None
        if estimator is None:  # what a failed sketch gives nevertheless: values of Hutchinson's estimator
            pilot = dataclasses.replace(pilot, finite=False)
            return self._fields(pilot, "hutchinson", fixed=True)
        self.extra["sketch_matvecs"] = len(images) + len(estimator.basis)
        if num_probes is not None:
            return self._answer(estimator, "hutch++", num_probes, fixed=True)
        if self._left < PILOT + FEWEST_PROBES:
            return self._answer(estimator, "hutch++", self._left, fixed=False)
        pilot = estimator.run(PILOT)
        if not pilot.finite:
            return self._fields(pilot, "hutch++", fixed=True)
        count = self._needed(pilot)
        if auto and count > self.operator.dim <= self._left:
            self.extra["abandoned_matvecs"] = self.num_matvecs
            return self._exact()
        return self._answer(estimator, "hutch++", count, fixed=False)

    def _answer(self, estimator: Hutchinson, method: str, count: int, *, fixed: bool) -> dict[str, Any]:
        """Make the fresh probes that are the answer."""
        return self._fields(estimator.run(max(0, min(count, self._left))), method, fixed=fixed)

    def _goal(self, samples: Samples | Replicates) -> float:
        relative = self.relative_error * max(abs(samples.value), samples.frobenius)
        return max(relative, self.absolute_error)

    def _needed(self, pilot: Samples) -> int:
        return probes_needed(pilot.foretold_variance, self._goal(pilot))

    def _fields(self, samples: Samples, method: str, *, fixed: bool) -> dict[str, Any]:
        count, value, error = len(samples), samples.value, samples.standard_error
        interval = self._interval(samples.total, samples.exact.total)
        layers = {}
        for path, where in self.layers.items():
            values = samples.layers.get(path, np.empty(0))
            if not len(values):
                continue
            exact = samples.exact.layers.get(path, 0.0)
            mean, spread = exact + float(np.mean(values)), estimators.standard_error(values)
            layers[path] = _layer(mean, spread, len(where), self._interval(values, exact))
        if interval is None and samples.finite:
            self.warnings.append(too_few_probes(count))
        return {
            "value": value,
            "standard_error": error,
            "interval": interval,
            "method": method,
            "num_probes": count,
            "per_layer": layers,
            "status": self._status(
                samples.finite,
                reached=fixed or error_reached(error, self._goal(samples)),
                kept=f"the value is that of the {count} finite probes before it" if count else "no trace",
            ),
        }

    def _interval(self, values: np.ndarray, exact: float) -> tuple[float, float] | None:
        """Return the interval of a mean of probes and an exact part, which is known up to its rounding."""
        ends = probe_interval(values, confidence=self.confidence)
        rounding = 10 * float(np.finfo(self.operator.dtype).eps) * abs(exact)
        return None if ends is None else (exact + ends[0] - rounding, exact + ends[1] + rounding)

    # -- replicates of XTrace ----------------------------------------------------------------------

    def _xtrace(self, num_probes: int | None, num_replicates: int) -> dict[str, Any]:
        """Estimate from leave-one-out values; an interval only from enough replicates of all."""
        count = num_probes or min(3 * PILOT, self.max_matvecs // (2 * num_replicates))
        if self.operator.dim <= count:
            return self._exact()
        if self.layers:
            self.warnings.append("XTrace gives no values by layer: hutchinson and hutch++ do")
        wanted, pilot = num_replicates, Replicates()
        if num_probes is None and self._left >= 2 * count * (1 + num_replicates):
            pilot = self._replicates(count, 1)
            self.extra["pilot_matvecs"] = 2 * count
            variance, goal = pilot.error_estimate**2, self._goal(pilot)
            wanted = max(num_replicates, probes_needed(variance, goal, fewest=1))
        made = pilot if pilot.failed else self._replicates(count, min(wanted, self._left // (2 * count)))
        number, interval = len(made.means), None
        if number >= FEW_REPLICATES:
            interval = probe_interval(made.means, confidence=self.confidence, fewest=FEW_REPLICATES)
        elif not made.failed:
            self.warnings.append(too_few_probes(number, what="replicates", fewest=FEW_REPLICATES))
        return {
            "value": made.value,
            "standard_error": made.standard_error,
            "error_estimate": made.error_estimate,
            "interval": interval,
            "method": "xtrace",
            "num_probes": count,
            "status": self._status(
                not made.failed,
                reached=num_probes is not None or error_reached(made.error, self._goal(made)),
                kept=f"the value is that of the {number} finite replicates before it"
                if number
                else "no trace",
            ),
        }

    def _replicates(self, count: int, number: int) -> Replicates:
        """Return independent estimates, up to one whose products are not finite."""
        made = Replicates()
        while len(made.means) < number and self._replicate(made, count):
            pass
        return made

    def _replicate(self, replicates: Replicates, count: int) -> bool:
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

    # -- what is said ------------------------------------------------------------------------------

    def _status(self, finite: bool, *, kept: str, reached: bool = True) -> str:
        status, warnings = status_of(
            self.operator, Ending(finite=finite, reached=reached, most=self.max_matvecs, kept=kept)
        )
        self.warnings += warnings
        return status

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
        if not np.isfinite(values).all():
            self.warnings.append("a product with a group of the examples was not finite: no error from them")
            return None
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
    if not math.isfinite(value):  # an exact layer of which an entry is not known
        return {"value": value, "standard_error": float("nan"), "interval": None, "size": size}
    interval = [value, value] if error == 0 else (None if ends is None else list(ends))
    return {"value": value, "standard_error": error, "interval": interval, "size": size}
