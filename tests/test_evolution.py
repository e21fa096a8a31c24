"""Constants and weights of single strategies, and the decay of the mean."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from landscape.errors import ConfigurationError
from trainers.config import EvolutionConfig
from trainers.training import Evolution
from trainers.training.protocol import Step


def config(strategy: str, **changes: Any) -> EvolutionConfig:
    base = EvolutionConfig(
        strategy=strategy, population_size=16, std_init=0.3, mean_decay=0.0, generations=100
    )
    return dataclasses.replace(base, **changes)


def no_evaluation(population: jax.Array, batch: Any) -> jax.Array:
    raise AssertionError("not called")


def quadratic(curvatures: np.ndarray) -> Callable[[jax.Array, Any], jax.Array]:
    return lambda population, _: 0.5 * jnp.sum(jnp.asarray(curvatures) * population**2, axis=-1)


def step_of(trainer: Evolution, keys: jax.Array, mask: np.ndarray) -> Step:
    return Step((), keys, jnp.asarray(mask), trainer.constants(int(mask[0].sum())))


def test_the_covariance_of_sep_cma_es_learns_at_the_published_rate() -> None:
    """evosax 0.3 leaves out the factor (n + 2)/3 of Ros & Hansen: 5.07e-7 instead of 1.90e-3 here."""
    trainer = Evolution(config("sep-cma-es", population_size=128), 11_274, no_evaluation)
    mended = float(trainer.constants(11_274).c_mu)
    raw = float(trainer.strategy.es.default_params.c_mu)
    assert raw == pytest.approx(5.07e-7, rel=0.01)
    assert mended == pytest.approx(raw * (11_274 + 2) / 3, rel=1e-4)


@pytest.mark.parametrize("num_free", [1, 2, 5, 100])
def test_sep_cma_es_keeps_its_covariance_positive_in_any_dimension(num_free: int) -> None:
    constants = Evolution(config("sep-cma-es", population_size=128), 200, no_evaluation).constants(num_free)
    assert float(constants.c_1) + float(constants.c_mu) <= 1.0 + 1e-6


def test_sep_cma_es_constants_are_those_of_evosax_but_for_the_mended_one() -> None:
    trainer = Evolution(config("sep-cma-es", population_size=32), 40, no_evaluation)
    ours, theirs = trainer.constants(40), trainer.strategy.es.default_params
    for name in ("mu_eff", "c_std", "d_std", "c_c", "c_1", "chi_n", "weights"):
        np.testing.assert_allclose(getattr(ours, name), getattr(theirs, name), rtol=2e-5, err_msg=name)


def test_snes_weights_are_the_softmax_of_the_ranks() -> None:
    trainer = Evolution(config("snes", temperature=12.0), 10, no_evaluation)
    weights = np.asarray(trainer.constants(10).weights, np.float64)
    expected = np.exp(-12 * (np.arange(16) / 15 - 0.5))
    np.testing.assert_allclose(weights, expected / expected.sum(), rtol=1e-5)
    assert float(trainer.constants(10).lr_std_init) == pytest.approx((3 + np.log(10)) / (5 * np.sqrt(10)))


def test_the_mean_decays_towards_zero() -> None:
    mask = np.ones((1, 4), bool)
    results = []
    for decay in (0.0, 0.25):
        trainer = Evolution(config("snes", mean_decay=decay), 4, quadratic(np.ones(4)))
        step = step_of(trainer, jax.random.split(jax.random.key(0), 1), mask)
        state, _ = trainer.step(trainer.init(np.ones((1, 4)), mask, step.constants), step)
        results.append(np.asarray(trainer.solution(state)))
    np.testing.assert_allclose(results[1], 0.75 * results[0], rtol=1e-6)


def test_an_unknown_strategy_is_refused_by_name() -> None:
    with pytest.raises(ConfigurationError, match="strategy"):
        Evolution(dataclasses.replace(EvolutionConfig(), strategy="luck"), 3, no_evaluation)
