"""What a run will cost, before it starts."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from landscape import Problem
from landscape.layout import Layout
from trainers.config import RunConfig
from trainers.methods import Method

__all__ = ["Plan", "plan"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
    """Counts and memory of a run.

    Attributes
    ----------
    num_checkpoints : int
        Files it writes.
    evaluations : dict of str to int
        Forward passes of one example, by method (a gradient step counts each example once); a dense
        level shared between methods counts for the first of them.
    memory_bytes : int
        Device memory of training at its peak: data, populations and activations.
    """

    num_params: int
    num_prunable: int
    num_checkpoints: int
    evaluations: dict[str, int]
    memory_bytes: int
    final_density: float

    def rows(self) -> list[tuple[str, str]]:
        """Return the printed lines."""
        total = sum(self.evaluations.values())
        return [
            ("parameters", f"{self.num_params:,} ({self.num_prunable:,} prunable)"),
            ("final density", f"{self.final_density:.4g}"),
            ("checkpoints", f"{self.num_checkpoints:,}"),
            *((f"evaluations {method}", f"{count:,}") for method, count in self.evaluations.items()),
            ("evaluations", f"{total:,} examples through the network"),
            ("memory", f"about {self.memory_bytes / 2**20:,.0f} MiB on the device"),
        ]

    def to_dict(self) -> dict[str, Any]:
        """Return the plan as plain JSON types."""
        return dataclasses.asdict(self)


def plan(
    config: RunConfig, *, problem: Problem | None = None, init: Callable[[int], Any] | None = None
) -> Plan:
    """Return what training `config` will take. Loads the data; trains and writes nothing.

    Parameters
    ----------
    config : RunConfig
        The run.
    problem, init : Problem and callable, optional
        Your own, as `trainers.train_tickets` takes them.
    """
    if problem is None or init is None:
        from trainers.tasks import load_task

        task = load_task(config.task, dict(config.network), **config.task_options)
        problem, init = task.problem, task.init
    layout = Layout.of(init(config.seeds[0].init))
    arrays = problem.arrays("train")
    leaves = jax.tree.leaves(arrays)
    num_examples = int(leaves[0].shape[0])
    seeds, levels = len(config.seeds), len(config.pruning.schedule)
    evaluations: dict[str, int] = {}
    seen: dict[Any, Method] = {}
    for method in map(config.resolved, config.methods):
        per_level = seeds * _per_level(method, num_examples)
        shared = method.starts_dense and method.training in seen
        evaluations[method.name] = per_level * (levels - shared)
        if method.starts_dense:
            seen.setdefault(method.training, method)
    data = sum(int(np.prod(leaf.shape)) * leaf.dtype.itemsize for leaf in leaves)
    return Plan(
        num_params=layout.size,
        num_prunable=int(layout.prunable(biases=config.pruning.prune_biases).sum()),
        num_checkpoints=len(config.methods) * seeds * levels,
        evaluations=evaluations,
        memory_bytes=data
        + max(_working_bytes(config.resolved(name), seeds, layout, arrays) for name in config.methods),
        final_density=config.pruning.schedule[-1],
    )


def _per_level(method: Method, num_examples: int) -> int:
    if method.trainer == "es":
        es = method.evolution
        return es.generations * es.population_size * es.batch_size
    steps = num_examples // method.gradient.batch_size
    return method.gradient.epochs * steps * method.gradient.batch_size


def _working_bytes(method: Method, seeds: int, layout: Layout, arrays: Any) -> int:
    """Return populations (or parameters and moments) and activations, float32.

    A population exists as noise, sample, and in the update once more; activations are those of the
    members that are evaluated together, three times the widest layer of each.
    """
    evolves, size = method.trainer == "es", method.evolution.population_size
    batch = method.training.batch_size
    inputs = sum(int(np.prod(leaf.shape[1:])) for leaf in jax.tree.leaves(arrays))
    widest = max((shape[-1] for shape in layout.shapes), default=1)
    vectors = 3 * size if evolves else 6
    together = size if evolves else 1
    return 4 * (seeds * vectors * layout.size + seeds * batch * inputs + 3 * together * batch * widest)
