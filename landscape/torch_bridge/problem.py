"""A problem whose network is a module of PyTorch."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from landscape.files import Checkpoint, load
from landscape.problem import Data, Outputs, Problem, as_metric
from landscape.torch_bridge import losses, naming
from landscape.torch_bridge.data import split_of
from landscape.torch_bridge.functions import (
    Batch,
    forward_pass,
    function_of,
    function_of_outputs,
    metric_of,
    module_host,
    output_host,
    outputs_of,
    tried,
    turned_back,
)
from landscape.torch_bridge.hosting import TorchHost, untouched
from landscape.torch_bridge.modules import Network, take_apart, with_batch_statistics
from landscape.torch_bridge.statistics import TorchStatistics

PyTree = Any

# Bytes of activations of a batch that is evaluated, by what differentiation would keep of it.
_ACTIVATIONS = 2**31


class ModuleForm:
    """How networks of a module come in; see `landscape.problem.Form`."""

    def __init__(
        self,
        network: Network,
        hosts: Mapping[str, TorchHost],
        constant: frozenset[str],
        notes: tuple[str, ...],
    ) -> None:
        self.training_loss: Callable[[PyTree, PyTree], Any] | None = None
        self.network = network
        self.hosts = hosts
        self.constant = constant
        self.notes = notes

    def take(self, given: Any) -> tuple[PyTree, PyTree, Checkpoint]:
        """Return (params, batch_stats, checkpoint) by PyTorch's names."""
        found = naming.taken(self.network, given)
        return found.params, found.batch_stats, found

    def output_axis(self, path: str) -> int:
        """Return the axis of a parameter that counts output units."""
        return self.network.output_axis(path)

    @property
    def derivatives(self) -> dict[str, str]:
        """How each kind of derivative was computed so far."""
        found: dict[str, str] = {}
        for host in self.hosts.values():
            found.update(host.routes)
        return found

    @functools.cached_property
    def example_bytes(self) -> float:
        """Bytes that differentiation keeps per example, beside parameters and data."""
        host = self.hosts["loss"]
        with untouched(host.name):
            x, c = host.example()
            own = {tensor.untyped_storage().data_ptr() for tensor in (*x, *c)}
            seen: dict[int, int] = {}

            def kept(tensor: Any) -> Any:
                storage = tensor.untyped_storage()
                if storage.data_ptr() not in own:
                    seen[storage.data_ptr()] = storage.nbytes()
                return tensor

            with torch.autograd.graph.saved_tensors_hooks(kept, lambda tensor: tensor):
                host.function([tensor.requires_grad_() for tensor in x], c)
        return sum(seen.values()) / len(c[host.rows])


