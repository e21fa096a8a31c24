"""Settings of pruning and of replicates. No jax."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from trainers.config import validate as check
from trainers.config.sources import PRUNING_RIVALS

_LARGEST_SEED = 2**32 - 1  # a PRNG key keeps 32 bits of its seed
_LEAST_DENSITY = 1e-9


@dataclasses.dataclass(frozen=True, kw_only=True)
class SeedsConfig(check.Settings):
    """The seeds of one replicate, each from 0 to 2³² − 1.

    Attributes
    ----------
    init : int
        Fixes the initialisation. Default 0.
    train : int
        Fixes minibatches and search noise, and names the folder ``seed-<train>``. Default 0.
    mask : int
        Fixes random pruning and random controls. Default 0; in a table, the train seed, or of a
        branch the mask seed of `branch_from`, whose tickets it trains.
    branch_from : int, optional
        Train seed of another replicate, whose tickets this one trains: up to `branch_step` exactly as
        that one does, from there on with its own minibatches and noise (the instability analysis of
        Frankle et al. 2020). Default none.
    branch_step : int
        Steps of every level that are shared with `branch_from`. Default 0.
    """

    init: int = check.field(0, check.integer(high=_LARGEST_SEED))
    train: int = check.field(0, check.integer(high=_LARGEST_SEED))
    mask: int = check.field(0, check.integer(high=_LARGEST_SEED))
    branch_from: int | None = check.field(None, check.optional(check.integer(high=_LARGEST_SEED)))
    branch_step: int = check.field(0, check.integer(low=0))

    def settle(self) -> None:
        """Refuse a branch without an existing trunk."""
        if self.branch_from is None and self.branch_step:
            raise check.Invalid([(".branch_step", "expected branch_from beside it, got none")])
        if self.branch_from == self.train:
            raise check.Invalid([(".branch_from", f"expected another replicate, got itself ({self.train})")])

    @property
    def parent(self) -> int:
        """The train seed of the replicate whose tickets are trained."""
        return self.train if self.branch_from is None else self.branch_from


@dataclasses.dataclass(frozen=True, kw_only=True)
class PruningConfig(check.Settings):
    """How sparse, and in how many steps.

    Attributes
    ----------
    levels : int
        Levels of training, the first of them dense. Default 11.
    ratio : float
        Fraction of the prunable weights that each further level keeps, between 0 and 1. Default 0.7.
    densities : tuple of float, optional
        The density of every level, from 1 strictly down; overrides `levels` and `ratio`, and in a
        file stands in their place. Default none.
    prune_biases : bool
        Whether biases may be pruned too. Default false.
    scope : str
        Among which weights scores compete: ``"global"`` (default), ``"layerwise"`` (every layer to the
        same density), ``"er"`` or ``"erk"`` (layers to Erdős–Rényi densities).
    mode : str
        ``"iterative"`` (default): each level is pruned from the level before. ``"one-shot"``: each from
        the dense level.
    score_at : str
        Which weights the score sees: ``"trained"``, ``"initial"``, or ``"auto"`` (default): the trained
        ones, but for snip, grasp and synflow, which are defined at initialisation and prune in one
        shot.
    score_examples : int
        Training examples that snip and grasp look at, at most. Default 1,024.
    snr_denominator : str
        ``"std"``, ``"variance"``, or ``"auto"`` (default): the standard deviation, but the variance for
        Sep-CMA-ES in the profile "paper", as the published code has it.
    rewind : str
        From where a ticket is trained: ``"init"`` (default), ``"step"`` (the dense level's weights at
        `rewind_step`) or ``"none"`` (go on from the trained weights).
    rewind_step : int
        For ``"step"`` only. Default 0.
    """

    EXCLUSIVE = PRUNING_RIVALS

    levels: int = check.field(11, check.integer(low=1, high=1_000))
    ratio: float = check.field(0.7, check.number(above=0.0, below=1.0))
    densities: tuple[float, ...] | None = check.field(None, check.optional(check.densities))
    prune_biases: bool = check.field(False, check.boolean)
    scope: str = check.field("global", check.one_of("global", "layerwise", "er", "erk"))
    mode: str = check.field("iterative", check.one_of("iterative", "one-shot"))
    score_at: str = check.field("auto", check.one_of("auto", "trained", "initial"))
    score_examples: int = check.field(1_024, check.integer(low=1))
    snr_denominator: str = check.field("auto", check.one_of("auto", "std", "variance"))
    rewind: str = check.field("init", check.one_of("init", "step", "none"))
    rewind_step: int = check.field(0, check.integer(low=0))

    @property
    def schedule(self) -> tuple[float, ...]:
        """The density of every level: ``ratio**level``, or as listed in `densities`."""
        return self.densities or tuple(self.ratio**level for level in range(self.levels))

    def settle(self) -> None:
        """Let listed densities decide the number of levels; refuse what contradicts itself."""
        if (self.rewind == "step") != (self.rewind_step > 0):
            message = f'expected ≥ 1 with rewind = "step" and 0 otherwise, got {self.rewind_step}'
            raise check.Invalid([(".rewind_step", message)])
        if self.densities is not None:
            object.__setattr__(self, "levels", len(self.densities))
            object.__setattr__(self, "ratio", type(self).ratio)
        elif self.schedule[-1] < _LEAST_DENSITY:
            message = f"expected a last density ≥ {_LEAST_DENSITY:g}, got {self.schedule[-1]:.3g}"
            raise check.Invalid([(".levels", f"{message} (ratio {self.ratio:g} to the {self.levels - 1})")])


def _replicate(value: Any) -> SeedsConfig:
    """Check one item of `seeds`: a number, or a table that names at least init and train."""
    if isinstance(value, Mapping):
        missing = [key for key in ("init", "train") if key not in value]
        if missing:
            raise check.invalid(f"a table with {' and '.join(missing)}", dict(value))
        return check.build(SeedsConfig, {"mask": value["train"], **value})
    if isinstance(value, SeedsConfig):
        return value
    try:
        seed = check.integer(high=_LARGEST_SEED)(value)
    except check.Invalid:
        raise check.invalid(
            f"a seed from 0 to {_LARGEST_SEED} or a table of init, train, mask", value
        ) from None
    return SeedsConfig(init=seed, train=seed, mask=seed)


_listed = check.distinct(
    check.each(_replicate, "a list of seeds such as [0, 1]"),
    key=lambda seeds: seeds.train,
    why="train seeds name the folders",
)


def replicates(value: Any) -> tuple[SeedsConfig, ...]:
    """Check a list of replicates; a branch comes from one that is not a branch.

    It has the initialisation and the mask seed of that one, since it trains its tickets; its own mask seed
    would make others wherever one enters: in random masks, in examples of snip and grasp, in controls.
    """
    found: tuple[SeedsConfig, ...] = _listed(value)
    trunks = {seeds.train: seeds for seeds in found if seeds.branch_from is None}
    found = tuple(_with_mask(seeds, given, trunks) for seeds, given in zip(found, value, strict=True))
    faults: list[check.Fault] = []
    for index, seeds in enumerate(found):
        if seeds.branch_from is None:
            continue
        if seeds.branch_from not in trunks:
            wanted = "the train seed of a replicate that is not a branch: " + ", ".join(map(str, trunks))
            faults.append((f"[{index}].branch_from", f"expected {wanted}, got {seeds.branch_from}"))
            continue
        trunk = trunks[seeds.branch_from]
        for key in ("init", "mask"):
            wanted, got = getattr(trunk, key), getattr(seeds, key)
            if wanted != got:
                faults.append((f"[{index}].{key}", f"expected that of branch_from, {wanted}, got {got}"))
    if faults:
        raise check.Invalid(faults)
    return found


def _with_mask(seeds: SeedsConfig, given: Any, trunks: Mapping[int, SeedsConfig]) -> SeedsConfig:
    """Return a replicate; a branch for which no mask seed is given has that of its trunk."""
    trunk = trunks.get(seeds.train if seeds.branch_from is None else seeds.branch_from)
    is_open = isinstance(given, Mapping) and "mask" not in given and seeds.branch_from is not None
    return dataclasses.replace(seeds, mask=trunk.mask) if is_open and trunk is not None else seeds
