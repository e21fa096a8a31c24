"""The permutation symmetries of a network, read off the program of its loss.

Steps:

1. trace the loss to a jaxpr: the list of operations that jax would run;
2. give every axis of every parameter a variable of its own (`landscape.alignment.axes`); the axes of data
   are fixed;
3. go through the operations: what is combined entry by entry is joined; contracted axes are joined with one
   another;
   reshapes factor, concatenations and slices cut; what reads positions (sorting, gathering, convolving over
   places) fixes; an operation that is not known fixes everything that it touches, which is safe;
4. the variables that are left unfixed are the groups of units that can be permuted without changing the loss.

Each rule is an equivariance of one operation, so every permutation of a group leaves the loss as it is,
whatever the
architecture: dense and convolutional layers, normalisation, flattening, concatenation, residual additions,
attention
heads, grouped convolutions, loops over layers. The converse does not hold: symmetries that no rule knows are
missed.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from landscape.alignment.axes import Axis, Units, index_of, units_of
from landscape.alignment.reader import Reader
from landscape.alignment.rules import fixed_axes
from landscape.errors import ConfigurationError
from landscape.trees import arrays_by_path, arrays_with_paths, leaves_with_paths, opened, sealed

__all__ = ["Structure", "given_structure", "structure_of", "traced"]

PyTree = Any


@dataclasses.dataclass(frozen=True, kw_only=True)
class Structure:
    """Groups of units that can be permuted, and where they stand in the parameters.

    Attributes
    ----------
    axes : dict of str to tuple of Axis
        The variable of every axis of every leaf, by path.
    shapes : dict of str to tuple of int
        Shape of every leaf.
    groups : dict of str to Units
        Variables that may be permuted, named by the first parameter axis in which they stand.
    observed : dict of tuple to list
        Axes of the program's intermediate values, by their place in it; empty if the user gave the structure.
    unknown : tuple of str
        Operations that no rule knows.
    """

    axes: Mapping[str, tuple[Axis, ...]]
    shapes: Mapping[str, tuple[int, ...]]
    groups: Mapping[str, Units]
    observed: Mapping[tuple[int, ...], list[tuple[Axis, ...]]]
    unknown: tuple[str, ...]

    def places(self, name: str) -> list[tuple[str, int]]:
        """Return the (path, axis) pairs in which a group stands."""
        return [
            (path, number)
            for path, axes in self.axes.items()
            for number, axis in enumerate(axes)
            if self.groups[name] in units_of(axis)
        ]

    def apply(
        self, leaves: Mapping[str, Any], permutations: Mapping[str, np.ndarray]
    ) -> dict[str, np.ndarray]:
        """Return the leaves with permuted units; permutation p brings unit p[i] to place i."""
        by_units = {self.groups[name]: np.asarray(p) for name, p in permutations.items()}
        return {path: self._permuted(path, np.asarray(leaf), by_units) for path, leaf in leaves.items()}

    def _permuted(self, path: str, leaf: np.ndarray, by_units: dict[Units, np.ndarray]) -> np.ndarray:
        for number, axis in enumerate(self.axes.get(path, ())):
            if any(units in by_units for units in units_of(axis)):
                leaf = np.take(leaf, index_of(axis, leaf.shape[number], by_units), axis=number)
        return leaf

    def describe(self) -> dict[str, dict[str, Any]]:
        """Return each group's number of units and places, as plain JSON types."""
        return {
            name: {
                "units": units.size,
                "places": [f"{path}, axis {number}" for path, number in self.places(name)],
            }
            for name, units in self.groups.items()
        }


def traced(function: Callable[..., Any], params: PyTree, *rest: PyTree) -> Any:
    """Return the program of ``function(params, *rest)``; traced, not run."""
    # Functions and settings in the tree are no arguments of a program.
    return jax.make_jaxpr(lambda p, *r: function(opened(p), *r))(sealed(params), *rest)


def structure_of(function: Callable[..., Any], params: PyTree, *rest: Any) -> Structure:
    """Return the permutation structure of ``function(params, *rest)``.

    Parameters
    ----------
    function : callable
        A loss; traced, not run.
    params : pytree
        What may be permuted.
    *rest : pytrees
        Data; their axes are fixed.
    """
    closed = traced(function, params, *rest)
    named, moving = leaves_with_paths(sealed(params)), set(arrays_by_path(params))
    own = [
        tuple(Units(n) if n > 1 else None for n in np.shape(leaf))
        if path in moving
        else fixed_axes(np.shape(leaf))
        for path, leaf in named
    ]
    data = [fixed_axes(np.shape(leaf)) for leaf in jax.tree.leaves(rest)]
    reader = Reader()
    reader.read(closed.jaxpr, closed.consts, [*own, *data], ())
    axes = {path: axis for (path, _), axis in zip(named, own, strict=True) if path in moving}
    shapes = {path: tuple(np.shape(leaf)) for path, leaf in named if path in moving}
    return Structure(
        axes=axes,
        shapes=shapes,
        groups=_groups(axes),
        observed=reader.observed,
        unknown=tuple(sorted(reader.unknown)),
    )


def _groups(axes: Mapping[str, Sequence[Axis]]) -> dict[str, Units]:
    """Return the variables that may be permuted, named by the last axis that bears them first."""
    found: dict[Units, str] = {}
    for path in sorted(axes):
        for number in reversed(range(len(axes[path]))):
            for units in units_of(axes[path][number]):
                found.setdefault(units, f"{path}[{number}]")
    taken: dict[str, Units] = {}
    for units, name in found.items():
        unique = name if name not in taken else f"{name} ({units.size})"
        taken[unique] = units
    return taken


def given_structure(params: PyTree, groups: Mapping[str, Sequence[tuple[str, int]]]) -> Structure:
    """Return the structure that a user states: group to the (path, axis) pairs that are permuted alike.

    Raises
    ------
    ConfigurationError
        If a path or axis does not exist, stands in two groups, or the axes of a group differ in size.
    """
    shapes = {path: tuple(np.shape(leaf)) for path, leaf in arrays_with_paths(params)}
    axes: dict[str, list[Axis]] = {
        path: [Units(n, fixed=True) if n > 1 else None for n in shape] for path, shape in shapes.items()
    }
    found: dict[str, Units] = {}
    taken: set[tuple[str, int]] = set()
    for name, places in groups.items():
        sizes = {_size(shapes, name, place) for place in places}
        repeated = [place for place in map(tuple, places) if place in taken]
        if len(sizes) != 1 or repeated:
            raise ConfigurationError(
                f"structure: group {name!r} is not one group of units",
                expected="axes of one size, each in one group",
                got=f"{repeated[0]} twice" if repeated else f"sizes {sorted(sizes)}",
            )
        found[name] = Units(sizes.pop())
        for path, number in places:
            axes[path][number] = found[name]
            taken.add((path, number))
    return Structure(
        axes={path: tuple(axis) for path, axis in axes.items()},
        shapes=shapes,
        groups=found,
        observed={},
        unknown=(),
    )


def _size(shapes: Mapping[str, tuple[int, ...]], name: str, place: Sequence[Any]) -> int:
    path, number = str(place[0]), int(place[1])
    if path not in shapes or not 0 <= number < len(shapes[path]):
        raise ConfigurationError(
            f"structure: group {name!r}: there is no axis {number} of {path!r}",
            expected="one of " + ", ".join(list(shapes)[:8]),
        )
    return shapes[path][number]
