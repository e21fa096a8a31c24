"""The configuration of a run: frozen dataclasses, TOML, and every error at once. No jax.

Values are taken in the order defaults, preset or file, ``--config``, ``--set``; later ones win.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from trainers import _validate as check
from trainers._sources import (
    PRUNING_RIVALS,
    extra_values,
    layered,
    override_values,
    preset_names,
    source_values,
)
from trainers._toml import dump_toml

__all__ = [
    "EvolutionConfig",
    "GradientConfig",
    "PruningConfig",
    "RunConfig",
    "RuntimeConfig",
    "SeedsConfig",
    "changed_keys",
    "from_dict",
    "preset_names",
    "resolve",
    "to_dict",
    "to_toml",
]

TRAINERS = ("es", "gd")
SCORES = ("snr", "magnitude", "random")
_REFUSED = {
    "gd-snr": "gradient descent has no search distribution, and a ratio from Adam's moments is not offered"
}
_METHODS = tuple(f"{t}-{s}" for t in TRAINERS for s in SCORES if f"{t}-{s}" not in _REFUSED)
_LARGEST_SEED = 2**32 - 1  # a PRNG key keeps 32 bits of its seed
_LEAST_DENSITY = 1e-9


@dataclasses.dataclass(frozen=True, kw_only=True)
class SeedsConfig(check.Settings):
    """The seeds of one replicate, each from 0 to 2³² − 1.

    Attributes
    ----------
    init : int
        Fixes the initialisation. Default 0.
    train : int
        Fixes minibatches and search noise, and names the folder ``seed-<train>``. Default 0.
    mask : int
        Fixes random pruning. Default 0; in a table, the train seed.
    """

    init: int = check.field(0, check.integer(high=_LARGEST_SEED))
    train: int = check.field(0, check.integer(high=_LARGEST_SEED))
    mask: int = check.field(0, check.integer(high=_LARGEST_SEED))


@dataclasses.dataclass(frozen=True, kw_only=True)
class PruningConfig(check.Settings):
    """How sparse, and in how many steps.

    Attributes
    ----------
    levels : int
        Levels of training, the first of them dense. Default 11.
    ratio : float
        Fraction of the prunable weights that each further level keeps, between 0 and 1. Default 0.7.
    densities : tuple of float, optional
        The density of every level, from 1 strictly down; overrides `levels` and `ratio`, and in a
        file stands in their place. Default none.
    prune_biases : bool
        Whether biases may be pruned too. Default false.
    """

    EXCLUSIVE = PRUNING_RIVALS

    levels: int = check.field(11, check.integer(low=1, high=1_000))
    ratio: float = check.field(0.7, check.number(above=0.0, below=1.0))
    densities: tuple[float, ...] | None = check.field(None, check.optional(check.densities))
    prune_biases: bool = check.field(False, check.boolean)

    @property
    def schedule(self) -> tuple[float, ...]:
        """The density of every level: ``ratio**level``, or as listed in `densities`."""
        return self.densities or tuple(self.ratio**level for level in range(self.levels))

    def settle(self) -> None:
        """Let listed densities decide the number of levels; refuse densities that vanish."""
        if self.densities is not None:
            object.__setattr__(self, "levels", len(self.densities))
            object.__setattr__(self, "ratio", type(self).ratio)
        elif self.schedule[-1] < _LEAST_DENSITY:
            message = f"expected a last density ≥ {_LEAST_DENSITY:g}, got {self.schedule[-1]:.3g}"
            raise check.Invalid([(".levels", f"{message} (ratio {self.ratio:g} to the {self.levels - 1})")])


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

    strategy: str = check.field("snes", check.one_of("snes", "sep-cma-es"))
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

    optimizer: str = check.field("adam", check.one_of("sgd", "momentum", "adam", "adamw"))
    learning_rate: float = check.field(3e-3, check.number(above=0.0))
    momentum: float = check.field(0.9, check.number(low=0.0, below=1.0))
    weight_decay: float = check.field(0.0, check.number(low=0.0))
    schedule: str = check.field("constant", check.one_of("constant", "cosine", "linear"))
    warmup_steps: int = check.field(0, check.integer(low=0))
    epochs: int = check.field(20, check.integer(low=1))
    batch_size: int = check.field(128, check.integer(low=1))
    eval_every_epochs: float = check.field(1.0, check.number(above=0.0))


@dataclasses.dataclass(frozen=True, kw_only=True)
class RuntimeConfig(check.Settings):
    """How a run is carried out; none of it changes the numbers, so it may change on resuming.

    Attributes
    ----------
    chunk_seconds : float
        Seconds of a compiled chunk: how soon a stop is heard. Above 0, at most 60. Default 1.
    save_every_seconds : float
        Seconds between snapshots within a level. Default 60.
    """

    chunk_seconds: float = check.field(1.0, check.number(above=0.0, high=60.0))
    save_every_seconds: float = check.field(60.0, check.number(above=0.0))


def _replicate(value: Any) -> SeedsConfig:
    """Check one item of `seeds`: a number, or a table that names at least init and train."""
    if isinstance(value, Mapping):
        missing = [key for key in ("init", "train") if key not in value]
        if missing:
            raise check.invalid(f"a table with {' and '.join(missing)}", dict(value))
        return check.build(SeedsConfig, {"mask": value["train"], **value})
    if isinstance(value, SeedsConfig):
        return value
    try:
        seed = check.integer(high=_LARGEST_SEED)(value)
    except check.Invalid:
        raise check.invalid(
            f"a seed from 0 to {_LARGEST_SEED} or a table of init, train and mask", value
        ) from None
    return SeedsConfig(init=seed, train=seed, mask=seed)


_seeds = check.distinct(
    check.each(_replicate, "a list of seeds such as [0, 1]"),
    key=lambda seeds: seeds.train,
    why="train seeds name the folders",
)
_methods = check.distinct(
    check.each(check.one_of(*_METHODS, refused=_REFUSED), "a list of " + ", ".join(_METHODS))
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunConfig(check.Settings):
    """A whole run.

    Attributes
    ----------
    name : str
        What reports call it, and the default name of its folder. Default ``"run"``.
    task : str
        ``"digits"`` (default), ``"mnist"``, ``"fashion_mnist"``, ``"kmnist"``, or an installed one.
    task_options : dict
        Options of the task, plain values. Default none.
    network : dict
        ``{kind = "mlp", widths = [32]}`` (default), ``{kind = "lenet-300-100"}``,
        ``{kind = "paper-cnn"}``, or what the task takes.
    methods : tuple of str
        ``<trainer>-<score>``: trainer ``es`` or ``gd``, score ``snr``, ``magnitude`` or ``random``;
        not ``gd-snr``. Default es-snr, es-random, gd-magnitude.
    seeds : tuple of SeedsConfig
        One a replicate, with different train seeds; a number s is short for
        init = train = mask = s. Default 0 and 1.
    pruning, evolution, gradient, runtime : settings
        The sections.
    """

    name: str = check.field("run", check.name)
    task: str = check.field("digits", check.text)
    task_options: Mapping[str, Any] = check.field({}, check.table)
    network: Mapping[str, Any] = check.field({"kind": "mlp", "widths": [32]}, check.network)
    methods: tuple[str, ...] = check.field(("es-snr", "es-random", "gd-magnitude"), _methods)
    seeds: tuple[SeedsConfig, ...] = check.field(
        (SeedsConfig(), SeedsConfig(init=1, train=1, mask=1)), _seeds
    )
    pruning: PruningConfig = dataclasses.field(
        default_factory=PruningConfig, metadata=check.section(PruningConfig)
    )
    evolution: EvolutionConfig = dataclasses.field(
        default_factory=EvolutionConfig, metadata=check.section(EvolutionConfig)
    )
    gradient: GradientConfig = dataclasses.field(
        default_factory=GradientConfig, metadata=check.section(GradientConfig)
    )
    runtime: RuntimeConfig = dataclasses.field(
        default_factory=RuntimeConfig, metadata=check.section(RuntimeConfig)
    )


def from_dict(mapping: Mapping[str, Any], *, where: str = "configuration") -> RunConfig:
    """Return the configuration of nested plain values; `where` stands in messages.

    Raises
    ------
    ConfigurationError
        Listing every unknown key, wrong type, value out of range and conflict.
    """
    try:
        return check.build(RunConfig, mapping)
    except check.Invalid as error:
        known = [*check.known_keys(RunConfig), *check.known_keys(SeedsConfig, "seeds.")]
        raise check.refusal(where, error, known) from None


def to_dict(config: RunConfig) -> dict[str, Any]:
    """Return the configuration as plain JSON types: what `from_dict` turns into an equal one.

    Every key is present, but of `pruning` only the levels and ratio or the densities.
    """
    result: dict[str, Any] = check.plain(dataclasses.asdict(config))
    unused = ("densities",) if config.pruning.densities is None else ("levels", "ratio")
    for key in unused:
        del result["pruning"][key]
    return result


def to_toml(config: RunConfig) -> str:
    """Return the configuration as TOML that `resolve` reads back."""
    return dump_toml(to_dict(config))


def resolve(source: str | Path, *, extra: Path | None = None, overrides: Sequence[str] = ()) -> RunConfig:
    """Return the configuration that `source` names, with changes.

    Parameters
    ----------
    source : str or path
        A preset, a ``.toml`` file (which may say ``extends = "preset"``), or a checkpoint or result
        of ours (``.h5``), whose stored configuration is used.
    extra : path, optional
        A TOML file whose values win over those of `source`.
    overrides : sequence of str
        ``key=value`` with dotted keys; values are TOML, bare words are strings.

    Returns
    -------
    RunConfig
        Complete. Without a name of its own it is called like its preset or file.

    Raises
    ------
    ConfigurationError
        If there is no such preset or file, it is not TOML, or the result is not valid.
    CheckpointError
        If `source` is an HDF5 file that cannot be read.

    Notes
    -----
    A later layer that changes the task drops the options of the former task; one that changes the
    kind of network replaces the network; one that gives densities replaces levels and ratio.
    """
    values = layered(to_dict(RunConfig()), source_values(source))
    if extra is not None:
        values = layered(values, extra_values(extra))
    return from_dict(layered(values, override_values(overrides)), where=str(source))


def changed_keys(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Return the dotted keys at which two configurations (as `to_dict` gives them) differ."""
    keys = []
    for key in sorted({*old, *new}):
        a, b = old.get(key), new.get(key)
        if isinstance(a, Mapping) and isinstance(b, Mapping):
            keys += [f"{key}.{inner}" for inner in changed_keys(a, b)]
        elif a != b:
            keys.append(key)
    return keys
