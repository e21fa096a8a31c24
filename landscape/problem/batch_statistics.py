"""Exact statistics of Flax's normalisation layers over a data set, as the layers are used at inference.

Statistics of batches, averaged, depend on the batch size: the variance within a batch is not that over the
data, and a second layer sees inputs that each batch has normalised in its own way. Here the network runs as
at inference, and each layer's statistics are the mean and variance of its inputs over all examples, when the
layers before it have theirs:

1. Run the network over all batches with the statistics so far, and take mean and variance of what enters
   each layer, merged over batches (Chan, Golub and LeVeque 1983).
2. Put them in. The first layer's are right after one pass, those of a layer that comes after k others after
   k + 1: what enters it no longer changes.
3. Stop when a pass has changed nothing, or after as many passes as there are layers.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen, nnx

from landscape.compute import program
from landscape.errors import ConfigurationError, ProblemError
from landscape.problem.feature_moments import Sample, merged, moments
from landscape.trees import arrays_by_path, arrays_with_paths, map_arrays, opened, sealed

PyTree = Any
Moments = dict[str, Sample]  # by layer
Batches = Callable[[], Iterable[tuple[PyTree, int]]]


def flax_statistics(
    module: linen.Module | nnx.Module,
    *,
    inputs: Callable[[PyTree], Any] | None = None,
    variables: Mapping[str, Any] | None = None,
    **call: Any,
) -> ExactStatistics:
    """Return the `update_stats` of a problem with exact statistics of its normalisation layers.

    ``Problem(loss, train=…, update_stats=flax_statistics(module, train=False))`` recomputes, wherever
    statistics are recomputed, the mean and variance of what enters each ``BatchNorm`` layer over all
    training examples, with the network as it is at inference. They depend neither on the statistics that
    came in nor, but for rounding, on the batch size.

    Parameters
    ----------
    module : flax.linen.Module or flax.nnx.Module
        The network. In parameters of linen it is called with ``{"params": params, "batch_stats": stats}``;
        of NNX with ``(params, stats)`` from ``nnx.split(model, nnx.Param, ...)[1:]``.
    inputs : callable, optional
        ``inputs(batch)``: what the network takes first, by default ``batch[0]``.
    variables : mapping, optional
        Further collections of linen, held fixed.
    **call
        Keywords of the network's call that make it inference (``train=False``). NNX modules are set to
        inference by ``eval()``.

    Returns
    -------
    ExactStatistics
        For ``Problem(update_stats=…)``.

    Raises
    ------
    ConfigurationError
        If `module` is neither.

    Notes
    -----
    Costs at most one pass over the training data per normalisation layer. Layers that normalise within an
    example (LayerNorm, GroupNorm) have no statistics.

    References
    ----------
    Ioffe and Szegedy, 2015. Batch normalization. arXiv:1502.03167, algorithm 2 (statistics at inference).
    Chan, Golub and LeVeque, 1983. Algorithms for computing the sample variance. The American Statistician
    37(3).

    Examples
    --------
    >>> import jax, numpy as np
    >>> from flax import linen as nn
    >>> from landscape import Problem, flax_statistics
    >>> model, x = nn.BatchNorm(use_running_average=True), np.arange(8, dtype=np.float32).reshape(4, 2)
    >>> variables = model.init(jax.random.key(0), x)
    >>> def loss(point, batch):
    ...     return model.apply({"params": point[0], "batch_stats": point[1]}, batch[0]).sum(-1)
    >>> problem = Problem(loss, train=(x, x), update_stats=flax_statistics(model))
    >>> stats = problem.recompute_stats(variables["params"], variables["batch_stats"])
    >>> np.asarray(stats["mean"]), np.asarray(stats["var"])
    (array([3., 4.], dtype=float32), array([5., 5.], dtype=float32))
    """
    take = inputs or (lambda batch: batch[0])
    if isinstance(module, linen.Module):
        return ExactStatistics(_linen(module, take, dict(variables or {}), call))
    if isinstance(module, nnx.Module):
        return ExactStatistics(_nnx(module, take, call))
    raise ConfigurationError(
        "flax_statistics: not a module of Flax",
        expected="a flax.linen.Module or flax.nnx.Module",
        got=type(module).__name__,
        hint="For other libraries write update_stats((params, batch_stats), batch) -> batch_stats yourself.",
    )


class ExactStatistics:
    """Recomputes statistics over all batches; made by `flax_statistics`.

    Parameters
    ----------
    run : callable
        ``run(point, batch)``: the moments of what enters each layer, by the path of the layer.
    """

    def __init__(self, run: Callable[[PyTree, PyTree], Moments]) -> None:
        self._moments = program(lambda point, batch: run(opened(point), batch))

    def __call__(self, point: PyTree, batch: PyTree) -> PyTree:
        """Return the exact statistics over one batch."""
        size = jax.tree.leaves(batch)[0].shape[0]
        return self.over(point, lambda: [(batch, size)])

    def over(self, point: PyTree, batches: Batches) -> PyTree:
        """Return the exact statistics over all batches.

        Raises
        ------
        ProblemError
            If a layer uses the statistics of its batch, or a statistic belongs to no layer.
        """
        params, stats = point
        passes = 0
        while True:
            found = self._pass((sealed(params), sealed(stats)), batches)
            _check_all_known(stats, found)
            before, stats = stats, _put(stats, found)
            passes += 1
            if passes >= len(found) or _settled(before, stats):
                return stats

    def _pass(self, point: PyTree, batches: Batches) -> Moments:
        total: Moments = {}
        for batch, _ in batches():
            for path, part in self._moments(point, batch).items():
                wide = (np.asarray(part[0]), np.asarray(part[1], np.float64), np.asarray(part[2], np.float64))
                total[path] = merged(total[path], wide) if path in total else wide
        return total


class _Record:
    """The moments of one run, by layer; a layer that runs twice sees both inputs."""

    def __init__(self) -> None:
        self.found: Moments = {}

    def add(self, path: str, part: tuple[Any, Any, Any]) -> None:
        if path not in self.found:
            self.found[path] = part
            return
        (n, mean, squares), (m, other, more) = self.found[path], part
        share, step = m / jnp.maximum(n + m, 1), other - mean
        self.found[path] = n + m, mean + step * share, squares + more + step**2 * n * share


def _linen(
    module: linen.Module, inputs: Callable[[PyTree], Any], variables: dict[str, Any], call: dict[str, Any]
) -> Callable[[PyTree, PyTree], Moments]:
    def run(point: PyTree, batch: PyTree) -> Moments:
        record = _Record()

        def interceptor(following: Any, args: Any, kwargs: Any, context: Any) -> Any:
            layer = context.module
            if isinstance(layer, linen.BatchNorm) and context.method_name == "__call__":
                given = kwargs.get("use_running_average", args[1] if len(args) > 1 else None)
                path = "/".join(layer.path)
                _check_inference(path, layer.use_running_average if given is None else given)
                record.add(path, moments(args[0], layer.axis, kwargs.get("mask")))
            return following(*args, **kwargs)

        with linen.intercept_methods(interceptor):
            module.apply({**variables, "params": point[0], "batch_stats": point[1]}, inputs(batch), **call)
        return record.found

    return run


def _nnx(
    module: nnx.Module, inputs: Callable[[PyTree], Any], call: dict[str, Any]
) -> Callable[[PyTree, PyTree], Moments]:
    graph, *_ = nnx.split(module, nnx.Param, ...)

    def run(point: PyTree, batch: PyTree) -> Moments:
        model, record = nnx.merge(graph, *point), _Record()
        model.eval()
        with _recording(model, record):
            model(inputs(batch), **call)
        return record.found

    return run


@contextlib.contextmanager
def _recording(model: nnx.Module, record: _Record) -> Iterator[None]:
    """Record what enters the layers of a model that is ours alone: it was merged for this run."""
    for path, layer in nnx.iter_graph(model):
        if isinstance(layer, nnx.BatchNorm):
            layer.__class__ = _recorded(type(layer), "/".join(map(str, path)), record)
    yield


def _recorded(kind: type, path: str, record: _Record) -> Any:
    def call(self: Any, x: Any, use_running_average: bool | None = None, *, mask: Any = None) -> Any:
        _check_inference(
            path, self.use_running_average if use_running_average is None else use_running_average
        )
        record.add(path, moments(x, self.axis, mask))
        return kind.__call__(self, x, use_running_average, mask=mask)

    return type(kind.__name__, (kind,), {"__call__": call})


def _check_inference(path: str, running: bool | None) -> None:
    if not running:
        raise ProblemError(
            f"batch statistics: the layer {path or 'itself'} uses the statistics of its batch",
            expected="a call that uses stored statistics, as the loss you analyse does",
            hint="Give the keyword of the call that says so: flax_statistics(module, train=False).",
        )


def _check_all_known(stats: PyTree, found: Moments) -> None:
    strange = [path for path in _statistic_paths(stats) if _place(path)[0] not in found]
    if strange or not found:
        raise ProblemError(
            "batch statistics: not of a BatchNorm layer that the network ran through: "
            + (", ".join(strange[:3]) or "it ran through none"),
            expected="the mean and variance of each BatchNorm layer",
            hint="Write update_stats((params, batch_stats), batch) -> batch_stats for other statistics.",
        )


def _statistic_paths(stats: PyTree) -> list[str]:
    return [path for path, leaf in arrays_with_paths(stats) if np.asarray(leaf).dtype.kind not in "biu"]


def _place(path: str) -> tuple[str, str]:
    """Return the layer and the statistic that a path means; NNX's paths end in ``value``."""
    parts = path.removesuffix("/value").split("/")
    return "/".join(part.removeprefix("[").removesuffix("]") for part in parts[:-1]), parts[-1]


def _put(stats: PyTree, found: Moments) -> PyTree:
    """Return the statistics with those found in place of its own."""

    def exact(path: str, leaf: Any) -> Any:
        layer, name = _place(path)
        if layer not in found or name not in ("mean", "var"):
            return leaf
        count, mean, squares = found[layer]
        value = mean if name == "mean" else squares / np.maximum(count, 1)
        return jnp.asarray(value.reshape(np.shape(leaf)), jnp.asarray(leaf).dtype)

    return map_arrays(exact, stats)


def _settled(before: PyTree, after: PyTree) -> bool:
    old, new = arrays_by_path(before), arrays_by_path(after)
    return all(np.array_equal(np.asarray(old[path]), np.asarray(new[path])) for path in new)
