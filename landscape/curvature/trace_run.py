"""How a trace is estimated: the method, the number of probes, and the error.

With an error asked for instead of a number of probes:

1. *Pilot*: ten probes foretell how many the error takes (`Samples.foretold_variance`, `probes_needed`).
2. *Sketch* (Hutch++ [1]_): where ``"auto"`` foretells many, the pilot's products become the sketch, and a
   second pilot is made of what remains.
3. *Exact*: where ``"auto"`` still foretells more than one product per dimension, the diagonal is computed.
4. *Answer*: as many fresh probes. No value of a pilot is part of it: averaged in, or stopped on its own
   error, it would be biased where mean and spread of probes go together (see `landscape.results.probes`).

With fewer products allowed than a pilot and an answer take, all of them are the answer.

References
----------
.. [1] Meyer et al., 2021. Hutch++: optimal stochastic trace estimation. arXiv:2010.09649.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from landscape.curvature import estimators
from landscape.curvature.estimators import FEW_REPLICATES, Hutchinson, HutchPP, Layers, Replicates, Samples
from landscape.curvature.metered import Estimate, Meter
from landscape.curvature.symmetric import SymmetricOperator
from landscape.errors import ConfigurationError
from landscape.results import FEWEST_PROBES, error_reached, probe_interval, probes_needed, too_few_probes

PILOT = 10  # probes from which the number needed is foretold
MANY = 60  # Hutchinson probes from which a sketch is worth its products
SKETCH = 10
_GROUP_PROBES = 10


@dataclasses.dataclass(frozen=True, kw_only=True)
class TraceGoal:
    """The error that is asked for.

    Attributes
    ----------
    relative_error : float
        Standard error, relative to the larger of the trace's size and the Frobenius norm.
    absolute_error : float
        A floor in the trace's units.
    confidence : float
        Coverage of intervals.
    """

    relative_error: float
    absolute_error: float
    confidence: float

    def error(self, samples: Samples | Replicates) -> float:
        """Return the standard error asked for, in the trace's units, as far as samples tell its size."""
        relative = self.relative_error * max(abs(samples.value), samples.frobenius)
        return max(relative, self.absolute_error)

    def needed(self, pilot: Samples) -> int:
        """Return how many fresh probes the error takes."""
        return probes_needed(pilot.foretold_variance, self.error(pilot))


