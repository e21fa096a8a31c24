"""Names of files in what is published: relative to the file that holds them. No jax.

Absolute paths would give away the user's folders, and would make equal results unequal.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

__all__ = ["relative_name", "without_folders"]


def relative_name(name: str, folder: str | Path) -> str:
    """Return the path `name`, taken from the working folder, as it is seen from `folder`.

    Parameters
    ----------
    name : str
        A path.
    folder : path
        The folder of the file that will hold it.
    """
    return os.path.relpath(Path(name).absolute(), Path(folder).absolute())


def without_folders(value: Any, folder: str | Path) -> Any:
    """Return plain data in which every absolute path is relative to `folder`.

    A path that has nothing but the root, or the folder of all homes, in common with `folder` is left with
    its last name only: any more would tell whose machine it was.

    Parameters
    ----------
    value : mapping, list, tuple or scalar
        Nested data. A path that stands alone somewhere is also replaced where it is part of a sentence.
    folder : path
        The folder of the file that will hold the data.
    """
    paths = sorted(_absolute(value), key=lambda path: (-len(path), path))
    names: dict[str, str] = {}
    for path in paths:
        name = _public(path, folder)
        same = sum(taken == name or taken.startswith(f"{name} (") for taken in names.values())
        names[path] = f"{name} ({same + 1})" if same else name  # two files of one name stay two
    return _replaced(value, names)


def _absolute(value: Any) -> set[str]:
    """Return the absolute paths that stand alone in nested data."""
    if isinstance(value, str):
        return {value} if len(value) > 1 and Path(value).is_absolute() and value.isprintable() else set()
    if isinstance(value, Mapping):
        return set().union(*map(_absolute, (*value.keys(), *value.values())))
    if isinstance(value, (list, tuple)):
        return set().union(*map(_absolute, value))
    return set()


def _public(path: str, folder: str | Path) -> str:
    shared = os.path.commonpath([os.path.normpath(path), Path(folder).absolute()])
    above_homes = shared in {"/", "//"} or (
        Path(shared) != Path.home() and Path.home().is_relative_to(shared)
    )
    return Path(path).name if above_homes else relative_name(path, folder)


def _replaced(value: Any, names: Mapping[str, str]) -> Any:
    if isinstance(value, str):
        for path, name in names.items():
            value = value.replace(path, name)
        return value
    if isinstance(value, Mapping):
        return {_replaced(key, names): _replaced(item, names) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        items = [_replaced(item, names) for item in value]
        return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)
    return value
