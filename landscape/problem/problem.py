"""A problem: a per-example loss over data, for any parameter tree.

Everything the package measures is measured on a `Problem`. It evaluates exact means over examples
with one compiled program, whatever the number of examples and the batch size: a ragged last batch
is padded with copies of a real example, whose values are dropped. A loss that is not a function of
the parameters and one example is refused at the first use.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from landscape.compute import device_memory, on_device, precision, program
from landscape.errors import ConfigurationError, ProblemError, did_you_mean
from landscape.problem.episodes import check_distinct
from landscape.problem.form import Form
from landscape.problem.metric import Metric, MetricFunction, as_metric, not_a_function
from landscape.problem.outputs import Outputs
from landscape.problem.probing import probe, users_errors, what_it_holds
from landscape.problem.recomputing import program_of, recomputed
from landscape.problem.splits import STREAM_HINT, Split, Stream, make_split, resembles_batches
from landscape.problem.values import one_value_each
from landscape.trees import opened, sealed

__all__ = ["Metric", "Outputs", "Problem", "Stream"]

PyTree = Any
PerExample = Callable[[PyTree, PyTree], jax.Array]

# Splits up to this many examples are evaluated in one batch, larger ones in batches of this size:
# large enough for the matrix products to dominate, small enough for activations of common networks.
DEFAULT_BATCH_SIZE = 2_048


class Problem:
    """A per-example loss over one or more splits of data.

    Parameters
    ----------
    loss : callable
        ``loss(params, batch) -> [B]``, one finite value per example. `params` is any pytree; for a
        model with batch statistics it is the pair ``(params, batch_stats)``.
    train, validation, test : pytree of arrays or Stream, optional
        Each a pytree of arrays with a common leading axis N, an ``(inputs, targets)`` pair for
        instance, or a `Stream` of batches. `train` is required.
    metrics : mapping of str to Metric or callable, optional
        Further per-example quantities. Of a bare callable lower values are better, unless its name ends in
        ``accuracy`` or ``return``.
    update_stats : callable, optional
        ``update_stats((params, batch_stats), batch) -> batch_stats``: the statistics of one batch, whatever
        the statistics that came in; `flax_statistics` makes one that is exact over all batches.
    statistics_are_weights : bool
        Whether running statistics that stand among the parameters (Flax's ``batch_stats``, NNX's
        ``BatchStat``, running means and variances by name) are weights like the others. Otherwise they are
        constants of curvature and flatness, and paths between networks refuse them there.
    differentiable : bool
        Whether derivatives of the loss mean something. False for episodes: an example is a seed, or the
        initial conditions, of one episode, and the loss is minus its return. What needs derivatives is
        then refused, and no two examples may be the same seed.
    like : pytree, optional
        Parameters in the structure that the loss takes (an `nnx.State`, an Equinox module): files hold arrays
        by name, and what is read from one is brought into it.
    check : pytree, optional
        Parameters with which the loss is probed now instead of at its first use.
    name : str
        What results call the problem.
    batch_size : int, optional
        Examples per batch in evaluations; by default at most 2,048.
    population_loss : callable, optional
        ``population_loss(stacked_params, batch) -> [P]``, the mean loss over the batch of P networks
        at once, where something faster than mapping `loss` is known; for a CPU.
    batched_loss : callable, optional
        ``batched_loss(stacked_params, batch, memory_bytes) -> [P]``, the same for a device with many
        more cores, that holds about `memory_bytes` at a time.
    plain_loss : callable, optional
        The same loss as a program that shows its layers, where `loss` is written for speed (in tiles, in
        loops): what permutations are read off and units are observed in.
    outputs : Outputs, optional
        The loss taken apart at the model's outputs, for Gauss-Newton and Fisher matrices.
    features : callable, optional
        ``features(params, batch) -> {path: [B, …, inputs]}``: what enters each kernel, by its tree path,
        for measures that scale features to one; the places of a convolution, or of a sequence, stand
        between.
    task : mapping, optional
        ``{"name", "options", "network"}`` of a built-in task, stored in checkpoints so that the
        problem can be rebuilt from them.

    form : Form, optional
        How networks of another library are taken; `torch_problem` gives one.

    Raises
    ------
    ProblemError
        If a split is empty or ragged, seeds of episodes are not distinct, or the loss is not
        deterministic, mixes the examples of a batch, or does not return one value per example.
    """

    def __init__(  # noqa: PLR0913  the ways in are many and all keyword-only
        self,
        loss: PerExample,
        *,
        train: PyTree,
        validation: PyTree | None = None,
        test: PyTree | None = None,
        metrics: Mapping[str, Metric | MetricFunction] | None = None,
        update_stats: Callable[[PyTree, PyTree], PyTree] | None = None,
        like: PyTree | None = None,
        check: PyTree | None = None,
        name: str = "problem",
        batch_size: int | None = None,
        population_loss: Callable[[PyTree, PyTree], jax.Array] | None = None,
        batched_loss: Callable[[PyTree, PyTree, int], jax.Array] | None = None,
        plain_loss: PerExample | None = None,
        outputs: Outputs | None = None,
        features: Callable[[PyTree, PyTree], Mapping[str, jax.Array]] | None = None,
        task: Mapping[str, Any] | None = None,
        statistics_are_weights: bool = False,
        differentiable: bool = True,
        form: Form | None = None,
    ) -> None:
        if not callable(loss):
            raise not_a_function("loss: not a function", "loss(params, batch) -> [B]", loss)
        given = {"train": train, "validation": validation, "test": test}
        self._splits: dict[str, Split] = {
            split: make_split(data, split) for split, data in given.items() if data is not None
        }
        if "train" not in self._splits:
            raise ProblemError("train: no data", hint="Give train=(inputs, targets).")
        self.differentiable = bool(differentiable)
        if not self.differentiable:
            check_distinct(self._splits)
        self.loss = loss
        self.plain_loss = loss if plain_loss is None else plain_loss
        self.metrics = {key: as_metric(key, value) for key, value in (metrics or {}).items()}
        self.update_stats = update_stats
        self.like = like
        self.statistics_are_weights = bool(statistics_are_weights)
        self.population_loss = population_loss
        self.batched_loss = batched_loss
        self.outputs = outputs
        self.features = features
        self.form = form
        self.name = name
        self.task = None if task is None else dict(task)
        self._batch_size = None if batch_size is None else _positive(batch_size)
        self._device_arrays: dict[tuple[str, str, str], PyTree] = {}
        self._digests: dict[str, str] = {}
        self._checked = self._stats_checked = False
        if check is not None:
            self.check(check)

    def __repr__(self) -> str:
        sizes = ", ".join(f"{split}: {data.num_examples:,}" for split, data in self._splits.items())
        return f"Problem({self.name}; {sizes}; metrics: {', '.join(self.metrics) or 'none'})"

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

    def output_axis(self, path: str) -> int:
        """Return the axis of a kernel that counts its output units: the last, as jax's libraries have it."""
        return -1 if self.form is None else self.form.output_axis(path)

    def is_stream(self, split: str) -> bool:
        """Return whether the split is read batch by batch."""
        return self._split(split).stream

    def head(self, count: int, split: str = "train") -> PyTree:
        """Return the first examples of a split, on the host."""
        return self._split(split).head(count)

    def stream_batches(self, split: str, size: int, *, dtype: Any = None) -> Iterator[tuple[PyTree, int]]:
        """Yield (batch of exactly `size` on the device, real examples); the rest are copies of one."""
        for batch, count in self._split(split).padded_batches(size):
            yield jax.tree.map(lambda x: on_device(x, dtype), batch), count

    def batches(self, split: str, size: int) -> Iterator[tuple[PyTree, int]]:
        """Yield (batch on the host, examples): `size` of them, fewer in a ragged last batch."""
        return self._split(split).batches(size)

    def data_digest(self, split: str) -> str:
        """Return the BLAKE2b-128 digest of the split's arrays (paths, shapes, dtypes, bytes)."""
        if split not in self._digests:
            self._digests[split] = self._split(split).digest()
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
        size = self._batch_size if batch_size is None else _positive(batch_size)
        return min(self._split(split).num_examples, size or DEFAULT_BATCH_SIZE)

    def check(self, params: PyTree) -> None:
        """Probe once that the loss and the metrics are deterministic functions of single examples.

        Their Python runs anew for each evaluation: its randomness freezes when a function is traced, so
        two calls of a compiled loss would prove nothing.

        Raises
        ------
        ProblemError
            If two calls differ, an example's value depends on its batch mates or its position, or a
            function raises an error of its own.
        """
        if not self._checked:
            # Values that are not finite prove nothing; the next parameters are probed again.
            few, episodes = self._split("train").head(4), not self.differentiable
            with users_errors(self._hint(params)):
                self._checked = probe(self._values, sealed(params), few, episodes=episodes)

    def per_example(
        self, params: PyTree, split: str = "train", *, batch_size: int | None = None, dtype: Any = None
    ) -> dict[str, np.ndarray]:
        """Return the loss and every metric of each example.

        Parameters
        ----------
        params : pytree
            What the loss takes first.
        split : str
            Which split.
        batch_size : int, optional
            Examples per batch; the values do not depend on it but for rounding.
        dtype : dtype, optional
            Floating type of data and parameters, float32 unless given; float64 is local to the call.

        Returns
        -------
        dict of str to numpy.ndarray [N]
            ``"loss"`` and the metrics, in the order of the data.

        Raises
        ------
        ProblemError
            See `check`.
        DeviceMemoryError
            If a batch does not fit the device; names the batch size that failed and half of it.
        """
        size = self.resolve_batch_size(split, batch_size)
        with precision(dtype), device_memory(size):
            cast = sealed(params)
            if dtype is not None:
                cast = jax.tree.map(lambda x: on_device(x, dtype), cast)
            self.check(params)
            pending = [(values, count) for values, count in self._evaluate_batches(cast, split, size, dtype)]
            host = [{key: np.asarray(v)[:count] for key, v in values.items()} for values, count in pending]
        return {key: np.concatenate([part[key] for part in host]) for key in host[0]}

    def evaluate(
        self, params: PyTree, split: str = "train", *, batch_size: int | None = None, dtype: Any = None
    ) -> dict[str, float]:
        """Return the exact means over the split of the loss and every metric, summed in float64."""
        values = self.per_example(params, split, batch_size=batch_size, dtype=dtype)
        return {key: float(np.mean(value, dtype=np.float64)) for key, value in values.items()}

    def recompute_stats(
        self, params: PyTree, batch_stats: PyTree, *, batch_size: int | None = None
    ) -> PyTree:
        """Return batch statistics of `params` on the training split.

        Exact over all examples where `update_stats` is made by `flax_statistics`. Otherwise the mean over
        batches of ``update_stats((params, batch_stats), batch)``, weighted by the number of examples (as in
        Garipov et al. 2018, who recompute them at every point of a path), which moves with the batch size.

        Raises
        ------
        ProblemError
            If the problem has no `update_stats`, or its result depends on the statistics that came in.
        """
        if self.update_stats is None:
            raise ProblemError(
                "batch statistics: the problem has no update_stats",
                hint="Give Problem(update_stats=…), or keep the stored statistics with batch_stats='keep'.",
            )
        size = self.resolve_batch_size("train", batch_size)
        found, self._stats_checked = recomputed(
            self._update,
            (params, batch_stats),
            lambda: self.batches("train", size),
            checked=self._stats_checked,
        )
        return found

    def _split(self, split: str) -> Split:
        if split not in self._splits:
            raise ProblemError(
                f"split {split!r}: the problem has no such data",
                expected="one of " + ", ".join(self._splits),
                hint=did_you_mean(split, self._splits)
                or "Choose another --split, or give the problem that data.",
            )
        return self._splits[split]

    @functools.cached_property  # not before it is needed: asking for the device would start it
    def _program(self) -> Any:
        return program(self._values, episodes=not self.differentiable)

    @functools.cached_property
    def _update(self) -> Any:
        given = self.update_stats
        return given if given is None or hasattr(given, "over") else program_of(given)

    @functools.cached_property
    def _gathered(self) -> Any:
        return program(
            self._gather_and_evaluate, episodes=not self.differentiable, static_argnames="batch_size"
        )

    def _values(self, params: PyTree, batch: PyTree) -> dict[str, jax.Array]:
        count = jax.tree.leaves(batch)[0].shape[0]
        functions = {"loss": self.loss, **{key: metric.fn for key, metric in self.metrics.items()}}
        given = opened(params)
        with users_errors(self._hint(given)):  # of any split: data may differ in shape from those of training
            return {key: one_value_each(key, fn(given, batch), count) for key, fn in functions.items()}

    def _hint(self, params: PyTree) -> str:
        """Return the likely reason why a loss raises an error."""
        train = self._split("train")
        in_a_row = not train.stream and resembles_batches(train.tree)
        return STREAM_HINT if in_a_row else what_it_holds(params)

    def _gather_and_evaluate(
        self, params: PyTree, arrays: PyTree, start: jax.Array, *, batch_size: int
    ) -> dict[str, jax.Array]:
        last = jax.tree.leaves(arrays)[0].shape[0] - 1
        index = jnp.minimum(start + jnp.arange(batch_size), last)  # pads with copies of the last example
        return self._values(params, jax.tree.map(lambda x: x[index], arrays))

    def _evaluate_batches(
        self, params: PyTree, split: str, size: int, dtype: Any
    ) -> Iterator[tuple[dict[str, jax.Array], int]]:
        data = self._split(split)
        if data.stream:
            for batch, count in self.stream_batches(split, size, dtype=dtype):
                yield self._program(params, batch), count
            return
        arrays = self.arrays(split, dtype=dtype)
        for start in range(0, data.num_examples, size):
            values = self._gathered(params, arrays, np.int32(start), batch_size=size)
            yield values, min(size, data.num_examples - start)


def _positive(value: int) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
        raise ConfigurationError(
            "batch_size: not a positive whole number", expected="1 or more", got=repr(value)
        )
    return int(value)
