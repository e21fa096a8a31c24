"""Memory that ``--dry-run`` states against the measured growth of a training process.

    .venv/bin/python -m benchmarks.memory [CASE …]

Each case trains two generations (or steps) in a process of its own. The program is compiled there before
the data are made, for the compiler's own memory is no part of the statement; then the process grows by
the data on the device, the state of the search and what the program needs in between. On a CPU that is
the growth of the resident set to its peak; elsewhere the peak that the device tells. Images are random
numbers in the sizes of MNIST, so no data set is needed.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.population import random_images
from benchmarks.timing import machine
from trainers.config import RunConfig, resolve
from trainers.tasks import load_task
from trainers.tasks.classification import Task, classification_task
from trainers.tickets import plan
from trainers.tickets.making import make_trainer
from trainers.tickets.ticket import Space
from trainers.training import Engine

GOAL = 0.25
_TRAIN = 55_000
_MIB = 2**20


@dataclasses.dataclass(frozen=True, kw_only=True)
class Case:
    """A preset, with its changes."""

    preset: str
    overrides: tuple[str, ...] = ()

    @property
    def config(self) -> RunConfig:
        """Its configuration."""
        return resolve(self.preset, overrides=self.overrides)


CASES = {
    "quickstart": Case(preset="quickstart", overrides=("methods=[es-snr]",)),
    "small-mnist": Case(preset="small-mnist", overrides=("methods=[es-snr]",)),
    "paper-mnist": Case(preset="paper-mnist", overrides=("methods=[es-snr]", "seeds=[0]")),
    "mnist-short": Case(preset="mnist-short", overrides=("methods=[es-snr]", "seeds=[0]")),
    "gradient": Case(preset="small-mnist", overrides=("methods=[gd-magnitude]",)),
}


def made_task(config: RunConfig) -> Task:
    """Return the task on random images; the digits are there as they are."""
    if config.task == "digits":
        return load_task("digits", dict(config.network))
    return classification_task(random_images(_TRAIN), dict(config.network), options={})


def measured(case: Case) -> int:
    """Return the bytes by which this process grows when it trains."""
    config = case.config
    task = made_task(config)
    space = Space.of(task.problem, task.init, config.seeds[0].init)
    shapes = jax.eval_shape(lambda: jax.tree.map(jnp.asarray, host_arrays(task)))
    engine = Engine(make_trainer(config.resolved(config.methods[0]), space), shapes)
    start = np.stack([space.initial(one.init) for one in config.seeds])
    level = engine.level([one.train for one in config.seeds], 0, np.ones(start.shape, bool))
    carry = engine.start(level, start)
    spans = [np.asarray([first, first + 1], np.int32) for first in (0, 1)]
    program = engine._chunk.lower(carry, level, shapes, spans[0]).compile()
    before = _resident("VmRSS")
    _forget_peak()
    arrays = jax.block_until_ready(task.problem.arrays("train"))
    for span in spans:
        carry = jax.block_until_ready(program(carry, level, arrays, span))
    told = jax.devices()[0].memory_stats()
    return int(told["peak_bytes_in_use"]) if told else _resident("VmHWM") - before


def host_arrays(task: Task) -> Any:
    """Return the training split as the problem was given it, not yet on the device."""
    return task.problem._split("train").tree


def _resident(field: str) -> int:
    """Return a line of what Linux tells of this process's memory, in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{field}:"))


def _forget_peak() -> None:
    """Let the peak of the resident set begin at what it is now."""
    Path("/proc/self/clear_refs").write_text("5")


def compared(name: str) -> tuple[int, int]:
    """Return (stated, measured) bytes of a case, the latter from a process of its own."""
    case = CASES[name]
    task = made_task(case.config)
    stated = plan(case.config, problem=task.problem, init=task.init, memory=True).memory_bytes
    command = [sys.executable, "-m", "benchmarks.memory", "--child", name]
    found = subprocess.run(command, check=True, capture_output=True, text=True)
    return stated, int(json.loads(found.stdout.splitlines()[-1]))


def report(names: Sequence[str] = tuple(CASES)) -> None:
    """Print one line per case."""
    for name in names:
        stated, found = compared(name)
        figures = f"stated {stated / _MIB:5.0f} MiB, measured {found / _MIB:5.0f} MiB"
        print(f"{name:<12} {figures}, stated / measured {stated / found:.2f} (goal within {GOAL:.0%})")


def main() -> None:
    """Print the machine and the cases, or measure one of them here."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("cases", nargs="*", metavar="CASE", help=", ".join(CASES))
    parser.add_argument("--child", choices=list(CASES), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        print(json.dumps(measured(CASES[given.child])))
        return
    print(machine())
    report(given.cases or tuple(CASES))


if __name__ == "__main__":
    main()
