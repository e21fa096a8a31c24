"""Barriers before and after networks are brought to one another.

The room of alignments stands above this one and is reached by name, as kinds of results are.
"""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np

from landscape.connectivity.aligned_fields import ALIGN_METHODS
from landscape.results import check_choice

__all__ = ["HowAligned", "aligned_barrier", "aligned_matrix"]

R = TypeVar("R")

_ALIGNMENT = "landscape.alignment"


@dataclasses.dataclass(frozen=True, kw_only=True)
class HowAligned:
    """How networks are brought to one another before the paths between them are measured."""

    method: str
    symmetry: Sequence[str]
    seed: int
    split: str
    batch_size: int | None

    def __post_init__(self) -> None:
        """Refuse a method that does not exist."""
        check_choice("align", self.method, ALIGN_METHODS)

    def networks(self, problem: Any, given: Sequence[Any], names: Sequence[str]) -> Sequence[Any]:
        """Return what was done to each network, the first as it is."""
        align_all = importlib.import_module(_ALIGNMENT).align_all
        found: Sequence[Any] = align_all(
            problem,
            given,
            method=self.method,
            symmetry=self.symmetry,
            seed=self.seed,
            split=self.split,
            batch_size=self.batch_size,
            names=names,
        )
        return found

    def config(self) -> dict[str, Any]:
        """Return the settings that a result states."""
        return {"align": self.method, "symmetry": list(self.symmetry)}


def aligned_barrier(
    measure: Callable[..., R],
    problem: Any,
    given: tuple[Any, Any],
    how: HowAligned,
    **settings: Any,
) -> R:
    """Return the barrier after the second network is brought to the first, with what it was before.

    Parameters
    ----------
    measure : callable
        `landscape.loss_barrier`.
    problem : Problem
        The loss and its data.
    given : pair
        The networks.
    how : HowAligned
        The alignment.
    **settings
        Of `measure`.
    """
    before: Any = measure(problem, *given, **settings)
    names = before.endpoints
    _, found = how.networks(problem, given, names)
    after: Any = measure(problem, given[0], found.checkpoint, **{**settings, "names": names})
    digests = dict(before.provenance["digests"])
    digests["aligned"] = after.provenance["digests"]["b"]
    result: R = dataclasses.replace(
        after,
        aligned={
            "method": how.method,
            "symmetry": list(found.symmetry),
            "units": {name: int(group["units"]) for name, group in found.groups.items()},
            "moved": dict(found.moved),
            "rescaled": {name: int(np.sum(values != 1)) for name, values in found.scales.items()},
            "before": {
                "losses": before.losses,
                "barrier_above_chord": before.barrier_above_chord,
                "barrier_above_mean": before.barrier_above_mean,
                "interval_above_chord": before.interval_above_chord,
                "interval_above_mean": before.interval_above_mean,
            },
        },
        densities=before.densities,
        config={**before.config, **how.config()},
        provenance={**before.provenance, "digests": digests},
        warnings=tuple(dict.fromkeys((*before.warnings, *after.warnings, *found.warnings))),
    )
    return result


def aligned_matrix(
    measure: Callable[..., R],
    problem: Any,
    given: Sequence[Any],
    how: HowAligned,
    *,
    names: Sequence[str],
    pairs: Sequence[tuple[int, int]],
    asked: Any,
    **settings: Any,
) -> R:
    """Return the barriers after the networks are brought to one alignment, with what they were before.

    All paths are measured in one computation: those between the networks as they are, then those between the
    aligned ones. The first network is the same in both.

    Parameters
    ----------
    measure : callable
        `landscape.barrier_matrix`.
    problem, given, names
        The loss, the networks and what they are called.
    how : HowAligned
        The alignment.
    pairs : sequence of (int, int)
        Positions of the pairs, the smaller first.
    asked : str or sequence
        What the user called them.
    **settings
        Of `measure`.
    """
    found = how.networks(problem, given, names)
    number = len(given)
    moved = [(first and number + first - 1, number + second - 1) for first, second in pairs]
    whole: Any = measure(
        problem,
        [*given, *(one.checkpoint for one in found[1:])],
        pairs=[*pairs, *moved],
        names=[*names, *(f"{name} (aligned)" for name in names[1:])],
        **settings,
    )
    places = {(int(first), int(second)): place for place, (first, second) in enumerate(whole.pairs)}
    before, after = (_taken(whole, [places[pair] for pair in chosen]) for chosen in (pairs, moved))
    digests = dict(whole.provenance["digests"])
    digests["aligned"] = digests["networks"][number:]
    digests["networks"] = digests["networks"][:number]
    first = [places[pair] for pair in pairs]
    result: R = dataclasses.replace(
        whole,
        **after,
        records=whole.records[:number],
        pairs=np.array(pairs, np.int64),
        relations=tuple(whole.relations[place] for place in first),
        aligned={
            "method": how.method,
            "symmetry": list(found[0].symmetry),
            "units": {name: int(group["units"]) for name, group in found[0].groups.items()},
            "moved": {name: np.array([one.moved[name] for one in found]) for name in found[0].moved},
            "before": {name: value for name, value in before.items() if name != "identical"},
        },
        config={**whole.config, **how.config(), "pairs": asked},
        provenance={**whole.provenance, "digests": digests},
        warnings=tuple(dict.fromkeys((*whole.warnings, *(text for one in found for text in one.warnings)))),
    )
    return result


def _taken(whole: Any, places: Sequence[int]) -> dict[str, Any]:
    """Return what a matrix says of some of its pairs."""

    def some(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {key: some(item) for key, item in value.items()}
        return np.asarray(value)[list(places)]

    names = ("losses", "barriers", "intervals", "alpha_max", "distances", "identical")
    return {name: some(getattr(whole, name)) for name in names}
