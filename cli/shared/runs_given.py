"""A run folder in place of checkpoints: the checkpoints at the ends of its levels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from landscape.errors import InputError

__all__ = ["expanded", "runs_among"]


def runs_among(paths: Sequence[Path]) -> set[Path]:
    """Return the paths that are folders of runs.

    Other folders may be checkpoints of other tools; a folder that stands alone can only be meant as a run.
    """
    alone = len(paths) == 1
    return {path for path in paths if (path / "run.toml").is_file() or (alone and path.is_dir())}


def expanded(paths: Sequence[Path]) -> tuple[Path, ...]:
    """Return the files; a run folder becomes its finished checkpoints, by method, seed and level.

    Raises
    ------
    RunError
        If a folder is not a run.
    InputError
        If nothing of a run is finished.
    """
    found: list[Path] = []
    runs = runs_among(paths)
    for path in paths:
        if path not in runs:
            found.append(path)
            continue
        from trainers import open_run

        ends = [end.path for end in open_run(path).checkpoints()]
        if not ends:
            raise InputError(
                f"{path}: no level of this run is finished",
                expected="at least one checkpoint at the end of a level",
                hint=f"See landscape runs {path.parent}, or go on with landscape train.",
            )
        found += ends
    return tuple(found)
