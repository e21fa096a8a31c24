"""The configuration of a run: frozen dataclasses, TOML, and every error at once. No jax.

Values are taken in the order defaults, preset or file, ``--config``, ``--set``; later ones win.
"""

from __future__ import annotations

import dataclasses
import difflib
import tomllib
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from landscape.errors import ConfigurationError
from trainers import _validate as check
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


@dataclasses.dataclass(frozen=True, kw_only=True)
class SeedsConfig:
    """One replicate.

    Attributes
    ----------
    init : int
        Seed of the initialisation.
    train : int
        Seed of minibatches and search noise; names the folder ``seed-<train>``.
    mask : int
        Seed of random pruning.
    """

    init: int = check.field(0, check.integer(low=0))
    train: int = check.field(0, check.integer(low=0))
    mask: int = check.field(0, check.integer(low=0))


@dataclasses.dataclass(frozen=True, kw_only=True)
class PruningConfig:
    """How sparse, and in how many steps.

    Attributes
    ----------
    levels : int
        Levels of training; the first is dense.
    ratio : float
        Fraction of the prunable weights that each further level keeps.
    densities : list of float, optional
        Density of every level, from 1 strictly down; instead of levels and ratio.
    prune_biases : bool
        Whether biases may be pruned too.
    """

    levels: int = check.field(11, check.integer(low=1, high=1_000))
    ratio: float = check.field(0.7, check.number(above=0.0, below=1.0))
    densities: tuple[float, ...] | None = check.field(None, check.optional(check.densities))
    prune_biases: bool = check.field(False, check.boolean)

    @property
    def schedule(self) -> tuple[float, ...]:
        """Density of every level."""
        return self.densities or tuple(self.ratio**level for level in range(self.levels))


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvolutionConfig:
    """Training by an evolution strategy.

    Attributes
    ----------
    strategy : str
        ``"snes"`` or ``"sep-cma-es"``.
    population_size : int
        Members a generation, at least 2: fitness is used through its ranks.
    generations : int
        Generations a level.
    batch_size : int
        Examples in the minibatch that all members of a generation share.
    std_init : float
        Initial standard deviation of every weight.
    std_min : float
        Floor of the standard deviation.
    mean_decay : float
        The mean is multiplied by 1 − mean_decay each generation.
    temperature : float, optional
        SNES: weights softmax(−temperature·(rank/(λ−1) − ½)); without it the utilities of evosax.
    elite_ratio : float
        Sep-CMA-ES: fraction of the population that is recombined.
    eval_every : int
        Generations between evaluations on the validation split.
    """

    strategy: str = check.field("snes", check.one_of("snes", "sep-cma-es"))
    population_size: int = check.field(128, check.integer(low=2))
    generations: int = check.field(500, check.integer(low=1))
    batch_size: int = check.field(512, check.integer(low=1))
    std_init: float = check.field(0.05, check.number(above=0.0))
    std_min: float = check.field(0.0, check.number(low=0.0))
    mean_decay: float = check.field(1e-4, check.number(low=0.0, below=1.0))
    temperature: float | None = check.field(12.0, check.optional(check.number(above=0.0)))
    elite_ratio: float = check.field(0.5, check.number(above=0.0, high=1.0))
    eval_every: int = check.field(100, check.integer(low=1))


