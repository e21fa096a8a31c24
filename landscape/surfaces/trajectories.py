"""Training paths projected onto a plane, with what the projection hides.

Steps:

1. the origin is the last network of the first path; every network is its difference from it;
2. the plane is spanned by the two leading right singular vectors of these differences (the principal
   components of
   Li et al. 2018, section 7, not centred, so that the plane holds the origin), or by directions that are
   given;
3. each network is projected onto the plane; how far it lies from it is its *distance*;
4. the loss of each network is measured beside the loss of its projection. Where the two differ, the
   contours around a point say nothing about the network that is projected there.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from landscape.compute import Progress, shown
from landscape.errors import ConfigurationError, InputError
from landscape.network import facts_of
from landscape.problem import problem_for
from landscape.results import (
    Items,
    Numbers,
    Record,
    Result,
    Text,
    check_choice,
    check_evaluation,
    format_value,
)
from landscape.surfaces.cost import label_of
from landscape.surfaces.directions import GIVEN, make_frame
from landscape.surfaces.frames import CHECKPOINTS, Frame, Origin
from landscape.surfaces.grids import TRAJECTORY_POINTS as POINTS, Axis, Plan, axis_of
from landscape.surfaces.work import Work

if TYPE_CHECKING:
    from landscape.problem import Problem

__all__ = ["Trajectory", "trajectory"]

PCA = "pca"
_MARGIN = 0.15  # of the span of the networks, drawn around them
# Share of the squared lengths below which a second direction is rounding.
_RANK = 1e-10


@dataclasses.dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class Trajectory(Result):
    """Networks of one or several paths, projected onto a plane.

    Attributes
    ----------
    names : tuple of str [m]
        The networks, in the order given.
    paths : tuple of str [m]
        Which path each belongs to.
    coordinates : numpy.ndarray [m, 2]
        Of the projections; the last network of the first path is at (0, 0).
    distances : numpy.ndarray [m]
        From the plane, in parameter space.
    losses : numpy.ndarray [m]
        Of the networks themselves on `split`.
    plane_losses : numpy.ndarray [m]
        Of their projections.
    explained_variance : numpy.ndarray [2]
        Share of the squared distances from the origin that each axis accounts for.
    direction_names : tuple of str
        What each axis is.
    gram : numpy.ndarray [2, 2]
        Inner products of the directions.
    x, y : numpy.ndarray [nx], [ny]
        Grid of the plane.
    surface : numpy.ndarray [nx, ny]
        Loss on `split` there.
    split : str
        The split of every loss.
    origin : str
        Name of the network at (0, 0).
    """

    kind: ClassVar[str] = "trajectory"

    statuses = ("ok", "incomplete", "non-finite")
    spec = Record(
        {
            "names": Items(Text(), "m"),
            "paths": Items(Text(), "m"),
            "coordinates": Numbers("m", 2, finite=True, fewest=1),
            "distances": Numbers("m", finite=True, least=0),
            "losses": Numbers("m"),
            "plane_losses": Numbers("m"),
            "explained_variance": Numbers(2, least=0),
            "direction_names": Items(Text(), 2),
            "gram": Numbers(2, 2, finite=True),
            "x": Numbers("nx", finite=True, increasing=True, fewest=2),
            "y": Numbers("ny", finite=True, increasing=True, fewest=2),
            "surface": Numbers("nx", "ny", finite="ok"),
            "split": Text(),
            "origin": Text(),
        }
    )

    names: tuple[str, ...]
    paths: tuple[str, ...]
    coordinates: np.ndarray
    distances: np.ndarray
    losses: np.ndarray
    plane_losses: np.ndarray
    explained_variance: np.ndarray
    direction_names: tuple[str, str]
    gram: np.ndarray
    x: np.ndarray
    y: np.ndarray
    surface: np.ndarray
    split: str
    origin: str

    def rows(self) -> list[tuple[str, str]]:
        """Return the printed lines: what the plane explains, and what it hides."""
        gap = np.abs(self.losses - self.plane_losses)
        worst = int(np.nanargmax(gap)) if np.isfinite(gap).any() else 0
        first, second = (f"{100 * share:.3g} %" for share in self.explained_variance)
        return [
            ("networks", f"{len(self.names)} on {len(set(self.paths))} paths, around {self.origin}"),
            ("plane", " × ".join(self.direction_names)),
            ("explained", f"{first} and {second} of the squared distances from the origin"),
            ("distance from the plane", f"up to {format_value(float(self.distances.max()))}"),
            (
                "loss beside the plane",
                f"differs by up to {format_value(float(gap[worst]))}: {self.names[worst]} has "
                f"{format_value(float(self.losses[worst]))}, its projection "
                f"{format_value(float(self.plane_losses[worst]))}",
            ),
            ("loss on", f"{self.split}, {self.counted()}"),
            ("grid", f"{len(self.x)} × {len(self.y)} points"),
        ]

    @classmethod
    def from_fields(cls, fields: Mapping[str, Any], **base: Any) -> Self:
        """Build a trajectory from stored fields: tuples are lists there."""
        texts = {name: tuple(fields[name]) for name in ("names", "paths", "direction_names")}
        return super().from_fields({**fields, **texts}, **base)


def trajectory(  # noqa: PLR0913  one keyword per setting
    problem: Problem | None,
    checkpoints: Sequence[Any],
    *,
    directions: Any = PCA,
    paths: Sequence[str] | None = None,
    names: Sequence[str] | None = None,
    x: Any = None,
    y: Any = None,
    split: str = "train",
    batch_size: int | None = None,
    dtype: str | None = None,
    batch_stats: str = "recompute",
    allow_nonfinite: bool = False,
    resume: str | Path | None = None,
    progress: Progress | None = None,
) -> Trajectory:
    """Project networks of one or several training paths onto a plane, and measure what that hides.

    Parameters
    ----------
    problem : Problem or None
        The loss and its data; None rebuilds the task that the first checkpoint names.
    checkpoints : sequence of Checkpoint, path or pytree
        At least three networks of one architecture, each path in its order.
    directions : "pca" or pair of pytrees
        The two leading principal components, or two directions of the structure of the parameters; they are
        made orthonormal.
    paths : sequence of str, optional
        Which path each network belongs to; by default method and seed as the checkpoints say, or one path.
    names : sequence of str, optional
        What to call the networks; by default their files.
    x, y : (low, high, points), optional
        The grid of the plane; by default 31 points over a range that holds all projections.
    split, batch_size, dtype, batch_stats, allow_nonfinite, resume, progress
        As in `landscape.loss_surface`.

    Returns
    -------
    Trajectory
        With status ``"incomplete"`` if a loss is not finite somewhere.

    Raises
    ------
    InputError
        If there are fewer than three different networks, or all lie on a line.
    ArchitectureMismatchError, ConfigurationError, NonFiniteError, ProblemError, DeviceMemoryError,
    CheckpointError
        As `landscape.loss_surface`.

    Notes
    -----
    Costs ``len(x)·len(y)`` evaluations of the split and two per network; memory for the differences of all
    networks in float64.
    """
    check_evaluation(dtype, batch_stats)
    given = list(checkpoints)
    problem = problem_for(problem, *given)
    origins = Origin.all_of(
        problem, given, CHECKPOINTS, mask=False, where=None, allow=allow_nonfinite, names=names
    )
    called = _paths_of(origins, paths)
    centre = _last_of_first(called)
    differences = _differences(origins, centre)
    frame, shares = _frame(problem, origins[centre], directions, differences)
    coordinates = differences @ frame.vectors.T
    axes = _axes(coordinates, x, y)
    progress = shown(progress)
    plan = Plan(
        split=split,
        splits=problem.splits_with(split, (split,)),
        batch_size=batch_size,
        dtype=dtype,
        batch_stats=batch_stats,
    )
    label = label_of(
        progress,
        problem,
        origins,
        axes=axes,
        frames=1,
        name="trajectory",
        plan=plan,
        allow_nonfinite=allow_nonfinite,
    )
    work = Work.of(
        problem,
        [origins[centre]],
        [frame],
        axes,
        plan=plan,
        resume=resume,
        progress=progress,
        label=label,
    )
    return _trajectory(work, origins, called, coordinates, differences, shares)


def _paths_of(origins: Sequence[Origin], paths: Sequence[str] | None) -> tuple[str, ...]:
    if paths is not None:
        if len(paths) != len(origins):
            raise ConfigurationError(
                "paths: not one per network", expected=f"{len(origins)} names", got=str(len(paths))
            )
        return tuple(map(str, paths))
    found = []
    for origin in origins:
        facts = facts_of(origin.subject.checkpoint)
        said = [str(facts["method"])] if facts["method"] else []
        said += [f"seed {facts['seed']}"] if facts["seed"] is not None else []
        found.append(", ".join(said) or "path")
    return tuple(found)


def _last_of_first(paths: Sequence[str]) -> int:
    return max(number for number, path in enumerate(paths) if path == paths[0])


def _differences(origins: Sequence[Origin], centre: int) -> np.ndarray:
    """Return the differences [m, size] of all networks from the centre."""
    start = origins[centre].vector
    rows = np.stack([origin.vector - start for origin in origins])
    if len(np.unique(np.any(rows, axis=1).nonzero()[0])) < 2:
        raise InputError(
            "trajectory: fewer than three different networks",
            expected="at least three networks, of which two differ from the last",
            got=f"{len(origins)} networks",
        )
    return rows


def _frame(
    problem: Problem, origin: Origin, directions: Any, differences: np.ndarray
) -> tuple[Frame, np.ndarray]:
    """Return the plane, and the share of the squared distances along each of its axes."""
    total = float(np.square(differences).sum())
    if isinstance(directions, str):
        check_choice("directions", directions, (PCA,))
        frame = _principal(differences)
    else:
        asked = make_frame(problem, origin, directions, (), num_axes=2, seed=0, filter_axis=-1)
        basis, _ = np.linalg.qr(asked.vectors.T)
        frame = Frame(kind=GIVEN, names=asked.names, vectors=basis.T)
    shares = np.square(differences @ frame.vectors.T).sum(axis=0) / total
    if frame.kind == PCA:
        names = tuple(f"component {i + 1} ({100 * share:.3g} %)" for i, share in enumerate(shares))
        frame = dataclasses.replace(frame, names=names)
    return frame, shares


def _principal(differences: np.ndarray) -> Frame:
    """Return the two leading right singular vectors, from the small Gram matrix of the networks."""
    values, vectors = np.linalg.eigh(differences @ differences.T)
    if values[-2] <= _RANK * values[-1]:
        raise InputError(
            "trajectory: all networks lie on a line",
            expected="networks that span a plane",
            hint="Draw the loss along that line instead: landscape barrier, or loss_line.",
        )
    rows = []
    for k in (-1, -2):
        direction = vectors[:, k] @ differences
        # A sign that does not depend on the linear algebra library: the first network lies on the positive
        # side.
        leading = np.flatnonzero(np.abs(differences @ direction) > 0)
        sign = np.sign(differences[leading[0]] @ direction) if len(leading) else 1.0
        rows.append(sign * direction / np.linalg.norm(direction))
    rows[1] -= (rows[1] @ rows[0]) * rows[0]  # the Gram matrix squares the rounding
    rows[1] /= np.linalg.norm(rows[1])
    return Frame(kind=PCA, names=("component 1", "component 2"), vectors=np.stack(rows))


def _axes(coordinates: np.ndarray, x: Any, y: Any) -> tuple[Axis, ...]:
    axes = []
    for name, given, places in zip("xy", (x, y), coordinates.T, strict=True):
        width = float(places.max() - places.min()) or 1.0
        low, high = float(places.min()) - _MARGIN * width, float(places.max()) + _MARGIN * width
        axes.append(axis_of(name, (low, high, POINTS) if given is None else given, (low, high)))
    return tuple(axes)


def _trajectory(  # noqa: PLR0917  the parts of one result
    work: Work,
    origins: Sequence[Origin],
    paths: tuple[str, ...],
    coordinates: np.ndarray,
    differences: np.ndarray,
    shares: np.ndarray,
) -> Trajectory:
    measured = work.measure_all(all_splits=True)
    split = work.plan.split
    losses = {split: {"loss": measured[0].losses[split]["loss"].reshape(work.shape)}}
    places = work.losses_at(coordinates)
    own = np.array([work.loss_of(origin) for origin in origins])
    beside = differences - coordinates @ work.frames[0].vectors
    common = work.common(losses, measured, seed=0, filter_axis=-1)
    del common["directions"], common["non_finite"]
    result = Trajectory(
        names=tuple(origin.subject.name for origin in origins),
        paths=paths,
        coordinates=coordinates,
        distances=np.linalg.norm(beside, axis=1),
        losses=own,
        plane_losses=places,
        explained_variance=shares,
        direction_names=(work.frames[0].names[0], work.frames[0].names[1]),
        gram=work.frames[0].gram,
        x=work.axes[0].values,
        y=work.axes[1].values,
        surface=losses[split]["loss"],
        **common,
    )
    work.finished()
    return result
