"""A `torch.nn.Module` as a function of its parameters; the module itself is never changed.

The function runs on a copy of the module's structure, in evaluation mode, that shares the tensors of the
original. Names are PyTorch's own (``layer1.0.conv1.weight``); of tied weights the first name stands.
"""

from __future__ import annotations

import copy
import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvTransposeNd
from torch.nn.parameter import is_lazy

from landscape.errors import InputError, ProblemError

# What libraries wrap around a module, and so write in front of its names.
PREFIXES = ("module.", "_orig_mod.", "model.")
_STATISTICS = ("running_mean", "running_var")


@dataclasses.dataclass(frozen=True, eq=False)
class Network:
    """A module taken apart.

    Attributes
    ----------
    module : nn.Module
        The copy, in evaluation mode.
    name : str
        Its class, for messages.
    parameters : tuple of str
        Names of its floating-point parameters, sorted, each once.
    constants : tuple of str
        Names of the other tensors of its state, but for running statistics.
    statistics : tuple of str
        Names of running means and variances of batch normalisation layers, sorted.
    frozen : frozenset of str
        Parameters that do not require gradients.
    aliases : mapping of str to str
        Further names of tied weights, to the first.
    notes : tuple of str
        What a reader should know.
    """

    module: Any
    name: str
    parameters: tuple[str, ...]
    constants: tuple[str, ...]
    statistics: tuple[str, ...]
    frozen: frozenset[str]
    aliases: Mapping[str, str]
    notes: tuple[str, ...]

    @functools.cached_property
    def tensors(self) -> dict[str, Any]:
        """Return every tensor of the state, by name."""
        found: dict[str, Any] = self.module.state_dict(keep_vars=True)
        return found

    @functools.cached_property
    def device(self) -> Any:
        """Where the module is."""
        return next((tensor.device for tensor in self.tensors.values()), torch.device("cpu"))

    @functools.cached_property
    def _unsaved(self) -> dict[str, Any]:
        saved = self.tensors
        return {name: buffer for name, buffer in self.module.named_buffers() if name not in saved}

    def run(self, tensors: Mapping[str, Any], body: Callable[[Any], Any]) -> Any:
        """Return ``body(module)`` with these parameters and buffers in the module.

        Buffers that are in no state dict take the type of the parameters too.
        """
        kind = next((x.dtype for x in tensors.values() if x.is_floating_point()), None)
        own = {name: _as(buffer, kind) for name, buffer in self._unsaved.items()}
        tied = {alias: tensors[first] for alias, first in self.aliases.items()}
        called = _Called(self.module, body)
        return torch.func.functional_call(called, _below({**own, **tensors, **tied}), (), tie_weights=False)

    def output_axis(self, name: str) -> int:
        """Return the axis of a parameter that counts output units."""
        layer = self.module.get_submodule(name.rpartition(".")[0])
        return 1 if isinstance(layer, _ConvTransposeNd) and self.tensors[name].ndim > 1 else 0


def with_batch_statistics(network: Network) -> Network:
    """Return the network with normalisation by the statistics of the batch, as in training."""
    module = _copied(network.name, network.module)
    for layer in normalisations(module).values():
        layer.train()
        layer._buffers["num_batches_tracked"] = None
    return dataclasses.replace(network, module=module)


# mypy sees no types of PyTorch, whether it is installed or not.
class _Called(nn.Module):  # type: ignore[misc]
    """Calls a function with a module, so that the tensors stay exchanged for more than one call of it."""

    def __init__(self, module: Any, body: Callable[[Any], Any]) -> None:
        super().__init__()
        self.inner = module
        self.body = body

    def forward(self) -> Any:
        """Call the function."""
        return self.body(self.inner)


def _below(tensors: Mapping[str, Any]) -> dict[str, Any]:
    return {f"inner.{name}": tensor for name, tensor in tensors.items()}


def _as(tensor: Any, kind: Any) -> Any:
    return tensor.to(kind) if kind is not None and tensor.is_floating_point() else tensor


