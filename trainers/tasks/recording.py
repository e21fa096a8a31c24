"""One episode step by step: states, observations, actions and rewards, for whoever looks at it.

It is played in a tile like every episode (`trainers.tasks.episodes`): each lane holds the same seed, and the
first one is kept.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from trainers.tasks.environments import Environment
from trainers.tasks.episodes import TILE, Move, advancing, float32, in_float32
from trainers.tasks.policies import Policy

__all__ = ["MOST_STEPS", "Recording", "recording_of"]

PyTree = Any

MOST_STEPS = 5_000  # of an episode that are recorded: a game's observations are 4 kB a step


class Recording(NamedTuple):
    """An episode; what comes after its end stands in the arrays and has no meaning.

    Attributes
    ----------
    states : pytree of arrays [S + 1, …]
        Before the first step, and after each.
    observations : float32 array [S + 1, …]
        What the policy saw of them.
    actions : array [S] or [S, A]
        Number of the action, or the action.
    rewards : float32 array [S]
        Of every step.
    total : float32 scalar
        The return within these steps.
    length : int32 scalar
        The steps until the end, at most S.
    """

    states: PyTree
    observations: jax.Array
    actions: jax.Array
    rewards: jax.Array
    total: jax.Array
    length: jax.Array


def recording_of(environment: Environment, policy: Policy, params: PyTree, seed: jax.Array) -> Recording:
    """Return the episode of a seed, of which at most the first `MOST_STEPS` steps are recorded.

    Parameters
    ----------
    environment : Environment
        What is played.
    policy : callable
        ``policy(params, observations) -> outputs``.
    params : pytree
        Of one network.
    seed : whole-number scalar
        Of the episode.
    """
    with in_float32():
        params = float32(params)
        seeds = jnp.full(TILE, seed, jnp.uint32)
        first, advance = advancing(environment, lambda x: policy(params, x), seeds, members=None)

        def one(carry: Any, _: None) -> tuple[Any, tuple[PyTree, jax.Array, Move]]:
            after, move = advance(carry)
            return after, jax.tree.map(_first, (after.state, after.observation, move))

        steps = min(environment.length, MOST_STEPS)
        last, (states, observations, move) = jax.lax.scan(one, first, None, length=steps)
        whole = jax.tree.map(
            lambda start, rest: jnp.concatenate([start[:1], rest]),
            (first.state, first.observation),
            (states, observations),
        )
    states, observations = whole
    total, length = (values[0] for values in last.episodes)
    return Recording(states, observations, move.action, move.reward, total, length)


def _first(values: jax.Array) -> jax.Array:
    return values[0]
