"""From a name to a Problem: tasks named in checkpoints, and functions named by the user."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from landscape._functions import load_function
from landscape.errors import InputError

if TYPE_CHECKING:
    from landscape.checkpoint import Checkpoint
    from landscape.problem import Problem

__all__ = ["load_problem", "load_trainable", "problem_for", "problem_of", "task_names"]

GROUP = "landscape.tasks"


def task_names() -> list[str]:
    """Return the names of the installed tasks."""
    return sorted(entry.name for entry in importlib.metadata.entry_points(group=GROUP))


def problem_of(checkpoint: Checkpoint) -> Problem:
    """Rebuild the Problem that a checkpoint was trained on.

    Only tasks that are installed (entry points of the group ``landscape.tasks``) can be named; a
    checkpoint never says what code to run.

    Raises
    ------
    InputError
        If the checkpoint names no task, or one that is not installed.
    """
    info = checkpoint.info or {}
    task, network = info.get("task"), info.get("network")
    where = str(checkpoint.path) if checkpoint.path else "the checkpoint"
    if not isinstance(task, Mapping) or "name" not in task:
        raise InputError(
            f"{where}: names no task, so its loss and data are unknown",
            hint="Say what to evaluate: --problem file.py:function, or problem=landscape.Problem(…).",
        )
    name = str(task["name"])
    entries = {entry.name: entry for entry in importlib.metadata.entry_points(group=GROUP)}
    if name not in entries:
        raise InputError(
            f"{where}: its task {name!r} is not installed",
            expected="one of " + ", ".join(sorted(entries)),
            hint="Install the package that provides the task, or give --problem file.py:function.",
        )
    build = entries[name].load()
    problem: Problem = build(network=network, **dict(task.get("options") or {}))
    return problem


def problem_for(problem: Problem | None, given: Any) -> Problem:
    """Return `problem`, or where it is None the task that `given` (a checkpoint or its path) names.

    Raises
    ------
    InputError
        If there is neither.
    """
    from landscape.checkpoint import Checkpoint, load

    if problem is not None:
        return problem
    if isinstance(given, (str, Path)):
        given = load(given)
    if isinstance(given, Checkpoint):
        return problem_of(given)
    raise InputError(
        "problem: not given, and bare parameters name no task",
        expected="a landscape.Problem, or a checkpoint that names its task",
    )


def load_problem(spec: str) -> Problem:
    """Call the function that ``package.module:function`` or ``path/file.py:function`` names.

    The function may return a Problem, or what training takes: a tuple of which it is the first item.

    The working folder is searched last, after every installed package, so that a file that lies
    there by chance never shadows one.

    Raises
    ------
    ConfigurationError
        If the text is not of that form, or the file, module or function is not there.
    InputError
        If the function does not return a `landscape.Problem`.
    """
    from landscape.problem import Problem

    found = load_function(spec, option="--problem")()
    problem = found[0] if isinstance(found, tuple) and len(found) in (2, 3) else found
    if not isinstance(problem, Problem):
        raise InputError(
            f"--problem {spec}: did not return a Problem",
            expected="landscape.Problem",
            got=type(found).__name__,
            hint="Return landscape.Problem(loss, train=…) from the function.",
        )
    return problem


def load_trainable(spec: str) -> tuple[Problem, Callable[[int], Any], Any]:
    """Call the function that `spec` names, which must return a problem with ``init(seed) -> params``.

    A third item may say which layers the network is a chain of; it is None where there is none.

    Raises
    ------
    ConfigurationError
        As `load_problem`.
    InputError
        If the function returns something else.
    """
    from landscape.problem import Problem

    found = load_function(spec, option="--problem")()
    parts = found if isinstance(found, tuple) and len(found) in (2, 3) else (found, None)
    if not isinstance(parts[0], Problem) or not callable(parts[1]):
        raise InputError(
            f"--problem {spec}: cannot be trained",
            expected="a function that returns (landscape.Problem, init[, chain]) with init(seed) -> params",
            got=" and ".join(type(part).__name__ for part in parts),
            hint="An analysis needs the Problem alone; training also needs to know where to start.",
        )
    return parts[0], parts[1], parts[2] if len(parts) == 3 else None
