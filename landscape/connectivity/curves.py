"""Low-loss curves between two networks, where the straight line has a barrier."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from landscape.compute import Progress, shown
from landscape.connectivity import barrier_interval
from landscape.connectivity.barrier_interval import DEFINITIONS
from landscape.connectivity.curve_form import CURVES, DEFAULT_BENDS, STRAIGHT, weights_at
from landscape.errors import ArchitectureMismatchError, ConfigurationError
from landscape.network import bar_label
from landscape.problem import problem_for, require_gradient
from landscape.results import (
    Filled,
    Items,
    KeysIn,
    Maybe,
    Numbers,
    Record,
    Result,
    Text,
    Within,
    check_choice,
    check_evaluation,
    check_real,
    check_seed,
    check_whole,
    format_value,
    interval,
    means_by_split,
    with_error,
)
from landscape.trees import Layout, fill, nest

if TYPE_CHECKING:
    from landscape.problem import Problem

__all__ = ["ConnectingCurve", "connect"]

_VALUE = Maybe(Numbers(), absent=False)


@dataclasses.dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class ConnectingCurve(Result):
    """A curve of low loss between two networks, with the straight line beside it.

    Attributes
    ----------
    ts : numpy.ndarray [T]
        The uniform grid on the curve; 0 is the first network, 1 the second, each bit-identical.
    losses : dict
        ``[split][metric]`` to the means along the curve [T].
    line_losses : numpy.ndarray [T]
        Loss on `split` along the straight line, at the same times.
    maximum, mean : float or None
        Of the loss on `split` over the grid; None if a point is not finite.
    arc_mean : float or None
        ``∫ L dφ / ∫ dφ``: the mean by arc length (Garipov et al. 2018, eq. 1).
    barrier_above_chord, barrier_above_mean : float or None
        Of the loss on `split` along the curve, as in `Barrier`.
    interval_above_chord, interval_above_mean : tuple of float, or None
        For the population that the examples stand for, as in `Barrier`. The curve was trained on the
        training split: on that split an interval does not hold for new examples.
    line_barrier_above_chord : float or None
        Of the straight line.
    line_interval_above_chord : tuple of float, or None
        Its interval.
    length, line_length : float
        Of the curve and of the straight line, in parameter space.
    history : numpy.ndarray [steps]
        Minibatch loss of each step of the training.
    curve : str
        ``"bezier"``, ``"chain"`` or ``"neb"``.
    controls : numpy.ndarray [k + 2, size]
        The first network, the bends, the second network, in the order of `paths`.
    paths, shapes : tuple
        Leaves of the parameters that hold floats.
    dtypes : tuple of str
        Their types.
    split : str
        The split of the numbers without one.
    endpoints : tuple of str
        Names of the two networks.
    """

    kind: ClassVar[str] = "connecting_curve"

    statuses = ("ok", "incomplete", "non-finite")
    spec = Record(
        {
            "ts": Numbers("T", finite=True, increasing=True, least=0, most=1, fewest=2),
            "losses": means_by_split(Numbers("T", finite="ok")),
            "line_losses": Numbers("T"),
            **dict.fromkeys(("maximum", "mean", "arc_mean"), _VALUE),
            **dict.fromkeys(("barrier_above_chord", "barrier_above_mean"), _VALUE),
            "line_barrier_above_chord": _VALUE,
            **{f"interval_{name}": interval() for name in DEFINITIONS},
            "line_interval_above_chord": interval(),
            "length": Numbers(least=0),
            "line_length": Numbers(least=0),
            "history": Numbers("steps"),
            "curve": Text(CURVES),
            "controls": Numbers("controls", "size", fewest=2, longest=10_000, limit=None),
            "paths": Items(Text(), "leaves"),
            "shapes": Items(Numbers(None, kind="int", least=0), "leaves"),
            "dtypes": Items(Text(), "leaves"),
            "split": Text(),
            "endpoints": Items(Text(), 2),
        },
        (
            KeysIn("split", "losses"),
            Filled("controls", "shapes"),
            *(Within(f"barrier_{name}", f"interval_{name}", scale="losses") for name in DEFINITIONS),
            Within("line_barrier_above_chord", "line_interval_above_chord", scale="line_losses"),
        ),
    )

    ts: np.ndarray
    losses: Mapping[str, Mapping[str, np.ndarray]]
    line_losses: np.ndarray
    maximum: float | None
    mean: float | None
    arc_mean: float | None
    barrier_above_chord: float | None
    barrier_above_mean: float | None
    interval_above_chord: tuple[float, float] | None
    interval_above_mean: tuple[float, float] | None
    line_barrier_above_chord: float | None
    line_interval_above_chord: tuple[float, float] | None
    length: float
    line_length: float
    history: np.ndarray
    curve: str
    controls: np.ndarray
    paths: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]
    dtypes: tuple[str, ...]
    split: str
    endpoints: tuple[str, str]

    @property
    def bends(self) -> np.ndarray:
        """The trained control points [k, size]."""
        return self.controls[1:-1]

    def at(self, t: float, *, like: Any = None) -> Any:
        """Return the parameters at a time of the curve.

        Parameters
        ----------
        t : float
            From 0, the first network, to 1, the second, each bit-identical.
        like : pytree, optional
            Parameters whose structure, and whose leaves that hold no floats, are taken; by default nested
            dictionaries.

        Raises
        ------
        ConfigurationError
            If t lies outside [0, 1].
        ArchitectureMismatchError
            If `like` lacks a path of the curve.
        """
        if not 0 <= t <= 1:
            raise ConfigurationError("t: outside the curve", expected="from 0 to 1", got=str(t))
        layout = Layout(self.paths, self.shapes)
        leaves = {
            path: leaf.astype(kind)
            for (path, leaf), kind in zip(layout.split(self._vector(t)).items(), self.dtypes, strict=True)
        }
        if like is None:
            return nest(leaves)
        from landscape.trees import arrays_by_path

        given = arrays_by_path(like)
        if missing := sorted(set(leaves) - set(given)):
            raise ArchitectureMismatchError(
                f"like: lacks {len(missing)} paths of the curve", got="; ".join(missing[:3])
            )
        return fill(like, {**given, **leaves})

    def _vector(self, t: float) -> np.ndarray:
        if t in (0, 1):
            end: np.ndarray = self.controls[0 if t == 0 else -1]
            return end
        vector: np.ndarray = weights_at(self.curve, float(t), len(self.bends)) @ self.controls.astype(
            np.float64
        )
        return vector

    def rows(self) -> list[tuple[str, str]]:
        """Return the printed lines: the curve's loss and barrier beside those of the straight line."""
        line = _with_interval(self.line_barrier_above_chord, self.line_interval_above_chord)
        length = "0: the two networks are the same"
        if self.line_length:
            ratio = format_value(self.length / self.line_length)
            length = f"{format_value(self.length)}, {ratio} of the straight line"
        bends = f"{len(self.bends)} bend{'' if len(self.bends) == 1 else 's'}"
        highest, mean, by_length = map(format_value, (self.maximum, self.mean, self.arc_mean))
        return [
            ("curve", f"{self.curve} with {bends}, " + " → ".join(self.endpoints)),
            ("loss on", f"{self.split}, {self.counted()}"),
            ("loss along the curve", f"at most {highest}, mean {mean}, by arc length {by_length}"),
            ("barrier above chord", _with_interval(self.barrier_above_chord, self.interval_above_chord)),
            ("barrier above mean", _with_interval(self.barrier_above_mean, self.interval_above_mean)),
            ("straight line", f"{line} above chord"),
            ("length", length),
            ("grid", f"{len(self.ts)} points: lower bounds on the maxima"),
        ]

    @classmethod
    def from_fields(cls, fields: Mapping[str, Any], **base: Any) -> Self:
        """Build a curve from stored fields: tuples are lists there."""
        mended = dict(fields)
        for name in ("paths", "dtypes", "endpoints"):
            mended[name] = tuple(mended[name])
        mended["shapes"] = tuple(tuple(int(n) for n in shape) for shape in mended["shapes"])
        for name in ("interval_above_chord", "interval_above_mean", "line_interval_above_chord"):
            if mended.get(name) is not None:
                mended[name] = tuple(mended[name])
        return super().from_fields(mended, **base)


