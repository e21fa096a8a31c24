"""What an environment is: a pair of pure functions of one episode, and how a policy acts in it.

This is the whole interface between control tasks and what trains or looks at their policies. An
`Environment` has

- ``reset(key) -> (state, observation)``: the initial state, drawn from `key`;
- ``step(key, state, action) -> Transition(state, observation, reward, terminated)``: one step.

Both are of *one* episode: `jax.vmap` them over as many as you like. What holds for every environment:

1. A step never resets. After the end of an episode a step still returns something, which means nothing:
   whoever loops stops counting where `terminated` was true for the first time. The reward of the step that
   ends an episode counts.
2. `terminated` says that the task is over (a pole fell). A time limit is no termination: the environment
   does not know of it. `Environment.length` is where an episode is cut off; who bootstraps a value
   does so there, and not at a termination.
3. All randomness comes from the key. `reset_key` and `step_key` say which keys the step t = 0, 1, … of the
   episode of a seed gets, so that two policies in the episode of one seed meet the same luck.
4. A state is a pytree whose shapes and dtypes no step changes, so that it can be the carry of a loop.
   Observations are float32 of `observation_shape`, rewards float32 scalars, `terminated` a bool scalar.

`actions` says what a policy's outputs mean: ``actions.of(outputs [num_outputs]) -> action`` is the
deterministic action, ``num_outputs`` how many there are. `Discrete` takes the largest of n outputs; who
samples takes ``jax.random.categorical(key, outputs)`` of the same outputs. `Continuous` squashes each output
by tanh into its range.

An episode by hand::

    key = episode_key(seed)
    state, observation = environment.reset(reset_key(key))
    for t in range(environment.length):
        action = environment.actions.of(policy(observation))
        state, observation, reward, terminated = environment.step(step_key(key, t), state, action)
        total += reward
        if terminated:
            break
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

__all__ = [
    "Continuous",
    "Discrete",
    "Environment",
    "Transition",
    "episode_key",
    "reset_key",
    "step_key",
    "with_sticky_actions",
]

PyTree = Any

_STICKS = 0x571C4  # apart from the numbers by which an environment may split the key of a step


class Transition(NamedTuple):
    """The outcome of a step.

    Attributes
    ----------
    state : pytree
        The next state.
    observation : float32 array of `Environment.observation_shape`
        What the policy sees of it.
    reward : float32 scalar
        Of this step.
    terminated : bool scalar
        Whether the task is over. Never because of a time limit.
    """

    state: PyTree
    observation: jax.Array
    reward: jax.Array
    terminated: jax.Array


@dataclasses.dataclass(frozen=True)
class Discrete:
    """One of `num_outputs` actions, numbered from 0."""

    num_outputs: int

    def of(self, outputs: jax.Array) -> jax.Array:
        """Return the index of the largest output, int32: ``outputs [..., n] -> [...]``."""
        return jnp.argmax(outputs, axis=-1).astype(jnp.int32)


@dataclasses.dataclass(frozen=True, eq=False)
class Continuous:
    """One number per output, each within its range.

    Attributes
    ----------
    low, high : float32 array [num_outputs]
        The range.
    """

    low: np.ndarray
    high: np.ndarray

    @property
    def num_outputs(self) -> int:
        """Numbers in an action."""
        return int(self.low.shape[0])

    def of(self, outputs: jax.Array) -> jax.Array:
        """Return the middle of the range plus tanh(output) half ranges: ``[..., n] -> [..., n]``."""
        middle, half = (self.high + self.low) / 2, (self.high - self.low) / 2
        action: jax.Array = middle + half * jnp.tanh(outputs)
        return action


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Environment:
    """Episodes of a task; see the module's docstring for what holds for all of them.

    Attributes
    ----------
    name : str
        The task.
    observation_shape : tuple of int
        Of one observation: (n,), or (height, width, channels) of images of finite numbers.
    actions : Discrete or Continuous
        What the outputs of a policy mean.
    length : int
        Steps after which an episode is cut off.
    reset : callable
        ``reset(key) -> (state, observation)``.
    step : callable
        ``step(key, state, action) -> Transition``.
    """

    name: str
    observation_shape: tuple[int, ...]
    actions: Discrete | Continuous
    length: int
    reset: Callable[[jax.Array], tuple[PyTree, jax.Array]]
    step: Callable[[jax.Array, PyTree, jax.Array], Transition]


def with_sticky_actions(environment: Environment, probability: float) -> Environment:
    """Return an environment that now and then does what was done before, instead of what it is told.

    Parameters
    ----------
    environment : Environment
        Of discrete actions. Before the first step, action 0 was done.
    probability : float
        From 0 (the environment as it is), below 1.

    References
    ----------
    Machado et al. 2018, "Revisiting the Arcade Learning Environment", section 5.
    """
    if not probability:
        return environment

    def reset(key: jax.Array) -> tuple[PyTree, jax.Array]:
        state, observation = environment.reset(key)
        return (state, jnp.int32(0)), observation

    def step(key: jax.Array, state: PyTree, action: jax.Array) -> Transition:
        inner, before = state
        sticks = jax.random.bernoulli(jax.random.fold_in(key, _STICKS), probability)
        done = jnp.where(sticks, before, action)
        moved = environment.step(key, inner, done)
        return moved._replace(state=(moved.state, done))

    return dataclasses.replace(environment, reset=reset, step=step)


def episode_key(seed: Any) -> jax.Array:
    """Return the key of the episode of a seed, a whole number below 2³²."""
    return jax.random.key(seed)


def reset_key(key: jax.Array) -> jax.Array:
    """Return what the initial state of an episode is drawn from."""
    return jax.random.fold_in(key, 0)


def step_key(key: jax.Array, step: Any) -> jax.Array:
    """Return what the step number `step`, from 0, of an episode draws from."""
    return jax.random.fold_in(key, step + 1)
