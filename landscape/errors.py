"""Errors that say what to do.

Every error that a user can cause is a `LandscapeError`: what happened and where, what was expected
and what came, and the next step. The command line prints those three lines and turns `exit_code`
into the exit status; nothing else in the package decides how a process ends.
"""

from __future__ import annotations

from collections.abc import Iterable

__all__ = [
    "ArchitectureMismatchError",
    "CheckpointError",
    "CodeRefusedError",
    "ConfigurationError",
    "DataError",
    "DeviceMemoryError",
    "InputError",
    "InterruptedRunError",
    "LandscapeError",
    "MaskError",
    "MissingDependencyError",
    "NonFiniteError",
    "OutputExistsError",
    "ProblemError",
    "RunError",
    "did_you_mean",
    "first_line",
    "nearest",
]


class LandscapeError(Exception):
    """Base of all errors raised on purpose.

    Parameters
    ----------
    what : str
        What went wrong, and where (file, tree path, configuration key).
    expected, got : str, optional
        What the library needed and what it was given.
    hint : str, optional
        The next step for the user.
    """

    exit_code = 1

    def __init__(
        self, what: str, *, expected: str | None = None, got: str | None = None, hint: str | None = None
    ) -> None:
        self.what = what
        self.expected = expected
        self.got = got
        self.hint = hint
        super().__init__("\n".join(self.lines()))

    def lines(self) -> list[str]:
        """Return the message as at most three lines: what, expected and got, what to do."""
        parts = [f"{name} {text}" for name, text in (("expected", self.expected), ("got", self.got)) if text]
        lines = [self.what, "; ".join(parts), self.hint or ""]
        return [line for line in lines if line]

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle by keyword state, so that errors cross process boundaries whole."""
        return (_rebuild, (type(self), self.what, dict(self.__dict__)))


def _rebuild(cls: type[LandscapeError], what: str, state: dict[str, object]) -> LandscapeError:
    error = cls.__new__(cls)
    Exception.__init__(error, what)
    error.__dict__.update(state)
    error.args = ("\n".join(error.lines()),)
    return error


class ConfigurationError(LandscapeError, ValueError):
    """A command or configuration that is invalid: exit status 2.

    `problems` lists every fault found, so that a user mends them all at once.
    """

    exit_code = 2

    def __init__(self, what: str, *, problems: tuple[str, ...] = (), **details: str | None) -> None:
        self.problems = problems
        super().__init__(what, **details)

    def lines(self) -> list[str]:
        """Return the summary, one line per problem, and what to do."""
        head, *rest = super().lines()
        return [head, *(f"  {problem}" for problem in self.problems), *rest]


class InputError(LandscapeError, ValueError):
    """Input that was refused: exit status 3, nothing written."""

    exit_code = 3


class CheckpointError(InputError):
    """A file that is not a valid checkpoint or result, or one that could not be written."""


class CodeRefusedError(InputError):
    """A function that a file names and the user does not name: it is neither imported nor run."""


class ArchitectureMismatchError(InputError):
    """Two parameter trees that do not describe the same network."""


class MaskError(InputError):
    """A mask whose tree, shape or values do not fit its parameters."""


class NonFiniteError(InputError):
    """Weights that hold NaN or infinity."""


class ProblemError(InputError):
    """A loss, metric or data split that cannot be evaluated as it stands."""


class DataError(InputError):
    """A data-set file that is missing, damaged or of the wrong kind."""


class RunError(InputError):
    """A run folder that is in use, or does not fit the request."""


class OutputExistsError(InputError):
    """An existing file that would be overwritten."""


class DeviceMemoryError(InputError):
    """The device has too little memory for a batch of the stated size."""


class MissingDependencyError(InputError, ImportError):
    """An optional package that is not installed."""


class InterruptedRunError(LandscapeError):
    """A stop on request (SIGINT, SIGTERM): what was finished is on disk, and the run resumes.

    `signum` is the signal; the exit status is 128 plus its number (130 or 143).
    """

    def __init__(self, what: str, *, signum: int, **details: str | None) -> None:
        self.signum = signum
        self.exit_code = 128 + signum
        super().__init__(what, **details)


def nearest(value: object, known: Iterable[str]) -> str | None:
    """Return the known word nearest to a value, None if none is near; hyphens and capitals do not count.

    Examples
    --------
    >>> nearest("Gauss-Newton", ["hessian", "gauss_newton"])
    'gauss_newton'
    """
    import difflib

    plain = {_plain(word): word for word in known}
    found = difflib.get_close_matches(_plain(value), plain, n=1)
    return plain[found[0]] if found else None


def did_you_mean(value: object, known: Iterable[str]) -> str | None:
    """Return the hint that names the nearest known word; None if none is near."""
    found = nearest(value, known)
    return f"Did you mean {found}?" if found else None


def first_line(error: BaseException) -> str:
    """Return the first line of another library's error, or its type where it says nothing."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _plain(word: object) -> str:
    return str(word).lower().replace("-", "_").replace(" ", "_")
