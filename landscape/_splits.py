"""Splits of data: arrays with a common leading axis, or streams of batches."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from typing import Any

import jax
import numpy as np

from landscape._digest import text_digest, tree_digest
from landscape._tree import leaves_with_paths
from landscape.errors import ProblemError

PyTree = Any


@dataclasses.dataclass(frozen=True)
class Stream:
    """Data that is read batch by batch and never held as a whole.

    Parameters
    ----------
    batches : iterable
        Yields batches (pytrees of arrays with a common leading axis), the same ones in the same
        order at every pass: a data loader that does not shuffle, say. A generator can be read only
        once and is refused.
    num_examples : int, optional
        Examples in one pass; counted by reading it once if not given.
    """

    batches: Iterable[PyTree]
    num_examples: int | None = None


@dataclasses.dataclass(frozen=True)
class Split:
    """One split, as arrays on the host (`stream` false) or as a re-iterable of batches."""

    tree: PyTree
    num_examples: int
    stream: bool

    def head(self, count: int) -> PyTree:
        """Return the first `count` examples, or as many as there are."""
        tree = self.tree if not self.stream else next(iter(self.tree))
        return jax.tree.map(lambda x: np.asarray(x)[:count], tree)

    def digest(self) -> str:
        """Return the digest of the arrays, or of the digests of a stream's batches, one held at a time."""
        if not self.stream:
            return tree_digest(self.tree)
        return text_digest("".join(tree_digest(batch) for batch in self.tree))

    def batches(self, size: int) -> Iterator[tuple[PyTree, int]]:
        """Yield (batch, examples) with a smaller last batch where N is no multiple of `size`."""
        for batch in self.tree if self.stream else (self.tree,):
            count = leading_axis(batch, "batch")
            for start in range(0, count, size):
                yield (
                    jax.tree.map(lambda x, i=start: np.asarray(x)[i : i + size], batch),
                    min(size, count - start),
                )

    def padded_batches(self, size: int) -> Iterator[tuple[PyTree, int]]:
        """Yield (batch of exactly `size`, real examples): the rest are copies of a real example."""
        for batch, count in self.batches(size):
            index = np.minimum(np.arange(size), count - 1)
            yield (batch if count == size else jax.tree.map(lambda x, i=index: x[i], batch)), count


def make_split(data: PyTree, name: str) -> Split:
    """Check `data` and return it as a split.

    Raises
    ------
    ProblemError
        If there are no examples, leading axes differ, or a stream can be read only once.
    """
    if not isinstance(data, Stream) and _looks_like_loader(data):
        data = Stream(data)
    if isinstance(data, Stream):
        return _stream_split(data, name)
    return Split(tree=data, num_examples=leading_axis(data, name), stream=False)


def _looks_like_loader(data: Any) -> bool:
    """Return whether `data` is an iterable that is neither an array nor a container of arrays."""
    is_leaf = jax.tree_util.all_leaves([data])
    return is_leaf and not hasattr(data, "__array__") and isinstance(data, Iterable)


def _stream_split(data: Stream, name: str) -> Split:
    if iter(data.batches) is data.batches:
        raise ProblemError(
            f"{name}: a generator can be read only once",
            expected="an iterable that starts anew at every pass",
            got=type(data.batches).__name__,
            hint="Give a list of batches or an object whose __iter__ starts anew.",
        )
    count = data.num_examples
    if count is None:
        count = sum(leading_axis(batch, name) for batch in data.batches)
    if count < 1:
        raise _empty(name)
    return Split(tree=data.batches, num_examples=count, stream=True)


def leading_axis(tree: PyTree, name: str) -> int:
    """Return the common length of the leaves' first axes.

    Raises
    ------
    ProblemError
        If there is no leaf, a leaf has no axis, lengths differ or the length is zero.
    """
    lengths: dict[str, int] = {}
    for path, leaf in leaves_with_paths(tree):
        shape = np.shape(leaf)
        if not hasattr(leaf, "dtype") or not shape:
            raise ProblemError(
                f"{name}/{path}: not an array with a leading axis of examples",
                expected="a pytree of arrays",
                got=type(leaf).__name__ if not hasattr(leaf, "dtype") else "an array without axes",
            )
        lengths[path] = shape[0]
    if not lengths or set(lengths.values()) == {0}:
        raise _empty(name)
    if len(set(lengths.values())) > 1:
        listed = ", ".join(f"{path or 'array'}: {n}" for path, n in list(lengths.items())[:4])
        raise ProblemError(f"{name}: arrays of different numbers of examples", got=listed)
    return next(iter(lengths.values()))


def _empty(name: str) -> ProblemError:
    return ProblemError(f"{name}: no examples", expected="at least one", hint="Check how the data was read.")
