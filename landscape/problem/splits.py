"""Splits of data: arrays with a common leading axis, or streams of batches."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import jax
import numpy as np

from landscape.errors import ConfigurationError, ProblemError
from landscape.trees import leaves_with_paths, text_digest, tree_digest

PyTree = Any

STREAM_HINT = "A list is read as one pytree of arrays; give batches in a row as landscape.Stream(batches)."


@dataclasses.dataclass(frozen=True)
class Stream:
    """Data that is read batch by batch and never held as a whole.

    Parameters
    ----------
    batches : iterable, or function that returns one
        Yields batches (pytrees of arrays with a common leading axis), the same ones in the same
        order at every pass: a data loader that does not shuffle, say. A function is called anew for
        every pass, so it may be one that yields. A generator can be read only once and is refused.
    num_examples : int, optional
        Examples in one pass; counted by reading it once if not given.
    """

    batches: Iterable[PyTree] | Callable[[], Iterable[PyTree]]
    num_examples: int | None = None


class _Called:
    """A function that returns batches, as an iterable that calls it for every pass."""

    def __init__(self, function: Callable[[], Iterable[PyTree]], name: str) -> None:
        self.function, self.name = function, name

    def __iter__(self) -> Iterator[PyTree]:
        found = self.function()
        if not isinstance(found, Iterable):
            raise ProblemError(
                f"{self.name}: the function of the stream returned no batches",
                expected="an iterable of batches",
                got=type(found).__name__,
                hint="Return a list or a loader, or write the function with yield.",
            )
        return iter(found)


@dataclasses.dataclass(frozen=True)
class Split:
    """One split, as arrays on the host (`stream` false) or as a re-iterable of batches.

    A stream must give the same batches at every pass, or values of two passes would not belong to the
    same examples: every pass is compared with the first by digests.
    """

    tree: PyTree
    num_examples: int
    stream: bool
    name: str = "data"
    digests: list[str] = dataclasses.field(default_factory=list, compare=False)

    @property
    def hint(self) -> str | None:
        """What to do where a loss cannot read the arrays, if they look like batches in a row."""
        return STREAM_HINT if not self.stream and resembles_batches(self.tree) else None

    def head(self, count: int, numbers: np.ndarray | None = None) -> PyTree:
        """Return the first `count` of some examples, or as many as there are; of a stream, of its batch."""
        if numbers is not None:
            return next(self.batches(min(count, len(numbers)), numbers))[0]
        tree = self.tree if not self.stream else next(iter(self.tree))
        return jax.tree.map(lambda x: np.asarray(x)[:count], tree)

    def digest(self) -> str:
        """Return the digest of the arrays, or of the digests of a stream's batches, one held at a time."""
        if not self.stream:
            return tree_digest(self.tree)
        if not self.digests:
            for _ in self.read():
                pass
        return text_digest("".join(self.digests))

    def read(self) -> Iterator[PyTree]:
        """Yield a stream's batches as they come.

        Raises
        ------
        ProblemError
            If they are not those of the first pass, or not as many examples as was said.
        """
        seen, count = [], 0
        for batch in self.tree:
            count += leading_axis(batch, self.name)
            seen.append(tree_digest(batch))
            place = len(seen) - 1
            if self.digests and (place >= len(self.digests) or seen[-1] != self.digests[place]):
                raise _unsteady(self.name, f"another batch {place + 1} than at the first pass")
            yield batch
        if self.digests and len(seen) < len(self.digests):
            raise _unsteady(self.name, f"{len(seen)} batches, {len(self.digests)} at the first pass")
        if count != self.num_examples:
            raise ProblemError(
                f"{self.name}: the stream has another number of examples than was said",
                expected=f"{self.num_examples:,} (num_examples)",
                got=f"{count:,}",
                hint="Leave num_examples out, and the stream is counted.",
            )
        self.digests[:] = seen

    def batches(self, size: int, numbers: np.ndarray | None = None) -> Iterator[tuple[PyTree, int]]:
        """Yield (batch, examples): `size` of them, fewer in the last where N is no multiple of it.

        The batches of a stream are cut and joined to that size. With ascending `numbers` of examples, only
        these are there.
        """
        held: list[PyTree] = []
        count = 0
        parts: Iterable[PyTree] = self.read() if self.stream else (self.tree,)
        for part in parts if numbers is None else self._chosen(parts, numbers):
            held.append(jax.tree.map(np.asarray, part))
            count += leading_axis(part, self.name)
            if count < size:
                continue
            joined = held[0] if len(held) == 1 else jax.tree.map(lambda *x: np.concatenate(x), *held)
            full = count - count % size
            for start in range(0, full, size):
                yield jax.tree.map(lambda x, i=start: x[i : i + size], joined), size
            held = [jax.tree.map(lambda x, i=full: x[i:], joined)] if full < count else []
            count -= full
        if held:
            yield jax.tree.map(lambda *x: np.concatenate(x), *held), count

    def _chosen(self, parts: Iterable[PyTree], numbers: np.ndarray) -> Iterator[PyTree]:
        """Yield of each part the examples with these numbers, where it has any."""
        start = 0
        for part in parts:
            count = leading_axis(part, self.name)
            first, last = np.searchsorted(numbers, (start, start + count))
            rows = numbers[first:last] - start
            if len(rows):
                yield jax.tree.map(lambda x, rows=rows: np.asarray(x)[rows], part)
            start += count

    def padded_batches(self, size: int, numbers: np.ndarray | None = None) -> Iterator[tuple[PyTree, int]]:
        """Yield (batch of exactly `size`, real examples): the rest are copies of a real example."""
        for batch, count in self.batches(size, numbers):
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
    return Split(tree=data, num_examples=leading_axis(data, name), stream=False, name=name)


