"""The interval of a barrier: coverage, seeds, and the cases where nothing is uncertain."""

from __future__ import annotations

import numpy as np
import pytest

from landscape.connectivity.barrier_interval import DEFINITIONS, bands, baseline, excess
from landscape.errors import ConfigurationError, LandscapeError

ALPHAS = np.linspace(0, 1, 9)
BUMP = 4 * ALPHAS * (1 - ALPHAS)
WAVES = np.stack([np.sin(np.pi * k * ALPHAS) for k in (1, 2, 3)])
TRUTHS = {"none": 0 * ALPHAS, "bump": 0.3 * BUMP, "plateau": 0.2 * np.minimum(1, 10 * BUMP)}


def sample(truth: np.ndarray, seed: int, count: int = 80) -> np.ndarray:
    """Losses of examples whose excess over the chord has the mean `truth` and smooth, heavy-tailed noise."""
    rng = np.random.default_rng(seed)
    ends = rng.exponential(1, size=(2, count))
    chord = np.outer(1 - ALPHAS, ends[0]) + np.outer(ALPHAS, ends[1])
    return truth[:, None] + WAVES.T @ rng.standard_t(5, size=(3, count)) + chord


@pytest.mark.parametrize("name", TRUTHS)
@pytest.mark.parametrize("definition", DEFINITIONS)
def test_interval_covers_the_barrier_of_the_population(name: str, definition: str) -> None:
    """False-alarm rate: with a coverage of 0.97, fewer than 279 of 300 hits have probability 3e-4.

    The ends have equal expectations, so that both definitions have the same truth.
    """
    truth = TRUTHS[name]
    hits = 0
    for seed in range(300):
        band = bands(sample(truth, seed), ALPHAS, seed=seed, num_resamples=200)[definition]
        low, high = band.interval
        hits += low <= truth.max() <= high
    assert hits / 300 >= 0.93


def test_percentiles_of_the_maximum_would_miss_a_zero_barrier() -> None:
    """Why the interval is not the obvious one: the resampled maximum is biased upwards."""
    band = bands(sample(TRUTHS["none"], 0), ALPHAS)["above_chord"]
    assert band.bias > 0
    assert band.interval[0] == 0


def test_interval_holds_the_plug_in_value_and_shrinks_with_the_examples() -> None:
    widths = []
    for count in (50, 800):
        band = bands(sample(TRUTHS["bump"], 1, count), ALPHAS)["above_chord"]
        low, high = band.interval
        assert low <= band.excess.max() <= high
        widths.append(high - low)
    assert widths[1] < widths[0] / 2


def test_band_is_that_of_a_plain_loop_over_the_same_resamples() -> None:
    values = sample(TRUTHS["bump"], 2, 40)
    band = bands(values, ALPHAS, seed=5, num_resamples=64)["above_chord"]
    chord = (1 - ALPHAS)[:, None] * values[0] + ALPHAS[:, None] * values[-1]
    over = (values - chord)[1:-1]
    errors = over.std(axis=1, ddof=1) / np.sqrt(40)
    drawn = np.random.Generator(np.random.PCG64(5)).integers(0, 40, size=(64, 40))
    means = np.array([over[:, index].mean(axis=1) for index in drawn])
    ratios = np.max(np.abs(means - over.mean(axis=1)) / errors, axis=1)
    np.testing.assert_allclose(band.standard_error[1:-1], errors)
    assert band.critical == pytest.approx(np.quantile(ratios, 0.95, method="higher"))
    maxima = np.maximum(means.max(axis=1), 0)
    assert band.bias == pytest.approx(maxima.mean() - max(over.mean(axis=1).max(), 0))


def test_blocks_of_resamples_do_not_change_the_band(monkeypatch: pytest.MonkeyPatch) -> None:
    values = sample(TRUTHS["bump"], 3)
    whole = bands(values, ALPHAS, num_resamples=100)["above_mean"]
    monkeypatch.setattr("landscape.connectivity.barrier_interval._BLOCK", 1)
    parts = bands(values, ALPHAS, num_resamples=100)["above_mean"]
    assert parts.critical == pytest.approx(whole.critical, rel=1e-12)
    assert parts.bias == pytest.approx(whole.bias, rel=1e-9)


def test_float32_products_for_large_data_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    values = sample(TRUTHS["bump"], 4)
    exact = bands(values, ALPHAS)["above_chord"]
    monkeypatch.setattr("landscape.connectivity.barrier_interval._FLOAT64_ENTRIES", 1)
    rough = bands(values, ALPHAS)["above_chord"]
    np.testing.assert_allclose(rough.interval, exact.interval, rtol=1e-4)


def test_the_same_seed_gives_the_same_interval_and_another_one_a_close_one() -> None:
    values = sample(TRUTHS["bump"], 6)
    first, again, other = (bands(values, ALPHAS, seed=seed)["above_chord"] for seed in (0, 0, 1))
    assert first.interval == again.interval
    assert first.interval != other.interval
    np.testing.assert_allclose(first.interval, other.interval, atol=0.2)


def test_endpoints_carry_no_band_above_the_chord() -> None:
    band = bands(sample(TRUTHS["bump"], 7), ALPHAS)["above_chord"]
    assert band.standard_error[0] == band.standard_error[-1] == 0
    assert band.excess[0] == band.excess[-1] == 0
    assert (band.standard_error[1:-1] > 0).all()


def test_examples_that_agree_leave_nothing_uncertain() -> None:
    values = np.repeat(0.3 + 0.1 * BUMP[:, None], 50, axis=1)
    for band in bands(values, ALPHAS).values():
        assert not band.standard_error.any()
        assert band.interval == (band.excess.max(), band.excess.max())
        assert band.bias == 0


def test_chord_is_exact_at_its_ends_and_constant_between_equal_ones() -> None:
    assert baseline(ALPHAS, 0.1, 1e9, "above_chord")[[0, -1]].tolist() == [0.1, 1e9]
    assert not excess(np.full(9, 0.1), ALPHAS, "above_chord").any()
    assert not excess(np.full(9, 0.1), ALPHAS, "above_mean").any()


@pytest.mark.parametrize("options", [{"num_resamples": 0}, {"num_resamples": 1.5}, {"confidence": 95}])
def test_impossible_settings_are_refused(options: dict[str, float]) -> None:
    from landscape.connectivity.barrier_interval import check_settings

    with pytest.raises(ConfigurationError) as caught:
        check_settings(**{"num_resamples": 100, "confidence": 0.95, **options})
    assert isinstance(caught.value, LandscapeError)
