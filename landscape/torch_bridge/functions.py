"""A module, its loss and its metrics as functions of jax, by calls to the host."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
import torch

from landscape.errors import LandscapeError, ProblemError, first_line
from landscape.torch_bridge import losses
from landscape.torch_bridge.hosting import TorchHost, untouched
from landscape.torch_bridge.losses import Loss
from landscape.torch_bridge.modules import Network
from landscape.torch_bridge.primitives import call_host

PyTree = Any
Shape = tuple[int, ...]


class Batch:
    """How a batch is laid out: its tree, and the types of its tensors.

    Parameters
    ----------
    few : pytree of arrays
        A few examples.
    """

    def __init__(self, few: PyTree) -> None:
        self.few = few
        leaves, self.tree = jax.tree.flatten(few)
        own = [torch.from_numpy(np.array(leaf[:1])).dtype for leaf in leaves]
        self.types = tuple(None if kind.is_floating_point else kind for kind in own)

    def leaves(self, batch: PyTree) -> list[Any]:
        """Return the arrays of a batch.

        Raises
        ------
        ProblemError
            If it is laid out otherwise.
        """
        leaves, tree = jax.tree.flatten(batch)
        if str(tree) != str(self.tree):
            raise ProblemError(
                "data: the splits are laid out otherwise", expected=str(self.tree), got=str(tree)
            )
        return leaves

    def whole(self, leaves: Sequence[Any]) -> PyTree:
        """Return the batch of arrays or tensors, tuples as tuples."""
        return jax.tree.unflatten(self.tree, leaves)

    def tensors(self, batch: PyTree, kind: Any, device: Any) -> PyTree:
        """Return a batch of arrays as tensors, floats as `kind`."""
        found = [
            torch.from_numpy(np.array(leaf)).to(device, own or kind)
            for leaf, own in zip(self.leaves(batch), self.types, strict=True)
        ]
        return self.whole(found)


def metric_of(name: str, function: Any) -> Callable[[Any, Any], Any]:
    """Return a metric in the form of a loss: one value per example, truth values as numbers."""
    taken = losses.loss_of(function)

    def whole(module: Any, batch: Any) -> Any:
        if taken.of_output is None:
            found = function(module, batch)
        else:
            inputs, target = losses.pair(name, batch)
            found = function(module(inputs), target)
        values = losses.checked(name, found, jax.tree.leaves(batch)[0].shape[0])
        return values if values.is_floating_point() else values.to(torch.get_default_dtype())

    return whole


def outputs_of(module: Any, data: Any, *, turned: bool) -> Any:
    """Return the outputs of a module, classes last if they stand on axis 1."""
    found = module(data[0])
    return found.movedim(1, -1) if turned else found


def turned_back(of_output: Callable[[Any, Any], Any], output: Any, target: Any) -> Any:
    """Return a loss of outputs whose classes stand last."""
    return of_output(output.movedim(-1, 1), target)


def module_host(
    network: Network, batch: Batch, whole: Callable[[Any, Any], Any], *, name: str, tail: Shape, copies: bool
) -> TorchHost:
    """Return ``whole(module, batch)`` as a function of the parameters.

    `tail` is the shape of what it gives for one example; `copies`, whether it changes its data in place.
    """
    held = (*network.statistics, *network.constants)
    kinds = tuple(None if network.tensors[n].is_floating_point() else network.tensors[n].dtype for n in held)

    def function(x: Sequence[Any], c: Sequence[Any]) -> Any:
        named = dict(zip((*network.parameters, *held), (*x, *c[: len(held)]), strict=True))
        return network.run(named, lambda module: whole(module, batch.whole(c[len(held) :])))

    def example() -> tuple[list[Any], list[Any]]:
        own = network.tensors
        x = [own[n].detach().clone() for n in network.parameters]
        c = [own[n].detach().clone() for n in held]
        return x, c + jax.tree.leaves(batch.tensors(batch.few, x[0].dtype, network.device))

    return TorchHost(name, function, (*kinds, *batch.types), example, len(held), tail, network.device, copies)


def output_host(network: Network, batch: Batch, of_output: Any, output: Any, *, copies: bool) -> TorchHost:
    """Return the loss as a function of the outputs; `output` is that of a few examples."""

    def function(x: Sequence[Any], c: Sequence[Any]) -> Any:
        return of_output(x[0], batch.whole(c)[1])

    def example() -> tuple[list[Any], list[Any]]:
        found = output.detach().clone()
        return [found], jax.tree.leaves(batch.tensors(batch.few, found.dtype, network.device))

    return TorchHost(f"{network.name}'s loss", function, batch.types, example, 0, (), network.device, copies)


def function_of(network: Network, batch: Batch, host: TorchHost) -> Callable[[PyTree, PyTree], jax.Array]:
    """Return what a host computes at a point, as a function of jax."""

    def function(point: PyTree, data: PyTree) -> jax.Array:
        params, stats = point if network.statistics else (point, {})
        x = [params[n] for n in network.parameters]
        c = [stats[n] for n in network.statistics] + [params[n] for n in network.constants]
        return call_host(host, x, [*c, *batch.leaves(data)])

    return function


def function_of_outputs(batch: Batch, host: TorchHost) -> Callable[[PyTree, PyTree], jax.Array]:
    """Return the loss of outputs, as a function of jax."""
    return lambda output, data: call_host(host, [output], batch.leaves(data))


def forward_pass(network: Network, loss: Loss, batch: Batch) -> Callable[[Mapping[str, Any], PyTree], None]:
    """Return the forward pass of a batch of arrays, for its statistics."""

    def body(module: Any, data: Any) -> None:
        if loss.of_output is None:
            loss.whole(module, data)
        else:
            module(data[0])

    def run(tensors: Mapping[str, Any], data: PyTree) -> None:
        kind = next(iter(tensors.values())).dtype
        with untouched(network.name):
            network.run(tensors, lambda module: body(module, batch.tensors(data, kind, network.device)))

    return run


def tried(network: Network, loss: Loss, batch: Batch) -> tuple[bool, Any]:
    """Evaluate a few examples; return whether data are changed in place, and the module's output.

    Raises
    ------
    ProblemError
        In PyTorch's words, if it fails.
    """
    tensors = {n: network.tensors[n].detach().clone() for n in network.tensors if _is_tensor(network, n)}
    kind = tensors[network.parameters[0]].dtype
    data = batch.tensors(batch.few, kind, network.device)
    leaves = jax.tree.leaves(data)
    versions = [leaf._version for leaf in leaves]
    try:
        with untouched(network.name), torch.no_grad():
            values = network.run(tensors, lambda module: loss.whole(module, data))
            output = None
            if loss.of_output is not None:
                fresh = batch.tensors(batch.few, kind, network.device)
                output = network.run(tensors, lambda module: module(fresh[0]))
    except LandscapeError:
        raise
    except Exception as error:
        raise _failed(network.name, error, data) from error
    losses.checked("loss", values, len(leaves[0]))
    return [leaf._version for leaf in leaves] != versions, output


def _is_tensor(network: Network, name: str) -> bool:
    return isinstance(network.tensors[name], torch.Tensor) and name not in network.aliases


def _failed(name: str, error: Exception, data: Any) -> ProblemError:
    sentence = first_line(error)
    shown = ", ".join(
        f"{tuple(leaf.shape)} of {str(leaf.dtype).removeprefix('torch.')}" for leaf in jax.tree.leaves(data)
    )
    target = any(word in sentence for word in ("scalar type", "dtype", "Long", "Target", "target"))
    return ProblemError(
        f"{name}: {'its loss' if target else 'it'} fails on {len(jax.tree.leaves(data)[0])} examples: "
        f"{type(error).__name__}: {sentence[:300]}",
        expected="a module and a loss that take these data",
        got=shown,
        hint="Is the target of the type that the loss takes (whole numbers for classes, floats for values)?"
        if target
        else "Run loss(module(inputs), targets) on a few examples by itself.",
    )
