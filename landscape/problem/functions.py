"""Functions of the user's, named by where they are.

A name runs code. The user's own command line, or an argument of a Python call, may name a function. What a
file says (a result, a checkpoint, a run folder, a configuration) is data, and a function that it names is
loaded only if the user names the same one as well.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import shlex
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from landscape.errors import CodeRefusedError, ConfigurationError, did_you_mean


def load_function(spec: str, *, option: str) -> Callable[..., Any]:
    """Return the function that a name means; see `load_named`."""
    found: Callable[..., Any] = load_named(spec, option=option)
    return found


def load_named(spec: str, *, option: str, ready: type | None = None) -> Any:
    """Return the function that ``package.module:function`` or ``path/file.py:function`` names.

    Parameters
    ----------
    spec : str
        The name. The working folder is searched last, after every installed package, so that a file
        that lies there by chance never shadows one.
    option : str
        What the user calls it, for messages.
    ready : type, optional
        What such a function returns; an object of this type may stand in the function's place.

    Raises
    ------
    ConfigurationError
        If the text is not of that form, or the file, module or function is not there.
    """
    target, separator, attribute = spec.rpartition(":")
    if not separator or not target or not attribute:
        raise ConfigurationError(
            f"{option} {spec}: not of the form module:function",
            expected="package.module:function or path/file.py:function",
            hint=f"Name the function after a colon: {_example(spec)}.",
        )
    from_file = target.endswith(".py")
    module = _module_from_file(Path(target), option) if from_file else _module_by_name(target, option)
    function = getattr(module, attribute, None)
    if ready is not None and isinstance(function, ready):
        return function
    if not callable(function):
        if hasattr(module, attribute):
            raise ConfigurationError(
                f"{option} {spec}: {attribute!r} is not a function",
                expected="a function that is called without arguments",
                got=type(function).__name__,
                hint="Define a function that returns it, and name that.",
            )
        near = did_you_mean(attribute, dir(module))
        raise ConfigurationError(
            f"{option} {spec}: {target} has no function {attribute!r}",
            hint=near or "Define it, or name another.",
        )
    return function


def load_allowed_function(spec: str, *, option: str, allowed: Iterable[str]) -> Callable[..., Any]:
    """Return the function that a file names, if the user names the same one.

    Parameters
    ----------
    spec : str
        What the file says.
    option : str
        Where it says so, for messages.
    allowed : iterable of str
        The functions that the user names. Two paths of one file are the same name.

    Raises
    ------
    CodeRefusedError
        If `spec` is not one of them; nothing has been imported then.
    ConfigurationError
        As `load_function`.
    """
    check_allowed(spec, option=option, allowed=allowed)
    return load_function(spec, option=option)


def check_allowed(spec: str, *, option: str, allowed: Iterable[str]) -> None:
    """Refuse a function that a file names and the user does not.

    Raises
    ------
    CodeRefusedError
        With the option by which the user can name it.
    """
    names = list(allowed)
    if _identity(spec) not in map(_identity, names):
        raise CodeRefusedError(
            f"{option}: a file names the function {spec}, which would run code",
            expected="the same name on the command line",
            got=", ".join(names) or "none",
            hint=f"Read that code; if you trust it, give --allow-code {shlex.quote(spec)} "
            f"(in Python: allow_code=[{spec!r}]).",
        )


def _identity(spec: str) -> str:
    """Return a name that is the same for every path of one file."""
    target, separator, attribute = spec.rpartition(":")
    if not target.endswith(".py"):
        return spec
    return f"{os.path.realpath(target)}{separator}{attribute}"


def _example(spec: str) -> str:
    target, _, attribute = spec.partition(":")
    return f"{target or 'file.py'}:{attribute or 'function'}"


def _append_working_folder() -> None:
    folder = str(Path.cwd())
    if folder not in sys.path:
        sys.path.append(folder)


def _module_from_file(path: Path, option: str) -> Any:
    if not path.is_file():
        raise ConfigurationError(f"{option}: no file {path}", hint="Check the path; it is taken from here.")
    name = f"_landscape_own_{path.stem}"
    loader = importlib.util.spec_from_file_location(name, path)
    if loader is None or loader.loader is None:
        raise ConfigurationError(
            f"{option}: cannot read {path} as Python", hint="Name a file of Python source (.py)."
        )
    _append_working_folder()
    module = importlib.util.module_from_spec(loader)
    sys.modules[name] = module
    loader.loader.exec_module(module)
    return module


def _module_by_name(name: str, option: str) -> Any:
    _append_working_folder()
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not name.startswith(error.name):
            raise
        raise ConfigurationError(
            f"{option}: no module {name!r}",
            hint="Give the path of a file (file.py:function), or install the package.",
        ) from error
