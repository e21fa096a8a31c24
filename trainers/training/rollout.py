"""Environments of one replicate that are played on and on, a rollout at a time.

1. Where the episode of an environment is over, the next one begins: an episode of the training split, drawn
   at random, whose seed fixes its initial state and the randomness of its steps.
2. The policy samples an action; the environment steps.
3. What was seen is written down, with the observation after the step *in the same episode*, from which a time
   limit is bootstrapped.
4. A step whose observations, outputs or reward are not finite does not count, and its episode ends there.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp

from trainers.tasks import Environment, episode_key, reset_key, step_key

__all__ = ["Act", "Play", "Transitions", "begin", "rollout"]

PyTree = Any


class Act(Protocol):
    """A policy: (samples, actions, log probabilities, whether outputs are finite), each [E, …]."""

    def __call__(
        self, observations: jax.Array, noise: jax.Array
    ) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
        """Return what is done where [E, …] is observed, given noise [E, …]."""


class Play(NamedTuple):
    """The state of E environments between two rollouts.

    Attributes
    ----------
    state : pytree of arrays [E, …]
        Of the environments.
    observation : float32 array [E, …]
        What the policy sees next.
    seed : uint32 array [E]
        Of the episodes that are played.
    age : int32 array [E]
        Steps of them so far.
    total : float32 array [E]
        Their returns so far.
    over : bool array [E]
        Whether they are over: another one begins with the next step.
    """

    state: PyTree
    observation: jax.Array
    seed: jax.Array
    age: jax.Array
    total: jax.Array
    over: jax.Array


class Transitions(NamedTuple):
    """What was seen in T steps of E environments, arrays [T, E, …].

    Attributes
    ----------
    observation, following : float32 array
        Before a step, and after it in the same episode.
    sample, log_prob : array
        What the policy drew, and the logarithm of its probability.
    reward : float32 array
        Of the step; 0 where it does not count.
    terminated, ended : bool array
        Whether the task was over with the step; whether the episode was, also by the time limit.
    counts : bool array
        Whether everything about the step was finite.
    total : float32 array
        Return of the episode up to the step.
    """

    observation: jax.Array
    following: jax.Array
    sample: jax.Array
    log_prob: jax.Array
    reward: jax.Array
    terminated: jax.Array
    ended: jax.Array
    counts: jax.Array
    total: jax.Array


def begin(environment: Environment, count: int) -> Play:
    """Return the state of `count` environments before the first rollout: all are to begin an episode."""
    like = jax.eval_shape(lambda: environment.reset(reset_key(episode_key(0))))
    state, observation = jax.tree.map(lambda x: jnp.zeros((count, *x.shape), x.dtype), like)
    return begun(state, observation, jnp.zeros(count, jnp.uint32))._replace(over=jnp.ones(count, bool))


def rollout(
    environment: Environment, act: Act, play: Play, *, seeds: jax.Array, noise: jax.Array
) -> tuple[Play, Transitions]:
    """Return the environments after T steps, and what was seen.

    Parameters
    ----------
    environment : Environment
        What is played.
    act : callable
        The policy.
    play : Play
        The state of E environments.
    seeds : uint32 array [T, E]
        The episode that an environment begins with a step, if it begins one there.
    noise : array [T, E, …]
        What the policy's samples are made of.
    """
    # All at once: T·E initial states in one sweep cost less than E of them in every step of a loop.
    fresh = jax.vmap(jax.vmap(lambda seed: environment.reset(reset_key(episode_key(seed)))))(seeds)

    def step(play: Play, given: tuple[Any, jax.Array, jax.Array]) -> tuple[Play, Transitions]:
        return _step(environment, act, play, given)

    return jax.lax.scan(step, play, (fresh, seeds, noise))


def _step(
    environment: Environment, act: Act, play: Play, given: tuple[Any, jax.Array, jax.Array]
) -> tuple[Play, Transitions]:
    (state, observation), seed, noise = given
    play = _chosen(play.over, begun(state, observation, seed), play)  # step 1
    sample, action, log_prob, finite = act(play.observation, noise)  # step 2
    keys = jax.vmap(lambda seed, age: step_key(episode_key(seed), age))(play.seed, play.age)
    moved = jax.vmap(environment.step)(keys, play.state, action)
    finite &= _finite(play.observation) & _finite(moved.observation) & jnp.isfinite(moved.reward)  # step 4
    reward = jnp.where(finite, moved.reward, 0.0)
    terminated = moved.terminated | ~finite
    age, total = play.age + 1, play.total + reward
    ended = terminated | (age >= environment.length)
    seen = Transitions(
        # Of weight 0 are not enough: 0 · NaN is NaN, in the gradient too.
        observation=_zero_unless(finite, play.observation),
        following=_zero_unless(finite, moved.observation),
        sample=_zero_unless(finite, sample),
        log_prob=_zero_unless(finite, log_prob),
        reward=reward,
        terminated=terminated,
        ended=ended,
        counts=finite,
        total=total,
    )
    return Play(moved.state, moved.observation, play.seed, age, total, ended), seen


def begun(state: PyTree, observation: jax.Array, seed: jax.Array) -> Play:
    """Return environments at the beginning of the episodes of seeds [E]."""
    count = seed.shape[0]
    nothing = jnp.zeros(count, jnp.int32)
    return Play(state, observation, seed, nothing, jnp.zeros(count, jnp.float32), jnp.zeros(count, bool))


def _chosen(where: jax.Array, yes: PyTree, no: PyTree) -> Any:
    return jax.tree.map(lambda a, b: jnp.where(_wide(where, a), a, b), yes, no)


def _zero_unless(where: jax.Array, values: jax.Array) -> jax.Array:
    return jnp.where(_wide(where, values), values, jnp.zeros_like(values))


def _wide(where: jax.Array, values: jax.Array) -> jax.Array:
    return where.reshape(where.shape + (1,) * (values.ndim - where.ndim))


def _finite(values: jax.Array) -> jax.Array:
    return jnp.isfinite(values).all(axis=tuple(range(1, values.ndim)))
