"""Bringing one network to another: the same function, its units in the other's order."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from landscape.connectivity import make_ends, names_of, read
from landscape.errors import ConfigurationError, InputError
from landscape.files import Checkpoint
from landscape.problem import problem_for
from landscape.results import (
    Anything,
    Items,
    KeysIn,
    Numbers,
    Record,
    Result,
    Table,
    Text,
    check_choice,
    check_seed,
    check_whole,
    count,
    format_value,
    provenance,
)
from landscape.trees import arrays_by_path, arrays_with_paths, fill, nest

if TYPE_CHECKING:
    from landscape.alignment.structure import Structure
    from landscape.connectivity import Endpoint
    from landscape.problem import Problem

__all__ = ["Aligned", "align"]

PyTree = Any

WEIGHTS, ACTIVATIONS = "weights", "activations"
METHODS = (WEIGHTS, ACTIVATIONS)
_TRACED = 2  # examples with which the loss is traced
_OBSERVED = 256  # examples on which units are observed
# Largest relative difference of the losses that reordered sums may make in float32.
EQUIVALENCE = 1e-5


@dataclasses.dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class Aligned(Result):
    """A network brought to another by permuting its units; the function that it computes is the same.

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
    distance_before, distance_after : float
        Between the two networks, in parameter space.
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
        },
        (KeysIn("moved", "groups"), KeysIn("permutations", "groups")),
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
        ]
        for name, share in self.moved.items():
            units = int(self.groups[name]["units"])
            rows.append((f"moved, {name}", f"{round(share * units)} of {units} units"))
        before, after = format_value(self.distance_before), format_value(self.distance_after)
        rows.append(("distance", f"{before} before, {after} after"))
        error = format_value(self.equivalence_error)
        rows.append(("same function", f"losses of single examples differ by at most {error} of their size"))
        return rows

    @classmethod
    def from_fields(cls, fields: Mapping[str, Any], **base: Any) -> Self:
        """Build a result from stored fields: tuples are lists there."""
        return super().from_fields({**fields, "endpoints": tuple(fields["endpoints"])}, **base)


def align(  # noqa: PLR0913  one keyword per setting
    problem: Problem | None,
    a: Any,
    b: Any,
    *,
    method: str = WEIGHTS,
    structure: Mapping[str, Sequence[tuple[str, int]]] | None = None,
    seed: int = 0,
    restarts: int = 5,
    split: str = "train",
    batch_size: int | None = None,
    names: Sequence[str] | None = None,
) -> Aligned:
    """Permute the units of one network so that they stand in the order of another's.

    The groups of units that can be permuted without changing the loss are read off the program of the loss
    (`landscape.alignment.structure`): for any network, in any library. That the function stays the same is
    checked on data, always.

    Parameters
    ----------
    problem : Problem or None
        The loss and its data; None rebuilds the task that the first checkpoint names.
    a, b : Checkpoint, path of one, or pytree
        The network that stays, and the one that is brought to it.
    method : {"weights", "activations"}
        Match units by their weights [1]_ or by what they do on up to 256 examples of `split` [2]_.
    structure : mapping, optional
        Groups of units, where they are not to be derived: name to the (path, axis) pairs permuted alike.
    seed : int
        Of the starts and orders of weight matching.
    restarts : int
        Random starts of weight matching beside the identity and, where it can be had, the match by
        activations.
    split : str
        The data.
    batch_size : int, optional
        Examples per batch in the check.
    names : pair of str, optional
        What to call the networks.

    Returns
    -------
    Aligned

    Raises
    ------
    InputError
        If permuting by the structure changes the loss: it is not one of this network.
    ConfigurationError
        If a setting or the given structure is invalid.
    ArchitectureMismatchError, NonFiniteError, ProblemError
        From the networks and the problem.

    Notes
    -----
    Needs values only, no gradient. Two evaluations of the split for the check.

    References
    ----------
    .. [1] Ainsworth et al., 2023. Git re-basin: merging models modulo permutation symmetries.
    arXiv:2209.04836. .. [2] Li et al., 2016. Convergent learning. arXiv:1511.07543.

    Examples
    --------
    >>> import numpy as np
    >>> import jax.numpy as jnp
    >>> from landscape import Problem, align
    >>> x = np.random.default_rng(0).normal(size=(20, 2)).astype(np.float32)
    >>> problem = Problem(lambda p, batch: (jnp.tanh(batch @ p["w"]) @ p["v"]) ** 2, train=x)
    >>> a = {"w": np.array([[1, 2, 3], [4, 5, 6]], np.float32), "v": np.array([1, 2, 3], np.float32)}
    >>> b = {"w": a["w"][:, [2, 0, 1]], "v": a["v"][[2, 0, 1]]}
    >>> bool((align(problem, a, b).params["w"] == a["w"]).all())
    True
    """
    check_choice("method", method, METHODS)
    check_seed(seed)
    check_whole("restarts", restarts, 0)
    given = [read(item) for item in (a, b)]
    problem = problem_for(problem, *given)
    called = (
        ["a", "b"]
        if names is None and not all(isinstance(g, Checkpoint) for g in given)
        else names_of(given, names)
    )
    ends = make_ends(given, called, with_stats=problem.update_stats is not None, allow_nonfinite=False)
    work = _Work(problem, ends[0], ends[1], split, batch_size)
    found = work.structure(structure)
    permutations = work.match(found, method, seed=int(seed), restarts=int(restarts))
    return Aligned(**work.fields(found, permutations, method, {"seed": int(seed), "restarts": int(restarts)}))


