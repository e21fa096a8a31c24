r"""Intervals of means of random probes, and how many of them an error takes.

The values of a stochastic estimate :math:`x_1 … x_m` (:math:`z^\top A z` over random signs, losses at
random perturbations) are skewed where few directions dominate: for one direction like :math:`\chi^2_1`.

*Interval.* With mean :math:`\bar x`, standard error :math:`s/\sqrt m`, sample skewness
:math:`\hat\gamma` and Student's quantile q of m − 1 degrees of freedom:

1. *Student*: :math:`\bar x \pm q\, s/\sqrt m`. Right for symmetric values; where large values are rare
   it is too short on their side.
2. *Hall* [1]_: the cubic :math:`g(T) = T + a(T^2/3 + 1/6) + a^2 T^3/27` with
   :math:`a = \hat\gamma/\sqrt m` removes the skewness of :math:`T = \sqrt m(\bar x - \mu)/s`; the ends are
   :math:`\bar x - g^{-1}(\pm q)\, s/\sqrt m`. Right for skewed values; too short for heavy tails on both
   sides.
3. *Hull*: from the lower of the two low ends to the higher of the two high ends.

*Coverage*, simulated for Gaussian quadratic forms of twelve spectra (flat, 1/i, 1/i², 1/i⁴, a spike,
indefinite ones, ranks 2 and 3; 8,000 draws each, so that .95 has a standard error of .0025): from .936 to
.965 with 10 to 100 probes, where Student's alone has from .85. Fewer than 10 get no interval.

*Stopping.* Mean and spread of skewed values go together: to stop where the spread is small is to stop where
the mean is. As in two-stage sampling [2]_ a pilot decides the number of probes, by `probes_needed`; but fresh
ones alone give the answer. It is unbiased, and its interval is that of a fixed number.

References
----------
.. [1] Hall, 1992. On the removal of skewness by transformation. J. Royal Statistical Society B 54(1).
.. [2] Stein, 1945. A two-sample test for a linear hypothesis whose power is independent of the variance.
   Annals of Mathematical Statistics 16(3).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

FEWEST_PROBES = 10

# A pilot's variance is itself an estimate: with half as many probes more than it foretells, and an error up
# to a quarter above the one asked for, fewer than 2 % of answers miss it for spectra without outliers.
_MORE = 1.5
_ALLOWED = 1.25
_MOST = 10**9


def probe_interval(
    values: Any, *, confidence: float = 0.95, fewest: int = FEWEST_PROBES
) -> tuple[float, float] | None:
    """Return the interval of the mean of independent values, or None where they are too few to know it.

    Parameters
    ----------
    values : sequence of float [m]
        Independent values of one distribution, their number not chosen by themselves.
    confidence : float
        Coverage.
    fewest : int
        Values below which there is no interval.

    Returns
    -------
    tuple of float or None
        The hull of Student's and Hall's interval. None for fewer than `fewest` values, unless two or more
        are all the same, and for values that are not finite.

    Examples
    --------
    >>> low, high = probe_interval([1, 1, 1, 1, 1, 2, 2, 3, 4, 9])
    >>> round(low, 2), round(high, 2)
    (0.71, 8.71)
    >>> probe_interval([1.0, 2.0, 3.0]) is None
    True
    """
    sample = np.asarray(values, float)
    if len(sample) < 2 or not np.isfinite(sample).all():
        return None
    if np.ptp(sample) == 0:
        return float(sample[0]), float(sample[0])
    if len(sample) < fewest:
        return None
    low, high = hull_interval(sample, confidence)
    return float(low), float(high)


def hull_interval(values: np.ndarray, confidence: float = 0.95) -> tuple[np.ndarray, np.ndarray]:
    """Return the ends [...] of the hull of Student's and Hall's interval of values [..., m], m at least 3."""
    count = values.shape[-1]
    mean = values.mean(axis=-1)
    off = values - mean[..., None]
    error = np.sqrt(np.sum(off**2, axis=-1) / (count * (count - 1)))
    low, high = hull_factors(_skewness(off), count, confidence)
    return mean - low * error, mean + high * error


def hull_factors(skewness: np.ndarray, count: int, confidence: float = 0.95) -> tuple[np.ndarray, np.ndarray]:
    """Return how many standard errors the ends of the hull lie below and above the mean of `count` values.

    Parameters
    ----------
    skewness : numpy.ndarray [...]
        Of the values, as samples have it.
    count : int
        Values of each mean, at least 3.
    confidence : float
        Coverage.
    """
    from scipy.special import stdtrit

    quantile = float(stdtrit(count - 1, 0.5 + confidence / 2))
    a = np.asarray(skewness) / math.sqrt(count)
    low = np.maximum(quantile, _hall(quantile, a))
    high = np.maximum(quantile, -_hall(-quantile, a))
    return low, high


def _hall(quantile: float, a: np.ndarray) -> np.ndarray:
    """Return the value of T that Hall's cubic takes to a quantile."""
    # The limit for no skewness is the quantile itself, but 3 / a · (cbrt(1 + a q) − 1) divides by zero there.
    safe = np.where(np.abs(a) < 1e-8, 1e-8, a)
    inverse: np.ndarray = 3 / safe * (np.cbrt(1 + safe * (quantile - safe / 6)) - 1)
    return inverse


def _skewness(off: np.ndarray) -> np.ndarray:
    """Return the sample skewness [...] of deviations [..., m] from their mean, 0 where nothing varies."""
    count = off.shape[-1]
    variance, third = np.mean(off**2, axis=-1), np.mean(off**3, axis=-1)
    spread = np.where(variance > 0, variance, 1.0) ** 1.5
    skewness: np.ndarray = third / spread * math.sqrt(count * (count - 1)) / (count - 2)
    return skewness


def too_few_probes(count: int, *, what: str = "probes", fewest: int = FEWEST_PROBES) -> str:
    """Return the reason why an estimate of few probes has no interval."""
    return f"no interval: {count} {what} are too few to know their own error ({fewest} or more are not)"


def probes_needed(variance: float, goal: float, *, fewest: int = FEWEST_PROBES) -> int:
    """Return how many fresh probes bring the standard error of their mean to a goal.

    Parameters
    ----------
    variance : float
        Of one probe, as a pilot has it.
    goal : float
        The standard error asked for.
    fewest : int
        Least number returned.
    """
    if not variance:
        return fewest
    needed = _MORE * variance / goal**2 if goal else math.inf
    return max(fewest, math.ceil(min(needed, _MOST))) if not math.isnan(needed) else _MOST


def error_reached(error: float, goal: float) -> bool:
    """Return whether the standard error that came out is that asked for, within a quarter of it."""
    return error <= _ALLOWED * goal
