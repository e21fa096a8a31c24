"""A network brought to another: what was changed, and that its function is the same."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar, Self

import numpy as np

from landscape.alignment.matchers import METHODS
from landscape.files import Checkpoint
from landscape.results import (
    Anything,
    Items,
    KeysIn,
    Later,
    Maybe,
    Numbers,
    Record,
    Result,
    Table,
    Text,
    count,
    format_value,
)
from landscape.trees import arrays_with_paths, nest

__all__ = ["Aligned"]

PyTree = Any


@dataclasses.dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class Aligned(Result):
    """A network brought to another by symmetries; the function that it computes is the same.

    Attributes
    ----------
    params : pytree
        The second network's parameters, in their own structure, with its units in the order of the first's.
    checkpoint : Checkpoint
        The same with everything that travels along: mask, std, initialisation, best parameters, batch
        statistics and optimiser state where they have the parameters' structure.
    permutations : dict of str to numpy.ndarray
        By group of units: place i takes unit p[i] of the second network.
    groups : dict
        By group, its number of ``units`` and the ``places`` where it stands.
    moved : dict of str to float
        By group, the share of its units that moved.
    equivalence_error : float
        Largest difference between the losses of single examples before and after, relative to their root mean
        square: rounding of sums in another order.
    objective_before, objective_after : float
        Inner product of the two networks' weights.
    maps : dict of str to numpy.ndarray
        By inner space of heads: the invertible map [heads, n, n] of the head at each place.
    distance_before, distance_after : float
        Between the two networks, in parameter space.
    barrier_before, barrier_after : float or None
        Largest excess of the mean loss over the chord between the ends, before and after, where the method
        measured it.
    method : str
        How units were matched.
    endpoints : tuple of str
        Names of the two networks.
    """

    kind: ClassVar[str] = "aligned"

    statuses = ("ok",)
    spec = Record(
        {
            "params": Anything(),
            "permutations": Table(Numbers(None, kind="int", least=0)),
            "groups": Table(Record({"units": count()})),
            "moved": Table(Numbers(finite=True, least=0, most=1)),
            "equivalence_error": Numbers(finite=True, least=0),
            "objective_before": Numbers(),
            "objective_after": Numbers(),
            "distance_before": Numbers(least=0),
            "distance_after": Numbers(least=0),
            "method": Text(METHODS),
            "endpoints": Items(Text(), 2),
            "symmetry": Later(Items(Text())),
            "scales": Later(Table(Numbers(None, finite=True, least=0))),
            "rescalings": Later(Table(Record({"group": Text(), "degrees": Table(Numbers(finite=True))}))),
            "maps": Later(Table(Numbers(None, None, None, finite=True))),
            "barrier_before": Maybe(Numbers()),
            "barrier_after": Maybe(Numbers()),
        },
        (KeysIn("moved", "groups"), KeysIn("permutations", "groups"), KeysIn("scales", "rescalings")),
    )

    params: PyTree
    checkpoint: Checkpoint | None = None
    permutations: Mapping[str, np.ndarray]
    groups: Mapping[str, Mapping[str, Any]]
    moved: Mapping[str, float]
    equivalence_error: float
    objective_before: float
    objective_after: float
    distance_before: float
    distance_after: float
    method: str
    endpoints: tuple[str, str]
    symmetry: tuple[str, ...] = ("permutation",)
    scales: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)
    rescalings: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)
    maps: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)
    barrier_before: float | None = None
    barrier_after: float | None = None

    def data(self) -> dict[str, Any]:
        """Return the data fields; the parameters as nested dictionaries, without the checkpoint."""
        fields = super().data()
        del fields["checkpoint"]
        fields["params"] = nest({path: np.asarray(leaf) for path, leaf in arrays_with_paths(self.params)})
        return fields

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form, without the parameters."""
        from landscape.files import jsonable

        form = Result.to_dict(dataclasses.replace(self, params={}, checkpoint=None))
        del form["data"]["params"]
        form["data"] = jsonable(form["data"])
        return form

    def rows(self) -> list[tuple[str, str]]:
        """Return the printed lines: what was moved, what it brought, and that the function is the same."""
        rows = [
            ("networks", f"{self.endpoints[1]} brought to {self.endpoints[0]}"),
            ("matched by", self.method),
            *(("symmetries", ", ".join(self.symmetry)) for _ in self.symmetry[1:2]),
        ]
        for name, share in self.moved.items():
            units = int(self.groups[name]["units"])
            rows.append((f"moved, {name}", f"{round(share * units)} of {units} units"))
        rows += [(f"rescaled, {name}", _factors(values)) for name, values in self.scales.items()]
        for name, maps in self.maps.items():
            heads, size, _ = maps.shape
            rows.append((f"mapped, {name}", f"{size} dimensions, heads: {heads}"))
        if self.barrier_after is not None:
            values = (format_value(self.barrier_before), format_value(self.barrier_after))
            rows.append(("barrier", f"{values[0]} before, {values[1]} after, above the chord"))
        before, after = format_value(self.distance_before), format_value(self.distance_after)
        rows.append(("distance", f"{before} before, {after} after"))
        error = format_value(self.equivalence_error)
        rows.append(("same function", f"losses of single examples differ by at most {error} of their size"))
        return rows

    @classmethod
    def from_fields(cls, fields: Mapping[str, Any], **base: Any) -> Self:
        """Build a result from stored fields: tuples are lists there."""
        mended = {**fields, "endpoints": tuple(fields["endpoints"])}
        if "symmetry" in fields:
            mended["symmetry"] = tuple(fields["symmetry"])
        return super().from_fields(mended, **base)


def _factors(values: np.ndarray) -> str:
    changed = values[values != 1]
    if not len(changed):
        return f"0 of {len(values)} units"
    low, high = (format_value(float(value)) for value in (changed.min(), changed.max()))
    return f"{len(changed)} of {len(values)} units, by {low} to {high}"
