"""Intervals of means of random probes: coverage over a family of spectra, stopping, and too few to tell."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from curvature_samples import FAMILY, prescribed

from landscape.results import (
    FEWEST_PROBES,
    error_reached,
    hull_interval,
    probe_interval,
    probes_needed,
    too_few_probes,
)

SEEDS = 4000


def forms(values: np.ndarray, seeds: int, probes: int) -> np.ndarray:
    """Return zᵀAz [seeds, probes] of random signs z and a matrix of a spectrum in a random basis."""
    rng, matrix = np.random.default_rng(0), prescribed(values)
    signs = rng.choice((-1.0, 1.0), (seeds * probes, len(values)))
    return np.einsum("ij,ij->i", signs @ matrix, signs).reshape(seeds, probes)


# A true coverage of .94, the lowest of the family in 8,000 other draws, is seen below .93 once in 250 times.
@pytest.mark.parametrize("probes", [FEWEST_PROBES, 15, 30])
@pytest.mark.parametrize("name", FAMILY)
def test_intervals_of_quadratic_forms_cover_as_often_as_they_say(name: str, probes: int) -> None:
    low, high = hull_interval(forms(FAMILY[name], SEEDS, probes))
    truth = FAMILY[name].sum()
    assert 0.93 <= np.mean((low <= truth) & (truth <= high)) <= 0.98


@pytest.mark.parametrize("name", FAMILY)
def test_a_pilot_decides_and_fresh_probes_answer_without_bias(name: str) -> None:
    values = FAMILY[name]
    truth, seeds = float(values.sum()), 2000
    goal = math.sqrt(2 * float(np.sum(values**2)) / 30)  # what 30 probes of a Gaussian give
    pilot = forms(values, seeds, FEWEST_PROBES).var(axis=1, ddof=1)
    counts = np.minimum([probes_needed(variance, goal) for variance in pilot], 200)
    fresh = np.random.default_rng(1)
    matrix, means, hits = prescribed(values), np.empty(seeds), np.empty(seeds, bool)
    for i, count in enumerate(counts):
        signs = fresh.choice((-1.0, 1.0), (count, len(values)))
        sample = np.einsum("ij,ij->i", signs @ matrix, signs)
        low, high = probe_interval(sample) or (np.nan, np.nan)
        means[i], hits[i] = sample.mean(), low <= truth <= high
    # Four standard errors: one false alarm in 16,000.
    assert abs(means.mean() - truth) < 4 * means.std() / math.sqrt(seeds)
    assert hits.mean() >= 0.93


@pytest.mark.parametrize("make", [np.exp, lambda x: -np.exp(x), lambda x: x**3])
def test_the_hull_holds_students_interval(make: Callable[[np.ndarray], np.ndarray]) -> None:
    from scipy.stats import t

    sample = make(np.random.default_rng(0).normal(size=12))
    low, high = probe_interval(sample) or (np.nan, np.nan)
    student = t.interval(0.95, 11, sample.mean(), sample.std(ddof=1) / math.sqrt(12))
    assert low <= student[0] + 1e-12
    assert high >= student[1] - 1e-12


def test_the_interval_is_equivariant_under_shifts_scales_and_reflections() -> None:
    sample = np.random.default_rng(0).exponential(size=20)
    low, high = probe_interval(sample) or (np.nan, np.nan)
    np.testing.assert_allclose(probe_interval(3 * sample + 5), (3 * low + 5, 3 * high + 5))
    np.testing.assert_allclose(probe_interval(-sample), (-high, -low))


@pytest.mark.faults
def test_few_or_bad_values_have_no_interval_and_equal_ones_that_of_no_width() -> None:
    assert probe_interval(np.arange(FEWEST_PROBES - 1)) is None
    assert probe_interval([1.0]) is None
    assert probe_interval([np.nan] * 20) is None
    assert probe_interval([7.0, 7.0]) == (7.0, 7.0)
    assert "9 probes are too few" in too_few_probes(9)


def test_probes_needed_bring_the_error_to_the_goal() -> None:
    assert probes_needed(4.0, 0.1) == 600  # 400, and half as many more
    assert probes_needed(0.0, 0.0) == FEWEST_PROBES
    assert probes_needed(1.0, 0.0) == 10**9
    assert probes_needed(math.nan, 1.0) == 10**9
    assert error_reached(0.12, 0.1)
    assert not error_reached(0.13, 0.1)
    assert not error_reached(math.nan, 0.1)
