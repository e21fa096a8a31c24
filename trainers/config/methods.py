"""What a method is: a trainer with its settings, and where its tickets come from. No jax.

A method has a name. ``<algorithm>-<score>`` is enough where the defaults hold: the
algorithm is ``es``, ``gd`` or ``ppo`` (what ``evolution``, ``gradient`` and ``ppo`` describe), a strategy or
an optimiser; the score decides what is pruned. A table ``[method.NAME]`` gives what a name cannot: settings
of its own, another scope, a control, or tickets taken from another method or run.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from landscape.errors import nearest
from trainers.config import validate as check
from trainers.config.optimisation import OPTIMIZERS, EvolutionConfig, GradientConfig, without_snr
from trainers.config.policy_gradient import PPOConfig
from trainers.config.pruning_config import PruningConfig
from trainers.config.sources import layered
from trainers.config.strategy_table import FACTS, REFUSED

__all__ = [
    "CONTROLS",
    "SCORES",
    "SECTIONS",
    "TRAINERS",
    "Evaluation",
    "Method",
    "MethodTable",
    "Source",
    "resolve_method",
    "unresolvable",
]

SCORES = ("snr", "magnitude", "movement", "snip", "grasp", "synflow", "random")
CONTROLS = (
    "none",
    "own-init",
    "reinitialise",
    "permute-weights",
    "permute-mask",
    "layer-random",
    "connected-random",
)
TRAINERS = {
    "es": "es",
    "gd": "gd",
    "ppo": "ppo",
    **dict.fromkeys(FACTS, "es"),
    **dict.fromkeys(OPTIMIZERS, "gd"),
}

# The section of a configuration that describes each trainer.
SECTIONS = {"es": "evolution", "gd": "gradient", "ppo": "ppo"}


def _score(value: Any) -> str:
    """Check for the name of a score, or ``file.py:function`` or ``package.module:function``."""
    if isinstance(value, str) and ":" in value and value.isprintable():
        return value
    return str(check.one_of(*SCORES)(value))


@dataclasses.dataclass(frozen=True, kw_only=True)
class MethodTable(check.Settings):
    """The keys of a table ``[method.NAME]``.

    Attributes
    ----------
    algorithm : str, optional
        ``es``, ``gd``, ``ppo``, a strategy or an optimiser. Default what the name begins with.
    score : str, optional
        What is pruned by, or ``file.py:function`` of your own. Default what the name ends with.
    source : str, optional
        Take the tickets of another method (``NAME``) or of a method of another run (``FOLDER:NAME``)
        instead of pruning. Default none.
    control : str
        What is done to a source's tickets, to see what matters in them. Default ``"none"``.
    pruning, evolution, gradient, ppo : dict
        Keys of those sections that differ for this method.
    note : str, optional
        Where settings come from, for the reader. Default none.
    """

    algorithm: str | None = check.field(None, check.optional(check.one_of(*TRAINERS)))
    score: str | None = check.field(None, check.optional(_score))
    source: str | None = check.field(None, check.optional(check.text))
    control: str = check.field("none", check.one_of(*CONTROLS))
    pruning: Mapping[str, Any] = check.field({}, check.table)
    evolution: Mapping[str, Any] = check.field({}, check.table)
    gradient: Mapping[str, Any] = check.field({}, check.table)
    ppo: Mapping[str, Any] = check.field({}, check.table)
    note: str | None = check.field(None, check.optional(check.text))

    def settle(self) -> None:
        """Refuse what contradicts itself."""
        if self.control != "none" and self.source is None:
            raise check.Invalid([(".control", "expected a source, whose tickets it changes, got none")])
        if self.source is not None and self.score is not None:
            raise check.Invalid([(".score", "conflicts with source: its tickets are pruned already")])


def method_tables(value: Any) -> dict[str, Any]:
    """Check ``[method.…]``; return the tables with only what was given."""
    found: dict[str, Any] = {}
    faults: list[check.Fault] = []
    for key, item in check.mapping(value).items():
        try:
            check.build(MethodTable, item)
            found[key] = check.table(item)
        except check.Invalid as error:
            faults += [(f".{key}{at}", message) for at, message in error.faults]
    if faults:
        raise check.Invalid(faults)
    return found


@dataclasses.dataclass(frozen=True, kw_only=True)
class Source:
    """Where tickets are taken from: a method of this run (`run` is None) or of another."""

    run: Path | None
    method: str

    @classmethod
    def parse(cls, text: str) -> Source:
        """Return the source that ``NAME`` or ``FOLDER:NAME`` means."""
        folder, separator, method = text.rpartition(":")
        return cls(run=Path(folder).expanduser() if separator else None, method=method)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Evaluation:
    """How the fitness of a population is evaluated.

    Attributes
    ----------
    form : str
        ``runtime.evaluation``.
    memory_mib : int
        ``runtime.evaluation_mib``.
    precision : str
        ``evolution.precision``.
    """

    form: str = "auto"
    memory_mib: int = 0
    precision: str = "float32"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Method:
    """A method with all its settings.

    Attributes
    ----------
    name : str
        Also the name of its folder.
    trainer : str
        ``"es"``, ``"gd"`` or ``"ppo"``.
    score : str or None
        What is pruned by; None where tickets come from a `source`.
    source : Source or None
        Whose tickets are trained.
    control : str
        What is done to them first.
    pruning, evolution, gradient, ppo : settings
        Those of the run with the method's own changes.
    evaluation : Evaluation
        How its populations are evaluated.
    """

    name: str
    trainer: str
    score: str | None
    source: Source | None
    control: str
    pruning: PruningConfig
    evolution: EvolutionConfig
    gradient: GradientConfig
    ppo: PPOConfig
    evaluation: Evaluation

    @property
    def algorithm(self) -> str:
        """The strategy, the optimiser or ``"ppo"``."""
        return {"es": self.evolution.strategy, "gd": self.gradient.optimizer}.get(self.trainer, self.trainer)

    @property
    def starts_dense(self) -> bool:
        """Whether its first level is the whole network from its own initialisation.

        All methods of one trainer for which it is share that level.
        """
        changes_start = self.control in ("reinitialise", "permute-weights")
        return self.source is None or (self.source.run is None and not changes_start)

    @property
    def training(self) -> EvolutionConfig | GradientConfig | PPOConfig:
        """The settings of its trainer; methods that share them share one compiled program."""
        settings: EvolutionConfig | GradientConfig | PPOConfig = getattr(self, SECTIONS[self.trainer])
        return settings


def snr_denominator(method: Method) -> str:
    """Return what a method's snr divides by: as asked for, or as the strategy's profile has it."""
    asked = method.pruning.snr_denominator
    if asked != "auto":
        return asked
    is_paper = method.trainer == "es" and method.evolution.profile == "paper"
    return "variance" if is_paper and method.evolution.strategy == "sep-cma-es" else "std"


def split_name(name: str) -> tuple[str, str] | None:
    """Return (algorithm, score) of ``<algorithm>-<score>``, None for another name."""
    algorithm, _, score = name.rpartition("-")
    return (algorithm, score) if algorithm in TRAINERS and score in SCORES else None


def unresolvable(names: Any, tables: Any) -> list[check.Fault]:
    """Return the faults of incomplete method names that have no table."""
    listed = names if isinstance(names, (list, tuple)) else ()
    described = tables if isinstance(tables, Mapping) else {}
    return [
        (f".methods[{index}]", _incomplete(name, None))
        for index, name in enumerate(listed)
        if isinstance(name, str) and name not in described and split_name(name) is None
    ]


def resolve_method(
    name: str,
    table: Mapping[str, Any] | None,
    *,
    pruning: PruningConfig,
    evolution: EvolutionConfig,
    gradient: GradientConfig,
    ppo: PPOConfig | None = None,
    evaluation: Evaluation | None = None,
) -> Method:
    """Return the method called `name`.

    Raises
    ------
    Invalid
        If the name is incomplete and no table completes it, or its settings are invalid.
    """
    given = check.build(MethodTable, table or {})
    parts = split_name(name)
    algorithm = given.algorithm or (parts[0] if parts else None)
    score = given.score or (parts[1] if parts and given.source is None else None)
    if algorithm is None or (score is None and given.source is None):
        raise check.Invalid([("", _incomplete(name, algorithm))])
    trainer = TRAINERS[algorithm]
    chosen = {
        "pruning": _changed(pruning, given.pruning, "pruning"),
        "evolution": _algorithm(evolution, algorithm, given.evolution) if trainer == "es" else evolution,
        "gradient": _algorithm(gradient, algorithm, given.gradient) if trainer == "gd" else gradient,
        "ppo": _changed(ppo or PPOConfig(), given.ppo if trainer == "ppo" else {}, "ppo"),
    }
    method = Method(
        name=check.name(name),
        trainer=trainer,
        score=score,
        source=None if given.source is None else Source.parse(given.source),
        control=given.control,
        evaluation=dataclasses.replace(evaluation or Evaluation(), precision=chosen["evolution"].precision),
        **chosen,
    )
    reason = without_snr(method.algorithm) if score == "snr" else None
    if reason is not None:
        raise check.Invalid([("", f"{name}: no signal-to-noise score: {reason}")])
    return method


def _incomplete(name: str, algorithm: str | None) -> str:
    complete = [f"{first}-{last}" for first in TRAINERS for last in SCORES]
    refused = next((word for word in REFUSED if name.startswith(f"{word}-")), None)
    if refused is not None:
        return f"{refused} is not there: {REFUSED[refused]}"
    near = nearest(name, complete)
    advice = f" (did you mean {near}?)" if near else ""
    wanted = "algorithm and score" if algorithm is None else "score or source"
    return (
        f"expected <algorithm>-<score>, or a table [method.{name}] with {wanted}{advice}, got {name!r}; "
        f"algorithms are {', '.join(TRAINERS)}; scores are {', '.join(SCORES)}"
    )


def _changed(settings: Any, changes: Mapping[str, Any], section: str) -> Any:
    """Return settings with some keys replaced; faults are named by section."""
    if not changes:
        return settings
    base = {section: {item.name: getattr(settings, item.name) for item in dataclasses.fields(settings)}}
    return _built(type(settings), layered(base, {section: changes})[section], section)


def _algorithm(settings: Any, algorithm: str, changes: Mapping[str, Any]) -> Any:
    """Return settings for an algorithm: those of the section, without what only its own one uses."""
    section, key = ("evolution", "strategy") if algorithm in FACTS else ("gradient", "optimizer")
    if algorithm in ("es", "gd"):
        return _changed(settings, changes, "evolution" if algorithm == "es" else "gradient")
    return _changed(settings, {key: algorithm, **changes}, section)


def _built(cls: type[Any], values: Mapping[str, Any], section: str) -> Any:
    try:
        return check.build(cls, values)
    except check.Invalid as error:
        raise check.Invalid([(f".{section}{at}", message) for at, message in error.faults]) from None
