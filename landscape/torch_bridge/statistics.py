"""Running statistics of batch normalisation layers over all data, computed by the module itself.

Statistics of batches, averaged, depend on the batch size (a running variance leaves out the variance between
batches), and a layer in training mode sees inputs that its batch has normalised. Here the module runs as at
inference, and each layer gets mean and variance of what enters it over all examples while the layers before
it have theirs:

1. find the order in which the layers run;
2. if all examples fit in memory at once, run them as one batch, and set each layer's statistics to those of
   its input just before it runs: one pass;
3. otherwise take the layers one by one, in their order: run each batch up to the layer, merge mean and sum of
   squared deviations over batches (Chan, Golub and LeVeque 1983), and set its statistics: one pass per layer.

As PyTorch's own running variance it is the unbiased one, with n examples times places: divided by n - 1
(Ioffe and Szegedy 2015, algorithm 2).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import jax
import numpy as np
import torch

from landscape.errors import ProblemError
from landscape.torch_bridge.modules import Network, normalisations

PyTree = Any
Batches = Callable[[], Iterable[tuple[PyTree, int]]]
Moments = tuple[int, Any, Any]  # entries per channel, mean, sum of squared deviations

# Activations of all examples up to this size are held at once.
_HELD_BYTES = 2**31
_CHUNK = 2**22  # entries of an input that are widened to float64 at a time


class _Stop(Exception):
    """Ends a forward pass at the layer that is measured."""


class TorchStatistics:
    """Recomputes running statistics over all batches.

    Parameters
    ----------
    network : Network
        The module.
    run : callable
        ``run(tensors, batch)``: the forward pass.
    example_bytes : callable
        Returns the bytes that one example's activations take.
    """

    def __init__(
        self,
        network: Network,
        run: Callable[[Mapping[str, Any], PyTree], None],
        example_bytes: Callable[[], float],
    ) -> None:
        self.network = network
        self.layers = normalisations(network.module)
        self._run = run
        self._example_bytes = example_bytes
        self._order: list[str] | None = None

    def __call__(self, point: PyTree, batch: PyTree) -> PyTree:
        """Return the exact statistics over one batch.

        Raises
        ------
        ProblemError
            Inside a program of jax: derivatives of statistics are not computed.
        """
        leaves = jax.tree.leaves((point, batch))
        if any(isinstance(leaf, jax.core.Tracer) for leaf in leaves):
            raise ProblemError(
                f"{self.network.name}: asked for derivatives of batch statistics",
                expected="statistics that are recomputed at a point, or held fixed",
                hint="Curves are trained by Problem.form.training_loss, with the statistics of minibatches.",
            )
        return self.over(point, lambda: [(batch, len(leaves[-1]))])

    def over(self, point: PyTree, batches: Batches) -> PyTree:
        """Return the exact statistics over all batches.

        Raises
        ------
        ProblemError
            If a layer runs more than once in a forward pass.
        """
        params, stats = point
        tensors = {
            name: torch.from_numpy(np.array(value)).to(self.network.device)
            for name, value in {**params, **stats}.items()
        }
        with torch.no_grad():
            order = self._layers_in_order(tensors, batches)
            whole = self._held(batches)
            if whole is not None:
                self._at_once(tensors, whole)
            else:
                for name in order:
                    self._one(tensors, batches, name)
        like = {name: np.asarray(value).dtype for name, value in stats.items()}
        return {name: tensors[name].cpu().numpy().astype(like[name]) for name in stats}

    def _layers_in_order(self, tensors: Mapping[str, Any], batches: Batches) -> list[str]:
        """Return the layers in the order in which they run, found once."""
        if self._order is None:
            order: list[str] = []
            batch, _ = next(iter(batches()))
            with self._watched(lambda name, _: order.append(name)):
                self._run(tensors, jax.tree.map(lambda x: x[:1], batch))
            if len(set(order)) < len(order):
                twice = next(name for name in order if order.count(name) > 1)
                raise ProblemError(
                    f"{self.network.name}: the layer {twice} normalises more than once in a forward pass",
                    expected="a layer of its own at every place",
                    hint="Interpolate the stored statistics with batch_stats='keep'.",
                )
            self._order = order
        return self._order

    def _held(self, batches: Batches) -> PyTree | None:
        """Return all examples as one batch; None, and read no further, if their activations do not fit."""
        example_bytes = self._example_bytes()
        parts, count = [], 0
        for batch, size in batches():
            parts.append(batch)
            count += size
            if count * example_bytes > _HELD_BYTES:
                return None
        return jax.tree.map(lambda *x: np.concatenate(x), *parts)

    def _at_once(self, tensors: Mapping[str, Any], whole: PyTree) -> None:
        def seen(name: str, value: Any) -> None:
            _set(tensors, name, _moments(value))

        with self._watched(seen):
            self._run(tensors, whole)

    def _one(self, tensors: Mapping[str, Any], batches: Batches, wanted: str) -> None:
        found: list[Moments] = []

        def seen(name: str, value: Any) -> None:
            if name == wanted:
                found.append(_moments(value))
                raise _Stop

        with self._watched(seen):
            for batch, _ in batches():
                with contextlib.suppress(_Stop):
                    self._run(tensors, batch)
        total = found[0]
        for part in found[1:]:
            total = _merged(total, part)
        _set(tensors, wanted, total)

    @contextlib.contextmanager
    def _watched(self, seen: Callable[[str, Any], None]) -> Iterator[None]:
        """Call ``seen(name, input)`` before each layer runs."""

        def hook(name: str) -> Callable[[Any, Any], None]:
            def before(_: Any, inputs: Any) -> None:
                seen(name, inputs[0])

            return before

        handles = [layer.register_forward_pre_hook(hook(name)) for name, layer in self.layers.items()]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()


def _moments(value: Any) -> Moments:
    """Return entries, mean and sum of squared deviations of each channel (axis 1), in float64."""
    rows = max(1, _CHUNK // max(1, value[0].numel()))
    total: Moments | None = None
    for part in value.detach().split(rows):
        wide = part.double().transpose(0, 1).flatten(1)
        mean = wide.mean(1)
        one = (wide.shape[1], mean, (wide - mean[:, None]).square().sum(1))
        total = one if total is None else _merged(total, one)
    if total is None:
        raise ProblemError("batch statistics: no examples", expected="at least one")
    return total


def _merged(a: Moments, b: Moments) -> Moments:
    count = a[0] + b[0]
    step = b[1] - a[1]
    return count, a[1] + step * (b[0] / count), a[2] + b[2] + step.square() * (a[0] * b[0] / count)


def _set(tensors: Mapping[str, Any], layer: str, moments: Moments) -> None:
    """Put statistics into the tensors with which the module runs."""
    count, mean, squares = moments
    prefix = f"{layer}." if layer else ""
    tensors[f"{prefix}running_mean"].copy_(mean)
    tensors[f"{prefix}running_var"].copy_(squares / max(1, count - 1))
