"""Episodes of a checkpoint, or of two on the same seeds.

1. Every policy plays the same episodes: those of the first seeds of a split. The initial state, and all luck
   of a step, are drawn from the seed, so that returns are pairs.
2. The mean returns and the mean of the paired differences get the interval of `landscape.results.probes`.
3. One episode is played again and recorded; by default the one with the median return of the first policy, as
   an episode that is neither a lucky nor an unlucky one.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from landscape.compute import SILENT, Progress
from landscape.errors import ConfigurationError
from landscape.files import Checkpoint
from landscape.network import Cost, Estimate, make_subject, measure_pace
from landscape.results import (
    check_choice,
    check_real,
    check_whole,
    probe_interval,
    provenance,
    too_few_probes,
)
from landscape.rollouts import Rollout
from landscape.trees import array_digest, tree_digest
from trainers.rollouts.drawing import CHANNELS, cells_of, drawing_of
from trainers.rollouts.players import Player, players_of

if TYPE_CHECKING:
    from landscape.problem import Problem
    from trainers.tasks import ControlTask

__all__ = ["play_episodes", "rollout_cost"]

PyTree = Any
# What environments keep beside the dynamics: the clock, and the last torque for a display of their own.
_NO_STATE = ("time", "last_u")
_AT_ONCE = 4096  # episodes per program: a progress bar and an interrupt are answered in between


def play_episodes(  # noqa: PLR0913  one keyword per setting
    a: Checkpoint | str | Path | PyTree,
    b: Checkpoint | str | Path | PyTree | None = None,
    *,
    problem: Problem | ControlTask | None = None,
    split: str = "test",
    episodes: int | None = None,
    shown: int | None = None,
    confidence: float = 0.95,
    names: Sequence[str] | None = None,
    progress: Progress = SILENT,
) -> Rollout:
    """Play episodes with the policy of a checkpoint, or with two on the same seeds, and record one.

    Parameters
    ----------
    a, b : Checkpoint, path of one, or pytree
        Policies of one control task. Bare parameters name no task: they need `problem`.
    problem : Problem or ControlTask, optional
        What is played; by default the task that the checkpoints name. A Problem must be that of a control
        task of this package, of other options for instance.
    split : str
        Whose seeds: ``"train"``, ``"validation"`` or ``"test"``.
    episodes : int, optional
        How many of the split's episodes, from the first; all unless given.
    shown : int, optional
        Position of the episode that is recorded; by default the median one by the first policy's return.
    confidence : float
        Level of the intervals.
    names : sequence of str, optional
        What to call the policies; by default by their files.
    progress : Progress
        Is told of every 4,096 episodes.

    Returns
    -------
    Rollout
        Returns, lengths, paired differences, and one episode step by step.

    Raises
    ------
    InputError
        If a checkpoint or the problem is not of a control task.
    ConfigurationError
        If the checkpoints name different tasks, or a setting is invalid.
    ArchitectureMismatchError
        If parameters are not those of the task's policy.
    MissingDependencyError
        If the package of the environment is not installed.
    """
    check_real("confidence", confidence, most=1)
    players = players_of([x for x in (a, b) if x is not None], problem, names)
    seeds = _seeds(players[0].task, split, episodes)
    if shown is not None and check_whole("episode", shown, 0) >= len(seeds):
        raise ConfigurationError(
            "episode: not one of those that are played",
            expected=f"a position from 0 to {len(seeds) - 1:,}",
            got=f"{shown:,}",
        )
    began = time.perf_counter()
    progress.start("episodes", len(seeds) * len(players))
    played = [_played(player, seeds, progress) for player in players]
    returns, lengths = (np.stack(found) for found in zip(*played, strict=True))
    place = _median(returns[0]) if shown is None else shown
    recorded, notes = _recorded(players, int(seeds[place]), returns[:, place])
    progress.stop()
    settings = {"split": split, "episodes": len(seeds), "shown": place, "confidence": confidence}
    stats = {"num_examples": len(seeds), "steps": int(lengths.sum()), "seconds": time.perf_counter() - began}
    found = _summary(returns, confidence)
    task = players[0].task
    return Rollout(
        task=task.name,
        episode_length=task.environment.length,
        split=split,
        names=tuple(player.name for player in players),
        seeds=seeds.astype(np.int64),
        returns=returns,
        lengths=lengths,
        shown=place,
        episodes=tuple(recorded),
        channels=CHANNELS.get(task.name, ()),
        status="ok" if np.isfinite(returns).all() else "non-finite",
        warnings=tuple(dict.fromkeys((*_notes(players, returns, confidence), *notes))),
        config={**settings, "task": dict(task.problem.task or {})},
        stats=stats,
        provenance=_origin(players, seeds),
        **found,
    )


def rollout_cost(
    a: Any,
    b: Any = None,
    *,
    problem: Any = None,
    split: str = "test",
    episodes: int | None = None,
) -> Estimate:
    """Estimate what `play_episodes` would take, from the pace of the first policy.

    Parameters
    ----------
    a, b, problem, split, episodes
        As for `play_episodes`.
    """
    players = players_of([x for x in (a, b) if x is not None], problem, None)
    task, count = players[0].task, len(_seeds(players[0].task, split, episodes))
    subject = make_subject(task.problem, players[0].params, mask=False)
    pace = measure_pace(task.problem, subject, split=split, count=count, order=0)
    parts = {"returns": Cost(passes=1), "the episode that is shown": Cost(passes=min(1.0, 32 / count))}
    return Estimate(name="rollout", parts=parts, networks=len(players), pace=pace)


def _seeds(task: ControlTask, split: str, episodes: int | None) -> np.ndarray:
    """Return the seeds to play, whole numbers [E]."""
    check_choice("split", split, tuple(task.problem.splits))
    there = task.problem.num_examples(split)
    count = there if episodes is None else check_whole("episodes", episodes, 1)
    if count > there:
        raise ConfigurationError(
            "episodes: more than the split has",
            expected=f"at most {there:,}, the episodes of {split}",
            got=f"{count:,}",
            hint=f"The option {split}_episodes of the task says how many there are.",
        )
    return np.asarray(task.problem.head(count, split))


def _played(player: Player, seeds: np.ndarray, progress: Progress) -> tuple[np.ndarray, np.ndarray]:
    """Return the returns and lengths [E] of a policy."""
    size = min(len(seeds), _AT_ONCE)
    parts = []
    for start in range(0, len(seeds), size):
        # The last part is filled up with its own last seed, so that one program serves all parts.
        places = np.minimum(np.arange(start, start + size), len(seeds) - 1)
        found = player.task.episodes(player.params, jnp.asarray(seeds[places]))
        count = min(size, len(seeds) - start)
        parts.append([np.asarray(values)[:count] for values in found])
        progress.advance(count)
    returns, lengths = (np.concatenate(values) for values in zip(*parts, strict=True))
    return returns, lengths


def _median(returns: np.ndarray) -> int:
    """Return the position of the median return, the lower one of two; the first where none is finite."""
    known = np.flatnonzero(np.isfinite(returns))
    order = known[np.argsort(returns[known], kind="stable")]
    return int(order[(len(order) - 1) // 2]) if len(order) else 0


def _summary(returns: np.ndarray, confidence: float) -> dict[str, Any]:
    """Return means, the difference of two of them, and intervals over episodes."""
    exact = returns.astype(np.float64)
    none = (np.nan, np.nan)
    intervals = [probe_interval(values, confidence=confidence) or none for values in exact]
    found: dict[str, Any] = {"means": exact.mean(axis=1), "intervals": np.array(intervals)}
    if len(exact) == 2:
        pairs = exact[1] - exact[0]
        found["difference"] = float(pairs.mean())
        found["interval_difference"] = probe_interval(pairs, confidence=confidence)
    return found


def _notes(players: Sequence[Player], returns: np.ndarray, confidence: float) -> list[str]:
    """Return what to know before quoting the returns."""
    notes = [f"{player.name}: {text}" for player in players for text in player.warnings]
    for player, values in zip(players, returns, strict=True):
        bad = int((~np.isfinite(values)).sum())
        if bad:
            notes.append(f"{player.name}: {bad:,} of {len(values):,} episodes are not finite: no mean")
        elif probe_interval(values, confidence=confidence) is None:
            notes.append(too_few_probes(len(values), what="episodes"))
    return notes


def _recorded(
    players: Sequence[Player], seed: int, returns: np.ndarray
) -> tuple[list[dict[str, Any]], list[str]]:
    """Return the episode of a seed as every policy plays it, and what to know of the recordings."""
    episodes, notes = [], []
    for player, expected in zip(players, returns, strict=True):
        found = jax.tree.map(np.asarray, player.task.record(player.params, np.uint32(seed)))
        steps = len(found.rewards)
        cut = steps < player.task.environment.length and int(found.length) == steps
        if cut:
            notes.append(f"{player.name}: the first {steps:,} steps of the episode are recorded")
        elif not np.array_equal(found.total, expected, equal_nan=True):
            notes.append(
                f"{player.name}: the episode shown has the return {float(found.total):.6g}, and "
                f"{float(expected):.6g} when played among the others: this device rounds by shape"
            )
        episodes.append(_episode(player.task, found))
    return episodes, notes


def _episode(task: ControlTask, found: Any) -> dict[str, Any]:
    """Return what is kept of a recorded episode, up to its end."""
    steps = int(found.length)
    rewards = found.rewards[:steps]
    actions = found.actions[:steps].reshape(steps, -1)
    kept: dict[str, Any] = {"rewards": rewards, "actions": actions, "moving": [], "still": []}
    if len(task.environment.observation_shape) > 1:
        return {**kept, "cells": cells_of(found.observations[: steps + 1])}
    states = _states(found.states, steps + 1)
    options = (task.problem.task or {}).get("options", {})
    moving, still = drawing_of(task.name, states, options)
    observations = found.observations[: steps + 1]
    return {**kept, "states": states, "observations": observations, "moving": moving, "still": still}


def _states(states: Any, rows: int) -> dict[str, np.ndarray]:
    """Return the parts of a state by name, each [rows, n], as far as the dynamics take them."""
    named = {
        jax.tree_util.keystr(path, simple=True, separator="/"): leaf
        for path, leaf in jax.tree_util.tree_leaves_with_path(states)
    }
    return {
        name: leaf[:rows].reshape(rows, -1)
        for name, leaf in named.items()
        if name not in _NO_STATE and leaf.dtype.kind in "fiu"
    }


def _origin(players: Sequence[Player], seeds: np.ndarray) -> dict[str, Any]:
    digests = {f"params {i}": tree_digest(player.params) for i, player in enumerate(players, start=1)}
    digests["seeds"] = array_digest(seeds)
    return provenance(seed=None, dtype="float32", digests=digests)
