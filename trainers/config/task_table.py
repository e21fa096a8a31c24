"""Tasks, their options and networks, as far as they can be checked before anything is loaded. No jax.

A configuration is checked against these tables, so that an unknown task or network is listed with
every other error; the tasks themselves are checked against the same ones when they are loaded.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from landscape.errors import nearest
from landscape.problem import task_names
from trainers.config import validate as check
from trainers.config.control_table import CONTROL, POLICY, control_checks

__all__ = [
    "KNOWN_KEYS",
    "NAMES",
    "NETWORKS",
    "default_network",
    "network",
    "network_faults",
    "option_faults",
    "task_faults",
]

IMAGES = ("digits", "mnist", "fashion_mnist", "kmnist")
NAMES = (*IMAGES, *CONTROL)


def _folder(value: Any) -> str:
    """Check for the path of a folder."""
    return check.text(os.fspath(value) if isinstance(value, os.PathLike) else value)


_width = check.integer(low=1, why="a layer has a positive width")
_widths = check.each(_width, "a list of layer widths such as [32]", empty=True)
_channels = check.integer(low=1, why="a convolution has channels")
# What a description of each kind must say beside its kind.
_CLASSIFIERS: dict[str, dict[str, check.Check]] = {
    "mlp": {"widths": _widths},
    "lenet-300-100": {},
    "paper-cnn": {},
}
_POLICIES: dict[str, dict[str, check.Check]] = {"policy": {"widths": _widths}}
_IMAGE_POLICIES: dict[str, dict[str, check.Check]] = {
    **_POLICIES,
    "policy-cnn": {"channels": _channels, "widths": _widths},
}
NETWORKS = {**_CLASSIFIERS, **_IMAGE_POLICIES}
# What `trainers.tasks.datasets.load_dataset` takes.
_OPTIONS: dict[str, check.Check] = {"folder": _folder, "download": check.boolean}
_ALL_OPTIONS = dict.fromkeys([*_OPTIONS, *(key for task in CONTROL for key in control_checks(task))])
KNOWN_KEYS = (
    "network.kind",
    "network.widths",
    "network.channels",
    *(f"task_options.{key}" for key in _ALL_OPTIONS),
)


def default_network(task: str) -> dict[str, Any]:
    """Return the network of a task for which none is given."""
    return dict(POLICY) if task in CONTROL else {"kind": "mlp", "widths": [32]}


def network(value: Any) -> dict[str, Any]:
    """Check for a table that names a kind of network, of whatever task."""
    found = check.table(value)
    known = {"widths": _widths, "channels": _channels}
    keys = {"kind": check.text, **{key: item for key, item in known.items() if key in found}}
    faults = _faults(keys, {key: found.get(key) for key in keys}, "")
    if faults:
        raise check.Invalid(faults)
    return found


def task_faults(values: Mapping[str, Any]) -> list[check.Fault]:
    """Return the faults of a configuration's task, as it was given, that would prevent its loading.

    The options and the network of a task that is not built in are checked by the task itself.
    """
    task = values.get("task", NAMES[0])
    if not isinstance(task, str):
        return []  # told of already
    if task not in NAMES:
        return _unknown(task)
    options, network = values.get("task_options", {}), values.get("network")
    faults = option_faults(options, ".task_options", task=task) if isinstance(options, Mapping) else []
    known = _networks_of(task)
    return faults + (network_faults(network, ".network", known) if isinstance(network, Mapping) else [])


def _networks_of(task: str) -> dict[str, dict[str, check.Check]]:
    """Return the kinds of network that a built-in task takes."""
    if task not in CONTROL:
        return _CLASSIFIERS
    return _IMAGE_POLICIES if CONTROL[task].images else _POLICIES


def _unknown(task: str) -> list[check.Fault]:
    names = list(dict.fromkeys([*NAMES, *task_names()]))
    if task in names:
        return []
    near = nearest(task, names)
    advice = f" (did you mean {near}?)" if near else ""
    return [(".task", f"expected one of {', '.join(names)}{advice}, got {check.shown(task)}")]


def option_faults(options: Mapping[str, Any], at: str = "", *, task: str = NAMES[0]) -> list[check.Fault]:
    """Return what is wrong with the options of a built-in task."""
    return _faults(control_checks(task) if task in CONTROL else _OPTIONS, options, at)


def network_faults(
    network: Mapping[str, Any], at: str = "", known: Mapping[str, Mapping[str, check.Check]] = NETWORKS
) -> list[check.Fault]:
    """Return what is wrong with the description of a network of the built-in tasks, or of `known` kinds."""
    kind = check.one_of(*known)
    try:
        keys = {"kind": kind, **known[kind(network.get("kind"))]}
    except check.Invalid as error:
        return [(f"{at}.kind", message) for _, message in error.faults]
    faults = _faults(keys, network, at)
    missing = [key for key in keys if key not in network]
    return faults + [(f"{at}.{key}", f"expected it for {network['kind']}, got none") for key in missing]


def _faults(checks: Mapping[str, check.Check], given: Mapping[str, Any], at: str) -> list[check.Fault]:
    faults: list[check.Fault] = []
    for key, value in given.items():
        if key not in checks:
            faults.append((f"{at}.{key}", check.UNKNOWN))
            continue
        try:
            checks[key](value)
        except check.Invalid as error:
            faults += [(f"{at}.{key}{place}", message) for place, message in error.faults]
    return faults
