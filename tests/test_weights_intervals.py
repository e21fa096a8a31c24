"""Errors of weighted means: coverage over populations of weighted examples, and formulas by plain loops."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
import pytest

import landscape
from landscape import Problem
from landscape.connectivity.barrier_interval import DEFINITIONS, bands
from landscape.problem import Weighting

ALPHAS = np.linspace(0, 1, 9)
BUMP = 4 * ALPHAS * (1 - ALPHAS)
WAVES = np.stack([np.sin(np.pi * k * ALPHAS) for k in (1, 2, 3)])
HEIGHTS = {"none": 0.0, "bump": 0.3}


def tokens(rng: np.random.Generator, count: int) -> np.ndarray:
    """Return numbers of valid tokens: 1 to 64, most sequences short."""
    return np.minimum(1 + rng.geometric(0.08, count), 64).astype(np.float64)


def sample(height: float, seed: int, count: int = 80) -> tuple[np.ndarray, np.ndarray]:
    """Return losses [T, N] and weights [N] whose weighted mean excess has the population mean height · bump.

    The longer a sequence, the higher its excess and the less its noise; plain means have another truth.
    """
    rng = np.random.default_rng(seed)
    weights = tokens(rng, count)
    ends = rng.exponential(1, size=(2, count))
    chord = np.outer(1 - ALPHAS, ends[0]) + np.outer(ALPHAS, ends[1])
    noise = WAVES.T @ rng.standard_t(5, size=(3, count)) / np.sqrt(4 * weights)
    tilt = 0.06 * (weights - TILT_CENTRE)
    return np.outer(BUMP, height + tilt) + noise + chord, weights


_MANY = tokens(np.random.default_rng(1), 10**6)
# So that the weighted mean of the tilt is 0 in the population.
TILT_CENTRE = float((_MANY**2).sum() / _MANY.sum())


@pytest.mark.parametrize("name", HEIGHTS)
@pytest.mark.parametrize("definition", DEFINITIONS)
def test_interval_covers_the_weighted_barrier_of_the_population(name: str, definition: str) -> None:
    """False-alarm rate: with a coverage of 0.948, fewer than 930 of 1,000 hits have probability 5e-3."""
    hits = plain_hits = 0
    for seed in range(1000):
        values, weights = sample(HEIGHTS[name], seed)
        scaled = weights / weights.mean()
        low, high = bands(values, ALPHAS, weights=scaled, seed=seed, num_resamples=200)[definition].interval
        hits += low <= HEIGHTS[name] <= high
        low, high = bands(values, ALPHAS, seed=seed, num_resamples=200)[definition].interval
        plain_hits += low <= HEIGHTS[name] <= high
    assert hits / 1000 >= 0.93
    if name == "bump":  # the interval without weights is for another number
        assert plain_hits / 1000 < 0.5


def test_the_band_is_that_of_a_plain_loop_over_the_same_resamples() -> None:
    values, weights = sample(0.3, 2, 40)
    band = bands(values, ALPHAS, weights=weights / weights.mean(), seed=5, num_resamples=64)["above_chord"]
    over = (values - (1 - ALPHAS)[:, None] * values[0] - ALPHAS[:, None] * values[-1])[1:-1]
    mean = over @ weights / weights.sum()
    errors = np.sqrt((weights * (over - mean[:, None])) ** 2 @ np.ones(40) / weights.sum() ** 2 * 40 / 39)
    drawn = np.random.Generator(np.random.PCG64(5)).integers(0, 40, size=(64, 40))
    means = np.array([over[:, index] @ weights[index] / weights[index].sum() for index in drawn])
    own = np.array(
        [
            np.sqrt(((weights[i] * (over[:, i] - m[:, None])) ** 2).sum(1) * 40 / 39) / weights[i].sum()
            for i, m in zip(drawn, means, strict=True)
        ]
    )
    ratios = np.max(np.abs(means - mean) / own, axis=1)
    np.testing.assert_allclose(band.excess[1:-1], mean)
    np.testing.assert_allclose(band.standard_error[1:-1], errors)
    assert band.critical == pytest.approx(np.quantile(ratios, 0.95, method="higher"))
    maxima = np.maximum(means.max(axis=1), 0)
    assert band.bias == pytest.approx(maxima.mean() - max(mean.max(), 0))


def test_of_very_many_examples_the_error_of_the_sample_serves_all_resamples(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """There both agree: the ends of the intervals move by a few hundredths of their length."""
    values, weights = sample(0.3, 5, 4000)
    own = bands(values, ALPHAS, weights=weights / weights.mean())["above_chord"].interval
    monkeypatch.setattr("landscape.connectivity.barrier_interval._STUDENTISED", 10)
    shared = bands(values, ALPHAS, weights=weights / weights.mean())["above_chord"].interval
    assert shared == pytest.approx(own, abs=0.03 * (own[1] - own[0]))
    assert shared != own


def test_two_weighted_examples_have_a_finite_interval() -> None:
    values, _ = sample(0.3, 6, 2)
    low, high = bands(values, ALPHAS, weights=np.array([0.5, 1.5]))["above_chord"].interval
    assert np.isfinite([low, high]).all()


def test_a_path_whose_examples_agree_has_no_band_where_weights_differ() -> None:
    rng = np.random.default_rng(0)
    common = np.outer(BUMP, np.ones(50)) + np.outer(np.ones(9), rng.exponential(1, 50))
    found = bands(common, ALPHAS, weights=rng.exponential(1, 50))["above_chord"]
    assert found.interval == pytest.approx((1.0, 1.0), abs=1e-12)
    assert (found.standard_error == 0).all()


def test_the_standard_error_of_a_weighted_mean_is_its_spread_over_samples() -> None:
    """Of 2,000 samples the spread is known to 1.6 %: off by 8 % is five of its standard errors."""
    rng = np.random.default_rng(4)
    means, errors = [], []
    for _ in range(2000):
        weights = tokens(rng, 100)
        values = 0.05 * weights + rng.standard_normal(100)
        weighting = Weighting(100, None, weights / weights.mean())
        means.append(weighting.mean(values))
        errors.append(weighting.standard_error(values) ** 2)
    assert np.sqrt(np.mean(errors)) == pytest.approx(np.std(means), rel=0.08)


def noisy(params: Any, batch: Any) -> jax.Array:
    """A loss whose Hessian of an example is its scale times the identity: traces have no error of probes."""
    return 0.5 * batch[0] * (params["w"] ** 2).sum()


def test_the_error_from_the_examples_is_that_of_a_ratio_of_means() -> None:
    """The spread of 100 samples is known to 7 %: off by 35 % is five of its standard errors."""
    rng = np.random.default_rng(6)
    weights = tokens(rng, 100 * 80).astype(np.float32)
    scales = (1 + 0.05 * weights + rng.standard_normal(len(weights)) / 2).astype(np.float32)
    given, params = Problem(noisy, train=(scales, weights), weights=lambda batch: batch[1]), {"w": np.ones(3)}
    values, errors = [], []
    for number in range(100):
        rows = np.arange(80 * number, 80 * (number + 1))
        found = landscape.trace(landscape.hessian(given, params, subset=rows), method="exact", num_groups=10)
        assert found.value == pytest.approx(3 * np.average(scales[rows], weights=weights[rows]), rel=1e-5)
        values.append(found.value)
        errors.append(found.data_standard_error**2)
    assert np.sqrt(np.mean(errors)) == pytest.approx(np.std(values), rel=0.35)
    plain = 3 * scales.reshape(100, 80).mean(1)
    assert np.std(plain) < 0.8 * np.std(values)  # not the error of the plain mean


def test_the_error_from_groups_is_the_delta_methods_over_groups() -> None:
    rng = np.random.default_rng(7)
    weights = tokens(rng, 40).astype(np.float32)
    scales = rng.exponential(1, 40).astype(np.float32)
    given = Problem(noisy, train=(scales, weights), weights=lambda batch: batch[1])
    operator = landscape.hessian(given, {"w": np.ones(3, np.float32)}, dtype="float64")
    found = landscape.trace(operator, method="exact", num_groups=8)
    mass = np.array([weights[first::8].sum() for first in range(8)], np.float64)
    traces = np.array([3 * np.average(scales[g::8], weights=weights[g::8]) for g in range(8)])
    mean = mass @ traces / mass.sum()
    expected = np.sqrt((mass**2 * (traces - mean) ** 2).sum() / mass.sum() ** 2 * 8 / 7)
    assert found.data_standard_error == pytest.approx(expected, rel=1e-6)
