"""Whether a run may go on in a folder: what is there, and what of its configuration has changed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from landscape.errors import ConfigurationError, RunError
from trainers.config import (
    RunConfig,
    as_found,
    as_stored,
    changed_keys,
    from_dict,
    modernised,
    parse_toml,
    to_dict,
)
from trainers.runs.files import explained, is_temporary

CONFIG_NAME = "run.toml"


def refuse_foreign(folder: Path) -> None:
    """Refuse what is not a folder, and folders that hold something other than a run."""
    with explained(folder, "cannot be looked at"):
        if not folder.exists():
            return
        if not folder.is_dir():
            raise RunError(f"{folder}: is a file", expected="a folder", hint="Choose another name.")
        names = {path.name for path in folder.iterdir()}
    if CONFIG_NAME in names:
        return
    foreign = sorted(name for name in names if name != "lock" and not is_temporary(name))
    if foreign:
        raise RunError(
            f"{folder}: not empty, and not a run",
            expected="a new or empty folder, or one that holds run.toml",
            got=", ".join(foreign[:3]) + (", …" if len(foreign) > 3 else ""),
            hint="Choose another folder.",
        )


def stored_config(folder: Path) -> RunConfig:
    """Return the configuration that a run folder holds."""
    path = folder / CONFIG_NAME
    with explained(path, "cannot be read"):
        data = path.read_bytes()
    try:
        return from_dict(as_found(modernised(parse_toml(data, where=str(path))), folder), where=str(path))
    except ConfigurationError as error:
        raise RunError(
            f"{path}: not the configuration of a run",
            got="; ".join((error.what, *error.problems[:3])) + (f" ({error.got})" if error.got else ""),
            hint="Restore the file, or choose another folder.",
        ) from error


def refuse_changes(folder: Path, old: RunConfig, new: RunConfig) -> None:
    """Refuse a configuration that is more than an extension of the one the run began with."""
    before, after = (as_stored(to_dict(config), folder) for config in (old, new))
    free = ["name", "runtime"]
    free += ["methods"] if set(old.methods) <= set(new.methods) else []
    free += ["seeds"] if set(old.seeds) <= set(new.seeds) else []
    added = set(new.methods) - set(old.methods)
    free += [f"method.{name}" for name in added]
    if new.pruning.schedule[: len(old.pruning.schedule)] == old.pruning.schedule:
        free += ["pruning.levels", "pruning.ratio", "pruning.densities"]
    changed = [
        key
        for key in changed_keys(before, after)
        if not any(key == part or key.startswith(f"{part}.") for part in free)
    ]
    if changed:
        lines = (f"{key} (was {_at(before, key)}, now {_at(after, key)})" for key in changed)
        raise RunError(
            f"{folder}: the configuration has changed since the run began",
            expected="the same, but for more levels, seeds or methods, the name and runtime",
            got="; ".join(lines),
            hint="Undo these changes, or begin another run in another folder.",
        )


def _at(values: Mapping[str, Any], key: str) -> str:
    found: Any = values
    for part in key.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return "none" if found is None else str(found)


def run_begun(folder: Path, config: RunConfig, *, resume: bool) -> RunConfig | None:
    """Return the configuration of the run that a folder holds, None if it holds none; writes nothing.

    Raises
    ------
    RunError
        If it is another's folder, holds a run and `resume` is false, or a run that `config` does not extend.
    """
    refuse_foreign(folder)
    with explained(folder, "cannot be looked at"):
        there = (folder / CONFIG_NAME).exists()
    if not there:
        return None
    if not resume:
        hint = "Go on with it by --resume (resume=True), or choose another folder."
        raise RunError(f"{folder}: holds a run already", expected="a new or empty folder", hint=hint)
    old = stored_config(folder)
    refuse_changes(folder, old, config)
    return old
