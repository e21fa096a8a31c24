"""Reading a run: its configuration, checkpoints and metrics. No jax."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

import numpy as np

from landscape.errors import RunError
from landscape.results import FEW_SEEDS, mean_interval, wilson_interval
from trainers.config import RunConfig
from trainers.runs.files import explained, folder_path, read_rows
from trainers.runs.resume import CONFIG_NAME, stored_config

if TYPE_CHECKING:
    from landscape.files import Checkpoint

_LEVEL = re.compile(r"level-(\d{2,})\.h5")
_STEP = re.compile(r"level-\d{2,}\.step-(\d{6,})\.h5")

Score = tuple[float, tuple[float, float] | None]  # a mean and its interval


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunCheckpoint:
    """One checkpoint of a run.

    Attributes
    ----------
    method : str
        ``<trainer>-<score>``.
    seed, init_seed : int
        Train seed, and seed of the initialisation.
    level : int
        From 0, the dense one.
    density : float
        The scheduled density of the level.
    path : Path
        The file.
    step : int or None
        Steps of training in the level; None at its end.
    """

    method: str
    seed: int
    init_seed: int
    level: int
    density: float
    path: Path
    step: int | None = None

    def load(self) -> Checkpoint:
        """Read the file, as `landscape.load` does."""
        from landscape.files import load

        return load(self.path)

    @property
    def info(self) -> Mapping[str, Any]:
        """The info in the file: metrics, exact densities, versions."""
        from landscape.files import load_info

        return load_info(self.path)


class Run:
    """A run folder that is only read; made by `open_run`."""

    def __init__(self, path: Path, config: RunConfig) -> None:
        self.path = path
        self.config = config

    def __repr__(self) -> str:
        return f"Run({self.path}; methods {', '.join(self.methods)}; seeds {self.seeds})"

    @property
    def methods(self) -> tuple[str, ...]:
        """Methods, in the order of the configuration."""
        return self.config.methods

    @property
    def seeds(self) -> tuple[int, ...]:
        """Train seeds, in the order of the configuration."""
        return tuple(seeds.train for seeds in self.config.seeds)

    def schedule(self, method: str) -> tuple[float, ...]:
        """Return the density of every level of a method."""
        return self.config.resolved(method).pruning.schedule

    def levels(self, method: str, seed: int) -> list[int]:
        """Return the finished levels of a method and seed."""
        folder = self.path / method / f"seed-{seed}"
        found = [_LEVEL.fullmatch(entry.name) for entry in folder.iterdir()] if folder.is_dir() else []
        return sorted(int(match[1]) for match in found if match)

    def checkpoints(
        self, *, method: str | None = None, seed: int | None = None, level: int | None = None
    ) -> list[RunCheckpoint]:
        """Return the finished checkpoints, by method, seed and level; each argument selects."""
        found = []
        for name in self.methods:
            schedule = self.schedule(name)
            for seeds in self.config.seeds:
                if method not in (None, name) or seed not in (None, seeds.train):
                    continue
                for index in self.levels(name, seeds.train):
                    if level in (None, index) and index < len(schedule):
                        path = self.path / name / f"seed-{seeds.train}" / f"level-{index:02d}.h5"
                        found.append(
                            RunCheckpoint(
                                method=name,
                                seed=seeds.train,
                                init_seed=seeds.init,
                                level=index,
                                density=schedule[index],
                                path=path,
                            )
                        )
        return found

    def trajectory(self, method: str, seed: int, level: int) -> list[RunCheckpoint]:
        """Return the checkpoints from within a level and the one at its end, by step."""
        last = self.checkpoints(method=method, seed=seed, level=level)
        kept = []
        for path in (self.path / method / f"seed-{seed}").glob(f"level-{level:02d}.step-*.h5"):
            if found := _STEP.fullmatch(path.name):
                kept.append((int(found[1]), path))
        return [
            *(dataclasses.replace(end, path=path, step=step) for end in last for step, path in sorted(kept)),
            *last,
        ]

    @cached_property
    def infos(self) -> dict[tuple[str, int, int], Mapping[str, Any]]:
        """The info of every checkpoint by (method, seed, level), each file read once."""
        return {(c.method, c.seed, c.level): c.info for c in self.checkpoints()}

    @cached_property
    def headline(self) -> tuple[str, str]:
        """The (split, metric) that summaries show: the test split's accuracy where there is one."""
        stored: Mapping[str, Any] = next(
            (info["metrics"] for info in self.infos.values() if info.get("metrics")), {}
        )
        split = next((name for name in ("test", "validation", "train") if name in stored), "test")
        names = list(stored.get(split, ()))
        if "accuracy" in names or not names:
            return split, "accuracy"
        return split, next((name for name in names if name != "loss"), "loss")

    def accuracies(
        self, method: str, level: int, *, split: str = "test", metric: str = "accuracy"
    ) -> np.ndarray:
        """Return a metric of the final solution, one value per seed, where it is stored."""
        found = [
            info["metrics"][split][metric]
            for (name, _, index), info in self.infos.items()
            if name == method and index == level and metric in info.get("metrics", {}).get(split, {})
        ]
        return np.asarray(found, np.float64)

    def score(
        self, method: str, level: int, *, split: str | None = None, metric: str | None = None
    ) -> Score | None:
        """Return the mean score over seeds with its 95 % interval, or None where none is stored.

        Split and metric are those of the headline where they are not given.

        Of five or more seeds the interval is Student's over seeds. Of fewer it is that of the examples
        behind a score, around the mean: Wilson's of an accuracy, the normal one of episodes, whose standard
        errors are stored (their mean square over seeds: seeds are tested on the same episodes). There is none
        for other metrics, or where checkpoints do not say how many examples there were.
        """
        split, metric = split or self.headline[0], metric or self.headline[1]
        values = self.accuracies(method, level, split=split, metric=metric)
        if not values.size:
            return None
        mean = float(values.mean())
        if len(values) >= FEW_SEEDS:
            return mean, mean_interval(values.tolist())
        count = self.num_examples(split)
        if metric != "accuracy" or not count or not 0 <= mean <= 1:
            return mean, self._episodes_interval(mean, method, level, (split, metric))
        return mean, wilson_interval(mean * count, count)

    def _episodes_interval(
        self, mean: float, method: str, level: int, place: tuple[str, str]
    ) -> tuple[float, float] | None:
        """Return the normal 95 % interval of the episodes behind a mean; None without standard errors."""
        split, metric = place
        stored = [info for (name, _, index), info in self.infos.items() if (name, index) == (method, level)]
        errors = [info.get("standard_errors", {}).get(split, {}).get(metric) for info in stored]
        known = [error for error in errors if error is not None and np.isfinite(error)]
        if not known or len(known) < len(errors):
            return None
        half = NormalDist().inv_cdf(0.975) * float(np.sqrt(np.mean(np.square(known))))
        return mean - half, mean + half

    def num_examples(self, split: str) -> int:
        """Return the number of examples behind the scores of a split; 0 where checkpoints do not say.

        Of weighted examples it is the effective number, rounded down.
        """
        info = next(iter(self.infos.values()), {})
        counts = info.get("effective_examples") or info.get("num_examples", {})
        return int(counts.get(split, 0))

    def troubles(self) -> list[str]:
        """Return the reasons not to trust a level, one line each; an empty list if there are none."""
        found = []
        for (method, seed, level), info in self.infos.items():
            place = f"{method}, seed {seed}, level {level}"
            losses = [values.get("loss") for values in info.get("metrics", {}).values()]
            if any(loss is None or not np.isfinite(loss) for loss in losses):
                found.append(f"{place}: the loss is not finite; training diverged")
            broken = "steps" if info.get("trainer") == "ppo" else "fitness values"
            for key, text in (
                ("num_nan", f"{broken} were not finite"),
                ("stalled", "generations had fitness without information"),
            ):
                if info.get(key):
                    found.append(f"{place}: {int(info[key]):,} {text}")
        return found

    @property
    def diverged(self) -> bool:
        """Whether any finished level ended with a loss that is not finite."""
        return any("diverged" in line for line in self.troubles())

    def metrics(self) -> list[dict[str, Any]]:
        """Return the lines of ``metrics.jsonl``."""
        return [row for _, row in read_rows(self.path / "metrics.jsonl")]

    def events(self) -> list[dict[str, Any]]:
        """Return the lines of ``events.jsonl``."""
        return [row for _, row in read_rows(self.path / "events.jsonl")]

    def summary_rows(self) -> list[tuple[str, str]]:
        """Return the headline score at the first and the last finished level of every method."""
        rows, (split, metric) = [], self.headline
        for method in self.methods:
            found = self.checkpoints(method=method)
            parts = []
            for level in sorted({0, max((c.level for c in found), default=0)}):
                if (score := self.score(method, level)) is not None:
                    density = self.schedule(method)[level]
                    parts.append(f"{score_text(score)} at {100 * density:.3g} %")
            rows.append((f"{method}, {split} {metric}", ", ".join(parts) or f"{len(found)} checkpoints"))
        return rows


