"""How a level is trained by policy gradient: the section `ppo` of a configuration. No jax.

References
----------
Schulman et al. 2017, proximal policy optimisation, arXiv 1707.06347.
Lange & Sprekeler 2023, arXiv 2306.00045: the settings of `paper_ppo`.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from landscape.errors import ConfigurationError
from trainers.config import validate as check

__all__ = ["PAPER_PPO_TASKS", "PPOConfig", "paper_ppo"]

_width = check.integer(low=1, why="a layer has a positive width")


@dataclasses.dataclass(frozen=True, kw_only=True)
class PPOConfig(check.Settings):
    """Training by proximal policy optimisation, of control tasks only.

    An update plays every environment for `rollout_steps` and then takes `epochs` passes over what was seen,
    in `minibatches`. It counts as one step of a level: ``pruning.rewind_step``, ``branch_step`` and
    ``runtime.trajectory_every`` are numbers of updates.

    Attributes
    ----------
    environment_steps : int
        Steps of environments per level, all environments of a replicate together; the rest that fills no
        update is left out. Default 500,000.
    num_environments : int
        Environments of a replicate, played side by side. Default 16.
    rollout_steps : int
        Steps of each environment per update. Default 64.
    minibatches : int
        Parts into which the steps of an update are divided; their number must be a multiple of it.
        Default 4.
    epochs : int
        Passes over the steps of an update. Default 8.
    discount : float
        γ, from 0 to 1. Default 0.99.
    trace_decay : float
        λ of the generalised advantages (Schulman et al. 2016), from 0 to 1. Default 0.95.
    clip : float
        ε: how much the probability of an action may change, relatively. Default 0.2.
    entropy : float
        Weight of the entropy bonus. Default 0.
    value_loss : float
        Weight of the critic's squared error. Default 0.5.
    gradient_norm : float
        The gradient of all that is learnt is clipped to this norm. Default 0.5.
    learning_rate : float
        Of Adam. Default 1e-3.
    schedule : str
        ``"constant"``, or ``"linear"`` (default) to zero at the end of a level.
    normalise_advantages : bool
        Whether the advantages of a minibatch are brought to mean 0 and standard deviation 1. Default true.
    reward_scale : float
        Rewards are multiplied by it in training, which suits the critic; returns are reported without.
        Default 1.
    log_std_init : float
        Of continuous actions: logarithm of the initial standard deviation, in half ranges of the action.
        Default −0.5.
    critic_widths : tuple of int
        Hidden widths of the critic, a network of the policy's kind. Default 32, 32.
    eval_every : int
        Updates between evaluations on the validation split. Default 25.
    """

    environment_steps: int = check.field(500_000, check.integer(low=1))
    num_environments: int = check.field(16, check.integer(low=1))
    rollout_steps: int = check.field(64, check.integer(low=1))
    minibatches: int = check.field(4, check.integer(low=1))
    epochs: int = check.field(8, check.integer(low=1))
    discount: float = check.field(0.99, check.number(low=0.0, high=1.0))
    trace_decay: float = check.field(0.95, check.number(low=0.0, high=1.0))
    clip: float = check.field(0.2, check.number(above=0.0, below=1.0))
    entropy: float = check.field(0.0, check.number(low=0.0))
    value_loss: float = check.field(0.5, check.number(above=0.0))
    gradient_norm: float = check.field(0.5, check.number(above=0.0))
    learning_rate: float = check.field(1e-3, check.number(above=0.0))
    schedule: str = check.field("linear", check.one_of("constant", "linear"))
    normalise_advantages: bool = check.field(True, check.boolean)
    reward_scale: float = check.field(1.0, check.number(above=0.0))
    log_std_init: float = check.field(-0.5, check.number(low=-5.0, high=2.0))
    critic_widths: tuple[int, ...] = check.field(
        (32, 32), check.each(_width, "a list of layer widths such as [32, 32]", empty=True)
    )
    eval_every: int = check.field(25, check.integer(low=1))

    @property
    def update_steps(self) -> int:
        """Steps of environments per update."""
        return self.num_environments * self.rollout_steps

    @property
    def num_updates(self) -> int:
        """Updates per level."""
        return self.environment_steps // self.update_steps

    def settle(self) -> None:
        """Refuse minibatches that do not divide an update, and a level without one."""
        faults: list[check.Fault] = []
        told = f"num_environments · rollout_steps = {self.update_steps:,}"
        if self.update_steps % self.minibatches:
            faults.append((".minibatches", f"expected a divisor of {told}, got {self.minibatches:,}"))
        if self.environment_steps < self.update_steps:
            message = f"expected at least one update ({told}), got {self.environment_steps:,}"
            faults.append((".environment_steps", message))
        if faults:
            raise check.Invalid(faults)


# Millions of steps, γ, entropy bonus, scale of the reward, steps that an environment is played at a time,
# sequences in a minibatch, passes.
_BRAX: dict[str, tuple[int, float, float, float, int, int, int]] = {
    "ant": (50, 0.97, 1e-2, 10.0, 5, 1024, 4),
    "grasp": (1200, 0.99, 1e-3, 10.0, 20, 256, 2),
    "fetch": (200, 0.997, 1e-3, 5.0, 20, 256, 4),
    "halfcheetah": (200, 0.95, 1e-3, 1.0, 20, 512, 8),
    "hopper": (200, 0.999, 1e-2, 5.0, 20, 256, 8),
    "reacher": (200, 0.95, 1e-3, 5.0, 50, 256, 8),
    "ur5e": (40, 0.95, 1e-2, 10.0, 5, 1024, 4),
    "walker2d": (200, 0.98, 1e-2, 10.0, 50, 256, 8),
}
_BRAX_RATES = {"hopper": 6e-4, "ur5e": 2e-4}
_BRAX_ENVIRONMENTS, _BRAX_MINIBATCHES = 2_048, 32
PAPER_PPO_TASKS = ("pendulum", *_BRAX)


def paper_ppo(task: str, **changes: Any) -> PPOConfig:
    """Return the published settings of PPO on a task.

    Parameters
    ----------
    task : str
        ``"pendulum"``, or one of the paper's Brax environments.
    **changes
        Values that win over the published ones.

    Raises
    ------
    ConfigurationError
        If nothing was published for the task.

    Notes
    -----
    Three things differ from the published program. Actions are never repeated, so that returns have the
    clock of evolution's. In Brax's environments advantages look along all that an update plays of an
    environment, not along sequences of 5 to 50 steps. What is not known of it is ours: for Pendulum the
    learning rate, its schedule and the scale of the reward, for Brax ε and the norm of the gradient, and
    everywhere the critic's widths and the initial standard deviation.
    """
    if task == "pendulum":
        found: dict[str, Any] = {
            "environment_steps": 1_750_000,
            "num_environments": 32,
            "rollout_steps": 16,
            "minibatches": 8,
            "epochs": 4,
            "discount": 0.97,
            "clip": 0.25,
            "entropy": 0.005,
            "gradient_norm": 1.0,
            "reward_scale": 0.1,
        }
        return PPOConfig(**{**found, **changes})
    if task not in _BRAX:
        raise ConfigurationError(
            f"nothing was published for ppo on {task}", expected=f"one of {', '.join(PAPER_PPO_TASKS)}"
        )
    millions, discount, entropy, scale, unroll, sequences, epochs = _BRAX[task]
    played = sequences * _BRAX_MINIBATCHES // _BRAX_ENVIRONMENTS
    found = {
        "environment_steps": millions * 1_000_000,
        "num_environments": _BRAX_ENVIRONMENTS,
        "rollout_steps": unroll * played,
        "minibatches": _BRAX_MINIBATCHES,
        "epochs": epochs,
        "discount": discount,
        "clip": 0.3,
        "entropy": entropy,
        "gradient_norm": 1.0,
        "learning_rate": _BRAX_RATES.get(task, 3e-4),
        "schedule": "constant",
        "reward_scale": scale,
    }
    return PPOConfig(**{**found, **changes})
