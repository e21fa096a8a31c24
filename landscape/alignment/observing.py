"""What the units of a network do on data: the intermediate values of its program, by group."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from landscape.alignment.axes import Units, units_of
from landscape.alignment.structure import Structure
from landscape.compute import Place, program, run_keeping
from landscape.trees import opened, sealed

__all__ = ["observer"]

PyTree = Any

_MOST_VALUES = 4  # operations observed per group, the first and the last ones
_MOST_SAMPLES = 65_536  # per operation; more are thinned evenly


def observer(
    structure: Structure, function: Callable[..., Any], *rest: PyTree
) -> Callable[[PyTree], Mapping[str, Sequence[np.ndarray]]]:
    """Return a function of a network that gives by group what its units do on ``rest``.

    Parameters
    ----------
    structure : Structure
        Of ``function(params, *rest)``, from `structure_of`.
    function : callable
        The loss that was traced.
    *rest : pytrees
        Data.
    """
    wanted = _wanted(structure)

    def values(params: PyTree) -> dict[str, jax.Array]:
        closed = jax.make_jaxpr(lambda p, *r: function(opened(p), *r))(params, *rest)
        flat = [*jax.tree.leaves(params), *jax.tree.leaves(rest)]
        found = run_keeping(closed, flat, {seen.place for seen in wanted.values()})
        return {key: found[seen.place][seen.output] for key, seen in wanted.items()}

    run = program(values)

    def observe(params: PyTree) -> dict[str, list[np.ndarray]]:
        out: dict[str, list[np.ndarray]] = {}
        for key, value in sorted(run(sealed(params)).items()):
            name, seen = key.rsplit("#", 1)[0], wanted[key]
            rows = _samples(np.asarray(value, np.float32), seen.axis, seen.others)
            out.setdefault(name, []).append(rows[:, :: max(1, rows.shape[1] // _MOST_SAMPLES)])
        return out

    return observe


@dataclasses.dataclass(frozen=True)
class _Seen:
    """Where a group is seen: an output of an operation, its axis, and the axes that other groups permute."""

    place: Place
    output: int
    axis: int
    others: tuple[int, ...]


def _wanted(structure: Structure) -> dict[str, _Seen]:
    """Return what to observe, by ``group#number``.

    Axes of which a group is only a part are left out, and so are values inside loops, which no run here
    keeps.
    """
    names = {units: name for name, units in structure.groups.items()}
    places: dict[str, list[_Seen]] = {}
    for place, outputs in sorted(structure.observed.items()):
        for output, axes in enumerate(outputs):
            for number, axis in enumerate(axes):
                units: Units | None = None if axis is None else axis.root()
                if units in names and units.form is None and len(axes) > 1:
                    others = tuple(i for i, other in enumerate(axes) if i != number and units_of(other))
                    places.setdefault(names[units], []).append(_Seen(place, output, number, others))
    out = {}
    for name, found in places.items():
        found.sort(key=lambda seen: (len(seen.others), seen.place))
        half = _MOST_VALUES // 2
        chosen = found if len(found) <= _MOST_VALUES else [*found[:half], *found[-half:]]
        for number, item in enumerate(chosen):
            out[f"{name}#{number}"] = item
    return out


def _samples(value: np.ndarray, axis: int, others: Sequence[int]) -> np.ndarray:
    """Return [units, samples]; moments over axes that other groups permute: they know no order."""
    if others:
        moments = [np.mean(value**power, axis=tuple(others), keepdims=True) for power in (1, 2, 3)]
        value = np.concatenate(moments, axis=others[0])
    rows = np.moveaxis(value, axis, 0)
    return rows.reshape(len(rows), -1)