def _looks_like_loader(data: Any) -> bool:
    """Return whether `data` is an iterable that is neither an array nor a container of arrays."""
    is_leaf = jax.tree_util.all_leaves([data])
    return is_leaf and not hasattr(data, "__array__") and isinstance(data, Iterable)


def _stream_split(data: Stream, name: str) -> Split:
    batches = _iterable(data.batches, name)
    if iter(batches) is batches:
        raise ProblemError(
            f"{name}: a generator can be read only once",
            expected="an iterable that starts anew at every pass",
            got=type(batches).__name__,
            hint="Give a list of batches, a function that returns them, or what starts anew when iterated.",
        )
    count = data.num_examples
    if count is None:
        count = sum(leading_axis(batch, name) for batch in batches)
    if count < 1:
        raise _empty(name)
    return Split(tree=batches, num_examples=count, stream=True, name=name)


def _iterable(batches: Any, name: str) -> Iterable[PyTree]:
    if isinstance(batches, Iterable):
        return batches
    if callable(batches):
        return _Called(batches, name)
    raise ProblemError(
        f"{name}: not a stream of batches",
        expected="an iterable of batches, or a function that returns one",
        got=type(batches).__name__,
        hint="Give Stream(loader), or Stream(function) with a function that yields the batches.",
    )


def checked_size(value: int) -> int:
    """Return a number of examples per batch.

    Raises
    ------
    ConfigurationError
        If it is not a positive whole number.
    """
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
        what = "batch_size: not a positive whole number"
        raise ConfigurationError(what, expected="1 or more", got=repr(value))
    return int(value)


def resembles_batches(tree: PyTree) -> bool:
    """Return whether a list or tuple looks like batches in a row: containers alike but for their lengths."""
    if not isinstance(tree, (list, tuple)) or len(tree) < 2 or jax.tree_util.all_leaves(tree):
        return False
    alike = {
        (
            jax.tree.structure(item),
            tuple((np.shape(x)[1:], str(getattr(x, "dtype", ""))) for x in jax.tree.leaves(item)),
        )
        for item in tree
    }
    return len(alike) == 1


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
                hint="Convert it: numpy.asarray(…), examples first.",
            )
        lengths[path] = shape[0]
    if not lengths or set(lengths.values()) == {0}:
        raise _empty(name)
    if len(set(lengths.values())) > 1:
        listed = ", ".join(f"{path or 'array'}: {n}" for path, n in list(lengths.items())[:4])
        raise ProblemError(
            f"{name}: arrays of different numbers of examples",
            expected="one leading axis of examples, common to all",
            got=listed,
            hint=STREAM_HINT
            if resembles_batches(tree)
            else "Cut them to the same examples; keep what is no example out of the split.",
        )
    return next(iter(lengths.values()))


def _unsteady(name: str, got: str) -> ProblemError:
    return ProblemError(
        f"{name}: the stream changes from one pass to the next",
        expected="the same batches in the same order at every pass",
        got=got,
        hint="Switch off shuffling and augmentation in the loader that you analyse with.",
    )


def _empty(name: str) -> ProblemError:
    return ProblemError(f"{name}: no examples", expected="at least one", hint="Check how the data was read.")
