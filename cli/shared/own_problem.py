"""The Problem that ``--problem`` names. Errors of the user's own file are reported as such."""

from __future__ import annotations

import importlib
import itertools
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

from cli.shared.explaining import OURS
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
    from landscape.problem import load_problem

    try:
        return load_problem(spec)
    except (LandscapeError, ModuleNotFoundError):
        raise
    except SyntaxError as error:
        where = f"{Path(error.filename or spec).name}, line {error.lineno}"
        raise InputError(
            f"--problem {spec}: {where}: {type(error).__name__}: {error.msg}",
            expected="a file of Python",
            hint="Mend that line.",
        ) from error
    except Exception as error:
        raise InputError(
            f"--problem {spec}: {_place(error)}{type(error).__name__}: {error}",
            expected="a function that takes no arguments and returns a Problem",
            hint="Mend it where it fails; --debug shows the traceback.",
        ) from error


def _place(error: Exception) -> str:
    """Return the line of the user's own file, or nothing where none was under way."""
    frames = traceback.extract_tb(sys.exc_info()[2] or error.__traceback__)
    own = list(itertools.dropwhile(_on_the_way, frames))
    last = [frame for frame in own if frame.filename == own[0].filename][-1:]
    return "".join(f"{Path(frame.filename).name}:{frame.lineno}: " for frame in last)


def _on_the_way(frame: traceback.FrameSummary) -> bool:
    """Return whether a frame is ours, or of the machinery of imports."""
    home = Path(__file__).parent.parent.parent
    ours = any(Path(frame.filename).is_relative_to(home / name) for name in OURS)
    return ours or frame.filename.startswith("<frozen") or frame.filename == importlib.__file__
