"""Networks of PyTorch by name: what is given to an analysis, and what it gives back.

A network is a mapping of names to arrays with PyTorch's own names, and another one of running statistics.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from landscape.errors import ArchitectureMismatchError, InputError
from landscape.files import Checkpoint
from landscape.torch_bridge.modules import PREFIXES, Network, unwrapped
from landscape.trees import arrays_with_paths, unescape_key

PyTree = Any

# Where training loops keep a state dict in what they save.
_STATES = ("model_state_dict", "state_dict", "model")
_SHOWN = 10
_OTHERS = ("mask", "std", "init", "best")


def taken(network: Network, given: Any) -> Checkpoint:
    """Return what was given as a network, by PyTorch's names.

    Parameters
    ----------
    network : Network
        The module of the problem.
    given : nn.Module, state dict, Checkpoint, mapping of arrays, or a pair of them
        The network; of a pair the second are running statistics.

    Raises
    ------
    ArchitectureMismatchError
        If names are missing or unexpected, or shapes differ.
    InputError
        If it is not one of these.
    """
    if isinstance(given, Checkpoint):
        return _of_checkpoint(network, given)
    if isinstance(given, torch.nn.Module):
        return _named(network, unwrapped(given).state_dict(keep_vars=True), type(given).__name__)
    if isinstance(given, tuple) and len(given) == 2:
        return _named(network, {**dict(given[0]), **dict(given[1] or {})}, "params")
    if isinstance(given, Mapping):
        inner = next((given[key] for key in _STATES if isinstance(given.get(key), Mapping)), given)
        return _named(network, inner, "the state dict")
    raise InputError(
        f"{network.name}: not a network",
        expected="a torch.nn.Module, its state_dict(), or a file of one",
        got=type(given).__name__,
    )


def _of_checkpoint(network: Network, given: Checkpoint) -> Checkpoint:
    held = {**_flat(given.params), **_flat(given.batch_stats)}
    where = str(given.path) if given.path else "the checkpoint"
    found = _named(network, held, where)
    others: dict[str, Any] = {}
    for name in _OTHERS:
        tree = getattr(given, name)
        if tree is not None:
            leaves, _ = _without_prefix(network, _flat(tree))
            others[name] = {key: leaves[key] for key in found.params if key in leaves}
    warnings = (*given.warnings, *found.warnings)
    return dataclasses.replace(
        given, params=found.params, batch_stats=found.batch_stats, warnings=warnings, **others
    )


def _flat(tree: PyTree) -> dict[str, Any]:
    """Return the arrays of a tree by PyTorch's names: the parts of their paths, joined by dots."""
    return {
        ".".join(unescape_key(part.removeprefix("[").removesuffix("]")) for part in path.split("/")): leaf
        for path, leaf in arrays_with_paths(tree)
    }


def _named(network: Network, state: Mapping[str, Any], where: str) -> Checkpoint:
    """Return the tensors of a state dict as a network."""
    state = {name: value for name, value in state.items() if not str(name).endswith("_extra_state")}
    state, notes = _without_prefix(network, state)
    held = _without_aliases(network, state, where)
    wanted = (*network.parameters, *network.constants, *network.statistics)
    _check_names(network, held, wanted, where)
    _check_shapes(network, held, wanted, where)
    params = {name: array_of(held[name]) for name in (*network.parameters, *network.constants)}
    stats = {name: array_of(held[name]) for name in network.statistics}
    return Checkpoint(params=dict(sorted(params.items())), batch_stats=stats or None, warnings=notes)


def _without_prefix(network: Network, state: Mapping[str, Any]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return a state dict without what wrappers write in front of names."""
    found = dict(state)
    taken_off = ""
    while not any(name in found for name in network.parameters):
        prefix = next((p for p in PREFIXES if any(str(name).startswith(p) for name in found)), None)
        if prefix is None:
            return dict(state), ()
        found = {name.removeprefix(prefix): value for name, value in found.items() if name.startswith(prefix)}
        taken_off += prefix
    return found, (f"the prefix {taken_off!r} of its names is taken off",) if taken_off else ()


def _without_aliases(network: Network, state: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Return a state dict in which tied weights stand once.

    Raises
    ------
    ArchitectureMismatchError
        If the values of tied weights differ.
    """
    found = dict(state)
    for alias, first in network.aliases.items():
        other = found.pop(alias, None)
        if other is None:
            continue
        if first not in found:
            found[first] = other
        elif not np.array_equal(array_of(other), array_of(found[first]), equal_nan=True):
            raise ArchitectureMismatchError(
                f"{where}: {alias} and {first} are one parameter of {network.name}, and differ",
                expected="equal values: the weights are tied",
                hint="Give a network whose weights are tied, or a module whose weights are not.",
            )
    return found


def _check_names(network: Network, held: Mapping[str, Any], wanted: tuple[str, ...], where: str) -> None:
    ignored = ("num_batches_tracked",)
    missing = [name for name in wanted if name not in held]
    more = [name for name in map(str, held) if name not in wanted and not name.endswith(ignored)]
    if missing or more:
        parts = [f"missing {_listed(missing)}"] * bool(missing) + [f"unexpected {_listed(more)}"] * bool(more)
        raise ArchitectureMismatchError(
            f"{where}: not a network of {network.name}: {len(missing)} names missing, {len(more)} unexpected",
            expected=f"the names of {network.name}.state_dict()",
            got="; ".join(parts),
            hint="Build the module of the problem as the one that was saved.",
        )


def _listed(names: list[str]) -> str:
    rest = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + rest


def _check_shapes(network: Network, held: Mapping[str, Any], wanted: tuple[str, ...], where: str) -> None:
    own = {name: tuple(network.tensors[name].shape) for name in wanted}
    other = [
        f"{name}: {tuple(np.shape(held[name]))} for {own[name]}"
        for name in wanted
        if tuple(np.shape(held[name])) != own[name]
    ]
    if other:
        raise ArchitectureMismatchError(
            f"{where}: {len(other)} shapes are not those of {network.name}",
            expected=f"the shapes of {network.name}",
            got=_listed(other),
            hint="Build the module of the problem with the sizes of the one that was saved.",
        )


def array_of(value: Any) -> Any:
    """Return a tensor as an array on the host, short floats as float32; other arrays as they are."""
    if isinstance(value, torch.Tensor):
        kept = value.detach().cpu()
        short = kept.is_floating_point() and kept.element_size() < 4
        return (kept.float() if short else kept).numpy().copy()
    if hasattr(value, "dtype") and value.dtype.name in ("bfloat16", "float16"):
        return np.asarray(value, np.float32)
    return value


def state_dict(network: Network, given: Any) -> dict[str, Any]:
    """Return a network, or a vector like one, as a state dict that its module loads.

    What `given` does not hold (counters, layers that were left out) is as in the problem's module.
    """
    held = taken(network, given) if not _is_partial(network, given) else Checkpoint(params=_flat(given))
    arrays = {**held.params, **(held.batch_stats or {})}
    found = {}
    for name, tensor in network.tensors.items():
        key = network.aliases.get(name, name)
        if key in arrays and isinstance(tensor, torch.Tensor):
            value = torch.from_numpy(np.array(arrays[key]))
            found[name] = value.to(tensor.dtype).reshape(tensor.shape)
        else:
            found[name] = tensor.detach().clone() if isinstance(tensor, torch.Tensor) else tensor
    return found


def _is_partial(network: Network, given: Any) -> bool:
    """Return whether something is a mapping of names that lacks running statistics or constants."""
    if not isinstance(given, Mapping):
        return False
    names = set(given)
    return names <= {*network.parameters, *network.constants} and bool(names)