@dataclasses.dataclass(frozen=True, kw_only=True)
class GradientConfig:
    """Training by gradient descent.

    Attributes
    ----------
    optimizer : str
        ``"sgd"``, ``"momentum"``, ``"adam"`` or ``"adamw"``.
    learning_rate, momentum, weight_decay : float
        As in optax; momentum for ``"momentum"`` only.
    schedule : str
        ``"constant"``, ``"cosine"`` or ``"linear"`` (both to zero), after `warmup_steps`.
    warmup_steps : int
        Steps over which the learning rate rises linearly from zero.
    epochs : int
        Passes over the training data a level.
    batch_size : int
        Examples a step; the rest of an epoch that fills no batch is left out.
    eval_every_epochs : float
        Epochs between evaluations on the validation split.
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
class RuntimeConfig:
    """How a run is carried out; none of it changes the numbers, so it may change on resuming.

    Attributes
    ----------
    chunk_seconds : float
        Length of a compiled chunk: how soon a stop is heard.
    save_every_seconds : float
        Time between snapshots within a level.
    """

    chunk_seconds: float = check.field(1.0, check.number(above=0.0, high=60.0))
    save_every_seconds: float = check.field(60.0, check.number(above=0.0))


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunConfig:
    """A whole run.

    Attributes
    ----------
    name : str
        What reports call it.
    task : str
        A task: ``"digits"``, ``"mnist"``, ``"fashion_mnist"``, ``"kmnist"``, or an installed one.
    task_options : dict
        Options of the task.
    network : dict
        ``{kind = "mlp", widths = [32]}``, ``{kind = "lenet-300-100"}``, ``{kind = "paper-cnn"}``.
    methods : tuple of str
        ``<trainer>-<score>`` with trainer ``es`` or ``gd`` and score ``snr``, ``magnitude``, ``random``.
    seeds : tuple of SeedsConfig
        Replicates; ``seeds = [0, 1]`` is short for init = train = mask.
    pruning, evolution, gradient, runtime : dataclasses
        The sections.
    """

    name: str = check.field("run", check.text)
    task: str = check.field("digits", check.text)
    task_options: Mapping[str, Any] = check.field({}, check.mapping)
    network: Mapping[str, Any] = check.field({"kind": "mlp", "widths": [32]}, check.mapping)
    methods: tuple[str, ...] = check.field(
        ("es-snr", "es-random", "gd-magnitude"), check.methods(TRAINERS, SCORES)
    )
    seeds: tuple[SeedsConfig, ...] = check.field(
        (SeedsConfig(), SeedsConfig(init=1, train=1, mask=1)), check.anything
    )
    pruning: PruningConfig = dataclasses.field(default_factory=PruningConfig)
    evolution: EvolutionConfig = dataclasses.field(default_factory=EvolutionConfig)
    gradient: GradientConfig = dataclasses.field(default_factory=GradientConfig)
    runtime: RuntimeConfig = dataclasses.field(default_factory=RuntimeConfig)


_SECTIONS: dict[str, type[Any]] = {
    "pruning": PruningConfig,
    "evolution": EvolutionConfig,
    "gradient": GradientConfig,
    "runtime": RuntimeConfig,
}


def from_dict(mapping: Mapping[str, Any], *, where: str = "configuration") -> RunConfig:
    """Return the configuration of nested plain values.

    Raises
    ------
    ConfigurationError
        Listing every unknown key, wrong type, value out of range and conflict.
    """
    problems: list[str] = []
    plain = {key: value for key, value in mapping.items() if key not in _SECTIONS and key != "seeds"}
    values = check.fields(RunConfig, plain, "", problems, also=(*_SECTIONS, "seeds"))
    for name, cls in _SECTIONS.items():
        section = mapping.get(name, {})
        if not isinstance(section, Mapping):
            problems.append(f"{name}: expected a table, got {section!r}")
            continue
        values[name] = cls(**check.fields(cls, section, f"{name}.", problems))
    if "seeds" in mapping:
        values["seeds"] = _seeds(mapping["seeds"], problems)
    pruning = mapping.get("pruning", {})
    if isinstance(pruning, Mapping) and pruning.get("densities") is not None:
        both = [f"pruning.{key}" for key in ("levels", "ratio") if key in pruning]
        default = {"pruning.levels": pruning.get("levels"), "pruning.ratio": pruning.get("ratio")}
        both = [key for key in both if default[key] != getattr(PruningConfig(), key.split(".")[1])]
        if both:
            problems.append(f"pruning.densities and {both[0]}: give one of them")
    if problems:
        count = f"{len(problems)} problem{'s' if len(problems) > 1 else ''}"
        raise ConfigurationError(f"{where}: {count}", problems=tuple(problems))
    return RunConfig(**values)


def _seeds(value: Any, problems: list[str]) -> tuple[SeedsConfig, ...]:
    if not isinstance(value, (list, tuple)) or not value:
        problems.append(f"seeds: expected a list such as [0, 1], got {value!r}")
        return ()
    found = []
    for index, item in enumerate(value):
        if isinstance(item, int) and not isinstance(item, bool):
            item = {"init": item, "train": item, "mask": item}  # noqa: PLW2901  the shorthand
        if not isinstance(item, Mapping):
            problems.append(
                f"seeds[{index}]: expected a number or a table of init, train and mask, got {item!r}"
            )
            continue
        filled = {"mask": item.get("train", 0), **item}
        found.append(SeedsConfig(**check.fields(SeedsConfig, filled, f"seeds[{index}].", problems)))
    trains = [seeds.train for seeds in found]
    if len(set(trains)) != len(trains):
        problems.append(f"seeds: train seeds must differ, they name the folders; got {trains}")
    return tuple(found)


def to_dict(config: RunConfig) -> dict[str, Any]:
    """Return the configuration as plain JSON types, every key present."""
    result: dict[str, Any] = check.plain(dataclasses.asdict(config))
    return result


def to_toml(config: RunConfig) -> str:
    """Return the configuration as TOML that `resolve` reads back."""
    return dump_toml(to_dict(config))


def preset_names() -> list[str]:
    """Return the names of the presets in the package."""
    folder = resources.files("trainers") / "presets"
    return sorted(
        entry.name.removesuffix(".toml") for entry in folder.iterdir() if entry.name.endswith(".toml")
    )


def resolve(source: str | Path, *, extra: Path | None = None, overrides: Sequence[str] = ()) -> RunConfig:
    """Return the configuration that `source` names, with changes.

    Parameters
    ----------
    source : str or path
        A preset, a ``.toml`` file (which may say ``extends = "preset"``), or a checkpoint or result
        of ours, whose stored configuration is used.
    extra : path, optional
        A TOML file whose values win over those of `source`.
    overrides : sequence of str
        ``key=value`` with dotted keys; values are TOML, bare words are strings.

    Raises
    ------
    ConfigurationError
        If there is no such preset or file, it is not TOML, or the result is not valid.
    """
    values = _source(source)
    if extra is not None:
        values = _merged(values, _read_toml(Path(extra)))
    for override in overrides:
        values = _merged(values, _override(override))
    return from_dict(values, where=str(source))


def _source(source: str | Path) -> dict[str, Any]:
    path = Path(source).expanduser()
    if path.suffix in (".h5", ".hdf5"):
        return _stored(path)
    if path.suffix == ".toml":
        return _extended(_read_toml(path))
    return _preset(str(source))


def _stored(path: Path) -> dict[str, Any]:
    from landscape.checkpoint import load

    config = load(path).config
    if not config or "evolution" not in config:
        raise ConfigurationError(
            f"{path}: holds no configuration of a run", hint="Give a preset or a .toml file."
        )
    return dict(config)


def _preset(name: str) -> dict[str, Any]:
    names = preset_names()
    if name not in names:
        near = difflib.get_close_matches(name, names, n=3, cutoff=0.4)
        raise ConfigurationError(
            f"{name}: no such preset"
            + (", and no file ending in .toml" if "/" in name or "." in name else ""),
            expected="one of " + ", ".join(names),
            hint=f"Did you mean {' or '.join(near)}?"
            if near
            else "Name a preset, or a file ending in .toml.",
        )
    text = (resources.files("trainers") / "presets" / f"{name}.toml").read_text(encoding="utf-8")
    return _extended({"name": name, **tomllib.loads(text)})


def _extended(values: dict[str, Any]) -> dict[str, Any]:
    base = values.pop("extends", None)
    if base is None:
        return values
    if not isinstance(base, str):
        raise ConfigurationError("extends: expected the name of a preset", got=repr(base))
    return _merged(_preset(base), values)


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        with path.expanduser().open("rb") as file:
            return tomllib.load(file)
    except OSError as error:
        raise ConfigurationError(
            f"{path}: cannot be read", got=error.strerror, hint="Check the name."
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path}: not TOML", got=str(error)) from error


def _override(text: str) -> dict[str, Any]:
    key, separator, value = text.partition("=")
    if not separator or not key.strip():
        raise ConfigurationError(
            f"--set {text}: not of the form key=value", hint="For instance pruning.levels=5."
        )
    try:
        parsed = tomllib.loads(f"x = {value}")["x"]
    except tomllib.TOMLDecodeError:
        parsed = value.strip()
    nested: Any = parsed
    for part in reversed(key.strip().split(".")):
        nested = {part: nested}
    return dict(nested)


def _merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return `base` with `changes` merged into its tables; a network is replaced as a whole."""
    result = dict(base)
    for key, value in changes.items():
        old = result.get(key)
        tables = isinstance(value, Mapping) and isinstance(old, Mapping)
        replaced = key == "network" and "kind" in (value if isinstance(value, Mapping) else ())
        result[key] = _merged(old, value) if tables and not replaced else value  # type: ignore[arg-type]
    return result


def changed_keys(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Return the dotted keys at which two configurations differ."""
    keys = []
    for key in sorted({*old, *new}):
        a, b = old.get(key), new.get(key)
        if isinstance(a, Mapping) and isinstance(b, Mapping):
            keys += changed_keys(a, b, f"{prefix}{key}.")
        elif a != b:
            keys.append(f"{prefix}{key}")
    return keys
