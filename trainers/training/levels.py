"""One level for all seeds: chunks, evaluations on the validation split, snapshots, stops."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from landscape import Checkpoint, Problem, load, save
from landscape.compute import SILENT, Progress, device_memory
from landscape.errors import InterruptedRunError
from landscape.files import load_info
from landscape.trees import Layout
from trainers.training.engine import Carry, Engine, Level, chunks

PyTree = Any
_SMALLER = {
    "es": "Lower evolution.population_size or evolution.batch_size, or train fewer seeds at a time.",
    "gd": "Lower gradient.batch_size, or train fewer seeds at a time.",
    "ppo": "Lower ppo.num_environments or ppo.rollout_steps, or train fewer seeds at a time.",
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Hooks:
    """The callbacks and intervals of a level.

    Attributes
    ----------
    progress : Progress
        Shown to the user.
    should_stop : callable
        Returns the number of a signal that asked for a stop, or None.
    on_evaluation : callable
        ``on_evaluation(step, rows)`` after each evaluation; one dictionary per replicate.
    keep : callable
        ``keep(step, solutions [S, n], stds [S, n] or None)`` at the steps below, not after the last one.
    keep_every, keep_steps : int, tuple of int
        Steps at which solutions are kept: every `n`-th (0 for none), and these.
    snapshot_path : Path or None
        Where to keep what resuming needs.
    chunk_seconds, save_every_seconds : float
        Length of a chunk, time between snapshots.
    """

    progress: Progress = SILENT
    should_stop: Callable[[], int | None] = lambda: None
    on_evaluation: Callable[[int, list[dict[str, float]]], None] = lambda _step, _rows: None
    keep: Callable[[int, np.ndarray, np.ndarray | None], None] = lambda _step, _solutions, _stds: None
    keep_every: int = 0
    keep_steps: tuple[int, ...] = ()
    snapshot_path: Path | None = None
    chunk_seconds: float = 1.0
    save_every_seconds: float = 60.0

    def is_kept(self, step: int) -> bool:
        """Return whether the solutions after `step` are kept."""
        return step in self.keep_steps or (self.keep_every > 0 and step % self.keep_every == 0)


@dataclasses.dataclass
class Best:
    """The best solution of each replicate on the validation split, and the curve that chose it."""

    vectors: np.ndarray  # [S, n]
    scores: np.ndarray  # [S], higher is better
    steps: np.ndarray  # [S]
    curve_steps: list[int] = dataclasses.field(default_factory=list)
    curves: dict[str, list[list[float]]] = dataclasses.field(default_factory=dict)  # name -> [E][S]

    @classmethod
    def empty(cls, solutions: np.ndarray) -> Best:
        """Return the record before any evaluation."""
        count = solutions.shape[0]
        return cls(solutions.copy(), np.full(count, -np.inf), np.zeros(count, np.int64))

    def update(
        self, step: int, solutions: np.ndarray, rows: list[dict[str, float]], *, key: str, sign: float
    ) -> None:
        """Take the solutions at `step` where they score higher than any before."""
        self.curve_steps.append(step)
        for name in rows[0]:
            self.curves.setdefault(name, []).append([row[name] for row in rows])
        scores = np.asarray([sign * row[key] for row in rows])
        better = scores > self.scores
        self.vectors[better], self.scores[better], self.steps[better] = (
            solutions[better],
            scores[better],
            step,
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Outcome:
    """A finished level, replicates first.

    Attributes
    ----------
    solutions : array [S, n]
        Final solutions.
    stds : array [S, n] or None
        Standard deviation of the search distribution.
    second_moments : array [S, n] or None
        Estimates of the gradient's mean square.
    best : Best
        Best on validation; its `scores` are -inf where there is no validation split.
    record : dict of arrays [T, S]
        The trainer's Info at every step.
    """

    solutions: np.ndarray
    stds: np.ndarray | None
    second_moments: np.ndarray | None
    best: Best
    record: dict[str, np.ndarray]


class LevelRunner:
    """Trains levels of one trainer on one problem.

    Parameters
    ----------
    engine : Engine
        The compiled program.
    problem : Problem
        Evaluated on its validation split.
    layout, like : Layout, pytree
        How vectors become the problem's parameters.
    """

    def __init__(self, engine: Engine, problem: Problem, layout: Layout, like: PyTree) -> None:
        self.engine = engine
        self.problem = problem
        self.layout = layout
        self.like = like
        higher = [name for name, metric in problem.metrics.items() if metric.higher_is_better]
        self._key, self._sign = (higher[0], 1.0) if higher else ("loss", -1.0)

    def train(self, level: Level, start: np.ndarray, *, tag: dict[str, Any], hooks: Hooks) -> Outcome:
        """Train a level from initial vectors `start` [S, n], or from its snapshot.

        Raises
        ------
        InterruptedRunError
            If `hooks.should_stop` asked for it; the snapshot holds the state of that moment.
        """
        carry = self.engine.start(level, start)
        best, first = Best.empty(start), 0
        if hooks.snapshot_path is not None and hooks.snapshot_path.exists():
            restored = _restore(hooks.snapshot_path, carry, tag)
            carry, best, first = restored if restored is not None else (carry, best, first)
        carry = self._run(carry, level, best, first, tag=tag, hooks=hooks)
        trainer = self.engine.trainer
        if start.shape[0] > 1 and first < trainer.num_steps:
            # Several files will be published one by one: whoever is killed in between goes on from
            # here, and trains nothing again.
            _snapshot(hooks.snapshot_path, carry, best, {**tag, "step": trainer.num_steps})
        std, moments = trainer.std(carry.state), trainer.moments(carry.state)
        return Outcome(
            solutions=np.asarray(self.engine.trainer.solution(carry.state)),
            stds=None if std is None else np.asarray(std),
            second_moments=None if moments is None else np.asarray(moments[1]),
            best=best,
            record={name: np.asarray(values) for name, values in carry.record.items()},
        )

    def _run(
        self, carry: Carry, level: Level, best: Best, first: int, *, tag: dict[str, Any], hooks: Hooks
    ) -> Carry:
        trainer = self.engine.trainer
        holder = [carry]

        def run(start: int, stop: int) -> None:
            with device_memory(trainer.batch_size, hint=_SMALLER[trainer.name]):
                holder[0] = jax.block_until_ready(self.engine.run(holder[0], level, start, stop))

        done, saved = first, time.monotonic()
        last = trainer.num_steps
        for step in chunks(
            first, last, boundary=self._next_stop(hooks), seconds=hooks.chunk_seconds, run=run
        ):
            loss = _mean_of_finite(np.asarray(holder[0].record["loss"][step - 1]))
            hooks.progress.advance(step - done, loss=loss)
            done = step
            if step % trainer.eval_every == 0 or step == last:
                self._evaluate(holder[0], best, step, hooks)
            if hooks.is_kept(step) and step < last:
                std = trainer.std(holder[0].state)
                solutions = np.asarray(trainer.solution(holder[0].state))
                hooks.keep(step, solutions, None if std is None else np.asarray(std))
            signum = hooks.should_stop() if step < last else None
            if signum is not None or time.monotonic() - saved > hooks.save_every_seconds:
                _snapshot(hooks.snapshot_path, holder[0], best, {**tag, "step": step})
                saved = time.monotonic()
            if signum is not None:
                raise InterruptedRunError(f"stopped at step {step:,} of {tag}", signum=signum)
        return holder[0]

    def _next_stop(self, hooks: Hooks) -> Callable[[int], int]:
        every = self.engine.trainer.eval_every

        def after(step: int) -> int:
            regular = [(step // n + 1) * n for n in (every, hooks.keep_every) if n]
            return min([*regular, *(kept for kept in hooks.keep_steps if kept > step)])

        return after

    def _evaluate(self, carry: Carry, best: Best, step: int, hooks: Hooks) -> None:
        if "validation" not in self.problem.splits:
            return
        solutions = np.asarray(self.engine.trainer.solution(carry.state))
        rows = [self.problem.evaluate(self.params(vector), "validation") for vector in solutions]
        best.update(step, solutions, rows, key=self._key, sign=self._sign)
        hooks.on_evaluation(step, rows)

    def params(self, vector: np.ndarray) -> PyTree:
        """Return the parameter tree of a vector [n]."""
        return self.layout.unflatten(vector, self.like)


def _mean_of_finite(values: np.ndarray) -> float:
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if finite.size else float("nan")


def _snapshot(path: Path | None, carry: Carry, best: Best, tag: dict[str, Any]) -> None:
    """Write what resuming needs: every leaf of the carry, copied to the host, and the best so far."""
    if path is None:
        return
    leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(carry)]
    state = {
        "carry": leaves,
        "best": {"vectors": best.vectors, "scores": best.scores, "steps": best.steps},
        "curve_steps": np.asarray(best.curve_steps, np.int64),
        "curves": {name: np.asarray(values, np.float64) for name, values in best.curves.items()},
    }
    save(path, Checkpoint(params={"best": best.vectors}, state=state, info={"snapshot": tag}), force=True)


def snapshot_tag(path: Path) -> dict[str, Any]:
    """Return the tag of a snapshot, with its step; an empty mapping if there is no snapshot."""
    if not path.exists():
        return {}
    return dict((load_info(path) or {}).get("snapshot", {}))


def snapshot_step(path: Path, tag: dict[str, Any]) -> int:
    """Return the step at which a snapshot of this level was taken, 0 if there is none."""
    found = snapshot_tag(path)
    step = int(found.pop("step", 0))
    return step if found == tag else 0


def _restore(path: Path, like: Carry, tag: dict[str, Any]) -> tuple[Carry, Best, int] | None:
    """Return (carry, best, step) of a snapshot of this level, None if it belongs to another one."""
    stored = load(path)
    found = dict((stored.info or {}).get("snapshot", {}))
    step = int(found.pop("step", 0))
    if found != tag:
        return None
    state = stored.state
    leaves, treedef = jax.tree.flatten(like)
    restored = [jax.numpy.asarray(new, old.dtype) for new, old in zip(state["carry"], leaves, strict=True)]
    best = Best(
        state["best"]["vectors"],
        state["best"]["scores"],
        state["best"]["steps"],
        [int(s) for s in state["curve_steps"]],
        {name: values.tolist() for name, values in state.get("curves", {}).items()},
    )
    return jax.tree.unflatten(treedef, restored), best, step
