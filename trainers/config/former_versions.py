"""Configurations that former versions stored, translated to the keys of this one. No jax."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trainers.config.optimisation import OPTIMIZERS

FORMAT = 2
# A stored configuration has all of these; what a user writes by hand hardly ever does.
_SECTIONS = {"methods", "method", "network", "seeds", "pruning", "evolution", "gradient", "runtime"}

_LOOKED_AT = ("pruning", "evolution")


def modernised(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of a file, where it was stored in format 1 with the same meaning in format 2.

    Format 1 has no key ``format``. It always names a ``snr_denominator``, "std" where nothing was
    asked for, and the profile "paper" of an evolution strategy did not look at it.
    """
    found = dict(values)
    if "format" in found or not _is_stored(found):
        return found
    pruning, tables = found["pruning"], found["method"]
    names = [name for name in found["methods"] if _is_paper(found, name)]
    changed = {name: _automatic(tables.get(name, {})) for name in names}
    if pruning.get("snr_denominator") == "variance":
        changed = {name: _automatic(table, always=True) for name, table in changed.items()}
    found["method"] = {**tables, **{name: table for name, table in changed.items() if table}}
    if pruning.get("snr_denominator") == "std":
        found["pruning"] = {**pruning, "snr_denominator": "auto"}
    return found


def _is_stored(values: Mapping[str, Any]) -> bool:
    """Return whether values are whole, and of the right kinds as far as they are looked at here."""
    if not set(values) >= _SECTIONS or not isinstance(values["method"], Mapping):
        return False
    tables = [values["pruning"], values["evolution"], *values["method"].values()]
    tables += [table.get(key, {}) for table in tables[2:] if isinstance(table, Mapping) for key in _LOOKED_AT]
    names = values["methods"]
    listed = isinstance(names, (list, tuple)) and all(isinstance(name, str) for name in names)
    return listed and all(isinstance(table, Mapping) for table in tables)


def _is_paper(values: Mapping[str, Any], name: str) -> bool:
    """Return whether a method trains by evolution in the profile "paper"."""
    table = values["method"].get(name, {})
    algorithm = table.get("algorithm") or name.rpartition("-")[0]
    own = table.get("evolution", {}).get("profile", values["evolution"].get("profile"))
    return own == "paper" and algorithm not in ("gd", *OPTIMIZERS)


def _automatic(table: Mapping[str, Any], *, always: bool = False) -> dict[str, Any]:
    """Return the table of a method whose denominator, given or inherited, is the profile's."""
    pruning = table.get("pruning", {})
    if not always and "snr_denominator" not in pruning:
        return dict(table)
    return {**table, "pruning": {**pruning, "snr_denominator": "auto"}}
