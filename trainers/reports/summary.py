"""Lists the runs in a folder and how much of each is finished. No jax."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from landscape.errors import LandscapeError, RunError
from trainers.runs import CONFIG_NAME, Run, explained, folder_path, is_locked, open_run

__all__ = ["MethodSummary", "RunSummary", "summaries", "summary"]

_DEPTH = 4


@dataclasses.dataclass(frozen=True, kw_only=True)
class MethodSummary:
    """How much of a method is finished.

    Attributes
    ----------
    name : str
        The method.
    num_finished, num_checkpoints : int
        Checkpoints on disk, and those that there will be.
    scores : tuple of (float, float)
        (density, mean over seeds of the metric) of the first and last level for
        which all seeds are finished.
    intervals : tuple of ((float, float) or None)
        The 95 % interval of each mean, as `Run.score` has it.
    """

    name: str
    num_finished: int
    num_checkpoints: int
    scores: tuple[tuple[float, float], ...]
    intervals: tuple[tuple[float, float] | None, ...] = ()


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunSummary:
    """How much of a run is finished.

    Attributes
    ----------
    path : Path
        Its folder.
    name, task : str
        From its configuration.
    state : str
        ``"finished"``, ``"running"``, ``"unfinished"`` or ``"unreadable"``.
    seeds : tuple of int
        Train seeds.
    metric : str
        What `MethodSummary.scores` are.
    methods : tuple of MethodSummary
        In the order of the configuration.
    reason : str or None
        Why it cannot be read; nothing else is known then.
    """

    path: Path
    name: str
    task: str
    state: str
    seeds: tuple[int, ...]
    metric: str
    methods: tuple[MethodSummary, ...]
    reason: str | None = None

    @property
    def num_finished(self) -> int:
        """Checkpoints on disk."""
        return sum(method.num_finished for method in self.methods)

    @property
    def num_checkpoints(self) -> int:
        """Checkpoints that there will be."""
        return sum(method.num_checkpoints for method in self.methods)

    def to_dict(self) -> dict[str, Any]:
        """Return the summary as plain JSON types."""
        counts = {"num_finished": self.num_finished, "num_checkpoints": self.num_checkpoints}
        return {**dataclasses.asdict(self), **counts, "path": str(self.path)}


def summaries(folder: str | Path) -> list[RunSummary]:
    """Return the runs in a folder and those below it, by path; a run's own folder is one run.

    A run that cannot be read is listed as such, unless it is the folder itself.

    Raises
    ------
    RunError
        If there is no such folder, no run in it, or it is a run that cannot be read.
    """
    root = folder_path(folder)
    with explained(root, "cannot be looked at"):
        if not root.is_dir():
            raise RunError(f"{root}: no such folder", expected="a run, or a folder of runs")
        found = sorted(_runs(root, _DEPTH))
    if not found:
        hint = "landscape train makes one."
        raise RunError(f"{root}: no run in it", expected=f"folders that hold {CONFIG_NAME}", hint=hint)
    return [summary(path)] if (path := found[0]) == root else [_listed(path) for path in found]


def _listed(path: Path) -> RunSummary:
    """Return how much of one run among others is finished, or why it cannot be read."""
    try:
        return summary(path)
    except (LandscapeError, OSError) as error:
        lines = [getattr(error, "what", str(error)), getattr(error, "got", None)]
        reason = ": ".join(line for line in lines if line)
        return RunSummary(
            path=path,
            name=path.name,
            task="",
            state="unreadable",
            seeds=(),
            metric="",
            methods=(),
            reason=reason,
        )


def _runs(folder: Path, depth: int) -> Iterator[Path]:
    if (folder / CONFIG_NAME).is_file():
        yield folder
    elif depth:
        for entry in folder.iterdir():
            if entry.is_dir() and not entry.is_symlink():
                yield from _runs(entry, depth - 1)


def summary(path: str | Path) -> RunSummary:
    """Return how much of one run is finished.

    Raises
    ------
    RunError
        If it is not a run.
    """
    run = open_run(path)
    methods = tuple(_method(run, name) for name in run.methods)
    finished = all(method.num_finished == method.num_checkpoints for method in methods)
    state = "running" if is_locked(run.path) else "finished" if finished else "unfinished"
    return RunSummary(
        path=run.path,
        name=run.config.name,
        task=run.config.task,
        state=state,
        seeds=run.seeds,
        metric=" ".join(run.headline),
        methods=methods,
    )


def _method(run: Run, name: str) -> MethodSummary:
    schedule = run.config.resolved(name).pruning.schedule
    levels = [set(run.levels(name, seed)) for seed in run.seeds]
    whole = sorted(set.intersection(*levels) & set(range(len(schedule))))
    ends = sorted({whole[0], whole[-1]} if whole else ())
    found = [(schedule[level], score) for level in ends if (score := run.score(name, level)) is not None]
    return MethodSummary(
        name=name,
        num_finished=sum(len(found & set(range(len(schedule)))) for found in levels),
        num_checkpoints=len(run.seeds) * len(schedule),
        scores=tuple((density, mean) for density, (mean, _) in found),
        intervals=tuple(interval for _, (_, interval) in found),
    )