@dataclasses.dataclass(frozen=True)
class _Work:
    """Two networks and the data on which they are compared."""

    problem: Problem
    a: Endpoint
    b: Endpoint
    split: str
    batch_size: int | None

    def _point(self, end: Endpoint) -> PyTree:
        return end.params if end.batch_stats is None else (end.params, end.batch_stats)

    def structure(self, stated: Mapping[str, Sequence[tuple[str, int]]] | None) -> Structure:
        """Return the groups that the program shows, or those that the user states."""
        from landscape.alignment.structure import given_structure, structure_of

        point = self._point(self.b)
        if stated is not None:
            return given_structure(point, stated)
        return structure_of(self.problem.loss, point, self.problem.head(_TRACED, self.split))

    def match(self, structure: Structure, method: str, *, seed: int, restarts: int) -> dict[str, np.ndarray]:
        """Return the permutations by the method that was asked for."""
        from landscape.alignment.matching import match_weights

        first, second = (arrays_by_path(self._point(end)) for end in (self.a, self.b))
        rng = np.random.default_rng([seed, 0xA119])
        if method == ACTIVATIONS:
            return self._by_activations(structure)
        found = match_weights(structure, first, second, rng=rng, restarts=restarts)
        if structure.observed:
            start = self._by_activations(structure)
            other = match_weights(structure, first, second, rng=rng, restarts=0, start=start)
            found = max(found, other, key=lambda matched: matched.objective)
        return found.permutations

    def _by_activations(self, structure: Structure) -> dict[str, np.ndarray]:
        from landscape.alignment.matching import match_activations
        from landscape.alignment.observing import observer
        from landscape.alignment.structure import structure_of

        if not structure.observed:
            raise ConfigurationError(
                "method='activations': units are observed where the structure was read off the program",
                expected="structure=None",
                hint="Leave the structure out, or match by weights.",
            )
        count = min(_OBSERVED, self.problem.num_examples(self.split))
        batch = self.problem.head(count, self.split)
        # The program for so many examples has the same operations; its structure is read again for its
        # shapes.
        again = structure_of(self.problem.loss, self._point(self.b), batch)
        observe = observer(again, self.problem.loss, batch)
        return match_activations(again, observe, self._point(self.a), self._point(self.b))

    def fields(
        self,
        structure: Structure,
        permutations: dict[str, np.ndarray],
        method: str,
        settings: Mapping[str, Any],
    ) -> dict[str, Any]:
        """Return the fields of the result; refuse a structure under which the loss changes."""
        from landscape.alignment.matching import objective

        point = self._point(self.b)
        leaves = {path: np.asarray(leaf) for path, leaf in arrays_by_path(point).items()}
        first = {path: np.asarray(leaf) for path, leaf in arrays_by_path(self._point(self.a)).items()}
        moved = structure.apply(leaves, permutations)
        aligned = fill(point, moved)
        error = self._difference(point, aligned)
        if not error <= EQUIVALENCE:
            raise InputError(
                f"{self.b.name}: permuting its units by this structure changes the loss",
                expected=f"losses of single examples that differ by at most {EQUIVALENCE:g} of their size",
                got=f"{error:.3g}",
                hint="A given structure is not one of this network; one that was derived is a bug to report.",
            )
        params, stats = aligned if self.b.batch_stats is not None else (aligned, None)
        none = {name: np.arange(len(p)) for name, p in permutations.items()}
        return {
            "params": params,
            "checkpoint": self._checkpoint(structure, permutations, params, stats),
            "permutations": permutations,
            "groups": structure.describe(),
            "moved": {name: float(np.mean(p != none[name])) for name, p in permutations.items()},
            "equivalence_error": error,
            "objective_before": objective(structure, first, leaves, none),
            "objective_after": objective(structure, first, leaves, permutations),
            "distance_before": _distance(first, leaves),
            "distance_after": _distance(first, moved),
            "method": method,
            "endpoints": (self.a.name, self.b.name),
            "warnings": self._warnings(structure),
            "config": {"method": method, "split": self.split, **settings},
            "stats": {"num_examples": self.problem.num_examples(self.split)},
            "provenance": provenance(
                seed=settings["seed"],
                dtype="float32",
                digests={
                    "a": self.a.digest,
                    "b": self.b.digest,
                    "data": self.problem.data_digest(self.split),
                },
            ),
        }

    def _difference(self, before: PyTree, after: PyTree) -> float:
        values = [
            self.problem.per_example(point, self.split, batch_size=self.batch_size)["loss"].astype(np.float64)
            for point in (before, after)
        ]
        size = float(np.sqrt(np.mean(np.square(values[0]))))
        largest = float(np.max(np.abs(values[0] - values[1])))
        return largest / size if size > 0 else largest

    def _warnings(self, structure: Structure) -> tuple[str, ...]:
        notes = []
        if structure.unknown:
            notes.append(f"operations that no rule knows fix what they touch: {', '.join(structure.unknown)}")
        if not structure.groups:
            notes.append("no unit of this network can be permuted without changing its loss")
        return tuple(notes)

    def _checkpoint(
        self, structure: Structure, permutations: dict[str, np.ndarray], params: PyTree, stats: PyTree
    ) -> Checkpoint:
        """Return everything of the second network's checkpoint with its units moved."""
        given = self.b.checkpoint
        if given is None:
            return Checkpoint(params=params, batch_stats=stats)
        prefix = "" if self.b.batch_stats is None else "[0]/"
        shapes = {path.removeprefix(prefix): shape for path, shape in structure.shapes.items()}

        def carried(tree: PyTree) -> PyTree:
            """Move the units of a tree of the parameters' structure; anything else stays as it is."""
            if tree is None:
                return None
            leaves = {path: np.asarray(leaf) for path, leaf in arrays_by_path(tree).items()}
            if any(shapes.get(path) != leaf.shape for path, leaf in leaves.items()):
                return tree
            moved = structure.apply({prefix + path: leaf for path, leaf in leaves.items()}, permutations)
            return fill(tree, {path.removeprefix(prefix): leaf for path, leaf in moved.items()})

        parts = {name: carried(getattr(given, name)) for name in ("mask", "std", "init", "best")}
        state = given.state
        if isinstance(state, Mapping):
            state = {key: carried(value) for key, value in state.items()}
        return dataclasses.replace(given, params=params, batch_stats=stats, state=state, path=None, **parts)


def _distance(a: Mapping[str, np.ndarray], b: Mapping[str, np.ndarray]) -> float:
    squares = [np.square(a[path].astype(np.float64) - b[path].astype(np.float64)).sum() for path in a]
    return float(np.sqrt(np.sum(squares)))
