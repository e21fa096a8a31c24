"""The data of a problem: its splits, on the host and on the device, and how much each example counts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from landscape.compute import on_device
from landscape.errors import ProblemError, did_you_mean
from landscape.problem.splits import Split, checked_size, make_split
from landscape.problem.weighting import Weighting, weighting_of
from landscape.trees import text_digest

PyTree = Any

# Splits up to this many examples are evaluated in one batch, larger ones in batches of this size:
# large enough for the matrix products to dominate, small enough for activations of common networks.
DEFAULT_BATCH_SIZE = 2_048


class Data:
    """The splits of a problem.

    Attributes
    ----------
    weights : callable or None
        ``weights(batch) -> [B]``: how much each example counts in a mean.
    """

    def __init__(
        self,
        given: Mapping[str, PyTree],
        *,
        weights: Callable[[PyTree], jax.Array] | None,
        batch_size: int | None,
    ) -> None:
        self._splits: dict[str, Split] = {
            split: make_split(data, split) for split, data in given.items() if data is not None
        }
        if "train" not in self._splits:
            raise ProblemError("train: no data", hint="Give train=(inputs, targets).")
        self.weights = weights
        self._batch_size = None if batch_size is None else checked_size(batch_size)
        self._device_arrays: dict[tuple[str, str, str], PyTree] = {}
        self._digests: dict[str, str] = {}
        self._weightings: dict[str, Weighting] = {}

    @property
    def splits(self) -> tuple[str, ...]:
        """Names of the splits that hold data."""
        return tuple(self._splits)

    def num_examples(self, split: str) -> int:
        """Return the number of examples of `split`."""
        return self._split(split).num_examples

    def splits_with(self, split: str, splits: Iterable[str] | None) -> tuple[str, ...]:
        """Return the splits to evaluate, all by default, and `split` among them.

        Raises
        ------
        ProblemError
            If the problem has no such split.
        """
        chosen = self.splits if splits is None else tuple(splits)
        chosen = chosen if split in chosen else (split, *chosen)
        for name in chosen:
            self._split(name)
        return chosen

    def is_stream(self, split: str) -> bool:
        """Return whether the split is read batch by batch."""
        return self._split(split).stream

    def weighting(self, split: str) -> Weighting:
        """Return how much each example of a split counts; computed once.

        Raises
        ------
        ProblemError
            If `weights` are not those of a mean: one finite number of 0 or more for each example, not all 0,
            by a deterministic function of single examples.
        """
        data = self._split(split)
        if split not in self._weightings:
            size = self.resolve_batch_size(split)
            self._weightings[split] = weighting_of(self.weights, data, size=size)
        return self._weightings[split]

    def weighting_among(self, split: str, subset: np.ndarray | None) -> Weighting:
        """Return how much some examples of a split count, by their numbers; all of them for None.

        Raises
        ------
        ProblemError
            As `weighting`, or if the split is a stream: it has no subsets.
        ConfigurationError
            If they are not examples of the split, or all weigh 0.
        """
        every = self.weighting(split)  # refuses a split that is not there
        if subset is not None and self.is_stream(split):
            raise ProblemError(f"{split}: a stream has no subsets", hint="Give arrays, or a shorter stream.")
        return every.of(subset, split)

    def head(self, count: int, split: str = "train") -> PyTree:
        """Return the first examples of a split that count, on the host."""
        return self._split(split).head(count, self.weighting(split).numbers)

    def stream_batches(
        self, split: str, size: int, *, dtype: Any = None, counted: bool = False
    ) -> Iterator[tuple[PyTree, int]]:
        """Yield (batch of exactly `size` on the device, real examples); the rest are copies of one.

        If `counted`, examples of weight 0 are left out.
        """
        numbers = self.weighting(split).numbers if counted else None
        for batch, count in self._split(split).padded_batches(size, numbers):
            yield jax.tree.map(lambda x: on_device(x, dtype), batch), count

    def batches(self, split: str, size: int) -> Iterator[tuple[PyTree, int]]:
        """Yield (batch on the host, examples that count): `size` of them, fewer in a ragged last batch."""
        return self._split(split).batches(size, self.weighting(split).numbers)

    def data_digest(self, split: str) -> str:
        """Return the BLAKE2b-128 digest of the split's arrays (paths, shapes, dtypes, bytes) and weights."""
        if split not in self._digests:
            digest, weights = self._split(split).digest(), self.weighting(split).digest
            self._digests[split] = text_digest(f"{digest} {weights}") if weights else digest
        return self._digests[split]

    def arrays(self, split: str, *, dtype: Any = None) -> PyTree:
        """Return the split's arrays on the device, floats as `dtype`; kept there for later calls.

        Raises
        ------
        ProblemError
            If the split is a stream, which is never held as a whole.
        """
        data = self._split(split)
        if data.stream:
            raise ProblemError(
                f"{split}: a stream has no arrays on the device",
                hint="Training needs a split of arrays; streams are for evaluation.",
            )
        # Without a dtype floats keep theirs, which is float64 only where jax is told to have it.
        key = (split, "own" if dtype is None else np.dtype(dtype).name, jnp.result_type(float).name)
        if key not in self._device_arrays:
            self._device_arrays[key] = jax.tree.map(lambda x: on_device(x, dtype), data.tree)
        return self._device_arrays[key]

    def resolve_batch_size(self, split: str, batch_size: int | None = None) -> int:
        """Return the batch size that an evaluation of `split` uses."""
        size = self._batch_size if batch_size is None else checked_size(batch_size)
        return min(self._split(split).num_examples, size or DEFAULT_BATCH_SIZE)

    def _split(self, split: str) -> Split:
        if split not in self._splits:
            raise ProblemError(
                f"split {split!r}: the problem has no such data",
                expected="one of " + ", ".join(self._splits),
                hint=did_you_mean(split, self._splits)
                or "Choose another --split, or give the problem that data.",
            )
        return self._splits[split]
