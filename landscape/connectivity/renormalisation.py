r"""Renormalisation of a network on a path: its units get the statistics that the ends lead one to expect.

Between two networks the pre-activations of a unit vary less than in either (the variance collapses), and the
loss rises for that reason alone. REPAIR (Jordan et al. 2022, arXiv:2211.08403, section 3) sets the mean and
standard deviation of each hidden unit at α to :math:`(1-\alpha) \mu_0 + \alpha \mu_1` and
:math:`(1-\alpha) \sigma_0 + \alpha \sigma_1`, those of the ends between which it lies:

1. Measure mean and standard deviation of every hidden unit at both ends, over all training data (for a
   convolution over all places too).
2. At α, measure those of the first layer, and put the scale and the shift that lead to the wanted ones into
   its kernel and bias.
3. Go on with the layers that come after it, with the layers before them as they are now.

Layers that are normalised by running statistics are left to these: recomputed on the path, they give each
unit the interpolated mean and standard deviation that its own bias and scale stand for.

As in batch statistics, every example of positive weight counts once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from landscape.compute import on_device, program, run_keeping
from landscape.connectivity.hidden_layers import HiddenLayer, hidden_layers
from landscape.problem import Sample, merged, moments
from landscape.trees import leaves_with_paths, map_arrays, opened, sealed

if TYPE_CHECKING:
    from landscape.problem import Problem

__all__ = ["Renormaliser", "between", "layers_of"]

PyTree = Any
Statistics = dict[str, tuple[np.ndarray, np.ndarray]]  # by layer: mean and standard deviation of its units

_TRACED = 2  # examples
# A unit whose values differ by a few units in the last place of their mean has no spread to rescale.
_NO_SPREAD = 8


def layers_of(problem: Problem, params: PyTree, stats: PyTree | None) -> list[HiddenLayer]:
    """Return the hidden layers of a network that nothing normalises.

    Raises
    ------
    ProblemError
        If there is no hidden layer, or one that cannot be renormalised, by name.
    """
    return _layers_in(problem, _point(params, stats), stats is not None, problem.head(_TRACED))[1]


def _point(params: PyTree, stats: PyTree | None) -> PyTree:
    return sealed(params if stats is None else (params, stats))


def _layers_in(problem: Problem, point: PyTree, paired: bool, batch: PyTree) -> tuple[Any, list[HiddenLayer]]:
    """Return the program of the loss at a sealed point, and its layers by the paths of the parameters."""
    closed = jax.make_jaxpr(lambda p, b: problem.plain_loss(opened(p), b))(point, batch)
    names: list[str | None] = [path for path, _ in leaves_with_paths(point)]
    running = frozenset(name for name in names if paired and name is not None and _is_second(name))
    if paired:
        names = [
            name if name in running else str(name).removeprefix("[0]").removeprefix("/") for name in names
        ]
    rest: list[str | None] = [None] * len(jax.tree.leaves(batch))
    return closed, hidden_layers(closed, [*names, *rest], running)


def _is_second(path: str) -> bool:
    return path == "[1]" or path.startswith("[1]/")


class Renormaliser:
    """Renormalises the networks of paths of one problem; keeps what it has measured at the ends.

    Parameters
    ----------
    problem : Problem
        The loss and the training data.
    params, stats : pytree
        A network of the architecture; `stats` None for one without batch statistics.
    batch_size : int, optional
        Examples per batch.
    dtype : {"float32", "float64"}, optional
        Of data and parameters.
    """

    def __init__(
        self,
        problem: Problem,
        params: PyTree,
        stats: PyTree | None,
        *,
        batch_size: int | None,
        dtype: str | None,
    ) -> None:
        self._problem, self._paired = problem, stats is not None
        self._size, self._dtype = problem.resolve_batch_size("train", batch_size), dtype
        self._batch_size = batch_size
        problem.check(params if stats is None else (params, stats))
        self.layers = layers_of(problem, params, stats)
        depths = sorted({layer.depth for layer in self.layers})
        self._levels = [[layer for layer in self.layers if layer.depth == depth] for depth in depths]
        self._ends: dict[Any, Statistics] = {}
        self._programs: dict[tuple[str, ...], Callable[[PyTree, PyTree], dict[str, Sample]]] = {}
        self.passes = 0
        self.without_spread = 0  # the most units of a network that kept their scale

    @property
    def summary(self) -> dict[str, Any]:
        """What was done, as plain JSON types."""
        return {
            "layers": [layer.bias for layer in self.layers],
            "recomputed_statistics": self._paired,
            "passes": self.passes,
            "units_without_spread": self.without_spread,
        }

    def end(self, key: Any, params: PyTree, stats: PyTree | None) -> Statistics:
        """Return the statistics of an end; kept by its key, unless that is None."""
        if key is None or key not in self._ends:
            found = self._measured(self.layers, params, stats)
            if key is None:
                return found
            self._ends[key] = found
        return self._ends[key]

    def renormalised(self, params: PyTree, stats: PyTree | None, wanted: Statistics) -> PyTree:
        """Return the parameters with which every hidden unit has the statistics that are wanted."""
        flat = 0
        for level in self._levels:
            found = self._measured(level, params, stats)
            factors = {layer.bias: _factors(found[layer.bias], wanted[layer.bias]) for layer in level}
            flat += sum(int(np.count_nonzero(kept)) for _, _, kept in factors.values())
            params = _folded(params, level, factors)
        self.without_spread = max(self.without_spread, flat)
        return params

    def _measured(self, layers: Sequence[HiddenLayer], params: PyTree, stats: PyTree | None) -> Statistics:
        """Return the statistics of layers over the training data."""
        if not layers:
            return {}
        if stats is not None:
            stats = self._problem.recompute_stats(params, stats, batch_size=self._batch_size)
        point, run = _point(params, stats), self._program(tuple(layer.bias for layer in layers))
        total: dict[str, Sample] = {}
        for batch, _ in self._problem.batches("train", self._size):
            given = jax.tree.map(lambda x: on_device(x, self._dtype), batch)
            for name, (count, mean, squares) in run(point, given).items():
                part = (np.float64(count), np.asarray(mean, np.float64), np.asarray(squares, np.float64))
                total[name] = merged(total[name], part) if name in total else part
        self.passes += 1
        return {name: (mean, np.sqrt(squares / count)) for name, (count, mean, squares) in total.items()}

    def _program(self, names: tuple[str, ...]) -> Callable[[PyTree, PyTree], dict[str, Sample]]:
        """Return the program of the moments of some layers, by the paths of their biases; made once."""
        if names not in self._programs:
            self._programs[names] = self._made(names)
        return self._programs[names]

    def _made(self, names: tuple[str, ...]) -> Callable[[PyTree, PyTree], dict[str, Sample]]:

        def values(point: PyTree, batch: PyTree) -> dict[str, Sample]:
            closed, layers = _layers_in(self._problem, point, self._paired, batch)
            chosen = {layer.bias: layer for layer in layers if layer.bias in names}
            given = [*jax.tree.leaves(point), *jax.tree.leaves(batch)]
            found = run_keeping(closed, given, {layer.place for layer in chosen.values()})
            return {name: _unit_moments(found[layer.place][0], layer) for name, layer in chosen.items()}

        run: Callable[[PyTree, PyTree], dict[str, Sample]] = program(values)
        return run


def _unit_moments(values: jax.Array, layer: HiddenLayer) -> Sample:
    """Return entries per unit, mean and squared deviations in the shape of the layer's bias."""
    places = [place for place, _ in layer.axes]
    count, mean, squares = moments(values, places)
    # The moments come in the order of the axes of the values.
    order = [int(i) for i in np.argsort(np.argsort(places))]
    return count.reshape(-1)[0], jnp.transpose(mean, order), jnp.transpose(squares, order)


