"""What a run will cost, before it starts."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from landscape import Problem
from landscape.trees import Layout
from trainers.config import Method, RunConfig
from trainers.tickets.batches import groups, largest_batch
from trainers.tickets.making import make_engine
from trainers.training import Space, require_trainable

__all__ = ["Plan", "plan"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
    """Counts and memory of a run.

    Attributes
    ----------
    num_checkpoints : int
        Files it writes.
    evaluations : dict of str to int
        Forward passes of one example, by method (a gradient step counts each example once, a policy
        gradient what it plays, in episodes of full length); a dense level shared between methods counts
        for the first of them.
    memory_bytes : int or None
        Device memory of training: the largest of the compiled programs with its data, with as many seeds
        and methods as train together. Evaluation between chunks and the runtime itself come on top. None
        unless it was asked for.
    """

    num_params: int
    num_prunable: int
    num_checkpoints: int
    evaluations: dict[str, int]
    final_density: float
    memory_bytes: int | None = None

    def rows(self) -> list[tuple[str, str]]:
        """Return the printed lines."""
        total = sum(self.evaluations.values())
        memory = self.memory_bytes
        held = [] if memory is None else [("memory", f"about {memory / 2**20:,.0f} MiB on the device")]
        return [
            ("parameters", f"{self.num_params:,} ({self.num_prunable:,} prunable)"),
            ("final density", f"{self.final_density:.4g}"),
            ("checkpoints", f"{self.num_checkpoints:,}"),
            *((f"evaluations {method}", f"{count:,}") for method, count in self.evaluations.items()),
            ("evaluations", f"{total:,} examples through the network"),
            *held,
        ]

    def to_dict(self) -> dict[str, Any]:
        """Return the plan as plain JSON types."""
        return dataclasses.asdict(self)


def plan(
    config: RunConfig,
    *,
    problem: Problem | None = None,
    init: Callable[[int], Any] | None = None,
    memory: bool = False,
) -> Plan:
    """Return what training `config` will take. Loads the data; trains and writes nothing.

    Parameters
    ----------
    config : RunConfig
        The run.
    problem, init : Problem and callable, optional
        Your own, as `trainers.train_tickets` takes them.
    memory : bool
        Whether to say what the device must hold, for which every program is compiled.

    Raises
    ------
    ConfigurationError
        If the configuration cannot be trained.
    """
    if problem is None or init is None:
        from trainers.tasks import load_task

        task = load_task(config.task, dict(config.network), **config.task_options)
        problem, init = task.problem, task.init
    require_trainable(config, problem)
    layout, num_examples = _layout(init, config.seeds[0].init), problem.num_examples("train")
    seeds, levels = len(config.seeds), len(config.pruning.schedule)
    length = int((problem.task or {}).get("options", {}).get("episode_length", 1))
    evaluations: dict[str, int] = {}
    seen: dict[Any, Method] = {}
    for method in map(config.resolved, config.methods):
        per_level = seeds * _per_level(method, num_examples, length)
        shared = method.starts_dense and method.training in seen
        evaluations[method.name] = per_level * (levels - shared)
        if method.starts_dense:
            seen.setdefault(method.training, method)
    return Plan(
        num_params=layout.size,
        num_prunable=int(layout.prunable(biases=config.pruning.prune_biases).sum()),
        num_checkpoints=len(config.methods) * seeds * levels,
        evaluations=evaluations,
        memory_bytes=_memory(config, problem, init) if memory else None,
        final_density=config.pruning.schedule[-1],
    )


def _layout(init: Callable[[int], Any], seed: int) -> Layout:
    """Return the layout of the parameters, from their shapes where jax can trace the initialiser."""
    try:
        like = jax.eval_shape(lambda: init(seed))
    except Exception:  # whatever the user's code raises under tracing, it raises itself if it is at fault
        like = init(seed)
    return Layout.of(like)


def _memory(config: RunConfig, problem: Problem, init: Callable[[int], Any]) -> int:
    """Return the memory of the largest program."""
    space = Space.of(problem, init, config.seeds[0].init)
    return max(_program_bytes(method, config, space, count) for method, count in _programs(config).values())


def _per_level(method: Method, num_examples: int, episode_length: int) -> int:
    if method.trainer == "es":
        es = method.evolution
        return es.generations * es.population_size * es.batch_size
    if method.trainer == "ppo":
        return math.ceil(method.ppo.num_updates * method.ppo.update_steps / episode_length)
    steps = num_examples // method.gradient.batch_size
    return method.gradient.epochs * steps * method.gradient.batch_size


def _programs(config: RunConfig) -> dict[Any, tuple[Method, int]]:
    """Return a method of every compiled program, and how many replicates train in it at once."""
    found: dict[Any, tuple[Method, int]] = {}
    for group in groups(config, jax.default_backend()):
        count, first = largest_batch(group, config), group[0]
        if count > found.get(first.training, (first, 0))[1]:
            found[first.training] = first, count
    return found


def _program_bytes(method: Method, config: RunConfig, space: Space, count: int) -> int:
    """Return the memory of a level's compiled program: data, states, and what it needs in between.

    It is compiled for that, which takes seconds, and is what XLA has laid out, not a guess.
    """
    engine = make_engine(method, space)
    # Seeds only fill the arrays, whose shapes decide.
    seeds = [config.seeds[i % len(config.seeds)] for i in range(count)]
    level = engine.level([one.train for one in seeds], 0, np.ones((len(seeds), space.layout.size), bool))
    carry = engine.start(level, np.stack([space.initial(one.init) for one in seeds]))
    return engine.memory_bytes(carry, level)
