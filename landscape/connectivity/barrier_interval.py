"""Excess of a path over its baseline, with its sampling error over the examples. No jax.

An excess is linear in the loss curve: above the chord, ``d(α) = L(α) − [(1−α)L(0) + αL(1)]``; above
the mean, ``d(α) = L(α) − ½[L(0) + L(1)]``. Both definitions are therefore measured on one set of
paired resamples: the same resampled examples at every point of the path.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator

import numpy as np

from landscape.errors import ConfigurationError

ABOVE_CHORD = "above_chord"
ABOVE_MEAN = "above_mean"
DEFINITIONS = (ABOVE_CHORD, ABOVE_MEAN)

# Entries of a block of resampling counts (8 bytes each, three such arrays live at once), and of the
# values beyond which the products run in float32: there the memory, not the rounding, is the limit.
_BLOCK = 2**21
_MIN_ROWS = 8
_FLOAT64_ENTRIES = 2**26
_STUDENTISED, _LEAST_SHARE = 2**14, 1e-3  # weighted examples up to which resamples have errors of their own
_KEPT_COUNTS = 2**25  # of two bytes, kept for the next barrier on the same examples


@dataclasses.dataclass(frozen=True)
class Band:
    """Sampling error of one definition of a barrier.

    Attributes
    ----------
    excess, standard_error : numpy.ndarray [T]
        Mean over the examples and its standard error, at each point.
    critical : float
        Quantile over resamples of the largest studentised deviation along the path.
    interval : tuple of float
        Lower and upper end for the largest excess.
    bias : float
        Bootstrap mean of the maximum minus the maximum.
    """

    excess: np.ndarray
    standard_error: np.ndarray
    critical: float
    interval: tuple[float, float]
    bias: float


def baseline(alphas: np.ndarray, first: float, last: float, definition: str) -> np.ndarray:
    """Return the baseline at `alphas` between endpoints of loss `first` and `last`.

    The chord is exactly the endpoint's loss at 0 and at 1, and exactly constant between equal ends.
    """
    if definition == ABOVE_MEAN:
        return np.full(np.shape(alphas), 0.5 * first + 0.5 * last)
    with np.errstate(invalid="ignore", over="ignore"):  # an endpoint that is not finite
        chord = first + alphas * (last - first)
    return np.where(alphas == 0, first, np.where(alphas == 1, last, chord))


def excess(losses: np.ndarray, alphas: np.ndarray, definition: str) -> np.ndarray:
    """Return ``L(α)`` minus the baseline between the first and the last entry of `losses`."""
    with np.errstate(invalid="ignore", over="ignore"):
        difference: np.ndarray = losses - baseline(alphas, losses[0], losses[-1], definition)
    return difference


def bands(
    values: np.ndarray,
    alphas: np.ndarray,
    *,
    weights: np.ndarray | None = None,
    seed: int = 0,
    num_resamples: int = 1000,
    confidence: float = 0.95,
) -> dict[str, Band]:
    """Return the band and the interval of both barriers from per-example losses.

    With d̂(α) the mean excess, se(α) its standard error over examples, and c the `confidence`
    quantile over paired resamples of ``max_α |d*(α) − d̂(α)| / se(α)``, the interval is
    ``[max_α(d̂ − c·se)₊, max_α(d̂ + c·se)]``. Percentiles of the resampled maximum would exclude a
    barrier of zero far too often; this interval is conservative. Points with se = 0, the endpoints
    of the chord among them, carry no band.

    A weighted mean is a ratio of means over examples: se is that of the delta method, and the loss of an
    example is resampled together with its weight. Its deviations are skewed where losses go with weights, so
    that, up to 16,384 examples, every resample is divided by its own standard error (bootstrap-t [1]_); with
    more both agree. Simulated coverage of .95, with 80 and 400 examples: .95 to .998 with the weights of
    sequences of 1 to 64 tokens (.918 at worst without), but .80 with log-normal weights where the excess is
    proportional to them, of which a warning is given (`Weighting.cautions`).

    Parameters
    ----------
    values : numpy.ndarray [T, N]
        Loss of each of N ≥ 2 examples at each point; finite.
    alphas : numpy.ndarray [T]
        The points, from 0 to 1.
    weights : numpy.ndarray [N], optional
        Positive weights of the examples, of mean 1; equal ones unless given.
    seed : int
        Seed of the resampling.
    num_resamples : int
        Multinomial resamples of the N examples.
    confidence : float
        Simultaneous coverage of the band.

    Notes
    -----
    Costs ``4·R·N·T`` floating-point operations, as matrix products in blocks of resamples; with weights up to
    ``12·R·N·T``.

    References
    ----------
    .. [1] Efron and Tibshirani, 1993. An introduction to the bootstrap, section 12.5.
    """
    centred, means = _centred(values, weights)
    bases = {name: _excess_matrix(alphas, name) for name in DEFINITIONS}
    # Rounding of the sums: below it a standard error is zero and a ratio to it would mean nothing.
    largest = float(np.max(np.abs(values if weights is None else weights * values), initial=0))
    floor = 16 * float(np.finfo(centred.dtype).eps) * largest
    errors = {name: _standard_errors(centred, base, floor) for name, base in bases.items()}
    hats = {name: excess(means, alphas, name) for name in DEFINITIONS}
    own = {name: _own_error(centred, base, weights, errors[name]) for name, base in bases.items()}
    found: dict[str, list[np.ndarray]] = {name: [] for name in DEFINITIONS}
    for drawn, deviation in _resampled_deviations(centred, weights, num_resamples, seed):
        for name in DEFINITIONS:
            moved = deviation @ bases[name]
            ratios = _largest_ratio(moved, errors[name], own[name](drawn, moved))
            found[name].append(np.stack([ratios, _maxima(hats[name], moved)]))
    return {
        name: _band(hats[name], errors[name], np.concatenate(found[name], axis=1), confidence)
        for name in DEFINITIONS
    }


def _centred(values: np.ndarray, weights: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """Return the [N, T] deviations of the examples from their mean, times their weights, and the means."""
    dtype = np.float64 if values.size <= _FLOAT64_ENTRIES else np.float32
    means = np.empty(len(values))
    centred = np.empty(values.shape[::-1], dtype)
    for t, row in enumerate(values):
        if weights is None:
            means[t] = np.mean(row, dtype=np.float64)
            centred[:, t] = row.astype(np.float64) - means[t]
        else:
            means[t] = np.sum(weights * row.astype(np.float64)) / weights.sum()
            centred[:, t] = weights * (row.astype(np.float64) - means[t])
    return centred, means


def _excess_matrix(alphas: np.ndarray, definition: str) -> np.ndarray:
    """Return the matrix A with ``d = L A`` for a row L of losses along the path."""
    matrix = np.eye(len(alphas))
    first = 1 - alphas if definition == ABOVE_CHORD else np.full(len(alphas), 0.5)
    last = alphas if definition == ABOVE_CHORD else np.full(len(alphas), 0.5)
    matrix[0] -= first
    matrix[-1] -= last
    return matrix


def _standard_errors(centred: np.ndarray, base: np.ndarray, floor: float) -> np.ndarray:
    """Return the standard errors of the mean excess; exactly 0 where only rounding is left."""
    count, points = centred.shape
    squares = np.zeros(points)
    rows = max(1, _BLOCK // points)
    for start in range(0, count, rows):
        squares += np.square(centred[start : start + rows].astype(np.float64) @ base).sum(axis=0)
    errors = np.sqrt(squares / (count - 1) / count)
    return np.where(errors * np.sqrt(count) <= floor, 0.0, errors)


def _resampled_deviations(
    centred: np.ndarray, weights: np.ndarray | None, num_resamples: int, seed: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield how often each example is drawn [rows, N], and what the mean losses deviate then [rows, T].

    Block by block; of weighted ones Σ c w (ℓ − L) / Σ c w with c how often each is drawn.
    """
    count = len(centred)
    kept = count * num_resamples <= _KEPT_COUNTS
    blocks = _kept_counts(count, num_resamples, seed, _BLOCK) if kept else _counts(count, num_resamples, seed)
    for counts in blocks:
        drawn = counts.astype(centred.dtype)
        total = (
            count if weights is None else (drawn @ weights.astype(centred.dtype)).astype(np.float64)[:, None]
        )
        yield drawn, (drawn @ centred).astype(np.float64) / total


