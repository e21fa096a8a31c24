"""Data of PyTorch as splits of a problem: tensors, data sets and loaders, in their order."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import jax
import numpy as np
import torch
from torch.utils import data as torch_data

from landscape.errors import ProblemError
from landscape.problem import Stream, leading_axis

# Data sets up to this size are read once and held as arrays; larger ones are read batch by batch.
HELD_BYTES = 2**30
_BATCH = 256


def split_of(data: Any, name: str) -> Any:
    """Return data as a pytree of arrays, or as a stream of them.

    Raises
    ------
    ProblemError
        If a loader shuffles or drops examples, reading twice gives different examples, or something is not a
        tensor.
    """
    if isinstance(data, torch_data.TensorDataset):
        return arrays_of(data.tensors, name)
    if isinstance(data, torch_data.DataLoader):
        _check_loader(data, name)
        return _read(data, name)
    if isinstance(data, torch_data.Dataset):
        return _read(torch_data.DataLoader(data, batch_size=_BATCH), name)
    return data if isinstance(data, Stream) else arrays_of(data, name)


def arrays_of(tree: Any, name: str) -> Any:
    """Return a pytree of tensors and arrays as one of arrays on the host."""
    if isinstance(tree, Mapping):
        return {key: arrays_of(value, name) for key, value in tree.items()}
    if isinstance(tree, tuple) and hasattr(tree, "_fields"):
        return type(tree)(*(arrays_of(value, name) for value in tree))
    if isinstance(tree, (list, tuple)):
        return tuple(arrays_of(value, name) for value in tree)
    return _array(tree, name)


def _array(leaf: Any, name: str) -> np.ndarray:
    if isinstance(leaf, torch.Tensor):
        kept = leaf.detach().cpu()
        leaf = (kept.float() if kept.dtype in (torch.float16, torch.bfloat16) else kept).numpy()
    array = np.asarray(leaf)
    if array.dtype.kind not in "biuf":
        raise ProblemError(
            f"{name}: not a tensor of numbers",
            expected="tensors or arrays of floats, whole numbers or truth values",
            got=type(leaf).__name__ if array.dtype.kind in "OUS" else str(array.dtype),
            hint="Turn texts and other objects into numbers in the data set.",
        )
    if (
        array.dtype.kind in "iu"
        and array.size
        and not -(2**31) <= int(array.min()) <= int(array.max()) < 2**31
    ):
        raise ProblemError(
            f"{name}: whole numbers beyond 32 bits, which jax would cut off",
            expected="numbers from -2^31 to 2^31 - 1",
            got=f"{int(array.min()):,} to {int(array.max()):,}",
        )
    return array


def _check_loader(loader: Any, name: str) -> None:
    samplers = [loader.sampler, getattr(loader.batch_sampler, "sampler", None)]
    random = (torch_data.RandomSampler, torch_data.WeightedRandomSampler, torch_data.SubsetRandomSampler)
    if any(isinstance(sampler, random) for sampler in samplers):
        raise ProblemError(
            f"{name}: the loader shuffles",
            expected="the same examples in the same order at every pass",
            got=type(loader.sampler).__name__,
            hint="Give DataLoader(dataset, shuffle=False), or the data set itself.",
        )
    if getattr(loader, "drop_last", False):
        raise ProblemError(
            f"{name}: the loader leaves out the last examples", hint="Give DataLoader(…, drop_last=False)."
        )


class _Batches:
    """The batches of a loader as arrays, without drawing from PyTorch's random numbers."""

    def __init__(self, loader: Any, name: str) -> None:
        self.loader = loader
        self.name = name

    def __iter__(self) -> Iterator[Any]:
        # A loader draws a seed for its workers when its iterator is made.
        state = torch.random.get_rng_state()
        try:
            batches = iter(self.loader)
        finally:
            torch.random.set_rng_state(state)
        for batch in batches:
            yield arrays_of(batch, self.name)


def _read(loader: Any, name: str) -> Any:
    """Return all batches as arrays if they are small enough, otherwise a stream of them."""
    batches = _Batches(loader, name)
    _check_steady(batches, name)
    held: list[Any] = []
    size = 0
    reading = iter(batches)
    for batch in reading:
        held.append(batch)
        size += sum(leaf.nbytes for leaf in jax.tree.leaves(batch))
        if size > HELD_BYTES:
            # Counted in this reading: a problem would read everything again for it.
            count = sum(leading_axis(part, name) for part in held)
            held.clear()
            return Stream(batches, count + sum(leading_axis(part, name) for part in reading))
    if not held:
        raise ProblemError(
            f"{name}: no examples", expected="at least one", hint="Check how the data was read."
        )
    return jax.tree.map(lambda *parts: np.concatenate(parts), *held)


def _check_steady(batches: Iterable[Any], name: str) -> None:
    """Refuse data whose first batch is another one at the second reading."""
    first, second = (next(iter(batches), None) for _ in range(2))
    same = jax.tree.map(lambda a, b: a.shape == b.shape and np.array_equal(a, b), first, second)
    if not all(jax.tree.leaves(same)):
        raise ProblemError(
            f"{name}: the data change from one pass to the next",
            expected="the same examples in the same order at every pass",
            got="another first batch at the second reading",
            hint="Switch off augmentation and shuffling in the data set that you analyse with.",
        )
