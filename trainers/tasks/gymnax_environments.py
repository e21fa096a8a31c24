"""Environments of gymnax behind our interface: its step that does not reset, its dynamics, our time limits.

Games have the sticky actions that MinAtar has and gymnax leaves out.

References
----------
Lange 2022, gymnax (github.com/RobertTLange/gymnax); Young & Tian 2019, MinAtar, arXiv 1903.03176.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from landscape.errors import MissingDependencyError
from trainers.config import CONTROL
from trainers.tasks.environments import (
    Continuous,
    Discrete,
    Environment,
    Transition,
    with_sticky_actions,
)

__all__ = ["gymnax_environment"]

PyTree = Any
Physics = Mapping[str, float]


def _cartpole(physics: Physics) -> dict[str, float]:
    """Return gymnax's constants; those that follow from others are computed, not left at their defaults."""
    cart, pole, length = physics["cart_mass"], physics["pole_mass"], physics["half_length"]
    return {
        "masscart": cart,
        "masspole": pole,
        "total_mass": cart + pole,
        "length": length,
        "polemass_length": pole * length,
        "gravity": physics["gravity"],
    }


def _renamed(**names: str) -> Callable[[Physics], dict[str, float]]:
    """Return what turns our option into gymnax's constant: ``ours="theirs"``."""
    return lambda physics: {theirs: physics[ours] for ours, theirs in names.items()}


_CONSTANTS: dict[str, Callable[[Physics], dict[str, float]]] = {
    "pendulum": _renamed(mass="m", length="l", gravity="g"),
    "cartpole": _cartpole,
    "acrobot": _renamed(mass_1="link_mass_1", mass_2="link_mass_2"),
    "mountain_car_continuous": _renamed(power="power", gravity="gravity"),
    "reacher": _renamed(torque="torque_scale"),
}


def gymnax_environment(name: str, *, length: int, physics: Physics) -> Environment:
    """Return an environment of gymnax.

    Parameters
    ----------
    name : str
        A task of `trainers.config.CONTROL`.
    length : int
        Steps after which an episode is cut off. gymnax's own limit is not looked at.
    physics : mapping
        Every constant that the task's options may change.

    Raises
    ------
    MissingDependencyError
        If gymnax is not installed.
    """
    gymnax = _gymnax(name)
    with jax.enable_x64(False):  # states are of float32 and int32 whatever the precision of the moment
        env, defaults = gymnax.make(CONTROL[name].title)
        params = defaults.replace(**_CONSTANTS[name](physics)) if name in _CONSTANTS else defaults
        actions = _actions(env.action_space(params))
        like = jax.eval_shape(lambda key: env.reset_env(key, params)[1], jax.random.key(0))
        like = jax.eval_shape(
            lambda key, state: env.step_env(key, state, _sample(actions), params)[1], jax.random.key(0), like
        )

    def reset(key: jax.Array) -> tuple[PyTree, jax.Array]:
        observation, state = env.reset_env(key, params)
        return _as(state, like), _float32(observation)

    def step(key: jax.Array, state: PyTree, action: jax.Array) -> Transition:
        # Not `env.step`, which puts the first state of another episode in place of the last one.
        observation, state, reward, terminated, _ = env.step_env(key, state, action, params)
        terminated = jnp.asarray(terminated, bool)
        return Transition(_as(state, like), _float32(observation), _float32(reward), terminated)

    shape = tuple(int(n) for n in env.observation_space(params).shape)
    environment = Environment(
        name=name, observation_shape=shape, actions=actions, length=length, reset=reset, step=step
    )
    return with_sticky_actions(environment, physics.get("sticky", 0.0))


def _gymnax(name: str) -> Any:
    try:
        return importlib.import_module("gymnax")
    except ModuleNotFoundError as error:  # of gymnax, or of what it needs (of six it does not say so)
        raise MissingDependencyError(
            f"the task {name} needs gymnax, which is not installed",
            expected="the extra named control",
            got=f"no module {error.name}",
            hint='Install it: pip install "ticketscape[control]"',
        ) from error


def _actions(space: Any) -> Discrete | Continuous:
    if hasattr(space, "n"):
        return Discrete(int(space.n))
    low, high = (np.broadcast_to(np.asarray(x, np.float32), space.shape) for x in (space.low, space.high))
    return Continuous(low, high)


def _sample(actions: Discrete | Continuous) -> jax.Array:
    return actions.of(jnp.zeros(actions.num_outputs))


def _as(state: PyTree, like: PyTree) -> PyTree:
    """Return a state in the shapes and dtypes that it has after a step: a loop's carry never changes them."""
    return jax.tree.map(lambda x, y: jnp.broadcast_to(jnp.asarray(x, y.dtype), y.shape), state, like)


def _float32(values: Any) -> jax.Array:
    return jnp.asarray(values, jnp.float32)
