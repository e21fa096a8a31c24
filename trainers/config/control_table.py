"""Control tasks and their options, as far as they can be checked before an environment is built. No jax."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from trainers.config import validate as check

__all__ = ["CONTROL", "POLICY", "ControlFacts", "control_checks", "control_options"]

# The policy of Lange & Sprekeler 2023: two hidden layers of 32.
POLICY: dict[str, Any] = {"kind": "policy", "widths": [32, 32]}

# Seeds of a split are numbered from its first one, so that splits of up to this size are disjoint.
MOST_EPISODES = 2**20
_EPISODES = {"train_episodes": 1_024, "validation_episodes": 64, "test_episodes": 256}


@dataclasses.dataclass(frozen=True, kw_only=True)
class ControlFacts:
    """Facts about one control task.

    Attributes
    ----------
    title : str
        The environment, by the name under which it is published.
    episode_length : int
        Steps after which an episode is cut off, unless the options say otherwise.
    physics : mapping
        Constants of the dynamics that options may change, and their defaults. Of games ``sticky``, the
        probability that an action is replaced by the one before.
    images : bool
        Whether observations are images [height, width, channels].
    continuous : bool
        Whether actions are numbers in a range.
    rewards : tuple of (float, float), optional
        Best minus worst reward of a step, and what more may come once; None where there is no bound.
    """

    title: str
    episode_length: int
    physics: Mapping[str, float] = dataclasses.field(default_factory=dict)
    images: bool = False
    continuous: bool = False
    rewards: tuple[float, float] | None = None

    def span(self, length: int) -> float | None:
        """Return best minus worst return of an episode of at most `length` steps, None where it is open."""
        return None if self.rewards is None else self.rewards[0] * length + self.rewards[1]


# Of an angle of π, a speed of 8 and a torque of 2: the costs that the environment adds up.
_WORST_PENDULUM = math.pi**2 + 0.1 * 8.0**2 + 0.001 * 2.0**2


# gymnax leaves out the sticky actions of MinAtar (Young & Tian 2019). Without them there is no chance in some
# games: all episodes of Space Invaders are one, those of Breakout two, and intervals over seeds mean nothing.
_STICKY = "sticky"


def _game(title: str) -> ControlFacts:
    return ControlFacts(title=title, episode_length=500, images=True, physics={_STICKY: 0.1})


CONTROL: dict[str, ControlFacts] = {
    "pendulum": ControlFacts(
        title="Pendulum-v1",
        episode_length=200,
        physics={"mass": 1.0, "length": 1.0, "gravity": 10.0},
        continuous=True,
        rewards=(_WORST_PENDULUM, 0.0),
    ),
    "cartpole": ControlFacts(
        title="CartPole-v1",
        episode_length=500,
        physics={"cart_mass": 1.0, "pole_mass": 0.1, "half_length": 0.5, "gravity": 9.8},
        rewards=(1.0, 0.0),
    ),
    "acrobot": ControlFacts(
        title="Acrobot-v1", episode_length=500, physics={"mass_1": 1.0, "mass_2": 1.0}, rewards=(1.0, 0.0)
    ),
    "mountain_car_continuous": ControlFacts(
        title="MountainCarContinuous-v0",
        episode_length=999,
        physics={"power": 0.0015, "gravity": 0.0025},
        continuous=True,
        rewards=(0.1, 100.0),
    ),
    "reacher": ControlFacts(
        title="Reacher-misc",
        episode_length=100,
        physics={"torque": 1.0},
        continuous=True,
        rewards=(1.0, 0.0),
    ),
    "swimmer": ControlFacts(title="Swimmer-misc", episode_length=500, continuous=True, rewards=(1.0, 0.0)),
    "asterix": _game("Asterix-MinAtar"),
    "breakout": _game("Breakout-MinAtar"),
    "freeway": _game("Freeway-MinAtar"),
    "seaquest": _game("Seaquest-MinAtar"),
    "space_invaders": _game("SpaceInvaders-MinAtar"),
}


def control_checks(task: str) -> dict[str, check.Check]:
    """Return the check of every option of a control task."""
    episodes = check.integer(low=1, high=MOST_EPISODES)
    return {
        "episode_length": check.integer(low=1, high=100_000),
        **dict.fromkeys(_EPISODES, episodes),
        **dict.fromkeys(CONTROL[task].physics, check.number(above=0.0)),
        **({_STICKY: check.number(low=0.0, below=1.0)} if CONTROL[task].images else {}),
    }


def control_options(task: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return all options of a control task: as given, and the defaults of the rest.

    Parameters
    ----------
    task : str
        A name of `CONTROL`.
    given : mapping
        Options that have passed `control_checks`.
    """
    facts = CONTROL[task]
    physics = {key: float(given.get(key, value)) for key, value in facts.physics.items()}
    counts = {"episode_length": facts.episode_length, **_EPISODES}
    return {**{key: int(given.get(key, value)) for key, value in counts.items()}, **physics}
