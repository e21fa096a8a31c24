"""The configuration of a run: frozen dataclasses, TOML, and every error at once. No jax.

Values are taken in the order defaults, preset or file, ``--config``, ``--set``; later ones win.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from trainers.config import validate as check
from trainers.config.former_versions import FORMAT
from trainers.config.methods import (
    Evaluation,
    Method,
    method_tables,
    resolve_method,
    unresolvable,
)
from trainers.config.optimisation import EvolutionConfig, GradientConfig
from trainers.config.policy_gradient import PPOConfig
from trainers.config.pruning_config import PruningConfig, SeedsConfig, replicates
from trainers.config.sources import (
    expanded,
    extra_values,
    layered,
    override_values,
    preset_names,
    source_values,
)
from trainers.config.stored_names import as_stored
from trainers.config.task_table import KNOWN_KEYS, default_network, network, task_faults
from trainers.config.toml_text import dump_toml

__all__ = [
    "EvolutionConfig",
    "GradientConfig",
    "PPOConfig",
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


@dataclasses.dataclass(frozen=True, kw_only=True)
class RuntimeConfig(check.Settings):
    """How a run is carried out; none of it changes what is computed, so it may change on resuming.

    What decides which products are made, `together` and `evaluation`, changes their rounding: results
    are bit-identical where both are the same.

    Attributes
    ----------
    chunk_seconds : float
        Seconds of a compiled chunk: how soon a stop is heard. Above 0, at most 60. Default 1.
    save_every_seconds : float
        Seconds between snapshots within a level. Default 60.
    trajectory_every : int
        Steps between checkpoints that are kept within a level, ``level-<kk>.step-<n>.h5``; 0, the
        default, keeps none. Levels that are finished already get none.
    together : str
        Which replicates train as one batch: ``"seeds"`` (those of a method), ``"methods"`` (also
        methods whose trainer is the same) or ``"auto"`` (default): methods on a GPU, seeds on a CPU.
    evaluation : str
        How a population is evaluated: ``"mapped"`` (member after member, in the cache), ``"batched"``
        (products batched over members), ``"plain"`` (a vmap over the loss), or ``"auto"`` (default):
        mapped on a CPU, batched elsewhere.
    evaluation_mib : int
        MiB that the batched evaluation may hold at a time, all replicates together; members are taken in
        tiles that fit, at least one. 0, the default: an eighth of the device's memory.
    """

    chunk_seconds: float = check.field(1.0, check.number(above=0.0, high=60.0))
    save_every_seconds: float = check.field(60.0, check.number(above=0.0))
    trajectory_every: int = check.field(0, check.integer(low=0))
    together: str = check.field("auto", check.one_of("auto", "seeds", "methods"))
    evaluation: str = check.field("auto", check.one_of("auto", "mapped", "batched", "plain"))
    evaluation_mib: int = check.field(0, check.integer(low=0))


_methods = check.distinct(check.each(check.name, "a list of methods such as es-snr and gd-magnitude"))


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunConfig(check.Settings):
    """A whole run.

    Attributes
    ----------
    format : int
        Which version of these keys is meant: 2. Stored configurations without it are read as format 1,
        in which the profile "paper" did not look at ``pruning.snr_denominator``.
    name : str
        What reports call it, and the default name of its folder. Default ``"run"``.
    task : str
        ``"digits"`` (default), ``"mnist"``, ``"fashion_mnist"``, ``"kmnist"``, a control task of
        `trainers.config.control_table`, or an installed one.
    task_options : dict
        Options of the task, plain values. Default none.
    network : dict
        ``{kind = "mlp", widths = [32]}`` (default), ``{kind = "lenet-300-100"}``,
        ``{kind = "paper-cnn"}``, or what the task takes. Of control tasks ``{kind = "policy",
        widths = [32, 32]}`` (default; tanh layers), and where observations are images also
        ``{kind = "policy-cnn", channels = 8, widths = [32]}``.
    methods : tuple of str
        ``<algorithm>-<score>``, or names of tables in `method`; see `trainers.config.methods`. In a file,
        ``matrix = {algorithms = […], scores = […]}`` can stand in their place and means every pair.
        Default es-snr, es-random, gd-magnitude.
    method : dict
        What single methods have of their own, by name; see `trainers.config.methods.MethodTable`.
    seeds : tuple of SeedsConfig
        One per replicate, with different train seeds; a number s is short for
        init = train = mask = s. Default 0 and 1.
    pruning, evolution, gradient, ppo, runtime : settings
        The sections.
    """

    format: int = check.field(FORMAT, check.integer(low=FORMAT, high=FORMAT))
    name: str = check.field("run", check.name)
    task: str = check.field("digits", check.text)
    task_options: Mapping[str, Any] = check.field({}, check.table)
    network: Mapping[str, Any] = check.field({"kind": "mlp", "widths": [32]}, network)
    methods: tuple[str, ...] = check.field(("es-snr", "es-random", "gd-magnitude"), _methods)
    method: Mapping[str, Any] = check.field({}, method_tables)
    seeds: tuple[SeedsConfig, ...] = check.field(
        (SeedsConfig(), SeedsConfig(init=1, train=1, mask=1)), replicates
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
    ppo: PPOConfig = dataclasses.field(default_factory=PPOConfig, metadata=check.section(PPOConfig))
    runtime: RuntimeConfig = dataclasses.field(
        default_factory=RuntimeConfig, metadata=check.section(RuntimeConfig)
    )

    @classmethod
    def survey(cls, values: Mapping[str, Any]) -> list[check.Fault]:
        """Return the faults of incomplete method names."""
        return unresolvable(values.get("methods"), values.get("method"))

    def settle(self) -> None:
        """Refuse methods that are incomplete, contradict themselves, or take tickets of a later one."""
        faults: list[check.Fault] = []
        known: dict[str, Method] = {}
        for index, name in enumerate(self.methods):
            try:
                known[name] = self._resolve(name)
            except check.Invalid as error:
                place = f".method.{name}" if name in self.method else f".methods[{index}]"
                faults += [(f"{place}{at}", message) for at, message in error.faults]
                continue
            source = known[name].source
            if source is not None and source.run is None and source.method not in list(known)[:-1]:
                wanted = "a method that stands before it in methods, or FOLDER:NAME"
                faults.append((f".method.{name}.source", f"expected {wanted}, got {source.method!r}"))
        unused = sorted(set(self.method) - set(self.methods))
        faults += [(f".method.{name}", "is not in methods") for name in unused]
        if faults:
            raise check.Invalid(faults)

    def _resolve(self, name: str) -> Method:
        return resolve_method(
            name,
            self.method.get(name),
            pruning=self.pruning,
            evolution=self.evolution,
            gradient=self.gradient,
            ppo=self.ppo,
            evaluation=Evaluation(form=self.runtime.evaluation, memory_mib=self.runtime.evaluation_mib),
        )

    def resolved(self, name: str) -> Method:
        """Return a method of `methods` with all its settings."""
        return self._resolve(name)


def from_dict(
    mapping: Mapping[str, Any], *, where: str = "configuration", own_problem: bool = True
) -> RunConfig:
    """Return the configuration of nested plain values.

    Parameters
    ----------
    mapping : mapping
        The values; what is left out has its default.
    where : str
        What messages call it.
    own_problem : bool
        Whether `task`, `task_options` and `network` only say what a run is, or was, about. If not,
        they must name an installed task, and what that task takes.

    Raises
    ------
    ConfigurationError
        Listing every unknown key, wrong type, value out of range and conflict.
    """
    values = expanded(mapping)
    if "network" not in values and isinstance(values.get("task"), str):
        values["network"] = default_network(values["task"])
    faults = [] if own_problem else task_faults(values)
    try:
        config = check.build(RunConfig, values)
    except check.Invalid as error:
        told = {at for at, _ in error.faults}
        faults = [*error.faults, *(fault for fault in faults if fault[0] not in told)]
    if faults:
        known = [*check.known_keys(RunConfig), *check.known_keys(SeedsConfig, "seeds."), *KNOWN_KEYS]
        raise check.refusal(where, check.Invalid(faults), known)
    return config


def to_dict(config: RunConfig) -> dict[str, Any]:
    """Return the configuration as plain JSON types: what `from_dict` turns into an equal one.

    Every key is present, but of `pruning` only the levels and ratio or the densities.
    """
    result: dict[str, Any] = check.plain(dataclasses.asdict(config))
    unused = ("densities",) if config.pruning.densities is None else ("levels", "ratio")
    for key in unused:
        del result["pruning"][key]
    return result


def to_toml(config: RunConfig, *, folder: Path | None = None) -> str:
    """Return the configuration as TOML that `resolve` reads back.

    Parameters
    ----------
    config : RunConfig
        The configuration.
    folder : path, optional
        Of the run that stores it, for its ``run.toml``: names of files are relative to it then.
    """
    values = to_dict(config)
    return dump_toml(values if folder is None else as_stored(values, folder))


def resolve(
    source: str | Path,
    *,
    extra: Path | None = None,
    overrides: Sequence[str] = (),
    own_problem: bool = False,
) -> RunConfig:
    """Return the configuration that `source` names, with changes.

    Parameters
    ----------
    source : str or path
        A preset, a ``.toml`` file (which may say ``extends = "preset"``), or a checkpoint or result
        of landscape (``.h5``), whose stored configuration is used.
    extra : path, optional
        A TOML file whose values win over those of `source`.
    overrides : sequence of str
        ``key=value`` with dotted keys; values are TOML, bare words are strings.
    own_problem : bool
        Whether you bring your own Problem, so that the task need not be an installed one.

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
    values = layered(values, override_values(overrides))
    return from_dict(values, where=str(source), own_problem=own_problem)


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
