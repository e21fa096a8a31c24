"""Policy gradient: advantages and losses by hand, sampling, rollouts, masks, seeds and bits."""

from __future__ import annotations

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from landscape.errors import ConfigurationError
from landscape.trees import Layout
from trainers.config import PPOConfig
from trainers.tasks import (
    Continuous,
    Discrete,
    Environment,
    Transition,
    control_task,
    episode_key,
    reset_key,
    step_key,
)
from trainers.training import PPO, Engine
from trainers.training.advantages import clipped_loss, generalised_advantages, normalised
from trainers.training.gradient import unbiased_moments
from trainers.training.policy_gradient import Critic, Weights, network_critic, policy_actor
from trainers.training.protocol import Step
from trainers.training.rollout import Transitions, begin, rollout
from trainers.training.stochastic import sampler_of

SPLITS = {"train_episodes": 16, "validation_episodes": 4, "test_episodes": 4}
NETWORK = {"kind": "policy", "widths": [4]}


def pushing(
    *, length: int = 5, falls: float = 1.5, discrete: bool = True, broken: bool = False
) -> Environment:
    """Return a point on a line that is pushed: it ends where it is too far out, or is cut off."""

    def reset(key: jax.Array) -> tuple[Any, jax.Array]:
        place = jax.random.uniform(key, (), jnp.float32, -1.0, 1.0)
        return place, jnp.stack([place, 1.0])

    def step(key: jax.Array, place: jax.Array, action: jax.Array) -> Transition:
        push = 0.5 * (2.0 * action - 1.0) if discrete else 0.5 * action[0]
        moved = place + push + 0.1 * jax.random.normal(key)
        seen = jnp.where(broken & (moved > 1.0), jnp.nan, moved)
        return Transition(moved, jnp.stack([seen, 1.0]), 1.0 - moved**2, jnp.abs(moved) > falls)

    actions = Discrete(2) if discrete else Continuous(np.float32([-1.0]), np.float32([3.0]))
    return Environment(
        name="pushing", observation_shape=(2,), actions=actions, length=length, reset=reset, step=step
    )


def made(environment: Environment, widths: tuple[int, ...] = (4,), **changes: Any) -> tuple[PPO, Any, Layout]:
    """Return a policy gradient on an environment, with initial parameters and their layout."""
    task = control_task(environment, {"kind": "policy", "widths": list(widths)}, options=SPLITS)
    like = task.init(0)
    layout = Layout.of(like)
    settings: dict[str, Any] = {
        "environment_steps": 6 * 24,
        "num_environments": 3,
        "rollout_steps": 8,
        "minibatches": 2,
        "epochs": 2,
        "critic_widths": (3,),
        "learning_rate": 0.01,
    }
    config = PPOConfig(**{**settings, **changes})
    trainer = PPO(
        config,
        policy_actor(task.network, environment, layout, like),
        network_critic(task.network, environment, config.critic_widths),
        environment=environment,
        episodes=task.problem.arrays("train"),
    )
    return trainer, like, layout


# Steps of one environment: the task is over with step 1, the time limit falls on step 3.
REWARDS = np.array([1.0, 2.0, 4.0, 8.0, 16.0])
VALUES = np.array([1.0, 1.0, 2.0, 2.0, 4.0])
NEXT = np.array([1.0, 100.0, 2.0, 6.0, 8.0])
TERMINATED = np.array([False, True, False, False, False])
ENDED = np.array([False, True, False, True, False])


def test_advantages_are_those_by_hand() -> None:
    """γ = λ = ½. The differences are ½, 1, 3, 9 and 16.

    Of step 1, with which the task is over, 2 − 1, and nothing of the 100 beyond it; of step 3, at the time
    limit, 8 + ½·6 − 2: bootstrapped. Neither passes on what comes after it, and nothing comes after the last.
    """
    found = generalised_advantages(
        jnp.asarray(REWARDS),
        jnp.asarray(VALUES),
        jnp.asarray(NEXT),
        terminated=jnp.asarray(TERMINATED),
        ended=jnp.asarray(ENDED),
        discount=0.5,
        trace_decay=0.5,
    )
    np.testing.assert_allclose(found, [0.5 + 0.25 * 1.0, 1.0, 3.0 + 0.25 * 9.0, 9.0, 16.0])


