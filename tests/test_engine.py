"""Chunks, compilations and gradient descent."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from landscape import Problem
from landscape.errors import ConfigurationError
from landscape.trees import Layout
from trainers.config import EvolutionConfig, GradientConfig
from trainers.strategies import STRATEGIES
from trainers.training import Engine, Evolution, Gradient, map_replicates, mean_loss, population_evaluator
from trainers.training.engine import chunks
from trainers.training.gradient import gradient_noise_std, learning_rate
from trainers.training.protocol import Step

RNG = np.random.default_rng(0)
X = RNG.normal(size=(50, 6)).astype(np.float32)
Y = RNG.normal(size=50).astype(np.float32)
LIKE = {"bias": np.zeros(1, np.float32), "kernel": np.zeros((6, 1), np.float32)}
LAYOUT = Layout.of(LIKE)
START = RNG.normal(size=(2, LAYOUT.size)).astype(np.float32)
EVERY = np.ones((2, LAYOUT.size), bool)
TRAINERS = [*sorted(STRATEGIES), "gd"]


def squared(params: Any, batch: Any) -> jax.Array:
    return 0.5 * ((batch[0] @ params["kernel"])[:, 0] + params["bias"][0] - batch[1]) ** 2


PROBLEM = Problem(squared, train=(X, Y))


@functools.cache
def make(trainer: str, **changes: Any) -> Engine:
    if trainer == "gd":
        config = GradientConfig(batch_size=20, epochs=15, learning_rate=0.05, **changes)
        loss = mean_loss(PROBLEM, LAYOUT, LIKE)
        return Engine(Gradient(config, 50, loss, map_replicates), PROBLEM.arrays("train"))
    base = EvolutionConfig(strategy=trainer, population_size=8, generations=30, batch_size=20, std_init=0.1)
    config = dataclasses.replace(base, **changes)
    evaluate = population_evaluator(PROBLEM, LAYOUT, LIKE)
    return Engine(Evolution(config, LAYOUT.size, evaluate), PROBLEM.arrays("train"))


def trained(
    engine: Engine, cuts: list[int], mask: np.ndarray | None = None, seeds: tuple[int, int] = (0, 1)
) -> Any:
    mask = np.ones((2, LAYOUT.size), bool) if mask is None else mask
    level = engine.level(list(seeds), 0, mask)
    carry = engine.start(level, START * mask)
    for start, stop in zip([0, *cuts], [*cuts, 30], strict=True):
        carry = engine.run(carry, level, start, stop)
    return carry


@pytest.mark.parametrize("trainer", TRAINERS)
def test_a_level_is_bitwise_the_same_however_it_is_cut(trainer: str) -> None:
    engine = make(trainer)
    whole = trained(engine, [])
    for cuts in ([15], [29], [1], list(range(1, 30))):
        for a, b in zip(jax.tree.leaves(whole), jax.tree.leaves(trained(engine, cuts)), strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("trainer", TRAINERS)
def test_one_executable_serves_every_chunk_length_level_and_mask(trainer: str) -> None:
    engine = make(trainer)
    for level, free in enumerate((7, 5, 3)):
        mask = np.zeros((2, LAYOUT.size), bool)
        mask[:, :free] = True
        fixed = engine.level([0, 1], level, mask)
        carry = engine.start(fixed, START * mask)
        for start, stop in ((0, 1), (1, 7), (7, 30)):
            carry = engine.run(carry, fixed, start, stop)
    assert engine.num_compilations == 1


@pytest.mark.parametrize("trainer", ["snes", "sep-cma-es", "gd"])
def test_training_lowers_the_loss_and_keeps_masked_weights_at_zero(trainer: str) -> None:
    engine = make(trainer)
    mask = np.ones((2, LAYOUT.size), bool)
    mask[0, 1] = mask[1, 4] = False
    carry = trained(engine, [], mask)
    solutions = np.asarray(engine.trainer.solution(carry.state))
    assert not solutions[~mask].any()
    for before, after in zip(START * mask, solutions, strict=True):
        start, end = (PROBLEM.evaluate(LAYOUT.unflatten(v, LIKE))["loss"] for v in (before, after))
        assert end < 0.5 * start


def test_the_train_seed_decides_the_run() -> None:
    engine = make("snes")
    first, second = (
        np.asarray(engine.trainer.solution(trained(engine, [], seeds=s).state)) for s in ((0, 1), (1, 0))
    )
    assert (first != second).any()


def test_gradient_descent_is_optax_on_the_minibatches_of_the_engine() -> None:
    """Full batch, so that the order of examples does not matter: Adam in a plain loop is the oracle."""
    config = GradientConfig(batch_size=50, epochs=20, learning_rate=0.05)
    loss = mean_loss(PROBLEM, LAYOUT, LIKE)
    engine = Engine(Gradient(config, 50, loss, map_replicates), PROBLEM.arrays("train"))
    mask = np.ones((2, LAYOUT.size), bool)
    mask[:, 2] = False
    level = engine.level([0, 1], 0, mask)
    carry = engine.run(engine.start(level, START), level, 0, 20)
    adam = optax.adam(0.05)
    for start, found in zip(START, np.asarray(engine.trainer.solution(carry.state)), strict=True):
        vector, state = jnp.asarray(start * mask[0]), adam.init(jnp.asarray(start))
        for _ in range(20):
            gradient = jax.grad(loss)(vector, (X, Y)) * mask[0]
            updates, state = adam.update(gradient, state, vector)
            vector = (vector + updates) * mask[0]
        np.testing.assert_allclose(found, vector, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("optimizer", ["sgd", "momentum", "nesterov", "adam", "adamw"])
@pytest.mark.parametrize("schedule", ["constant", "cosine", "linear"])
def test_every_optimizer_and_schedule_lowers_the_loss(optimizer: str, schedule: str) -> None:
    engine = make("gd", optimizer=optimizer, schedule=schedule, warmup_steps=3, weight_decay=1e-4)
    record = np.asarray(trained(engine, []).record["loss"])
    assert (record[-3:].mean(0) < record[:3].mean(0)).all()


def test_schedules_warm_up_and_end_where_they_should() -> None:
    config = GradientConfig(learning_rate=0.1, warmup_steps=10, schedule="cosine")
    rate = learning_rate(config, 110)
    assert float(rate(0)) == 0.0
    assert float(rate(5)) == pytest.approx(0.05)
    assert float(rate(10)) == pytest.approx(0.1)
    assert float(rate(60)) == pytest.approx(0.05)
    assert float(rate(110)) == pytest.approx(0.0, abs=1e-8)


def test_the_moments_of_adam_are_running_means_of_the_gradient_without_their_bias() -> None:
    """On a linear loss the gradient g is the same at every step: m̂ = g and v̂ = g² from the first."""
    slope = np.linspace(-2.0, 2.0, 5).astype(np.float32)
    config = GradientConfig(batch_size=1, epochs=1)
    descent = Gradient(config, 9, lambda vector, _: vector @ slope, map_replicates)
    mask = np.ones((2, 5), bool)
    mask[1, 0] = False
    state = descent.init(np.ones((2, 5)), mask, ())
    for _ in range(9):
        state, _ = descent.step(state, Step(jnp.zeros((2, 1)), jnp.zeros(2), jnp.asarray(mask), ()))
    first, second = descent.moments(state) or (None, None)
    np.testing.assert_allclose(first, slope * mask, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(second, (slope * mask) ** 2, rtol=1e-4, atol=1e-7)
    scale = gradient_noise_std(np.asarray(second))
    np.testing.assert_allclose(1.0 / scale[0], np.abs(slope), rtol=1e-4, atol=1e-7)
    assert np.isinf(scale[1, 0])


def test_only_adam_of_the_configuration_has_moments() -> None:
    engine = make("gd", optimizer="momentum")
    assert engine.trainer.moments(engine.start(engine.level([0, 1], 0, EVERY), START).state) is None
    engine = make("gd", optimizer="adamw", weight_decay=1e-3)
    first, second = engine.trainer.moments(trained(engine, []).state)
    assert first.shape == second.shape == START.shape
    assert (np.asarray(second) > 0).all()


def test_the_scale_of_gradient_noise_is_small_where_curvature_is_large() -> None:
    """Gradients of a noisy quadratic c·(θ − ε): E[g²] ∝ c², so that 1 / √v̂ falls with curvature."""
    curvatures = np.repeat([10.0, 0.1], 4).astype(np.float32)
    config = GradientConfig(batch_size=1, epochs=1, learning_rate=1e-3)

    def loss(vector: jax.Array, batch: jax.Array) -> jax.Array:
        return 0.5 * jnp.sum(curvatures * (vector - batch[0]) ** 2)

    descent = Gradient(config, 400, loss, map_replicates)
    mask = np.ones((1, 8), bool)
    state = descent.init(np.zeros((1, 8)), mask, ())
    advance = jax.jit(descent.step)
    for noise in np.random.default_rng(0).normal(size=(400, 1, 1, 8)).astype(np.float32):
        state, _ = advance(state, Step(noise, jnp.zeros(1), jnp.asarray(mask), ()))
    moments = descent.moments(state)
    assert moments is not None
    scale = gradient_noise_std(np.asarray(moments[1]))[0]
    assert scale[:4].mean() / scale[4:].mean() == pytest.approx(0.01, rel=0.2)


def test_a_users_own_optimizer_trains_masked_weights() -> None:
    config = GradientConfig(batch_size=20, epochs=15)
    loss = mean_loss(PROBLEM, LAYOUT, LIKE)
    own = optax.chain(optax.clip_by_global_norm(1.0), optax.lion(0.02))
    engine = Engine(Gradient(config, 50, loss, map_replicates, optimizer=own), PROBLEM.arrays("train"))
    mask = EVERY.copy()
    mask[:, 2] = False
    carry = trained(engine, [], mask)
    assert not np.asarray(engine.trainer.solution(carry.state))[:, 2].any()
    record = np.asarray(carry.record["loss"])
    assert (record[-3:].mean(0) < record[:3].mean(0)).all()
    assert engine.trainer.moments(carry.state) is None


def test_a_batch_larger_than_the_data_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="larger than the training data"):
        make("snes", batch_size=51)


def test_masks_of_one_level_must_free_equally_many_weights() -> None:
    mask = np.ones((2, LAYOUT.size), bool)
    mask[0, 0] = False
    with pytest.raises(ConfigurationError, match="different numbers"):
        make("snes").level([0, 1], 0, mask)


def test_chunks_end_at_every_boundary_and_cover_every_step() -> None:
    spans: list[tuple[int, int]] = []
    ends = list(
        chunks(
            3,
            50,
            boundary=lambda step: (step // 20 + 1) * 20,
            seconds=10.0,
            run=lambda a, b: spans.append((a, b)),
        )
    )
    assert [a for a, _ in spans] == [3, *ends[:-1]]
    assert ends[-1] == 50
    assert {20, 40} <= set(ends)
