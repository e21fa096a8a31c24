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

import dataclasses
import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from landscape.errors import ConfigurationError, InputError
from landscape.network import Subject, make_subject
from landscape.results import check_choice
from landscape.trees import by_path, check_same_architecture

if TYPE_CHECKING:
    from landscape.problem import Problem

__all__ = [
    "CHECKPOINTS",
    "KINDS",
    "RANDOM",
    "Frame",
    "Origin",
    "filter_normalised",
    "make_frame",
    "span",
    "unit_lengths",
]

RANDOM, EIGENVECTORS, GRADIENT, CHECKPOINTS, GIVEN = (
    "random",
    "eigenvectors",
    "gradient",
    "checkpoints",
    "given",
)
KINDS = (RANDOM, EIGENVECTORS, GRADIENT, CHECKPOINTS)

# Below this fraction of the longer one, what is left of a direction beside another is rounding.
_COLLINEAR = 1e-6


@dataclasses.dataclass(frozen=True)
class Origin:
    """The network at the origin, and what of it may move.

    Attributes
    ----------
    subject : Subject
        The network and its free coordinates.
    given : Checkpoint or pytree
        The network as the caller gave it.
    mask, where : pytree or False or None, str or sequence of str or None
        As the caller gave them: what `landscape.hessian` takes.
    """

    subject: Subject
    given: Any
    mask: Any = None
    where: Any = None

    @classmethod
    def of(
        cls, problem: Problem, given: Any, *, mask: Any = None, where: Any = None, allow: bool = False
    ) -> Origin:
        """Check a network and return it as an origin; see `make_subject` for what is refused."""
        subject = make_subject(problem, given, mask=mask, where=where, allow_nonfinite=allow)
        return cls(subject, given, mask, where)

    @classmethod
    def all_of(
        cls,
        problem: Problem,
        given: Sequence[Any],
        directions: Any,
        *,
        mask: Any,
        where: Any,
        allow: bool,
        names: Iterable[str] | None,
    ) -> list[Origin]:
        """Check the networks of a line or plane; through checkpoints all weights move, masked or not.

        Raises
        ------
        ConfigurationError
            If layers are chosen on a path through checkpoints, or there is not one name per network.
        ArchitectureMismatchError
            If the networks differ in a path or shape.
        """
        if isinstance(directions, str) and directions == CHECKPOINTS:
            if where is not None:
                raise ConfigurationError(
                    "where: directions through checkpoints move every layer in which the networks differ",
                    hint="Leave where out, or choose other directions.",
                )
            mask = False
        origins = [cls.of(problem, item, mask=mask, where=where, allow=allow) for item in given]
        called = [origin.subject.name for origin in origins] if names is None else list(names)
        if len(called) != len(origins):
            raise ConfigurationError(
                "names: not one per network", expected=f"{len(origins)} names", got=str(len(called))
            )
        for origin in origins[1:]:
            check_same_architecture(
                origins[0].subject.params, origin.subject.params, (called[0], origin.subject.name)
            )
        return [
            dataclasses.replace(origin, subject=dataclasses.replace(origin.subject, name=name))
            for origin, name in zip(origins, _unique(called), strict=True)
        ]

    @property
    def vector(self) -> np.ndarray:
        """The weights [size] in the layout's order, float64."""
        leaves = by_path(self.subject.params)
        parts = [np.asarray(leaves[path], np.float64).reshape(-1) for path in self.subject.layout.paths]
        return np.concatenate(parts)

    def masked(self, vector: np.ndarray) -> np.ndarray:
        """Return a vector [size] with zeros where the network is not free."""
        subject = self.subject
        return vector if subject.free is None else subject.scatter(subject.gather(vector[None]))[0]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Frame:
    """An origin and the directions that span a line or a plane through it.

    Attributes
    ----------
    kind : str
        Where the directions come from.
    names : tuple of str [k]
        What to call each.
    vectors : numpy.ndarray [k, size]
        In the layout's coordinates; zero where the origin is masked.
    anchors : dict of str to tuple of float [k]
        Coordinates of networks that lie in the plane, by name; the origin is at zero.
    """

    kind: str
    names: tuple[str, ...]
    vectors: np.ndarray
    anchors: dict[str, tuple[float, ...]] = dataclasses.field(default_factory=dict)

    @property
    def gram(self) -> np.ndarray:
        """Inner products [k, k] of the directions; their diagonal holds squared lengths."""
        vectors = self.vectors.astype(np.float64)
        product: np.ndarray = vectors @ vectors.T
        return product


