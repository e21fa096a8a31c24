"""The whole story on the built-in digits: tickets by evolution and by gradient descent, and barriers."""

from __future__ import annotations

import csv
import dataclasses
import itertools
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from landscape import Barrier, Problem, loss_barrier
from landscape.errors import InterruptedRunError, OutputExistsError
from landscape.progress import SILENT, Progress
from trainers.config import RunConfig, resolve
from trainers.runs import Run, RunCheckpoint
from trainers.tickets import train_tickets

__all__ = ["BarrierRow", "Quickstart", "run_quickstart"]

Stop = Callable[[], int | None]


@dataclasses.dataclass(frozen=True, kw_only=True)
class BarrierRow:
    """One barrier of the story.

    Attributes
    ----------
    method : str
        Of both endpoints.
    kind : str
        ``"successive levels"``, ``"runs, one initialisation"`` or ``"runs, two initialisations"``.
    seeds : tuple of int
        Train seeds of the endpoints.
    levels : tuple of int
        Levels of the endpoints.
    density : float
        Weight density of the sparser endpoint.
    barrier : Barrier
        The result.
    """

    method: str
    kind: str
    seeds: tuple[int, int]
    levels: tuple[int, int]
    density: float
    barrier: Barrier


@dataclasses.dataclass(frozen=True, kw_only=True)
class Quickstart:
    """What the quickstart leaves: a run folder, barriers and a page."""

    run: Run
    barriers: list[BarrierRow]
    page: Path

    @property
    def methods_with_barriers(self) -> list[str]:
        """Methods between whose networks barriers were measured."""
        return list(dict.fromkeys(row.method for row in self.barriers))

    def rows(self) -> list[tuple[str, str]]:
        """Return the printed summary."""
        rows = self.run.summary_rows()
        for (method, kind), value in self.mean_barriers().items():
            rows.append((f"barrier {method}, {kind}", f"{value:.3g} (mean, training loss above the chord)"))
        return [*rows, ("page", str(self.page))]

    def mean_barriers(self) -> dict[tuple[str, str], float]:
        """Return the mean barrier above the chord by (method, kind)."""
        groups: dict[tuple[str, str], list[float]] = {}
        for row in self.barriers:
            if row.barrier.barrier_above_chord is not None:
                groups.setdefault((row.method, row.kind), []).append(row.barrier.barrier_above_chord)
        return {key: float(np.mean(values)) for key, values in groups.items()}

    def to_dict(self) -> dict[str, Any]:
        """Return the summary as plain JSON types."""
        return {
            "accuracy": {
                method: {
                    f"{density:.6g}": self.run.accuracies(method, level).tolist()
                    for level, density in enumerate(self.run.schedule(method))
                }
                for method in self.run.methods
            },
            "barriers": [barrier_record(row) for row in self.barriers],
            "page": str(self.page),
            "run": str(self.run.path),
        }


def run_quickstart(
    folder: str | Path,
    *,
    overrides: Sequence[str] = (),
    force: bool = False,
    progress: Progress = SILENT,
    should_stop: Stop = lambda: None,
    plotlyjs: str = "embed",
) -> Quickstart:
    """Train tickets on the digits, measure barriers between them, and write one HTML page.

    Parameters
    ----------
    folder : path
        Receives ``run/`` (checkpoints), ``quickstart.html`` and the tables as CSV. A run that was
        stopped there goes on.
    overrides : sequence of str
        ``key=value`` changes to the preset ``quickstart``.
    force : bool
        Whether an existing page may be replaced.
    progress, should_stop : Progress, callable
        As in `trainers.train_tickets`.
    plotlyjs : str
        ``"embed"``, ``"cdn"`` or ``"directory"``.

    Raises
    ------
    OutputExistsError
        If the page is there and `force` is false.
    InterruptedRunError
        If `should_stop` asked for it; the same call goes on.
    """
    from trainers.quickstart_page import write_page

    folder = Path(folder).expanduser()
    page = folder / "quickstart.html"
    if page.exists() and not force:
        raise OutputExistsError(
            f"{page}: is there already",
            expected="a name that is free",
            hint="Give --force, or another folder with -o.",
        )
    config = resolve("quickstart", overrides=overrides)
    started = (folder / "run" / "run.toml").exists()
    run = train_tickets(config, folder / "run", resume=started, progress=progress, should_stop=should_stop)
    problem = _problem(config)
    barriers = measure_barriers(run, problem, progress=progress, should_stop=should_stop)
    write_csv(folder / "barriers.csv", [barrier_record(row) for row in barriers])
    story = Quickstart(run=run, barriers=barriers, page=page)
    write_page(story, plotlyjs=plotlyjs, force=True)
    return story


