"""From a name to a Problem: tasks named in checkpoints, and functions named by the user."""

from __future__ import annotations

import difflib
import importlib
import importlib.metadata
import importlib.util
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from landscape.errors import ConfigurationError, InputError

if TYPE_CHECKING:
    from landscape.checkpoint import Checkpoint
    from landscape.problem import Problem

__all__ = ["load_problem", "problem_for", "problem_of", "task_names"]

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

    target, separator, attribute = spec.rpartition(":")
    if not separator or not target or not attribute:
        raise ConfigurationError(
            f"--problem {spec}: not of the form module:function",
            expected="package.module:function or path/file.py:function",
        )
    module = _module_from_file(Path(target)) if target.endswith(".py") else _module_by_name(target)
    function = getattr(module, attribute, None)
    if not callable(function):
        near = difflib.get_close_matches(attribute, dir(module), n=1)
        raise ConfigurationError(
            f"--problem {spec}: {target} has no function {attribute!r}",
            hint=f"Did you mean {near[0]!r}?" if near else "Define it, or name another.",
        )
    problem = function()
    if not isinstance(problem, Problem):
        raise InputError(
            f"--problem {spec}: did not return a Problem",
            expected="landscape.Problem",
            got=type(problem).__name__,
        )
    return problem


def _append_working_folder() -> None:
    folder = str(Path.cwd())
    if folder not in sys.path:
        sys.path.append(folder)


def _module_from_file(path: Path) -> Any:
    if not path.is_file():
        raise ConfigurationError(f"--problem: no file {path}", hint="Check the path; it is taken from here.")
    name = f"_landscape_problem_{path.stem}"
    loader = importlib.util.spec_from_file_location(name, path)
    if loader is None or loader.loader is None:
        raise ConfigurationError(f"--problem: cannot read {path} as Python")
    _append_working_folder()
    module = importlib.util.module_from_spec(loader)
    sys.modules[name] = module
    loader.loader.exec_module(module)
    return module


def _module_by_name(name: str) -> Any:
    _append_working_folder()
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not name.startswith(error.name):
            raise
        raise ConfigurationError(
            f"--problem: no module {name!r}",
            hint="Give the path of a file (file.py:function), or install the package.",
        ) from error
