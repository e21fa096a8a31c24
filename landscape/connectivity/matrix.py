"""Barriers between many networks: every pair, or those that a question is about."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from landscape.compute import Progress, shown
from landscape.connectivity import barrier_interval, endpoints
from landscape.connectivity.aligned_fields import ALIGNED_MATRIX, median_text, moved_rows
from landscape.connectivity.aligning import HowAligned, aligned_matrix
from landscape.connectivity.barrier_interval import ABOVE_CHORD, DEFINITIONS
from landscape.connectivity.pairs import Pairs
from landscape.connectivity.relations import ALL, chosen_pairs, record_of
from landscape.errors import ConfigurationError, InputError
from landscape.network import bar_label
from landscape.problem import problem_for
from landscape.results import (
    MOST_KEPT,
    Items,
    KeysIn,
    Numbers,
    Record,
    Result,
    Table,
    Text,
    Within,
    check_choice,
    check_evaluation,
    check_seed,
    check_whole,
    count,
    fact,
    flag,
    format_value,
    means_by_split,
)

if TYPE_CHECKING:
    from landscape.problem import Problem

__all__ = ["BarrierMatrix", "barrier_matrix"]

_FACTS = ("method", "init", "seed", "level", "density")
_HEIGHTS = Record({name: Numbers("P", finite="ok") for name in DEFINITIONS})


@dataclasses.dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class BarrierMatrix(Result):
    """Barriers between pairs of networks.

    Attributes
    ----------
    records : tuple of dict [n]
        Of each network ``name``, ``method``, ``init`` and ``seed`` (of its training), ``level``, ``density``;
        None where its checkpoint does not say.
    pairs : numpy.ndarray [P, 2]
        Positions of the networks of each pair, the smaller first; paths run from the first to the second.
    relations : tuple of str [P]
        How the two are related: ``"one-init"``, ``"two-inits"``, ``"levels"``, ``"dense"``, ``"methods"``
        or ``"other"``.
    alphas : numpy.ndarray [T]
        The uniform grid on each path.
    losses : dict
        ``[split][metric]`` to the means along each path [P, T].
    barriers : dict
        ``[split][metric][definition]`` to the barriers [P], definitions ``"above_chord"`` and
        ``"above_mean"``, as in `Barrier`; NaN where a needed point is not finite.
    intervals : dict
        By definition, the interval [P, 2] of the loss barrier on `split` for the population that the examples
        stand for; NaN where there is none. Each holds for its pair alone.
    alpha_max : dict
        By definition, where on the grid the loss barrier on `split` lies [P].
    distances : numpy.ndarray [P]
        Between the networks, in parameter space.
    identical : numpy.ndarray of bool [P]
        Whether the two are the same network, so that their barrier is exactly 0.
    split : str
        The split of the intervals.
    num_points : int
        Points of the grid.
    aligned : dict or None
        If the networks were brought to one alignment: ``method``, ``symmetry``, ``units`` by group, the share
        of ``moved`` units by group [n], and what losses, barriers and distances were ``before``.
    """

    kind: ClassVar[str] = "barrier_matrix"

    statuses = ("ok", "incomplete", "non-finite")
    spec = Record(
        {
            "records": Items(Record({"name": Text(), **dict.fromkeys(_FACTS, fact())}), "n"),
            "pairs": Numbers("P", 2, kind="int", least=0, below="n"),
            "relations": Items(Text(), "P"),
            "alphas": Numbers("T", finite=True, increasing=True, least=0, most=1, fewest=2),
            "losses": means_by_split(Numbers("P", "T", finite="ok", limit=MOST_KEPT)),
            "barriers": Table(Record({"loss": _HEIGHTS}, endings={"": _HEIGHTS})),
            "intervals": Record({name: Numbers("P", 2, ordered=True) for name in DEFINITIONS}),
            "alpha_max": Record({name: Numbers("P", least=0, most=1) for name in DEFINITIONS}),
            "distances": Numbers("P", least=0),
            "identical": flag("P"),
            "split": Text(),
            "num_points": count(equals="T"),
            "aligned": ALIGNED_MATRIX,
        },
        (
            KeysIn("split", "losses"),
            KeysIn("split", "barriers"),
            *(
                Within(f"barriers.{{split}}.loss.{name}", f"intervals.{name}", scale="losses.{split}.loss")
                for name in DEFINITIONS
            ),
        ),
    )

    records: tuple[Mapping[str, Any], ...]
    pairs: np.ndarray
    relations: tuple[str, ...]
    alphas: np.ndarray
    losses: Mapping[str, Mapping[str, np.ndarray]]
    barriers: Mapping[str, Mapping[str, Mapping[str, np.ndarray]]]
    intervals: Mapping[str, np.ndarray]
    alpha_max: Mapping[str, np.ndarray]
    distances: np.ndarray
    identical: np.ndarray
    split: str
    num_points: int
    aligned: Mapping[str, Any] | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """What the networks are called."""
        return tuple(str(record["name"]) for record in self.records)

    def matrix(
        self, definition: str = ABOVE_CHORD, *, split: str | None = None, metric: str = "loss"
    ) -> np.ndarray:
        """Return the symmetric matrix [n, n] of barriers.

        It is 0 on the diagonal and NaN where a pair was not measured.

        Raises
        ------
        ConfigurationError
            If there is no such definition, split or metric.
        """
        check_choice("definition", definition, DEFINITIONS)
        found = self.barriers.get(split or self.split, {}).get(metric)
        if found is None:
            raise ConfigurationError(
                f"matrix: nothing measured of {metric!r} on {split or self.split!r}",
                expected=", ".join(f"{s}: {', '.join(m)}" for s, m in self.barriers.items()),
            )
        matrix = np.full((len(self.records),) * 2, np.nan)
        np.fill_diagonal(matrix, 0.0)
        first, second = self.pairs.T
        matrix[first, second] = matrix[second, first] = found[definition]
        return matrix

    def order(self, definition: str = ABOVE_CHORD) -> list[int]:
        """Return the networks in the order of a dendrogram (average linkage) of their barriers.

        The order given, where a pair is missing or not finite. Negative barriers count as none.
        """
        matrix = self.matrix(definition)
        if len(matrix) < 3 or not np.isfinite(matrix).all():
            return list(range(len(matrix)))
        from scipy.cluster.hierarchy import leaves_list, linkage
        from scipy.spatial.distance import squareform

        condensed = squareform(np.maximum(matrix, 0.0), checks=False)
        return [int(i) for i in leaves_list(linkage(condensed, method="average", optimal_ordering=True))]

    def groups(self) -> dict[tuple[str, str], list[int]]:
        """Return the positions of the pairs by (relation, methods), in order of the first of each."""
        found: dict[tuple[str, str], list[int]] = {}
        for position, (pair, name) in enumerate(zip(self.pairs, self.relations, strict=True)):
            methods = dict.fromkeys(str(self.records[i]["method"] or "networks") for i in pair)
            found.setdefault((name, " and ".join(methods)), []).append(position)
        return found

    def unaligned(self) -> BarrierMatrix:
        """Return the matrix as it was before the alignment; an InputError says that there was none."""
        if self.aligned is None:
            raise InputError("matrix: its networks were not aligned")
        same = np.zeros(len(self.pairs), bool)
        return dataclasses.replace(self, **self.aligned["before"], identical=same, aligned=None)

    def rows(self) -> list[tuple[str, str]]:
        """Return the printed lines: the pairs, and by relation and method the barriers and their range."""
        rows = [
            ("networks", f"{len(self.records)}, {len(self.pairs)} pairs"),
            ("loss on", f"{self.split}, {self.counted()}"),
        ]
        values = self.barriers[self.split]["loss"][ABOVE_CHORD]
        for (name, methods), places in self.groups().items():
            known = values[places][np.isfinite(values[places])]
            text = "not available: points of the paths are not finite"
            if len(known) == 1:
                text = f"{format_value(float(known[0]))} (1 pair)"
            elif len(known):
                text = f"median {format_value(float(np.median(known)))}, "
                text += f"{format_value(float(known.min()))} to {format_value(float(known.max()))}"
                text += f" ({len(known)} pairs)"
            rows.append((f"above chord, {name}, {methods}", text))
        above = int(np.sum(self.intervals[ABOVE_CHORD][:, 0] > 0))
        rows.append(("interval above 0", f"{above} of {len(self.pairs)} pairs"))
        if self.aligned is not None:
            heights = self.aligned["before"]["barriers"][self.split]["loss"][ABOVE_CHORD]
            rows += moved_rows(self.aligned, median_text(heights))
        if self.config.get("repair"):
            rows.append(("renormalised", "each hidden unit inside the paths (REPAIR)"))
        spacing = format_value(1 / (self.num_points - 1))
        rows.append(("grid", f"{self.num_points} points, spacing {spacing}: lower bounds on the suprema"))
        return rows

    def table(self) -> tuple[tuple[str, ...], list[tuple[Any, ...]]]:
        """Return headers and tidy rows, one per pair, split, metric and definition."""
        keys = ("name", *_FACTS)
        ends = [f"{key}_{end}" for end in "ab" for key in keys]
        headers = (
            *ends, "relation", "distance", "split", "metric", "definition", "barrier", "low", "high", "alpha"
        )  # fmt: skip
        rows = []
        for position, (pair, name) in enumerate(zip(self.pairs, self.relations, strict=True)):
            known = [self.records[i][key] for i in pair for key in keys]
            for split, metrics in self.barriers.items():
                for metric, found in metrics.items():
                    for definition in DEFINITIONS:
                        main = split == self.split and metric == "loss"
                        low, high = self.intervals[definition][position] if main else (np.nan, np.nan)
                        at = self.alpha_max[definition][position] if main else np.nan
                        values = (found[definition][position], low, high, at)
                        plain = [float(v) if np.isfinite(v) else None for v in values]
                        distance = float(self.distances[position])
                        rows.append((*known, name, distance, split, metric, definition, *plain))
        return headers, rows

    @classmethod
    def from_fields(cls, fields: Mapping[str, Any], **base: Any) -> Self:
        """Build a matrix from stored fields: tuples are lists there."""
        mended = {**fields, "records": tuple(fields["records"]), "relations": tuple(fields["relations"])}
        return super().from_fields(mended, **base)


def barrier_matrix(  # noqa: PLR0913  one keyword per setting
    problem: Problem | None,
    checkpoints: Sequence[Any],
    *,
    pairs: Any = ALL,
    num_points: int = 25,
    split: str = "train",
    splits: Iterable[str] | None = None,
    seed: int = 0,
    num_resamples: int = 1000,
    confidence: float = 0.95,
    batch_size: int | None = None,
    dtype: str | None = None,
    batch_stats: str = "recompute",
    repair: bool = False,
    align: str | None = None,
    symmetry: str | Sequence[str] = "permutation",
    allow_nonfinite: bool = False,
    names: Sequence[str] | None = None,
    resume: str | Path | None = None,
    progress: Progress | None = None,
) -> BarrierMatrix:
    """Measure the barriers between pairs of networks; see `landscape.loss_barrier` for what a barrier is.

    Parameters
    ----------
    problem : Problem or None
        The loss and its data; None rebuilds the task that the first checkpoint names.
    checkpoints : sequence of Checkpoint, path or pytree
        At least two networks of one architecture.
    pairs : str, sequence of str, or sequence of (int, int)
        ``"all"``; ``"one-init"`` and ``"two-inits"``, seeds of the same or of two initialisations (the
        instability
        analysis of Frankle et al. 2020 [1]_); ``"levels"``, successive levels; ``"dense"``, every level
        against the dense network; ``"methods"``, method against method; several of these; or positions.
    num_points, split, splits, seed, num_resamples, confidence, batch_size, dtype, batch_stats,
    repair, allow_nonfinite
        As in `landscape.loss_barrier`. All pairs are resampled alike.
    align, symmetry : str, str or sequence of str
        Bring all networks to one common alignment first, as `landscape.align_all` does by this method on
        `split`; what the barriers were before is in the result as well.
    names : sequence of str, optional
        What to call the networks; by default their files.
    resume : path, optional
        A folder that keeps finished pairs, so that a stopped computation goes on; removed at the end.
    progress : Progress, optional
        Is told of every pair; by default a bar where standard error is a terminal.

    Returns
    -------
    BarrierMatrix
        With status ``"incomplete"`` if a loss overflows on a part of a path.

    Raises
    ------
    InputError
        If there are fewer than two networks, or no pair is meant.
    ArchitectureMismatchError, NonFiniteError, ProblemError, DeviceMemoryError, ConfigurationError
        As `landscape.loss_barrier`.
    CheckpointError
        If `resume` holds pairs of another computation.

    Notes
    -----
    Costs ``num_points − 2`` evaluations of every split per pair, and one per network: ends are evaluated
    once.
    Barriers and intervals are bit-identical to those of `landscape.loss_barrier`. All networks are
    held in memory.

    References
    ----------
    .. [1] Frankle et al., 2020. Linear mode connectivity and the lottery ticket hypothesis. arXiv:1912.05671.

    Examples
    --------
    >>> import numpy as np
    >>> from landscape import Problem, barrier_matrix
    >>> problem = Problem(lambda p, batch: (p["w"] ** 2 - 1) ** 2 + 0 * batch, train=np.zeros(4, np.float32))
    >>> found = barrier_matrix(problem, [{"w": np.float32(w)} for w in (-1, 1, 1)], names=["a", "b", "c"])
    >>> found.matrix().tolist()
    [[0.0, 1.0, 1.0], [1.0, 0.0, 0.0], [1.0, 0.0, 0.0]]
    """
    check_whole("num_points", num_points, 3)
    check_seed(seed)
    check_evaluation(dtype, batch_stats)
    barrier_interval.check_settings(num_resamples, confidence)
    given = [endpoints.read(item) for item in checkpoints]
    if len(given) < 2:
        raise InputError("barrier_matrix: needs at least two networks", got=str(len(given)))
    problem = problem_for(problem, *given)
    called = endpoints.names_of(given, names)
    ends = endpoints.make_ends(
        given,
        called,
        problem=problem,
        allow_nonfinite=allow_nonfinite,
    )
    records = [
        record_of(end.name, end.checkpoint.info if end.checkpoint else None, end.density) for end in ends
    ]
    chosen = chosen_pairs(pairs, records)
    # What a matrix costs depends on these.
    path: dict[str, Any] = {"num_points": num_points, "split": split, "batch_size": batch_size}
    path |= {"dtype": dtype, "batch_stats": batch_stats, "repair": repair, "allow_nonfinite": allow_nonfinite}
    settings = {"seed": int(seed), "num_resamples": int(num_resamples), "confidence": float(confidence)}
    if align is not None:
        how = HowAligned(method=align, symmetry=symmetry, seed=seed, split=split, batch_size=batch_size)
        same = {**path, **settings, "splits": splits, "resume": resume, "progress": progress}
        return aligned_matrix(
            barrier_matrix, problem, given, how, names=called, pairs=chosen, asked=pairs, **same
        )
    from landscape.connectivity.cost import matrix_cost
    from landscape.connectivity.line import Plan

    plan = Plan(
        split=split,
        splits=problem.splits_with(split, splits),
        alphas=np.linspace(0.0, 1.0, num_points),
        refine=False,
        batch_size=batch_size,
        dtype=dtype,
        batch_stats=batch_stats,
        repair=bool(repair),
        allow_nonfinite=allow_nonfinite,
    )
    work = Pairs(problem=problem, ends=ends, records=records, pairs=chosen, plan=plan, settings=settings)
    progress = shown(progress)
    label = bar_label(progress, "barriers", lambda: matrix_cost(problem, given, pairs=chosen, **path))
    return BarrierMatrix(**work.run(resume, progress, asked=pairs, label=label))
