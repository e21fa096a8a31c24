"""Run folders: where checkpoints, metrics and events of a run lie. No jax.

``run.toml`` (the configuration), ``lock``, ``metrics.jsonl`` (one line an evaluation, the same
however often a run was stopped), ``events.jsonl`` (what happened when), ``<method>/seed-<s>/
level-<kk>.h5`` and ``results/``.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import json
import os
import re
import secrets
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from landscape import Checkpoint, load
from landscape._json import jsonable
from landscape.errors import ConfigurationError, RunError
from trainers._lock import RunLock
from trainers.config import RunConfig, changed_keys, from_dict, to_dict, to_toml

__all__ = ["Run", "RunCheckpoint", "RunFolder", "open_run"]

_LEVEL = re.compile(r"level-(\d{2,})\.h5")


class RunFolder:
    """A run folder that is being written; made by `RunFolder.open`, used as a context manager."""

    def __init__(self, path: Path, config: RunConfig, lock: RunLock) -> None:
        self.path = path
        self.config = config
        self._lock = lock

    @classmethod
    def open(cls, path: str | Path, config: RunConfig, *, resume: bool = False) -> RunFolder:
        """Create a run folder, or take up the one that is there.

        Raises
        ------
        RunError
            If the folder is in use, is not a run, holds a run and `resume` is false, cannot be
            written, or was made with a configuration that differs in more than further levels,
            seeds, methods, its name or the runtime section.
        """
        path = Path(path).expanduser()
        with _refused(path):
            exists = (path / "run.toml").exists()
            if path.exists() and not path.is_dir():
                raise RunError(f"{path}: is a file", expected="a folder", hint="Choose another name with -o.")
            if not exists and path.is_dir() and any(e.name != "lock" for e in path.iterdir()):
                raise RunError(
                    f"{path}: is not empty and not a run",
                    hint="Choose another folder with -o; nothing was touched.",
                )
            path.mkdir(parents=True, exist_ok=True)
            lock = RunLock(path / "lock")
            lock.acquire()
        try:
            folder = cls(path, config, lock)
            folder._start(resume=resume)
        except BaseException:
            lock.release()
            raise
        return folder

    def _start(self, *, resume: bool) -> None:
        target = self.path / "run.toml"
        with _refused(self.path):
            if not target.exists():
                _publish(target, to_toml(self.config))
                self.event("started")
                return
            if not resume:
                raise RunError(
                    f"{self.path}: holds a run already",
                    hint="Go on with it by --resume (resume=True), or choose another folder with -o.",
                )
            self._check_same(_read_config(target))
            if self._lock.stale is not None:
                self.event("lock taken over", former=self._lock.stale)
            self.event("resumed", configuration=to_dict(self.config))
            _publish(target, to_toml(self.config))

    def _check_same(self, stored: RunConfig) -> None:
        """Refuse changes of what is trained already; what is only added is welcome."""
        old, new = to_dict(stored), to_dict(self.config)
        changed = [key for key in changed_keys(old, new) if not key.startswith("runtime.") and key != "name"]
        kept = [key for key in changed if not _extends(key, stored, self.config)]
        if kept:
            listed = [f"{key}: was {_at(old, key)!r}, now {_at(new, key)!r}" for key in kept]
            raise RunError(
                f"{self.path}: the configuration has changed",
                expected="the same one, or more levels, seeds or methods",
                got="; ".join(listed),
                hint="Choose another folder with -o, or take the changes back.",
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lock.release()

    def level_path(self, method: str, seed: int, level: int) -> Path:
        """Return where the checkpoint of a level lies; its folder is made."""
        folder = self.path / method / f"seed-{seed}"
        folder.mkdir(parents=True, exist_ok=True)
        return folder / f"level-{level:02d}.h5"

    def is_finished(self, method: str, seed: int, level: int) -> bool:
        """Return whether a level is on disk; files appear complete or not at all."""
        return (self.path / method / f"seed-{seed}" / f"level-{level:02d}.h5").exists()

    def partial_path(self, method: str) -> Path:
        """Return where the state within a level of `method` is kept."""
        folder = self.path / method
        folder.mkdir(parents=True, exist_ok=True)
        return folder / "state.h5"

    def append_metrics(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Add lines to ``metrics.jsonl`` and see them on disk."""
        _append(self.path / "metrics.jsonl", rows)

    def read_metrics(self) -> list[dict[str, Any]]:
        """Return the lines of ``metrics.jsonl``; a torn last line is left out."""
        return _read_lines(self.path / "metrics.jsonl")

    def trim_metrics(self, keep: Callable[[dict[str, Any]], bool]) -> None:
        """Keep only some lines of ``metrics.jsonl``; the file is replaced atomically."""
        path = self.path / "metrics.jsonl"
        if not path.exists():
            return
        text = "".join(_line(row) for row in self.read_metrics() if keep(row))
        if text.encode() != path.read_bytes():
            _publish(path, text)

    def event(self, kind: str, **fields: Any) -> None:
        """Add an event with the time of day to ``events.jsonl``."""
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        _append(self.path / "events.jsonl", [{"time": now, "event": kind, "pid": os.getpid(), **fields}])

    @property
    def results(self) -> Path:
        """The folder of results, made at the first use."""
        folder = self.path / "results"
        folder.mkdir(exist_ok=True)
        return folder


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunCheckpoint:
    """One level of one seed.

    Attributes
    ----------
    method : str
        ``es-snr``, say.
    seed, init_seed : int
        Train seed and initialisation seed.
    level : int
        0 is dense.
    density : float
        Scheduled density of the prunable weights.
    path : Path
        The file.
    """

    method: str
    seed: int
    init_seed: int
    level: int
    density: float
    path: Path

    def load(self) -> Checkpoint:
        """Return the checkpoint."""
        return load(self.path)

    @property
    def info(self) -> Mapping[str, Any]:
        """The checkpoint's info: metrics, densities, seeds."""
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

    def levels(self, method: str, seed: int) -> list[int]:
        """Return the finished levels of a method and seed."""
        folder = self.path / method / f"seed-{seed}"
        found = [_LEVEL.fullmatch(entry.name) for entry in folder.iterdir()] if folder.is_dir() else []
        return sorted(int(match[1]) for match in found if match)

    def checkpoints(
        self, *, method: str | None = None, seed: int | None = None, level: int | None = None
    ) -> list[RunCheckpoint]:
        """Return the finished checkpoints, by method, seed and level; each argument selects."""
        schedule = self.config.pruning.schedule
        found = []
        for name in self.methods:
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
        return _read_lines(self.path / "metrics.jsonl")

    def summary_rows(self) -> list[tuple[str, str]]:
        """Return test accuracy at the first and the last finished level of every method."""
        rows = []
        for method in self.methods:
            found = self.checkpoints(method=method)
            parts = []
            for level in sorted({0, max((c.level for c in found), default=0)}):
                values = self.accuracies(method, level)
                if values.size:
                    density = self.config.pruning.schedule[level]
                    parts.append(f"{values.mean():.4f} at {100 * density:.3g} %")
            rows.append((f"{method}, test accuracy", ", ".join(parts) or f"{len(found)} checkpoints"))
        return rows