class TorchProblem(Problem):
    """A problem whose network is a module of PyTorch; made by `torch_problem`.

    Attributes
    ----------
    module : torch.nn.Module
        What was given; never changed.
    """

    module: Any

    def state_dict(self, network: Any, *, recompute_statistics: bool = False) -> dict[str, Any]:
        """Return a network, or a vector like one (an eigenvector, a diagonal), as a state dict.

        It holds what the module's own holds, so that ``module.load_state_dict(found, strict=True)`` takes it;
        what `network` lacks is as in the module.

        Parameters
        ----------
        network : Checkpoint, path of one, module, mapping of arrays, or a pair with statistics
            What an analysis gave back.
        recompute_statistics : bool
            Whether running statistics are computed on the training data for these parameters, as at a point
            of a curve or a path, which has none of its own.
        """
        is_path = isinstance(network, (str, Path))
        found = naming.state_dict(self._network, load(network) if is_path else network)
        if recompute_statistics and self._network.statistics:
            params, stats, _ = self._form.take(found)
            return naming.state_dict(self._network, (params, self.recompute_stats(params, stats)))
        return found

    @property
    def derivatives(self) -> dict[str, str]:
        """How each kind of derivative was computed so far."""
        return self._form.derivatives

    @property
    def _form(self) -> ModuleForm:
        form: Any = self.form
        own: ModuleForm = form
        return own

    @property
    def _network(self) -> Network:
        return self._form.network

    def resolve_batch_size(self, split: str, batch_size: int | None = None) -> int:
        """Return the batch size of evaluations: by default, as many examples as there is room for."""
        size = super().resolve_batch_size(split, batch_size)
        if batch_size is None and self._batch_size is None:
            size = min(size, max(1, int(_ACTIVATIONS // max(self._form.example_bytes, 1.0))))
        return size

    def per_example(self, params: Any, split: str = "train", **options: Any) -> dict[str, np.ndarray]:
        """Return the loss and every metric of each example; `params` may be a module or its state dict."""
        return super().per_example(self._point(params), split, **options)

    def _point(self, given: Any) -> PyTree:
        if _is_own(self._network, given):
            return given
        params, stats, _ = self._form.take(given)
        return params if stats is None else (params, stats)


def _is_own(network: Network, given: Any) -> bool:
    """Return whether a point is in the form in which the problem's own functions take it."""
    if network.statistics:
        if not isinstance(given, tuple):
            return False
        given = given[0]
    return isinstance(given, Mapping) and set(given) == {*network.parameters, *network.constants}


def build_problem(
    module: Any,
    loss: Any,
    *,
    splits: Mapping[str, Any],
    metrics: Mapping[str, Any] | None,
    likelihood: str | None,
    differentiate_frozen: bool,
    **options: Any,
) -> TorchProblem:
    """Return the problem of a module; see `torch_problem`."""
    network = take_apart(module)
    found = losses.loss_of(loss)
    data = {split: split_of(given, split) for split, given in splits.items() if given is not None}
    batch = Batch(Data({"train": data.get("train")}, weights=None, batch_size=None).head(2))
    copies, output = tried(network, found, batch)
    make = functools.partial(module_host, network, batch, copies=copies)
    hosts = {"loss": make(found.whole, name=network.name, tail=())}
    functions = {}
    for key, given in (metrics or {}).items():
        metric = as_metric(key, given)
        hosts[key] = make(metric_of(key, metric.fn), name=key, tail=())
        functions[key] = dataclasses.replace(
            metric, fn=function_of(network, batch, hosts[key]), of_outputs=None
        )
    outputs = None
    if found.of_output is not None and isinstance(output, torch.Tensor):
        # Classes stand last, as measures of outputs have them.
        turned = found.classes_first and output.ndim > 2
        output = output.movedim(1, -1) if turned else output
        tail = tuple(output.shape[1:])
        inner = make(functools.partial(outputs_of, turned=turned), name=network.name, tail=tail)
        of_output = functools.partial(turned_back, found.of_output) if turned else found.of_output
        outer = output_host(network, batch, of_output, output, copies=copies)
        # The mean over tokens is no likelihood of an example.
        known = found.likelihood if output.ndim == 2 else None
        outputs = Outputs(
            function_of(network, batch, inner),
            function_of_outputs(batch, outer),
            likelihood=likelihood or known,
        )
        hosts |= {"outputs": inner, "loss of outputs": outer}
    constant = (*network.constants, *(() if differentiate_frozen else network.frozen))
    form = ModuleForm(network, hosts, frozenset(constant), (*network.notes, *found.notes))
    statistics = None
    if network.statistics:
        inner = module_host(
            with_batch_statistics(network), batch, found.whole, name=network.name, tail=(), copies=copies
        )
        form.training_loss = function_of(network, batch, inner)
        statistics = TorchStatistics(network, forward_pass(network, found, batch), lambda: form.example_bytes)
    options["name"] = options["name"] or network.name
    problem = TorchProblem(
        function_of(network, batch, hosts["loss"]),
        **data,
        metrics=functions,
        update_stats=statistics,
        outputs=outputs,
        form=form,
        **options,
    )
    problem.module = module
    return problem
