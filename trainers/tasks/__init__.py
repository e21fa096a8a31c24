"""Built-in tasks, each a function that returns a Problem; entry points of the group ``landscape.tasks``.

Importing this package loads no data, no jax and no Flax.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from landscape.lazy import lazy_names

if TYPE_CHECKING:
    from landscape.problem import Problem
    from trainers.tasks.classification import Task
    from trainers.tasks.networks import chain as chain

__getattr__, __dir__, _ = lazy_names(__name__, {"networks": ("chain",)})

__all__ = ["chain", "digits", "fashion_mnist", "kmnist", "load_task", "mnist"]


def load_task(name: str, network: Mapping[str, Any] | None = None, **options: Any) -> Task:
    """Return a built-in task; see `trainers.tasks.classification.load_task`."""
    from trainers.tasks.classification import load_task as load

    return load(name, network, **options)


def digits(*, network: Mapping[str, Any] | None = None, **options: Any) -> Problem:
    """Return the 8×8 optical digits (1,797 images, in the package): 1,257 / 180 / 360 examples."""
    return load_task("digits", network, **options).problem


def mnist(*, network: Mapping[str, Any] | None = None, **options: Any) -> Problem:
    """Return MNIST: 55,000 / 5,000 / 10,000 examples."""
    return load_task("mnist", network, **options).problem


def fashion_mnist(*, network: Mapping[str, Any] | None = None, **options: Any) -> Problem:
    """Return Fashion-MNIST: 55,000 / 5,000 / 10,000 examples."""
    return load_task("fashion_mnist", network, **options).problem


def kmnist(*, network: Mapping[str, Any] | None = None, **options: Any) -> Problem:
    """Return Kuzushiji-MNIST: 55,000 / 5,000 / 10,000 examples."""
    return load_task("kmnist", network, **options).problem
