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

import numpy as np

from landscape import Checkpoint, Problem, load, save
from landscape.errors import ConfigurationError, InterruptedRunError
from landscape.layout import Layout
from landscape.progress import SILENT, Progress
from landscape.provenance import versions
from trainers.config import RunConfig, SeedsConfig, to_dict
from trainers.engine import Engine
from trainers.evaluation import map_replicates, mean_loss, population_evaluator
from trainers.evolution import Evolution
from trainers.gradient import Gradient
from trainers.pruning import ScoreInputs, count_to_keep, keep_highest, layer_densities, score
from trainers.runs import Run, RunFolder, open_run
from trainers.training import Hooks, LevelRunner, Outcome

__all__ = ["train_tickets"]

PyTree = Any
Init = Callable[[int], PyTree]


def train_tickets(
    config: RunConfig,
    folder: str | Path,
    *,
    problem: Problem | None = None,
    init: Init | None = None,
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
    resume : bool
        Go on with a run that was stopped, or extend it by levels, seeds or methods. Finished levels
        are never trained again.
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
        If the folder is in use, or holds another run.
    InterruptedRunError
        If `should_stop` asked for it.
    ConfigurationError
        If the configuration cannot be trained (a batch larger than the data, say).
    """
    problem, init = _problem_and_init(config, problem, init)
    with RunFolder.open(Path(folder), config, resume=resume) as run:
        for note in run.notes:
            progress.note(note)
        session = _Session(config, run, problem, init, progress=progress, should_stop=should_stop)
        try:
            for method in config.methods:
                session.train_method(method)
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
    run: RunFolder
    problem: Problem
    init: Init
    _: dataclasses.KW_ONLY
    progress: Progress
    should_stop: Callable[[], int | None]

    def __post_init__(self) -> None:
        self.initial = {seeds.init: self.init(seeds.init) for seeds in self.config.seeds}
        self.like = next(iter(self.initial.values()))
        self.problem.check(self.like)
        self.layout = Layout.of(self.like)
        self.prunable = self.layout.prunable(biases=self.config.pruning.prune_biases)
        self.runners: dict[str, LevelRunner] = {}

    def runner(self, trainer: str) -> LevelRunner:
        """Return the runner of "es" or "gd", building it at the first use."""
        if trainer not in self.runners:
            arrays = self.problem.arrays("train")
            engine = Engine(self._trainer(trainer), arrays)
            self.runners[trainer] = LevelRunner(engine, self.problem, self.layout, self.like)
        return self.runners[trainer]

    def _trainer(self, trainer: str) -> Evolution | Gradient:
        if trainer == "es":
            evaluate = population_evaluator(self.problem, self.layout, self.like)
            return Evolution(self.config.evolution, self.layout.size, evaluate)
        loss = mean_loss(self.problem, self.layout, self.like)
        return Gradient(self.config.gradient, self.problem.num_examples("train"), loss, map_replicates)

    def train_method(self, method: str) -> None:
        """Train the levels of a method that are not on disk yet."""
        for level in range(len(self.config.pruning.schedule)):
            missing = [s for s in self.config.seeds if not self.run.is_finished(method, s.train, level)]
            if missing and level == 0:
                missing = [s for s in missing if not self._share_dense(method, s)]
            if missing:
                self._train_level(method, level, {seeds.train for seeds in missing})
            elif (path := self.run.partial_path(method)).exists() and level == self._snapshot_level(path):
                path.unlink()

    def _snapshot_level(self, path: Path) -> int | None:
        found = (load(path).info or {}).get("snapshot", {})
        return found.get("level") if isinstance(found, Mapping) else None

    def _share_dense(self, method: str, seeds: SeedsConfig) -> bool:
        """Copy the dense level from another method of the same trainer: nothing was pruned yet."""
        trainer, criterion = method.split("-", 1)
        for other in self.config.methods:
            if other == method or not other.startswith(f"{trainer}-"):
                continue
            if self.run.is_finished(other, seeds.train, 0):
                source = load(self.run.level_path(other, seeds.train, 0))
                info = {**(source.info or {}), "method": method, "score": criterion, "shared_from": other}
                shared = dataclasses.replace(source, info=info, path=None)
                save(self.run.level_path(method, seeds.train, 0), shared)
                return True
        return False

    def _train_level(self, method: str, level: int, missing: set[int]) -> None:
        # All seeds train, though some may be on disk: a result is bitwise the same only for the same
        # batch of seeds. Only the missing ones are written.
        config, trainer = self.config, method.split("-", 1)[0]
        runner = self.runner(trainer)
        masks = np.stack([self._mask(method, seeds, level) for seeds in config.seeds])
        start = np.stack([self.layout.flatten(self.initial[s.init]) for s in config.seeds]) * masks
        fixed = runner.engine.level([s.train for s in config.seeds], level, masks)
        tag = {"method": method, "level": level, "train_seeds": [s.train for s in config.seeds]}
        hooks = self._hooks(method, level, float(masks[0][self.prunable].mean()))
        self.run.event("level started", method=method, level=level)
        began = time.perf_counter()
        label = f"{method} level {level + 1}/{len(config.pruning.schedule)}"
        self.progress.start(label, total=runner.engine.trainer.num_steps)
        outcome = runner.train(fixed, start, tag=tag, hooks=hooks)
        for index, seeds in enumerate(config.seeds):
            if seeds.train in missing:
                checkpoint = self._checkpoint(method, level, index, masks=masks, outcome=outcome)
                save(self.run.level_path(method, seeds.train, level), checkpoint)
        if hooks.snapshot_path is not None:
            hooks.snapshot_path.unlink(missing_ok=True)
        self.run.event("level finished", method=method, level=level, seconds=time.perf_counter() - began)

    def _hooks(self, method: str, level: int, density: float) -> Hooks:
        seeds = [s.train for s in self.config.seeds]
        snapshot = self.run.partial_path(method)
        resumed = 0
        if snapshot.exists():
            found = (load(snapshot).info or {}).get("snapshot", {})
            resumed = int(found.get("step", 0)) if found.get("level") == level else 0
        # What an interrupted run wrote after its last snapshot will be written again.
        self.run.trim_metrics(
            lambda row: (row["method"], row["level"]) != (method, level) or int(row["step"]) <= resumed
        )

        def on_evaluation(step: int, rows: list[dict[str, float]]) -> None:
            common = {"method": method, "level": level, "density": density, "step": step}
            self.run.append_metrics(
                [{**common, "seed": s, "validation": row} for s, row in zip(seeds, rows, strict=True)]
            )

        runtime = self.config.runtime
        return Hooks(
            progress=self.progress,
            should_stop=self.should_stop,
            on_evaluation=on_evaluation,
            snapshot_path=snapshot,
            chunk_seconds=runtime.chunk_seconds,
            save_every_seconds=runtime.save_every_seconds,
        )

    def _mask(self, method: str, seeds: SeedsConfig, level: int) -> np.ndarray:
        """Return the mask [n] of a level, from the checkpoint of the level before."""
        if level == 0:
            return np.ones(self.layout.size, bool)
        before = load(self.run.level_path(method, seeds.train, level - 1))
        inputs = ScoreInputs(
            mean=self.layout.flatten(before.params),
            std=None if before.std is None else self.layout.flatten(before.std),
            mask_seed=seeds.mask,
        )
        keep = count_to_keep(int(self.prunable.sum()), self.config.pruning.schedule[level])
        previous = self.layout.flatten(before.mask).astype(bool)
        scores = score(method.split("-", 1)[1], inputs)
        return keep_highest(scores, previous, self.prunable, keep, layout=self.layout)

    def _checkpoint(
        self, method: str, level: int, index: int, *, masks: np.ndarray, outcome: Outcome
    ) -> Checkpoint:
        seeds, mask = self.config.seeds[index], masks[index]
        tree = self.layout.unflatten
        history = {f"train_{name}": values[:, index] for name, values in outcome.record.items()}
        history["evaluation_step"] = np.asarray(outcome.best.curve_steps, np.int64)
        for name, rows in outcome.best.curves.items():
            history[f"validation_{name}"] = np.asarray(rows, np.float64)[:, index]
        return Checkpoint(
            params=tree(outcome.solutions[index]),
            mask=tree(mask),
            std=None if outcome.stds is None else tree(np.where(mask, outcome.stds[index], 0.0)),
            init=self.initial[seeds.init],
            best=tree(outcome.best.vectors[index]),
            history=history,
            info=self._info(method, level, index, mask=mask, outcome=outcome),
            config=to_dict(self.config),
        )

    def _info(
        self, method: str, level: int, index: int, *, mask: np.ndarray, outcome: Outcome
    ) -> dict[str, Any]:
        seeds, task = self.config.seeds[index], dict(self.problem.task or {})
        trainer, criterion = method.split("-", 1)
        final, best = outcome.solutions[index], outcome.best.vectors[index]
        densities = layer_densities(mask, self.layout)
        kernels = layer_densities(self.prunable, self.layout)
        counts: dict[str, Any] = {
            name: float(outcome.record[name][:, index].sum())
            for name in ("num_nan", "stalled")
            if name in outcome.record
        }
        return {
            "task": {"name": task.get("name"), "options": task.get("options", {})} if task else None,
            "network": task.get("network"),
            "method": method,
            "trainer": trainer,
            "score": criterion,
            "algorithm": self.config.evolution.strategy
            if trainer == "es"
            else self.config.gradient.optimizer,
            "level": level,
            "density": float(mask[self.prunable].mean()),
            "density_all": float(mask.mean()),
            "num_weights": int((mask & self.prunable).sum()),
            "layers": {path: value for path, value in densities.items() if kernels[path] > 0},
            "collapsed": [path for path, value in densities.items() if value == 0.0],
            "seeds": {"init": seeds.init, "train": seeds.train, "mask": seeds.mask},
            "step": int(next(iter(outcome.record.values())).shape[0]),
            "metrics": self._metrics(final),
            "best": {"step": int(outcome.best.steps[index]), "metrics": self._metrics(best)},
            **counts,
            "versions": versions(),
        }

    def _metrics(self, vector: np.ndarray) -> dict[str, dict[str, float]]:
        params = self.layout.unflatten(vector, self.like)
        return {split: self.problem.evaluate(params, split) for split in self.problem.splits}
