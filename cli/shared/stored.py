"""A command that is run again from a result it wrote: options that are not given are read from it."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from landscape.errors import CheckpointError, CodeRefusedError, ConfigurationError

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


Adopt = Callable[["Result"], "Mapping[str, Any] | None"]


def restored(
    ctx: click.Context,
    path: Path,
    checkpoints: tuple[Path, ...],
    options: Mapping[str, Any],
    *,
    adopt: Adopt = lambda _: None,
) -> tuple[tuple[Path, ...], dict[str, Any]]:
    """Fill what was not given on the command line from a stored result of the same command.

    Parameters
    ----------
    adopt : callable, optional
        Makes ``checkpoints`` and ``options`` of a result that a program wrote, or returns None.

    Raises
    ------
    ConfigurationError
        If neither the command nor such a program wrote the file.
    CodeRefusedError
        If it names the function of a problem, and the command line does not.
    CheckpointError
        If an option that it stores has a value that cannot be used.
    """
    from landscape import load_result

    result, name = load_result(path), ctx.info_name
    command = result.config.get("command")
    written = command if isinstance(command, Mapping) and command.get("name") == name else adopt(result)
    if written is None:
        raise ConfigurationError(
            f"--config {path}: not written by this command",
            expected=f"a result that landscape {name} wrote",
            got=f"a result of kind {result.kind!r}",
            hint=_writer(command),
        )
    options = {**options, **taken(ctx, path, written.get("options"), options)}
    return checkpoints or files(path, written.get("checkpoints")), options


def files(path: Path, names: Any) -> tuple[Path, ...]:
    """Return the files that a result was measured on: their names are relative to its folder.

    Raises
    ------
    CheckpointError
        If they are not a list of names.
    """
    listed = names if isinstance(names, (list, tuple)) else [names]
    if not all(isinstance(name, (str, type(None))) for name in listed):
        raise CheckpointError(f"{path}: its files are not a list of names", hint="Name the checkpoints here.")
    return tuple(path.parent / name for name in listed if name)


def taken(ctx: click.Context, path: Path, stored: Any, options: Iterable[str]) -> dict[str, Any]:
    """Return the options that a stored result gives: known ones, not given on the command line, and valid.

    Parameters
    ----------
    ctx : click.Context
        Of the command.
    path : Path
        The result.
    stored : mapping of str to value
        What it says of its options: data, whatever it holds.
    options : iterable of str
        The names that are asked for.

    Raises
    ------
    CodeRefusedError
        If the result names a function as its problem, and the command line does not.
    CheckpointError
        If a value is not one that the option takes.
    """
    default = click.core.ParameterSource.DEFAULT
    if not isinstance(stored, Mapping):
        raise CheckpointError(f"{path}: its options are not a table", hint="Give the options here.")
    asked = [key for key in options if key in stored and ctx.get_parameter_source(key) == default]
    found = {key: _valid(ctx, path, key, stored[key]) for key in asked if stored[key] is not None}
    if "problem" in found:
        refuse_code(path, found["problem"])
    return found


def refuse_code(path: Path, spec: str) -> None:
    """Refuse the function that a result names: only the command line says what code is run.

    Raises
    ------
    CodeRefusedError
        With the option to give.
    """
    raise CodeRefusedError(
        f"--config {path}: was measured on --problem {spec}, and a file does not decide what code is run",
        expected="--problem on the command line",
        got="none",
        hint=f"Read that code; if you trust it, give it again: --problem {shlex.quote(spec)}",
    )


def _valid(ctx: click.Context, path: Path, key: str, value: Any) -> Any:
    """Return a stored value as its option takes it."""
    option = next(param for param in ctx.command.params if param.name == key)
    try:
        return option.type_cast_value(ctx, value)
    except (click.UsageError, TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(
            f"{path}: its option {key} cannot be used",
            expected="a value that the command line takes",
            got=repr(value)[:80],
            hint=f"Give --{key.replace('_', '-')} here.",
        ) from error
