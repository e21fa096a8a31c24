"""Runs of seconds, and their weights by path."""

from __future__ import annotations

from typing import Any

import numpy as np

from trainers import resolve
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
