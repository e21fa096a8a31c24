"""Tickets: which weights are free, and from where they are trained.

A ticket of a method's own comes from scoring a trained level; one that is taken comes from another
method or run, changed by a control where one is asked for. Either way it is a function of files on
disk and of seeds, so a run that goes on makes the same tickets again.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from landscape import Checkpoint, Problem, load
from landscape._digest import tree_digest
from landscape._tree import difference, shapes
from landscape.errors import ArchitectureMismatchError, RunError
from landscape.layout import Layout
from trainers.config import RunConfig, SeedsConfig
from trainers.methods import Method, Source
from trainers.pruning import ScoreInputs, count_to_keep, keep_highest, score
from trainers.runs import Run, RunFolder, open_run

PyTree = Any
_AT_INITIALISATION = ("snip", "grasp", "synflow")


@dataclasses.dataclass
class Space:
    """What is trained: a problem, and the vector of its parameters.

    Attributes
    ----------
    problem : Problem
        Loss and data.
    init : callable
        ``init(seed) -> params``.
    like : pytree
        Parameters of the right structure.
    layout : Layout
        Their flat vector [n].
    """

    problem: Problem
    init: Callable[[int], PyTree]
    like: PyTree
    layout: Layout

    @classmethod
    def of(cls, problem: Problem, init: Callable[[int], PyTree], seed: int) -> Space:
        """Return the space of a problem, probed with the parameters of one seed."""
        like = init(seed)
        problem.check(like)
        return cls(problem, init, like, Layout.of(like))

    @cached_property
    def _initial(self) -> dict[int, np.ndarray]:
        return {}

    def initial(self, seed: int) -> np.ndarray:
        """Return the initialisation [n] of a seed."""
        if seed not in self._initial:
            self._initial[seed] = self.layout.flatten(self.init(seed))
        return self._initial[seed]

    def identity(self, init_seeds: set[int]) -> dict[str, str]:
        """Return the digests of the data and of the initialisations, by what they are of."""
        data = {f"data {split}": self.problem.data_digest(split) for split in self.problem.splits}
        return data | {f"init {seed}": tree_digest(self.tree(self.initial(seed))) for seed in init_seeds}

    def tree(self, vector: np.ndarray) -> PyTree:
        """Return the parameters of a vector."""
        return self.layout.unflatten(vector, self.like)

    def prunable(self, method: Method) -> np.ndarray:
        """Return which entries [n] a method may prune."""
        return self.layout.prunable(biases=method.pruning.prune_biases)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ticket:
    """A sparse network to be trained.

    Attributes
    ----------
    mask : bool array [n]
        Free entries.
    start : array [n]
        Where training starts; zero where masked.
    init : array [n]
        The dense initialisation that the ticket belongs to.
    notes : dict
        What its checkpoint says about where it comes from.
    """

    mask: np.ndarray
    start: np.ndarray
    init: np.ndarray
    notes: dict[str, Any]


class Tickets:
    """Makes the tickets of a run.

    Parameters
    ----------
    config : RunConfig
        The run.
    folder : RunFolder
        Where finished levels are read from.
    space : Space
        What is trained.
    """

    def __init__(self, config: RunConfig, folder: RunFolder, space: Space) -> None:
        self.config = config
        self.folder = folder
        self.space = space

    def ticket(self, method: Method, seeds: SeedsConfig, level: int) -> Ticket:
        """Return the ticket of a method, replicate and level (from 0).

        Raises
        ------
        RunError
            If it is to be taken from a run that does not have it.
        ArchitectureMismatchError
            If that run's network is another one.
        MaskError
            If scores are NaN, or a control cannot be carried out.
        """
        if method.source is not None:
            return self._taken(method, method.source, seeds, level)
        mask, init = self._own_mask(method, seeds, level), self.space.initial(seeds.init)
        start = self._rewound(method, seeds, level)
        return Ticket(mask=mask, start=np.where(mask, start, 0.0).astype(np.float32), init=init, notes={})

    def require(self, method: Method) -> None:
        """Refuse a method at once whose tickets are to be taken from where they are not.

        Raises
        ------
        RunError, ArchitectureMismatchError
            As `ticket` would after other methods have been trained.
        """
        source = method.source
        if source is not None and source.run is not None:
            for seeds in self.config.seeds:
                for level in range(len(method.pruning.schedule)):
                    self._foreign(source.run, source.method, seeds, level)

    def scores(self, method: Method, seeds: SeedsConfig, trained: Checkpoint) -> np.ndarray:
        """Return the scores [n] that a method gives the weights of a trained level."""
        flatten = self.space.layout.flatten
        inputs = ScoreInputs(
            mean=flatten(trained.params),
            std=None if trained.std is None else flatten(trained.std),
            mask_seed=seeds.mask,
        )
        return score(str(method.score), inputs)

    def _own_mask(self, method: Method, seeds: SeedsConfig, level: int) -> np.ndarray:
        if level == 0:
            return np.ones(self.space.layout.size, bool)
        before = load(self.folder.level_path(method.name, seeds.parent, self._base_level(method, level)))
        prunable = self.space.prunable(method)
        keep = count_to_keep(int(prunable.sum()), method.pruning.schedule[level])
        previous = self.space.layout.flatten(before.mask).astype(bool)
        scores = self.scores(method, seeds, before)
        return keep_highest(scores, previous, prunable, keep, layout=self.space.layout)

    def _base_level(self, method: Method, level: int) -> int:
        """Return the level whose checkpoint a level is pruned from."""
        one_shot = method.pruning.mode == "one-shot"
        return 0 if one_shot else level - 1

    def _rewound(self, method: Method, seeds: SeedsConfig, level: int) -> np.ndarray:
        """Return the weights [n] that a level starts from, before they are masked."""
        if level == 0 or method.pruning.rewind == "init":
            return self.space.initial(seeds.init)
        if method.pruning.rewind == "step":
            path = self.folder.step_path(method.name, seeds.parent, 0, method.pruning.rewind_step)
        else:
            path = self.folder.level_path(method.name, seeds.parent, self._base_level(method, level))
        return self.space.layout.flatten(load(path).params)

    def _taken(self, method: Method, source: Source, seeds: SeedsConfig, level: int) -> Ticket:
        if source.run is None:
            own = self.ticket(self.config.resolved(source.method), seeds, level)
            found = own.mask, own.init
            notes: dict[str, Any] = {"method": source.method}
        else:
            checkpoint = self._foreign(source.run, source.method, seeds, level)
            flatten = self.space.layout.flatten
            found = flatten(checkpoint.mask).astype(bool), flatten(checkpoint.init)
            info = checkpoint.info or {}
            notes = {
                "method": source.method,
                "task": (info.get("task") or {}).get("name"),
                "algorithm": info.get("algorithm"),
                "digest": checkpoint.digest,
            }
        mask, init = self._controlled(method, seeds, *found)
        start = np.where(mask, init, 0.0).astype(np.float32)
        return Ticket(mask=mask, start=start, init=init, notes={"source": notes, "control": method.control})

    def _controlled(
        self, method: Method, seeds: SeedsConfig, mask: np.ndarray, init: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return (mask, initialisation) after the method's control."""
        del seeds
        if method.control == "none":
            return mask, init
        raise NotImplementedError(method.control)

    def _foreign(self, folder: Path, name: str, seeds: SeedsConfig, level: int) -> Checkpoint:
        """Return the checkpoint of another run that a ticket is taken from."""
        if folder not in self._opened:
            self._opened[folder] = open_run(folder)
        run = self._opened[folder]
        found = run.checkpoints(method=name, seed=seeds.parent, level=level)
        if not found:
            there = sorted({c.seed for c in run.checkpoints(method=name)})
            raise RunError(
                f"{run.path}: has no ticket of {name}, seed {seeds.parent}, level {level}",
                expected=f"one of {', '.join(run.methods)}; finished seeds of {name}: {there or 'none'}",
                hint="Let that run finish, or take only the seeds and levels that it has.",
            )
        checkpoint = load(found[0].path)
        differing = difference(shapes(self.space.like), shapes(checkpoint.params))
        if differing:
            raise ArchitectureMismatchError(
                f"{found[0].path}: its network is not the one to be trained: {len(differing)} paths differ",
                got="; ".join(differing[:3]),
                hint="Tickets go to tasks of the same input shape, and to the same network.",
            )
        return checkpoint

    @cached_property
    def _opened(self) -> dict[Path, Run]:
        return {}
