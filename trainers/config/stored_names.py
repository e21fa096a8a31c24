"""Files and folders that a configuration names: as the user gives them, and as a run stores them. No jax.

The user names them from the working folder. A run stores them relative to its own folder: it can be moved
with what it needs, does not say whose machine it was made on, and equal runs are equal files.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from landscape.files import relative_name, without_folders

__all__ = ["as_found", "as_published", "as_stored", "score_name"]

Change = Callable[[str], str]


def as_stored(values: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Return the values of a configuration with its files and folders relative to the run's `folder`.

    These are the folder of the data, sources ``FOLDER:METHOD``, and scores ``file.py:function``.
    """
    return _renamed(values, lambda name: relative_name(str(Path(name).expanduser()), folder))


def as_published(values: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Return `as_stored` for a checkpoint, from which these files need not be found.

    Where they lie elsewhere on the machine, only their last names are left.
    """

    def change(name: str) -> str:
        return str(without_folders(str(Path(name).expanduser().absolute()), folder))

    return _renamed(values, change)


def as_found(values: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Return the values that a run in `folder` stores with names as seen from the working folder."""
    return _renamed(values, lambda name: os.path.normpath(folder / name))


def score_name(score: str | None) -> str | None:
    """Return what a checkpoint calls a score: of a function in a file the file's name, not its folder."""
    if score is None or ".py:" not in score:
        return score
    target, _, function = score.rpartition(":")
    return f"{Path(target).name}:{function}"


def _renamed(values: Mapping[str, Any], change: Change) -> dict[str, Any]:
    result = dict(values)
    options, tables = values.get("task_options"), values.get("method")
    if isinstance(options, Mapping) and isinstance(options.get("folder"), str):
        result["task_options"] = {**options, "folder": change(options["folder"])}
    if isinstance(tables, Mapping):
        result["method"] = {name: _table(table, change) for name, table in tables.items()}
    return result


def _table(table: Any, change: Change) -> Any:
    """Return the table of a method; what is of another type is for the checks to refuse."""
    if not isinstance(table, Mapping):
        return table
    result = dict(table)
    for key in ("source", "score"):
        target, separator, name = str(table.get(key) or "").rpartition(":")
        is_file = target.endswith(".py") if key == "score" else bool(separator)
        if is_file and isinstance(table[key], str):
            result[key] = f"{change(target)}:{name}"
    return result
