"""Many measures at many networks, and how they rank the networks."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from landscape.compute import Progress, shown
from landscape.errors import ConfigurationError
from landscape.files import Checkpoint
from landscape.flatness.forecast import forecast
from landscape.flatness.meter import Meter, passes_of
from landscape.flatness.neighbourhood import Neighbourhood
from landscape.flatness.options import Options
from landscape.flatness.records import Rows
from landscape.flatness.request import Request
from landscape.flatness.results import Flatness
from landscape.network import check_names, check_networks, estimate_for
from landscape.problem import Problem, problem_for_all

__all__ = ["flatness_table", "measure_flatness"]

SPACES = ("ticket", "full")


def measure_flatness(  # noqa: PLR0913  one keyword per setting
    problem: Problem | None,
    checkpoint_or_params: Any,
    *,
    measures: str | Sequence[str] | None = None,
    radii: Mapping[str, float | Sequence[float]] | None = None,
    settings: Mapping[str, Mapping[str, Any]] | None = None,
    draws: int | None = None,
    mask: Any = None,
    where: str | Iterable[str] | None = None,
    split: str = "train",
    subset: int | Sequence[int] | None = None,
    batch_size: int | None = None,
    dtype: str | None = None,
    seed: int = 0,
    allow_nonfinite: bool = False,
    progress: Progress | None = None,
) -> Flatness:
    """Measure the flatness of the loss at one network, by many measures.

    Parameters
    ----------
    problem : Problem or None
        The loss and its data; None rebuilds the task that the checkpoint names.
    checkpoint_or_params : Checkpoint, path of one, or pytree
        The network.
    measures : str or sequence of str, optional
        Names of the register (`landscape.flatness.MEASURES`) and groups: ``"quick"``, ``"standard"`` or
        ``"all"``. By default ``"standard"``, which costs at most 300 gradients of the data, and those that
        have radii or settings here. What is in a group and impossible for the problem is left out, and
        a warning says so.
    radii : mapping of str to float or sequence of float, optional
        Radii other than the default ones, by measure. Several, of a Gaussian measure, are the radii of
        its curve, and its value is at the first of them.
    settings : mapping of str to mapping, optional
        Other keywords by measure, for instance ``{"local_entropy": {"reference": 1e5}, "sam": {"m": 64}}``:
        those of the function that computes it, except the ones that define the measure.
    draws : int, optional
        Mirrored pairs of the measures that draw them.
    mask : pytree of bool, or False, optional
        Free entries; by default the checkpoint's mask, False for the full space.
    where, split, subset, batch_size, dtype, allow_nonfinite
        As for `hessian`.
    seed : int
        Of everything random.
    progress : Progress, optional
        Is told of every measure; by default a bar where standard error is a terminal.

    Returns
    -------
    Flatness
        One record per measure; its status is the first of theirs that keeps a number from being trusted.

    Raises
    ------
    ConfigurationError
        If a name is unknown or nothing is asked for.
    InputError, ProblemError
        If a measure that was asked for by name is impossible for this problem.

    Examples
    --------
    >>> import numpy as np
    >>> from landscape import Problem, measure_flatness
    >>> def loss(params, batch):
    ...     return 0.5 * (batch @ params["w"]) ** 2
    >>> problem = Problem(loss, train=np.eye(2, dtype=np.float32))
    >>> found = measure_flatness(problem, {"w": np.ones(2, np.float32)}, measures=["trace"])
    >>> found.records[0]["value"]
    1.0
    """
    options = Options(
        mask=mask,
        where=where if where is None or isinstance(where, str) else tuple(where),
        split=split,
        subset=subset,
        batch_size=batch_size,
        dtype=dtype,
        allow_nonfinite=allow_nonfinite,
    )
    request = Request.of(measures, radii=radii, draws=draws, seed=seed, settings=settings)
    return _table(
        problem,
        [checkpoint_or_params],
        request,
        spaces=["full" if mask is False else "ticket"],
        options=options,
        progress=progress,
    )


def flatness_table(  # noqa: PLR0913  one keyword per setting
    problem: Problem | None,
    checkpoints: Iterable[Any],
    *,
    measures: str | Sequence[str] | None = None,
    spaces: Sequence[str] = ("ticket",),
    radii: Mapping[str, float | Sequence[float]] | None = None,
    settings: Mapping[str, Mapping[str, Any]] | None = None,
    draws: int | None = None,
    where: str | Iterable[str] | None = None,
    split: str = "train",
    subset: int | Sequence[int] | None = None,
    batch_size: int | None = None,
    dtype: str | None = None,
    seed: int = 0,
    allow_nonfinite: bool = False,
    names: Sequence[str] | None = None,
    progress: Progress | None = None,
) -> Flatness:
    """Measure the flatness at every checkpoint, and how the measures rank the checkpoints.

    Programs are compiled once for all networks of one shape.

    Parameters
    ----------
    checkpoints : iterable of Checkpoint, path or pytree
        The networks.
    spaces : sequence of {"ticket", "full"}
        Where to perturb: within the mask of each checkpoint, or every parameter.
    names : sequence of str, optional
        What to call the networks.
    problem, measures, radii, settings, draws, where, split, subset, batch_size, dtype, seed
        As for `measure_flatness`.
    allow_nonfinite, progress
        As for `measure_flatness`.

    Returns
    -------
    Flatness
        With Kendall's rank correlations between measures, with the parameters' norm and with the
        generalisation gap, with three or more networks (Jiang et al. 2020, arXiv:1912.02178). Their
        intervals are for many runs like these: a jackknife that leaves out whole runs (a method and
        seed), never levels of one. Fewer than five runs have none.
    """
    options = Options(
        where=where if where is None or isinstance(where, str) else tuple(where),
        split=split,
        subset=subset,
        batch_size=batch_size,
        dtype=dtype,
        allow_nonfinite=allow_nonfinite,
    )
    request = Request.of(measures, radii=radii, draws=draws, seed=seed, settings=settings)
    return _table(
        problem, list(checkpoints), request, spaces=spaces, options=options, names=names, progress=progress
    )


def _table(
    problem: Problem | None,
    given: Sequence[Any],
    request: Request,
    *,
    spaces: Sequence[str],
    options: Options,
    names: Sequence[str] | None = None,
    progress: Progress | None = None,
) -> Flatness:
    if not given or not spaces or set(spaces) - set(SPACES):
        raise ConfigurationError(
            "flatness: nothing to measure", expected="a checkpoint, and spaces of ticket and full"
        )
    started, progress = time.perf_counter(), shown(progress)
    check_names(names, given)
    problem = problem_for_all(problem, given)
    request.check_slopes(problem)
    called = _unique(names if names else [_name(item, i) for i, item in enumerate(given)])
    spaces = list(dict.fromkeys(spaces))
    for space in spaces:
        mask = False if space == "full" else options.mask
        check_networks(
            problem, given, mask=mask, where=options.where, allow_nonfinite=options.allow_nonfinite
        )
    rows, meter = Rows(request), Meter(progress)
    try:
        for name, item in zip(called, given, strict=True):
            for space in spaces:
                full = dataclasses.replace(options, mask=False) if space == "full" else options
                around = Neighbourhood(problem, item, full)
                if not rows.networks:
                    _announce(around, request, networks=len(given) * len(spaces), progress=progress)
                rows.add(name, space, around, meter)
    finally:
        progress.stop()
    return rows.result(spaces, seconds=time.perf_counter() - started)


def _announce(around: Neighbourhood, request: Request, *, networks: int, progress: Progress) -> None:
    """Start the bar, with the estimate before it; without a bar no estimate is made."""
    estimate = estimate_for(progress, lambda: forecast(around, request, networks=networks))
    if estimate is None:
        return
    total = networks * sum(math.floor(passes_of(cost)) for cost in estimate.parts.values())
    progress.start(estimate.label, total=total)


def _name(item: Any, position: int) -> str:
    path = item.path if isinstance(item, Checkpoint) else item
    return str(path) if isinstance(path, str) or hasattr(path, "__fspath__") else f"network {position + 1}"


def _unique(names: Sequence[str]) -> list[str]:
    """Return the names; one that came before has a number behind it."""
    taken = set(names)
    found: list[str] = []
    for name in names:
        chosen, number = name, 2
        while chosen in found or (chosen != name and chosen in taken):
            chosen, number = f"{name} ({number})", number + 1
        found.append(chosen)
    return found
