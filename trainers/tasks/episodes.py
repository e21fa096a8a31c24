"""Episodes: many at once, of one policy or of a population, in one loop that ends when all have ended.

1. Every episode starts from the state that its seed draws; members of a population share these states.
2. In a step all policies see their observations and act; the environment's step gets the key of (seed, step).
3. The reward of an episode that has ended does not count.
4. An episode whose observation, output or reward is not finite has the return NaN and ends there. Without
   that rule it could end as the best one: a pole at an angle of NaN never falls.
5. The loop ends at the time limit, or as soon as no episode goes on.

An episode is the same whatever stands beside it. Episodes of one policy are therefore played in tiles of a
fixed width: a matrix product rounds by its shape, and chaotic dynamics turn a last bit into another episode.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from trainers.tasks.environments import Environment, episode_key, reset_key, step_key
from trainers.tasks.policies import Policy

__all__ = [
    "TILE", "Carry", "Episodes", "Move", "advancing", "episodes_of", "float32", "in_float32",
    "population_returns",
]  # fmt: skip

PyTree = Any

# A multiple of the numbers in a vector register, so that no episode of a tile is a remainder, which would be
# computed by other instructions. With 32, tiles of any batch size gave bit-identical results on all tasks.
TILE = 32
# Observations of one tile of members, in floats: 1 MiB, as for images (`trainers.tasks.population`).
_TILE_FLOATS = 256 * 1024
# What a lane holds beside its observation, in floats: state, hidden layers and what is in between.
_LANE_FLOATS = 256


class Episodes(NamedTuple):
    """The outcome of episodes.

    Attributes
    ----------
    returns : float32 array
        Sum of the rewards; NaN where something was not finite.
    lengths : int32 array
        Steps until the end.
    """

    returns: jax.Array
    lengths: jax.Array


class Carry(NamedTuple):
    """Episodes under way, one per lane: the step that comes next, where they are, and what they have."""

    step: jax.Array
    state: PyTree
    observation: jax.Array
    alive: jax.Array
    episodes: Episodes


class Move(NamedTuple):
    """The actions of a step and the rewards that followed, one per lane."""

    action: jax.Array
    reward: jax.Array


def episodes_of(environment: Environment, policy: Policy, params: PyTree, seeds: jax.Array) -> Episodes:
    """Return the episodes of one policy.

    Parameters
    ----------
    environment : Environment
        What is played.
    policy : callable
        ``policy(params, observations) -> outputs``.
    params : pytree
        Of one network.
    seeds : whole-number array [B]
        One per episode.

    Returns
    -------
    Episodes
        Arrays [B].
    """
    count = seeds.shape[0]
    # The fixed width is for bits on a CPU; elsewhere tiles in a row would leave the device idle.
    tile = TILE if jax.default_backend() == "cpu" else count
    with in_float32():
        params = float32(params)
        padded = seeds[jnp.minimum(jnp.arange(-(-count // tile) * tile), count - 1)].reshape(-1, tile)

        def play(seeds: jax.Array) -> Episodes:
            return _play(environment, lambda x: policy(params, x), seeds, members=None)

        found = jax.lax.map(play, padded)
    return Episodes(*(values.reshape(-1)[:count] for values in found))


def population_returns(
    environment: Environment,
    policy: Policy,
    params: PyTree,
    seeds: jax.Array,
    *,
    memory_bytes: int | None = None,
) -> jax.Array:
    """Return the returns [P, E] of a population, all members of which play the same E episodes.

    Parameters
    ----------
    environment, policy
        As in `episodes_of`.
    params : pytree
        Leaves with a leading axis P.
    seeds : whole-number array [E]
        One per episode.
    memory_bytes : int, optional
        What may be held at a time: members are taken in tiles that fit, at least one. By default what
        stays in the cache of a CPU.
    """
    members = jax.tree.leaves(params)[0].shape[0]
    size = _members_at_once(environment, members, seeds.shape[0], memory_bytes)
    tiles = -(-members // size)
    with in_float32():
        padded = jnp.minimum(jnp.arange(tiles * size), members - 1)
        tiled = jax.tree.map(lambda x: x[padded].reshape(tiles, size, *x.shape[1:]), float32(params))

        def play(params: PyTree) -> jax.Array:
            return _play(environment, lambda x: policy(params, x), seeds, members=size).returns

        returns: jax.Array = jax.lax.map(play, tiled) if tiles > 1 else play(jax.tree.map(_first, tiled))
    return returns.reshape(tiles * size, -1)[:members]


def _members_at_once(environment: Environment, members: int, episodes: int, memory_bytes: int | None) -> int:
    """Return how many members play at a time: equal tiles of at most what fits."""
    floats = _TILE_FLOATS if memory_bytes is None else memory_bytes // 4
    observation = 1
    for length in environment.observation_shape:
        observation *= length
    fitting = max(1, floats // (episodes * (observation + _LANE_FLOATS)))
    tiles = -(-members // fitting)
    return -(-members // tiles)


def _play(
    environment: Environment,
    outputs_of: Callable[[jax.Array], jax.Array],
    seeds: jax.Array,
    *,
    members: int | None,
) -> Episodes:
    """Return the episodes [E] of one policy, or [P, E] of as many as there are members."""
    first, advance = advancing(environment, outputs_of, seeds, members=members)

    def goes_on(carry: Carry) -> jax.Array:
        return (carry.step < environment.length) & jnp.any(carry.alive)  # step 5

    found: Carry = jax.lax.while_loop(goes_on, lambda carry: advance(carry)[0], first)
    return found.episodes


def advancing(
    environment: Environment,
    outputs_of: Callable[[jax.Array], jax.Array],
    seeds: jax.Array,
    *,
    members: int | None,
) -> tuple[Carry, Callable[[Carry], tuple[Carry, Move]]]:
    """Return the start of episodes, and the function that takes all of them one step on.

    Parameters
    ----------
    environment : Environment
        What is played.
    outputs_of : callable
        ``outputs_of(observations) -> outputs``: the policy, or the policies of a population.
    seeds : whole-number array [E]
        One per episode.
    members : int, optional
        Policies of the population; None for one policy, whose arrays have no axis of members.
    """
    keys = jax.vmap(episode_key)(seeds)
    start = jax.vmap(lambda key: environment.reset(reset_key(key)))(keys)  # step 1
    step = jax.vmap(environment.step)
    if members is not None:
        start = jax.tree.map(lambda x: jnp.broadcast_to(x[None], (members, *x.shape)), start)
        step = jax.vmap(step, in_axes=(None, 0, 0))
    lanes = seeds.shape if members is None else (members, *seeds.shape)

    def advance(carry: Carry) -> tuple[Carry, Move]:
        outputs = outputs_of(carry.observation)
        now = jax.vmap(lambda key: step_key(key, carry.step))(keys)
        action = environment.actions.of(outputs)
        moved = step(now, carry.state, action)  # step 2
        finite = _finite(outputs, len(lanes)) & jnp.isfinite(moved.reward)
        if len(environment.observation_shape) == 1:  # images are made of finite numbers
            finite &= _finite(carry.observation, len(lanes))
        reward = jnp.where(finite, moved.reward, jnp.nan)  # step 4
        returns, lengths = carry.episodes
        counted = Episodes(jnp.where(carry.alive, returns + reward, returns), lengths + carry.alive)  # step 3
        alive = carry.alive & finite & ~moved.terminated
        after = Carry(carry.step + 1, moved.state, moved.observation, alive, counted)
        return after, Move(action, reward)

    none = Episodes(jnp.zeros(lanes, jnp.float32), jnp.zeros(lanes, jnp.int32))
    return Carry(jnp.int32(0), *start, jnp.ones(lanes, bool), none), advance


def _finite(values: jax.Array, lanes: int) -> jax.Array:
    return jnp.isfinite(values).all(axis=tuple(range(lanes, values.ndim)))


def _first(values: jax.Array) -> jax.Array:
    return values[0]


@contextlib.contextmanager
def in_float32() -> Iterator[None]:
    """Play in float32 whatever the precision of an analysis.

    In float64 a seed would draw other random numbers: another initial state, another episode.
    """
    with jax.enable_x64(False):
        yield


def float32(tree: PyTree) -> PyTree:
    """Return a tree whose leaves are float32."""
    return jax.tree.map(lambda x: jnp.asarray(x).astype(jnp.float32), tree)
