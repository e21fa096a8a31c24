"""The loss on a plane through parameter space."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from landscape.compute import Progress, shown
from landscape.errors import ConfigurationError
from landscape.problem import problem_for
from landscape.results import (
    MOST_KEPT,
    Items,
    KeysIn,
    Later,
    Maybe,
    Numbers,
    Record,
    Result,
    Table,
    Text,
    check_evaluation,
    check_seed,
    check_whole,
    count,
    format_value,
    means_by_split,
)
from landscape.surfaces.cost import label_of
from landscape.surfaces.directions import DIRECTIONS, RANDOM, make_frame
from landscape.surfaces.frames import Frame, Origin, span, unit_lengths
from landscape.surfaces.grids import DEFAULT_PLANES, Plan, axis_of
from landscape.surfaces.topology import Topology, topology_of
from landscape.surfaces.work import Work, networks_of

if TYPE_CHECKING:
    from landscape.problem import Problem

__all__ = ["Surface", "loss_surface"]

MARGIN = 0.25  # of the span of the checkpoints, drawn around them


@dataclasses.dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class Surface(Result):
    """Losses on a plane ``θ + x·d₁ + y·d₂`` through parameter space.

    Attributes
    ----------
    x, y : numpy.ndarray [nx], [ny]
        Coordinates along the two directions. One unit of an axis is `lengths` long in parameter space.
    losses : dict
        ``[split][metric]`` to the means [nx, ny] over all examples; ``"loss"`` is one of the metrics.
    standard_error : numpy.ndarray [nx, ny]
        Of the difference of the loss on `split` from that at the origin, over the examples (paired). Contours
        closer than this say nothing about the population that the examples stand for.
    split : str
        The split of the standard error, the planes and the topology.
    directions : str
        ``"random"``, ``"eigenvectors"``, ``"gradient"``, ``"checkpoints"`` or ``"given"``.
    direction_names : tuple of str
        What each axis is.
    gram : numpy.ndarray [2, 2]
        Inner products of the directions in parameter space; off the diagonal zero where they are orthogonal.
    lengths : tuple of float
        Length of one unit of each axis, the square root of the diagonal of `gram`.
    origin : str
        Name of the network at (0, 0).
    anchors : dict
        By name of each further network in the plane: ``x``, ``y`` and its ``loss`` on `split`. The origin is
        one of them. These are bit-identical to the losses of the networks themselves.
    planes : numpy.ndarray [p, nx, ny] or None
        The loss on `split` of several random planes through the origin; the first is that of `losses`.
        A single random plane is one draw: what differs between planes is not a feature of the network.
    non_finite : int
        Points at which a loss or metric is NaN or infinite.
    """

    kind: ClassVar[str] = "surface"

    statuses = ("ok", "incomplete", "non-finite")
    spec = Record(
        {
            "x": Numbers("nx", finite=True, increasing=True, fewest=2),
            "y": Numbers("ny", finite=True, increasing=True, fewest=2),
            "losses": means_by_split(Numbers("nx", "ny", finite="ok")),
            "standard_error": Numbers("nx", "ny", least=0),
            "split": Text(),
            "directions": Text(DIRECTIONS),
            "direction_names": Items(Text(), 2),
            "gram": Numbers(2, 2, finite=True),
            "lengths": Numbers(2, finite=True, least=0),
            "origin": Text(),
            "anchors": Table(
                Record({"x": Numbers(finite=True), "y": Numbers(finite=True), "loss": Numbers()})
            ),
            "planes": Maybe(Numbers("planes", "nx", "ny", fewest=1, limit=MOST_KEPT)),
            "non_finite": Later(count()),
        },
        (KeysIn("split", "losses"), KeysIn("origin", "anchors")),
    )

    x: np.ndarray
    y: np.ndarray
    losses: Mapping[str, Mapping[str, np.ndarray]]
    standard_error: np.ndarray
    split: str
    directions: str
    direction_names: tuple[str, str]
    gram: np.ndarray
    lengths: tuple[float, float]
    origin: str
    anchors: Mapping[str, Mapping[str, float]]
    planes: np.ndarray | None = None
    non_finite: int = 0

    @property
    def topology(self) -> Topology:
        """Minima, saddles and persistence of the loss on `split`; see `landscape.surfaces.topology`."""
        return topology_of(self.losses[self.split]["loss"])

    def rows(self) -> list[tuple[str, str]]:
        """Return the printed lines: what the plane is, its range, its minima and its errors."""
        loss = np.asarray(self.losses[self.split]["loss"], np.float64)
        finite = loss[np.isfinite(loss)]
        rows = [
            ("plane", " × ".join(self.direction_names)),
            ("through", ", ".join(self.anchors)),
            ("loss on", f"{self.split}, {self.counted()}"),
            ("loss at the origin", format_value(self.anchors[self.origin]["loss"])),
        ]
        if len(finite):
            rows.append(("range", f"{format_value(finite.min())} to {format_value(finite.max())}"))
            rows.append(("minima", self._minima()))
        error = self.standard_error[np.isfinite(self.standard_error)]
        if len(error):
            rows.append(("sampling error", f"at most {format_value(error.max())} (against the origin)"))
        if self.planes is not None and len(self.planes) > 1:
            rows.append(("planes", self._planes()))
        lengths = " and ".join(map(format_value, self.lengths))
        return [*rows, ("grid", f"{len(self.x)} × {len(self.y)} points, one unit is {lengths} long")]

    def _minima(self) -> str:
        topology = self.topology
        count = len(topology.births)
        text = f"{count} on the grid"
        if count > 1:
            text += f"; the second is {format_value(topology.persistence[1])} deep"
        return text

    def _planes(self) -> str:
        planes = np.asarray(self.planes, np.float64)
        edges = np.nanmean(planes[:, (0, -1), :], axis=(1, 2))
        return (
            f"{len(planes)} random planes; mean loss at their edges {format_value(edges.min())} to "
            f"{format_value(edges.max())}"
        )

    @classmethod
    def from_fields(cls, fields: Mapping[str, Any], **base: Any) -> Self:
        """Build a surface from stored fields: tuples are lists there."""
        pairs = {name: tuple(fields[name]) for name in ("direction_names", "lengths")}
        return super().from_fields({**fields, **pairs}, **base)


def loss_surface(  # noqa: PLR0913  one keyword per setting
    problem: Problem | None,
    checkpoint: Any,
    *,
    directions: Any = RANDOM,
    x: Any = None,
    y: Any = None,
    num_planes: int | None = None,
    split: str = "train",
    splits: Iterable[str] | None = None,
    mask: Any = None,
    where: str | Iterable[str] | None = None,
    seed: int = 0,
    filter_axis: int = -1,
    batch_size: int | None = None,
    dtype: str | None = None,
    batch_stats: str = "recompute",
    allow_nonfinite: bool = False,
    names: Iterable[str] | None = None,
    resume: str | Path | None = None,
    progress: Progress | None = None,
) -> Surface:
    r"""Measure the loss on a plane :math:`L(\theta + x d_1 + y d_2)` through parameter space.

    Parameters
    ----------
    problem : Problem or None
        The loss and its data; None rebuilds the task that the checkpoint names.
    checkpoint : Checkpoint, path of one, or pytree; or a list of three of them
        The network at the origin. With ``directions="checkpoints"`` the three networks of the plane.
    directions : str or pair of pytrees
        ``"random"``: filter-normalised Gaussian directions [1]_, biases and normalisation parameters zero;
        ``"eigenvectors"``: of the two largest eigenvalues of the training loss' Hessian; ``"gradient"``: the
        unit gradient, and a random unit direction orthogonal to it; ``"checkpoints"``: orthonormal directions
        through three networks [2]_; or two directions of the structure of the parameters.
    x, y : (low, high, points), optional
        The uniform grid of each axis, in units of the directions. By default (−1, 1, 51); through
        checkpoints a range that holds them with a margin of a quarter.
    num_planes : int, optional
        Random planes through the network, 3 by default: their spread is what a single plane hides.
    split : str
        The split of the standard error, of all planes and of the topology.
    splits : iterable of str, optional
        Splits evaluated; all of the problem's by default.
    mask : pytree of bool, or False, optional
        Directions lie within it; by default the checkpoint's mask, False for none.
    where : str or iterable of str, optional
        Patterns of tree paths of the layers that move.
    seed : int
        Of random directions.
    filter_axis : int
        Axis of the output units of a kernel: −1 (Flax) or 0 (PyTorch).
    batch_size : int, optional
        Examples per batch.
    dtype : {"float32", "float64"}, optional
        Precision on the device.
    batch_stats : {"recompute", "keep"}
        For models with batch statistics: recompute them on the training split at every point, or keep those
        of the origin.
    allow_nonfinite : bool
        Whether to compute with NaN or infinite weights; the status is then ``"non-finite"``.
    names : iterable of str, optional
        What to call the networks; by default their files.
    resume : path, optional
        A folder that keeps finished points, so that a stopped computation goes on. It is removed when the
        surface is complete.
    progress : Progress, optional
        Is told of every point; by default a bar where standard error is a terminal.

    Returns
    -------
    Surface
        With status ``"incomplete"`` if a loss is not finite at a part of the points.

    Raises
    ------
    InputError
        If a direction has no length, or the networks are equal or lie on a line.
    ConfigurationError
        If a setting is invalid.
    ArchitectureMismatchError, NonFiniteError, MaskError, ProblemError, DeviceMemoryError
        From the networks and the problem.
    CheckpointError
        If `resume` holds points of another computation.

    Notes
    -----
    Costs ``len(x)·len(y)`` evaluations of every split, and of `split` for each further plane.

    References
    ----------
    .. [1] Li et al., 2018. Visualizing the loss landscape of neural nets. arXiv:1712.09913.
    .. [2] Garipov et al., 2018. Loss surfaces, mode connectivity, and fast ensembling of DNNs.
    arXiv:1802.10026.

    Examples
    --------
    The surface of a quadratic is the quadratic:

    >>> import numpy as np
    >>> from landscape import Problem, loss_surface
    >>> def loss(params, batch):
    ...     return params["w"][0] ** 2 + 3 * params["w"][1] ** 2 + 0 * batch
    >>> problem = Problem(loss, train=np.zeros(4, np.float32))
    >>> axes = [{"w": np.eye(2, dtype=np.float32)[i]} for i in range(2)]
    >>> at = {"w": np.zeros(2, np.float32)}
    >>> surface = loss_surface(problem, at, directions=axes, x=(-1, 1, 3), y=(-1, 1, 3))
    >>> surface.losses["train"]["loss"].tolist()
    [[4.0, 1.0, 4.0], [3.0, 0.0, 3.0], [4.0, 1.0, 4.0]]
    """
    check_seed(seed)
    check_evaluation(dtype, batch_stats)
    given = networks_of(checkpoint, directions)
    problem = problem_for(problem, *given)
    origins = Origin.all_of(
        problem, given, directions, mask=mask, where=where, allow=allow_nonfinite, names=names
    )
    progress, seed, filter_axis = shown(progress), int(seed), int(filter_axis)
    frames = _frames(
        problem, origins, directions, num_planes, seed=seed, filter_axis=filter_axis, progress=progress
    )
    ranges = span(frames[0], MARGIN) if frames[0].anchors else ((-1.0, 1.0), (-1.0, 1.0))
    axes = tuple(axis_of(name, value, ends) for name, value, ends in zip("xy", (x, y), ranges, strict=True))
    plan = Plan(
        split=split,
        splits=problem.splits_with(split, splits),
        batch_size=batch_size,
        dtype=dtype,
        batch_stats=batch_stats,
    )
    label = label_of(
        progress,
        problem,
        origins,
        axes=axes,
        frames=len(frames),
        name="surface",
        plan=plan,
        allow_nonfinite=allow_nonfinite,
    )
    work = Work.of(problem, origins, frames, axes, plan=plan, resume=resume, progress=progress, label=label)
    return _surface(work, seed=seed, filter_axis=filter_axis)


def _frames(
    problem: Problem,
    origins: list[Origin],
    directions: Any,
    asked: int | None,
    *,
    seed: int,
    filter_axis: int,
    progress: Progress,
) -> list[Frame]:
    """Return one frame per plane: several only of random directions, each with a seed of its own."""
    random = isinstance(directions, str) and directions == RANDOM
    if not random and asked not in (None, 1):
        raise ConfigurationError(
            "num_planes: only random directions are drawn anew",
            expected="1 plane",
            got=str(asked),
            hint="Use directions='random', or leave num_planes out.",
        )
    count = check_whole("num_planes", (DEFAULT_PLANES if random else 1) if asked is None else asked, 1)
    return [
        make_frame(
            problem,
            origins[0],
            directions,
            origins[1:],
            num_axes=2,
            seed=seed + 1_000_003 * number,
            filter_axis=filter_axis,
            progress=progress,
        )
        for number in range(count)
    ]


def _surface(work: Work, *, seed: int, filter_axis: int) -> Surface:
    measured = work.measure_all(all_splits=False)
    losses = {
        split: {key: values.reshape(work.shape) for key, values in found.items()}
        for split, found in measured[0].losses.items()
    }
    grids = [found.losses[work.plan.split]["loss"].reshape(work.shape) for found in measured]
    anchors = {
        name: {"x": place[0], "y": place[1], "loss": loss}
        for name, (place, loss) in work.anchor_losses().items()
    }
    frame = work.frames[0]
    lengths = unit_lengths(frame)
    result = Surface(
        x=work.axes[0].values,
        y=work.axes[1].values,
        losses=losses,
        standard_error=measured[0].standard_error.reshape(work.shape),
        direction_names=(frame.names[0], frame.names[1]),
        gram=frame.gram,
        lengths=(lengths[0], lengths[1]),
        anchors=anchors,
        planes=np.stack(grids) if len(grids) > 1 else None,
        **work.common(losses, measured, seed=seed, filter_axis=filter_axis),
    )
    work.finished()
    return result
