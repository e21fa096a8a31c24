"""PAC-Bayes flatness: the largest noise that costs at most so much accuracy, and the bounds from it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from landscape.compute import Progress
from landscape.errors import ConfigurationError, ProblemError
from landscape.flatness.ascent import check_ascent, outcome
from landscape.flatness.largest_noise import EPSILON, LEAST, MOST, Box, Noise, Search
from landscape.flatness.measurement import drawn_mean_of, mean_of, measured
from landscape.flatness.meter import with_bar
from landscape.flatness.neighbourhood import Neighbourhood
from landscape.flatness.options import Options
from landscape.flatness.results import ESTIMATE, LOWER_BOUND, FlatnessMeasure
from landscape.results import FEWEST_PROBES, check_real, too_few_probes

__all__ = ["pac_bayes_flatness"]


@with_bar
def pac_bayes_flatness(  # noqa: PLR0913  one keyword per setting
    problem: Any,
    params: Any,
    *,
    magnitude: bool = False,
    target: float = 0.1,
    metric: str | None = None,
    span: float | None = None,
    tolerance: float = 0.02,
    draws: int = 16,
    worst_case: bool = False,
    steps: int | None = None,
    starts: int | None = None,
    seed: int = 0,
    progress: Progress | None = None,
    **options: Any,
) -> FlatnessMeasure:
    r"""Measure the PAC-Bayes flatness 1/σ² of Jiang et al. 2020 [1]_, or the sharpness 1/α².

    σ is the largest standard deviation with :math:`E_{u\sim N(0,\sigma^2 I)}[\text{accuracy drop}] \le`
    `target`, or with the drop of another metric (the return of episodes) over `span`; if `magnitude`, the
    noise is :math:`u_i\sim N(0, \sigma'^2 w_i^2 + \epsilon^2)` with ε = 1e-3. With N examples
    (of weighted ones the effective number, :math:`(\sum w)^2/\sum w^2`), n free parameters and
    the initialisation w⁰ (or 0, "origin"), ``details`` holds
    :math:`\|w - w^0\|^2/4\sigma^2 + \log(N/\sigma) + 10` or, if `magnitude`,
    :math:`\tfrac14\sum_i\log\frac{\epsilon^2 + (\sigma'^2 + 1)\|w-w^0\|^2/n}
    {\epsilon^2 + \sigma'^2 (w_i-w_i^0)^2} + \log(N/\sigma') + 10` as ``complexity_init`` and
    ``complexity_origin``, and :math:`\sqrt{\text{complexity}/(N-1)}` as ``bound_…``: the derived bound on
    the gap of the mean error under the noise (vacuous at 1 or more).

    If `worst_case`, α is the largest size of a box :math:`|u_i| \le \alpha` (if `magnitude`,
    :math:`|u_i| \le \alpha'(|w_i| + 1)`) in which no point costs more than `target`. The point tried in
    each box is where projected ascent finds the highest loss. Noise of
    :math:`\sigma = \alpha/\sqrt{2\log 4n}` stays in the box at least half the time: the bounds are those of
    this σ, with ε = σ' if `magnitude`.

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
        Which metric drops; by default ``"accuracy"``, ``"error"``, or the first that states its span.
    span : float, optional
        Best minus worst value of the metric, to which drops are relative; by default the one that the
        metric states (``Metric(fn, span=500)``), or 1. The bounds hold for values within the span.
    tolerance : float
        Relative width of the last bracket of the bisection.
    draws : int
        Mirrored pairs, the same for every σ; not of the worst case, which draws none.
    worst_case : bool
        Whether accuracy falls at the worst point of a box instead of in the mean.
    steps, starts : int, optional
        Of the ascent of the worst case in each box, 10 and 2 unless given.
    seed : int
        Of the draws and starts.
    progress : Progress, optional
        Is told of every evaluation of the data; by default a bar where standard error is a terminal.
    **options
        As for `gaussian_robustness`.

    Returns
    -------
    FlatnessMeasure
        ``value`` is 1/σ²; its interval is where the 95 % interval of the drop meets `target`, its standard
        error that of the drop over the slope of the drop between these ends. In the worst case a lower
        bound: α is the upper end of the bracket, where a point was found that costs more. Status
        ``"not-found"`` and no value where no noise up to 1e4 costs that much, or the least noise more;
        ``details["value_at_most"]`` or ``details["value_at_least"]`` is then its bound, if it has one.

    Raises
    ------
    ConfigurationError
        Steps or starts without the worst case.
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
    slopes_of = "pac_bayes_flatness(worst_case=True)" if worst_case else None
    around = Neighbourhood(problem, params, Options(**options), progress=progress, slopes_of=slopes_of)
    common: dict[str, Any] = {"magnitude": magnitude, "target": target, "metric": metric}
    common |= {"tolerance": tolerance, "seed": seed, "span": span}
    if worst_case:
        steps, starts = 10 if steps is None else steps, 2 if starts is None else starts
        return sharpness_of(around, steps=steps, starts=starts, **common)
    if steps is not None or starts is not None:
        raise ConfigurationError(
            "pac_bayes_flatness: steps and starts are of the worst case", hint="Set worst_case=True."
        )
    return pac_bayes_of(around, draws=draws, **common)


