"""The result of the quickstart: a run, the barriers between its networks, and their summary."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from landscape import Barrier
from trainers.runs import Run

__all__ = ["BarrierRow", "Quickstart", "barrier_record"]


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
