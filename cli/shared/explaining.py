"""Exceptions as the user sees them: three lines and an exit status."""

from __future__ import annotations

import dataclasses
import platform
import re
import signal
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from cli.shared.signals import Stopped
from cli.shared.streams import printable, printable_lines, write_err
from landscape import __version__
from landscape.errors import ConfigurationError, LandscapeError, MissingDependencyError, did_you_mean

OURS = {"landscape", "trainers", "cli"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Explanation:
    """An error as it is shown: what and where, expected and got, what to do."""

    kind: str
    what: str
    exit_code: int
    expected: str | None = None
    got: str | None = None
    hint: str | None = None
    problems: tuple[str, ...] = ()

    def lines(self) -> list[str]:
        """Return the lines for the terminal, with nothing in them that a terminal obeys."""
        known = [f"{name} {text}" for name, text in (("expected", self.expected), ("got", self.got)) if text]
        body = [*self.problems, "; ".join(known), self.hint or ""]
        return [f"error: {printable(self.what)}", *(f"  {printable(line)}" for line in body if line)]

    def to_dict(self) -> dict[str, Any]:
        """Return the ``error`` object of the JSON form."""
        record: dict[str, Any] = {
            "type": self.kind,
            "what": self.what,
            "expected": self.expected,
            "got": self.got,
            "hint": self.hint,
            "exit_code": self.exit_code,
        }
        return {**record, "problems": list(self.problems)} if self.problems else record


def explain(error: BaseException) -> Explanation:
    """Return the message and exit status for `error`; an unexpected one is a bug of landscape."""
    if isinstance(error, LandscapeError):
        return _known(error)
    if isinstance(error, click.ClickException):
        return _usage(error)
    if isinstance(error, (KeyboardInterrupt, Stopped)):
        return _stopped(getattr(error, "signum", signal.SIGINT))
    if isinstance(error, ModuleNotFoundError) and (error.name or "").split(".")[0] not in {"", *OURS}:
        return _missing(str(error.name))
    if isinstance(error, OSError) and error.filename is not None:
        return _operating_system(error)
    if isinstance(error, MemoryError):
        hint = "Try a smaller --batch-size, or fewer --points."
        return Explanation(kind="MemoryError", what="the machine ran out of memory", exit_code=3, hint=hint)
    return _bug(error)


def _known(error: LandscapeError) -> Explanation:
    problems = error.problems if isinstance(error, ConfigurationError) else ()
    kind, code = type(error).__name__, error.exit_code
    if isinstance(error, MissingDependencyError):
        what = ": ".join(part for part in (error.what, error.got, error.hint) if part)
        return Explanation(kind=kind, what=what, exit_code=code)
    return Explanation(
        kind=kind,
        what=error.what,
        exit_code=code,
        expected=error.expected,
        got=error.got,
        hint=error.hint,
        problems=tuple(problems),
    )


def _usage(error: click.ClickException) -> Explanation:
    ctx = getattr(error, "ctx", None)
    path = ctx.command_path if ctx is not None else "landscape"
    near = getattr(error, "possibilities", None)
    message = error.message if near is not None else error.format_message()
    hint = f"See {path} --help"
    if near:
        hint = f"Did you mean {near[0]}? {hint}"
    kind = "UsageError" if isinstance(error, click.UsageError) else type(error).__name__
    if isinstance(error, click.BadParameter) and not isinstance(error, click.MissingParameter):
        return _bad_value(error, kind, hint)
    return Explanation(kind=kind, what=_sentence(f"{path}: {message}"), exit_code=2, hint=hint)


def _bad_value(error: click.BadParameter, kind: str, hint: str) -> Explanation:
    """Return the message for a value that an option does not take: it begins with the option."""
    param, message, expected = error.param, error.message, None
    wanted = getattr(param, "type", None)
    if isinstance(wanted, (click.IntRange, click.FloatRange)):
        noun = "a whole number" if isinstance(wanted, click.IntRange) else "a number"
        message = message.replace(f"a valid {wanted.name}", noun)  # click says "a valid integer range"
        expected = ", ".join([noun, *_bounds(wanted)])
    if isinstance(wanted, click.Choice):
        value = message.partition("'")[2].partition("'")[0]  # click keeps the value in the message alone
        message, expected = f"{value!r} is not one of its values", " or ".join(map(str, wanted.choices))
        hint = " ".join(filter(None, (did_you_mean(value, wanted.choices), hint)))
    name = typed_name(param) if param is not None else str(error.param_hint or "the command line")
    return Explanation(
        kind=kind, what=_sentence(f"{name}: {message}"), exit_code=2, expected=expected, hint=hint
    )


def typed_name(param: click.Parameter) -> str:
    """Return what a user types for a parameter: the long form of an option, or an argument's metavar."""
    return param.opts[-1] if isinstance(param, click.Option) else str(param.metavar or param.name)


# Keywords of the library that the command line calls otherwise.
_OPTIONS = {
    "k": "top",
    "num_lines": "planes",
    "num_planes": "planes",
    "num_points": "points",
    "num_resamples": "resamples",
    "subset": "examples",
    "use_mask": "mask",
}


def as_typed(what: str, params: Sequence[click.Parameter]) -> str:
    """Return a message of the library with the option in front where it begins with a keyword."""
    keyword = re.match(r"\w+(?=: | ')", what)
    if keyword is None:
        return what
    name = _OPTIONS.get(keyword.group(), keyword.group())
    options = [param for param in params if param.name == name and isinstance(param, click.Option)]
    return typed_name(options[0]) + what[keyword.end() :] if options else what


def _bounds(wanted: click.IntRange | click.FloatRange) -> list[str]:
    """Return the bounds of a range in words, none where it has none."""
    low = "more than" if wanted.min_open else "at least"
    high = "less than" if wanted.max_open else "at most"
    ends = ((low, wanted.min), (high, wanted.max))
    known = [f"{word} {end:,}" for word, end in ends if end is not None]
    return [" and ".join(known)] if known else []


def _sentence(text: str) -> str:
    return " ".join(text.split()).rstrip(".")


def _stopped(signum: int) -> Explanation:
    name = signal.Signals(signum).name
    return Explanation(
        kind="Interrupted",
        what=f"stopped by {name}",
        exit_code=128 + signum,
        hint="Nothing that was under way has been written; the same command starts again.",
    )


def _missing(name: str) -> Explanation:
    package = name.split(".")[0]
    what = f"{package} is not installed: pip install {package}"
    return Explanation(kind=MissingDependencyError.__name__, what=what, exit_code=3)


def _operating_system(error: OSError) -> Explanation:
    name = error.filename if isinstance(error.filename, str) else repr(error.filename)
    return Explanation(
        kind=type(error).__name__,
        what=f"{name}: {error.strerror or error}",
        exit_code=3,
        hint="Check the path, its permissions and the space that is left.",
    )


def _bug(error: BaseException) -> Explanation:
    text = str(error)
    if len(text) > 300:
        text = text[:300] + " ..."
    return Explanation(
        kind=type(error).__name__,
        what=f"{type(error).__name__}: {text}" if text else type(error).__name__,
        exit_code=1,
        expected="no such error; this is a bug of landscape",
        got=f"it at {_place(error)}, landscape {__version__}, Python {platform.python_version()}",
        hint="Please report it with the traceback, which the same command with --debug prints.",
    )


def _place(error: BaseException) -> str:
    """Return the innermost frame of our own code."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if OURS & set(Path(frame.filename).parts[-4:-1])] or frames[-1:]
    return f"{'/'.join(Path(own[-1].filename).parts[-2:])}:{own[-1].lineno}" if own else "an unknown place"


def write_traceback(error: BaseException) -> None:
    """Write the whole traceback to standard error."""
    text = "".join(traceback.format_exception(error))
    write_err(printable_lines(text.rstrip()))
