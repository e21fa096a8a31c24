"""Exact counts, ties by place, and what stays pruned."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, strategies as st

from landscape.errors import ConfigurationError, MaskError
from landscape.trees import Layout
from trainers.pruning import ScoreInputs, count_to_keep, keep_highest, layer_densities, score

TREE = {
    "Dense_1": {"kernel": np.zeros((3, 2), np.float32), "bias": np.zeros(2, np.float32)},
    "Dense_0": {"kernel": np.zeros((4, 3), np.float32), "bias": np.zeros(3, np.float32)},
}
LAYOUT = Layout.of(TREE)
PRUNABLE = LAYOUT.prunable()


@pytest.mark.parametrize(
    ("n", "density", "expected"),
    [(11240, 0.8, 8992), (11240, 0.8**19, 162), (10, 0.25, 3), (10, 1e-9, 1), (7, 0.5, 4), (1, 1.0, 1)],
)
def test_count_is_floor_of_n_density_plus_half_and_at_least_one(
    n: int, density: float, expected: int
) -> None:
    assert count_to_keep(n, density) == expected


@pytest.mark.parametrize("density", [0.0, -0.1, 1.0000001, float("nan")])
def test_densities_outside_the_unit_interval_are_refused(density: float) -> None:
    with pytest.raises(ConfigurationError, match="density"):
        count_to_keep(10, density)


@given(st.integers(0, 2**32 - 1), st.integers(1, 18), st.integers(1, 18))
def test_pruning_twice_keeps_exact_counts_and_never_revives(seed: int, first: int, second: int) -> None:
    rng = np.random.default_rng(seed)
    first, second = max(first, second), min(first, second)
    scores = rng.integers(0, 4, LAYOUT.size).astype(np.float32)  # many ties
    once = keep_highest(scores, np.ones(LAYOUT.size, bool), PRUNABLE, first)
    twice = keep_highest(rng.normal(size=LAYOUT.size), once, PRUNABLE, second)
    assert once[PRUNABLE].sum() == first
    assert twice[PRUNABLE].sum() == second
    assert once[~PRUNABLE].all()
    assert twice[~PRUNABLE].all()
    assert not (twice & ~once).any()


def test_kept_weights_score_at_least_as_high_as_pruned_ones() -> None:
    scores = np.random.default_rng(0).normal(size=LAYOUT.size)
    mask = keep_highest(scores, np.ones(LAYOUT.size, bool), PRUNABLE, 7)
    assert scores[mask & PRUNABLE].min() > scores[~mask & PRUNABLE].max()


def test_ties_go_to_the_earlier_path_and_then_to_the_earlier_place() -> None:
    mask = keep_highest(np.zeros(LAYOUT.size), np.ones(LAYOUT.size, bool), PRUNABLE, 13)
    leaves = LAYOUT.split(mask)
    assert leaves["Dense_0/kernel"].all()
    np.testing.assert_array_equal(leaves["Dense_1/kernel"].ravel(), [True] + [False] * 5)


def test_the_order_in_which_a_tree_was_built_does_not_matter() -> None:
    turned = {key: dict(reversed(value.items())) for key, value in reversed(TREE.items())}
    assert Layout.of(turned) == LAYOUT


def test_a_score_of_minus_infinity_is_kept_before_a_pruned_weight() -> None:
    mask = np.ones(LAYOUT.size, bool)
    first = int(np.flatnonzero(PRUNABLE)[0])
    mask[first] = False
    scores = np.full(LAYOUT.size, -np.inf)
    scores[first] = np.inf
    kept = keep_highest(scores, mask, PRUNABLE, 17)
    np.testing.assert_array_equal(kept, mask)


def test_a_nan_score_is_refused_with_its_path_unless_it_is_pruned_already() -> None:
    scores = np.ones(LAYOUT.size)
    where = LAYOUT.slices["Dense_1/kernel"].start
    scores[where] = np.nan
    with pytest.raises(MaskError, match="Dense_1/kernel"):
        keep_highest(scores, np.ones(LAYOUT.size, bool), PRUNABLE, 3, layout=LAYOUT)
    mask = np.ones(LAYOUT.size, bool)
    mask[where] = False
    assert keep_highest(scores, mask, PRUNABLE, 3)[PRUNABLE].sum() == 3


def test_more_weights_than_are_left_are_refused() -> None:
    with pytest.raises(MaskError, match="more weights"):
        keep_highest(np.zeros(LAYOUT.size), np.zeros(LAYOUT.size, bool), PRUNABLE, 1)


def test_biases_are_spared_by_place_and_pruned_only_when_asked_for() -> None:
    assert not LAYOUT.split(PRUNABLE)["Dense_0/bias"].any()
    assert LAYOUT.prunable(biases=True).all()
    assert layer_densities(PRUNABLE, LAYOUT) == {
        "Dense_0/bias": 0.0,
        "Dense_0/kernel": 1.0,
        "Dense_1/bias": 0.0,
        "Dense_1/kernel": 1.0,
    }


def test_scores_are_what_their_definitions_say() -> None:
    inputs = ScoreInputs(mean=np.array([-3.0, 1.0]), std=np.array([2.0, 0.25]), mask_seed=1)
    np.testing.assert_array_equal(score("snr", inputs), [1.5, 4.0])
    np.testing.assert_array_equal(score("magnitude", inputs), [3.0, 1.0])


def test_random_scores_depend_on_the_mask_seed_alone() -> None:
    draws = [
        score("random", ScoreInputs(mean=np.full(50, value), std=None, mask_seed=seed))
        for value, seed in ((0.0, 3), (1.0, 3), (0.0, 4))
    ]
    np.testing.assert_array_equal(draws[0], draws[1])
    assert (draws[0] != draws[2]).any()


def test_a_signal_to_noise_score_needs_a_search_distribution() -> None:
    with pytest.raises(ConfigurationError, match="neither a search distribution nor"):
        score("snr", ScoreInputs(mean=np.ones(2), std=None, mask_seed=0))
    with pytest.raises(ConfigurationError, match="unknown"):
        score("luck", ScoreInputs(mean=np.ones(2), std=None, mask_seed=0))
