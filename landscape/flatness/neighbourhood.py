"""The loss around a network, which every flatness measure evaluates."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import math
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from landscape.compute import SILENT, Progress, compile_seconds, device_memory, on_device, precision
from landscape.errors import ProblemError
from landscape.flatness.evaluations import (
    Part,
    Place,
    Programs,
    normalised,
    plain,
    programs_of,
)
from landscape.flatness.examples import Examples
from landscape.flatness.meter import Meter, Products
from landscape.flatness.options import Options
from landscape.network import Cost, Subject, differentiable, filter_sizes, make_subject, network_of
from landscape.problem import (
    Problem,
    checked_outputs,
    example_numbers,
    problem_for,
    require_gradient,
    stated,
)
from landscape.results import check_choice
from landscape.trees import arrays_by_path, check_same_architecture

PyTree = Any

# What measures flatness without derivatives.
PERTURBED = "gaussian_robustness, average_sharpness, search_sharpness or pac_bayes_flatness"
SCALES = ("absolute", "weights", "filter")


class Neighbourhood:
    """A network, its free coordinates, and the loss at offsets from it.

    With `slopes_of`, the name of a measure that needs derivatives of the loss, a problem that has none is
    refused before anything is evaluated.

    Attributes
    ----------
    problem, subject, options
        What it is of.
    size : int
        Length of the layout's vector; offsets are vectors of that length, zero where not free.
    dim : int
        Free coordinates.
    num_evaluations : int
        Passes over the data so far (a gradient counts as one).
    """

    def __init__(
        self,
        problem: Problem | None,
        params: Any,
        options: Options,
        *,
        progress: Progress | None = None,
        slopes_of: str | None = None,
    ) -> None:
        check_choice("dtype", options.dtype, (None, "float32", "float64"))
        self.problem = problem_for(problem, params)
        if slopes_of is not None:
            require_gradient(self.problem, slopes_of, instead=PERTURBED)
        self.subject: Subject = make_subject(
            self.problem,
            params,
            mask=options.mask,
            where=options.where,
            allow_nonfinite=options.allow_nonfinite,
        )
        self.given = params
        self.options = options
        self.meter = Meter(progress or SILENT)
        self.dtype = np.dtype(options.dtype or "float32")
        self.layout = self.subject.layout
        self.size, self.dim = self.layout.size, self.subject.dim
        self.num_evaluations = 0
        self.compile_seconds = 0.0
        self.started = time.perf_counter()
        self._subset = example_numbers(options.subset)
        self._shared: dict[str, Any] = {}
        self._variants: dict[Any, tuple[Programs, list[Part]]] = {}
        with self.computing():
            self.problem.check(self.subject.point)
            self.place = self._place()
        self.free = self.subject.is_free
        self._data = Examples(self.problem, options.split, self._subset, self.dtype)
        self.weighting, self.count = self._data.weighting, self._data.weighting.count

    def _place(self) -> Place:
        network = network_of(self.subject, self.dtype)
        flat = np.concatenate([np.asarray(network.leaves[path]).reshape(-1) for path in self.layout.paths])
        return Place(dataclasses.replace(network, leaves={}), on_device(flat), self.layout)

    @property
    def stream(self) -> bool:
        """Whether the data is read batch by batch."""
        return self.problem.is_stream(self.options.split)

    @property
    def whole_train(self) -> bool:
        """Whether the data is the training split, all of it."""
        return self.options.split == "train" and self._subset is None

    @property
    def batch_size(self) -> int:
        """Examples evaluated at once."""
        size = self.problem.resolve_batch_size(self.options.split, self.options.batch_size)
        return min(size, self.count)

    @contextlib.contextmanager
    def computing(self) -> Iterator[None]:
        """Compute at this precision; memory errors name the batch size, compile times are added up."""
        size = self.batch_size if hasattr(self, "count") else 0
        with precision(self.dtype), device_memory(size), compile_seconds() as spent:
            yield
        self.compile_seconds += sum(spent)

    # -- the data ----------------------------------------------------------------------------------

    def parts(self, temperature: float | None = None) -> tuple[Programs, Iterator[Part]]:
        """Return the programs of a variant of the loss, and the batches with their values at the network."""
        programs = self._programs(temperature)
        if self.stream:
            return programs, self._fresh(programs, self.batch_size)
        if temperature not in self._variants:
            self._variants[temperature] = (programs, list(self._fresh(programs, self.batch_size)))
        return programs, iter(self._variants[temperature][1])

    def _fresh(self, programs: Programs, size: int) -> Iterator[Part]:
        for part, _ in self._data.parts(programs, self.place, size):
            yield part

    def pieces(self, size: int, temperature: float | None = None) -> Iterator[tuple[Part, float]]:
        """Yield batches of `size`, whose weights sum to 1 in each, with their shares in the whole."""
        return self._data.parts(self._programs(temperature), self.place, size, apart=True)

    def stacked(self, temperature: float | None = None) -> Part:
        """Return all batches in one, along a leading axis where there are several.

        For programs that loop over them themselves.

        Raises
        ------
        ProblemError
            If the data is a stream.
        """
        if self.stream:
            raise ProblemError(
                f"{self.options.split}: a stream of batches, where this measure needs arrays",
                hint="Give arrays, or a part of the data that fits the memory.",
            )
        parts = list(self.parts(temperature)[1])
        if len(parts) == 1:
            return parts[0]
        joined: Part = jax.tree.map(lambda *x: jnp.stack(x), *parts)
        return joined

    def _programs(self, temperature: float | None) -> Programs:
        if temperature is None:
            return programs_of(self.problem, "loss", lambda: plain(self.problem))
        outputs = self.shared("outputs", lambda: checked_outputs(self.problem, self.subject.point))
        return programs_of(
            self.problem, f"normalised {temperature!r}", lambda: normalised(outputs, temperature)
        )

    # -- what measures ask -------------------------------------------------------------------------

    def worked(self, *, passes: int = 0, gradients: int = 0) -> None:
        """Count evaluations of the data, and move the bar."""
        self.num_evaluations += passes + gradients
        self.meter.spend(Cost(passes=passes, gradients=gradients))

    @property
    def products(self) -> Products:
        """The progress to give to functions of curvature."""
        return Products(self.meter)

    @functools.cached_property
    def base(self) -> dict[str, float]:
        """The mean of the loss and of every metric at the network itself."""
        values: dict[str, list[np.ndarray]] = {}
        with self.computing():
            for _, _, found in self.parts()[1]:
                for name, value in found.items():
                    values.setdefault(name, []).append(np.asarray(value))
        self.worked(passes=1)
        return {name: self._data.mean(parts) for name, parts in values.items()}

    def rises(
        self, direction: jax.Array, steps: Sequence[float], temperature: float | None = None
    ) -> dict[str, np.ndarray]:
        """Return by how much the means grow at each ``step * direction`` from the network, {name: [T]}."""
        pending: list[list[dict[str, jax.Array]]] = [[] for _ in steps]
        programs, parts = self.parts(temperature)
        for part in parts:
            for found, step in zip(pending, steps, strict=True):
                found.append(programs.rise(self.place, direction, np.asarray(step, self.dtype), part))
        self.worked(passes=len(steps))
        names = pending[0][0]
        return {
            name: np.array([math.fsum(float(one[name]) for one in found) for found in pending])
            for name in names
        }

    def gradient(self, offset: np.ndarray | None = None) -> np.ndarray:
        """Return the gradient [size] of the mean loss at an offset from the network, zero where not free."""
        place = self.place if offset is None else self.place.moved(self.on_device(offset))
        total = np.zeros(self.size)
        with self.computing(), differentiable():
            programs, parts = self.parts()
            for part in parts:
                slope = programs.gradient(place, part)
                total += np.asarray(slope, np.float64)
        self.worked(gradients=1)
        total[~self.free] = 0
        return total

    def flatten(self, tree: PyTree) -> np.ndarray:
        """Return the entries [size] of a tree like the parameters, in float64, zero where not free.

        Raises
        ------
        ArchitectureMismatchError
            If the tree has other paths or shapes.
        """
        check_same_architecture(self.subject.params, tree, ("params", "the other tree"))
        leaves = arrays_by_path(tree)
        parts = [np.asarray(leaves[path], np.float64).reshape(-1) for path in self.layout.paths]
        return np.where(self.free, np.concatenate(parts), 0.0)

    @functools.cached_property
    def weights(self) -> np.ndarray:
        """The parameters [size] in float64, zero where not free."""
        values = np.asarray(self.place.flat, np.float64).copy()
        values[~self.free] = 0
        return values

    @property
    def norm(self) -> float:
        """Euclidean norm of the free parameters."""
        return float(np.linalg.norm(self.weights))

    def scale(self, kind: str, *, filter_norm: bool = False, eta: float = 0.0) -> np.ndarray:
        """Return the size c [size] of a perturbation in each coordinate, zero where not free.

        Parameters
        ----------
        kind : {"absolute", "weights", "filter"}
            1, |θ| or the root mean square of θ over the filter: all entries of a kernel that lead to
            one output (the same last index, in PyTorch the same first), or a whole leaf of one axis.
        filter_norm : bool
            For ``"filter"``: the norm of the filter instead of its root mean square.
        eta : float
            Added to each.
        """
        check_choice("scale", kind, SCALES)
        if kind == "absolute":
            values = np.ones(self.size)
        elif kind == "weights":
            values = np.abs(self.weights)
        else:
            values = self._filters(filter_norm=filter_norm)
        return np.where(self.free, values + eta, 0.0)

    def _filters(self, *, filter_norm: bool) -> np.ndarray:
        axis = self.problem.output_axis
        return filter_sizes(self.weights, self.free, self.layout, output_axis=axis, norm=filter_norm)

    def shared(self, name: str, make: Callable[[], Any]) -> Any:
        """Return a quantity that several measures need, computed once."""
        if name not in self._shared:
            self._shared[name] = make()
        return self._shared[name]

    def on_device(self, vector: np.ndarray) -> jax.Array:
        """Return a vector on the device in this precision."""
        return on_device(np.asarray(vector, self.dtype))

    def operator(self, kind: str, **more: Any) -> Any:
        """Return a curvature matrix (`hessian`, `fisher`) of the same network, data and free entries."""
        from landscape.curvature import operators

        options = {field.name: getattr(self.options, field.name) for field in dataclasses.fields(Options)}
        build = getattr(operators, kind)
        return self.shared(f"{kind} {more}", lambda: build(self.problem, self.given, **options, **more))

    # -- what results say --------------------------------------------------------------------------

    @property
    def config(self) -> dict[str, Any]:
        """The data, precision and coordinates, for the settings of results."""
        return {
            "checkpoint": self.subject.file,
            "problem": self.problem.described,
            "higher_is_better": {
                name: metric.higher_is_better for name, metric in self.problem.metrics.items()
            },
            "split": self.options.split,
            "num_examples": self.count,
            "subset": stated(self._subset),
            "batch_size": self.batch_size,
            "dtype": self.dtype.name,
            "masked": self.subject.free is not None,
            "where": self.options.where,
            "batch_stats": "none" if self.subject.batch_stats is None else "stored",
        }

    @property
    def stats(self) -> dict[str, Any]:
        """Counts and seconds."""
        return {
            "num_examples": self.count,
            "num_evaluations": self.num_evaluations,
            "compile_seconds": self.compile_seconds,
            "seconds": time.perf_counter() - self.started,
            **self.weighting.facts,
        }

    def digests(self) -> dict[str, Any]:
        """Digests of parameters and data, and the file of another tool they are from."""
        return self.subject.digests(self.problem, self.options.split)
