"""Tickets: which weights are free, and from where they are trained.

The ticket of a method at level k is made in three steps (Frankle & Carbin 2019; see
`trainers.tickets.iterative` for the loop around them):

1. score: load the checkpoint of level k − 1, or of level 0 where the method prunes in one shot, and
   score its weights (`Tickets.scores`);
2. prune: keep the highest scores, the exact count of level k's density (`Tickets._own_mask`);
3. rewind: the start is the initialisation (Frankle & Carbin 2019), step t of the dense level
   (Frankle et al. 2020, arXiv 1912.05671), or the weights of the checkpoint (fine-tuning)
   (`Tickets._rewound`); pruned weights start and stay at zero.

A method with a source takes mask and initialisation from another method or run instead, changed by a
control (`trainers.pruning.controls`). Either way a ticket is a function of files on disk and of seeds,
so a resumed run makes the same tickets again.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from landscape import Checkpoint, load
from landscape.errors import ArchitectureMismatchError, ConfigurationError, RunError
from landscape.problem import check_allowed, load_allowed_function
from landscape.trees import Layout, difference, shapes
from trainers.config import Method, RunConfig, SeedsConfig, Source, snr_denominator
from trainers.pruning import (
    AT_INITIALISATION,
    NEED_DERIVATIVES,
    SCORES,
    ControlInputs,
    ScoreInputs,
    control,
    count_to_keep,
    prune,
    prune_in_steps,
    rank_correlations,
    without_chain,
    without_outputs,
)
from trainers.runs import Run, RunFolder, open_run
from trainers.training import Space

PyTree = Any
_SAME = 1e-9  # relative difference between densities that are the same
# Scores that are compared with those of the first level: the others do not change, or cost too much.
_COMPARED = ("snr", "magnitude", "movement")


def is_compared(score: str | None) -> bool:
    """Return whether the ranks of a score are compared between levels; those of a user's own score are."""
    return score is not None and (score in _COMPARED or ":" in score)


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


def method_scores(method: Method, inputs: ScoreInputs, *, allow_code: Sequence[str] = ()) -> np.ndarray:
    """Return the scores [n] that a method gives weights.

    Parameters
    ----------
    method : Method
        Its ``score`` may name a function.
    inputs : ScoreInputs
        What the score looks at.
    allow_code : sequence of str
        The functions that the user allows to be run.

    Raises
    ------
    CodeRefusedError
        If the score names a function that is not among them.
    ConfigurationError
        If an input of the score is missing, or a function of the user's does not return [n].
    """
    name = str(method.score)
    if name in SCORES:
        return SCORES[name](inputs)
    found = np.asarray(_own_score(method, allow_code)(inputs), np.float64)
    if found.shape != inputs.mean.shape:
        raise ConfigurationError(
            f"method.{method.name}.score: {name} must give one score per weight",
            expected=f"shape {inputs.mean.shape}",
            got=f"shape {found.shape}",
        )
    return found


def _own_score(method: Method, allow_code: Sequence[str]) -> Callable[[ScoreInputs], Any]:
    """Return the function that a method prunes by; the user names it as well, as a configuration is data."""
    option = f"method.{method.name}.score"
    return load_allowed_function(str(method.score), option=option, allowed=allow_code)


def check_scores(config: RunConfig, allow_code: Sequence[str]) -> None:
    """Refuse a configuration whose scores name functions that the user does not.

    Parameters
    ----------
    config : RunConfig
        The run.
    allow_code : sequence of str
        The functions that the user names.

    Raises
    ------
    CodeRefusedError
        Naming the first of them; nothing has been imported.
    """
    for name in config.methods:
        score = config.resolved(name).score
        if score is not None and ":" in score:
            check_allowed(score, option=f"method.{name}.score", allowed=allow_code)


