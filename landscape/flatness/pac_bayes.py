"""PAC-Bayes flatness: the largest noise that costs at most so much accuracy, and the bounds from it."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from landscape._settings import check_real, check_seed, check_whole
from landscape.errors import ProblemError
from landscape.flatness._measured import mean_of, measured
from landscape.flatness._surroundings import Options, Surroundings
from landscape.flatness.gaussian import draw
from landscape.flatness.results import ESTIMATE, FlatnessMeasure
from landscape.progress import Progress

__all__ = ["pac_bayes_flatness"]

_FIRST, _LEAST, _MOST = 1e-2, 1e-9, 1e4  # noise: where the bracket starts and ends
_EPSILON = 1e-3  # of the magnitude-aware noise (Jiang et al.)


def pac_bayes_flatness(  # noqa: PLR0913  one keyword a setting
    problem: Any,
    params: Any,
    *,
    magnitude: bool = False,
    target: float = 0.1,
    metric: str | None = None,
    tolerance: float = 0.02,
    draws: int = 16,
    seed: int = 0,
    progress: Progress | None = None,
    **options: Any,
) -> FlatnessMeasure:
    r"""Measure the PAC-Bayes flatness 1/σ² of Jiang et al. 2020 [1]_.

    σ is the largest standard deviation with :math:`E_{u\sim N(0,\sigma^2 I)}[\text{accuracy drop}] \le`
    `target`; if `magnitude`, the noise is :math:`u_i\sim N(0, \sigma'^2 w_i^2 + \epsilon^2)` with
    ε = 1e-3. With N examples, n free parameters and the initialisation w⁰ (or 0, "origin"), ``details``
    holds :math:`\|w - w^0\|^2/4\sigma^2 + \log(N/\sigma) + 10` or, if `magnitude`,
    :math:`\tfrac14\sum_i\log\frac{\epsilon^2 + (\sigma'^2 + 1)\|w-w^0\|^2/n}
    {\epsilon^2 + \sigma'^2 (w_i-w_i^0)^2} + \log(N/\sigma') + 10` as ``complexity_init`` and
    ``complexity_origin``, and :math:`\sqrt{\text{complexity}/(N-1)}` as ``bound_…``: the derived bound on
    the gap of the mean error under the noise (vacuous from 1 on).

    Parameters
    ----------
    problem : Problem or None
        With a metric that is an accuracy or an error.
    params : Checkpoint, path of one, or pytree
        The network; a checkpoint's ``init`` is w⁰.
    magnitude : bool
        Whether noise grows with the weights.
    target : float
        Accuracy drop, 0.1 in the paper.
    metric : str, optional
        Which metric drops; by default ``"accuracy"``, or ``"error"``.
    tolerance : float
        Relative width of the last bracket of the bisection.
    draws : int
        Mirrored pairs, the same for every σ.
    seed : int
        Of the draws.
    progress : Progress, optional
        Is told of every σ that is tried.
    **options
        As for `gaussian_robustness`.

    Returns
    -------
    FlatnessMeasure
        ``value`` is 1/σ²; its interval is where the 95 % interval of the drop meets `target`. Status
        ``"not-found"`` and no value where no noise up to 1e4 costs that much, or the least noise more;
        ``details["value_at_most"]`` or ``details["value_at_least"]`` is then its bound.

    Raises
    ------
    ProblemError
        If the problem has no such metric.

    Notes
    -----
    The noise's standard deviation is σ. The argument of the logarithm is N/σ, as in the code released
    with [1]_ (some texts print N/δ). The search goes up from small noise, so that σ is the first at
    which the drop reaches the target, should that happen more than once.

    References
    ----------
    .. [1] Jiang et al., 2020. Fantastic generalization measures and where to find them. ICLR,
       arXiv:1912.02178; after Neyshabur et al., 2017, arXiv:1706.08947.
    """
    around = Surroundings(problem, params, Options(**options), progress=progress)
    return pac_bayes_of(
        around,
        magnitude=magnitude,
        target=target,
        metric=metric,
        tolerance=tolerance,
        draws=draws,
        seed=seed,
    )


def pac_bayes_of(
    around: Surroundings,
    *,
    magnitude: bool,
    target: float = 0.1,
    metric: str | None = None,
    tolerance: float = 0.02,
    draws: int = 16,
    seed: int,
) -> FlatnessMeasure:
    """Measure `pac_bayes_flatness` in given surroundings."""
    name, sign = chosen_metric(around, metric)
    settings = {"magnitude": magnitude, "target": target, "metric": name, "tolerance": tolerance}
    settings |= {"draws": draws, "seed": seed}
    check_real("target", target, most=1)
    check_real("tolerance", tolerance, most=1)
    search = _Search(around, name, sign, settings=settings)
    found = search.crossing(lambda drop: mean_of(drop)[0])
    label = "pac_bayes_magnitude" if magnitude else "pac_bayes"
    if found is None:
        text = f"no noise up to {_MOST:g} lowers the accuracy by {target:g}"
        if search.too_sharp:
            text = f"even noise of {_LEAST:g} lowers the accuracy by more than {target:g}"
        return measured(
            around,
            label,
            None,
            label=ESTIMATE,
            # It lies beyond the least or the most noise that was tried.
            details={"value_at_least": min(search.known) ** -2}
            if search.too_sharp
            else {"value_at_most": max(search.known) ** -2},
            settings=settings,
            status="not-found",
            warnings=[f"{label}: {text}"],
        )
    low, high = found
    sigma = math.sqrt(low * high)
    # Where the upper end of the drop's interval meets the target σ is at its smallest.
    least = search.crossing(lambda drop: (mean_of(drop)[2] or (0, math.inf))[1])
    most = search.crossing(lambda drop: (mean_of(drop)[2] or (-math.inf, 0))[0])
    ends = (least[0] if least else None, most[1] if most else None)
    interval = None if None in ends else (ends[1] ** -2, ends[0] ** -2)  # type: ignore[operator]
    drop, error, drop_interval = mean_of(search.drops(sigma))
    details = {
        "sigma": sigma,
        "sigma_interval": list(ends),
        "bracket": [low, high],
        "drop": drop,
        "drop_standard_error": error,
        "drop_interval": drop_interval,
        "evaluated": len(search.known),
        "units": "standard deviation relative to |θ|" if magnitude else "standard deviation",
        "metric": name,
        **_bounds(around, sigma, magnitude=magnitude),
    }
    return measured(
        around,
        label,
        sigma**-2,
        label=ESTIMATE,
        interval=interval,
        radius=sigma,
        details=details,
        settings=settings,
    )


def chosen_metric(around: Surroundings, metric: str | None) -> tuple[str, float]:
    """Return the metric that drops, and the sign that makes a loss of quality a positive number."""
    metrics = around.problem.metrics
    names = [metric] if metric is not None else ["accuracy", "error"]
    for name in names:
        if name in metrics and name == "accuracy" and not metrics[name].higher_is_better:
            raise ProblemError(
                "pac_bayes: the metric 'accuracy' is said to be better where it is lower",
                expected="Metric(fn, higher_is_better=True)",
                got="a bare function, which counts as lower is better",
                hint="Wrap it in landscape.Metric, or name another metric.",
            )
        if name in metrics:
            return name, -1.0 if metrics[name].higher_is_better else 1.0
    raise ProblemError(
        f"pac_bayes: the problem has no metric {' or '.join(map(repr, names))}",
        expected="an accuracy or an error of each example",
        got=", ".join(metrics) or "no metrics",
        hint="Give Problem(metrics={'accuracy': Metric(fn, higher_is_better=True)}), or metric=….",
    )


class _Search:
    """The drop as a function of the noise, with the same draws for every noise."""

    def __init__(self, around: Surroundings, metric: str, sign: float, *, settings: dict[str, Any]) -> None:
        self.around = around
        self.metric, self.sign = metric, sign
        self.magnitude, self.target = settings["magnitude"], settings["target"]
        self.tolerance = settings["tolerance"]
        self.draws = check_whole("draws", settings["draws"], 2)
        self.seed = check_seed(settings["seed"])
        self.known: dict[float, np.ndarray] = {}
        self.too_sharp = False  # whether the least noise cost too much already

    def drops(self, sigma: float) -> np.ndarray:
        """Return the mean drop over each mirrored pair [draws]."""
        if sigma not in self.known:
            around = self.around
            with around.computing():
                key, scale = jax.random.key(self.seed), around.on_device(self._scale(sigma))
                rows = [
                    around.rises(draw(key, np.uint32(number), scale), (1.0, -1.0))[self.metric]
                    for number in range(self.draws)
                ]
            self.known[sigma] = self.sign * np.stack(rows).mean(1)
            around.progress.advance(1)
        return self.known[sigma]

    def _scale(self, sigma: float) -> np.ndarray:
        around = self.around
        if not self.magnitude:
            return sigma * around.scale("absolute")
        return np.where(around.free, np.sqrt((sigma * around.weights) ** 2 + _EPSILON**2), 0.0)

    def crossing(self, of: Callable[[np.ndarray], float]) -> tuple[float, float] | None:
        """Return a bracket of the noise at which ``of(drops)`` first exceeds the target, or None."""

        def exceeds(sigma: float) -> bool:
            value = of(self.drops(sigma))
            return not value <= self.target  # a drop that is not a number is one

        low = _FIRST
        while exceeds(low) and low > _LEAST:
            low /= 4
        if exceeds(low):
            self.too_sharp = True
            return None
        high = 2 * low
        while not exceeds(high):
            low, high = high, 2 * high
            if high > _MOST:
                return None
        while high / low > 1 + self.tolerance:
            middle = math.sqrt(low * high)
            low, high = (low, middle) if exceeds(middle) else (middle, high)
        return low, high


def _bounds(around: Surroundings, sigma: float, *, magnitude: bool) -> dict[str, Any]:
    """Return the complexities and bounds with the origin and with the initialisation as the prior's mean."""
    checkpoint = around.subject.checkpoint
    centres = {"origin": np.zeros(around.size)}
    if checkpoint is not None and checkpoint.init is not None:
        centres["init"] = around.flatten(checkpoint.init)
    found: dict[str, Any] = {}
    count = around.count
    for name, centre in centres.items():
        moved = (around.weights - centre)[around.free]
        square = float(moved @ moved)
        if magnitude:
            above = _EPSILON**2 + (sigma**2 + 1) * square / around.dim
            below = _EPSILON**2 + (sigma * moved) ** 2
            divergence = 0.25 * float(np.log(above / below).sum())
        else:
            divergence = square / (4 * sigma**2)
        complexity = divergence + math.log(count / sigma) + 10
        found[f"distance_{name}"] = math.sqrt(square)
        found[f"complexity_{name}"] = complexity
        found[f"bound_{name}"] = math.sqrt(max(complexity, 0) / max(count - 1, 1))
    return found
