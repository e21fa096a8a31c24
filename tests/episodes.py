"""Losses made of episodes, written by hand: a pole on a cart, a pendulum, and a loss of zeros and ones."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from landscape import Metric, Problem

POLE_STEPS, PENDULUM_STEPS = 100, 60


def policy(params: Any, state: jax.Array) -> jax.Array:
    """Return an action in [-1, 1] of a network with one hidden layer."""
    hidden = jnp.tanh(state @ params["in"]["kernel"] + params["in"]["bias"])
    action: jax.Array = jnp.tanh(hidden @ params["out"])
    return action


def weights(inputs: int, *, seed: int = 0, hidden: int = 4) -> dict[str, Any]:
    """Return small random weights of the policy."""
    rng = np.random.default_rng(seed)
    return {
        "in": {
            "kernel": rng.normal(0, 0.5, size=(inputs, hidden)).astype(np.float32),
            "bias": np.zeros(hidden, np.float32),
        },
        "out": rng.normal(0, 0.5, size=hidden).astype(np.float32),
    }


def balancing() -> dict[str, Any]:
    """Return weights that keep the pole up for a while: pushed to the side on which it stands."""
    params = weights(4, seed=1)
    params["in"]["kernel"][:, 0] = [0.0, 0.0, 1.0, 0.01]
    params["out"][:] = [2.0, 0.1, -0.1, 0.1]
    return params


def pole_return(params: Any, seed: jax.Array) -> jax.Array:
    """Return the steps that a pole stays up, pushed by ±10 N (Barto, Sutton and Anderson 1983)."""

    def step(carry: Any, _: None) -> tuple[Any, jax.Array]:
        (x, v, angle, turn), alive = carry
        force = jnp.where(policy(params, jnp.stack([x, v, angle, turn])) > 0, 10.0, -10.0)
        sin, cos = jnp.sin(angle), jnp.cos(angle)
        pushed = (force + 0.05 * turn**2 * sin) / 1.1
        speeding = (9.8 * sin - cos * pushed) / (0.5 * (4 / 3 - 0.1 * cos**2 / 1.1))
        moving = pushed - 0.05 * speeding * cos / 1.1
        state = (x + 0.02 * v, v + 0.02 * moving, angle + 0.02 * turn, turn + 0.02 * speeding)
        alive = alive & (jnp.abs(state[0]) < 2.4) & (jnp.abs(state[2]) < 0.21)
        return (state, alive), alive.astype(jnp.float32)

    start = jax.random.uniform(jax.random.key(seed), (4,), jnp.float32, -0.05, 0.05)
    carry = (tuple(start), jnp.array(True))
    rewards: jax.Array = jax.lax.scan(step, carry, None, length=POLE_STEPS)[1]
    return rewards.sum()


def pendulum_return(params: Any, start: jax.Array) -> jax.Array:
    """Return minus the cost of a pendulum from its first angle and speed: smooth, and differentiable."""

    def step(state: tuple[jax.Array, jax.Array], _: None) -> tuple[Any, jax.Array]:
        angle, turn = state
        torque = 2 * policy(params, jnp.stack([jnp.cos(angle), jnp.sin(angle), turn / 8]))
        cost = (1 - jnp.cos(angle)) + 0.1 * (turn / 8) ** 2 + 0.001 * torque**2
        turn = turn + 0.05 * (15 * jnp.sin(angle) + 3 * torque)
        return (angle + 0.05 * turn, turn), -cost

    rewards: jax.Array = jax.lax.scan(step, (start[0], start[1]), None, length=PENDULUM_STEPS)[1]
    return rewards.sum()


def of_returns(one: Any) -> tuple[Any, Any]:
    """Return loss and return of a batch, from the return of one episode."""

    def returns(params: Any, batch: Any) -> jax.Array:
        found: jax.Array = jax.vmap(lambda example: one(params, example))(batch)
        return found

    return (lambda params, batch: -returns(params, batch)), returns


def pole(**options: Any) -> Problem:
    """Return the pole as a problem of seeds."""
    loss, returns = of_returns(pole_return)
    given: dict[str, Any] = {
        "train": np.arange(24),
        "validation": np.arange(100, 108),
        "test": np.arange(200, 216),
        "metrics": {"return": Metric(returns, higher_is_better=True, span=POLE_STEPS)},
        "name": "pole",
        "differentiable": False,
    }
    return Problem(loss, **{**given, **options})


def pendulum(*, differentiable: bool = False, count: int = 16) -> Problem:
    """Return the pendulum as a problem of initial conditions."""
    loss, returns = of_returns(pendulum_return)
    rng = np.random.default_rng(0)
    starts = rng.uniform(-1, 1, size=(count, 2)).astype(np.float32)
    return Problem(
        loss,
        train=starts,
        metrics={"return": Metric(returns, higher_is_better=True)},
        name="pendulum",
        differentiable=differentiable,
    )


def zero_one(*, count: int = 200, dim: int = 3) -> tuple[Problem, dict[str, Any]]:
    """Return a problem of errors alone, zero or one, and weights that make some."""
    rng = np.random.default_rng(2)
    x = rng.normal(size=(count, dim)).astype(np.float32)
    y = np.sign(x[:, 0] + 0.5 * rng.normal(size=count)).astype(np.float32)

    def wrong(params: Any, batch: Any) -> jax.Array:
        inputs, labels = batch
        return (inputs @ params["w"] * labels <= 0).astype(jnp.float32)

    problem = Problem(wrong, train=(x, y), metrics={"error": wrong}, name="errors", differentiable=False)
    return problem, {"w": np.array([1.0, 0.2, -0.1], np.float32)[:dim]}