def _problem(config: RunConfig) -> Problem:
    from trainers.tasks import load_task

    return load_task(config.task, dict(config.network), **config.task_options).problem


def measure_barriers(
    run: Run, problem: Problem, *, progress: Progress = SILENT, should_stop: Stop = lambda: None
) -> list[BarrierRow]:
    """Return barriers between successive levels and between runs, for the methods that train by score.

    Between runs, pairs of one initialisation (they differ in minibatches and search noise: the
    instability of Frankle et al. 2020) are kept apart from pairs of two: it decides the outcome.
    """
    pairs = list(_pairs(run))
    progress.start("barriers", total=len(pairs))
    rows = []
    for method, kind, a, b in pairs:
        if (signum := should_stop()) is not None:
            raise InterruptedRunError(
                "stopped between barriers", signum=signum, hint="The same command goes on."
            )
        barrier = loss_barrier(problem, a.load(), b.load(), names=(_name(a), _name(b)), refine=False)
        rows.append(
            BarrierRow(
                method=method,
                kind=kind,
                seeds=(a.seed, b.seed),
                levels=(a.level, b.level),
                density=min(a.density, b.density),
                barrier=barrier,
            )
        )
        progress.advance(1)
    progress.stop()
    return rows


def _pairs(run: Run) -> Iterable[tuple[str, str, RunCheckpoint, RunCheckpoint]]:
    methods = [method for method in run.methods if run.config.resolved(method).score != "random"]
    for method in methods:
        for seed in run.seeds:
            levels = run.checkpoints(method=method, seed=seed)
            for a, b in itertools.pairwise(levels):
                yield method, "successive levels", a, b
    for method in methods:
        for level in sorted({0, len(run.schedule(method)) - 1}):
            for a, b in itertools.combinations(run.checkpoints(method=method, level=level), 2):
                shared = a.init_seed == b.init_seed
                yield method, f"runs, {'one initialisation' if shared else 'two initialisations'}", a, b


def _name(checkpoint: RunCheckpoint) -> str:
    return f"{checkpoint.method} seed {checkpoint.seed} at {100 * checkpoint.density:.3g} %"


def barrier_record(row: BarrierRow) -> dict[str, Any]:
    """Return one barrier as a flat record of a table."""
    barrier = row.barrier
    low, high = barrier.interval_above_chord if barrier.interval_above_chord is not None else (None, None)
    test = barrier.barriers.get("test", {}).get("accuracy", {})
    return {
        "method": row.method,
        "kind": row.kind,
        "seed_a": row.seeds[0],
        "seed_b": row.seeds[1],
        "level_a": row.levels[0],
        "level_b": row.levels[1],
        "density": row.density,
        "train_loss_above_chord": barrier.barrier_above_chord,
        "interval_low": low,
        "interval_high": high,
        "train_loss_above_mean": barrier.barrier_above_mean,
        "test_error_above_mean": test.get("above_mean"),
    }


def write_csv(path: Path, records: list[dict[str, Any]]) -> None:
    """Write records as CSV, one row each."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(records[0]) if records else [])
        writer.writeheader()
        writer.writerows(records)