def _with_interval(value: float | None, interval: Sequence[float] | None) -> str:
    return with_error(value, interval=None if value is None else interval)


def connect(  # noqa: PLR0913  one keyword per setting
    problem: Problem | None,
    a: Any,
    b: Any,
    *,
    curve: str = "bezier",
    bends: int | None = None,
    steps: int = 500,
    learning_rate: float = 0.01,
    train_batch_size: int = 128,
    num_points: int = 25,
    split: str = "train",
    splits: Iterable[str] | None = None,
    seed: int = 0,
    num_resamples: int = 1000,
    confidence: float = 0.95,
    batch_size: int | None = None,
    dtype: str | None = None,
    batch_stats: str = "recompute",
    names: tuple[str, str] | None = None,
    resume: str | Path | None = None,
    progress: Progress | None = None,
) -> ConnectingCurve:
    """Train a curve of low loss between two networks, and measure the loss along it.

    The form of each curve and the steps of its training are in `landscape.connectivity.curve_training`.

    Parameters
    ----------
    problem : Problem or None
        The loss and its data; None rebuilds the task that the first checkpoint names.
    a, b : Checkpoint, path of one, or pytree
        The networks at t = 0 and t = 1. Two tickets are joined within the union of their masks.
    curve : {"bezier", "chain", "neb"}
        A Bézier curve or a polygon that minimises the mean loss [1]_, or a nudged elastic band [2]_.
    bends : int, optional
        Control points between the ends: 1 by default, 7 images of a band.
    steps, learning_rate, train_batch_size : int, float, int
        Of Adam, with a cosine schedule to zero, on minibatches of the training split.
    num_points, split, splits, num_resamples, confidence, batch_size, dtype, batch_stats, names
        As in `landscape.loss_barrier`, along the curve.
    seed : int
        Of the training and of the resampling.
    resume : path, optional
        A folder that keeps the state of the training, so that a stopped one resumes to a
        bit-identical result; removed at the end.
    progress : Progress, optional
        Is told of every step and point; by default a bar where standard error is a terminal.

    Returns
    -------
    ConnectingCurve
        With status ``"incomplete"`` if a loss along the curve is not finite.

    Raises
    ------
    ProblemError
        If the loss has no gradient, or the training data are a stream.
    ArchitectureMismatchError, NonFiniteError, ConfigurationError, DeviceMemoryError
        As `landscape.loss_barrier`.
    CheckpointError
        If `resume` holds another computation.

    Notes
    -----
    A step of a Bézier curve or chain costs two gradients of a minibatch, one of a band one per image; the
    measurement `num_points` evaluations of every split, and of `split` for the straight line.

    References
    ----------
    .. [1] Garipov et al., 2018. Loss surfaces, mode connectivity, and fast ensembling of DNNs.
    arXiv:1802.10026.
    .. [2] Draxler et al., 2018. Essentially no barriers in neural network energy landscape. arXiv:1803.00885.

    Examples
    --------
    Two minima on a circle, joined around its centre:

    >>> import numpy as np
    >>> from landscape import Problem, connect
    >>> def loss(params, batch):
    ...     return ((params["w"] ** 2).sum() - 1) ** 2 + 0 * batch
    >>> problem = Problem(loss, train=np.zeros(4, np.float32))
    >>> a, b = {"w": np.array([-1, 0.0], np.float32)}, {"w": np.array([0.99, 0.141], np.float32)}
    >>> found = connect(problem, a, b, bends=2, steps=300)
    >>> bool(found.maximum < 0.2 < found.line_losses.max())
    True
    """
    from landscape.connectivity.cost import curve_cost
    from landscape.connectivity.curve_work import CurveWork

    check_choice("curve", curve, CURVES)
    check_whole("num_points", num_points, 3)
    check_whole("steps", steps, 0)
    check_whole("train_batch_size", train_batch_size, 1)
    check_real("learning_rate", learning_rate)
    check_seed(seed)
    check_evaluation(dtype, batch_stats)
    barrier_interval.check_settings(num_resamples, confidence)
    count = check_whole("bends", DEFAULT_BENDS[curve] if bends is None else bends, 1)
    from landscape.connectivity import endpoints

    given = (endpoints.read(a), endpoints.read(b))
    problem = problem_for(problem, *given)
    require_gradient(problem, "connect", instead=STRAIGHT)
    pair = endpoints.make_pair(given, names=names, problem=problem, allow_nonfinite=False)
    # What a curve costs depends on these.
    path: dict[str, Any] = {"curve": curve, "bends": count, "steps": int(steps), "split": split}
    path |= {"train_batch_size": int(train_batch_size), "num_points": int(num_points), "dtype": dtype}
    path |= {"batch_size": batch_size, "batch_stats": batch_stats}
    work = CurveWork.of(
        problem,
        pair,
        learning_rate=float(learning_rate),
        splits=problem.splits_with(split, splits),
        seed=int(seed),
        num_resamples=int(num_resamples),
        confidence=float(confidence),
        **path,
    )
    progress = shown(progress)
    label = bar_label(progress, "curve", lambda: curve_cost(problem, *given, **path))
    return ConnectingCurve(**work.fields(resume, progress, label=label))
