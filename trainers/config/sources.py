"""Where configuration values come from, and how one layer of them supersedes another."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from landscape.errors import CheckpointError, ConfigurationError
from trainers.config.control_table import CONTROL
from trainers.config.former_versions import modernised
from trainers.config.stored_names import as_found
from trainers.config.strategy_table import PARTIAL_KEYS
from trainers.config.toml_text import parse_override, parse_toml, read_toml
from trainers.config.validate import Invalid, is_given, name

# Pairs of keys that say the same thing in two ways: one file holds one, a later layer supersedes.
PRUNING_RIVALS = (("levels", "densities"), ("ratio", "densities"))


# The configuration in the folder of a run, where names of files are relative to it.
RUN_FILE = "run.toml"


def preset_names() -> list[str]:
    """Return the names of the presets in the package."""
    entries = (resources.files("trainers") / "presets").iterdir()
    return sorted(entry.name.removesuffix(".toml") for entry in entries if entry.name.endswith(".toml"))


def preset_summaries() -> dict[str, str]:
    """Return what each preset is, by name: the first line of its file."""
    folder = resources.files("trainers") / "presets"
    lines = {}
    for preset in preset_names():
        with (folder / f"{preset}.toml").open(encoding="utf-8") as file:
            lines[preset] = file.readline().removeprefix("#").strip().rstrip(".")
    return lines


def override_values(overrides: Sequence[str]) -> dict[str, Any]:
    """Return all overrides as one layer, so that their order decides only between equal keys."""
    layer: dict[str, Any] = {}
    problems = []
    for text in overrides:
        try:
            layer = _merged(layer, parse_override(text))
        except ConfigurationError as error:
            problems.append(error.what)
    if problems:
        raise ConfigurationError(
            "--set: cannot be read", problems=tuple(problems), hint="For instance --set pruning.levels=5"
        )
    return layer


def named_code(overrides: Sequence[str]) -> tuple[str, ...]:
    """Return the functions that overrides name as scores: who names one on the command line allows it.

    Parameters
    ----------
    overrides : sequence of str
        ``key=value``, as `override_values` reads them.
    """
    tables = override_values(overrides).get("method")
    found = [table.get("score") for table in _tables(tables) if isinstance(table, Mapping)]
    return tuple(score for score in found if isinstance(score, str) and ":" in score)


def _tables(value: Any) -> list[Any]:
    return list(value.values()) if isinstance(value, Mapping) else []


def extra_values(path: Path) -> dict[str, Any]:
    """Return the values of a file that changes another configuration."""
    values = read_toml(Path(path))
    if "extends" in values:
        raise ConfigurationError(f"{path}: extends: only the main configuration may extend a preset")
    return values


def source_values(source: str | Path) -> dict[str, Any]:
    """Return the values of a preset, of a TOML file and what it extends, or stored in an HDF5 file."""
    path = Path(source)
    if path.suffix in (".h5", ".hdf5"):
        return _stored(path)
    if path.suffix != ".toml":
        return _preset(str(source))
    values = modernised(read_toml(path))
    if path.name == RUN_FILE:
        values = as_found(values, path.expanduser().parent)
    base = values.pop("extends", None)
    if base is not None:
        if not isinstance(base, str):
            raise ConfigurationError(f"{path}: extends: expected the name of a preset", got=repr(base))
        values = layered({**_preset(base), **_named(path)}, values)
    return {**_named(path), **values}


def _named(path: Path) -> dict[str, str]:
    """Return the name that a run has from its file, if that can be one."""
    try:
        return {"name": name(path.stem)}
    except Invalid:
        return {}


def _stored(path: Path) -> dict[str, Any]:
    from landscape.files import load
    from landscape.results import load_result

    try:
        config = load(path).config
    except CheckpointError as refused:
        try:
            config = load_result(path).config
        except CheckpointError:
            raise refused from None
    if not config or "evolution" not in config:
        raise ConfigurationError(
            f"{path}: holds no configuration of a run", hint="Give a preset or a .toml file."
        )
    home = path.expanduser().absolute().parents[2:3]  # of a run's <method>/seed-<s>/level-<kk>.h5
    is_of_run = bool(home) and (home[0] / RUN_FILE).is_file()
    return as_found(modernised(config), home[0]) if is_of_run else modernised(config)


def _preset(preset: str) -> dict[str, Any]:
    names = preset_names()
    if preset not in names:
        near = difflib.get_close_matches(preset, names, n=3, cutoff=0.6)
        hint = f"Did you mean {' or '.join(near)}? " if near else ""
        raise ConfigurationError(
            f"{preset}: no such preset",
            expected=f"one of {', '.join(names)}, or a file ending in .toml or .h5",
            hint=f"{hint}To use a file, name it with its ending.",
        )
    data = (resources.files("trainers") / "presets" / f"{preset}.toml").read_bytes()
    return {"name": preset, **parse_toml(data, where=f"preset {preset}")}


def expanded(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values with ``matrix`` replaced by the methods it means: algorithms × scores.

    Raises
    ------
    ConfigurationError
        If the matrix is not a table of two lists of names, or stands beside methods.
    """
    result = dict(values)
    matrix = result.pop("matrix", None)
    if matrix is None:
        return result
    if "methods" in values or not _is_matrix(matrix):
        raise ConfigurationError(
            "matrix: stands beside methods" if "methods" in values else "matrix: cannot be read",
            expected='matrix = {algorithms = ["snes", "pgpe"], scores = ["snr", "random"]}, or methods',
            got=repr(matrix)[:80],
        )
    result["methods"] = [f"{first}-{last}" for first in matrix["algorithms"] for last in matrix["scores"]]
    return result


def _is_matrix(value: Any) -> bool:
    if not isinstance(value, Mapping) or set(value) != {"algorithms", "scores"}:
        return False
    lists = list(value.values())
    return all(isinstance(x, list) and x and all(isinstance(name, str) for name in x) for x in lists)


def layered(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return `base` with a later layer merged into its tables, without what the layer supersedes."""
    kept, changes = dict(base), expanded(changes)
    old, new = kept.get("task"), changes.get("task", kept.get("task"))
    if new != old:
        kept.pop("task_options", None)
        if (new in CONTROL) != (old in CONTROL):  # no network is of both kinds of task
            kept.pop("network", None)
    network, pruning = changes.get("network"), changes.get("pruning")
    if isinstance(network, Mapping) and "kind" in network:
        former = kept.get("network")
        if not isinstance(former, Mapping) or former.get("kind") != network["kind"]:
            kept.pop("network", None)
    evolution = changes.get("evolution")
    if isinstance(evolution, Mapping) and isinstance(kept.get("evolution"), Mapping):
        kept["evolution"] = _of_strategy(kept["evolution"], evolution)
    if isinstance(pruning, Mapping) and isinstance(kept.get("pruning"), Mapping):
        pairs = (*PRUNING_RIVALS, *((b, a) for a, b in PRUNING_RIVALS))
        superseded = {b for a, b in pairs if is_given(pruning.get(a))} - set(pruning)
        kept["pruning"] = {key: value for key, value in kept["pruning"].items() if key not in superseded}
    return _merged(kept, changes)


def _of_strategy(kept: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of an evolution, without what only a former strategy uses."""
    same = changes.get("strategy", kept.get("strategy")) == kept.get("strategy")
    return {key: value for key, value in kept.items() if same or key not in PARTIAL_KEYS}


def _merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    result = dict(base)
    for key, value in changes.items():
        old = result.get(key)
        tables = isinstance(value, Mapping) and isinstance(old, Mapping)
        result[key] = _merged(old, value) if tables else value  # type: ignore[arg-type]
    return result
