"""Finds the parameters in a file: a train state also holds other things."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from pathlib import Path

from landscape.errors import CheckpointError
from landscape.files.formats.entries import Entry
from landscape.files.formats.naming import canonical
from landscape.trees import unescape_key

# Subtrees that are the parameters wherever they are: Flax's and Optax' name, and PyTorch's habits.
PARAMS = ("params", "model_state_dict", "state_dict")
MODEL = "model"  # the same, unless it is one of several layers of a network
STATISTICS = "batch_stats"
# What stands beside parameters without a name of their own.
_OPTIMISER = (
    "opt_state", "optimizer", "optimizer_state", "optimizer_state_dict", "optimizer_states", "optimizers",
    "lr_scheduler", "lr_schedulers", "scheduler", "scheduler_state_dict", "rng", "rngs", "metrics_variables",
)  # fmt: skip
_COUNTERS = ("step", "epoch", "global_step", "iteration")
_ALL = (".", "/", "")


@dataclasses.dataclass(frozen=True)
class Found:
    """Paths in the file by path in a tree of their own; what was left out, by its first name."""

    params: dict[str, str]
    batch_stats: dict[str, str]
    where: str
    left_out: tuple[str, ...]


def find(path: Path, entries: Mapping[str, Entry], params: str | None, batch_stats: str | None) -> Found:
    """Choose parameters and statistics among the entries of a file.

    Parameters
    ----------
    path : Path
        The file, for messages.
    entries : mapping
        What it holds.
    params : str, optional
        The subtree of the parameters; ``"."`` for everything. By default a train state's is found.
    batch_stats : str, optional
        The subtree of the statistics; by default one of that name beside parameters that were found.

    Raises
    ------
    CheckpointError
        If there is nothing at a path.
    """
    first = {name.split("/")[0] for name in entries}
    found = params is None
    if params is None:
        params = next((name for name in PARAMS if _is_subtree(name, entries)), "")
        if not params and _is_subtree(MODEL, entries) and _is_alone(MODEL, entries):
            params = MODEL
        if batch_stats is None and params and STATISTICS in first:
            batch_stats = STATISTICS
    chosen = _below(path, entries, params)
    if found and not params:
        chosen = {where: source for where, source in chosen.items() if not _is_beside(where, entries[source])}
    stats = {} if batch_stats is None else _below(path, entries, batch_stats)
    if found and not params:
        chosen = {where: source for where, source in chosen.items() if source not in stats.values()}
    if not chosen:
        raise _nothing(path, entries, params)
    used = {*chosen.values(), *stats.values()}
    return Found(chosen, stats, params, _tops(name for name in entries if name not in used))


def _is_subtree(name: str, entries: Mapping[str, Entry]) -> bool:
    return any(path.startswith(f"{name}/") for path in entries)


def _is_alone(name: str, entries: Mapping[str, Entry]) -> bool:
    """Return whether nothing beside a subtree could be a parameter."""
    others = {path: entry for path, entry in entries.items() if not path.startswith(f"{name}/")}
    return all(not entry.shape or path.split("/")[0] in _OPTIMISER for path, entry in others.items())


def _is_beside(where: str, entry: Entry) -> bool:
    """Return whether an array at the top of a tree is of the optimiser, a key or a counter."""
    first, _, rest = where.partition("/")
    return first in _OPTIMISER if rest else first in _COUNTERS and not entry.shape


def _below(path: Path, entries: Mapping[str, Entry], where: str) -> dict[str, str]:
    """Return the paths below a subtree: in the file, by what is left of each."""
    if where in _ALL:
        return {name: name for name in entries}
    prefix = canonical(where)
    if prefix in entries:
        return {"": prefix}
    found = {name.removeprefix(f"{prefix}/"): name for name in entries if name.startswith(f"{prefix}/")}
    if not found:
        raise _nothing(path, entries, where)
    return found


def _nothing(path: Path, entries: Mapping[str, Entry], where: str) -> CheckpointError:
    held = ", ".join(_tops(entries)[:8]) or "nothing"
    return CheckpointError(
        f"{path}: holds nothing at {where!r}" if where else f"{path}: holds no parameters",
        expected="the path of a subtree" if where else "arrays of numbers",
        got=f"at its top: {held}",
        hint="Name the subtree that holds them with --params-path; landscape info shows all names.",
    )


def _tops(names: Iterable[str]) -> tuple[str, ...]:
    """Return the first parts of names, each once, in their order."""
    return tuple(dict.fromkeys(unescape_key(name.split("/")[0]) or "the array" for name in names))
