"""The configuration of a run: frozen dataclasses, TOML, and every error at once. No jax.

Values are taken in the order defaults, preset or file, ``--config``, ``--set``; later ones win.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from trainers import _validate as check
from trainers._optimisation import EvolutionConfig, GradientConfig
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
