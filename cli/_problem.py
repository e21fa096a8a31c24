"""The Problem that ``--problem`` names: what the user's own file raises is not a bug of ours."""

from __future__ import annotations

import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

from landscape.errors import InputError, LandscapeError

if TYPE_CHECKING:
    from landscape.problem import Problem


def load(spec: str | None) -> Problem | None:
    """Return the Problem, or None where the checkpoint's own task is meant.

    Raises
    ------
    ConfigurationError
        If there is no such file, module or function.
    InputError
        If it fails, or returns something else.
    """
    if spec is None:
        return None
    # The working folder will be searched too: what lies there must not stand in for our own package.
    import trainers  # noqa: F401
    from landscape.tasks import load_problem

    try:
        return load_problem(spec)
    except (LandscapeError, ModuleNotFoundError):
        raise
    except Exception as error:
        raise InputError(
            f"--problem {spec}: {_place(error)}{type(error).__name__}: {error}",
            hint="The function failed; --debug shows its traceback.",
        ) from error


def _place(error: Exception) -> str:
    if isinstance(error, SyntaxError):
        return f"line {error.lineno}: "
    frames = traceback.extract_tb(sys.exc_info()[2] or error.__traceback__)
    last = frames[-1] if frames else None
    return f"{Path(last.filename).name}:{last.lineno}: " if last else ""
