"""Iterative pruning: train, score, prune, rewind to the initialisation, train again.

Levels are sequential by nature, seeds are not: all seeds of a method train as one batch in one
compiled program, which serves every level and every method of the same trainer. Each level of each
seed becomes one checkpoint; the next level needs nothing but that checkpoint, so a run that stops
goes on from its files.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax

from landscape import Checkpoint, Problem, load, save
from landscape.errors import ConfigurationError, InterruptedRunError
from landscape.progress import SILENT, Progress
from trainers._record import level_checkpoint, shared_checkpoint, step_checkpoint
from trainers._ticket import Space, Ticket, Tickets
from trainers._trainable import require_trainable
from trainers.config import RunConfig, SeedsConfig
from trainers.engine import Engine
from trainers.evaluation import map_replicates, mean_loss, population_evaluator
from trainers.evolution import Evolution
from trainers.gradient import Gradient
from trainers.methods import Method
from trainers.pruning import mask_overlap
from trainers.runs import Run, RunFolder, open_run
from trainers.training import Hooks, LevelRunner, snapshot_step

__all__ = ["train_tickets"]

PyTree = Any
Init = Callable[[int], PyTree]


def train_tickets(
    config: RunConfig,
    folder: str | Path,
    *,
    problem: Problem | None = None,
    init: Init | None = None,
    optimizer: optax.GradientTransformation | None = None,
    resume: bool = False,
    progress: Progress = SILENT,
    should_stop: Callable[[], int | None] = lambda: None,
) -> Run:
    """Train every method, seed and level of a configuration into a run folder.

    Parameters
    ----------
    config : RunConfig
        What to train; see `trainers.config`.
    folder : path
        The run folder, created if missing.
    problem, init : Problem and callable, optional
        Your own loss and data, and ``init(seed) -> params``; by default those of ``config.task``.
    optimizer : optax.GradientTransformation, optional
        Your own, for every method that trains by gradient descent, in place of the configured one:
        its learning rate and schedule are then your own too, and there are no moments for ``gd-snr``.
        The run does not know it: give the same one when you resume.
    resume : bool
        Go on with a run that was stopped, or extend it by levels, seeds or methods. Finished levels
        are never written again; with more seeds, the seeds of a method train together once more, since
        a result is bitwise the same only in the same batch, and only the new ones are kept.
    progress : Progress
        Told about every chunk.
    should_stop : callable
        Polled between chunks; returning a signal number stops the run with a snapshot on disk.

    Returns
    -------
    Run
        The finished run, as `trainers.open_run` returns it.

    Raises
    ------
    RunError
        If the folder is in use, or holds another run, or one of other data or another initialisation.
    InterruptedRunError
        If `should_stop` asked for it.
    ConfigurationError
        If the configuration cannot be trained (a batch larger than the data, say), listing why; no
        folder is made.
    """
    problem, init = _problem_and_init(config, problem, init)
    # What cannot be trained is refused before there is a folder that could be neither used nor resumed.
    require_trainable(config, problem, own_optimizer=optimizer is not None)
    space = Space.of(problem, init, config.seeds[0].init)
    with RunFolder.open(Path(folder), config, resume=resume) as run:
        for note in run.notes:
            progress.note(note)
        session = _Session(
            config,
            run,
            space,
            optimizer=optimizer,
            progress=progress,
            should_stop=should_stop,
        )
        try:
            session.train()
        except InterruptedRunError as stop:
            raise InterruptedRunError(
                f"{folder}: stopped on request; finished levels and the state of the current one are on disk",
                signum=stop.signum,
                hint=f"Go on with --resume -o {folder}",
            ) from None
        finally:
            progress.stop()
        run.event("finished")
    return open_run(folder)


def _problem_and_init(config: RunConfig, problem: Problem | None, init: Init | None) -> tuple[Problem, Init]:
    if (problem is None) != (init is None):
        raise ConfigurationError("train_tickets: give problem and init together, or neither")
    if problem is not None and init is not None:
        return problem, init
    from trainers.tasks import load_task

    task = load_task(config.task, dict(config.network), **config.task_options)
    return task.problem, task.init


Replicate = tuple[Method, SeedsConfig]


def make_trainer(
    method: Method, space: Space, *, optimizer: optax.GradientTransformation | None = None
) -> Evolution | Gradient:
    """Return what trains a method in a space."""
    if method.trainer == "es":
        evaluate = population_evaluator(space.problem, space.layout, space.like, method.evaluation)
        return Evolution(method.evolution, space.layout.size, evaluate)
    loss = mean_loss(space.problem, space.layout, space.like)
    count = space.problem.num_examples("train")
    return Gradient(method.gradient, count, loss, map_replicates, optimizer=optimizer)


@dataclasses.dataclass
class _Session:
    """One call of `train_tickets`: engines are built once and shared by all levels and methods."""

    config: RunConfig
    run: RunFolder
    space: Space
    _: dataclasses.KW_ONLY
    optimizer: optax.GradientTransformation | None
    progress: Progress
    should_stop: Callable[[], int | None]

    def __post_init__(self) -> None:
        self.tickets = Tickets(self.config, self.run, self.space)
        self.methods = [self.config.resolved(name) for name in self.config.methods]
        self.runners: dict[Any, LevelRunner] = {}

    def runner(self, method: Method) -> LevelRunner:
        """Return what trains a method, building it at the first use of its settings."""
        if method.training not in self.runners:
            trainer = make_trainer(method, self.space, optimizer=self.optimizer)
            engine = Engine(trainer, self.space.problem.arrays("train"))
            space = self.space
            self.runners[method.training] = LevelRunner(engine, space.problem, space.layout, space.like)
        return self.runners[method.training]

    def train(self) -> None:
        """Train every level of every method that is not on disk yet."""
        self.run.identify(self.space.identity({seeds.init for seeds in self.config.seeds}))
        for method in self.methods:
            self.tickets.require(method)
        for group in self._groups():
            for level in range(max(len(method.pruning.schedule) for method in group)):
                self._train_group([m for m in group if level < len(m.pruning.schedule)], level)

    def _groups(self) -> list[list[Method]]:
        """Return the methods that train as one batch.

        Methods go together where one program trains them and their masks free equally many weights.
        On a CPU a larger batch gains nothing, and a method alone is bitwise the same in any run.
        """
        together = self.config.runtime.together
        if together == "seeds" or (together == "auto" and jax.default_backend() == "cpu"):
            return [[method] for method in self.methods]
        groups: dict[Any, list[Method]] = {}
        for method in self.methods:
            alone = method.source is not None and (method.source.run is not None or method.control != "none")
            pruning = method.pruning
            key = (method.training, pruning.prune_biases, pruning.schedule, method.name if alone else "")
            groups.setdefault(key, []).append(method)
        return list(groups.values())

    def _train_group(self, group: list[Method], level: int) -> None:
        """Train what is missing of one level of a group of methods."""
        methods = self._missing(group, level)
        # All seeds of a method train, though some may be on disk: a result is bitwise the same only
        # for the same batch of seeds. Only the missing ones are written.
        replicates = [(method, seeds) for method in methods for seeds in self.config.seeds]
        if replicates:
            self._train_level(replicates, level)
        for method in group:
            if level == 0:
                self._share_dense(method)
            path = self.run.partial_path(method.name)
            if path.exists() and level == _snapshot_level(path):
                path.unlink()

    def _missing(self, group: list[Method], level: int) -> list[Method]:
        """Return the methods of which a level must be trained."""
        found: list[Method] = []
        for method in group:
            if level == 0:
                self._share_dense(method)
            done = all(self._is_finished((method, seeds), level) for seeds in self.config.seeds)
            twin = level == 0 and method.starts_dense and any(other.starts_dense for other in found)
            if not done and not twin:
                found.append(method)
        return found

    def _is_finished(self, replicate: Replicate, level: int) -> bool:
        method, seeds = replicate
        return self.run.is_finished(method.name, seeds.train, level)

    def _share_dense(self, method: Method) -> None:
        """Copy the dense level from another method of the same trainer: nothing was pruned yet."""
        others = [
            other
            for other in self.methods
            if other.name != method.name
            and other.training == method.training
            and other.starts_dense
            and method.starts_dense
        ]
        for seeds in self.config.seeds:
            ready = [other for other in others if self._is_finished((other, seeds), 0)]
            if ready and not self._is_finished((method, seeds), 0):
                self._copy_dense(ready[0], method, seeds)

    def _copy_dense(self, other: Method, method: Method, seeds: SeedsConfig) -> None:
        source = self.run.level_path(other.name, seeds.train, 0)
        target = self.run.level_path(method.name, seeds.train, 0)
        ticket = self.tickets.ticket(method, seeds, 0)
        for path in (*sorted(source.parent.glob(f"{source.stem}.step-*.h5")), source):
            shared = shared_checkpoint(self.space, ticket, load(path), replicate=(method, seeds, 0))
            save(target.with_name(path.name), shared, force=True)

    def _train_level(self, replicates: list[Replicate], level: int) -> None:
        config, first = self.config, replicates[0][0]
        missing = [not self._is_finished(replicate, level) for replicate in replicates]
        runner = self.runner(first)
        tickets = [self.tickets.ticket(method, seeds, level) for method, seeds in replicates]
        fixed = runner.engine.level(
            [seeds.train for _, seeds in replicates],
            level,
            np.stack([ticket.mask for ticket in tickets]),
            branches=[(seeds.parent, seeds.branch_step) for _, seeds in replicates],
        )
        names = list(dict.fromkeys(method.name for method, _ in replicates))
        tag = {"level": level, "replicates": [[method.name, seeds.train] for method, seeds in replicates]}
        hooks = self._hooks(replicates, tickets, level, tag=tag)
        self.run.event("level started", methods=names, level=level)
        began = time.perf_counter()
        label = f"{' + '.join(names)} level {level + 1}/{len(first.pruning.schedule)}"
        self.progress.start(label, total=runner.engine.trainer.num_steps)
        start = np.stack([ticket.start for ticket in tickets])
        outcome = runner.train(fixed, start, tag=tag, hooks=hooks)
        for index, (method, seeds) in enumerate(replicates):
            if missing[index]:
                checkpoint = level_checkpoint(
                    config,
                    self.space,
                    tickets[index],
                    replicate=(method, seeds, level),
                    outcome=outcome,
                    index=index,
                )
                found = self._diagnostics(replicates, tickets, index, checkpoint)
                checkpoint = dataclasses.replace(checkpoint, info={**(checkpoint.info or {}), **found})
                save(self.run.level_path(method.name, seeds.train, level), checkpoint)
        if hooks.snapshot_path is not None:
            hooks.snapshot_path.unlink(missing_ok=True)
        seconds = time.perf_counter() - began
        self.run.event("level finished", methods=names, level=level, seconds=seconds)

    def _diagnostics(
        self, replicates: list[Replicate], tickets: list[Ticket], index: int, trained: Checkpoint
    ) -> dict[str, Any]:
        """Return what compares a replicate with the first level and with the method's other seeds."""
        method, seeds = replicates[index]
        level = int((trained.info or {})["level"])
        found: dict[str, Any] = {}
        correlations = self.tickets.correlations(method, seeds, trained, level)
        if correlations is not None:
            found["rank_correlation"] = correlations
        prunable, layout = self.space.prunable(method), self.space.layout
        found["overlap"] = {
            str(other.train): mask_overlap(tickets[index].mask, tickets[i].mask, prunable, layout)
            for i, (name, other) in enumerate(replicates)
            if name == method and other.train != seeds.train
        }
        return found

    def _hooks(
        self, replicates: list[Replicate], tickets: list[Ticket], level: int, *, tag: dict[str, Any]
    ) -> Hooks:
        names = {method.name for method, _ in replicates}
        snapshot = self.run.partial_path(replicates[0][0].name)
        resumed = snapshot_step(snapshot, tag)
        # What an interrupted run wrote after its last snapshot will be written again.
        self.run.trim_metrics(
            lambda row: row["method"] not in names or row["level"] != level or int(row["step"]) <= resumed
        )

        def on_evaluation(step: int, rows: list[dict[str, float]]) -> None:
            lines = []
            for (method, seeds), ticket, row in zip(replicates, tickets, rows, strict=True):
                density = float(ticket.mask[self.space.prunable(method)].mean())
                place = {"method": method.name, "level": level, "density": density, "step": step}
                lines.append({**place, "seed": seeds.train, "validation": row})
            self.run.append_metrics(lines)

        def keep(step: int, solutions: np.ndarray, stds: np.ndarray | None) -> None:
            for i, (method, seeds) in enumerate(replicates):
                checkpoint = step_checkpoint(
                    self.config,
                    self.space,
                    tickets[i],
                    replicate=(method, seeds, level),
                    vectors=(solutions[i], None if stds is None else stds[i]),
                    step=step,
                )
                save(self.run.step_path(method.name, seeds.train, level, step), checkpoint, force=True)

        runtime = self.config.runtime
        return Hooks(
            progress=self.progress,
            should_stop=self.should_stop,
            on_evaluation=on_evaluation,
            keep=keep,
            keep_every=runtime.trajectory_every,
            keep_steps=self._rewind_steps(replicates) if level == 0 else (),
            snapshot_path=snapshot,
            chunk_seconds=runtime.chunk_seconds,
            save_every_seconds=runtime.save_every_seconds,
        )

    def _rewind_steps(self, replicates: list[Replicate]) -> tuple[int, ...]:
        """Return the steps of the dense level to which methods that share it rewind."""
        trained = {method.training for method, _ in replicates}
        steps = {m.pruning.rewind_step for m in self.methods if m.training in trained}
        return tuple(sorted(steps - {0}))


def _snapshot_level(path: Path) -> int | None:
    found = (load(path).info or {}).get("snapshot", {})
    return found.get("level") if isinstance(found, Mapping) else None
