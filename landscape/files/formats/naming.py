"""Other names for the arrays of a file: a table of old and new paths."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from pathlib import Path

from landscape.errors import ConfigurationError
from landscape.files.formats.entries import MAX_TEXT, opened
from landscape.trees import escape_key, is_canonical

Names = Mapping[str, str | bool]


def read_names(path: Path) -> dict[str, str | bool]:
    """Read a table of names, TOML or JSON by the suffix: ``"fc1" = "Dense_0"``, ``"head" = false``.

    Raises
    ------
    ConfigurationError
        If it cannot be read, or holds anything but names.
    """
    try:
        with opened(path) as stream:
            text = stream.read(MAX_TEXT).decode()
        found = json.loads(text) if path.suffix.lower() == ".json" else tomllib.loads(text)
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigurationError(
            f"--map {path}: cannot be read",
            expected="a table of names in TOML, or in JSON by the suffix .json",
            got=(str(error).splitlines() or [type(error).__name__])[0],
            hint='One line for each name: "fc1" = "Dense_0", or "head" = false to leave it out.',
        ) from error
    return checked_names(found, f"--map {path}")


def checked_names(names: Mapping[str, object], where: str) -> dict[str, str | bool]:
    """Return a table of names after checking that it is one.

    Raises
    ------
    ConfigurationError
        If a value is neither a name nor false.
    """
    found: dict[str, str | bool] = {}
    for name, value in names.items() if isinstance(names, Mapping) else ():
        if value is not False and not (isinstance(value, str) and value.strip("/")):
            raise ConfigurationError(
                f"{where}: {name}: {value!r}",
                expected="the new name, or false to leave it out",
                hint='For instance "fc1" = "Dense_0"; names are those that landscape info shows.',
            )
        found[name] = value
    if not found:
        raise ConfigurationError(f"{where}: holds no names", hint='For instance "fc1" = "Dense_0".')
    return found


def renamed(paths: list[str], names: Names) -> dict[str, str]:
    """Return the new path for each path that stays; the longest name that fits decides.

    Raises
    ------
    ConfigurationError
        If a name fits no path, or two paths become one.
    """
    table = {canonical(name): value for name, value in names.items()}
    used: set[str] = set()
    found: dict[str, str] = {}
    for path in paths:
        parts = path.split("/")
        fits = ["/".join(parts[:n]) for n in range(len(parts), 0, -1)]
        name = next((prefix for prefix in fits if prefix in table), None)
        target = None if name is None else table[name]
        if name is not None:
            used.add(name)
        if target is False:
            continue
        rest = parts if name is None else parts[name.count("/") + 1 :]
        found[path] = "/".join([canonical(target), *rest] if isinstance(target, str) else rest)
    _check_used(table, used, paths)
    _check_apart(found)
    return found


def _check_used(table: Mapping[str, object], used: set[str], paths: list[str]) -> None:
    unused = [name for name in table if name not in used]
    if unused:
        raise ConfigurationError(
            f"names: {unused[0]!r} is not in the file",
            expected="a name or the beginning of one: " + ", ".join(paths[:6]),
            hint="landscape info shows the names of the file.",
        )


def _check_apart(found: Mapping[str, str]) -> None:
    first: dict[str, str] = {}
    for path, target in found.items():
        if target in first:
            raise ConfigurationError(
                f"names: {first[target]} and {path} both become {target}",
                expected="another new name for each",
                hint="Change one of them, or leave it out with false.",
            )
        first[target] = path


def canonical(name: str) -> str:
    """Return a name as a path of a tree: its parts escaped where they are not yet."""
    parts = [part for part in name.split("/") if part]
    return "/".join(part if is_canonical(part) else escape_key(part) for part in parts)