def open_run(path: str | Path) -> Run:
    """Open a run folder for reading, without a lock.

    Raises
    ------
    RunError
        If the folder holds no run.
    """
    path = Path(path).expanduser()
    target = path / "run.toml"
    if not target.is_file():
        raise RunError(f"{path}: not a run folder", expected="a folder with run.toml", hint="Check the path.")
    return Run(path, _read_config(target))


def _read_config(path: Path) -> RunConfig:
    try:
        return from_dict(tomllib.loads(path.read_text(encoding="utf-8")), where=str(path))
    except (OSError, ValueError) as error:
        if isinstance(error, ConfigurationError):
            raise
        raise RunError(f"{path}: cannot be read", got=str(error)) from error


def _extends(key: str, old: RunConfig, new: RunConfig) -> bool:
    """Return whether the change at `key` only adds to what is there."""
    if key in ("pruning.levels", "pruning.densities", "pruning.ratio"):
        before, after = old.pruning.schedule, new.pruning.schedule
        return after[: len(before)] == before
    if key == "methods":
        return set(old.methods) <= set(new.methods)
    # A seed trains in the same batch as its fellows, so only seeds behind them can be added.
    return key == "seeds" and set(old.seeds) <= set(new.seeds)


def _at(values: Mapping[str, Any], key: str) -> Any:
    for part in key.split("."):
        values = values.get(part, {}) if isinstance(values, Mapping) else {}
    return values


@contextlib.contextmanager
def _refused(path: Path) -> Iterator[None]:
    """Turn what the operating system refuses into an error that names the folder."""
    try:
        yield
    except OSError as error:
        raise RunError(
            f"{path}: cannot be used as a run folder",
            got=error.strerror or str(error),
            hint="Choose a folder that can be written, with -o.",
        ) from error


def _publish(path: Path, text: str) -> None:
    """Replace a small text file atomically."""
    temporary = path.with_name(f".landscape-{os.getpid()}-{secrets.token_hex(4)}.partial")
    try:
        with temporary.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _line(row: Mapping[str, Any]) -> str:
    return json.dumps(jsonable(row), sort_keys=True, allow_nan=False, ensure_ascii=False) + "\n"


def _append(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    with _refused(path), path.open("a", encoding="utf-8") as file:
        file.write("".join(_line(row) for row in rows))
        file.flush()
        os.fsync(file.fileno())


def _read_lines(path: Path) -> list[dict[str, Any]]:
    if not path.exists():
        return []
    rows = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True):
        with contextlib.suppress(ValueError):
            if line.endswith("\n"):
                rows.append(json.loads(line))
    return rows
