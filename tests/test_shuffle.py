"""Epochs as keyed permutations."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from trainers.training.shuffle import shuffled_positions


@pytest.mark.parametrize("n", [1, 2, 3, 10, 97, 1257, 4096])
def test_an_epoch_visits_every_example_once(n: int) -> None:
    for seed in range(3):
        order = np.asarray(shuffled_positions(jax.random.key(seed), jnp.arange(n), n))
        assert sorted(order) == list(range(n))


def test_a_part_of_an_epoch_is_a_part_of_its_order() -> None:
    whole = shuffled_positions(jax.random.key(5), jnp.arange(100), 100)
    part = shuffled_positions(jax.random.key(5), jnp.arange(40, 60), 100)
    np.testing.assert_array_equal(whole[40:60], part)


def test_places_and_neighbours_are_uniform() -> None:
    """Two chi-square tests at a false-alarm rate of 0.1 % each, seed fixed."""
    n, keys = 10, 50_000
    orders = jax.jit(jax.vmap(lambda key: shuffled_positions(key, jnp.arange(n), n)))
    drawn = np.asarray(orders(jax.random.split(jax.random.key(0), keys)))
    places = np.stack([np.bincount(drawn[:, i], minlength=n) for i in range(n)])
    neighbours = np.bincount(drawn[:, 0] * n + drawn[:, 1], minlength=n * n).reshape(n, n)
    pairs = neighbours[~np.eye(n, dtype=bool)]
    statistic = float((((places - keys / n) ** 2) / (keys / n)).sum())
    assert statistic < stats.chi2.ppf(0.999, (n - 1) ** 2)
    expected = keys / (n * (n - 1))
    assert float(((pairs - expected) ** 2 / expected).sum()) < stats.chi2.ppf(0.999, n * (n - 1) - 1)
