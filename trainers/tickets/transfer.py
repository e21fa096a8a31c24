"""Transfer: tickets of finished runs, trained by another algorithm or on another task.

A transfer is a run like any other, whose methods take their tickets from elsewhere: so it resumes,
is listed, read and drawn like any other. Beside each transferred ticket stand the target's own
tickets and random ones of the same density (Lange & Sprekeler 2023, figures 4 and 5).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from landscape.errors import ConfigurationError, RunError, did_you_mean
from trainers.config import TRAINERS, RunConfig, from_dict, to_dict
from trainers.runs import Run, open_run
from trainers.tickets.transfer_settings import target_settings

__all__ = ["TransferCell", "transfer_config", "transfer_table"]

_OWN_SCORE = {"es": "snr", "gd": "magnitude", "ppo": "magnitude"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Ticket:
    """A method of a finished run whose tickets move."""

    label: str
    run: Run
    method: str

    @property
    def source(self) -> str:
        return f"{self.run.path.resolve()}:{self.method}"


def transfer_config(
    sources: Sequence[str | Path],
    targets: Sequence[str],
    *,
    task: str | None = None,
    methods: Sequence[str] | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> RunConfig:
    """Return the configuration that trains the tickets of `sources` by every one of `targets`.

    Parameters
    ----------
    sources : sequence of path
        Folders of finished runs of one network and one schedule of densities.
    targets : sequence of str
        ``es``, ``gd``, ``ppo``, strategies or optimisers. Settings are those of the first source that
        trains by it; of a strategy by which none trains, what the paper gives it on the task, or else its
        defaults, for as many generations, members and examples as the sources have; of ``ppo`` those of
        the first source's section, or what the paper gives it on the task where that section is at its
        defaults. Each table ``[method.…]`` notes which, where it is not what the sections say anyway.
    task : str, optional
        Task to train on, of the same input shape; by default that of the first source.
    methods : sequence of str, optional
        Methods of the sources whose tickets move; by default those that prune by snr, or where
        there is none by magnitude.
    overrides : mapping, optional
        Values of the configuration to change, nested.

    Returns
    -------
    RunConfig
        For each target its own tickets (by snr, of gradients by magnitude), random tickets, and
        one method ``<target>-from-<source>`` a source. `trainers.train_tickets` trains it.

    Raises
    ------
    RunError
        If a folder is not a run, or the runs differ in network, densities or have no seed in common.
    ConfigurationError
        If a target is unknown.
    """
    runs = [open_run(path) for path in sources]
    _refuse_unlike(runs)
    unknown = [target for target in targets if target not in TRAINERS]
    if unknown or not targets:
        raise ConfigurationError(
            f"transfer: no such target: {', '.join(unknown) or '(none)'}",
            expected=f"one or more of {', '.join(TRAINERS)}",
        )
    values = to_dict(runs[0].config)
    if task is not None and task != values["task"]:
        values |= {"task": task, "task_options": {}}
    tickets = _tickets(runs, methods)
    tables: dict[str, dict[str, Any]] = {}
    for target in dict.fromkeys(targets):
        settings = target_settings(runs, target, task=values["task"], changes=overrides or {})
        tables |= {f"{target}-{score}": settings for score in (_OWN_SCORE[TRAINERS[target]], "random")}
        for ticket in tickets:
            own = {"algorithm": target, "source": ticket.source}
            tables[f"{target}-from-{ticket.label}"] = {**own, **settings}
    described = {name: table for name, table in tables.items() if table}
    values |= {"methods": list(tables), "method": described, "seeds": _common_seeds(runs)}
    values["name"] = "transfer"
    return from_dict(_merged(values, overrides or {}), where="transfer", own_problem=task is None)


def _merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    from trainers.config import layered

    return layered(base, changes)


def refuse_own_problem(sources: Sequence[str | Path]) -> None:
    """Refuse runs that were trained on a user's own problem, if no problem is given.

    Raises
    ------
    RunError
        If a checkpoint of a run names no task.
    """
    for run in map(open_run, sources):
        first = [entry.info for entry in run.checkpoints()[:1]]
        if any(info.get("task", {}) is None for info in first):
            raise RunError(
                f"{run.path}: was trained on your own problem, which cannot be loaded from its files",
                expected="that problem, or a task for its tickets",
                hint="Give --problem file.py:function, as train took it, or --task.",
            )


def _refuse_unlike(runs: Sequence[Run]) -> None:
    first = runs[0].config
    for run in runs[1:]:
        for key, mine, theirs in (
            ("network", first.network, run.config.network),
            ("densities", first.pruning.schedule, run.config.pruning.schedule),
        ):
            if mine != theirs:
                raise RunError(
                    f"{run.path}: its {key} are not those of {runs[0].path}",
                    expected=str(mine),
                    got=str(theirs),
                    hint="Transfer from such runs one at a time.",
                )


def _common_seeds(runs: Sequence[Run]) -> list[dict[str, Any]]:
    shared = set.intersection(*(set(run.seeds) for run in runs))
    found: list[dict[str, Any]] = [
        seeds for seeds in to_dict(runs[0].config)["seeds"] if seeds["train"] in shared
    ]
    if not found:
        listed = "; ".join(f"{run.path.name}: {run.seeds}" for run in runs)
        raise RunError("transfer: the runs have no train seed in common", got=listed)
    return found


def _tickets(runs: Sequence[Run], methods: Sequence[str] | None) -> list[_Ticket]:
    found = []
    for run in runs:
        for method in _chosen(run, methods):
            label = method if len(runs) == 1 else f"{run.config.name}-{method}"
            found.append(_Ticket(label=label, run=run, method=method))
    labels = [ticket.label for ticket in found]
    if len(set(labels)) < len(labels):  # runs of one name: told apart by number
        numbered = enumerate(found, start=1)
        found = [dataclasses.replace(ticket, label=f"{i}-{ticket.label}") for i, ticket in numbered]
    return found


def _chosen(run: Run, methods: Sequence[str] | None) -> list[str]:
    if methods is not None:
        missing = [method for method in methods if method not in run.methods]
        if missing:
            raise RunError(
                f"{run.path}: has no method {', '.join(missing)}",
                expected=f"one of {', '.join(run.methods)}",
                hint=did_you_mean(missing[0], run.methods),
            )
        return list(methods)
    for score in ("snr", "magnitude"):
        found = [name for name in run.methods if run.config.resolved(name).score == score]
        if found:
            return found
    raise RunError(
        f"{run.path}: no method prunes by snr or magnitude",
        got=", ".join(run.methods),
        hint="Name the methods whose tickets are to move.",
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class TransferCell:
    """One cell of a transfer matrix.

    Attributes
    ----------
    target : str
        The algorithm that trains.
    tickets : str
        ``"own"``, ``"random"``, or where they were taken from.
    density : float
        Of the weights.
    scores : tuple of float
        The metric on the split, one value per seed.
    interval : tuple of float, optional
        95 % interval of the mean, as in `Run.score`; None where there is none.
    """

    target: str
    tickets: str
    density: float
    scores: tuple[float, ...]
    interval: tuple[float, float] | None = None

    @property
    def mean(self) -> float:
        """The mean over seeds."""
        return float(np.mean(self.scores))


def transfer_table(run: Run, *, metric: str | None = None, split: str | None = None) -> list[TransferCell]:
    """Return the cells of a transfer run: targets × tickets × levels that are finished.

    Split and metric are those of the run's headline where they are not given.
    """
    split, metric = split or run.headline[0], metric or run.headline[1]
    cells = []
    for name in run.methods:
        method = run.config.resolved(name)
        target, tickets = _place(name, method.source is not None)
        for level, density in enumerate(method.pruning.schedule):
            scores = run.accuracies(name, level, split=split, metric=metric)
            if scores.size:
                _, interval = run.score(name, level, split=split, metric=metric) or (None, None)
                cells.append(
                    TransferCell(
                        target=target,
                        tickets=tickets,
                        density=density,
                        scores=tuple(map(float, scores)),
                        interval=interval,
                    )
                )
    return cells


def _place(name: str, taken: bool) -> tuple[str, str]:
    if taken:
        target, _, tickets = name.partition("-from-")
        return target, tickets
    target, _, score = name.rpartition("-")
    return target, "random" if score == "random" else "own"