def test_without_decay_and_episodes_that_end_advantages_are_returns_less_values() -> None:
    """γ = λ = 1, the closed form of the Monte Carlo estimate, of two environments at once."""
    rng = np.random.default_rng(0)
    rewards, values = rng.normal(size=(2, 6, 2))
    following = np.concatenate([values[1:], rng.normal(size=(1, 2))])
    never = jnp.zeros((6, 2), bool)
    found = generalised_advantages(
        jnp.asarray(rewards),
        jnp.asarray(values),
        jnp.asarray(following),
        terminated=never,
        ended=never,
        discount=1.0,
        trace_decay=1.0,
    )
    expected = rewards[::-1].cumsum(0)[::-1] + following[-1] - values
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_the_clipped_loss_is_that_by_hand() -> None:
    """ε = 0.2: gains 1.2 (clipped), 0.5, −1.5 and −0.8 (clipped); the last step does not count."""
    ratios = np.array([1.5, 0.5, 1.5, 0.5, 9.0])
    former = np.log([0.2, 0.8, 0.4, 0.6, 0.1])
    advantages = jnp.asarray([1.0, 1.0, -1.0, -1.0, 7.0])
    weights = jnp.asarray([1.0, 1.0, 1.0, 1.0, 0.0])
    loss = functools.partial(
        clipped_loss, former=jnp.asarray(former), advantages=advantages, weights=weights, clip=0.2
    )
    now = jnp.asarray(former + np.log(ratios))
    value, clipped, divergence = loss(now)
    assert value == pytest.approx(-(1.2 + 0.5 - 1.5 - 0.8) / 4)
    assert clipped == 1.0
    assert divergence == pytest.approx(np.mean(ratios[:4] - 1 - np.log(ratios[:4])), rel=1e-5)
    # Where the bound is what counts, no gradient; elsewhere that of the ratio.
    slope = jax.grad(lambda x: loss(x)[0])(now)
    np.testing.assert_allclose(slope, [0.0, -0.5 / 4, 1.5 / 4, 0.0, 0.0], atol=1e-6)


def test_a_ratio_beyond_all_numbers_has_a_finite_loss_and_slope() -> None:
    def loss(now: jax.Array) -> jax.Array:
        one = jnp.ones(1)
        return clipped_loss(now, jnp.zeros(1), -one, weights=one, clip=0.2)[0]

    value, slope = jax.value_and_grad(loss)(jnp.asarray([500.0]))
    assert np.isfinite(value)
    np.testing.assert_array_equal(slope, [0.0])


def test_advantages_are_normalised_over_the_steps_that_count() -> None:
    values, weights = jnp.asarray([1.0, 3.0, 500.0]), jnp.asarray([1.0, 1.0, 0.0])
    np.testing.assert_allclose(normalised(values, weights)[:2], [-1.0, 1.0], rtol=1e-6)
    np.testing.assert_array_equal(normalised(jnp.ones(3), weights), [0.0, 0.0, 0.0])
    assert not np.asarray(normalised(values, jnp.zeros(3)) * 0).any()  # finite: nothing counts


@pytest.mark.parametrize("discrete", [True, False])
def test_without_noise_the_policy_is_the_one_that_evolution_trains(discrete: bool) -> None:
    actions = Discrete(3) if discrete else Continuous(np.float32([-2, 0, 1]), np.float32([2, 1, 5]))
    outputs = jnp.asarray(np.random.default_rng(0).normal(0, 2, size=(50, 3)), jnp.float32)
    sampler = sampler_of(actions)
    samples = sampler.sample(outputs, sampler.start(-0.5), jnp.zeros_like(outputs))
    np.testing.assert_array_equal(sampler.action(samples), actions.of(outputs))


