"""Positive rescalings that leave a loss as it is, and a canonical scale among them.

Multiply what comes into a rectifier by s > 0 and divide what goes out by s: the function stays. Steps:

1. collect the equations that the degrees of all places of a group must fulfil
   (`landscape.alignment.degrees`), from the same program as the permutations;
2. their solutions, a null space per group, are the rescalings: one per basis vector, of every unit by
   itself;
3. the canonical scale has the least sum of squared weights among all rescalings of a network. For a
   rectifier the weights that come into a unit then have the norm of those that go out of it. In the
   logarithms of the factors that sum is convex, so the minimum is the same from wherever one starts: two
   networks that differ by a rescaling get one canonical form. Found by coordinate descent, a group at a time,
   each unit in closed form (Stock et al. 2019, Equi-normalization of neural networks, arXiv:1902.10416).

A smooth nonlinearity has no rescaling; neither has what is normalised with a constant in the denominator.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from landscape.alignment.axes import Units, positions
from landscape.alignment.degree_reader import DegreeReader
from landscape.alignment.degrees import Degrees, Form, Value, keys_of
from landscape.alignment.rules import fixed_axes
from landscape.alignment.structure import Structure, traced
from landscape.trees import leaves_with_paths, sealed

__all__ = ["Logs", "Rescaling", "canonical", "relative", "rescaled", "rescalings_of"]

PyTree = Any
Leaves = Mapping[str, np.ndarray]
Logs = dict[str, np.ndarray]

_MOST_SWEEPS = 2000
_SETTLED = 1e-11  # largest step of a logarithm in the last sweep
_ROUNDING = 1e-7  # a factor nearer to 1 cannot be told from 1 in float32


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rescaling:
    """One way to rescale the units of a group, each by a factor of its own.

    Attributes
    ----------
    group : str
        Name of the group.
    units : Units
        Its variable.
    degrees : dict of (str, int) to float
        By path and axis, the power of a unit's factor with which its weights there are multiplied.
    """

    group: str
    units: Units
    degrees: Mapping[tuple[str, int], float]

    def describe(self) -> dict[str, Any]:
        """Return group and degrees as plain JSON types."""
        places = {f"{path}, axis {axis}": value for (path, axis), value in self.degrees.items()}
        return {"group": self.group, "degrees": places}


def rescalings_of(
    structure: Structure,
    function: Callable[..., Any],
    params: PyTree,
    *rest: PyTree,
    held: str | None = None,
) -> dict[str, Rescaling]:
    """Return the positive rescalings of ``function(params, *rest)`` by name.

    Parameters
    ----------
    structure : Structure
        Of the same function and arguments, from `structure_of`.
    function, params, *rest
        As there.
    held : str, optional
        Leaves whose path begins so are never rescaled: statistics are what the data make them.
    """
    degrees = Degrees()
    unknowns: dict[int, tuple[str, int, Units]] = {}
    given = []
    for path, leaf in leaves_with_paths(sealed(params)):
        axes = structure.axes.get(path) or fixed_axes(np.shape(leaf))
        forms = {}
        for key in keys_of(axes):
            forms[key] = degrees.unknown()
            unknowns[degrees.count - 1] = (path, *key)
            if held is not None and path.startswith(held):
                degrees.vanish(key[1], forms[key])
        given.append(Value(axes, forms))
    closed = traced(function, params, *rest)
    data = [Value(fixed_axes(np.shape(leaf))) for leaf in jax.tree.leaves(rest)]
    reader = DegreeReader(structure, degrees)
    degrees.zero(reader.read(closed.jaxpr, closed.consts, [*given, *data], ()))
    found = {}
    for name, units in structure.groups.items():
        own = {u: (path, axis) for u, (path, axis, whose) in unknowns.items() if whose is units}
        basis = _solutions(degrees.equations.get(units, []), own)
        for number, solution in enumerate(basis):
            called = name if len(basis) == 1 else f"{name}, {number + 1}"
            found[called] = Rescaling(group=name, units=units, degrees=solution)
    return found


def _solutions(
    equations: Sequence[Form], own: Mapping[int, tuple[str, int]]
) -> list[dict[tuple[str, int], float]]:
    """Return a basis of the degrees that fulfil the equations; unknowns of loops are left out."""
    columns = [*own, *sorted({u for form in equations for u in form} - set(own))]
    matrix = np.zeros((len(equations), len(columns)))
    for row, form in enumerate(equations):
        for unknown, value in form.items():
            matrix[row, columns.index(unknown)] = value
    out = []
    for vector in _null_space(matrix):
        degrees = {place: float(v) for place, v in zip(own.values(), vector, strict=False) if abs(v) > 1e-9}
        if degrees:  # the factors that are reported are those of the first place
            sign = 1.0 if next(iter(degrees.values())) > 0 else -1.0
            out.append({place: sign * value for place, value in degrees.items()})
    return out


def _null_space(matrix: np.ndarray) -> np.ndarray:
    """Return a basis [k, n] of the null space in reduced form, so that degrees are small fractions."""
    rows, pivots, at = matrix.copy(), [], 0
    for column in range(matrix.shape[1]):
        if at == len(rows):
            break
        best = at + int(np.argmax(np.abs(rows[at:, column])))
        if abs(rows[best, column]) < 1e-9:
            continue
        rows[[at, best]] = rows[[best, at]]
        rows[at] /= rows[at, column]
        others = np.arange(len(rows)) != at
        rows[others] -= rows[others, column : column + 1] * rows[at]
        pivots.append(column)
        at += 1
    free = [column for column in range(matrix.shape[1]) if column not in pivots]
    basis = np.zeros((len(free), matrix.shape[1]))
    for number, column in enumerate(free):
        basis[number, column] = 1.0
        basis[number, pivots] = -rows[: len(pivots), column]
    return basis


def rescaled(
    structure: Structure,
    rescalings: Mapping[str, Rescaling],
    logs: Logs,
    leaves: Leaves,
    *,
    power: float = 1.0,
) -> dict[str, np.ndarray]:
    """Return the leaves with their units multiplied by ``exp(power · degree · log)``, in their own dtype."""
    out = {path: np.asarray(leaf) for path, leaf in leaves.items()}
    for name, rescaling in rescalings.items():
        if not np.any(logs[name]):
            continue
        for (path, axis), degree in rescaling.degrees.items():
            if path in out:
                factors = np.exp(power * degree * logs[name])
                out[path] = _multiplied(structure, path, axis, (rescaling.units, factors), out[path])
    return {path: out[path].astype(np.asarray(leaf).dtype) for path, leaf in leaves.items()}


def _multiplied(  # noqa: PLR0917  a leaf, its place and what multiplies it
    structure: Structure, path: str, axis: int, by: tuple[Units, np.ndarray], leaf: np.ndarray
) -> np.ndarray:
    units, factors = by
    along = np.ones(leaf.shape[axis])
    for places in positions(structure.axes[path][axis], units):
        along[places] *= factors
    shape = [1] * leaf.ndim
    shape[axis] = -1
    product: np.ndarray = leaf.astype(np.float64) * along.reshape(shape)
    return product


def canonical(structure: Structure, rescalings: Mapping[str, Rescaling], leaves: Leaves) -> Logs:
    """Return the logarithms of the factors that bring a network to its canonical scale.

    A unit for which the least sum of squares is not attained (nothing comes in, or nothing goes out) keeps
    its scale.
    """
    touched = {path for rescaling in rescalings.values() for path, _ in rescaling.degrees}
    squares = {path: np.square(np.asarray(leaves[path], np.float64)) for path in touched}
    logs = {name: np.zeros(rescaling.units.size) for name, rescaling in rescalings.items()}
    for _ in range(_MOST_SWEEPS):
        largest = 0.0
        for name, rescaling in rescalings.items():
            step = _step(structure, rescaling, squares)
            largest = max(largest, float(np.abs(step).max()))
            logs[name] += step
            alone = {name: rescaling}
            squares.update(
                rescaled(
                    structure,
                    alone,
                    {name: step},
                    {path: squares[path] for path, _ in rescaling.degrees},
                    power=2.0,
                )
            )
        if largest <= _SETTLED:
            break
    return logs


def _step(structure: Structure, rescaling: Rescaling, squares: Leaves) -> np.ndarray:
    """Return how far each unit's logarithm goes: to the minimum of a bound that is tight where it stands.

    Σ n e^{2dt} over the places of the unit is minimal where Σ d n e^{2dt} = 0. Where a group stands m times
    in one array, its units share entries; Σ (n/m) e^{2mdt} bounds the sum from above, without shared terms.
    """
    times = _times(structure, rescaling)
    up = down = rate_up = rate_down = np.zeros(rescaling.units.size)
    for (path, axis), degree in rescaling.degrees.items():
        norms = _norms(structure, path, axis, (rescaling.units, squares[path]))
        if degree > 0:
            up, rate_up = up + degree * norms, rate_up + degree**2 * norms
        else:
            down, rate_down = down - degree * norms, rate_down + degree**2 * norms
    live = (up > 0) & (down > 0)
    up, down = np.where(live, up, 1.0), np.where(live, down, 1.0)
    rate = rate_up / up + rate_down / down
    step: np.ndarray = np.where(live, np.log(down / up) / (2 * times * np.where(live, rate, 1.0)), 0.0)
    return step


def _norms(structure: Structure, path: str, axis: int, of: tuple[Units, np.ndarray]) -> np.ndarray:
    """Return the sum over everything else of an array along the units of one axis."""
    units, array = of
    others = tuple(number for number in range(array.ndim) if number != axis)
    norms: np.ndarray = array.sum(others)[positions(structure.axes[path][axis], units)].sum(0)
    return norms


def _times(structure: Structure, rescaling: Rescaling) -> int:
    """Return how often the group stands in one entry of an array, at most."""
    found: dict[str, int] = {}
    for path, axis in rescaling.degrees:
        places = positions(structure.axes[path][axis], rescaling.units).reshape(-1)
        found[path] = found.get(path, 0) + int(np.bincount(places).max())
    return max(found.values())


def relative(
    rescalings: Mapping[str, Rescaling], first: Logs, second: Logs, permutations: Mapping[str, np.ndarray]
) -> Logs:
    """Return what the permuted second network is multiplied by, to stand on the first one's scale."""
    out = {}
    for name, rescaling in rescalings.items():
        order = permutations.get(rescaling.group, np.arange(rescaling.units.size))
        logs = second[name][order] - first[name]
        out[name] = np.where(np.abs(logs) < _ROUNDING, 0.0, logs)
    return out
