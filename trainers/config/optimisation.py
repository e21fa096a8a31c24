"""How a level is trained: the sections `evolution` and `gradient` of a configuration. No jax."""

from __future__ import annotations

import dataclasses
from typing import Any

from trainers.config import validate as check
from trainers.config.strategy_table import AUTO, FACTS, PARTIAL_KEYS, REFUSED, no_snr

PROFILES = ("corrected", "paper", "evosax")
OPTIMIZERS = ("sgd", "momentum", "nesterov", "adam", "adamw")
# Optimisers that keep the second moment of the gradient, from which a signal-to-noise score is made.
_WITH_MOMENTS = ("adam", "adamw")


def _auto(inner: check.Check) -> check.Check:
    """Return `inner` with the word "auto" for the strategy's own default."""
    return lambda value: AUTO if isinstance(value, str) and value == AUTO else inner(value)


def _says_nothing(key: str, value: Any) -> bool:
    """Return whether a value is "auto", none or the strategy's default: nothing to refuse."""
    return value in (AUTO, None) or any(value == facts.defaults.get(key) for facts in FACTS.values())


_POSITIVE = _auto(check.number(above=0.0))
_FACTOR = _auto(check.number(above=0.0, high=1.0))
_BETA = _auto(check.number(low=0.0, below=1.0))


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvolutionConfig(check.Settings):
    """Training by an evolution strategy.

    Attributes
    ----------
    strategy : str
        With a standard deviation for every weight: ``"snes"`` (default), ``"sep-cma-es"``,
        ``"pgpe"``, ``"des"``, ``"simple-es"``, ``"iamalgam"``, ``"les"``; with one for all, so
        without a signal-to-noise score: ``"open-es"``, ``"ars"``.
    profile : str
        ``"corrected"`` (default). ``"paper"``: where it matters as in the code of Lange & Sprekeler
        2023, which is the scale of PGPE (it learns no curvature) and the score of Sep-CMA-ES (it
        divides by the variance). ``"evosax"``: Sep-CMA-ES as evosax 0.3 has it, with a covariance
        that hardly adapts. All three are the same for the other strategies.
    population_size : int
        Members per generation, at least 2: fitness counts through its ranks. Even for ``"pgpe"``,
        ``"open-es"`` and ``"ars"``. Default 128.
    generations : int
        Generations per level. Default 500.
    batch_size : int
        Examples in the minibatch that all members of a generation share. Default 512.
    std_init : float
        Initial standard deviation of every weight, in units of the weights. Default 0.05.
    std_decay : float
        The standard deviation is multiplied by it each generation, after it has adapted. Default 1.
    std_min : float
        Floor of the standard deviation. Default 0, no floor.
    mean_decay : float
        The mean is multiplied by 1 − mean_decay each generation. Default 1e-4.
    temperature : float, optional
        SNES: recombination weights softmax(−temperature·(rank/(λ−1) − ½)); without it (``"none"``)
        the utilities of evosax. Default 12. DES: the steepness of its weights. Default 12.5.
    elite_ratio : float
        Sep-CMA-ES, simple ES, iAMaLGaM: fraction of the population that is recombined; ARS: of the
        pairs. Above 0, at most 1 (below 1 for iAMaLGaM). Default 0.5.
    mean_learning_rate : float
        Step of the mean. PGPE, OpenES, ARS: of Adam, default 0.01; SNES, DES, simple ES,
        Sep-CMA-ES: of the recombined step, default 1.
    mean_learning_rate_decay, mean_learning_rate_min : float
        The learning rate is multiplied by its decay each generation, down to its floor. Not for
        Sep-CMA-ES. Default 1 and 0.
    std_learning_rate : float
        Step of the standard deviation of PGPE, DES and simple ES. Default 0.1.
    beta1, beta2 : float
        Adam's decay of the first and second moment (PGPE, OpenES, ARS). Default 0.99 and 0.999.
    eval_every : int
        Generations between evaluations on the validation split. Default 100.
    precision : str
        Of the population's fitness, and of nothing else: ``"float32"`` (default); ``"tf32"``, products
        of numbers rounded to 11 bits where a device has them (a CPU computes float32); ``"bfloat16"``,
        weights, inputs and layers rounded to 8 bits, losses and their means in float32.

    Notes
    -----
    Keys that not every strategy uses are ``"auto"``, the default of the strategy, unless given. To a
    strategy that has no use for it, a key may only be given at a default.
    """

    strategy: str = check.field("snes", check.one_of(*FACTS, refused=REFUSED))
    profile: str = check.field("corrected", check.one_of(*PROFILES))
    population_size: int = check.field(
        128, check.integer(low=2, why="one member alone has no rank to learn from")
    )
    generations: int = check.field(500, check.integer(low=1))
    batch_size: int = check.field(512, check.integer(low=1))
    std_init: float = check.field(0.05, check.number(above=0.0))
    std_decay: float = check.field(1.0, check.number(above=0.0, high=1.0))
    std_min: float = check.field(0.0, check.number(low=0.0))
    mean_decay: float = check.field(1e-4, check.number(low=0.0, below=1.0))
    temperature: float | str | None = check.field(AUTO, _auto(check.optional(check.number(above=0.0))))
    elite_ratio: float | str = check.field(AUTO, _FACTOR)
    mean_learning_rate: float | str = check.field(AUTO, _POSITIVE)
    mean_learning_rate_decay: float | str = check.field(AUTO, _FACTOR)
    mean_learning_rate_min: float | str = check.field(AUTO, _auto(check.number(low=0.0)))
    std_learning_rate: float | str = check.field(AUTO, _POSITIVE)
    beta1: float | str = check.field(AUTO, _BETA)
    beta2: float | str = check.field(AUTO, _BETA)
    eval_every: int = check.field(100, check.integer(low=1))
    precision: str = check.field("float32", check.one_of("float32", "tf32", "bfloat16"))

    def settle(self) -> None:
        """Refuse a floor above the start, an odd population of pairs, and keys without a use."""
        faults = [*self._range_faults(), *self._unused_keys()]
        if faults:
            raise check.Invalid(faults)

    def _range_faults(self) -> list[check.Fault]:
        faults: list[check.Fault] = []
        if self.std_min > self.std_init:
            faults.append(
                (".std_min", f"expected at most std_init ({self.std_init:g}), got {self.std_min:g}")
            )
        if FACTS[self.strategy].mirrored and self.population_size % 2:
            message = f"expected an even number ({self.strategy} samples pairs mean ± noise), "
            faults.append((".population_size", f"{message}got {self.population_size}"))
        if self.strategy == "iamalgam" and self.elite_ratio == 1.0:
            faults.append((".elite_ratio", "expected a number < 1 (iamalgam selects), got 1.0"))
        if self.strategy == "des" and self.temperature is None:
            faults.append((".temperature", "expected a number (des has no weights without one), got none"))
        return faults

    def _unused_keys(self) -> list[check.Fault]:
        used = FACTS[self.strategy].defaults
        given = [k for k in PARTIAL_KEYS if k not in used and not _says_nothing(k, getattr(self, k))]
        valid = ", ".join(used) or "none of these keys"
        return [
            (f".{key}", f"expected {AUTO} ({self.strategy} uses {valid}), got {getattr(self, key):g}")
            for key in given
        ]

    def setting(self, key: str) -> float | None:
        """Return the value of a key that only some strategies use, or what "auto" stands for."""
        value = getattr(self, key)
        return FACTS[self.strategy].defaults[key] if value == AUTO else value

    def with_strategy(self, strategy: str, **changes: Any) -> EvolutionConfig:
        """Return the settings for another strategy, without the keys that it does not use."""
        used = FACTS[strategy].defaults if strategy in FACTS else PARTIAL_KEYS
        dropped: dict[str, Any] = {key: AUTO for key in PARTIAL_KEYS if key not in used}
        return dataclasses.replace(self, **{**dropped, "strategy": strategy, **changes})


