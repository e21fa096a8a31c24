"""Intervals of proportions and means. No jax; scipy is loaded when a t quantile is needed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist

from landscape.errors import InputError

FEW_SEEDS = 5  # with fewer seeds each one is shown, and there is no interval over seeds


def wilson_interval(successes: float, n: int, confidence: float = 0.95) -> tuple[float, float]:
    r"""Return Wilson's score interval of a proportion.

    With $\hat p$ = `successes` / `n` and $z$ the normal quantile of `confidence`,
    $(\hat p + z^2/2n \pm z\sqrt{\hat p(1-\hat p)/n + z^2/4n^2}) / (1 + z^2/n)$.

    Parameters
    ----------
    successes : float
        Number of successes; a mean over seeds may be fractional.
    n : int
        Number of trials.
    confidence : float
        Coverage, between 0 and 1.

    Returns
    -------
    tuple of float
        Lower and upper end, within [0, 1].

    Raises
    ------
    InputError
        If `n` is not positive or `successes` lies outside 0 … `n`.

    References
    ----------
    Wilson, *Probable inference, the law of succession, and statistical inference*, JASA 1927.

    Examples
    --------
    >>> low, high = wilson_interval(90, 100)
    >>> round(low, 4), round(high, 4)
    (0.8256, 0.9448)
    """
    if n <= 0 or not 0 <= successes <= n:
        raise InputError(
            "Wilson interval of an impossible proportion",
            expected="0 <= successes <= n and n > 0",
            got=f"successes {successes}, n {n}",
        )
    z = NormalDist().inv_cdf(0.5 + _checked(confidence) / 2)
    p = successes / n
    centre = p + z * z / (2 * n)
    half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    low = 0.0 if successes == 0 else (centre - half) / scale
    high = 1.0 if successes == n else (centre + half) / scale
    return low, high


def mean_interval(values: Sequence[float], confidence: float = 0.95) -> tuple[float, float] | None:
    """Return Student's t interval of a mean, or None for fewer than two values.

    Examples
    --------
    >>> low, high = mean_interval([1.0, 2.0, 3.0])
    >>> round(low, 3), round(high, 3)
    (-0.484, 4.484)
    """
    count = len(values)
    if count < 2:
        return None
    from scipy.special import stdtrit

    mean = math.fsum(values) / count
    variance = math.fsum((value - mean) ** 2 for value in values) / (count - 1)
    half = float(stdtrit(count - 1, 0.5 + _checked(confidence) / 2)) * math.sqrt(variance / count)
    return mean - half, mean + half


def _checked(confidence: float) -> float:
    if not 0 < confidence < 1:
        raise InputError("confidence is not a probability", expected="between 0 and 1", got=str(confidence))
    return confidence
