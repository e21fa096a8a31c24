"""Networks at the origin of a line or plane, and the directions that span it. No jax."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from landscape.errors import ConfigurationError
from landscape.files import Checkpoint, checked_unread
from landscape.network import Subject, make_subject
from landscape.trees import arrays_by_path, check_same_architecture

if TYPE_CHECKING:
    from landscape.problem import Problem

__all__ = ["CHECKPOINTS", "Frame", "Origin", "span", "unit_lengths"]

CHECKPOINTS = "checkpoints"


@dataclasses.dataclass(frozen=True)
class Origin:
    """The network at the origin, and the weights of it that may move.

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
        given = checked_unread(given) if isinstance(given, Checkpoint) else given
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
        leaves = arrays_by_path(self.subject.params)
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
