"""What the host takes between two chunks, at the settings of the paper.

    .venv/bin/python -m benchmarks.overhead [--generations 12]

One seed of ``paper-mnist`` (the paper's network, population 128, batch 1,024, Sep-CMA-ES) on random
images, trained as `landscape train` does it, snapshots and metrics included; the clock is read when a chunk
is begun and when it has ended. Evaluations on the validation split, every 100 generations, are work
that a run asks for: intervals that hold one are shown apart.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import tempfile
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np

from benchmarks.population import random_images
from benchmarks.timing import machine, median
from trainers.config import resolve
from trainers.tasks.classification import classification_task
from trainers.tickets.making import make_trainer
from trainers.tickets.ticket import Space
from trainers.training import Engine, Hooks, LevelRunner
from trainers.training.engine import Carry, Level

GOAL = 0.02
_TRAIN = 55_000


class Clocked(Engine):
    """An engine that notes when each chunk begins and ends, and the step at which it ends."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.chunks: list[tuple[float, float, int]] = []

    def run(self, carry: Carry, level: Level, start: int, stop: int) -> Carry:
        """Run a chunk to its end."""
        began = time.perf_counter()
        result = jax.block_until_ready(super().run(carry, level, start, stop))
        self.chunks.append((began, time.perf_counter(), stop))
        return result


def clocked(generations: int) -> Clocked:
    """Train one level of `generations`; return the engine with its times."""
    config = resolve("paper-mnist", overrides=["seeds=[0]", f"evolution.generations={generations}"])
    task = classification_task(random_images(_TRAIN), dict(config.network), options={})
    space = Space.of(task.problem, task.init, 0)
    method = config.resolved("es-snr")
    engine = Clocked(make_trainer(method, space), task.problem.arrays("train"))
    runner = LevelRunner(engine, task.problem, space.layout, space.like)
    level = engine.level([0], 0, np.ones((1, space.layout.size), bool))
    with tempfile.TemporaryDirectory() as folder:
        hooks = dataclasses.replace(Hooks(), snapshot_path=Path(folder) / "state.h5")
        runner.train(level, space.initial(0)[None], tag={"level": 0}, hooks=hooks)
    return engine


def report(generations: int | None = None) -> None:
    """Print the median interval and what it is of a chunk."""
    engine = clocked(generations or (12 if jax.default_backend() == "cpu" else 2_000))
    every = engine.trainer.eval_every
    # The first chunk compiles; what follows it is not typical either.
    times = engine.chunks[1:]
    intervals = [
        (after[0] - before[1], before[2] % every == 0) for before, after in itertools.pairwise(times)
    ]
    chunk = median([end - began for began, end, _ in times])
    plain = median([seconds for seconds, evaluated in intervals if not evaluated])
    print(f"chunks of {chunk:.2f} s; between two the host takes {plain * 1e3:.2f} ms (median of")
    print(f"{len(intervals)}), {plain / chunk:.3%} of a chunk (goal under {GOAL:.0%})")
    with_evaluation = [seconds for seconds, evaluated in intervals if evaluated]
    if with_evaluation:
        print(f"intervals with an evaluation on the validation split: {median(with_evaluation) * 1e3:.1f} ms")
        total = sum(seconds for seconds, _ in intervals) / (times[-1][1] - times[0][0])
        print(f"all intervals, evaluations included: {total:.2%} of the time")


def main() -> None:
    """Print the machine and the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--generations", type=int)
    given = parser.parse_args()
    print(machine())
    report(given.generations)


if __name__ == "__main__":
    main()
