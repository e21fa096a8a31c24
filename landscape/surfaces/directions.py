"""Directions in parameter space along which a loss is drawn. No jax, unless a gradient is asked for.

Filter normalisation (Li et al. 2018, arXiv:1712.09913, section 4):

1. draw d from a standard normal, of the shape of the parameters;
2. for each filter j of each layer i, d[i, j] ← d[i, j] / ‖d[i, j]‖ · ‖θ[i, j]‖: a step of one along d changes
   every filter by as much as it is long;
3. set d to zero for biases and the parameters of normalisation layers, which are leaves of one axis.

The filters of a convolution are its output channels, those of a dense layer its output units. A ticket's
direction is drawn within its mask: masked entries are zero before step 2.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from landscape.compute import SILENT, Progress
from landscape.errors import ConfigurationError, InputError
from landscape.problem import require_gradient
from landscape.results import check_choice
from landscape.surfaces.frames import CHECKPOINTS, Frame, Origin

if TYPE_CHECKING:
    from landscape.problem import Problem

__all__ = [
    "EIGENVECTORS",
    "GRADIENT",
    "KINDS",
    "RANDOM",
    "check_drawable",
    "filter_normalised",
    "make_frame",
]

RANDOM, EIGENVECTORS, GRADIENT, GIVEN = "random", "eigenvectors", "gradient", "given"
KINDS = (RANDOM, EIGENVECTORS, GRADIENT, CHECKPOINTS)
DIRECTIONS = (*KINDS, GIVEN)

Axis = int | Callable[[str], int]

# Below this fraction of the longer one, what is left of a direction beside another is rounding.
_COLLINEAR = 1e-6


def filter_normalised(origin: Origin, rng: np.random.Generator, *, filter_axis: Axis = -1) -> np.ndarray:
    """Return a random direction [size] by the steps in the module's docstring.

    Parameters
    ----------
    origin : Origin
        The network and its free coordinates.
    rng : numpy.random.Generator
        Draws one normal number per entry of the layout.
    filter_axis : int or callable
        Axis of the output units of a kernel: the last (Flax) or the first (PyTorch), or for each path.

    Raises
    ------
    InputError
        If nothing is left: no leaf has two axes or more, or every filter is zero.
    """
    layout = origin.subject.layout
    noise = origin.masked(rng.standard_normal(layout.size))
    weights = origin.masked(origin.vector)
    direction = np.zeros(layout.size)
    for (path, where), shape in zip(layout.slices.items(), layout.shapes, strict=True):
        if len(shape) >= 2:
            axis = filter_axis(path) if callable(filter_axis) else filter_axis
            direction[where] = _by_filter(noise[where], weights[where], shape, axis).reshape(-1)
    _require_length(
        direction, "a filter-normalised direction", "weights of two axes or more, not all of them zero"
    )
    return direction


def _by_filter(
    noise: np.ndarray, weights: np.ndarray, shape: tuple[int, ...], filter_axis: int
) -> np.ndarray:
    """Return the noise with each filter as long as that of the weights; a filter of no length stays zero."""
    noise, weights = noise.reshape(shape), weights.reshape(shape)
    others = tuple(axis for axis in range(len(shape)) if axis != filter_axis % len(shape))
    lengths = np.sqrt(np.square(noise).sum(axis=others, keepdims=True))
    wanted = np.sqrt(np.square(weights).sum(axis=others, keepdims=True))
    scale = np.divide(wanted, lengths, out=np.zeros_like(lengths), where=lengths > 0)
    scaled: np.ndarray = noise * scale
    return scaled


def _require_length(direction: np.ndarray, what: str, expected: str) -> None:
    if not np.isfinite(direction).all():
        raise InputError(f"{what}: has entries that are not finite", expected="finite numbers")
    if not np.any(direction):
        raise InputError(
            f"{what}: has no length",
            expected=expected,
            hint="Choose other directions, other layers with where, or measure without the mask.",
        )


def check_drawable(problem: Problem, directions: Any) -> None:
    """Refuse directions that are derivatives of a loss that has none."""
    if isinstance(directions, str) and directions in (GRADIENT, EIGENVECTORS):
        require_gradient(
            problem,
            f"directions={directions!r}",
            instead=f"directions {RANDOM!r}, {CHECKPOINTS!r} or your own",
        )


def make_frame(
    problem: Problem,
    origin: Origin,
    directions: Any,
    others: Sequence[Origin],
    *,
    num_axes: int,
    seed: int,
    filter_axis: int,
    progress: Progress = SILENT,
) -> Frame:
    """Return the frame that a caller asks for.

    Parameters
    ----------
    problem : Problem
        Its training loss is differentiated for eigenvectors and gradients.
    origin : Origin
        The network at the origin.
    directions : str or sequence of pytrees
        One of `KINDS`, or the directions themselves in the structure of the parameters.
    others : sequence of Origin
        Further networks, for ``"checkpoints"``.
    num_axes : int
        1 for a line, 2 for a plane.
    seed : int
        Of random directions and starts.
    filter_axis : int
        See `filter_normalised`; a problem with networks of another library says it itself.
    """
    if not isinstance(directions, str):
        return _given_frame(origin, directions, num_axes)
    check_choice("directions", directions, KINDS)
    if directions == CHECKPOINTS:
        return _checkpoint_frame(origin, others, num_axes)
    if others:
        raise ConfigurationError(
            f"directions={directions!r}: takes one checkpoint",
            expected="one checkpoint, or directions='checkpoints'",
            got=f"{1 + len(others)} checkpoints",
        )
    check_drawable(problem, directions)
    axis: Axis = filter_axis if problem.form is None else problem.output_axis
    rng = np.random.default_rng([seed, 0x5F])
    if directions == RANDOM:
        rows = [filter_normalised(origin, rng, filter_axis=axis) for _ in range(num_axes)]
        names = tuple(f"random direction {i + 1}" for i in range(num_axes))
        return Frame(kind=RANDOM, names=names, vectors=np.stack(rows))
    if directions == GRADIENT:
        return _gradient_frame(problem, origin, rng, num_axes=num_axes, filter_axis=axis)
    return _eigenvector_frame(problem, origin, num_axes=num_axes, seed=seed, progress=progress)


def _gradient_frame(
    problem: Problem, origin: Origin, rng: np.random.Generator, *, num_axes: int, filter_axis: Axis
) -> Frame:
    """Return the unit gradient of the training loss and, for a plane, a random direction orthogonal to it."""
    from landscape.curvature import hessian

    operator = hessian(problem, origin.given, where=origin.where, mask=origin.mask)
    gradient = origin.subject.scatter(np.asarray(operator.gradient(), np.float64)[None])[0]
    _require_length(gradient, "the gradient", "a network whose gradient is not zero")
    rows, names = [gradient / np.linalg.norm(gradient)], ["gradient"]
    if num_axes == 2:
        drawn = filter_normalised(origin, rng, filter_axis=filter_axis)
        rows.append(_beside(drawn, rows, "the random direction"))
        names.append("random direction, orthogonal to it")
    return Frame(kind=GRADIENT, names=tuple(names), vectors=np.stack(rows))


def _eigenvector_frame(
    problem: Problem, origin: Origin, *, num_axes: int, seed: int, progress: Progress
) -> Frame:
    """Return the unit eigenvectors of the largest eigenvalues of the Hessian of the training loss."""
    from landscape.curvature import hessian, top_eigenpairs

    operator = hessian(problem, origin.given, where=origin.where, mask=origin.mask)
    found = top_eigenpairs(operator, num_axes, seed=seed, progress=progress)
    if len(found.eigenvalues) < num_axes:
        raise InputError(
            "eigenvectors: the network has a single free coordinate", expected=f"{num_axes} directions"
        )
    names = tuple(
        f"eigenvector {i + 1} (λ = {value:.4g}, residual {residual:.2g})"
        for i, (value, residual) in enumerate(zip(found.eigenvalues, found.residuals, strict=True))
    )
    return Frame(kind=EIGENVECTORS, names=names, vectors=origin.subject.scatter(found.eigenvectors.T))


def _checkpoint_frame(origin: Origin, others: Sequence[Origin], num_axes: int) -> Frame:
    """Return orthonormal directions through two or three networks, which are anchors of the frame.

    The first axis points from the origin to the second network; the second is what the third network
    adds, orthogonal to the first (Garipov et al. 2018). With two networks a plane has no second axis.

    Raises
    ------
    InputError
        If two networks are equal, or three lie on a line.
    """
    if len(others) != num_axes:
        raise ConfigurationError(
            "directions='checkpoints': a line goes through two checkpoints, a plane through three",
            expected=f"{num_axes + 1} checkpoints",
            got=str(1 + len(others)),
        )
    rows: list[np.ndarray] = []
    anchors: dict[str, tuple[float, ...]] = {}
    start, first = origin.vector, origin.subject.name
    for other in others:
        name, difference = other.subject.name, other.vector - start
        if not np.any(difference):
            raise InputError(
                f"{name}: is the same network as {first}",
                expected="networks that differ",
                hint="Two equal networks span no direction.",
            )
        inside = [float(difference @ row) for row in rows]
        rows.append(_beside(difference, rows, name))
        anchors[name] = (*inside, float(difference @ rows[-1]))
    padded = {name: (*values, *(0.0,) * (num_axes - len(values))) for name, values in anchors.items()}
    names = [f"from {first} to {others[0].subject.name}"]
    names += [f"towards {other.subject.name}, orthogonal to it" for other in others[1:]]
    return Frame(kind=CHECKPOINTS, names=tuple(names), vectors=np.stack(rows), anchors=padded)


def _beside(direction: np.ndarray, rows: Sequence[np.ndarray], name: str) -> np.ndarray:
    """Return the unit vector of what a direction adds to orthonormal rows.

    Orthogonalised twice, since one pass leaves rounding of the size of what it removed.
    """
    length = float(np.linalg.norm(direction))
    left = direction
    for _ in range(2):
        for row in rows:
            left = left - (left @ row) * row
    rest = float(np.linalg.norm(left))
    if rest <= _COLLINEAR * length:
        raise InputError(
            f"{name}: lies on a line with the others",
            expected="three networks, or directions, that span a plane",
            got=f"{rest / length if length else 0.0:.1g} of its length beside that line",
            hint="Draw the line through them instead.",
        )
    return left / rest


def _given_frame(origin: Origin, directions: Any, num_axes: int) -> Frame:
    """Return a frame of the caller's own directions, as they are.

    Raises
    ------
    ConfigurationError
        If there are not as many as axes.
    ArchitectureMismatchError
        If one is not of the structure of the parameters.
    InputError
        If one has no length or is not finite.
    """
    trees = [directions] if num_axes == 1 and not isinstance(directions, (list, tuple)) else list(directions)
    if len(trees) != num_axes:
        raise ConfigurationError(
            "directions: not one per axis", expected=f"{num_axes} trees", got=str(len(trees))
        )
    rows = []
    for number, tree in enumerate(trees, start=1):
        row = origin.masked(origin.subject.layout.flatten(tree).astype(np.float64))
        _require_length(row, f"direction {number}", "a direction that moves a free weight")
        rows.append(row)
    if num_axes == 2:
        _beside(rows[1], [rows[0] / np.linalg.norm(rows[0])], "direction 2")
    names = tuple(f"direction {i + 1}" for i in range(num_axes))
    return Frame(kind=GIVEN, names=names, vectors=np.stack(rows))
