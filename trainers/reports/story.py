"""The result of the quickstart: a run, the barriers between its networks, and their summary."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from landscape import Barrier
from landscape.results import FEW_SEEDS, mean_interval
from trainers.runs import Run

__all__ = ["BarrierMean", "BarrierRow", "Quickstart", "barrier_mean", "barrier_record"]


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
class BarrierMean:
    """A mean of barriers above the chord.

    Attributes
    ----------
    value : float
        The mean.
    interval : tuple of float, optional
        Of 95 %; None where a barrier has none.
    over : str
        What the interval is over: ``"runs"`` or ``"examples"``.
    count : int
        Barriers behind the mean.
    """

    value: float
    interval: tuple[float, float] | None
    over: str
    count: int

    def __str__(self) -> str:
        ends = "" if self.interval is None else f" [{self.interval[0]:.3g}, {self.interval[1]:.3g}]"
        return f"{self.value:.3g}{ends}"


def barrier_mean(rows: Sequence[BarrierRow]) -> BarrierMean:
    """Return the mean of barriers with its interval.

    Within five or more runs it is Student's over the means of the runs: the levels of one run are not
    independent. Otherwise it is over the examples, from the mean lower to the mean upper end. All barriers
    share the examples, and the standard deviation of a mean is at most the mean of the standard deviations,
    so that interval errs on the wide side.
    """
    by_run: dict[tuple[int, int], list[float]] = {}
    for row in rows:
        if row.barrier.barrier_above_chord is not None:
            by_run.setdefault(row.seeds, []).append(float(row.barrier.barrier_above_chord))
    means = [math.fsum(own) / len(own) for own in by_run.values()]
    count = sum(map(len, by_run.values()))
    if all(a == b for a, b in by_run) and len(means) >= FEW_SEEDS:
        value = math.fsum(means) / len(means)
        return BarrierMean(value=value, interval=mean_interval(means), over="runs", count=count)
    value = math.fsum(itertools.chain(*by_run.values())) / count
    ends = [row.barrier.interval_above_chord for row in rows]
    known = [pair for pair in ends if pair is not None]
    interval = None
    if len(known) == count:
        interval = (math.fsum(low for low, _ in known) / count, math.fsum(high for _, high in known) / count)
    return BarrierMean(value=value, interval=interval, over="examples", count=count)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Quickstart:
    """The result of the quickstart: a run folder, barriers and a page."""

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
            rows.append((f"barrier {method}, {kind}", f"{value} (mean of {value.count}, training loss)"))
        return [*rows, ("page", str(self.page))]

    def mean_barriers(self) -> dict[tuple[str, str], BarrierMean]:
        """Return the mean barrier above the chord by (method, kind)."""
        groups: dict[tuple[str, str], list[BarrierRow]] = {}
        for row in self.barriers:
            if row.barrier.barrier_above_chord is not None:
                groups.setdefault((row.method, row.kind), []).append(row)
        return {key: barrier_mean(rows) for key, rows in groups.items()}

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
