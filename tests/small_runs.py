"""Runs of seconds, how one is stopped, and whether two are the same."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import numpy as np

from trainers import open_run, resolve
from trainers.config import RunConfig

SIZES = [
    "runtime.chunk_seconds=0.02",
    "network={kind='mlp', widths=[8]}",
    "pruning.levels=3",
    "pruning.ratio=0.5",
    "evolution.population_size=16",
    "evolution.generations=12",
    "evolution.batch_size=128",
    "evolution.eval_every=5",
    "gradient.epochs=1",
    "gradient.batch_size=128",
]
SMALL = [*SIZES, "methods=['es-snr', 'es-random', 'gd-magnitude']", "seeds=[0, 1]"]


def smoke(*overrides: str) -> RunConfig:
    return resolve("smoke", overrides=[*SMALL, *overrides])


def arrays(tree: Any, prefix: str = "") -> dict[str, np.ndarray]:
    if not isinstance(tree, dict):
        return {prefix: tree}
    return {k: v for key, sub in tree.items() for k, v in arrays(sub, f"{prefix}/{key}").items()}


class StopAfter:
    """Asks for a stop once it has been asked `count` times."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __call__(self) -> int | None:
        self.count -= 1
        return signal.SIGTERM if self.count < 0 else None


def assert_same_run(first: Path, second: Path) -> None:
    """Bitwise the same weights, states, histories and metrics."""
    a, b = open_run(first).checkpoints(), open_run(second).checkpoints()
    assert [(c.method, c.seed, c.level) for c in a] == [(c.method, c.seed, c.level) for c in b]
    for one, other in zip(a, b, strict=True):
        x, y = one.load(), other.load()
        assert x.digest == y.digest
        assert x.info == y.info
        for name in ("mask", "std", "best", "history", "init", "state"):
            left, right = arrays(getattr(x, name)), arrays(getattr(y, name))
            assert left.keys() == right.keys()
            for path in left:
                np.testing.assert_array_equal(left[path], right[path], err_msg=f"{one.path} {name}{path}")
    metrics = [(folder / "metrics.jsonl").read_bytes() for folder in (first, second)]
    assert metrics[0] == metrics[1]
