"""Many measures at many networks, and how they rank the networks."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from landscape._digest import text_digest
from landscape._subject import facts_of
from landscape.checkpoint import Checkpoint
from landscape.errors import ConfigurationError, InputError, LandscapeError, ProblemError
from landscape.flatness._correlations import correlations
from landscape.flatness._plan import Plan
from landscape.flatness._surroundings import Options, Surroundings
from landscape.flatness.results import Flatness, FlatnessMeasure
from landscape.problem import Problem
from landscape.progress import SILENT, Progress
from landscape.provenance import provenance
from landscape.tasks import problem_for_all

__all__ = ["flatness_table", "measure_flatness"]

SPACES = ("ticket", "full")
# That a measure is not defined at a network is an answer: its record says so, the table stands.
UNDEFINED = ("not-found", "indefinite")


def measure_flatness(  # noqa: PLR0913  one keyword a setting
    problem: Problem | None,
    checkpoint_or_params: Any,
    *,
    measures: Sequence[str] | None = None,
    radii: Mapping[str, float] | None = None,
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
    measures : sequence of str, optional
        Names of the catalogue (`landscape.flatness.catalogue.MEASURES`); by default all that the problem
        and the network allow.
    radii : mapping of str to float, optional
        Radii other than the default ones, by measure.
    draws : int, optional
        Mirrored pairs of the measures that draw them.
    mask : pytree of bool, or False, optional
        Free entries; by default the checkpoint's mask, False for the full space.
    where, split, subset, batch_size, dtype, allow_nonfinite
        As for `hessian`.
    seed : int
        Of everything random.
    progress : Progress, optional
        Is told of every measure.

    Returns
    -------
    Flatness
        One record a measure; its status is the first of theirs that keeps a number from being trusted.

    Raises
    ------
    ConfigurationError
        If a name is unknown or nothing is asked for.
    InputError, ProblemError
        If a measure that was asked for by name cannot be had.

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
    plan = Plan.of(measures, radii=radii, draws=draws, seed=seed)
    return _table(
        problem,
        [checkpoint_or_params],
        plan,
        spaces=["full" if mask is False else "ticket"],
        options=options,
        progress=progress,
    )


def flatness_table(  # noqa: PLR0913  one keyword a setting
    problem: Problem | None,
    checkpoints: Iterable[Any],
    *,
    measures: Sequence[str] | None = None,
    spaces: Sequence[str] = ("ticket",),
    radii: Mapping[str, float] | None = None,
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
    problem, measures, radii, draws, where, split, subset, batch_size, dtype, seed, allow_nonfinite, progress
        As for `measure_flatness`.

    Returns
    -------
    Flatness
        With Kendall's rank correlations between measures, with the parameters' norm and with the
        generalisation gap, from three networks on (Jiang et al. 2020, arXiv:1912.02178). Their
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
    plan = Plan.of(measures, radii=radii, draws=draws, seed=seed)
    return _table(
        problem, list(checkpoints), plan, spaces=spaces, options=options, names=names, progress=progress
    )


def _table(
    problem: Problem | None,
    given: Sequence[Any],
    plan: Plan,
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
    started, progress = time.perf_counter(), progress or SILENT
    if names is not None and len(names) != len(given):
        raise ConfigurationError("names: not one a network", expected=str(len(given)), got=str(len(names)))
    problem = problem_for_all(problem, given)
    shown = _unique(names if names else [_name(item, i) for i, item in enumerate(given)])
    rows = _Rows(plan)
    progress.start("flatness", total=len(given) * len(set(spaces)) * len(plan.measures))
    try:
        for i, item in enumerate(given):
            for space in dict.fromkeys(spaces):
                full = dataclasses.replace(options, mask=False) if space == "full" else options
                rows.add(Surroundings(problem, item, full), shown[i], space, progress=progress)
    finally:
        progress.stop()
    return rows.result(spaces, seconds=time.perf_counter() - started)


class _Rows:
    """The rows of a table, network by network."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.records: list[dict[str, Any]] = []
        self.networks: list[dict[str, Any]] = []
        self.curves: list[dict[str, Any]] = []
        self.warnings: list[str] = []
        self.left_out: dict[str, list[str]] = {}
        self.stats: list[Mapping[str, Any]] = []
        self.digests: list[Mapping[str, Any]] = []
        self.config: Mapping[str, Any] = {}
        self.files: list[str | None] = []

    def add(self, around: Surroundings, name: str, space: str, *, progress: Progress) -> None:
        """Measure one network in one space."""
        checkpoint = around.subject.checkpoint
        facts = {
            "name": name,
            **facts_of(checkpoint),
            "density": None if checkpoint is None else checkpoint.density,
            "space": space,
        }
        self.networks.append({**facts, **_network(around)})
        for measure in self.plan.measures:
            progress.note(measure.replace("_", " "))
            found = self._measured(around, measure, f"{name}: ")
            if found is not None:
                self._record(facts, measure, found)
            progress.advance(1)
        self.stats.append(around.stats)
        self.digests.append(around.digests())
        self.config = around.config
        self.files.append(None if checkpoint is None or not checkpoint.path else str(checkpoint.path))

    def _measured(self, around: Surroundings, measure: str, where: str) -> FlatnessMeasure | None:
        """Return a measure; one that was not asked for by name may be impossible here."""
        try:
            found = self.plan.compute(around, measure)
        except (InputError, ProblemError) as error:
            if self.plan.chosen or type(error) not in (InputError, ProblemError):
                raise
            self.left_out.setdefault(measure, []).append(_first_line(error))
            return None
        self.warnings += [f"{where}{text}" for text in found.warnings]
        return found

    def _record(self, facts: Mapping[str, Any], measure: str, found: FlatnessMeasure) -> None:
        details = dict(found.details)
        curve = details.pop("curve", None)
        record = {
            **facts,
            "measure": measure,
            "value": found.value,
            "standard_error": found.standard_error,
            "interval": None if found.interval is None else list(found.interval),
            "label": found.label,
            "radius": found.radius,
            "units": details.get("units"),
            "status": found.status,
            "details": details,
        }
        self.records.append(record)
        if curve is not None and len(curve["radii"]) > 1:
            self.curves.append({**facts, "measure": measure, "units": details.get("units"), **curve})

    def _note(self, name: str, reasons: Sequence[str]) -> str:
        total = len(self.networks)
        which = "" if len(reasons) == total else f" for {len(reasons)} of {total} networks"
        return f"{name} is left out{which}: {reasons[0]}"

    def result(self, spaces: Sequence[str], *, seconds: float) -> Flatness:
        """Return the table."""
        answers = ("ok", *UNDEFINED)
        bad = [record["status"] for record in self.records if record["status"] not in answers]
        notes = [self._note(name, reasons) for name, reasons in self.left_out.items()]
        params = [found["params"] for found in self.digests]
        digest = params[0] if len(params) == 1 else text_digest("".join(params))
        return Flatness(
            records=self.records,
            networks=self.networks,
            curves=self.curves,
            correlations=correlations(self.records, self.networks),
            measures=[name for name in self.plan.measures if name in {r["measure"] for r in self.records}],
            status=bad[0] if bad else "ok",
            warnings=tuple(dict.fromkeys([*notes, *self.warnings])),
            config={
                **self.config,
                "measures": list(self.plan.measures),
                "radii": dict(self.plan.radii),
                "draws": self.plan.draws,
                "spaces": list(spaces),
                "seed": self.plan.seed,
                "checkpoints": list(dict.fromkeys(self.files)),
            },
            stats={
                "num_examples": self.stats[0]["num_examples"],
                "num_evaluations": sum(found["num_evaluations"] for found in self.stats),
                "compile_seconds": sum(found["compile_seconds"] for found in self.stats),
                "seconds": seconds,
            },
            provenance=provenance(
                seed=self.plan.seed,
                dtype=self.config["dtype"],
                digests={"params": digest, "data": self.digests[0]["data"]},
            ),
        )


def _network(around: Surroundings) -> dict[str, Any]:
    """Return what is known of a network itself: norm, losses, and the gap between train and test."""
    found: dict[str, Any] = {
        "dim": around.dim,
        "parameter_norm": around.norm,
        "loss": around.base["loss"],
        "metrics": {name: value for name, value in around.base.items() if name != "loss"},
    }
    problem, point = around.problem, around.subject.point
    if "test" in problem.splits and around.subject.finite:
        size = around.options.batch_size
        values = {
            split: problem.evaluate(point, split, batch_size=size, dtype=around.dtype)
            for split in ("train", "test")
        }
        found["test_loss"] = values["test"]["loss"]
        found["gap"] = values["test"]["loss"] - values["train"]["loss"]
        found["test_metrics"] = {name: value for name, value in values["test"].items() if name != "loss"}
    return found


def _first_line(error: LandscapeError) -> str:
    return str(error).splitlines()[0]


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
