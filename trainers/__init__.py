"""Sparse tickets by iterative pruning, with evolution strategies and gradient descent.

Importing this package loads neither jax nor evosax: public names are resolved when first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trainers.config import RunConfig as RunConfig, resolve as resolve
    from trainers.pruning import ChainLayer as ChainLayer
    from trainers.quickstart import run_quickstart as run_quickstart
    from trainers.runs import Run as Run, open_run as open_run
    from trainers.tickets import train_tickets as train_tickets
    from trainers.transfer import transfer_config as transfer_config, transfer_table as transfer_table

_EXPORTS = {
    "ChainLayer": "trainers.pruning",
    "Run": "trainers.runs",
    "RunConfig": "trainers.config",
    "open_run": "trainers.runs",
    "resolve": "trainers.config",
    "run_quickstart": "trainers.quickstart",
    "train_tickets": "trainers.tickets",
    "transfer_config": "trainers.transfer",
    "transfer_table": "trainers.transfer",
}

__all__ = sorted(_EXPORTS)  # noqa: PLE0605  every item is a string


def __getattr__(name: str) -> Any:
    if name in _EXPORTS:
        value = getattr(importlib.import_module(_EXPORTS[name]), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'trainers' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
