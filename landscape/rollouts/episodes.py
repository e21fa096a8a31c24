"""The result of playing episodes: what one policy, or two, reach on the same seeds, and one episode."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar, Self

import numpy as np

from landscape.results import (
    MOST_KEPT,
    Items,
    Maybe,
    Numbers,
    Record,
    Result,
    Table,
    Text,
    Within,
    count,
    format_value,
    interval,
    same_fields,
    with_error,
)

__all__ = ["Rollout"]

FORMS = ("line", "marker", "goal", "frame")  # of a part of a drawing
_EPISODE = Record(
    {
        "rewards": Numbers("S", finite="ok"),
        "actions": Numbers("S", None, finite="ok"),
        "states": Maybe(Table(Numbers("T", None))),
        "observations": Maybe(Numbers("T", None)),
        "cells": Maybe(Numbers("T", None, None, kind="int", least=0, most=99, limit=MOST_KEPT)),
        "moving": Items(Record({"name": Text(), "form": Text(FORMS), "points": Numbers("T", None, 2)})),
        "still": Items(Record({"name": Text(), "form": Text(FORMS), "points": Numbers(None, 2)})),
    }
)


@dataclasses.dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class Rollout(Result):
    """Episodes of one policy, or of two on the same seeds, and one episode step by step.

    Attributes
    ----------
    task : str
        What was played.
    episode_length : int
        Steps after which an episode is cut off.
    split : str
        Where the seeds are from.
    names : tuple of str
        The P policies, one or two.
    seeds : numpy.ndarray [E]
        One per episode; all policies play the same ones.
    returns : numpy.ndarray [P, E]
        Sum of the rewards of each episode; NaN where something was not finite.
    lengths : numpy.ndarray [P, E]
        Steps of each episode.
    means : numpy.ndarray [P]
        Mean returns.
    intervals : numpy.ndarray [P, 2]
        Of the mean returns, over episodes; NaN where the episodes are too few.
    difference : float or None
        Mean return of the second policy minus that of the first; None of a single policy.
    interval_difference : tuple of float, or None
        Of the difference, over paired episodes.
    shown : int
        Position among the seeds of the episode that `episodes` holds.
    episodes : tuple of dict
        That episode as each policy plays it, S steps: ``rewards`` [S], ``actions`` [S, A] (a number of one
        column where actions are discrete), and with S + 1 rows, from before the first step on, ``states``
        (by name, [S + 1, n]) and ``observations`` [S + 1, n], or of images ``cells`` [S + 1, H, W]: 1 plus
        the number of the first channel that is not zero, 0 where all are. ``moving`` and ``still`` are what
        is drawn of it: parts with ``name``, ``points`` and ``form``: ``"line"``, ``"marker"``, ``"goal"``, or
        ``"frame"``, which is not drawn and whose points are the corners of the view.
    channels : tuple of str
        Names of the channels of images.
    """

    kind: ClassVar[str] = "rollout"

    statuses = ("ok", "non-finite")
    spec = Record(
        {
            "task": Text(),
            "episode_length": count(least=1),
            "split": Text(),
            "names": Items(Text(), "P"),
            "seeds": count("E"),
            "returns": Numbers("P", "E", finite="ok"),
            "lengths": count("P", "E"),
            "means": Numbers("P", finite="ok", fewest=1, longest=2),
            "intervals": Numbers("P", 2, ordered=True),
            "difference": Maybe(Numbers(finite="ok")),
            "interval_difference": interval(),
            "shown": Numbers(kind="int", least=0, below="E"),
            "episodes": Items(_EPISODE, "P"),
            "channels": Items(Text()),
        },
        (Within("means", "intervals"), Within("difference", "interval_difference")),
    )

    task: str
    episode_length: int
    split: str
    names: tuple[str, ...]
    seeds: np.ndarray
    returns: np.ndarray
    lengths: np.ndarray
    means: np.ndarray
    intervals: np.ndarray
    difference: float | None = None
    interval_difference: tuple[float, float] | None = None
    shown: int
    episodes: tuple[Mapping[str, Any], ...]
    channels: tuple[str, ...] = ()

    __hash__ = None  # type: ignore[assignment]  # holds arrays

    def __eq__(self, other: object) -> bool:
        """Compare every field, NaN equal to NaN."""
        return same_fields(self, other) if isinstance(other, Rollout) else NotImplemented

    @property
    def ended_early(self) -> np.ndarray:
        """Whether each episode ended before the time limit, [P, E]."""
        return np.asarray(self.lengths) < self.episode_length

    def rows(self) -> list[tuple[str, str]]:
        """Return the printed lines: returns with intervals, lengths, the paired difference, what is shown."""
        rows = [("episodes", f"{len(self.seeds):,} of {self.split}, {self.task}")]
        for place, name in enumerate(self.names):
            rows.append((self._label("return", name), self._return(place)))
            rows.append((self._label("length", name), self._length(place)))
        if self.difference is not None:
            ends = self.interval_difference
            text = with_error(self.difference, interval=ends)
            rows.append(("difference", f"{text}, second minus first, on the same seeds"))
        at = f"number {self.shown}, seed {int(self.seeds[self.shown])}"
        found = " and ".join(self._shown(place) for place in range(len(self.names)))
        return [*rows, ("episode shown", f"{at}: {found}")]

    def _label(self, quantity: str, name: str) -> str:
        return quantity if len(self.names) == 1 else f"{quantity}, {name}"

    def _return(self, place: int) -> str:
        low, high = map(float, self.intervals[place])
        text = with_error(float(self.means[place]), interval=None if np.isnan(low) else (low, high))
        least, most = (format_value(float(x)) for x in (self.returns[place].min(), self.returns[place].max()))
        return f"{text}, from {least} to {most}"

    def _length(self, place: int) -> str:
        early = int(self.ended_early[place].sum())
        mean = format_value(float(np.mean(self.lengths[place])))
        return f"{mean} steps on average, {early:,} ended before the limit of {self.episode_length:,}"

    def _shown(self, place: int) -> str:
        length, early = int(self.lengths[place, self.shown]), bool(self.ended_early[place, self.shown])
        end = "ended early" if early else "at the time limit"
        return f"return {format_value(float(self.returns[place, self.shown]))} in {length:,} steps, {end}"

    @classmethod
    def from_fields(cls, fields: Mapping[str, Any], **base: Any) -> Self:
        """Build a rollout from stored fields: tuples are lists there."""
        mended = dict(fields)
        for name in ("names", "episodes", "channels", "interval_difference"):
            if mended.get(name) is not None:
                mended[name] = tuple(mended[name])
        return super().from_fields(mended, **base)