@dataclasses.dataclass(frozen=True, kw_only=True)
class GradientConfig(check.Settings):
    """Training by gradient descent.

    Attributes
    ----------
    optimizer : str
        ``"sgd"``, ``"momentum"``, ``"nesterov"``, ``"adam"`` (default) or ``"adamw"``.
    learning_rate : float
        Step size, at the end of the warm-up. Default 3e-3.
    momentum : float
        For ``"momentum"`` and ``"nesterov"`` only, from 0, below 1. Default 0.9.
    weight_decay : float
        As in optax: decoupled for ``"adamw"``, added to the gradient for the others. Default 0.
    schedule : str
        ``"constant"`` (default), ``"cosine"`` or ``"linear"`` (both to zero), after `warmup_steps`.
    warmup_steps : int
        Steps over which the learning rate rises linearly from zero. Default 0.
    epochs : int
        Passes over the training data per level. Default 20.
    batch_size : int
        Examples per step; the rest of an epoch that fills no batch is left out. Default 128.
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

    def with_optimizer(self, optimizer: str, **changes: Any) -> GradientConfig:
        """Return the settings for another optimiser."""
        return dataclasses.replace(self, **{"optimizer": optimizer, **changes})


def without_snr(algorithm: str) -> str | None:
    """Return why a strategy or an optimiser has no signal-to-noise score, None if it has one."""
    if algorithm in FACTS:
        return no_snr(algorithm)
    if algorithm in (*_WITH_MOMENTS, "ppo"):  # PPO's steps are Adam's
        return None
    return f"{algorithm} keeps no second moment of the gradient; adam and adamw do"
