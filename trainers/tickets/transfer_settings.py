"""The settings with which the target of a transfer trains. No jax."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from landscape.errors import ConfigurationError
from trainers.config import (
    AUTO,
    CONTROL,
    PAPER_PPO_TASKS,
    PARTIAL_KEYS,
    SECTIONS,
    TRAINERS,
    EvolutionConfig,
    Method,
    PPOConfig,
    RunConfig,
    from_dict,
    paper_ppo,
    paper_settings,
    to_dict,
)
from trainers.runs import Run

# What a level costs: the same for all strategies of a matrix.
_BUDGET = ("population_size", "generations", "batch_size", "eval_every")


def target_settings(
    runs: Sequence[Run], target: str, *, task: str, changes: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the keys that a target's method table needs in addition to the sections of the first run.

    Parameters
    ----------
    runs : sequence of Run
        The sources.
    target : str
        What trains.
    task : str
        On what.
    changes : mapping
        Values by which the user supersedes the configuration: they win.
    """
    section = SECTIONS[TRAINERS[target]]
    wanted, note = _wanted(runs, target, task)
    before = getattr(_alone(runs[0].config, target), section)
    found, kept = dataclasses.asdict(wanted), dataclasses.asdict(before)
    differing = {key: value for key, value in found.items() if value != kept[key]}
    if "strategy" in differing:  # a change of strategy drops what only some of them use
        differing |= {key: found[key] for key in PARTIAL_KEYS if found[key] != AUTO}
    given = changes.get(section)
    differing = {key: value for key, value in differing.items() if key not in (given or {})}
    if not differing and any(_training_by(run.config, target) is not None for run in runs):
        return {}
    return {**({section: differing} if differing else {}), "note": note}


def _wanted(runs: Sequence[Run], target: str, task: str) -> tuple[Any, str]:
    """Return the settings of a target, and a sentence that says where they come from."""
    for run in runs:
        method = _training_by(run.config, target)
        if method is not None:
            return method.training, f"settings of {method.name} in {run.path.name}"
    if TRAINERS[target] == "gd":
        return _alone(runs[0].config, target).gradient, "settings of the first run's gradient section"
    if target == "ppo":
        return _of_ppo(runs[0].config, task)
    trained = [method for run in runs if (method := _training_by(run.config, "es")) is not None]
    section = trained[0].evolution if trained else runs[0].config.evolution
    if target == "es":
        return section, "settings of the first run's evolution section"
    budget = {key: getattr(section, key) for key in _BUDGET}
    if not _may_be_of_paper(task):
        return EvolutionConfig(strategy=target, **budget), f"defaults of {target}"
    try:
        return paper_settings(target, task, **budget), f"settings of the paper on {task}"
    except ConfigurationError:
        return EvolutionConfig(strategy=target, **budget), f"defaults of {target}"


def _may_be_of_paper(task: str) -> bool:
    """Return whether a name means the same task in the paper: its Reacher, for one, is brax's."""
    return task == "pendulum" or task not in CONTROL


def _of_ppo(config: RunConfig, task: str) -> tuple[PPOConfig, str]:
    """Return the settings of ppo where no source trains by it."""
    if config.ppo == PPOConfig() and task in PAPER_PPO_TASKS and _may_be_of_paper(task):
        return paper_ppo(task), f"settings of the paper on {task}"
    return config.ppo, "settings of the first run's ppo section"


def _training_by(config: RunConfig, target: str) -> Method | None:
    """Return the method of a run by whose settings a target trains, if the run has it.

    ``es``, ``gd`` and ``ppo`` mean what the sections say, where a method trains by that.
    """
    methods = [config.resolved(name) for name in config.methods]
    if target not in SECTIONS:
        return next((method for method in methods if method.algorithm == target), None)
    found = [method for method in methods if method.trainer == target]
    section = getattr(config, SECTIONS[target])
    return next((method for method in found if method.training == section), found[0] if found else None)


def _alone(config: RunConfig, target: str) -> Method:
    """Return a method of a target by the sections of a configuration."""
    name = f"{target}-random"
    return from_dict({**to_dict(config), "methods": [name], "method": {}}).resolved(name)