def test_samples_have_the_probabilities_that_are_told() -> None:
    """Of 20,000 samples of three actions; a chi-square statistic above 27.6 has probability 1e-6."""
    sampler = sampler_of(Discrete(3))
    outputs = jnp.broadcast_to(jnp.asarray([1.0, 0.0, -1.0]), (20_000, 3))
    samples = np.asarray(sampler.sample(outputs, (), sampler.noise(jax.random.key(0), (20_000,))))
    expected = np.exp([1.0, 0.0, -1.0]) / np.exp([1.0, 0.0, -1.0]).sum()
    counts = np.bincount(samples, minlength=3)
    assert stats.chisquare(counts, 20_000 * expected).statistic < 27.6
    logs = sampler.log_prob(outputs[:3], (), jnp.arange(3))
    np.testing.assert_allclose(logs, np.log(expected), rtol=1e-5)
    assert sampler.entropy(outputs[:1], ())[0] == pytest.approx(
        -np.sum(expected * np.log(expected)), rel=1e-5
    )


def test_densities_of_continuous_actions_are_gaussian_around_the_squashed_outputs() -> None:
    sampler = sampler_of(Continuous(np.float32([-2.0, 0.0]), np.float32([2.0, 1.0])))
    outputs, log_std = jnp.asarray([[0.3, -1.0]]), jnp.asarray([-1.0, 0.5])
    noise = jnp.asarray([[1.7, -0.4]])
    samples = sampler.sample(outputs, log_std, noise)
    normal = stats.norm(np.tanh([[0.3, -1.0]]), np.exp([-1.0, 0.5]))
    np.testing.assert_allclose(normal.cdf(samples), stats.norm.cdf(noise), rtol=1e-5)
    np.testing.assert_allclose(
        sampler.log_prob(outputs, log_std, samples), normal.logpdf(samples).sum(1), rtol=1e-5
    )
    np.testing.assert_allclose(sampler.entropy(outputs, log_std), [normal.entropy().sum()], rtol=1e-5)
    np.testing.assert_allclose(
        sampler.action(jnp.asarray([[7.0, -7.0], [0.5, 0.5]])), [[2.0, 0.0], [1.0, 0.75]]
    )


def test_a_rollout_is_a_loop_by_hand_through_the_episodes_of_its_seeds() -> None:
    """Two rollouts, actions that depend on what is seen; episodes end by falling, and by the limit of 5."""
    environment, steps, count = pushing(), 9, 4

    def act(observations: jax.Array, noise: jax.Array) -> Any:
        samples = (observations[:, 0] + noise > 0).astype(jnp.int32)
        return samples, samples, -observations[:, 0], jnp.ones(count, bool)

    seeds = jnp.asarray(np.random.default_rng(0).integers(0, 99, (2, steps, count)), jnp.uint32)
    noise = jnp.asarray(np.random.default_rng(1).normal(size=(2, steps, count)), jnp.float32)
    play, parts = begin(environment, count), []
    for part in range(2):
        play, seen = jax.jit(
            lambda play, seeds, noise: rollout(environment, act, play, seeds=seeds, noise=noise)
        )(play, seeds[part], noise[part])
        parts.append(seen)
    found = jax.tree.map(lambda *x: np.concatenate(x), *parts)
    seeds, noise = seeds.reshape(-1, count), np.asarray(noise).reshape(-1, count)
    reset, step, kinds = jax.jit(environment.reset), jax.jit(environment.step), set()
    for lane in range(count):
        age = None
        for t in range(2 * steps):
            if age is None:
                key, age, total = episode_key(seeds[t, lane]), 0, 0.0
                state, seen = reset(reset_key(key))
            action = int(seen[0] + noise[t, lane] > 0)
            moved = step(step_key(key, age), state, jnp.int32(action))
            age, total = age + 1, total + float(moved.reward)
            np.testing.assert_allclose(found.observation[t, lane], seen, rtol=1e-5)
            np.testing.assert_allclose(found.following[t, lane], moved.observation, rtol=1e-5)
            assert found.sample[t, lane] == action
            assert found.reward[t, lane] == pytest.approx(float(moved.reward), abs=1e-5)
            assert found.total[t, lane] == pytest.approx(total, abs=1e-5)
            assert found.terminated[t, lane] == bool(moved.terminated)
            assert found.ended[t, lane] == (bool(moved.terminated) or age == environment.length)
            state, seen = moved.state, moved.observation
            if found.ended[t, lane]:
                kinds.add(bool(moved.terminated))
                age = None
    assert kinds == {True, False}
    assert found.counts.all()


