"""Built-in tasks, each a function that returns a Problem; entry points of the group ``landscape.tasks``.

Importing this package loads no data, no jax, no Flax and no environment.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from landscape.lazy import lazy_names
from trainers.config import CONTROL

if TYPE_CHECKING:
    from landscape.problem import Problem
    from trainers.tasks.classification import Task
    from trainers.tasks.control import (
        ControlTask as ControlTask,
        constant_policies as constant_policies,
        control_task as control_task,
        load_control_task as load_control_task,
    )
    from trainers.tasks.environments import (
        Continuous as Continuous,
        Discrete as Discrete,
        Environment as Environment,
        Transition as Transition,
        episode_key as episode_key,
        reset_key as reset_key,
        step_key as step_key,
        with_sticky_actions as with_sticky_actions,
    )
    from trainers.tasks.networks import build as build, chain as chain
    from trainers.tasks.policies import policy_of as policy_of

__getattr__, __dir__, _names = lazy_names(
    __name__,
    {
        "control": ("ControlTask", "constant_policies", "control_task", "load_control_task"),
        "environments": (
            "Continuous",
            "Discrete",
            "Environment",
            "Transition",
            "episode_key",
            "reset_key",
            "step_key",
            "with_sticky_actions",
        ),
        "networks": ("build", "chain"),
        "policies": ("policy_of",),
    },
)

__all__ = [  # noqa: PLE0604  names of modules that are loaded when they are used
    *_names,
    "acrobot",
    "asterix",
    "breakout",
    "cartpole",
    "digits",
    "fashion_mnist",
    "freeway",
    "kmnist",
    "load_task",
    "mnist",
    "mountain_car_continuous",
    "pendulum",
    "reacher",
    "seaquest",
    "space_invaders",
    "swimmer",
]


def load_task(name: str, network: Mapping[str, Any] | None = None, **options: Any) -> Task | ControlTask:
    """Return a built-in task.

    See `trainers.tasks.classification.load_task` of images, `trainers.tasks.control.load_control_task` of
    control tasks.
    """
    if name in CONTROL:
        from trainers.tasks.control import load_control_task as load_control

        return load_control(name, network, **options)
    from trainers.tasks.classification import load_task as load

    return load(name, network, **options)


def digits(*, network: Mapping[str, Any] | None = None, **options: Any) -> Problem:
    """Return the 8×8 optical digits (1,797 images, in the package): 1,257 / 180 / 360 examples."""
    return load_task("digits", network, **options).problem


def mnist(*, network: Mapping[str, Any] | None = None, **options: Any) -> Problem:
    """Return MNIST: 55,000 / 5,000 / 10,000 examples."""
    return load_task("mnist", network, **options).problem


def fashion_mnist(*, network: Mapping[str, Any] | None = None, **options: Any) -> Problem:
    """Return Fashion-MNIST: 55,000 / 5,000 / 10,000 examples."""
    return load_task("fashion_mnist", network, **options).problem


def kmnist(*, network: Mapping[str, Any] | None = None, **options: Any) -> Problem:
    """Return Kuzushiji-MNIST: 55,000 / 5,000 / 10,000 examples."""
    return load_task("kmnist", network, **options).problem


def pendulum(*, network: Mapping[str, Any] | None = None, **options: Any) -> Problem:
    """Return Pendulum-v1: swing up and hold, a torque of at most 2; mass, length and gravity are options."""
    return load_task("pendulum", network, **options).problem


def cartpole(*, network: Mapping[str, Any] | None = None, **options: Any) -> Problem:
    """Return CartPole-v1: keep a pole upright, pushing left or right."""
    return load_task("cartpole", network, **options).problem


def acrobot(*, network: Mapping[str, Any] | None = None, **options: Any) -> Problem:
    """Return Acrobot-v1: swing the tip of two links up, one reward of −1 per step until then."""
    return load_task("acrobot", network, **options).problem


def mountain_car_continuous(*, network: Mapping[str, Any] | None = None, **options: Any) -> Problem:
    """Return MountainCarContinuous-v0: leave a valley, for as little force as possible."""
    return load_task("mountain_car_continuous", network, **options).problem


def reacher(*, network: Mapping[str, Any] | None = None, **options: Any) -> Problem:
    """Return gymnax's Reacher: two joints, the tip to a goal. It is not MuJoCo's nor brax's."""
    return load_task("reacher", network, **options).problem


def swimmer(*, network: Mapping[str, Any] | None = None, **options: Any) -> Problem:
    """Return gymnax's Swimmer: a point in the plane, to a goal around obstacles. It is not MuJoCo's."""
    return load_task("swimmer", network, **options).problem


def asterix(*, network: Mapping[str, Any] | None = None, **options: Any) -> Problem:
    """Return Asterix of MinAtar: collect treasure, avoid enemies."""
    return load_task("asterix", network, **options).problem


def breakout(*, network: Mapping[str, Any] | None = None, **options: Any) -> Problem:
    """Return Breakout of MinAtar: one reward per brick."""
    return load_task("breakout", network, **options).problem


def freeway(*, network: Mapping[str, Any] | None = None, **options: Any) -> Problem:
    """Return Freeway of MinAtar: cross the road; it never terminates."""
    return load_task("freeway", network, **options).problem


def seaquest(*, network: Mapping[str, Any] | None = None, **options: Any) -> Problem:
    """Return Seaquest of MinAtar: rescue divers, shoot, surface for air."""
    return load_task("seaquest", network, **options).problem


def space_invaders(*, network: Mapping[str, Any] | None = None, **options: Any) -> Problem:
    """Return Space Invaders of MinAtar: one reward per alien shot."""
    return load_task("space_invaders", network, **options).problem
