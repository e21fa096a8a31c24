r"""The largest size of a perturbation that costs at most so much accuracy.

For sizes σ and drops d(σ), each the mean over draws or the worst of the starts, after Jiang et al. 2020
(arXiv:1912.02178), appendix C.5, whose bisection is here one on log σ, within a bracket that was looked for:

1. *Descend* from 10⁻² by factors of 4, until d(σ) is within the target; too sharp if the least size is not.
2. *Double* σ until d(σ) exceeds the target; not found if no size does.
3. *Bisect* the bracket at its geometric mean, until its ends are within the tolerance.

The search goes up from small sizes: σ is the first at which the drop reaches the target, should that happen
more than once. The draws, or the starts, are the same for every size, so that d is one function.
"""

from __future__ import annotations

import abc
import dataclasses
import math
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np

from landscape.flatness.ascent import ascend, make_ball, make_starts
from landscape.flatness.draws import rises_of_draws
from landscape.flatness.neighbourhood import Neighbourhood
from landscape.network import differentiable
from landscape.results import check_seed, check_whole

FIRST, LEAST, MOST = 1e-2, 1e-9, 1e4  # sizes: where the bracket starts and ends
EPSILON = 1e-3  # of the magnitude-aware noise (Jiang et al.)


@dataclasses.dataclass(frozen=True)
class Bracket:
    """Two sizes: the drop is within the target at `low`, and exceeds it at `high`."""

    low: float
    high: float


class Search(abc.ABC):
    """The drop as a function of the size of what is done to the weights.

    A change of the metric times `factor` is a drop: −1, over the span, where higher is better.
    """

    noun: ClassVar[str]
    complete: ClassVar[bool]  # whether what is not found is not there

    def __init__(
        self, around: Neighbourhood, metric: str, factor: float, *, settings: dict[str, Any]
    ) -> None:
        self.around = around
        self.metric, self.factor = metric, factor
        self.settings = settings
        self.magnitude, self.target = settings["magnitude"], settings["target"]
        self.tolerance = settings["tolerance"]
        self.seed = check_seed(settings["seed"])
        self.known: dict[float, np.ndarray] = {}
        self.too_sharp = False  # whether the least size cost too much already

    def drops(self, size: float) -> np.ndarray:
        """Return the drops at a size, computed once."""
        if size not in self.known:
            self.known[size] = self.factor * self._drops(size)
        return self.known[size]

    @abc.abstractmethod
    def _drops(self, size: float) -> np.ndarray:
        """Return how much the metric grows at a size [draws or starts]."""

    def crossing(self, of: Callable[[np.ndarray], float]) -> Bracket | None:
        """Return a bracket of the size at which ``of(drops)`` first exceeds the target, or None."""

        def exceeds(size: float) -> bool:
            value = of(self.drops(size))
            return not value <= self.target  # a drop that is not a number is one

        low = _descended(exceeds)
        self.too_sharp = low is None
        bracket = None if low is None else _doubled(exceeds, low)
        return None if bracket is None else _bisected(exceeds, bracket, self.tolerance)


def _descended(exceeds: Callable[[float], bool]) -> float | None:
    """Return a size within the target (step 1), None if the least one is not."""
    low = FIRST
    while exceeds(low):
        if low <= LEAST:
            return None
        low /= 4
    return low


def _doubled(exceeds: Callable[[float], bool], low: float) -> Bracket | None:
    """Return the first bracket above a size (step 2), None if there is none up to the most."""
    high = 2 * low
    while not exceeds(high):
        low, high = high, 2 * high
        if high > MOST:
            return None
    return Bracket(low, high)


def _bisected(exceeds: Callable[[float], bool], bracket: Bracket, tolerance: float) -> Bracket:
    """Return the bracket halved in log σ until its ends are within the tolerance (step 3)."""
    low, high = bracket.low, bracket.high
    while high / low > 1 + tolerance:
        middle = math.sqrt(low * high)
        low, high = (low, middle) if exceeds(middle) else (middle, high)
    return Bracket(low, high)


class Noise(Search):
    """The mean drop over each mirrored pair [draws] under noise, with the same draws for every noise."""

    noun = "noise"
    complete = True

    def _drops(self, size: float) -> np.ndarray:
        draws = check_whole("draws", self.settings["draws"], 2)
        found = rises_of_draws(self.around, self._scale(size), (1.0, -1.0), draws=draws, seed=self.seed)
        drops: np.ndarray = found[self.metric].mean(1)
        return drops

    def _scale(self, sigma: float) -> np.ndarray:
        around = self.around
        if not self.magnitude:
            return sigma * around.scale("absolute")
        return np.where(around.free, np.sqrt((sigma * around.weights) ** 2 + EPSILON**2), 0.0)


class Box(Search):
    """The drop where each start's ascent found the highest loss in a box [starts]."""

    noun = "box"
    complete = False

    def __init__(
        self, around: Neighbourhood, metric: str, factor: float, *, settings: dict[str, Any]
    ) -> None:
        super().__init__(around, metric, factor, settings=settings)
        self.bad: dict[float, int] = {}
        with around.computing():
            self.parts = around.stacked()
        self.scale = around.scale("weights", eta=1.0) if self.magnitude else around.scale("absolute")

    def _drops(self, size: float) -> np.ndarray:
        around, settings = self.around, {**self.settings, "radius": size}
        with around.computing():
            with differentiable():
                ball = make_ball(around, self.scale, None, settings, norm="linf")
                begins = make_starts(ball, settings["starts"], self.seed)
                _, _, bad, points = ascend(around.parts()[0], around.place, ball, begins, parts=self.parts)
            offsets = np.asarray(ball.scale) * points
            drops = np.array([around.rises(offset, (1.0,))[self.metric][0] for offset in offsets])
        around.worked(gradients=settings["starts"] * (settings["steps"] + 1))
        self.bad[size] = int(np.sum(np.asarray(bad)))
        return drops
