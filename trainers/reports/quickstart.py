"""The whole story on the built-in digits: tickets by evolution and by gradient descent, and barriers."""

from __future__ import annotations

import csv
import itertools
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from landscape import Problem, loss_barrier
from landscape.compute import SILENT, Progress, shown
from landscape.errors import InterruptedRunError, OutputExistsError
from trainers.config import RunConfig, named_code, resolve
from trainers.reports.quickstart_page import write_page
from trainers.reports.story import BarrierRow, Quickstart, barrier_record
from trainers.runs import Run, RunCheckpoint
from trainers.tickets import train_tickets

__all__ = ["BarrierRow", "Quickstart", "run_quickstart"]

Stop = Callable[[], int | None]


def run_quickstart(
    folder: str | Path,
    *,
    overrides: Sequence[str] = (),
    force: bool = False,
    progress: Progress | None = None,
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
    folder = Path(folder).expanduser()
    page = folder / "quickstart.html"
    if page.exists() and not force:
        raise OutputExistsError(
            f"{page}: already exists",
            expected="a name that is free",
            hint="Give --force, or another folder with -o.",
        )
    config = resolve("quickstart", overrides=overrides)
    progress = shown(progress)
    started = (folder / "run" / "run.toml").exists()
    run = train_tickets(
        config,
        folder / "run",
        resume=started,
        allow_code=named_code(overrides),
        progress=progress,
        should_stop=should_stop,
    )
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
    try:
        for method, kind, a, b in pairs:
            if (signum := should_stop()) is not None:
                raise InterruptedRunError(
                    "stopped between barriers", signum=signum, hint="The same command goes on."
                )
            barrier = loss_barrier(
                problem, a.load(), b.load(), names=(_name(a), _name(b)), refine=False, progress=SILENT
            )
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
    finally:
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


def write_csv(path: Path, records: list[dict[str, Any]]) -> None:
    """Write records as CSV, one row each."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(records[0]) if records else [])
        writer.writeheader()
        writer.writerows(records)