def between(alpha: float, a: Statistics, b: Statistics) -> Statistics:
    """Return the statistics that are wanted at α: those of the ends, interpolated."""
    return {
        name: ((1 - alpha) * a[name][0] + alpha * b[name][0], (1 - alpha) * a[name][1] + alpha * b[name][1])
        for name in a
    }


def _factors(
    found: tuple[np.ndarray, np.ndarray], wanted: tuple[np.ndarray, np.ndarray]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the scale and shift of each unit, and which units keep their scale: they have no spread."""
    mean, spread = found
    flat = spread <= _NO_SPREAD * np.finfo(np.float32).eps * np.abs(mean)
    scale = np.where(flat, 1.0, wanted[1] / np.where(flat, 1.0, spread))
    return scale, wanted[0] - scale * mean, flat


def _folded(
    params: PyTree,
    layers: Sequence[HiddenLayer],
    factors: Mapping[str, tuple[np.ndarray, np.ndarray, np.ndarray]],
) -> PyTree:
    """Return the parameters with scales in the kernels, scales and shifts in the biases."""
    kernels = {layer.kernel: layer for layer in layers}

    def changed(path: str, leaf: Any) -> Any:
        wide = np.asarray(leaf, np.float64)
        if path in factors:
            scale, shift, _ = factors[path]
            wide = wide * scale + shift
        elif path in kernels:
            layer = kernels[path]
            wide = wide * _along(factors[layer.bias][0], [axis for _, axis in layer.axes], wide.ndim)
        else:
            return leaf
        return on_device(wide.astype(np.asarray(leaf).dtype))

    return map_arrays(changed, params)


def _along(scale: np.ndarray, axes: Sequence[int], rank: int) -> np.ndarray:
    """Return the scales [the shape of the bias] along the axes of a kernel."""
    ordered = np.transpose(scale, np.argsort(axes))
    shape = [1] * rank
    for size, axis in zip(ordered.shape, sorted(axes), strict=True):
        shape[axis] = size
    return ordered.reshape(shape)
