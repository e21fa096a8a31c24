"""The checkpoint of a trained ticket, and the info in it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from landscape import Checkpoint
from landscape.problem import Problem, Weighting
from landscape.results import versions
from trainers.config import Method, SeedsConfig, score_name
from trainers.pruning import densities
from trainers.tickets.ticket import Ticket
from trainers.training import Outcome, Space


def level_checkpoint(
    config: Mapping[str, Any],
    space: Space,
    ticket: Ticket,
    *,
    replicate: tuple[Method, SeedsConfig, int],
    outcome: Outcome,
    index: int,
) -> Checkpoint:
    """Return the checkpoint of a finished level.

    Parameters
    ----------
    config : mapping
        The configuration of the run, as it is published.
    space, ticket
        What is trained, and from where.
    replicate : (Method, SeedsConfig, int)
        Method, seeds and level.
    outcome : Outcome
        Of the batch that the replicate was trained in.
    index : int
        Its place in that batch.
    """
    history = {f"train_{name}": values[:, index] for name, values in outcome.record.items()}
    history["evaluation_step"] = np.asarray(outcome.best.curve_steps, np.int64)
    for name, rows in outcome.best.curves.items():
        history[f"validation_{name}"] = np.asarray(rows, np.float64)[:, index]
    # Without a validation split, or with no finite score on it, there is no best solution.
    chosen = bool(np.isfinite(outcome.best.scores[index]))
    best = outcome.best.vectors[index] if chosen else None
    steps = int(next(iter(outcome.record.values())).shape[0])
    info = {
        **_description(space, ticket, replicate),
        "step": steps,
        **_evaluated(space, outcome.solutions[index]),
        "best": None if best is None else {"step": int(outcome.best.steps[index]), **_evaluated(space, best)},
        **_counts(outcome, index),
        **({} if space.constant_policy is None else {"constant_policy": space.constant_policy}),
        "versions": versions(),
    }
    std = None if outcome.stds is None else outcome.stds[index]
    made = _checkpoint(
        config, space, ticket, info, vectors=(outcome.solutions[index], std), best=best, history=history
    )
    if outcome.second_moments is None:
        return made
    moment = np.where(ticket.mask, outcome.second_moments[index], 0.0)
    return dataclasses.replace(made, state={"second_moment": space.layout.unflatten(moment)})


def step_checkpoint(
    config: Mapping[str, Any],
    space: Space,
    ticket: Ticket,
    *,
    replicate: tuple[Method, SeedsConfig, int],
    vectors: tuple[np.ndarray, np.ndarray | None],
    step: int,
) -> Checkpoint:
    """Return the checkpoint of a moment within a level: solution and std [n] after `step` steps."""
    info = {**_description(space, ticket, replicate), "step": step, "versions": versions()}
    return _checkpoint(config, space, ticket, info, vectors=vectors)


def shared_checkpoint(
    space: Space, ticket: Ticket, source: Checkpoint, *, replicate: tuple[Method, SeedsConfig, int]
) -> Checkpoint:
    """Return the checkpoint `source` of another method under the name of this replicate."""
    info = dict(source.info or {})
    found = {**info, **_description(space, ticket, replicate), "shared_from": info["method"]}
    return dataclasses.replace(source, info=found, path=None)


def _checkpoint(
    config: Mapping[str, Any],
    space: Space,
    ticket: Ticket,
    info: dict[str, Any],
    *,
    vectors: tuple[np.ndarray, np.ndarray | None],
    best: np.ndarray | None = None,
    history: dict[str, np.ndarray] | None = None,
) -> Checkpoint:
    tree = space.layout.unflatten
    solution, std = vectors
    return Checkpoint(
        params=tree(solution),
        mask=tree(ticket.mask),
        std=None if std is None else tree(np.where(ticket.mask, std, 0.0)),
        init=tree(ticket.init),
        best=None if best is None else tree(best),
        history=history,
        info=info,
        config=config,
    )


def _description(space: Space, ticket: Ticket, replicate: tuple[Method, SeedsConfig, int]) -> dict[str, Any]:
    """Return what identifies a checkpoint, and how sparse it is."""
    method, seeds, level = replicate
    task = dict(space.problem.task or {})
    return {
        "task": {"name": task.get("name"), "options": task.get("options", {})} if task else None,
        "network": task.get("network"),
        "method": method.name,
        "trainer": method.trainer,
        "score": score_name(method.score),
        "algorithm": method.algorithm,
        **ticket.notes,
        "level": level,
        **densities(ticket.mask, space.prunable(method), space.layout, space.chain),
        "num_examples": {split: space.problem.num_examples(split) for split in space.problem.splits},
        **_effective(space),
        "seeds": _seeds(seeds),
    }


def _effective(space: Space) -> dict[str, dict[str, float]]:
    """Return the effective number of weighted examples by split; nothing where all count the same."""
    known = {split: space.problem.weighting(split) for split in space.problem.splits}
    if all(weighting.plain for weighting in known.values()):
        return {}
    return {"effective_examples": {split: weighting.effective for split, weighting in known.items()}}


def _counts(outcome: Outcome, index: int) -> dict[str, float]:
    names = [name for name in ("num_nan", "stalled") if name in outcome.record]
    return {name: float(outcome.record[name][:, index].sum()) for name in names}


def _seeds(seeds: SeedsConfig) -> dict[str, int]:
    found = {"init": seeds.init, "train": seeds.train, "mask": seeds.mask}
    if seeds.branch_from is not None:
        found |= {"branch_from": seeds.branch_from, "branch_step": seeds.branch_step}
    return found


def _evaluated(space: Space, vector: np.ndarray) -> dict[str, Any]:
    """Return the means of loss and metrics on every split, and of episodes their standard errors.

    What is right or wrong has an interval without them (Wilson's); a return has none.
    """
    params, problem = space.tree(vector), space.problem
    if problem.differentiable:
        return {"metrics": {split: problem.evaluate(params, split) for split in problem.splits}}
    values = {split: problem.per_example(params, split) for split in problem.splits}
    return {
        "metrics": _of_each(problem, values, Weighting.mean),
        "standard_errors": _of_each(problem, values, Weighting.standard_error),
    }


def _of_each(
    problem: Problem,
    values: Mapping[str, Mapping[str, np.ndarray]],
    statistic: Callable[[Weighting, np.ndarray], float],
) -> dict[str, dict[str, float]]:
    """Return a statistic of every quantity of every split; a single episode has no standard error."""
    return {
        split: {name: statistic(problem.weighting(split), found) for name, found in every.items()}
        for split, every in values.items()
    }
