"""Intervals of proportions and means."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, strategies as st
from scipy.stats import binomtest, t

from landscape.errors import InputError
from landscape.results import mean_interval, wilson_interval


@given(n=st.integers(1, 5000), share=st.floats(0, 1), confidence=st.sampled_from([0.5, 0.9, 0.95, 0.99]))
def test_wilson_interval_equals_scipys(n: int, share: float, confidence: float) -> None:
    successes = round(share * n)
    want = binomtest(successes, n).proportion_ci(confidence, method="wilson")
    assert wilson_interval(successes, n, confidence) == pytest.approx((want.low, want.high), abs=1e-12)


@pytest.mark.parametrize(("successes", "n"), [(1, 0), (-1, 5), (6, 5)])
def test_wilson_interval_refuses_an_impossible_proportion(successes: int, n: int) -> None:
    with pytest.raises(InputError, match="impossible"):
        wilson_interval(successes, n)


def test_mean_interval_is_students() -> None:
    values = [0.1, 0.4, 0.2, 0.9]
    want = t.interval(0.9, 3, np.mean(values), np.std(values, ddof=1) / 2)
    assert mean_interval(values, 0.9) == pytest.approx(want)
    assert mean_interval([1.0]) is None


def test_confidence_must_be_a_probability() -> None:
    with pytest.raises(InputError, match="probability"):
        wilson_interval(1, 2, 95)
