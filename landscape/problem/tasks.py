"""From a name to a Problem: tasks named in checkpoints, and functions named by the user."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from landscape.errors import ConfigurationError, InputError, did_you_mean
from landscape.files import dump_json
from landscape.problem.functions import load_named
from landscape.trees import leaves_with_paths

if TYPE_CHECKING:
    from landscape.files import Checkpoint
    from landscape.problem.problem import Problem

__all__ = [
    "load_problem",
    "load_trainable",
    "problem_for",
    "problem_for_all",
    "problem_of",
    "task_names",
]

GROUP = "landscape.tasks"
# A description may list a few more things (axes, classes) than there are arrays.
_FEW = 64
# The user decides where data lie and whether they may be downloaded; a checkpoint never does.
_OURS = ("download", "folder", "network")


def task_names() -> list[str]:
    """Return the names of the installed tasks."""
    return sorted(entry.name for entry in importlib.metadata.entry_points(group=GROUP))


def problem_of(checkpoint: Checkpoint) -> Problem:
    """Rebuild the Problem that a checkpoint was trained on.

    Only tasks that are installed (entry points of the group ``landscape.tasks``) can be named; a
    checkpoint never says what code to run, nor that data be downloaded or read from some folder.

    Raises
    ------
    InputError
        If the checkpoint names no task, or one that is not installed.
    """
    task, network = _task_of(checkpoint), (checkpoint.info or {}).get("network")
    where = str(checkpoint.path) if checkpoint.path else "the checkpoint"
    if task is None:
        raise InputError(
            f"{where}: names no task, so its loss and data are unknown",
            hint="Say what to evaluate: --problem file.py:function, or problem=landscape.Problem(…).",
        )
    check_description(where, task, network, checkpoint)
    name = str(task["name"])
    entries = {entry.name: entry for entry in importlib.metadata.entry_points(group=GROUP)}
    if name not in entries:
        raise InputError(
            f"{where}: its task {name!r} is not installed",
            expected="one of " + ", ".join(sorted(entries)),
            hint=did_you_mean(name, entries)
            or "Install the package that provides the task, or give --problem file.py:function.",
        )
    build = entries[name].load()
    options = {key: value for key, value in dict(task.get("options") or {}).items() if key not in _OURS}
    problem: Problem = build(network=network, **options)
    return problem


def check_description(where: str, task: Mapping[str, Any], network: Any, checkpoint: Checkpoint) -> None:
    """Refuse a task or network of the wrong type, or larger than the arrays, before anything is built of it.

    Raises
    ------
    InputError
        Naming the field.
    """
    types = (
        ("task.name", task["name"], str),
        ("task.options", task.get("options"), (Mapping, type(None))),
        ("network", network, (Mapping, type(None))),
    )
    for field, value, wanted in types:
        if not isinstance(value, wanted):
            raise InputError(
                f"{where}: its {field} cannot be used",
                expected="a name" if wanted is str else "a table",
                got=repr(value)[:60],
                hint="Say what to evaluate: --problem file.py:function, or problem=landscape.Problem(…).",
            )
    count = len(leaves_with_paths(checkpoint.params))
    for key, value in (network or {}).items():
        if isinstance(value, (list, tuple)) and len(value) > max(count, _FEW):
            raise InputError(
                f"{where}: its network.{key} does not describe the arrays beside it",
                expected=f"at most {count} layers, as there are {count} arrays",
                got=f"{len(value):,}",
            )


def problem_for(problem: Problem | None, *given: Any) -> Problem:
    """Return `problem`, or where it is None the task of the first of `given` that names one.

    Parameters
    ----------
    problem : Problem or None
        What the caller was given.
    *given : Checkpoint, path or pytree
        The networks to measure; bare parameters name no task.

    Raises
    ------
    InputError
        If there is neither.
    """
    from landscape.files import Checkpoint, load

    if problem is not None:
        return problem
    nameless = None
    for item in given:
        found = load(item) if isinstance(item, (str, Path)) else item
        if isinstance(found, Checkpoint):
            if _task_of(found) is not None:
                return problem_of(found)
            nameless = nameless or found
    if nameless is not None:
        return problem_of(nameless)  # refuses it by its name
    raise InputError(
        "problem: not given, and bare parameters name no task",
        expected="a landscape.Problem, or a checkpoint that names its task",
        hint="Give the problem first, before the parameters: landscape.Problem(loss, train=…).",
    )


def _task_of(checkpoint: Checkpoint) -> Mapping[str, Any] | None:
    task = (checkpoint.info or {}).get("task")
    return task if isinstance(task, Mapping) and "name" in task else None


def problem_for_all(problem: Problem | None, given: Sequence[Any]) -> Problem:
    """Return `problem`, or where it is None the one task that all of `given` name.

    Parameters
    ----------
    problem : Problem, optional
        The loss and its data.
    given : sequence of Checkpoint, path of one, or pytree
        Networks; those that name no task are taken to be of the others' one.

    Raises
    ------
    ConfigurationError
        If two name different tasks: one's data would be taken for both.
    InputError
        If there is no problem, and none names a task.
    """
    if problem is None:
        _check_one_task(given)
    return problem_for(problem, *given)


def _check_one_task(given: Sequence[Any]) -> None:
    tasks: dict[str, str] = {}
    for i, item in enumerate(given):
        task = _info(item).get("task")
        if isinstance(task, Mapping):
            tasks.setdefault(dump_json(task), _called(item, i))
    if len(tasks) > 1:
        first, second = list(tasks.values())[:2]
        raise ConfigurationError(
            f"{first} and {second} name different tasks",
            expected="networks of one task, or problem=",
            hint="Measure them apart, or say on which problem all are measured.",
        )


def _info(item: Any) -> Mapping[str, Any]:
    from landscape.files import Checkpoint, load_info

    if isinstance(item, (str, Path)):
        return load_info(item)
    return (item.info if isinstance(item, Checkpoint) else None) or {}


def _called(item: Any, position: int) -> str:
    path = getattr(item, "path", None) if not isinstance(item, (str, Path)) else item
    return str(path) if isinstance(path, (str, Path)) else f"network {position + 1}"


def load_problem(spec: str) -> Problem:
    """Return the problem that ``package.module:name`` or ``path/file.py:name`` means.

    The name is a Problem, or a function that is called without arguments. The function may return a
    Problem, or what training takes: a tuple of which it is the first item.

    The working folder is searched last, after every installed package, so that a file that lies
    there by chance never shadows one.

    Raises
    ------
    ConfigurationError
        If the text is not of that form, or the file, module or function is not there.
    InputError
        If the function does not return a `landscape.Problem`.
    """
    from landscape.problem.problem import Problem

    named = load_named(spec, option="--problem", ready=Problem)
    found = named if isinstance(named, Problem) else named()
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
    from landscape.problem.problem import Problem

    named = load_named(spec, option="--problem", ready=Problem)
    found = named if isinstance(named, Problem) else named()
    parts = found if isinstance(found, tuple) and len(found) in (2, 3) else (found, None)
    if not isinstance(parts[0], Problem) or not callable(parts[1]):
        raise InputError(
            f"--problem {spec}: cannot be trained",
            expected="a function that returns (landscape.Problem, init[, chain]) with init(seed) -> params",
            got=" and ".join(type(part).__name__ for part in parts),
            hint="An analysis needs the Problem alone; training also needs to know where to start.",
        )
    return parts[0], parts[1], parts[2] if len(parts) == 3 else None