def pac_bayes_of(
    around: Neighbourhood,
    *,
    magnitude: bool,
    target: float = 0.1,
    metric: str | None = None,
    span: float | None = None,
    tolerance: float = 0.02,
    draws: int = 16,
    seed: int,
) -> FlatnessMeasure:
    """Measure `pac_bayes_flatness` in given surroundings."""
    name, factor = chosen_metric(around, metric, span)
    settings = {"magnitude": magnitude, "target": target, "metric": name, "tolerance": tolerance}
    settings |= {"span": 1 / abs(factor)}
    settings |= {"draws": draws, "seed": seed}
    check_real("target", target, most=1)
    check_real("tolerance", tolerance, most=1)
    search = Noise(around, name, factor, settings=settings)
    found = search.crossing(lambda drop: mean_of(drop)[0])
    label = "pac_bayes_magnitude" if magnitude else "pac_bayes"
    if found is None:
        return _not_found(around, search, label, label=ESTIMATE, settings=settings)
    sigma = math.sqrt(found.low * found.high)
    ends = _ends(search, draws)
    interval = None if None in ends else (ends[1] ** -2, ends[0] ** -2)  # type: ignore[operator]
    drop, error, drop_interval = drawn_mean_of(search.drops(sigma))
    details = {
        "sigma": sigma,
        "sigma_interval": list(ends),
        "bracket": [found.low, found.high],
        "drop": drop,
        "drop_standard_error": error,
        "drop_interval": drop_interval,
        "evaluated": len(search.known),
        "units": "standard deviation relative to |θ|" if magnitude else "standard deviation",
        "metric": name,
        **_bounds(around, sigma, epsilon=EPSILON if magnitude else None),
    }
    return measured(
        around,
        label,
        sigma**-2,
        label=ESTIMATE,
        standard_error=None if interval is None else _error(search, sigma, ends),
        interval=interval,
        radius=sigma,
        details=details,
        settings=settings,
        warnings=[] if interval else [f"{label}: {_no_interval(draws)}"],
    )


def _ends(search: Noise, draws: int) -> tuple[float | None, float | None]:
    """Return the noises at which the upper and the lower end of the drop's interval meet the target.

    At the noise whose mean drop is the target, the interval of the mean (`landscape.results.probes`) holds
    the target as often as it covers. Drops are skewed where few directions dominate: Student's interval of
    16 draws then covers as little as .88, this one .94 or more.
    """
    if draws < FEWEST_PROBES:
        return None, None
    # Where the upper end of the drop's interval meets the target σ is at its smallest.
    least = search.crossing(lambda drop: (drawn_mean_of(drop)[2] or (0, math.inf))[1])
    most = search.crossing(lambda drop: (drawn_mean_of(drop)[2] or (-math.inf, 0))[0])
    return (least.low if least else None), (most.high if most else None)


def _no_interval(draws: int) -> str:
    if draws < FEWEST_PROBES:
        return too_few_probes(draws, what="draws")
    return "no error: the interval of the drop has no end on one side"


def _error(search: Noise, sigma: float, ends: Any) -> float | None:
    """Return the standard error of 1/σ² by the delta method: that of the drop over its slope in log σ."""
    rise = float(search.drops(ends[1]).mean() - search.drops(ends[0]).mean())
    slope = rise / math.log(ends[1] / ends[0])
    error = mean_of(search.drops(sigma))[1]
    return 2 * sigma**-2 * error / slope if error and slope > 0 else None


