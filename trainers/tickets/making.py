"""The trainer of a method, and what runs its levels."""

from __future__ import annotations

import dataclasses

import optax

from trainers.config import Method
from trainers.tasks import Environment
from trainers.training import (
    PPO,
    Engine,
    Evolution,
    Gradient,
    LevelRunner,
    Space,
    make_ppo,
    map_replicates,
    mean_loss,
    population_evaluator,
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Own:
    """What the user gives in place of what the configuration or the problem names.

    Attributes
    ----------
    optimizer : optax.GradientTransformation, optional
        Of gradient descent.
    environment : Environment, optional
        The one whose episodes the problem is made of.
    """

    optimizer: optax.GradientTransformation | None = None
    environment: Environment | None = None


def make_trainer(method: Method, space: Space, own: Own | None = None) -> Evolution | Gradient | PPO:
    """Return the evolution strategy, gradient descent or policy gradient of a method."""
    own = own or Own()
    if method.trainer == "ppo":
        return make_ppo(method.ppo, space, own.environment)
    if method.trainer == "es":
        evaluate = population_evaluator(space.problem, space.layout, space.like, method.evaluation)
        return Evolution(method.evolution, space.layout.size, evaluate)
    loss = mean_loss(space.problem, space.layout, space.like)
    count = space.problem.num_examples("train")
    return Gradient(method.gradient, count, loss, map_replicates, optimizer=own.optimizer)


def make_engine(method: Method, space: Space, own: Own | None = None) -> Engine:
    """Return the compiled program of a method's levels."""
    episodes = not space.problem.differentiable
    return Engine(make_trainer(method, space, own), space.problem.arrays("train"), episodes=episodes)


def make_runner(method: Method, space: Space, own: Own) -> LevelRunner:
    """Return what trains the levels of a method."""
    return LevelRunner(make_engine(method, space, own), space.problem, space.layout, space.like)
