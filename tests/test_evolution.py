"""Evolution on a masked vector: the reduced search, its constants, and what bad fitness does."""

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
from trainers.evolution import Evolution
from trainers.protocol import Step
from trainers.strategies import STRATEGIES

NAMES = sorted(STRATEGIES)


def config(strategy: str, **changes: Any) -> EvolutionConfig:
    base = EvolutionConfig(
        strategy=strategy, population_size=16, std_init=0.3, mean_decay=0.0, generations=100
    )
    return dataclasses.replace(base, **changes)


def no_evaluation(population: jax.Array, batch: Any) -> jax.Array:
    raise AssertionError("not called")


def quadratic(curvatures: np.ndarray) -> Callable[[jax.Array, Any], jax.Array]:
    return lambda population, _: 0.5 * jnp.sum(jnp.asarray(curvatures) * population**2, axis=-1)


def one_of(state: Any) -> Any:
    """Return the state of the first search of a batch."""
    return jax.tree.map(lambda leaf: leaf[0], state)


def step_of(trainer: Evolution, keys: jax.Array, mask: np.ndarray) -> Step:
    return Step((), keys, jnp.asarray(mask), trainer.constants(int(mask[0].sum())))


def run(trainer: Evolution, mean: np.ndarray, mask: np.ndarray, num_steps: int, seed: int = 0) -> Any:
    constants = trainer.constants(int(mask[0].sum()))
    advance = jax.jit(trainer.step)
    state = trainer.init(mean, mask, constants)
    info: dict[str, jax.Array] = {}
    for step in range(num_steps):
        keys = jax.random.split(jax.random.fold_in(jax.random.key(seed), step), mean.shape[0])
        state, info = advance(state, Step((), keys, jnp.asarray(mask), constants))
    return state, info


@pytest.mark.parametrize("name", NAMES)
def test_a_masked_search_is_the_search_on_the_reduced_vector(name: str) -> None:
    """Given the same noise: the free entries of one are the other, to rounding."""
    rng = np.random.default_rng(1)
    size, free = 60, 12
    mask = np.zeros((1, size), bool)
    mask[0, rng.choice(size, free, replace=False)] = True
    start = rng.normal(size=(1, free)).astype(np.float32)
    curvatures = np.geomspace(0.1, 10, free).astype(np.float32)
    masked = Evolution(config(name, mean_decay=1e-3), size, no_evaluation)
    reduced = Evolution(config(name, mean_decay=1e-3), free, no_evaluation)
    full_start = np.zeros((1, size), np.float32)
    full_start[mask] = start[0]
    constants, every = masked.constants(free), np.ones(free, bool)
    state = one_of(masked.init(full_start, mask, constants))
    small = one_of(reduced.init(start, every[None], reduced.constants(free)))
    tell, tell_small = jax.jit(masked.tell), jax.jit(reduced.tell)
    for generation in range(40):
        key = jax.random.key(generation)
        population, small = reduced.ask(small, key, every, reduced.constants(free))
        _, state = masked.ask(state, key, mask[0], constants)  # Sep-CMA-ES refreshes its scale in ask
        full = jnp.zeros((16, size)).at[:, np.flatnonzero(mask[0])].set(population)
        fitness = quadratic(curvatures)(population, ())
        small = tell_small(small, population, fitness, mask=every, constants=reduced.constants(free))
        state = tell(state, full, fitness, mask=mask[0], constants=constants)
    np.testing.assert_allclose(state.mean[mask[0]], small.mean, rtol=2e-4, atol=1e-6)
    found, expected = masked.strategy.std(state), reduced.strategy.std(small)
    np.testing.assert_allclose(found[mask[0]], expected, rtol=2e-4)
    assert not np.asarray(state.mean)[~mask[0]].any()


@pytest.mark.parametrize("name", NAMES)
def test_masked_entries_are_never_sampled(name: str) -> None:
    trainer = Evolution(config(name), 8, no_evaluation)
    mask = np.array([[True, False] * 4])
    constants = trainer.constants(4)
    state = one_of(trainer.init(np.ones((1, 8)), mask, constants))
    population, _ = trainer.ask(state, jax.random.key(0), mask[0], constants)
    assert not np.asarray(population)[:, ~mask[0]].any()
    assert np.asarray(population)[:, mask[0]].std() > 0.1


