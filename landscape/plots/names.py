"""Short names of networks: what tells them apart, and nothing that they share."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

from landscape.errors import InputError
from landscape.plots.text import shorten, visible

__all__ = ["WIDTH", "direction_text", "names_of", "names_on", "renamed", "short_names"]

_COUNTED = re.compile(r"^([a-z])[a-z]*[-_](\d+)$")
_COUNTED_WORDS = re.compile(r"\b([slr])(?:eed|evel|tep|un) (\d+)\b")
_WORDS = re.compile(r"\s+(?!%)")  # a number and its sign are one word
WIDTH = 24  # characters of a name in a title, legend or label; tables have the whole name


def short_names(names: Sequence[object], width: int = WIDTH) -> list[str]:
    """Return a name of at most `width` characters for each network, different where the networks differ.

    Of paths, the folders that all share are left out, and so is the file where all are called alike.
    Of names of several words that are too long, the words that all share are left out. What is still too long
    loses its middle; names that then look alike are numbered.

    Parameters
    ----------
    names : sequence
        Paths or any other names.
    width : int
        Characters.

    Examples
    --------
    >>> short_names(["runs/es/seed-0/level-3.h5", "runs/es/seed-1/level-3.h5"])
    ['seed-0', 'seed-1']
    """
    if not names:
        return []  # of a matrix that is no network's
    whole = [visible(name) for name in names]
    distinct = list(dict.fromkeys(whole))
    parts = _parts_that_differ(distinct)
    for brief in (_without_suffix, _words_that_differ, _numbered):
        if any(len(name) > width for name in parts):
            parts = brief(parts)
    short = [shorten(name, width) for name in parts]
    if len(set(short)) < len(short):
        digits = len(str(len(short)))
        short = [f"{i:0{digits}d} {shorten(name, width - digits - 1)}" for i, name in enumerate(short, 1)]
    found = dict(zip(distinct, short, strict=True))
    return [found[name] for name in whole]


def names_of(result: Any) -> list[str]:
    """Return the names of the networks of a result, each once, in their order."""
    endpoints = getattr(result, "endpoints", None) or ()
    given = list(endpoints.values() if isinstance(endpoints, Mapping) else endpoints)
    for field in ("records", "networks"):
        given += [entry.get("name") for entry in getattr(result, field, ()) if isinstance(entry, Mapping)]
    for field in ("anchors", "names"):
        given += list(getattr(result, field, ()) or ())
    return list(dict.fromkeys(str(name) for name in given if name is not None))


def names_on(result: Any) -> dict[str, str]:
    """Return the short name of each network of a line, a plane or a trajectory."""
    names = names_of(result)
    return dict(zip(names, short_names(names), strict=True))


def direction_text(name: str, short: Mapping[str, str]) -> str:
    """Return the name of a direction with short names of networks, for an axis or a legend.

    Examples
    --------
    >>> direction_text("from runs/a.h5 to runs/b.h5", {"runs/a.h5": "a", "runs/b.h5": "b"})
    'a → b'
    """
    for old, called in short.items():
        if name == f"towards {old}, orthogonal to it":
            return f"orthogonal, to {called}"
        for other in short:
            if name == f"from {old} to {other}":
                return f"{called} → {short[other]}"
    return shorten(name, 44)


def renamed(result: Any, names: Sequence[str]) -> Any:
    """Return a result whose networks have other names.

    Parameters
    ----------
    result : Result
        Left as it is.
    names : sequence of str
        One per network, in the order of `names_of`, all different.

    Raises
    ------
    InputError
        If there are not as many names as networks, or two are alike.
    """
    old = names_of(result)
    if len(names) != len(old) or len(set(names)) != len(names):
        raise InputError(
            "names of networks",
            expected=f"{len(old)} different names, for {', '.join(short_names(old))}",
            got=", ".join(map(visible, names)) or "none",
        )
    new = dict(zip(old, map(str, names), strict=True))
    changes: dict[str, Any] = {}
    if ends := getattr(result, "endpoints", None):
        values = ends.values() if isinstance(ends, Mapping) else ends
        changes["endpoints"] = tuple(new[str(end)] for end in values)
    for field in ("records", "networks", "curves"):
        entries = getattr(result, field, None)
        if entries is not None and all(isinstance(e, Mapping) and "name" in e for e in entries):
            renewed = [{**e, "name": new.get(str(e["name"]), e["name"])} for e in entries]
            changes[field] = type(entries)(renewed)
    return dataclasses.replace(result, **changes, **_on_a_plane(result, new))


def _on_a_plane(result: Any, new: Mapping[str, str]) -> dict[str, Any]:
    """Return the renamed fields of a line, a plane or a trajectory."""
    known = {field.name for field in dataclasses.fields(result)}
    changes: dict[str, Any] = {}
    if "anchors" in known:
        changes["anchors"] = {new[str(name)]: place for name, place in result.anchors.items()}
        changes["origin"] = new[str(result.origin)]
        changes["direction_names"] = tuple(_direction(name, new) for name in result.direction_names)
    if "names" in known:
        changes["names"] = type(result.names)(new[str(name)] for name in result.names)
    return changes


def _direction(name: str, new: Mapping[str, str]) -> str:
    """Return the renamed text of a direction between networks; of any other the text as it is."""
    for old, called in new.items():
        if name == f"towards {old}, orthogonal to it":
            return f"towards {called}, orthogonal to it"
        for other in new:
            if name == f"from {old} to {other}":
                return f"from {called} to {new[other]}"
    return name


def _without_suffix(names: Sequence[str]) -> list[str]:
    """Leave out the suffix that all files share."""
    suffixes = {PurePosixPath(name).suffix for name in names}
    return [name.removesuffix(next(iter(suffixes))) for name in names] if len(suffixes) == 1 else list(names)


def _numbered(names: Sequence[str]) -> list[str]:
    """Write ``seed-0``, ``seed 0`` and ``level-03`` as ``s0``, ``s0`` and ``l03``."""
    paths = ["/".join(_COUNTED.sub(r"\1\2", part) for part in name.split("/")) for name in names]
    return [_COUNTED_WORDS.sub(r"\1\2", path) for path in paths]


def _words_that_differ(names: Sequence[str]) -> list[str]:
    """Leave out the words that all names begin and end with, but for the one before the first that differs.

    So ``gd seed 0 at 100 %`` and ``gd seed 2 at 100 %`` are ``seed 0`` and ``seed 2``.
    """
    words = [_WORDS.split(name.strip()) for name in names]
    least = min(map(len, words))
    if least < 2 or len(set(names)) < 2:
        return list(names)
    lead = next((i for i in range(least) if len({row[i] for row in words}) > 1), least - 1)
    tail = next((i for i in range(least - lead) if len({row[-1 - i] for row in words}) > 1), 0)
    return [" ".join(row[max(lead - 1, 0) : len(row) - tail]) for row in words]


def _numbered_part(path: Sequence[str]) -> str:
    """Return the file of a path, with the folders that say of what it is the number, as far as there is room.

    So ``runs/es/seed-0/level-03.h5`` is ``es/seed-0/level-03``.
    """
    first = len(path) - 1
    stem = path[-1].removesuffix(PurePosixPath(path[-1]).suffix)
    if not _COUNTED.match(stem):
        return path[-1]
    while first > 0 and _COUNTED.match(path[first] if first < len(path) - 1 else stem):
        if len("/".join([*path[first - 1 : -1], stem])) > WIDTH:
            break
        first -= 1
    return "/".join([*path[first:-1], stem])


def _parts_that_differ(names: Sequence[str]) -> list[str]:
    """Return paths without the leading and the trailing parts that all of them share."""
    paths = [[part for part in name.replace("\\", "/").split("/") if part] or [name] for name in names]
    if len(paths) < 2:  # none, of a result that names no network, or one
        return [_numbered_part(path) for path in paths]
    depth = min(map(len, paths))
    if depth > 1:
        lead = next((i for i in range(depth - 1) if len({path[i] for path in paths}) > 1), depth - 1)
        paths = [path[lead:] for path in paths]
        depth -= lead
        tail = next((i for i in range(depth - 1) if len({path[-1 - i] for path in paths}) > 1), depth - 1)
        paths = [path[: len(path) - tail] for path in paths]
    if all(len(path) == len(paths[0]) for path in paths):  # middle folders that all share
        kept = [i for i in range(len(paths[0])) if len({path[i] for path in paths}) > 1]
        paths = [[path[i] for i in kept] for path in paths]
    return ["/".join(path) for path in paths]
