"""Iterative pruning with rewinding (Frankle & Carbin 2019; for evolution Lange & Sprekeler 2023).

For every method and seed:

1. draw an initialisation θ_0; all weights are free (level 0);
2. train the free weights; the result of each level becomes one checkpoint;
3. score the trained weights (`trainers.pruning.scores`);
4. prune those with the lowest scores, until the density of the next level is reached;
5. rewind: surviving weights start from θ_0, from an early step of level 0 (Frankle et al. 2020), or
   from where they are; go on with 2 until the last level.

Steps 3 to 5 are `trainers.tickets.ticket`, this module schedules step 2. Levels are sequential by nature,
seeds are not: all seeds of a method train as one batch in one compiled program, which serves every level
and every method of the same trainer. A level needs nothing but the checkpoints before it, so a stopped
run goes on from its files.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax

from landscape import Checkpoint, Problem, load, save
from landscape.compute import Progress, shown
from landscape.errors import ConfigurationError, InterruptedRunError
from trainers.config import Method, RunConfig, SeedsConfig
from trainers.pruning import ChainLayer, mask_overlap
from trainers.runs import Run, RunFolder, open_run
from trainers.tasks import Environment
from trainers.tickets.batches import Replicate, groups, of_level, without_twins
from trainers.tickets.dense import DenseLevels
from trainers.tickets.making import Own, make_runner
from trainers.tickets.record import level_checkpoint, step_checkpoint
from trainers.tickets.ticket import Ticket, Tickets, check_scores
from trainers.training import (
    Hooks,
    LevelRunner,
    Outcome,
    Space,
    require_trainable,
    snapshot_step,
    snapshot_tag,
)

__all__ = ["train_tickets"]

PyTree = Any
Init = Callable[[int], PyTree]


def train_tickets(  # noqa: PLR0913  one keyword per setting
    config: RunConfig,
    folder: str | Path,
    *,
    problem: Problem | None = None,
    init: Init | None = None,
    chain: Sequence[ChainLayer] | None = None,
    optimizer: optax.GradientTransformation | None = None,
    environment: Environment | None = None,
    resume: bool = False,
    allow_code: Sequence[str] = (),
    progress: Progress | None = None,
    should_stop: Callable[[], int | None] = lambda: None,
) -> Run:
    """Train every method, seed and level of a configuration into a run folder.

    Parameters
    ----------
    config : RunConfig
        What to train.
    folder : path
        The run folder, created if missing.
    problem, init : Problem and callable, optional
        Your own loss and data, and ``init(seed) -> params``; by default those of ``config.task``.
    chain : sequence of ChainLayer, optional
        Your own network as a chain of its kernels, from inputs to outputs, where it is one: for the
        effective density and connected random tickets.
    optimizer : optax.GradientTransformation, optional
        Your own, for every method that trains by gradient descent, in place of the configured one:
        its learning rate and schedule are then your own too, and there are no moments for ``gd-snr``.
        The run does not know it: give the same one when you resume.
    environment : Environment, optional
        Your own, for methods that train by policy gradient: the one whose episodes `problem` is made of, as
        `trainers.tasks.control_task` makes it; by default that of the built-in task which `problem` names.
    resume : bool
        Go on with a run that was stopped, or extend it by levels, seeds or methods. Finished levels
        are never trained again: new seeds train as a batch of their own. A dense level is, if a method
        is added that rewinds to a step of it which was not kept.
    allow_code : sequence of str
        Functions of your own that scores of the configuration may name (``file.py:function`` or
        ``package.module:function``). What a configuration names and this does not is never imported.
    progress : Progress, optional
        Is told of every chunk; by default a bar where standard error is a terminal.
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
    CodeRefusedError
        If a score of the configuration names a function that `allow_code` does not.
    ConfigurationError
        If the configuration cannot be trained (a batch larger than the data, say), listing why. Nothing
        has been written then, nor after a refusal of another kind.
    """
    check_scores(config, allow_code)
    problem, init = _problem_and_init(config, problem, init)
    progress = shown(progress)
    given = {"own_optimizer": optimizer is not None, "own_environment": environment is not None}
    require_trainable(config, problem, **given)
    session = _Session(
        config,
        problem,
        init,
        chain=chain,
        own=Own(optimizer=optimizer, environment=environment),
        allow_code=allow_code,
        progress=progress,
        should_stop=should_stop,
    )
    with RunFolder.open(Path(folder), config, resume=resume, check=session.prepare) as run:
        for note in run.notes:
            progress.note(note)
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


@dataclasses.dataclass
class _Session:
    """One call of `train_tickets`: engines are built once and shared by all levels and methods."""

    config: RunConfig
    problem: Problem
    init: Init
    _: dataclasses.KW_ONLY
    chain: Sequence[ChainLayer] | None
    own: Own
    allow_code: Sequence[str]
    progress: Progress
    should_stop: Callable[[], int | None]

    def __post_init__(self) -> None:
        self.methods = [self.config.resolved(name) for name in self.config.methods]
        self.runners: dict[Any, LevelRunner] = {}

    def prepare(self, run: RunFolder) -> None:
        """Attach the session to the folder of the run, and refuse now what would fail hours later."""
        self.run = run
        self.space = Space.of(self.problem, self.init, self.config.seeds[0].init, chain=self.chain)
        self.tickets = Tickets(self.config, run, self.space, allow_code=self.allow_code)
        self.dense = DenseLevels(run, self.tickets, self.methods)
        self.identity = self.space.identity({seeds.init for seeds in self.config.seeds})
        run.check_identity(self.identity)
        for method in self.methods:
            self.tickets.require(method)

    def runner(self, method: Method) -> LevelRunner:
        """Return the runner of a method's levels; methods with equal settings share one, compiled once."""
        if method.training not in self.runners:
            self.runners[method.training] = make_runner(method, self.space, self.own)
        return self.runners[method.training]

    def train(self) -> None:
        """Train every level of every method that is not on disk yet."""
        self.run.identify(self.identity)
        for group in groups(self.config, jax.default_backend()):
            for level in range(max(len(method.pruning.schedule) for method in group)):
                self._train_group(group, level)

    def _train_group(self, group: list[Method], level: int) -> None:
        """Train the replicates of one level of a group of methods that are not on disk yet (step 2)."""
        replicates = of_level(group, self.config, level)
        methods = list({method.name: method for method, _ in replicates}.values())
        self._share(methods, level)
        begun = self._begun(replicates, level)
        missing = without_twins([one for one in replicates if not self._is_done(one, level)], level)
        # A result is bit-identical only in the same batch: a batch that was begun goes on as it was, even
        # where some of its levels are on disk. Finished levels are not trained again, so replicates that
        # were added later are a batch of their own.
        batches = [begun if any(one in begun for one in missing) else []]
        batches.append([one for one in missing if one not in begun])
        for batch in batches:
            if batch:
                self._train_level(batch, level)
        self._share(methods, level)
        for method in group:
            path = self.run.partial_path(method.name)
            if snapshot_tag(path).get("level") == level:
                path.unlink()

    def _share(self, methods: list[Method], level: int) -> None:
        for method in methods if level == 0 else ():
            self.dense.share(method)

    def _begun(self, replicates: list[Replicate], level: int) -> list[Replicate]:
        """Return the batch of a level whose state is on disk, if it is one of these replicates."""
        known = {(method.name, seeds.train): (method, seeds) for method, seeds in replicates}
        for name in dict.fromkeys(name for name, _ in known):
            tag = snapshot_tag(self.run.partial_path(name))
            names = [(str(method), int(seed)) for method, seed in tag.get("replicates", ())]
            if tag.get("level") == level and set(names) <= set(known):
                return [known[name] for name in names]
        return []

    def _is_finished(self, replicate: Replicate, level: int) -> bool:
        method, seeds = replicate
        return self.run.is_finished(method.name, seeds.train, level)

    def _is_done(self, replicate: Replicate, level: int) -> bool:
        """Return whether a level is on disk, together with the step that later levels rewind to."""
        return self._is_finished(replicate, level) and not (level == 0 and self.dense.lacks_step(*replicate))

    def _train_level(self, replicates: list[Replicate], level: int) -> None:
        runner = self.runner(replicates[0][0])
        tickets = [self.tickets.ticket(method, seeds, level) for method, seeds in replicates]
        fixed = runner.engine.level(
            [seeds.train for _, seeds in replicates],
            level,
            np.stack([ticket.mask for ticket in tickets]),
            branches=[(seeds.parent, seeds.branch_step) for _, seeds in replicates],
        )
        names = list(dict.fromkeys(method.name for method, _ in replicates))
        batch = [[method.name, seeds.train] for method, seeds in replicates]
        tag = {"level": level, "replicates": batch}
        hooks = self._hooks(replicates, tickets, level, tag=tag)
        self.run.event("level started", methods=names, level=level, replicates=batch)
        began = time.perf_counter()
        label = f"{' + '.join(names)} level {level + 1}/{len(replicates[0][0].pruning.schedule)}"
        self.progress.start(label, total=runner.engine.trainer.num_steps)
        start = np.stack([ticket.start for ticket in tickets])
        outcome = runner.train(fixed, start, tag=tag, hooks=hooks)
        self._publish(replicates, tickets, level, outcome=outcome)
        if hooks.snapshot_path is not None:
            hooks.snapshot_path.unlink(missing_ok=True)
        seconds = time.perf_counter() - began
        self.run.event("level finished", methods=names, level=level, seconds=seconds)

    def _publish(
        self, replicates: list[Replicate], tickets: list[Ticket], level: int, *, outcome: Outcome
    ) -> None:
        """Write those checkpoints of a trained batch that do not exist yet."""
        masks, published = self._masks(replicates, tickets, level), self.run.published_config()
        batch = [[method.name, seeds.train] for method, seeds in replicates]
        for index, (method, seeds) in enumerate(replicates):
            # A batch that goes on repeats levels that are on disk; what has been published stays.
            if self._is_finished((method, seeds), level):
                continue
            checkpoint = level_checkpoint(
                published,
                self.space,
                tickets[index],
                replicate=(method, seeds, level),
                outcome=outcome,
                index=index,
            )
            # The last bits of a result depend on the batch it was trained in.
            found = {"batch": batch, **self._diagnostics(method, seeds, checkpoint, masks=masks)}
            checkpoint = dataclasses.replace(checkpoint, info={**(checkpoint.info or {}), **found})
            save(self.run.level_path(method.name, seeds.train, level), checkpoint)

    def _masks(
        self, replicates: list[Replicate], tickets: list[Ticket], level: int
    ) -> dict[tuple[str, int], np.ndarray]:
        """Return the masks of these methods, for every seed that is in the batch or on disk."""
        pairs = zip(replicates, tickets, strict=True)
        masks = {(method.name, seeds.train): ticket.mask for (method, seeds), ticket in pairs}
        for name in dict.fromkeys(method.name for method, _ in replicates):
            for seeds in self.config.seeds:
                if (name, seeds.train) not in masks and self.run.is_finished(name, seeds.train, level):
                    stored = load(self.run.level_path(name, seeds.train, level))
                    mask = self.space.layout.flatten(stored.mask).astype(bool)
                    masks[name, seeds.train] = mask
        return masks

    def _diagnostics(
        self,
        method: Method,
        seeds: SeedsConfig,
        trained: Checkpoint,
        *,
        masks: Mapping[tuple[str, int], np.ndarray],
    ) -> dict[str, Any]:
        """Return rank correlations with the first level and overlaps with the masks of other seeds."""
        level = int((trained.info or {})["level"])
        found: dict[str, Any] = {}
        correlations = self.tickets.correlations(method, seeds, trained, level)
        if correlations is not None:
            found["rank_correlation"] = correlations
        prunable, layout = self.space.prunable(method), self.space.layout
        mine = masks[method.name, seeds.train]
        found["overlap"] = {
            str(other.train): mask_overlap(mine, masks[method.name, other.train], prunable, layout)
            for other in self.config.seeds
            if other.train != seeds.train and (method.name, other.train) in masks
        }
        return found

    def _hooks(
        self, replicates: list[Replicate], tickets: list[Ticket], level: int, *, tag: dict[str, Any]
    ) -> Hooks:
        names = {(method.name, seeds.train) for method, seeds in replicates}
        snapshot = self.run.partial_path(replicates[0][0].name)
        resumed = snapshot_step(snapshot, tag)
        # What an interrupted run wrote after its last snapshot will be written again.
        self.run.trim_metrics(
            lambda row: (
                (row["method"], row["seed"]) not in names
                or row["level"] != level
                or int(row["step"]) <= resumed
            )
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
                    self.run.published_config(),
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
            keep_steps=self.dense.steps([method for method, _ in replicates]) if level == 0 else (),
            snapshot_path=snapshot,
            chunk_seconds=runtime.chunk_seconds,
            save_every_seconds=runtime.save_every_seconds,
        )