def score_text(score: Score) -> str:
    """Return a score as ``mean [low, high]``, or the mean where there is no interval."""
    mean, interval = score
    ends = "" if interval is None else f" [{interval[0]:.4f}, {interval[1]:.4f}]"
    return f"{mean:.4f}{ends}"


def open_run(path: str | Path) -> Run:
    """Open the folder of a run for reading.

    Raises
    ------
    RunError
        If there is no such folder, it is not that of a run, or its configuration cannot be read.
    """
    folder = folder_path(path)
    with explained(folder, "cannot be looked at"):
        if not folder.exists():
            raise RunError(f"{folder}: no such folder", expected="the folder of a run")
        if not folder.is_dir():
            hint = f"Give the folder, {folder.parent}." if folder.name == CONFIG_NAME else None
            raise RunError(f"{folder}: is a file", expected="the folder of a run", hint=hint)
        if not (folder / CONFIG_NAME).is_file():
            inside = sorted(str(found.parent) for found in folder.glob(f"*/{CONFIG_NAME}"))[:3]
            hint = f"Runs are in {', '.join(inside)}." if inside else "landscape train makes one."
            raise RunError(f"{folder}: not a run", expected=f"a folder that holds {CONFIG_NAME}", hint=hint)
    return Run(folder, stored_config(folder))