def sharpness_of(  # noqa: PLR0913  one keyword per setting
    around: Neighbourhood,
    *,
    magnitude: bool,
    target: float = 0.1,
    metric: str | None = None,
    span: float | None = None,
    tolerance: float = 0.02,
    steps: int = 10,
    starts: int = 2,
    seed: int,
) -> FlatnessMeasure:
    """Measure the worst case of `pac_bayes_flatness` in given surroundings."""
    name, factor = chosen_metric(around, metric, span)
    settings = {"magnitude": magnitude, "target": target, "metric": name, "tolerance": tolerance}
    settings |= {"span": 1 / abs(factor)}
    settings |= {"steps": steps, "starts": starts, "seed": seed}
    check_real("target", target, most=1)
    check_real("tolerance", tolerance, most=1)
    check_ascent({**settings, "radius": 1.0})
    around.meter.progress.note("maximising")
    search = Box(around, name, factor, settings=settings)
    found = search.crossing(lambda drop: float(np.nanmax(drop)) if np.isfinite(drop).any() else math.nan)
    label = "pac_bayes_sharpness_magnitude" if magnitude else "pac_bayes_sharpness"
    if found is None:
        return _not_found(around, search, label, label=LOWER_BOUND, settings=settings)
    alpha = found.high
    drops = search.drops(alpha)
    sigma = alpha / math.sqrt(2 * math.log(4 * around.dim))
    details = {
        "alpha": alpha,
        "bracket": [found.low, found.high],
        "drop": float(np.nanmax(drops)) if np.isfinite(drops).any() else math.nan,
        "starts": drops,
        "steps": steps,
        "evaluated": len(search.known),
        "units": "largest change relative to (|θ| + 1)" if magnitude else "largest change of a parameter",
        "metric": name,
        "sigma": sigma,
        **_bounds(around, sigma, epsilon=sigma if magnitude else None),
    }
    return measured(
        around,
        label,
        alpha**-2,
        label=LOWER_BOUND,
        radius=alpha,
        details=details,
        settings=settings,
        **outcome(np.array([search.bad[alpha]]), drops),
    )


def _not_found(around: Neighbourhood, search: Search, name: str, **fields: Any) -> FlatnessMeasure:
    target = fields["settings"]["target"]
    metric = fields["settings"]["metric"]
    what = "accuracy" if metric == "error" else metric
    if fields["settings"]["span"] != 1:
        what += f", relative to {fields['settings']['span']:g},"
    text = f"no {search.noun} up to {MOST:g} lowers the {what} by {target:g}"
    # It lies beyond the least or the most that was tried; but that no costly point of a box was found is no
    # proof that it has none.
    details = {"value_at_most": max(search.known) ** -2} if search.complete else {}
    if search.too_sharp:
        text = f"even {search.noun} of {LEAST:g} lowers the {what} by more than {target:g}"
        details = {"value_at_least": min(search.known) ** -2}
    fields |= {"details": details, "warnings": [f"{name}: {text}"]}
    return measured(around, name, None, status="not-found", **fields)


def chosen_metric(around: Neighbourhood, metric: str | None, span: float | None) -> tuple[str, float]:
    """Return the metric that drops, and the factor that makes its change a loss of quality over its span."""
    metrics = around.problem.metrics
    stated = [name for name, one in metrics.items() if one.span is not None]
    names = [metric] if metric is not None else ["accuracy", "error", *stated]
    name = next((name for name in names if name in metrics), None)
    if name is None:
        raise ProblemError(
            f"pac_bayes: the problem has no metric {' or '.join(map(repr, names))}",
            expected="an accuracy or an error of each example, or a metric that states its span",
            got=", ".join(metrics) or "no metrics",
            hint="Give Problem(metrics={'accuracy': fn}), or metric=….",
        )
    found = metrics[name]
    if name == "accuracy" and not found.higher_is_better:
        raise ProblemError(
            "pac_bayes: the metric 'accuracy' is said to be better where it is lower",
            expected="Metric(fn, higher_is_better=True)",
            got="higher_is_better=False",
            hint="Say higher_is_better=True, give the function alone, or name another metric.",
        )
    width = check_real("span", span) if span is not None else (found.span or 1.0)
    return name, (-1.0 if found.higher_is_better else 1.0) / width


def _bounds(around: Neighbourhood, sigma: float, *, epsilon: float | None) -> dict[str, Any]:
    """Return the complexities and bounds with the origin and with the initialisation as the prior's mean.

    N is the effective number of weighted examples: with shares s in a mean, Hoeffding's lemma has Σ s² where
    it has 1/N of equal ones.
    """
    checkpoint = around.subject.checkpoint
    centres = {"origin": np.zeros(around.size)}
    if checkpoint is not None and checkpoint.init is not None:
        centres["init"] = around.flatten(checkpoint.init)
    found: dict[str, Any] = {}
    count = around.weighting.effective
    for name, centre in centres.items():
        moved = (around.weights - centre)[around.free]
        square = float(moved @ moved)
        if epsilon is not None:
            above = epsilon**2 + (sigma**2 + 1) * square / around.dim
            below = epsilon**2 + (sigma * moved) ** 2
            divergence = 0.25 * float(np.log(above / below).sum())
        else:
            divergence = square / (4 * sigma**2)
        complexity = divergence + math.log(count / sigma) + 10
        found[f"distance_{name}"] = math.sqrt(square)
        found[f"complexity_{name}"] = complexity
        found[f"bound_{name}"] = math.sqrt(max(complexity, 0) / max(count - 1, 1))
    return found
