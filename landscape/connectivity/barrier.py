"""The loss barrier between two networks: how much worse the straight path is than its ends."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from landscape.compute import Progress, shown
from landscape.connectivity import barrier_interval, endpoints, measure
from landscape.connectivity.barrier_interval import ABOVE_CHORD, ABOVE_MEAN, DEFINITIONS
from landscape.files import dump_json
from landscape.network import bar_label
from landscape.problem import problem_for
from landscape.results import (
    Items,
    KeysIn,
    Maybe,
    Numbers,
    Record,
    Result,
    Table,
    Text,
    Within,
    check_evaluation,
    check_seed,
    check_whole,
    count,
    flag,
    format_value,
    interval,
    means_by_split,
)

if TYPE_CHECKING:
    from landscape.problem import Problem

__all__ = ["Barrier", "loss_barrier"]


@dataclasses.dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class Barrier(Result):
    """Losses along the straight path between two networks, and the barriers they make.

    Attributes
    ----------
    alphas : numpy.ndarray [T]
        The uniform grid on the path; 0 is the first network, 1 the second.
    losses : dict
        ``[split][metric]`` to the means along the path [T]; ``"loss"`` is one of the metrics.
    barrier_above_chord, barrier_above_mean : float or None
        ``max_α L(α) − [(1−α)L(0) + αL(1)]`` and ``max_α L(α) − ½[L(0) + L(1)]`` for the loss on
        `split`; None if a point of the grid is not finite. The maximum is over the grid, hence a
        lower bound on the supremum over the path.
    barriers : dict
        ``[split][metric][definition]`` for everything measured, definitions ``"above_chord"`` and
        ``"above_mean"``; positive where the path is worse than its ends, also for metrics of which
        more is better. Frankle's instability is ``barriers["test"]["accuracy"]["above_mean"]``.
    alpha_max : dict
        Where on the grid the maximum lies, by definition.
    interval_above_chord, interval_above_mean : tuple of float, or None
        Interval for the population that the examples stand for; on the examples themselves the
        value is exact up to the grid.
    bias_above_chord, bias_above_mean : float or None
        Bias of the plug-in maximum: bootstrap mean of the maximum minus the maximum.
    band : dict or None
        By definition: ``excess`` [T], ``standard_error`` [T] and ``critical``, the simultaneous band.
    refined_alphas, refined_losses : numpy.ndarray [R]
        Further points around the maxima, with their losses on `split`.
    barrier_refined : dict or None
        By definition, the maximum over the grid and these points.
    identical : bool
        Whether both networks are the same, so that every barrier is exactly 0.
    split : str
        The split that the two floats, their intervals and the refinement are for.
    num_points : int
        Points of the grid.
    endpoints : tuple of str
        Names of the two networks.
    non_finite : numpy.ndarray
        Points at which a loss or metric is NaN or infinite.
    densities : tuple, or None
        Fraction of kernel weights that each mask leaves, if one has a mask.
    """

    kind: ClassVar[str] = "barrier"

    statuses = ("ok", "incomplete", "non-finite")
    spec = Record(
        {
            "alphas": Numbers("T", finite=True, increasing=True, least=0, most=1, fewest=2),
            "losses": means_by_split(Numbers("T", finite="ok")),
            "barrier_above_chord": Maybe(Numbers(finite=True)),
            "barrier_above_mean": Maybe(Numbers(finite=True)),
            "barriers": Maybe(Table(Table(Maybe(Table(Maybe(Numbers(finite=True))))))),
            "alpha_max": Maybe(Table(Maybe(Numbers(finite=True, least=0, most=1)))),
            "interval_above_chord": interval(),
            "interval_above_mean": interval(),
            "bias_above_chord": Maybe(Numbers()),
            "bias_above_mean": Maybe(Numbers()),
            "band": Maybe(
                Table(
                    Record(
                        {
                            "excess": Numbers("T", finite=True),
                            "standard_error": Numbers("T", least=0),
                            "critical": Numbers(least=0),
                        }
                    )
                )
            ),
            "refined_alphas": Numbers("R", finite=True, least=0, most=1),
            "refined_losses": Numbers("R", finite="ok"),
            "barrier_refined": Maybe(Record({name: Numbers(finite=True) for name in DEFINITIONS})),
            "identical": flag(),
            "split": Text(),
            "num_points": count(equals="T"),
            "endpoints": Items(Text(), 2),
            "non_finite": Numbers("bad", least=0, most=1),
            "densities": Maybe(Numbers(2, finite=True, least=0, most=1)),
        },
        (
            KeysIn("split", "losses"),
            Within("barrier_above_chord", "interval_above_chord", scale="losses"),
            Within("barrier_above_mean", "interval_above_mean", scale="losses"),
        ),
    )

    alphas: np.ndarray
    losses: Mapping[str, Mapping[str, np.ndarray]]
    barrier_above_chord: float | None = None
    barrier_above_mean: float | None = None
    barriers: Mapping[str, Mapping[str, Mapping[str, float | None]]]
    alpha_max: Mapping[str, float | None]
    interval_above_chord: tuple[float, float] | None = None
    interval_above_mean: tuple[float, float] | None = None
    bias_above_chord: float | None = None
    bias_above_mean: float | None = None
    band: Mapping[str, Mapping[str, Any]] | None = None
    refined_alphas: np.ndarray
    refined_losses: np.ndarray
    barrier_refined: Mapping[str, float] | None = None
    identical: bool
    split: str
    num_points: int
    endpoints: tuple[str, str]
    non_finite: np.ndarray
    densities: tuple[float, float] | None = None

    __hash__ = None  # type: ignore[assignment]  # holds arrays

    def __eq__(self, other: object) -> bool:
        """Compare every field, NaN equal to NaN."""
        if not isinstance(other, Barrier):
            return NotImplemented
        fields = [field.name for field in dataclasses.fields(self)]
        mine, theirs = ({name: getattr(x, name) for name in fields} for x in (self, other))
        return dump_json(mine) == dump_json(theirs)

    def rows(self) -> list[tuple[str, str]]:
        """Return the printed lines: both definitions with their intervals, ends, sets and grid."""
        ends = self.losses[self.split]["loss"][[0, -1]]
        rows = [
            ("path", " → ".join(self.endpoints) + (" (identical)" if self.identical else "")),
            ("loss on", self._set()),
            ("endpoints", f"{format_value(ends[0])} at α = 0, {format_value(ends[1])} at α = 1"),
            ("barrier above chord", self._row(ABOVE_CHORD)),
            ("barrier above mean", self._row(ABOVE_MEAN)),
        ]
        rows += [(f"barriers on {name}", self._worst(name)) for name in _first(self.split, self.barriers)]
        if self.barrier_refined is not None and len(self.refined_alphas):
            rows.append(("refined", self._refined()))
        spacing = format_value(1 / (self.num_points - 1))
        rows.append(("grid", f"{self.num_points} points, spacing {spacing}: a lower bound on the supremum"))
        if self.densities is not None:
            rows.append(("density", " and ".join(map(format_value, self.densities))))
        return rows

    def _set(self) -> str:
        count = self.stats.get("num_examples")
        return self.split + (f", {format_value(count)} examples" if count else "")

    def _row(self, definition: str) -> str:
        value = getattr(self, f"barrier_{definition}")
        if value is None:
            return "not available: a point of the path is not finite"
        if self.identical:
            return "0 exactly: the two networks are identical"
        text = f"{format_value(value)} at α = {format_value(self.alpha_max[definition])}"
        interval = getattr(self, f"interval_{definition}")
        if interval is None:
            return text
        low, high = (format_value(end) for end in interval)
        level = format_value(100 * self.config.get("confidence", 0.95))
        bias = format_value(getattr(self, f"bias_{definition}"))
        return f"{text}, {level} % interval [{low}, {high}], bias {bias}"

    def _worst(self, split: str) -> str:
        parts = [
            f"{metric} {format_value(found[ABOVE_CHORD])} / {format_value(found[ABOVE_MEAN])}"
            for metric, found in (
                (key, self.barriers[split][key]) for key in _first("loss", self.barriers[split])
            )
        ]
        return ", ".join(parts) + " (above chord / mean)"

    def _refined(self) -> str:
        found = self.barrier_refined or {}
        return (
            f"{format_value(found[ABOVE_CHORD])} above chord, {format_value(found[ABOVE_MEAN])} above mean, "
            f"with {len(self.refined_alphas)} more points"
        )

    @classmethod
    def from_fields(cls, fields: Mapping[str, Any], **base: Any) -> Self:
        """Build a barrier from stored fields: tuples are lists there."""
        mended = dict(fields)
        for name in ("interval_above_chord", "interval_above_mean", "endpoints", "densities"):
            if mended.get(name) is not None:
                mended[name] = tuple(mended[name])
        stored = fields.get("barriers", {})
        mended["barriers"] = {
            split: {key: _complete(stored.get(split, {}).get(key, {})) for key in metrics}
            for split, metrics in fields["losses"].items()
        }
        mended["alpha_max"] = _complete(fields.get("alpha_max", {}))
        return super().from_fields(mended, **base)


def _complete(found: Mapping[str, Any]) -> dict[str, Any]:
    return {definition: found.get(definition) for definition in DEFINITIONS}


def _first(leading: str, names: Iterable[str]) -> list[str]:
    return sorted(names, key=lambda name: (name != leading, name))


def loss_barrier(  # noqa: PLR0913  one keyword per setting
    problem: Problem | None,
    a: Any,
    b: Any,
    *,
    num_points: int = 25,
    split: str = "train",
    splits: Iterable[str] | None = None,
    refine: bool = True,
    seed: int = 0,
    num_resamples: int = 1000,
    confidence: float = 0.95,
    batch_size: int | None = None,
    dtype: str | None = None,
    batch_stats: str = "recompute",
    allow_nonfinite: bool = False,
    names: tuple[str, str] | None = None,
    progress: Progress | None = None,
) -> Barrier:
    r"""Measure the loss along the straight path between two networks, and its barrier.

    The path is :math:`\theta(\alpha) = a + \alpha (b - a)` at `num_points` evenly spaced α, exactly
    `a` at 0 and exactly `b` at 1, and L(α) the mean loss of θ(α) over a split. Two barriers are
    common and both are given: above the chord, :math:`\max_\alpha L(\alpha) - [(1-\alpha) L(0) +
    \alpha L(1)]` [1]_, and above the mean, :math:`\max_\alpha L(\alpha) - \frac12 [L(0) + L(1)]`
    [2]_ [3]_. They differ when the ends differ. Maxima include the ends.

    Parameters
    ----------
    problem : Problem or None
        The loss and its data; None rebuilds the task that the first checkpoint names.
    a, b : Checkpoint, path of one, or pytree
        The networks at α = 0 and α = 1. With batch statistics a bare tree is the pair
        ``(params, batch_stats)``.
    num_points : int
        Points of the grid, at least 3 (Frankle et al. use 30, git-re-basin 25).
    split : str
        The split of the two barriers, their intervals and the refinement.
    splits : iterable of str, optional
        Splits evaluated along the path; all of the problem's by default.
    refine : bool
        Whether to evaluate 8 more points on `split` around the maximum of each definition. They are
        kept apart from the grid.
    seed : int
        Seed of the resampling.
    num_resamples : int
        Paired resamples of the examples of `split` for the interval.
    confidence : float
        Coverage of the interval.
    batch_size : int, optional
        Examples per batch.
    dtype : {"float32", "float64"}, optional
        ``"float32"`` or ``"float64"`` on the device, local to the call. By default that of the weights,
        but float64 weights are measured in float32 unless float64 is asked for.
    batch_stats : {"recompute", "keep"}
        For models with batch statistics: recompute them on the training split at every point, the
        ends included, or interpolate the stored ones.
    allow_nonfinite : bool
        Whether to compute with NaN or infinite weights; the status is then ``"non-finite"``.
    names : tuple of str, optional
        What to call the two networks; by default their files.
    progress : Progress, optional
        Is told of every point; by default a bar where standard error is a terminal.

    Returns
    -------
    Barrier
        With status ``"incomplete"`` if a loss overflows on a part of the path.

    Raises
    ------
    ArchitectureMismatchError
        If the networks differ in a path or shape.
    NonFiniteError
        If a weight is NaN or infinite.
    ProblemError
        If the loss is not a deterministic function of single examples, or a split is missing.
    DeviceMemoryError
        If a batch does not fit the device.
    ConfigurationError
        If a setting is invalid.

    Notes
    -----
    Costs `num_points` evaluations of every split and 16 of `split` for the refinement. The losses of
    all examples of `split` along the grid are held on the host. The interval is simultaneous over
    the path: with d̂(α) the mean excess over the baseline, se(α) its standard error over examples,
    and c a quantile over paired resamples of ``max_α |d*(α) − d̂(α)| / se(α)``, it is
    ``[max_α(d̂ − c·se)₊, max_α(d̂ + c·se)]``. A finite grid bounds the supremum from below.

    References
    ----------
    .. [1] Entezari et al., 2022. The role of permutation invariance in linear mode connectivity of
       neural networks. arXiv:2110.06296.
    .. [2] Frankle et al., 2020. Linear mode connectivity and the lottery ticket hypothesis.
       arXiv:1912.05671.
    .. [3] Ainsworth et al., 2023. Git re-basin. arXiv:2209.04836.

    Examples
    --------
    A double well has its barrier half way:

    >>> import numpy as np
    >>> from landscape import Problem, loss_barrier
    >>> def loss(params, batch):
    ...     return (params["w"] ** 2 - 1) ** 2 + 0 * batch
    >>> problem = Problem(loss, train=np.zeros(4, np.float32))
    >>> barrier = loss_barrier(problem, {"w": np.float32(-1)}, {"w": np.float32(1)})
    >>> barrier.barrier_above_chord, barrier.alpha_max["above_chord"]
    (1.0, 0.5)
    """
    _check(num_points, seed, dtype, batch_stats)
    barrier_interval.check_settings(num_resamples, confidence)
    given = (endpoints.read(a), endpoints.read(b))
    problem = problem_for(problem, *given)
    pair = endpoints.make_pair(
        given,
        names=names,
        with_stats=problem.update_stats is not None,
        allow_nonfinite=allow_nonfinite,
    )
    from landscape.connectivity import line
    from landscape.connectivity.cost import barrier_cost

    plan = line.Plan(
        split=split,
        splits=problem.splits_with(split, splits),
        alphas=np.linspace(0.0, 1.0, num_points),
        refine=refine,
        batch_size=batch_size,
        dtype=dtype,
        batch_stats=batch_stats,
        allow_nonfinite=allow_nonfinite,
    )
    progress = shown(progress)
    asked: dict[str, Any] = {"num_points": num_points, "split": split, "refine": refine, "dtype": dtype}
    asked |= {"batch_size": batch_size, "batch_stats": batch_stats, "allow_nonfinite": allow_nonfinite}
    label = bar_label(progress, "loss along the path", lambda: barrier_cost(problem, *given, **asked))
    curve = line.evaluate(problem, pair, plan, progress, label=label)
    measured = measure.Measurement(problem, pair, plan, curve)
    return Barrier(
        **measured.fields(seed=int(seed), num_resamples=int(num_resamples), confidence=float(confidence))
    )


def _check(num_points: int, seed: int, dtype: str | None, batch_stats: str) -> None:
    check_whole("num_points", num_points, 3)
    check_seed(seed)
    check_evaluation(dtype, batch_stats)
