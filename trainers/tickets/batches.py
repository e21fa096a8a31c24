"""Which replicates train together. No jax."""

from __future__ import annotations

from typing import Any

from trainers.config import Method, RunConfig, SeedsConfig

Replicate = tuple[Method, SeedsConfig]


def groups(config: RunConfig, backend: str) -> list[list[Method]]:
    """Return the methods that train as one batch on a backend of jax.

    Methods go together where one program trains them and their masks free equally many weights.
    On a CPU a larger batch gains nothing, and a method alone is bit-identical in any run.
    """
    methods = [config.resolved(name) for name in config.methods]
    together = config.runtime.together
    if together == "seeds" or (together == "auto" and backend == "cpu"):
        return [[method] for method in methods]
    found: dict[Any, list[Method]] = {}
    for method in methods:
        alone = method.source is not None and (method.source.run is not None or method.control != "none")
        pruning = method.pruning
        key = (method.training, pruning.prune_biases, pruning.schedule, method.name if alone else "")
        found.setdefault(key, []).append(method)
    return list(found.values())


def without_twins(replicates: list[Replicate], level: int) -> list[Replicate]:
    """Return the replicates of a group, leaving out those that share the dense level of another one."""
    found: list[Replicate] = []
    dense: set[int] = set()
    for method, seeds in replicates:
        if level == 0 and method.starts_dense:
            if seeds.train in dense:
                continue
            dense.add(seeds.train)
        found.append((method, seeds))
    return found


def of_level(group: list[Method], config: RunConfig, level: int) -> list[Replicate]:
    """Return the replicates of a group that have a level, in the order in which they are trained."""
    found = [method for method in group if level < len(method.pruning.schedule)]
    return [(method, seeds) for method in found for seeds in config.seeds]


def largest_batch(group: list[Method], config: RunConfig) -> int:
    """Return how many replicates of a group train at once, at most, in a run from its beginning."""
    levels = range(max(len(method.pruning.schedule) for method in group))
    return max(len(without_twins(of_level(group, config, level), level)) for level in levels)