def filter_normalised(origin: Origin, rng: np.random.Generator, *, filter_axis: int = -1) -> np.ndarray:
    """Return a random direction [size] by the steps in the module's docstring.

    Parameters
    ----------
    origin : Origin
        The network and its free coordinates.
    rng : numpy.random.Generator
        Draws one normal number per entry of the layout.
    filter_axis : int
        Axis of the output units of a kernel: the last (Flax) or the first (PyTorch).

    Raises
    ------
    InputError
        If nothing is left: no leaf has two axes or more, or every filter is zero.
    """
    layout = origin.subject.layout
    noise = origin.masked(rng.standard_normal(layout.size))
    weights = origin.masked(origin.vector)
    direction = np.zeros(layout.size)
    for where, shape in zip(layout.slices.values(), layout.shapes, strict=True):
        if len(shape) >= 2:
            direction[where] = _by_filter(noise[where], weights[where], shape, filter_axis).reshape(-1)
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


def make_frame(
    problem: Problem,
    origin: Origin,
    directions: Any,
    others: Sequence[Origin],
    *,
    num_axes: int,
    seed: int,
    filter_axis: int,
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
        See `filter_normalised`.
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
    rng = np.random.default_rng([seed, 0x5F])
    if directions == RANDOM:
        rows = [filter_normalised(origin, rng, filter_axis=filter_axis) for _ in range(num_axes)]
        names = tuple(f"random direction {i + 1}" for i in range(num_axes))
        return Frame(kind=RANDOM, names=names, vectors=np.stack(rows))
    if directions == GRADIENT:
        return _gradient_frame(problem, origin, rng, num_axes=num_axes, filter_axis=filter_axis)
    return _eigenvector_frame(problem, origin, num_axes=num_axes, seed=seed)


def _gradient_frame(
    problem: Problem, origin: Origin, rng: np.random.Generator, *, num_axes: int, filter_axis: int
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


def _eigenvector_frame(problem: Problem, origin: Origin, *, num_axes: int, seed: int) -> Frame:
    """Return the unit eigenvectors of the largest eigenvalues of the Hessian of the training loss."""
    from landscape.curvature import hessian, top_eigenpairs

    operator = hessian(problem, origin.given, where=origin.where, mask=origin.mask)
    found = top_eigenpairs(operator, num_axes, seed=seed)
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


def span(frame: Frame, margin: float) -> tuple[tuple[float, float], ...]:
    """Return for each axis the range that holds the origin and all anchors, with a margin on both sides."""
    ends = []
    for axis in range(len(frame.names)):
        places = [0.0, *(anchor[axis] for anchor in frame.anchors.values())]
        width = max(places) - min(places) or 1.0
        ends.append((min(places) - margin * width, max(places) + margin * width))
    return tuple(ends)


def unit_lengths(frame: Frame) -> tuple[float, ...]:
    """Return the length in parameter space of one unit of each axis."""
    return tuple(math.sqrt(value) for value in np.diagonal(frame.gram))


def _unique(names: Iterable[str]) -> list[str]:
    """Return names that differ: a repeated one gets its number."""
    seen: dict[str, int] = {}
    out = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        out.append(name if seen[name] == 1 else f"{name} ({seen[name]})")
    return out
