"""Tasks, their options and networks, as far as they can be checked before anything is loaded. No jax.

A configuration is checked against these tables, so that an unknown task or network is listed with
every other error; the tasks themselves are checked against the same ones when they are loaded.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping
from typing import Any

from landscape.problem import task_names
from trainers.config import validate as check

__all__ = ["KNOWN_KEYS", "NAMES", "NETWORKS", "network", "network_faults", "option_faults", "task_faults"]

NAMES = ("digits", "mnist", "fashion_mnist", "kmnist")


def _folder(value: Any) -> str:
    """Check for the path of a folder."""
    return check.text(os.fspath(value) if isinstance(value, os.PathLike) else value)


_width = check.integer(low=1, why="a layer has a positive width")
_widths = check.each(_width, "a list of layer widths such as [32]", empty=True)
# What a description of each kind must say beside its kind.
NETWORKS: dict[str, dict[str, check.Check]] = {
    "mlp": {"widths": _widths},
    "lenet-300-100": {},
    "paper-cnn": {},
}
# What `trainers.tasks.datasets.load_dataset` takes.
_OPTIONS: dict[str, check.Check] = {"folder": _folder, "download": check.boolean}
KNOWN_KEYS = ("network.kind", "network.widths", *(f"task_options.{key}" for key in _OPTIONS))


def network(value: Any) -> dict[str, Any]:
    """Check for a table that names a kind of network, of whatever task."""
    found = check.table(value)
    keys = {"kind": check.text, **({"widths": _widths} if "widths" in found else {})}
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
    faults = option_faults(options, ".task_options") if isinstance(options, Mapping) else []
    return faults + (network_faults(network, ".network") if isinstance(network, Mapping) else [])


def _unknown(task: str) -> list[check.Fault]:
    names = list(dict.fromkeys([*NAMES, *task_names()]))
    if task in names:
        return []
    near = difflib.get_close_matches(task, names, n=1)
    advice = f" (did you mean {near[0]}?)" if near else ""
    return [(".task", f"expected one of {', '.join(names)}{advice}, got {check.shown(task)}")]


def option_faults(options: Mapping[str, Any], at: str = "") -> list[check.Fault]:
    """Return what is wrong with the options of a built-in task."""
    return _faults(_OPTIONS, options, at)


def network_faults(network: Mapping[str, Any], at: str = "") -> list[check.Fault]:
    """Return what is wrong with the description of a network of the built-in tasks."""
    kind = check.one_of(*NETWORKS)
    try:
        keys = {"kind": kind, **NETWORKS[kind(network.get("kind"))]}
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