def test_a_time_limit_is_bootstrapped_and_a_termination_is_not() -> None:
    """A critic of 10 everywhere and λ = 0: r + γ·10 − 10 everywhere but at terminations, where r − 10."""
    trainer, _, _ = made(pushing(length=2), trace_decay=0.0, discount=0.9, rollout_steps=16, reward_scale=2.0)
    constant = Critic(init=lambda _: (), values=lambda _, x: jnp.full(x.shape[:1], 10.0))
    trainer = PPO(
        trainer.config, trainer.actor, constant, environment=trainer.environment, episodes=trainer.episodes
    )

    trainer.actor = lambda _, x: jnp.zeros((x.shape[0], 2))
    state = trainer.init(np.zeros((1, 22)), np.ones((1, 22), bool), (), keys=jax.random.key(3)[None])

    def once(state: Any) -> Any:
        _, seen = trainer.play(state, jax.random.key(3), jnp.asarray(trainer.episodes))
        return seen, trainer.lesson(state.weights, seen)

    seen, lesson = jax.tree.map(np.asarray, jax.jit(once)(jax.tree.map(lambda x: x[0], state)))
    assert seen.terminated.any()
    assert (seen.ended & ~seen.terminated).any()
    expected = 2.0 * seen.reward + np.where(seen.terminated, 0.0, 9.0) - 10.0
    np.testing.assert_allclose(lesson.advantage, expected.reshape(-1), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(lesson.target, expected.reshape(-1) + 10.0, rtol=1e-5, atol=1e-5)


def test_a_step_that_does_not_count_teaches_no_step_before_it() -> None:
    """λ = γ = 1, a critic of 10 everywhere, rewards of 1; the second of three steps was not finite."""
    trainer, _, _ = made(pushing(), trace_decay=1.0, discount=1.0)
    constant = Critic(init=lambda _: (), values=lambda _, x: jnp.full(x.shape[:1], 10.0))
    trainer = PPO(
        trainer.config, trainer.actor, constant, environment=trainer.environment, episodes=trainer.episodes
    )
    counts = jnp.asarray([[True], [False], [True]])
    zero, seen = jnp.zeros((3, 1)), jnp.zeros((3, 1, 2))
    lesson = trainer.lesson(
        Weights(jnp.zeros(22), (), ()),
        Transitions(seen, seen, zero, zero, counts * 1.0, ~counts, ~counts, counts, zero),
    )
    np.testing.assert_array_equal(lesson.weight, [1.0, 0.0, 1.0])
    np.testing.assert_allclose(lesson.advantage, [1.0, 0.0, 1.0])


def trained(trainer: PPO, start: np.ndarray, mask: np.ndarray, seeds: list[int], cuts: Any = ()) -> Any:
    engine = engine_of(trainer)
    level = engine.level(seeds, 0, mask)
    carry = engine.start(level, start)
    steps = trainer.num_steps
    for first, last in zip([0, *cuts], [*cuts, steps], strict=True):
        carry = engine.run(carry, level, first, last)
    return jax.tree.map(np.asarray, carry)


@functools.cache
def engine_of(trainer: PPO) -> Engine:
    return Engine(trainer, trainer.episodes, episodes=True)


@functools.cache
def usual(discrete: bool = True) -> tuple[PPO, Any, Layout]:
    return made(pushing(discrete=discrete))


def test_a_masked_policy_is_trained_as_the_smaller_one() -> None:
    """Of four hidden units two are pruned: the same samples, critic and minibatches, as if there were two."""
    wide, like, layout = usual()
    narrow, small, few = made(wide.environment, (2,))
    free = jax.tree.map(lambda leaf: np.zeros(leaf.shape, bool), like)
    free["Dense_0"]["kernel"][:, :2] = free["Dense_0"]["bias"][:2] = True
    free["Dense_1"]["kernel"][:2], free["Dense_1"]["bias"][:] = True, True
    mask = layout.flatten(free).astype(bool)
    assert mask.sum() == few.size
    start = few.flatten(small) + 0.1
    begin = np.full((1, layout.size), 0.7)  # what is masked must not matter
    begin[:, mask] = start
    masked = trained(wide, begin, mask[None], [4])
    reduced = trained(narrow, start[None], np.ones((1, few.size), bool), [4])
    np.testing.assert_allclose(
        wide.solution(masked.state)[0][mask], narrow.solution(reduced.state)[0], rtol=1e-4
    )
    assert not np.asarray(wide.solution(masked.state))[0][~mask].any()
    assert np.abs(narrow.solution(reduced.state)[0] - start).max() > 0.02
    for name in ("loss", "entropy", "gradient_norm", "value_loss"):
        np.testing.assert_allclose(masked.record[name], reduced.record[name], rtol=1e-4, err_msg=name)
    assert not np.asarray(wide.moments(masked.state))[:, 0][:, ~mask].any()


@pytest.mark.parametrize("discrete", [True, False])
def test_a_level_is_bitwise_the_same_however_it_is_cut(discrete: bool) -> None:
    trainer, like, layout = usual(discrete)
    start, mask = np.stack([layout.flatten(like)] * 2), np.ones((2, layout.size), bool)
    whole = trained(trainer, start, mask, [0, 1])
    for cuts in ([1], [3, 5], [1, 2, 3, 4, 5]):
        again = trained(trainer, start, mask, [0, 1], cuts)
        for a, b in zip(jax.tree.leaves(whole), jax.tree.leaves(again), strict=True):
            np.testing.assert_array_equal(a, b)
    assert engine_of(trainer).num_compilations == 1


def test_replicates_share_nothing() -> None:
    """One initialisation, other seeds: other critics, episodes and samples; and none feels another."""
    trainer, like, layout = usual()
    start, mask = np.stack([layout.flatten(like)] * 2), np.ones((2, layout.size), bool)
    engine = engine_of(trainer)
    first = engine.start(engine.level([0, 1], 0, mask), start).state.weights.critic
    for leaf in jax.tree.leaves(first):
        if leaf.ndim > 2:
            assert not np.array_equal(leaf[0], leaf[1])
    found = trained(trainer, start, mask, [0, 1])
    solutions = np.asarray(trainer.solution(found.state))
    assert not np.array_equal(found.state.play.seed[0], found.state.play.seed[1])
    assert not np.array_equal(solutions[0], solutions[1])
    beside = trained(trainer, np.stack([start[0], 5 * start[1]]), mask, [0, 9])
    for a, b in zip(jax.tree.leaves(found.state), jax.tree.leaves(beside.state), strict=True):
        np.testing.assert_array_equal(a[0], b[0])
    twins = trained(trainer, start, mask, [7, 7])
    for leaf in jax.tree.leaves(twins.state):
        np.testing.assert_array_equal(leaf[0], leaf[1])


def test_a_branch_begins_with_the_critic_of_its_trunk() -> None:
    trainer, like, layout = usual()
    start, mask = np.stack([layout.flatten(like)] * 3), np.ones((3, layout.size), bool)
    engine = engine_of(trainer)
    level = engine.level([0, 1, 2], 0, mask, branches=[(0, 0), (0, 2), (2, 0)])
    carry = engine.run(engine.start(level, start), level, 0, 2)
    trunk, branch, other = np.asarray(trainer.solution(carry.state))
    np.testing.assert_array_equal(trunk, branch)
    assert not np.array_equal(trunk, other)
    carry = engine.run(carry, level, 2, 4)
    trunk, branch, _ = np.asarray(trainer.solution(carry.state))
    assert not np.array_equal(trunk, branch)


def test_moments_are_those_of_adam_on_the_policy() -> None:
    """One minibatch: m̂ = g and v̂ = g² whatever the decay; the policy moves by the rate against the sign."""
    changes = {"environment_steps": 24, "minibatches": 1, "epochs": 1, "schedule": "constant"}
    trainer, like, layout = made(pushing(), **changes)
    start = layout.flatten(like)[None]
    found = trained(trainer, start, np.ones((1, layout.size), bool), [0])
    first, second = (np.asarray(x) for x in unbiased_moments(found.state.optimizer, lambda m: m.actor))
    np.testing.assert_allclose(second, first**2, rtol=1e-4, atol=1e-12)
    assert (second > 0).mean() > 0.9
    moved = np.asarray(trainer.solution(found.state)) - start
    np.testing.assert_allclose(moved, -0.01 * first / (np.abs(first) + 1e-5), rtol=1e-3, atol=1e-6)
    norm = found.record["gradient_norm"][0, 0]
    assert np.linalg.norm(first) <= min(norm, trainer.config.gradient_norm) * (1 + 1e-5)


@pytest.mark.faults
def test_steps_that_are_not_finite_are_counted_and_move_nothing() -> None:
    """Fault 42: whoever goes to the right sees NaN there."""
    trainer, like, layout = made(pushing(broken=True, falls=9.0))
    start = layout.flatten(like)[None]
    found = trained(trainer, start, np.ones((1, layout.size), bool), [0])
    broken = found.record["num_nan"]
    assert (broken > 0).any()
    assert (broken < 24).all()
    assert np.isfinite(trainer.solution(found.state)).all()
    assert all(np.isfinite(values).all() for values in found.record.values())
    # A policy that is not finite counts nowhere, and stays what it is.
    found = trained(trainer, np.full_like(start, np.nan), np.ones((1, layout.size), bool), [0])
    np.testing.assert_array_equal(found.record["num_nan"], 24)
    assert np.isnan(trainer.solution(found.state)).all()


def test_the_loss_told_is_minus_the_mean_return_of_episodes_that_ended() -> None:
    trainer, like, layout = usual()
    state = trainer.init(
        layout.flatten(like)[None], np.ones((1, layout.size), bool), (), keys=jax.random.key(0)[None]
    )
    keys = jax.random.key(5)[None]
    step = Step((), keys, jnp.ones((1, layout.size), bool), jnp.asarray(trainer.episodes))
    _, info = jax.jit(trainer.step)(state, step)
    one = jax.tree.map(lambda x: x[0], state)
    _, seen = trainer.play(one, jax.random.split(keys[0])[0], jnp.asarray(trainer.episodes))
    ended = np.asarray(seen.ended)
    assert info["num_episodes"][0] == ended.sum() > 0
    assert info["loss"][0] == pytest.approx(-np.asarray(seen.total)[ended].mean(), rel=1e-4)


def test_critics_need_keys() -> None:
    trainer, like, layout = usual()
    with pytest.raises(ConfigurationError, match="a key per replicate"):
        trainer.init(layout.flatten(like)[None], np.ones((1, layout.size), bool), ())


def test_the_learning_rate_falls_to_zero_at_the_end_of_a_level() -> None:
    trainer, _, _ = usual()
    rate = trainer._rate()
    assert callable(rate)
    assert rate(0) == pytest.approx(0.01)
    assert rate(6 * 2 * 2) == 0.0
    assert math.isclose(float(rate(12)), 0.005, rel_tol=1e-6)
