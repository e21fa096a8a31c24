"""A complete published sweep, in slices of minutes that can be taken one after another.

    .venv/bin/python -m benchmarks.sweep -o DIR [--minutes 9] [--preset paper-mnist] [--seeds 0]

The same command again goes on where the last slice stopped, until every level is there. Each slice
prints generations a second, seconds per level and the projected time of the whole sweep, both from its
own rate without its compilations, and the test accuracies so far beside the published ones.
"""

from __future__ import annotations

import argparse
import dataclasses
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.timing import machine
from landscape.errors import InterruptedRunError
from trainers.config import RunConfig, resolve
from trainers.config.published import READING_ERROR, published_accuracies
from trainers.runs import Run, open_run
from trainers.tickets import train_tickets

SWEEP_MINUTES = 10  # one seed of paper-mnist, on one H200; five seeds in 50
_STOP = 15  # the signal that a slice's end stands for


@dataclasses.dataclass
class Clock:
    """Counts generations and their seconds; a Progress for `train_tickets`."""

    steps: int = 0
    seconds: float = 0.0
    label: str = ""
    _last: float | None = None

    def start(self, label: str, total: int | None = None) -> None:
        """Begin a level: its first chunk is not counted, since it may hold a compilation."""
        del total
        self.label, self._last = label, None

    def advance(self, n: int = 1, **fields: float | str) -> None:
        """Count a chunk."""
        del fields
        now = time.perf_counter()
        if self._last is not None:
            self.steps += n
            self.seconds += now - self._last
        self._last = now

    def note(self, text: str) -> None:
        """Say nothing."""

    def stop(self) -> None:
        """End a level."""

    @property
    def rate(self) -> float | None:
        """Generations a second of all seeds together; None before two chunks."""
        return self.steps / self.seconds if self.seconds else None


def deadline(seconds: float) -> Callable[[], int | None]:
    """Return what stops a run after `seconds`."""
    end = time.monotonic() + seconds
    return lambda: _STOP if time.monotonic() > end else None


def configured(
    preset: str, seeds: Sequence[int], methods: Sequence[str], overrides: Sequence[str]
) -> RunConfig:
    """Return the preset with other seeds, methods and values."""
    named = [f"seeds=[{', '.join(map(str, seeds))}]", f"methods=[{', '.join(methods)}]"]
    return resolve(preset, overrides=[*named, *overrides])


def slice_of(config: RunConfig, folder: Path, *, seconds: float) -> tuple[Clock, bool]:
    """Train for `seconds`; return the clock, and whether the sweep is finished."""
    clock = Clock()
    try:
        train_tickets(config, folder, resume=True, progress=clock, should_stop=deadline(seconds))
    except InterruptedRunError:
        return clock, False
    return clock, True


def timings(config: RunConfig, rate: float) -> list[str]:
    """Return what a rate of generations a second makes of a level and of the whole sweep."""
    lines = []
    for name in config.methods:
        method = config.resolved(name)
        if method.trainer == "es":
            level = method.evolution.generations / rate
            levels = len(method.pruning.schedule)
            whole = f"{levels} levels {level * levels / 60:.1f} minutes"
            lines.append(f"{name}: {level:.1f} s per level of {len(config.seeds)} seeds together, {whole}")
    return lines


def accuracies(run: Run) -> list[str]:
    """Return every finished level's mean test accuracy, beside the published one where there is one."""
    lines = []
    for name in run.methods:
        method = run.config.resolved(name)
        published = published_accuracies(run.config.task, method.trainer, method.score or "")
        for level, density in enumerate(run.schedule(name)):
            values = run.accuracies(name, level)
            if values.size:
                found = f"{name} {100 * density:6.2f} %  {values.mean():.4f} ({values.size} seeds)"
                lines.append(found + _beside(float(values.mean()), _at(published, density)))
    return lines


def _at(published: dict[float, float], density: float) -> float | None:
    """Return the published accuracy at a density that is read off at most to three digits."""
    return next((value for at, value in published.items() if abs(at / density - 1) < 0.01), None)


def _beside(value: float, published: float | None) -> str:
    if published is None:
        return ""
    goal = published - READING_ERROR
    return f"  published {published:.3f}, goal {goal:.3f}: {'reached' if value >= goal else 'missed'}"


def report(config: RunConfig, folder: Path, clock: Clock, *, finished: bool) -> list[str]:
    """Return the lines of a slice."""
    run = open_run(folder)
    done = len(run.checkpoints())
    of = sum(len(run.schedule(name)) for name in run.methods) * len(run.seeds)
    lines = [f"{done} of {of} checkpoints, {'finished' if finished else 'the same command goes on'}"]
    if clock.rate is not None:
        lines += [
            f"{clock.rate:.2f} generations/s (goal {SWEEP_MINUTES} minutes per paper-mnist seed on an H200)"
        ]
        lines += timings(config, clock.rate)
    return lines + accuracies(run)


def arguments() -> argparse.ArgumentParser:
    """Return the parser."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR")
    parser.add_argument("--minutes", type=float, default=9.0)
    parser.add_argument("--preset", default="paper-mnist")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--methods", nargs="+", default=["es-snr"])
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="overrides")
    return parser


def main(given: Sequence[str] | None = None) -> None:
    """Take one slice and print it."""
    options = arguments().parse_args(given)
    config = configured(options.preset, options.seeds, options.methods, options.overrides)
    print(machine())
    clock, finished = slice_of(config, options.output, seconds=60 * options.minutes)
    print("\n".join(report(config, options.output, clock, finished=finished)))


if __name__ == "__main__":
    main()
