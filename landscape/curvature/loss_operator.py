"""Curvature matrices of a mean loss, known by their products."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

from landscape.compute import compile_seconds, device_memory, on_device, precision
from landscape.curvature.products import Gradient, Programs, Resident, Streamed, programs_of
from landscape.curvature.symmetric import SymmetricOperator
from landscape.network import Network, Subject, differentiable, network_of, nudged, used_inputs
from landscape.problem import Problem, Weighting, stated, subset_of
from landscape.trees import check_same_architecture, map_arrays

PyTree = Any


class CurvatureOperator(SymmetricOperator):
    """A symmetric curvature matrix of a mean loss, known by its products.

    Made by `hessian`, `gauss_newton` and `fisher`. Vectors have one entry per free coordinate: leaves
    by path ascending, each in C order, masked and unselected entries left out.

    Attributes
    ----------
    kind : str
        ``"hessian"``, ``"gauss_newton"``, ``"empirical_fisher"`` or ``"model_fisher"``.
    dim : int
        Number of free coordinates.
    dtype : numpy.dtype
        Of the products.
    problem, split, subject
        The loss, its data and the network.
    num_matvecs : int
        Products with one vector so far.
    """

    def __init__(
        self, problem: Problem, subject: Subject, programs: Programs, kind: str, **options: Any
    ) -> None:
        super().__init__(subject.dim, np.dtype(options["dtype"] or "float32"))
        self.problem = problem
        self.subject = subject
        self.kind = kind
        self.split = options["split"]
        self._subset = options["subset"]
        self._programs = programs
        self._options = options
        self._compiling = 0.0
        with self._computing(options["batch_size"] or self._most_at_once()):
            problem.check(subject.point)
            network = network_of(subject, self.dtype)
            self._data = self._batches(programs, network, options["batch_size"])
        self.num_examples = self._data.count

    def _batches(self, programs: Programs, network: Network, batch_size: int | None) -> Resident | Streamed:
        if batch_size is not None:
            batch_size = self.problem.resolve_batch_size(self.split, batch_size)
        weighting = self.weighting
        if self.problem.is_stream(self.split):
            size = self.problem.resolve_batch_size(self.split, batch_size)
            return Streamed(programs, network, self.problem, self.split, size=size, dtype=self.dtype)
        arrays = subset_of(self.problem.arrays(self.split, dtype=self.dtype), weighting.numbers, self.split)
        form = self.problem.form
        return Resident(
            programs,
            network,
            arrays,
            self.subject.layout,
            batch_size=batch_size,
            shares=weighting.shares,
            hidden=0.0 if form is None else form.example_bytes,
        )

    def _most_at_once(self) -> int:
        """Return the examples of a batch whose size is not chosen yet: all, or those of a stream's batch."""
        if self.problem.is_stream(self.split):
            return self.problem.resolve_batch_size(self.split)
        return self.problem.num_examples(self.split) if self._subset is None else len(self._subset)

    @functools.cached_property
    def weighting(self) -> Weighting:
        """The examples that count, and how much each of them does."""
        return self.problem.weighting_among(self.split, self._subset)

    @contextlib.contextmanager
    def _computing(self, batch_size: int | None = None) -> Iterator[None]:
        size = batch_size or (self._data.size if hasattr(self, "_data") else 0)
        with precision(self.dtype), device_memory(size), compile_seconds() as spent:
            yield
        self._compiling += sum(spent)

    def _products(self, rows: np.ndarray) -> np.ndarray:
        full = self.subject.scatter(np.ascontiguousarray(rows, self.dtype))
        with self._computing():
            total = self._summed(full, self._data)
        products: np.ndarray = self.subject.gather(total)
        return products

    def rounded_otherwise(self, vectors: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Return the products again, with other roundings on the way: what changes is rounding error.

        Vectors and the sum's weights are scaled by numbers that are not powers of two, and weights of the
        network moved by one unit in the last place, so that no operation rounds as it did. The programs
        are the same.
        """
        factor, weight = (self.dtype.type(x) for x in rng.uniform(0.6, 0.9, size=2))
        self.num_matvecs += len(vectors)
        full = self.subject.scatter(np.ascontiguousarray(vectors * factor, self.dtype))
        with self._computing():
            network = nudged(self._data.network, self.dtype, rng)
            total = self._summed(full, self._data.instead(network, self._data.scale * weight))
        products: np.ndarray = self.subject.gather(total).astype(np.float64)
        return products / (float(factor) * float(weight))

    def _summed(self, full: np.ndarray, data: Resident | Streamed) -> np.ndarray:
        """Return the products [b, size] over all batches, added up in float64 if there are several."""
        vectors: Any = full if self._blocked(len(full)) else list(full)
        if jax.default_backend() != "cpu":  # one transfer for all batches; a CPU reads rows where they lie
            vectors = jax.tree.map(on_device, vectors)
        total: np.ndarray | None = None
        pending: Any = None
        for prepared in data.prepared():
            part = self._on_batch(prepared, vectors)
            if pending is not None:
                total = _added(total, pending)
            pending = part
        if total is None:
            return _host(pending)
        summed: np.ndarray = _added(total, pending).astype(self.dtype)
        return summed

    def _on_batch(self, prepared: PyTree, vectors: Any) -> Any:
        programs, layout = self._data.programs, self.subject.layout
        with differentiable():
            if isinstance(vectors, list):
                return [programs.apply(prepared, row, layout=layout) for row in vectors]
            return programs.apply_block(prepared, vectors, layout)

    @staticmethod
    def _blocked(count: int) -> bool:
        """Whether several vectors go through one batched product.

        On a CPU they do not: for dense layers a vector of a block of eight cost 1.5 times a single
        one, for convolutions 2.5 times.
        """
        return count > 1 and jax.default_backend() != "cpu"

    @functools.cached_property
    def notes(self) -> tuple[str, ...]:
        """Return the notes of the subject, and a warning about parameters that the loss ignores."""
        known, key = self._programs.ignored, (self.subject.layout, self.split)
        if key not in known:  # the same for all checkpoints of a shape
            known[key] = self._ignored()
        idle = known[key]
        more = (f"the loss ignores {', '.join(idle[:3])}: exact zeros",) if idle else ()
        return (*self.subject.notes, *self._route(), *more)

    def _route(self) -> tuple[str, ...]:
        """Return how another library computed second derivatives, where that is not its usual way."""
        form = self.problem.form
        route = form.derivatives.get("second") if form is not None else None
        return (
            ()
            if route in (None, "forward over reverse, fused kernels")
            else (f"second derivatives: {route}",)
        )

    def _ignored(self) -> list[str]:
        """Return the paths of the differentiated leaves on which the loss does not depend as a program."""
        network, examples = self._data.network, self.problem.head(1, self.split)

        def loss(leaves: PyTree) -> PyTree:
            return self.problem.loss(network.point(leaves), examples)

        with self._computing():
            used = used_inputs(loss, network.leaves)
        return [path for path, needed in zip(sorted(network.leaves), used, strict=True) if not needed]

    @property
    def stats(self) -> dict[str, Any]:
        """Return examples, batches and bytes kept, for the statistics of results."""
        return {
            "num_examples": self.num_examples,
            "batch_size": self._data.size,
            "num_batches": self._data.num_batches,
            "linearised_once": self._data.kept is not None,
            "streamed": isinstance(self._data, Streamed),
            "num_matvecs": self.num_matvecs,
            "compile_seconds": self._compiling,
            **({} if self.problem.form is None else {"derivatives": dict(self.problem.form.derivatives)}),
            **self.weighting.facts,
        }

    @property
    def config(self) -> dict[str, Any]:
        """Return the settings that describe the matrix: problem, split, network."""
        return {
            "matrix": self.kind,
            "checkpoint": self.subject.file,
            "problem": self.problem.described,
            "split": self.split,
            "num_examples": self.num_examples,
            "subset": stated(self._subset),
            "batch_size": self._data.size,
            "dtype": self.dtype.name,
            "masked": self.subject.free is not None,
            "paths": list(self.subject.layout.paths),
            "batch_stats": "none" if self.subject.batch_stats is None else "stored",
        }

    def layers(self) -> dict[str, np.ndarray]:
        """Return the coordinates of each leaf, by path."""
        return self.subject.layers()

    def groups(self, count: int) -> list[SymmetricOperator]:
        """Return the operators of `count` disjoint groups of the examples, equal in size up to one.

        Every group takes each `count`-th example, so that an order in the data does no harm.
        """
        if isinstance(self._data, Streamed) or count > self.num_examples:
            return []
        numbers = self.weighting.numbers
        numbers = np.arange(self.num_examples) if numbers is None else numbers
        return [
            CurvatureOperator(
                self.problem,
                self.subject,
                self._programs,
                self.kind,
                **{**self._options, "subset": numbers[first::count]},
            )
            for first in range(count)
        ]

    def group_shares(self, count: int) -> np.ndarray | None:
        """Return the share [count] of each of these groups in the weights of all; None if all are equal."""
        shares = self.weighting.shares
        return None if shares is None else np.array([shares[first::count].sum() for first in range(count)])

    def digests(self) -> dict[str, Any]:
        """Return the digests of parameters and data, and the file of another tool they are from."""
        return self.subject.digests(self.problem, self.split)

    def __matmul__(self, other: Any) -> Any:
        """Return the product with a vector, a matrix of columns, or a tree like the parameters.

        The product with a tree is a tree, zero at coordinates that are not free.

        Raises
        ------
        ArchitectureMismatchError
            If a tree has other paths or shapes than the parameters.
        """
        if _is_array(other):
            return super().__matmul__(other)
        check_same_architecture(self.subject.params, other, ("the parameters", "the tree"))
        return self.unflatten(self.matvec(self.flatten(other)))

    def unflatten(self, vector: np.ndarray) -> PyTree:
        """Return the tree of a vector [dim], zero at coordinates that are not free."""
        full = self.subject.scatter(np.asarray(vector)[None])[0]
        leaves = self.subject.layout.split(full)
        return map_arrays(
            lambda path, leaf: leaves.get(path, np.zeros(np.shape(leaf), full.dtype)), self.subject.params
        )

    def flatten(self, tree: PyTree) -> np.ndarray:
        """Return the free entries [dim] of a tree like the parameters."""
        return self.subject.flatten(tree, self.dtype)

    def gradient(self) -> np.ndarray:
        """Return the gradient [dim] of the mean loss on the same examples, in float64."""
        programs = programs_of(self.problem, "gradient", lambda: Gradient(self.problem.loss))
        total = np.zeros(self.subject.layout.size)
        with self._computing():
            data = self._batches(programs, self._data.network, self._options["batch_size"])
            for leaves in data.prepared():
                parts = [np.asarray(leaves[path], np.float64) for path in self.subject.layout.paths]
                total += np.concatenate([part.reshape(-1) for part in parts])
        vector: np.ndarray = self.subject.gather(total[None])[0]
        return vector


def _is_array(other: Any) -> bool:
    """Return whether `other` is an array or nested lists of numbers, and no tree of arrays."""
    if isinstance(other, (list, tuple)):
        return all(isinstance(item, (list, tuple, int, float)) and _is_array(item) for item in other)
    return hasattr(other, "ndim") or isinstance(other, (int, float))


def _added(total: np.ndarray | None, part: Any) -> np.ndarray:
    wide = _host(part).astype(np.float64)
    return wide if total is None else total + wide


def _host(part: Any) -> np.ndarray:
    return np.stack([np.asarray(row) for row in part]) if isinstance(part, list) else np.asarray(part)
