"""Who plays: the policy of a checkpoint with the control task that it is of."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from landscape.errors import ConfigurationError, InputError
from landscape.files import Checkpoint, dump_json, load
from landscape.problem import Problem, problem_for, problem_of
from trainers.config import CONTROL
from trainers.tasks import ControlTask, load_control_task

__all__ = ["Player", "players_of"]

PyTree = Any


@dataclasses.dataclass(frozen=True)
class Player:
    """A policy: its name, its parameters, what it plays, and warnings about its file."""

    name: str
    params: PyTree
    task: ControlTask
    warnings: tuple[str, ...]


def players_of(given: Sequence[Any], problem: Any, names: Sequence[str] | None) -> list[Player]:
    """Return the players of one task.

    Parameters
    ----------
    given : sequence
        Checkpoints, paths or bare parameters.
    problem : Problem, ControlTask or None
        What all of them play; None for the task that the checkpoints name. Networks may differ then.
    names : sequence of str, optional
        What to call them.

    Raises
    ------
    InputError
        If a checkpoint or the problem is not of a control task.
    ConfigurationError
        If two checkpoints name different tasks.
    """
    read = [load(item) if isinstance(item, (str, Path)) else item for item in given]
    called = list(names) if names is not None else [_called(item, i) for i, item in enumerate(read)]
    if problem is not None:
        tasks = [_given_task(problem)] * len(read)
    else:
        _check_one_task(read, called)
        tasks = _own_tasks(read, called)
    return [_player(*each) for each in zip(read, called, tasks, strict=True)]


def _player(item: Any, name: str, task: ControlTask) -> Player:
    if isinstance(item, Checkpoint):
        return Player(name, item.params, task, tuple(item.warnings))
    return Player(name, item, task, ())


def _called(item: Any, place: int) -> str:
    path = item.path if isinstance(item, Checkpoint) else None
    return str(path) if path is not None else f"policy {place + 1}"


def _described(item: Any) -> Mapping[str, Any] | None:
    """Return the task that a checkpoint names, or None."""
    found = (item.info or {}).get("task") if isinstance(item, Checkpoint) else None
    return found if isinstance(found, Mapping) and "name" in found else None


def _check_one_task(read: Sequence[Any], called: Sequence[str]) -> None:
    """Refuse checkpoints of images before their data are read, and two of different tasks."""
    tasks: dict[str, str] = {}
    for item, name in zip(read, called, strict=True):
        found = _described(item)
        if found is not None:
            if found["name"] not in CONTROL:
                raise _no_episodes(f"{name}: its task", found["name"])
            tasks.setdefault(dump_json(found), name)
    if len(tasks) > 1:
        first, second = tasks.values()
        raise ConfigurationError(
            f"{first} and {second} name different tasks",
            expected="policies of one task with the same options, or problem=",
            hint="Play them apart, or say what both play: --problem file.py:function.",
        )


def _own_tasks(read: Sequence[Any], called: Sequence[str]) -> list[ControlTask]:
    """Return the task of each checkpoint; equal networks share one, whose programs are compiled once."""
    known: dict[str, ControlTask] = {}
    tasks = []
    for item, name in zip(read, called, strict=True):
        if not isinstance(item, Checkpoint):
            problem_for(None, item)  # refuses bare parameters by what they lack
        described = problem_of(item).task or {}  # refuses a description that does not fit the arrays
        key = dump_json(described)
        if key not in known:
            known[key] = _task(described, f"{name}: its task")
        tasks.append(known[key])
    return tasks


def _given_task(problem: Any) -> ControlTask:
    if isinstance(problem, ControlTask):
        return problem
    described = problem.task if isinstance(problem, Problem) else None
    return _task(described or {}, "problem: its task")


def _task(described: Mapping[str, Any], what: str) -> ControlTask:
    name = described.get("name")
    if name not in CONTROL:
        raise _no_episodes(what, name)
    return load_control_task(name, described.get("network"), **dict(described.get("options") or {}))


def _no_episodes(what: str, name: Any) -> InputError:
    return InputError(
        f"{what} has no episodes to play",
        expected=f"a control task: {', '.join(CONTROL)}",
        got="none of this package" if name is None else repr(name),
        hint="For the loss of any network: landscape barrier, surface, curvature or flatness.",
    )