@pytest.mark.parametrize("name", NAMES)
def test_the_scale_adapts_to_curvature(name: str) -> None:
    """On curvatures 10 : 0.1 the ideal ratio of standard deviations is sqrt(0.1 / 10) = 0.1.

    Eighty generations: later, evosax's diagonal loading of 1e-8 takes over a converged covariance.
    """
    curvatures = np.repeat([10.0, 0.1], 5)
    trainer = Evolution(config(name, temperature=None), 10, quadratic(curvatures))
    state, _ = run(trainer, np.ones((2, 10)), np.ones((2, 10), bool), 80)
    std = np.asarray(trainer.std(state))
    ratio = std[:, :5].mean(1) / std[:, 5:].mean(1)
    assert ((ratio > 0.08) & (ratio < 0.14)).all()


@pytest.mark.parametrize("name", NAMES)
def test_a_convex_loss_falls_and_the_same_keys_give_the_same_run(name: str) -> None:
    trainer = Evolution(config(name), 10, quadratic(np.ones(10)))
    first, info = run(trainer, np.ones((2, 10)), np.ones((2, 10), bool), 60)
    again, _ = run(trainer, np.ones((2, 10)), np.ones((2, 10), bool), 60)
    other, _ = run(trainer, np.ones((2, 10)), np.ones((2, 10), bool), 60, seed=1)
    assert (np.asarray(info["loss"]) < 0.5).all()
    np.testing.assert_array_equal(trainer.solution(first), trainer.solution(again))
    assert (np.asarray(trainer.solution(first)) != np.asarray(trainer.solution(other))).any()


@pytest.mark.parametrize("name", NAMES)
def test_seeds_in_one_batch_are_the_seeds_alone(name: str) -> None:
    trainer = Evolution(config(name), 6, quadratic(np.ones(6)))
    mask = np.ones((2, 6), bool)
    keys = jax.random.split(jax.random.key(3), 2)
    start = np.stack([np.ones(6), np.arange(6.0)])
    both, _ = trainer.step(trainer.init(start, mask, trainer.constants(6)), step_of(trainer, keys, mask))
    for i in range(2):
        alone = trainer.init(start[i : i + 1], mask[:1], trainer.constants(6))
        alone, _ = trainer.step(alone, step_of(trainer, keys[i : i + 1], mask[:1]))
        np.testing.assert_allclose(trainer.solution(both)[i], trainer.solution(alone)[0], rtol=1e-6)


@pytest.mark.faults
@pytest.mark.parametrize("name", NAMES)
def test_nan_fitness_is_counted_and_ranks_last(name: str) -> None:
    """Fault 30."""

    def sometimes_nan(population: jax.Array, batch: Any) -> jax.Array:
        loss = jnp.sum(population**2, axis=-1)
        return jnp.where(jnp.arange(16) < 3, jnp.nan, loss)

    trainer = Evolution(config(name), 5, sometimes_nan)
    state, info = run(trainer, np.ones((1, 5)), np.ones((1, 5), bool), 40)
    assert float(info["num_nan"][0]) == 3
    assert np.isfinite(trainer.solution(state)).all()
    assert float(info["loss"][0]) < 2.5


@pytest.mark.faults
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("value", [1.0, np.nan, np.inf])
def test_fitness_that_says_nothing_changes_nothing(name: str, value: float) -> None:
    """Fault 30: all equal, or none finite."""
    trainer = Evolution(config(name, mean_decay=0.1), 5, lambda p, _: jnp.full(p.shape[:1], value))
    mask = np.ones((1, 5), bool)
    start = trainer.init(np.ones((1, 5)), mask, trainer.constants(5))
    state, info = trainer.step(start, step_of(trainer, jax.random.split(jax.random.key(0), 1), mask))
    np.testing.assert_array_equal(trainer.solution(state), np.ones((1, 5)))
    np.testing.assert_allclose(trainer.std(state), 0.3, rtol=1e-6)
    assert float(info["stalled"][0]) == 1


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


def test_the_elite_ratio_means_what_it_says() -> None:
    trainer = Evolution(config("sep-cma-es", population_size=20, elite_ratio=0.25), 10, no_evaluation)
    weights = np.asarray(trainer.constants(10).weights)
    assert (weights > 0).sum() == 5
    assert weights.sum() == pytest.approx(1.0, rel=1e-6)


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