def take_apart(module: Any) -> Network:
    """Return a module taken apart.

    Raises
    ------
    ProblemError
        If it is no module, is not initialised yet, or cannot be copied.
    InputError
        If its parameters are complex, or it has none.
    """
    if not isinstance(module, nn.Module):
        raise ProblemError(
            "torch_problem: not a module of PyTorch", expected="a torch.nn.Module", got=type(module).__name__
        )
    inner, wrappers = _unwrapped(module)
    name = type(inner).__name__
    _check_ready(name, inner)
    own = _copied(name, inner)
    training = [layer for layer, found in inner.named_modules() if found.training]
    own.eval()
    state = own.state_dict(keep_vars=True)
    named = dict(own.named_parameters())
    first = {id(parameter): name for name, parameter in named.items()}
    aliases = {
        name: first[id(parameter)]
        for name, parameter in own.named_parameters(remove_duplicate=False)
        if name not in named
    }
    statistics = tuple(sorted(n for n in _statistics_of(own) if n in state))
    parameters = tuple(sorted(n for n, p in named.items() if p.is_floating_point()))
    if not parameters:
        raise InputError(f"{name}: has no floating-point parameters", expected="parameters to measure")
    taken = {*parameters, *statistics, *aliases}
    constants = tuple(
        sorted(n for n in state if n not in taken and not n.endswith(("num_batches_tracked", "_extra_state")))
    )
    frozen = frozenset(n for n in parameters if not named[n].requires_grad)
    notes = _notes(wrappers, bool(training), aliases, frozen)
    return Network(own, name, parameters, constants, statistics, frozen, aliases, notes)


def unwrapped(module: Any) -> Any:
    """Return the module inside ``torch.compile``'s and the data-parallel wrappers."""
    return _unwrapped(module)[0]


def _unwrapped(module: Any) -> tuple[Any, list[str]]:
    wrappers: list[str] = []
    parallel = (nn.DataParallel, nn.parallel.DistributedDataParallel)
    while True:
        if isinstance(module, parallel):
            inner = module.module
        elif "_orig_mod" in module._modules:
            inner = module._modules["_orig_mod"]
        else:
            return module, wrappers
        wrappers.append(type(module).__name__)
        module = inner


def _check_ready(name: str, module: Any) -> None:
    lazy = [n for n, x in (*module.named_parameters(), *module.named_buffers()) if is_lazy(x)]
    if lazy:
        raise ProblemError(
            f"{name}: a lazy module that is not initialised yet: {', '.join(lazy[:3])}",
            expected="parameters with shapes",
            hint="Run it once on a batch before you give it: module(inputs).",
        )
    complex_ = [n for n, x in module.named_parameters() if x.is_complex()]
    if complex_:
        raise InputError(
            f"{name}: complex parameters, which no measure here differentiates: {', '.join(complex_[:3])}",
            expected="floating-point parameters",
            hint="Keep real and imaginary parts as two parameters, and put them together in forward().",
        )


def _copied(name: str, module: Any) -> Any:
    """Return a copy of the structure that shares every tensor."""
    held = {}
    for layer in module.modules():
        for value in (*vars(layer).values(), *layer._parameters.values(), *layer._buffers.values()):
            if isinstance(value, torch.Tensor):
                held[id(value)] = value
    try:
        return copy.deepcopy(module, held)
    except Exception as error:
        raise ProblemError(
            f"{name}: cannot be copied, and the module itself is never changed",
            expected="a module that copy.deepcopy copies",
            got=f"{type(error).__name__}: {error}"[:200],
            hint="Take what cannot be copied (files, locks, generators) out of the module.",
        ) from error


def normalisations(module: Any) -> dict[str, Any]:
    """Return the batch normalisation layers that use stored statistics, in the order of their names."""
    return {
        name: layer
        for name, layer in module.named_modules()
        if isinstance(layer, _BatchNorm) and layer.running_mean is not None and layer.running_var is not None
    }


def _statistics_of(module: Any) -> list[str]:
    return [f"{name}.{kind}".lstrip(".") for name in normalisations(module) for kind in _STATISTICS]


def _notes(
    wrappers: Sequence[str], training: bool, aliases: Mapping[str, str], frozen: frozenset[str]
) -> tuple[str, ...]:
    notes = []
    if wrappers:
        notes.append(f"the module inside {' and '.join(wrappers)} is measured")
    if training:
        notes.append("the module came in training mode and is measured in evaluation mode")
    if aliases:
        tied = ", ".join(f"{name} is {first}" for name, first in list(aliases.items())[:3])
        notes.append(f"tied weights are one parameter: {tied}")
    if frozen:
        few = ", ".join(sorted(frozen)[:3]) + (f" and {len(frozen) - 3} more" if len(frozen) > 3 else "")
        notes.append(f"frozen parameters are constants: {few}")
    return tuple(notes)