def _counts(count: int, num_resamples: int, seed: int) -> Iterator[np.ndarray]:
    """Yield [rows, N] how often each example is drawn, block by block."""
    generator = np.random.Generator(np.random.PCG64(seed))
    rows = max(_MIN_ROWS, _BLOCK // count)
    for start in range(0, num_resamples, rows):
        block = min(rows, num_resamples - start)
        drawn = generator.integers(0, count, size=(block, count))
        drawn += count * np.arange(block)[:, None]
        yield np.bincount(drawn.ravel(), minlength=block * count).reshape(block, count)


@functools.lru_cache(maxsize=1)
def _kept_counts(count: int, num_resamples: int, seed: int, block: int) -> tuple[np.ndarray, ...]:  # noqa: ARG001
    """Return all counts: pairs of a matrix are resampled alike, and drawing takes longer than the sums."""
    return tuple(counts.astype(np.uint16) for counts in _counts(count, num_resamples, seed))


def _own_error(
    centred: np.ndarray, base: np.ndarray, weights: np.ndarray | None, errors: np.ndarray
) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """Return the function that gives the standard errors in resamples, from counts [rows, N] and shifts.

    In a resample whose mean excess has moved by δ, the terms w (d − d̂) of the standard error are
    w (d − d̂) − w δ. Of equal weights, and of very many examples, it is always that of the sample.
    """
    count = len(centred)
    if weights is None or count > _STUDENTISED:
        return lambda *_: errors
    away = centred.astype(np.float64) @ base
    squares, crossed = np.square(away), away * weights[:, None]

    def own(drawn: np.ndarray, moved: np.ndarray) -> np.ndarray:
        within = drawn @ squares - 2 * moved * (drawn @ crossed)
        within += moved**2 * (drawn @ np.square(weights))[:, None]
        found = np.sqrt(np.maximum(within, 0) * count / (count - 1)) / (drawn @ weights)[:, None]
        # A resample of copies of one example has no error of its own.
        bounded: np.ndarray = np.maximum(found, _LEAST_SHARE * errors)
        return bounded

    return own


def _largest_ratio(moved: np.ndarray, errors: np.ndarray, own: np.ndarray) -> np.ndarray:
    banded = errors > 0
    if not banded.any():
        return np.zeros(len(moved))
    largest: np.ndarray = np.max(np.abs(moved[:, banded]) / own[..., banded], axis=1)
    return largest


def _maxima(hat: np.ndarray, moved: np.ndarray) -> np.ndarray:
    largest: np.ndarray = np.max(hat + moved, axis=1)
    return largest


def _band(hat: np.ndarray, errors: np.ndarray, found: np.ndarray, confidence: float) -> Band:
    ratios, maxima = found
    critical = float(np.quantile(ratios, confidence, method="higher"))
    low = max(0.0, float(np.max(hat - critical * errors)))
    high = float(np.max(hat + critical * errors))
    bias = float(maxima.mean() - hat.max()) if critical > 0 else 0.0
    return Band(hat, errors, critical, (low, high), bias)


def check_settings(num_resamples: int, confidence: float) -> None:
    """Refuse an invalid number of resamples or confidence.

    Raises
    ------
    ConfigurationError
        If `num_resamples` is below 1 or `confidence` not between 0 and 1.
    """
    if isinstance(num_resamples, bool) or not isinstance(num_resamples, (int, np.integer)):
        raise ConfigurationError("num_resamples: not a whole number", got=repr(num_resamples))
    if num_resamples < 1:
        raise ConfigurationError("num_resamples: too few", expected="1 or more", got=str(num_resamples))
    if not 0 < confidence < 1:
        raise ConfigurationError(
            "confidence: not a probability", expected="between 0 and 1, such as 0.95", got=str(confidence)
        )
