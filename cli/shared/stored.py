"""A command that is run again from a result it wrote: what was not given is taken from there."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from landscape.errors import ConfigurationError

if TYPE_CHECKING:
    from landscape.results import Result

R = TypeVar("R", bound="Result")


def recorded(result: R, name: str, checkpoints: tuple[Path, ...], options: Mapping[str, Any]) -> R:
    """Return the result with the command line in its configuration."""
    names = [str(path.absolute()) for path in checkpoints]
    command = {"name": name, "checkpoints": names, "options": dict(options)}
    return dataclasses.replace(result, config={**result.config, "command": command})


def _writer(command: Any) -> str:
    """Say which command the result goes with."""
    name = command.get("name") if isinstance(command, Mapping) else None
    if not isinstance(name, str):
        return "A result that a Python program wrote has no command line: give the options here."
    return f"Give it to the command that wrote it: landscape {name} --config …"


def restored(
    ctx: click.Context, path: Path, name: str, checkpoints: tuple[Path, ...], /, **options: Any
) -> tuple[tuple[Path, ...], dict[str, Any]]:
    """Fill what was not given on the command line from a stored result of the command `name`.

    Raises
    ------
    ConfigurationError
        If the file was not written by that command.
    """
    from landscape import load_result

    result = load_result(path)
    command = result.config.get("command")
    if not isinstance(command, Mapping) or command.get("name") != name:
        raise ConfigurationError(
            f"--config {path}: not written by this command",
            expected=f"a result that landscape {name} wrote",
            got=f"a result of kind {result.kind!r}",
            hint=_writer(command),
        )
    default = click.core.ParameterSource.DEFAULT
    taken = {
        key: value
        for key, value in command["options"].items()
        if key in options and ctx.get_parameter_source(key) == default
    }
    return checkpoints or tuple(Path(name) for name in command["checkpoints"]), {**options, **taken}
