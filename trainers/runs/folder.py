"""The folder of a run: who writes to it, what is finished, what was measured, how it is read. No jax.

::

    run.toml                     the configuration; earlier ones are run-1.toml, run-2.toml, …
    lock                         held by the process that writes
    metrics.jsonl                one row per evaluation: no clock times, the same in every repetition
    identity.json                digests of data and initialisations, so that none changes in between
    events.jsonl                 when the run started, went on, changed, finished
    <method>/seed-<s>/level-<kk>.h5      one checkpoint per seed and level, published whole
    <method>/seed-<s>/level-<kk>.step-<n>.h5     from within a level, where they are asked for
    <method>/state.h5            the state of a level under way
    results/                     of analyses
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from landscape.errors import RunError
from trainers.config import RunConfig, as_published, as_stored, changed_keys, to_dict, to_toml
from trainers.runs.files import (
    append_rows,
    explained,
    folder_path,
    make_folder,
    publish,
    read_identity,
    read_rows,
    sweep,
)
from trainers.runs.lock import RunLock
from trainers.runs.reader import Run, RunCheckpoint, open_run
from trainers.runs.resume import CONFIG_NAME, refuse_foreign, run_begun

__all__ = ["Run", "RunCheckpoint", "RunFolder", "open_run"]

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
    def open(
        cls,
        path: str | Path,
        config: RunConfig,
        *,
        resume: bool = False,
        check: Callable[[RunFolder], None] = lambda _run: None,
    ) -> RunFolder:
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
        check : callable
            Called with the locked folder before anything of the run is written: whatever it refuses
            leaves the folder as it was.

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
            run._begin(resume=resume, check=check)
        except BaseException:
            _unmake(made, lock)
            lock.release()
            raise
        return run

    def _begin(self, *, resume: bool, check: Callable[[RunFolder], None]) -> None:
        """Check what is there, sign the lock, and write the configuration."""
        stored = self.path / CONFIG_NAME
        old = run_begun(self.path, self.config, resume=resume)
        there = old is not None
        self._lock.sign()
        check(self)
        self._write_config(stored, old)
        for folder in (self.path, *self.path.glob("*/"), *self.path.glob("*/seed-*/")):
            if folder != self.path / "results":  # other processes write there
                sweep(folder)
        # Host and process stand in the lock while it is held; what stays says nothing of them.
        self.event("resumed" if there else "started", stale_lock=self._lock.note is not None)

    def _write_config(self, stored: Path, old: RunConfig | None) -> None:
        before, after = (
            as_stored(to_dict(config or self.config), self.path) for config in (old, self.config)
        )
        keys = changed_keys(before, after)
        kept = None
        if keys:
            kept = next(path for n in _numbers() if not (path := self.path / f"run-{n}.toml").exists())
            with explained(stored, "cannot be read"):
                former = stored.read_bytes()
            publish(kept, former)
        if keys or old is None:
            publish(stored, (_HEADER + to_toml(self.config, folder=self.path)).encode())
        if kept is not None:
            self.event("configuration changed", keys=keys, former=kept.name)
            self.notes += (f"configuration extended ({', '.join(keys)}); the former is {kept.name}",)

    def published_config(self) -> dict[str, Any]:
        """Return the configuration as checkpoints hold it: plain values, names relative to the folder."""
        return as_published(to_dict(self.config), self.path)

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

    def identify(self, digests: Mapping[str, str]) -> None:
        """Record what the run is trained on, or check that it still is that.

        Parameters
        ----------
        digests : mapping
            Digests of data and initialisations; names that are new are added.

        Raises
        ------
        RunError
            If a digest is not the recorded one.
        """
        self._check_open()
        path = self.path / "identity.json"
        known = self.check_identity(digests)
        if set(digests) - set(known):
            text = json.dumps({**known, **digests}, sort_keys=True, indent=1)
            publish(path, text.encode() + b"\n")

    def check_identity(self, digests: Mapping[str, str]) -> dict[str, str]:
        """Return the digests that are recorded; refuse others as `identify` does, and write nothing."""
        known = read_identity(self.path / "identity.json")
        changed = sorted(name for name in digests if known.get(name, digests[name]) != digests[name])
        if changed:
            raise RunError(
                f"{self.path}: trained on something else so far",
                expected="the data and the initialisation that the run began with",
                got=f"another {', another '.join(changed)}",
                hint="Give the same problem and init (or LANDSCAPE_DATA), or begin another run.",
            )
        return known

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
