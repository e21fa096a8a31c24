"""Settings of the two trainers. No jax."""

from __future__ import annotations

import dataclasses

from trainers import _validate as check

STRATEGIES = ("snes", "sep-cma-es")
OPTIMIZERS = ("sgd", "momentum", "adam", "adamw")
# Algorithms whose result carries no scale for each weight, so that no signal-to-noise ratio exists.
WITHOUT_SCALE = {
    "sgd": "it keeps no second moment of the gradient; adam and adamw do",
    "momentum": "it keeps no second moment of the gradient; adam and adamw do",
}
# What all algorithms of a section have in common: taken over where a method names another algorithm.
SHARED = {
    "evolution": ("population_size", "generations", "batch_size", "mean_decay", "eval_every"),
    "gradient": ("epochs", "batch_size", "eval_every_epochs", "schedule", "warmup_steps", "learning_rate"),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvolutionConfig(check.Settings):
    """Training by an evolution strategy.

    Attributes
    ----------
    strategy : str
        ``"snes"`` (default) or ``"sep-cma-es"``.
    population_size : int
        Members a generation, at least 2: fitness counts through its ranks. Default 128.
    generations : int
        Generations a level. Default 500.
    batch_size : int
        Examples in the minibatch that all members of a generation share. Default 512.
    std_init : float
        Initial standard deviation of every weight, in units of the weights. Default 0.05.
    std_min : float
        Floor of the standard deviation. Default 0, no floor.
    mean_decay : float
        The mean is multiplied by 1 − mean_decay each generation. Default 1e-4.
    temperature : float, optional
        SNES: recombination weights softmax(−temperature·(rank/(λ−1) − ½)); without it (``"none"``)
        the utilities of evosax. Default 12.
    elite_ratio : float
        Sep-CMA-ES: fraction of the population that is recombined, above 0, at most 1. Default 0.5.
    eval_every : int
        Generations between evaluations on the validation split. Default 100.
    """

    strategy: str = check.field("snes", check.one_of(*STRATEGIES))
    population_size: int = check.field(
        128, check.integer(low=2, why="one member alone has no rank to learn from")
    )
    generations: int = check.field(500, check.integer(low=1))
    batch_size: int = check.field(512, check.integer(low=1))
    std_init: float = check.field(0.05, check.number(above=0.0))
    std_min: float = check.field(0.0, check.number(low=0.0))
    mean_decay: float = check.field(1e-4, check.number(low=0.0, below=1.0))
    temperature: float | None = check.field(12.0, check.optional(check.number(above=0.0)))
    elite_ratio: float = check.field(0.5, check.number(above=0.0, high=1.0))
    eval_every: int = check.field(100, check.integer(low=1))

    def settle(self) -> None:
        """Refuse a floor above the start."""
        if self.std_min > self.std_init:
            message = f"expected at most std_init ({self.std_init:g}), got {self.std_min:g}"
            raise check.Invalid([(".std_min", message)])


@dataclasses.dataclass(frozen=True, kw_only=True)
class GradientConfig(check.Settings):
    """Training by gradient descent.

    Attributes
    ----------
    optimizer : str
        ``"sgd"``, ``"momentum"``, ``"adam"`` (default) or ``"adamw"``.
    learning_rate : float
        Step size, at the end of the warm-up. Default 3e-3.
    momentum : float
        For ``"momentum"`` only, from 0, below 1. Default 0.9.
    weight_decay : float
        As in optax: decoupled for ``"adamw"``, added to the gradient for the others. Default 0.
    schedule : str
        ``"constant"`` (default), ``"cosine"`` or ``"linear"`` (both to zero), after `warmup_steps`.
    warmup_steps : int
        Steps over which the learning rate rises linearly from zero. Default 0.
    epochs : int
        Passes over the training data a level. Default 20.
    batch_size : int
        Examples a step; the rest of an epoch that fills no batch is left out. Default 128.
    eval_every_epochs : float
        Epochs between evaluations on the validation split. Default 1.
    """

    optimizer: str = check.field("adam", check.one_of(*OPTIMIZERS))
    learning_rate: float = check.field(3e-3, check.number(above=0.0))
    momentum: float = check.field(0.9, check.number(low=0.0, below=1.0))
    weight_decay: float = check.field(0.0, check.number(low=0.0))
    schedule: str = check.field("constant", check.one_of("constant", "cosine", "linear"))
    warmup_steps: int = check.field(0, check.integer(low=0))
    epochs: int = check.field(20, check.integer(low=1))
    batch_size: int = check.field(128, check.integer(low=1))
    eval_every_epochs: float = check.field(1.0, check.number(above=0.0))
