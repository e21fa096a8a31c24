"""The folder of a run: who writes to it, what is finished, what was measured, how it is read. No jax.

::

    run.toml                     the configuration; earlier ones are run-1.toml, run-2.toml, …
    lock                         held by the process that writes
    metrics.jsonl                one row an evaluation: no clock times, the same in every repetition
    events.jsonl                 when the run started, went on, changed, finished
    <method>/seed-<s>/level-<kk>.h5      one checkpoint a seed and level, published whole
    <method>/seed-<s>/level-<kk>.step-<n>.h5     from within a level, where they are asked for
    <method>/state.h5            the state of a level under way
    results/                     of analyses
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
import socket
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from landscape.errors import RunError
from trainers._files import (
    append_rows,
    explained,
    folder_path,
    make_folder,
    publish,
    read_rows,
    sweep,
)
from trainers._lock import RunLock
from trainers._resume import CONFIG_NAME, refuse_changes, refuse_foreign, stored_config
from trainers.config import RunConfig, changed_keys, to_dict, to_toml

if TYPE_CHECKING:
    from landscape.checkpoint import Checkpoint

__all__ = ["Run", "RunCheckpoint", "RunFolder", "open_run"]

_LEVEL = re.compile(r"level-(\d{2,})\.h5")
_STEP = re.compile(r"level-\d{2,}\.step-(\d{6,})\.h5")
_HEADER = "# A run of landscape: the configuration that it was started, or last resumed, with.\n"


def _level_path(folder: Path, method: str, seed: int, level: int) -> Path:
    return folder / method / f"seed-{seed}" / f"level-{level:02d}.h5"


def _step_path(level: Path, step: int) -> Path:
    return level.with_name(f"{level.stem}.step-{step:06d}.h5")


class RunFolder:
    """A run folder that this process writes to; a context manager that holds the lock.

    Attributes
    ----------
    path : Path
        The folder.
    config : RunConfig
        The configuration, as ``run.toml`` has it now.
    notes : tuple of str
        What the user should know: a stale lock that was taken over, a changed configuration.
    """

    def __init__(self, path: Path, config: RunConfig, lock: RunLock) -> None:
        self.path = path
        self.config = config
        self._lock = lock
        self.notes: tuple[str, ...] = () if lock.note is None else (lock.note,)

    @classmethod
    def open(cls, path: str | Path, config: RunConfig, *, resume: bool = False) -> RunFolder:
        """Create a run folder, or go on with the run in it.

        Parameters
        ----------
        path : path
            The folder: missing, empty, or with `resume` a run.
        config : RunConfig
            What is to be trained.
        resume : bool
            Go on with a run of the same configuration. More levels after the old ones, more seeds,
            more methods, another name and anything of ``runtime`` are taken and recorded: the
            former ``run.toml`` is kept as ``run-<n>.toml``, and the event lists the changed keys.
            Where there is no run yet, one is begun.

        Raises
        ------
        RunError
            If the folder holds something else, or a run and `resume` is false; if another process
            writes to it; if the configuration has changed otherwise; if it cannot be written.
        """
        folder = folder_path(path)
        refuse_foreign(folder)
        made = make_folder(folder)
        try:
            lock = RunLock.acquire(folder)
        except BaseException:
            _unmake(made)
            raise
        try:
            run = cls(folder, config, lock)
            run._begin(resume=resume)
        except BaseException:
            _unmake(made, lock)
            lock.release()
            raise
        return run

    def _begin(self, *, resume: bool) -> None:
        """Check what is there, sign the lock, and write the configuration."""
        stored = self.path / CONFIG_NAME
        with explained(self.path, "cannot be looked at"):
            there = stored.exists()
        if there and not resume:
            hint = "Go on with it by --resume (resume=True), or choose another folder."
            raise RunError(f"{self.path}: holds a run already", expected="a new or empty folder", hint=hint)
        old = stored_config(self.path) if there else None
        if old is not None:
            refuse_changes(self.path, old, self.config)
        self._lock.sign()
        self._write_config(stored, old)
        for folder in (self.path, *self.path.glob("*/"), *self.path.glob("*/seed-*/")):
            if folder != self.path / "results":  # other processes write there
                sweep(folder)
        self.event(
            "resumed" if there else "started", host=socket.gethostname(), pid=os.getpid(), notes=self.notes
        )

    def _write_config(self, stored: Path, old: RunConfig | None) -> None:
        keys = changed_keys(to_dict(old), to_dict(self.config)) if old is not None else []
        kept = None
        if keys:
            kept = next(path for n in _numbers() if not (path := self.path / f"run-{n}.toml").exists())
            with explained(stored, "cannot be read"):
                former = stored.read_bytes()
            publish(kept, former)
        if keys or old is None:
            publish(stored, (_HEADER + to_toml(self.config)).encode())
        if kept is not None:
            self.event("configuration changed", keys=keys, former=kept.name)
            self.notes += (f"configuration extended ({', '.join(keys)}); the former is {kept.name}",)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Release the lock; nothing can be written afterwards."""
        self._lock.release()

    @property
    def results(self) -> Path:
        """The folder for results of analyses, made at the first use."""
        make_folder(self.path / "results")
        return self.path / "results"

    def level_path(self, method: str, seed: int, level: int) -> Path:
        """Return where the checkpoint of a method, train seed and level (from 0) belongs.

        Its folder is made.
        """
        path = _level_path(self.path, method, seed, level)
        make_folder(path.parent)
        return path

    def step_path(self, method: str, seed: int, level: int, step: int) -> Path:
        """Return where a checkpoint from within a level belongs. Its folder is made."""
        return _step_path(self.level_path(method, seed, level), step)

    def is_finished(self, method: str, seed: int, level: int) -> bool:
        """Return whether that checkpoint is there; it is complete then, as it is published whole."""
        return _level_path(self.path, method, seed, level).is_file()

    def partial_path(self, method: str) -> Path:
        """Return where the state of a level under way belongs. Its folder is made."""
        make_folder(self.path / method)
        return self.path / method / "state.h5"

    def append_metrics(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Append rows to ``metrics.jsonl``; they are on the disk when this returns.

        Each row is one line of strict JSON with sorted keys; what is not finite becomes null.
        """
        self._check_open()
        append_rows(self.path / "metrics.jsonl", rows)

    def read_metrics(self) -> list[dict[str, Any]]:
        """Return the rows of ``metrics.jsonl``; a last line that a crash tore is left out."""
        return [row for _, row in read_rows(self.path / "metrics.jsonl")]

    def trim_metrics(self, keep: Callable[[dict[str, Any]], bool]) -> None:
        """Drop the rows for which ``keep(row)`` is false, atomically; the others stay byte for byte."""
        self._check_open()
        path = self.path / "metrics.jsonl"
        rows = read_rows(path)
        kept = [line for line, row in rows if keep(row)]
        with explained(path, "cannot be read"):
            same = not path.exists() or path.read_bytes() == b"".join(kept)
        if not same:
            publish(path, b"".join(kept))

    def event(self, kind: str, **fields: Any) -> None:
        """Append an event, with the time of day, to ``events.jsonl``."""
        self._check_open()
        time = datetime.now(UTC).isoformat(timespec="milliseconds")
        append_rows(self.path / "events.jsonl", [{**fields, "event": kind, "time": time}])

    def _check_open(self) -> None:
        if not self._lock.held:
            hint = "Open it again; a forked process may not write to the run of its parent."
            raise RunError(f"{self.path}: the run folder is closed", hint=hint)


def _numbers() -> Any:
    return iter(range(1, 1_000_000))


def _unmake(made: Sequence[Path], lock: RunLock | None = None) -> None:
    """Remove folders made for a run that could not begin.

    Only the holder of the lock may remove it: a process that came second may have made the folder
    in which the first is about to write.
    """
    with contextlib.suppress(OSError):
        if made and not (made[-1] / CONFIG_NAME).exists():
            if lock is not None:
                lock.path.unlink(missing_ok=True)
            for folder in reversed(made):
                folder.rmdir()


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunCheckpoint:
    """One checkpoint of a run.

    Attributes
    ----------
    method : str
        ``<trainer>-<score>``.
    seed, init_seed : int
        Train seed, and seed of the initialisation.
    level : int
        From 0, the dense one.
    density : float
        The scheduled density of the level.
    path : Path
        The file.
    step : int or None
        Steps of training in the level; None at its end.
    """

    method: str
    seed: int
    init_seed: int
    level: int
    density: float
    path: Path
    step: int | None = None

    def load(self) -> Checkpoint:
        """Read the file, as `landscape.load` does."""
        from landscape.checkpoint import load

        return load(self.path)

    @property
    def info(self) -> Mapping[str, Any]:
        """What the file says of itself: metrics, exact densities, versions."""
        return self.load().info or {}


class Run:
    """A run folder that is only read; made by `open_run`."""

    def __init__(self, path: Path, config: RunConfig) -> None:
        self.path = path
        self.config = config

    def __repr__(self) -> str:
        return f"Run({self.path}; methods {', '.join(self.methods)}; seeds {self.seeds})"

    @property
    def methods(self) -> tuple[str, ...]:
        """Methods, in the order of the configuration."""
        return self.config.methods

    @property
    def seeds(self) -> tuple[int, ...]:
        """Train seeds, in the order of the configuration."""
        return tuple(seeds.train for seeds in self.config.seeds)

    def schedule(self, method: str) -> tuple[float, ...]:
        """Return the density of every level of a method."""
        return self.config.resolved(method).pruning.schedule

    def levels(self, method: str, seed: int) -> list[int]:
        """Return the finished levels of a method and seed."""
        folder = self.path / method / f"seed-{seed}"
        found = [_LEVEL.fullmatch(entry.name) for entry in folder.iterdir()] if folder.is_dir() else []
        return sorted(int(match[1]) for match in found if match)

    def checkpoints(
        self, *, method: str | None = None, seed: int | None = None, level: int | None = None
    ) -> list[RunCheckpoint]:
        """Return the finished checkpoints, by method, seed and level; each argument selects."""
        found = []
        for name in self.methods:
            schedule = self.schedule(name)
            for seeds in self.config.seeds:
                if method not in (None, name) or seed not in (None, seeds.train):
                    continue
                for index in self.levels(name, seeds.train):
                    if level in (None, index) and index < len(schedule):
                        path = self.path / name / f"seed-{seeds.train}" / f"level-{index:02d}.h5"
                        found.append(
                            RunCheckpoint(
                                method=name,
                                seed=seeds.train,
                                init_seed=seeds.init,
                                level=index,
                                density=schedule[index],
                                path=path,
                            )
                        )
        return found

    def trajectory(self, method: str, seed: int, level: int) -> list[RunCheckpoint]:
        """Return the checkpoints from within a level and the one at its end, by step."""
        last = self.checkpoints(method=method, seed=seed, level=level)
        kept = []
        for path in (self.path / method / f"seed-{seed}").glob(f"level-{level:02d}.step-*.h5"):
            if found := _STEP.fullmatch(path.name):
                kept.append((int(found[1]), path))
        return [
            *(dataclasses.replace(end, path=path, step=step) for end in last for step, path in sorted(kept)),
            *last,
        ]

    @cached_property
    def infos(self) -> dict[tuple[str, int, int], Mapping[str, Any]]:
        """The info of every checkpoint by (method, seed, level), each file read once."""
        return {(c.method, c.seed, c.level): c.info for c in self.checkpoints()}

    def accuracies(
        self, method: str, level: int, *, split: str = "test", metric: str = "accuracy"
    ) -> np.ndarray:
        """Return a metric of the final solution, one value a seed, where it is stored."""
        found = [
            info["metrics"][split][metric]
            for (name, _, index), info in self.infos.items()
            if name == method and index == level and metric in info.get("metrics", {}).get(split, {})
        ]
        return np.asarray(found, np.float64)

    def metrics(self) -> list[dict[str, Any]]:
        """Return the lines of ``metrics.jsonl``."""
        return [row for _, row in read_rows(self.path / "metrics.jsonl")]

    def events(self) -> list[dict[str, Any]]:
        """Return the lines of ``events.jsonl``."""
        return [row for _, row in read_rows(self.path / "events.jsonl")]

    def summary_rows(self) -> list[tuple[str, str]]:
        """Return test accuracy at the first and the last finished level of every method."""
        rows = []
        for method in self.methods:
            found = self.checkpoints(method=method)
            parts = []
            for level in sorted({0, max((c.level for c in found), default=0)}):
                values = self.accuracies(method, level)
                if values.size:
                    density = self.schedule(method)[level]
                    parts.append(f"{values.mean():.4f} at {100 * density:.3g} %")
            rows.append((f"{method}, test accuracy", ", ".join(parts) or f"{len(found)} checkpoints"))
        return rows


def open_run(path: str | Path) -> Run:
    """Open the folder of a run for reading.

    Raises
    ------
    RunError
        If there is no such folder, it is not that of a run, or its configuration cannot be read.
    """
    folder = folder_path(path)
    with explained(folder, "cannot be looked at"):
        if not folder.exists():
            raise RunError(f"{folder}: no such folder", expected="the folder of a run")
        if not folder.is_dir():
            hint = f"Give the folder, {folder.parent}." if folder.name == CONFIG_NAME else None
            raise RunError(f"{folder}: is a file", expected="the folder of a run", hint=hint)
        if not (folder / CONFIG_NAME).is_file():
            inside = sorted(str(found.parent) for found in folder.glob(f"*/{CONFIG_NAME}"))[:3]
            hint = f"Runs are in {', '.join(inside)}." if inside else "landscape train makes one."
            raise RunError(f"{folder}: not a run", expected=f"a folder that holds {CONFIG_NAME}", hint=hint)
    return Run(folder, stored_config(folder))