def score_inputs(
    method: Method, seeds: SeedsConfig, trained: Checkpoint, *, layout: Layout, initial: np.ndarray
) -> ScoreInputs:
    """Return what a score may look at after a level that was trained from `initial` [n], dense."""
    mask = layout.flatten(trained.mask).astype(bool)
    start = np.where(mask, initial, 0.0)
    moment = (trained.state or {}).get("second_moment")
    asked = method.pruning.score_at
    at_init = asked == "initial" or (asked == "auto" and method.score in AT_INITIALISATION)
    return ScoreInputs(
        mean=start if at_init else layout.flatten(trained.params),
        std=None if trained.std is None or at_init else layout.flatten(trained.std),
        mask_seed=seeds.mask,
        second_moment=None if moment is None or at_init else layout.flatten(moment),
        initial=start,
        mask=mask,
        snr_denominator=snr_denominator(method),
    )


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
    allow_code : sequence of str
        Functions that scores may name.
    """

    def __init__(
        self, config: RunConfig, folder: RunFolder, space: Space, *, allow_code: Sequence[str] = ()
    ) -> None:
        self.allow_code = tuple(allow_code)
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
        """Refuse a method whose tickets cannot be made, before any method is trained.

        Raises
        ------
        RunError, ArchitectureMismatchError, ConfigurationError
            As `ticket` would after other methods have been trained.
        """
        if method.score is not None and ":" in method.score:
            _own_score(method, self.allow_code)
        if method.score == "synflow" and self.space.problem.outputs is None:
            raise without_outputs()
        if method.control == "connected-random" and self.space.chain is None:
            raise without_chain()
        source = method.source
        for density in method.pruning.schedule if source is not None else ():
            if source is not None and source.run is None:
                _level_of(density, self.config.resolved(source.method).pruning.schedule, source.method)
            elif source is not None and source.run is not None:
                for seeds in self.config.seeds:
                    self._foreign(source.run, source.method, seeds, density)

    def scores(self, method: Method, seeds: SeedsConfig, inputs: ScoreInputs) -> np.ndarray:
        """Return the scores [n] that a method gives weights.

        Raises
        ------
        ConfigurationError
            If an input of the score is missing, or a function of the user's does not return [n].
        """
        name = str(method.score)
        if name in NEED_DERIVATIVES:
            derivatives = self.space.derivatives(method.pruning.score_examples, seeds.mask)
            inputs = dataclasses.replace(inputs, derivatives=derivatives)
        return method_scores(method, inputs, allow_code=self.allow_code)

    def inputs(self, method: Method, seeds: SeedsConfig, trained: Checkpoint) -> ScoreInputs:
        """Return what a score may look at after a level."""
        return score_inputs(
            method, seeds, trained, layout=self.space.layout, initial=self.space.initial(seeds.init)
        )

    def _own_mask(self, method: Method, seeds: SeedsConfig, level: int) -> np.ndarray:
        if level == 0:
            return np.ones(self.space.layout.size, bool)
        # Step 1.
        before = load(self.folder.level_path(method.name, seeds.parent, self._base_level(method, level)))
        inputs, prunable = self.inputs(method, seeds, before), self.space.prunable(method)
        options: dict[str, Any] = {
            "keep": count_to_keep(int(prunable.sum()), method.pruning.schedule[level]),
            "layout": self.space.layout,
            "scope": method.pruning.scope,
        }
        # Step 2. What is pruned stays pruned: without the previous mask, zeros would compete again.
        previous = self.space.layout.flatten(before.mask).astype(bool)
        if method.score != "synflow":
            return prune(self.scores(method, seeds, inputs), previous, prunable, **options)

        def score_of(mask: np.ndarray) -> np.ndarray:
            masked = dataclasses.replace(inputs, mean=np.where(mask, inputs.mean, 0.0))
            return self.scores(method, seeds, masked)

        return prune_in_steps(score_of, previous, prunable, **options)

    def _base_level(self, method: Method, level: int) -> int:
        """Return the level whose checkpoint a level is pruned from (step 1)."""
        # SNIP, GraSP and SynFlow are defined at θ_0 and prune it in one shot, to any density.
        at_once = method.pruning.score_at == "auto" and method.score in AT_INITIALISATION
        return 0 if at_once or method.pruning.mode == "one-shot" else level - 1

    def correlations(
        self, method: Method, seeds: SeedsConfig, trained: Checkpoint, level: int
    ) -> dict[str, float | None] | None:
        """Return the rank correlations of a trained level's scores with the first level's, or None.

        None for level 0, for a ticket that is taken, and for scores that are not compared.

        Over the weights that survive to this level; over those that survive to the end see
        `trainers.reports.ranks`.
        """
        if not is_compared(method.score) or level == 0 or method.source is not None:
            return None
        first = load(self.folder.level_path(method.name, seeds.train, 0))
        now, then = (self.scores(method, seeds, self.inputs(method, seeds, one)) for one in (trained, first))
        alive = self.space.layout.flatten(trained.mask).astype(bool) & self.space.prunable(method)
        return rank_correlations(now, then, alive, self.space.layout)

    def _rewound(self, method: Method, seeds: SeedsConfig, level: int) -> np.ndarray:
        """Return the weights [n] that a level starts from, before they are masked (step 3)."""
        if level == 0 or method.pruning.rewind == "init":
            return self.space.initial(seeds.init)
        if method.pruning.rewind == "step":
            path = self.folder.step_path(method.name, seeds.parent, 0, method.pruning.rewind_step)
        else:
            path = self.folder.level_path(method.name, seeds.parent, self._base_level(method, level))
        return self.space.layout.flatten(load(path).params)

    def _taken(self, method: Method, source: Source, seeds: SeedsConfig, level: int) -> Ticket:
        density = method.pruning.schedule[level]
        if source.run is None:
            other = self.config.resolved(source.method)
            own = self.ticket(other, seeds, _level_of(density, other.pruning.schedule, source.method))
            found = own.mask, own.init
            notes: dict[str, Any] = {"method": source.method}
        else:
            checkpoint = self._foreign(source.run, source.method, seeds, density)
            flatten = self.space.layout.flatten
            found = flatten(checkpoint.mask).astype(bool), flatten(checkpoint.init)
            info = checkpoint.info or {}
            notes = {
                "method": source.method,
                "task": (info.get("task") or {}).get("name"),
                "algorithm": info.get("algorithm"),
                "digest": checkpoint.digest,
            }
        inputs = ControlInputs(
            mask=found[0],
            init=found[1],
            own_init=self.space.initial(seeds.init),
            prunable=self.space.prunable(method),
            layout=self.space.layout,
            mask_seed=seeds.mask,
            initialise=self.space.initial,
            chain=self.space.chain,
        )
        mask, init = control(method.control, inputs)
        start = np.where(mask, init, 0.0).astype(np.float32)
        return Ticket(mask=mask, start=start, init=init, notes={"source": notes, "control": method.control})

    def _foreign(self, folder: Path, name: str, seeds: SeedsConfig, density: float) -> Checkpoint:
        """Return the checkpoint of another run that a ticket is taken from."""
        if folder not in self._opened:
            self._opened[folder] = open_run(folder)
        run = self._opened[folder]
        here = run.checkpoints(method=name, seed=seeds.parent)
        found = [entry for entry in here if math.isclose(entry.density, density, rel_tol=_SAME)]
        if not found:
            there = sorted({c.seed for c in run.checkpoints(method=name)})
            raise RunError(
                f"{run.path}: has no ticket of {name}, seed {seeds.parent}, density {density:.6g}",
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


def _level_of(density: float, schedule: tuple[float, ...], name: str) -> int:
    """Return the level of a schedule with that density.

    Raises
    ------
    ConfigurationError
        If there is none.
    """
    for level, found in enumerate(schedule):
        if math.isclose(found, density, rel_tol=_SAME):
            return level
    raise ConfigurationError(
        f"{name}: has no level of density {density:.6g}",
        expected="one of " + ", ".join(f"{found:.6g}" for found in schedule),
        hint="Give source and control the same densities.",
    )