@dataclasses.dataclass(frozen=True, kw_only=True)
class TraceRun:
    """How one trace is estimated; every step returns what it found.

    Attributes
    ----------
    meter : Meter
        Products, counted.
    goal : TraceGoal
        The error asked for.
    rng : numpy.random.Generator
        Of the probes.
    layers : dict
        ``[path]`` to the coordinates of a layer.
    """

    meter: Meter
    goal: TraceGoal
    rng: np.random.Generator
    layers: Layers

    @property
    def _operator(self) -> SymmetricOperator:
        return self.meter.operator

    def run(self, method: str, *, num_probes: int | None, num_replicates: int) -> Estimate:
        """Return the fields that depend on the method."""
        known = self._operator.formed is not None or self._operator.dim <= min(MANY, self.meter.most)
        if method == "auto" and num_probes is None and known:
            method = "exact"
        self._check_means(method, num_probes, num_replicates)
        self.meter.progress.start("trace", total=None)
        try:
            if method == "exact":
                return self._exact()
            if method == "xtrace":
                return self._xtrace(num_probes, num_replicates)
            return self._independent(method, num_probes)
        finally:
            self.meter.progress.stop()

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
        if self.meter.most < least:
            raise ConfigurationError(
                f"max_matvecs: too few for {method}",
                expected=f"{least} or more",
                got=str(self.meter.most),
                hint="Allow more products, or ask for fewer probes or replicates.",
            )

    # -- step 3: one product per dimension ---------------------------------------------------------

    def _exact(self) -> Estimate:
        diagonal = np.full(self._operator.dim, np.nan)
        for i in range(self._operator.dim):
            column = self.meter.column(i)
            if column is None:
                break
            diagonal[i] = column[i]
        value = float(diagonal.sum())
        finite = math.isfinite(value)
        layers = {
            path: _layer(float(diagonal[where].sum()), 0.0, len(where), None)
            for path, where in self.layers.items()
        }
        known = int(np.isfinite(diagonal).sum())
        fields = {
            "value": value,
            "standard_error": 0.0 if finite else float("nan"),
            "interval": (value, value) if finite else None,
            "method": "exact",
            "num_probes": known,
            "per_layer": layers,
        }
        kept = f"{known:,} of {len(diagonal):,} entries are known: no trace" if known else "no trace"
        return self.meter.ended(fields, finite=finite, kept=kept)

    # -- steps 1, 2 and 4: independent probes ------------------------------------------------------

    def _independent(self, method: str, num_probes: int | None) -> Estimate:
        """Estimate from independent probes: Hutchinson, or Hutch++ around a sketch."""
        operator, meter, fresh = self._operator, self.meter, num_probes or FEWEST_PROBES
        plain = Hutchinson(
            products=meter.rows,
            dim=operator.dim,
            dtype=operator.dtype,
            rng=self.rng,
            layers=self.layers,
        )
        wants_pilot = (method == "auto" or num_probes is None) and method != "hutch++"
        if not wants_pilot or meter.left < PILOT + fresh:
            if method == "hutch++":
                return self._sketched(plain, num_probes)
            return self._answer(plain, "hutchinson", num_probes or meter.left, fixed=num_probes is not None)
        pilot, _, images = plain.kept_run(PILOT)
        if not pilot.finite:
            return self._found(pilot, "hutchinson", fixed=True).having(pilot_matvecs=len(pilot))
        needed = self.goal.needed(pilot)
        if method == "auto" and needed > MANY and self._sketch_pays(fresh):
            found = self._with_sketch(plain, pilot, images, num_probes=num_probes, auto=True)
        else:
            found = self._answer(plain, "hutchinson", num_probes or needed, fixed=num_probes is not None)
        return found.having(pilot_matvecs=len(pilot))

    def _sketch_pays(self, fresh: int) -> bool:
        """Return whether there are dimensions, and products for a basis, behind it a pilot and an answer."""
        return self._operator.dim > 4 * SKETCH and self.meter.left >= SKETCH + PILOT + fresh

    def _sketched(self, plain: Hutchinson, num_probes: int | None) -> Estimate:
        """Estimate by Hutch++ from a sketch of its own."""
        size = min(SKETCH, self.meter.left // 4) if num_probes is None else max(2, num_probes // 3)
        pilot, _, images = plain.kept_run(max(1, min(size, self._operator.dim // 3)))
        return self._with_sketch(plain, pilot, images, num_probes=num_probes, auto=False)

    def _with_sketch(
        self, plain: Hutchinson, pilot: Samples, images: np.ndarray, *, num_probes: int | None, auto: bool
    ) -> Estimate:
        """Estimate by Hutch++: exactly in the range of a sketch's products, by probes in the remainder."""
        estimator = HutchPP.sketched(plain, images) if pilot.finite else None
        if estimator is None:  # what a failed sketch gives nevertheless: values of Hutchinson's estimator
            pilot = dataclasses.replace(pilot, finite=False)
            return self._found(pilot, "hutchinson", fixed=True)
        spent = len(images) + len(estimator.basis)
        return self._remainder(estimator, num_probes, auto=auto).having(sketch_matvecs=spent)

    def _remainder(self, estimator: HutchPP, num_probes: int | None, *, auto: bool) -> Estimate:
        """Probe what a sketch leaves: `num_probes` times, or as often as a second pilot foretells."""
        if num_probes is not None:
            return self._answer(estimator, "hutch++", num_probes, fixed=True)
        if self.meter.left < PILOT + FEWEST_PROBES:
            return self._answer(estimator, "hutch++", self.meter.left, fixed=False)
        pilot = estimator.run(PILOT)
        if not pilot.finite:
            return self._found(pilot, "hutch++", fixed=True)
        count = self.goal.needed(pilot)
        if auto and count > self._operator.dim <= self.meter.left:
            spent = self.meter.spent
            return self._exact().having(abandoned_matvecs=spent)
        return self._answer(estimator, "hutch++", count, fixed=False)

    def _answer(self, estimator: Hutchinson, method: str, count: int, *, fixed: bool) -> Estimate:
        """Make the fresh probes that are the answer."""
        return self._found(estimator.run(max(0, min(count, self.meter.left))), method, fixed=fixed)

    def _found(self, samples: Samples, method: str, *, fixed: bool) -> Estimate:
        count, error = len(samples), samples.standard_error
        interval = self._interval(samples.total, samples.exact.total)
        fields = {
            "value": samples.value,
            "standard_error": error,
            "interval": interval,
            "method": method,
            "num_probes": count,
            "per_layer": self._layers(samples),
        }
        few = [too_few_probes(count)] if interval is None and samples.finite else []
        return self.meter.ended(
            fields,
            *few,
            finite=samples.finite,
            reached=fixed or error_reached(error, self.goal.error(samples)),
            kept=f"the value is that of the {count} finite probes before it" if count else "no trace",
        )

    def _layers(self, samples: Samples) -> dict[str, dict[str, Any]]:
        """Return the share of each layer, from the same probes."""
        layers = {}
        for path, where in self.layers.items():
            values = samples.layers.get(path, np.empty(0))
            if not len(values):
                continue
            exact = samples.exact.layers.get(path, 0.0)
            mean, spread = exact + float(np.mean(values)), estimators.standard_error(values)
            layers[path] = _layer(mean, spread, len(where), self._interval(values, exact))
        return layers

    def _interval(self, values: np.ndarray, exact: float) -> tuple[float, float] | None:
        """Return the interval of a mean of probes and an exact part, which is known up to its rounding."""
        ends = probe_interval(values, confidence=self.goal.confidence)
        rounding = 10 * float(np.finfo(self._operator.dtype).eps) * abs(exact)
        return None if ends is None else (exact + ends[0] - rounding, exact + ends[1] + rounding)

    # -- replicates of XTrace ----------------------------------------------------------------------

    def _xtrace(self, num_probes: int | None, num_replicates: int) -> Estimate:
        """Estimate from leave-one-out values; an interval only from enough replicates of all."""
        count = num_probes or min(3 * PILOT, self.meter.most // (2 * num_replicates))
        if self._operator.dim <= count:
            return self._exact()
        wanted, pilot, stats = num_replicates, Replicates(), {}
        if num_probes is None and self.meter.left >= 2 * count * (1 + num_replicates):
            pilot, stats = self._replicates(count, 1), {"pilot_matvecs": 2 * count}
            variance, goal = pilot.error_estimate**2, self.goal.error(pilot)
            wanted = max(num_replicates, probes_needed(variance, goal, fewest=1))
        made = pilot if pilot.failed else self._replicates(count, min(wanted, self.meter.left // (2 * count)))
        found = self._replicated(made, count, fixed=num_probes is not None)
        shares = ["XTrace gives no values by layer: hutchinson and hutch++ do"] * bool(self.layers)
        return found.having(*shares, **stats)

    def _replicated(self, made: Replicates, count: int, *, fixed: bool) -> Estimate:
        number, interval, few = len(made.means), None, []
        if number >= FEW_REPLICATES:
            interval = probe_interval(made.means, confidence=self.goal.confidence, fewest=FEW_REPLICATES)
        elif not made.failed:
            few = [too_few_probes(number, what="replicates", fewest=FEW_REPLICATES)]
        fields = {
            "value": made.value,
            "standard_error": made.standard_error,
            "error_estimate": made.error_estimate,
            "interval": interval,
            "method": "xtrace",
            "num_probes": count,
        }
        kept = f"the value is that of the {number} finite replicates before it" if number else "no trace"
        reached = fixed or error_reached(made.error, self.goal.error(made))
        return self.meter.ended(fields, *few, finite=not made.failed, reached=reached, kept=kept)

    def _replicates(self, count: int, number: int) -> Replicates:
        """Return independent estimates, up to one whose products are not finite."""
        made = Replicates()
        while len(made.means) < number and not made.failed:
            made = self._another(made, count)
        return made

    def _another(self, made: Replicates, count: int) -> Replicates:
        """Return the replicates with one more, from a sketch of its own, or failed."""
        probes, images = self._sphere(count), []

        def products(rows: np.ndarray) -> np.ndarray:
            images.append(self.meter.rows(rows))
            return images[-1]

        values = _leave_one_out(products, probes)
        if values is None:  # all products are zero, or one is not finite
            values = np.full(count, 0.0 if np.isfinite(images[0]).all() else np.nan)
        if not np.isfinite(values).all():
            return dataclasses.replace(made, failed=True)
        square = float(np.mean(np.sum(images[0].astype(np.float64) ** 2, axis=1)))
        return made.and_one(float(values.mean()), estimators.standard_error(values), square)

    def _sphere(self, count: int) -> np.ndarray:
        rows = self.rng.standard_normal((count, self._operator.dim))
        rows *= math.sqrt(self._operator.dim) / np.linalg.norm(rows, axis=1, keepdims=True)
        return rows.astype(self._operator.dtype)


def _leave_one_out(products: Callable[[np.ndarray], np.ndarray], probes: np.ndarray) -> np.ndarray | None:
    """Return the estimates of XTrace [k]; None where its sketch spans nothing."""
    try:
        return estimators.xtrace(products, probes)
    except FloatingPointError:
        return None


def data_error(operator: SymmetricOperator, rng: np.random.Generator, num_groups: int) -> Estimate:
    """Return the standard error from the choice of examples: the same probes on groups of them.

    Weighted examples make groups of different weight, and the trace a ratio of means over groups.
    What probes and groups do together (the spread of a group's values that its mean over probes
    still carries) is taken out; None, with a warning, where nothing is left.
    """
    unknown = {"data_standard_error": None}
    groups = operator.groups(num_groups)
    if not groups:
        return Estimate(
            fields=unknown, warnings=("the matrix has no groups of examples: no error from the data",)
        )
    spent = {"data_passes": _GROUP_PROBES}
    probes = estimators.rademacher(rng, _GROUP_PROBES, operator.dim, operator.dtype)
    values = np.array(
        [[float(np.sum(z.astype(np.float64) * group.rows(z[None])[0])) for z in probes] for group in groups]
    )
    if not np.isfinite(values).all():
        warning = "a product with a group of the examples was not finite: no error from them"
        return Estimate(fields=unknown, warnings=(warning,), stats=spent)
    shares = operator.group_shares(num_groups)
    if shares is not None:
        # Of a ratio of means, by the delta method: what each group adds to the deviation of the whole.
        values = num_groups * shares[:, None] * (values - shares @ values)
    means = values.mean(axis=1)
    both = values - means[:, None] - values.mean(axis=0)[None] + values.mean()
    freedom = (num_groups - 1) * (_GROUP_PROBES - 1)
    noise = float(np.sum(both**2)) / freedom / _GROUP_PROBES
    variance = float(np.var(means, ddof=1)) - noise
    if variance < 0:  # 0 would claim that other examples change nothing
        warning = "the error from the choice of examples is too small beside the probes' to tell"
        return Estimate(fields=unknown, warnings=(warning,), stats=spent)
    return Estimate(fields={"data_standard_error": math.sqrt(variance / num_groups)}, stats=spent)


def _layer(value: float, error: float, size: int, ends: tuple[float, float] | None) -> dict[str, Any]:
    if not math.isfinite(value):  # an exact layer of which an entry is not known
        return {"value": value, "standard_error": float("nan"), "interval": None, "size": size}
    interval = [value, value] if error == 0 else (None if ends is None else list(ends))
    return {"value": value, "standard_error": error, "interval": interval, "size": size}
