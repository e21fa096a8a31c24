"""How two networks of a run are related, and which pairs a pattern stands for. No jax."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from landscape.errors import ConfigurationError, InputError, did_you_mean

__all__ = ["PATTERNS", "chosen_pairs", "record_of", "relation"]

ALL = "all"
ONE_INIT, TWO_INITS, LEVELS, DENSE, METHODS = "one-init", "two-inits", "levels", "dense", "methods"
PATTERNS = {
    ALL: "every pair",
    ONE_INIT: "seeds of one initialisation: same method and level, other training",
    TWO_INITS: "seeds of two initialisations: same method and level",
    LEVELS: "successive levels of one method and seed",
    DENSE: "every level against the dense one, of one method and seed",
    METHODS: "method against method, of one seed and level",
}
OTHER = "other"
_KEYS = ("method", "init", "seed", "level")


def record_of(name: str, info: Mapping[str, Any] | None, density: float | None) -> dict[str, Any]:
    """Return a network's name, method, seeds, level and density; None where nothing is known."""
    info = info or {}
    seeds = info.get("seeds")
    seeds = seeds if isinstance(seeds, Mapping) else {}
    return {
        "name": name,
        "method": info.get("method"),
        "init": seeds.get("init"),
        "seed": seeds.get("train", info.get("seed")),
        "level": info.get("level"),
        "density": density,
    }


def relation(a: Mapping[str, Any], b: Mapping[str, Any]) -> str:
    """Return the pattern that a pair of records belongs to, ``"other"`` if none."""
    if any(record[key] is None for record in (a, b) for key in _KEYS):
        return OTHER
    differing = {key for key in _KEYS if a[key] != b[key]}
    if differing == {"level"}:
        levels = sorted((a["level"], b["level"]))
        return LEVELS if levels[1] - levels[0] == 1 else (DENSE if levels[0] == 0 else OTHER)
    return {
        frozenset({"seed"}): ONE_INIT,
        frozenset({"init"}): TWO_INITS,
        frozenset({"seed", "init"}): TWO_INITS,
        frozenset({"method"}): METHODS,
    }.get(frozenset(differing), OTHER)


def _belongs(a: Mapping[str, Any], b: Mapping[str, Any], pattern: str) -> bool:
    if pattern == ALL:
        return True
    if pattern == DENSE:  # the first level is also the one that follows the dense one
        same = all(a[key] == b[key] and a[key] is not None for key in ("method", "init", "seed"))
        return same and a["level"] != b["level"] and 0 in (a["level"], b["level"])
    return relation(a, b) == pattern


def chosen_pairs(pairs: Any, records: Sequence[Mapping[str, Any]]) -> list[tuple[int, int]]:
    """Return the pairs that a caller asks for, as positions, the smaller first, in ascending order.

    Parameters
    ----------
    pairs : str, sequence of str, or sequence of (int, int)
        Patterns of `PATTERNS`, or the positions themselves.
    records : sequence of mapping
        The facts about each network.

    Raises
    ------
    ConfigurationError
        If a pattern is unknown or a position is not one.
    InputError
        If no pair is left.
    """
    given = [pairs] if isinstance(pairs, str) else list(pairs)
    if all(isinstance(item, str) for item in given):
        _check_patterns(given)
        found = {
            pair
            for pair in itertools.combinations(range(len(records)), 2)
            if any(_belongs(records[pair[0]], records[pair[1]], pattern) for pattern in given)
        }
    else:
        found = {_position_pair(item, len(records)) for item in given}
    if not found:
        raise InputError(
            f"pairs: none of the {len(records)} networks are {' or '.join(map(str, given))[:80]}",
            expected="; ".join(f"{name}: {text}" for name, text in PATTERNS.items()),
            hint="Patterns go by method, seeds and level in a checkpoint's info; pairs='all' needs none.",
        )
    return sorted(found)


def _check_patterns(given: Iterable[str]) -> None:
    for pattern in given:
        if pattern not in PATTERNS:
            raise ConfigurationError(
                f"pairs: unknown pattern {pattern!r}",
                expected="one of " + ", ".join(PATTERNS),
                hint=did_you_mean(pattern, PATTERNS),
            )


def _position_pair(item: Any, count: int) -> tuple[int, int]:
    try:
        first, second = item
        whole = all(isinstance(i, (int, np.integer)) and not isinstance(i, bool) for i in (first, second))
    except (TypeError, ValueError):
        whole = False
    if not whole or first == second or not all(0 <= i < count for i in (first, second)):
        raise ConfigurationError(
            "pairs: not two different networks",
            expected=f"patterns, or pairs of positions from 0 to {count - 1}",
            got=repr(item)[:60],
        )
    return min(int(first), int(second)), max(int(first), int(second))
