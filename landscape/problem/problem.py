"""A problem: a per-example loss over data, for any parameter tree.

Everything the package measures is measured on a `Problem`. It evaluates exact means over examples
with one compiled program, whatever the number of examples and the batch size: a ragged last batch
is padded with copies of a real example, whose values are dropped. A loss that is not a function of
the parameters and one example is refused at the first use. With weights of examples all means are weighted.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import numpy as np

from landscape.compute import device_memory, on_device, precision, program
from landscape.errors import ProblemError
from landscape.problem.data import Data
from landscape.problem.episodes import check_distinct
from landscape.problem.form import Form
from landscape.problem.many_points import PointsProgram, examples_from
from landscape.problem.metric import Metric, MetricFunction, as_metric, not_a_function
from landscape.problem.outputs import Outputs
from landscape.problem.probing import probe, users_errors, what_it_holds
from landscape.problem.recomputing import program_of, recomputed
from landscape.problem.splits import Stream
from landscape.problem.values import one_value_each
from landscape.problem.weighting import check_weights, weighed_loss
from landscape.trees import opened, sealed

__all__ = ["Metric", "Outputs", "Problem", "Stream"]

PyTree = Any
PerExample = Callable[[PyTree, PyTree], jax.Array]


class Problem(Data):
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
    weights : callable, optional
        ``weights(batch) -> [B]``, from 0 on: the mean of loss and metrics over examples is Σ w ℓ / Σ w, in
        every analysis. For a mean over the valid tokens of sequences ℓ is the mean over those of one
        sequence and w their number. An example of weight 0 is left out, whatever its loss.
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
        deterministic, mixes the examples of a batch, or does not return one value per example. At the
        first use of a split, if weights are negative, not finite or all 0.
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
        weights: Callable[[PyTree], jax.Array] | None = None,
    ) -> None:
        if not callable(loss):
            raise not_a_function("loss: not a function", "loss(params, batch) -> [B]", loss)
        check_weights(weights, population_loss, batched_loss)
        given = {"train": train, "validation": validation, "test": test}
        super().__init__(given, weights=weights, batch_size=batch_size)
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
        self._paths: dict[Callable[..., PyTree], PointsProgram] = {}
        self.checked = self._stats_checked = False
        if check is not None:
            self.check(check)

    def __repr__(self) -> str:
        sizes = ", ".join(f"{split}: {data.num_examples:,}" for split, data in self._splits.items())
        weighted = "" if self.weights is None else f"; weights: {self.described['weights']}"
        return f"Problem({self.name}; {sizes}; metrics: {', '.join(self.metrics) or 'none'}{weighted})"

    @property
    def described(self) -> dict[str, Any]:
        """What the settings of results say of the problem: name, task, and its weights if it has some."""
        named = getattr(self.weights, "__qualname__", type(self.weights).__name__)
        more = {} if self.weights is None else {"weights": named}
        return {"name": self.name, "task": self.task, **more}

    def output_axis(self, path: str) -> int:
        """Return the axis of a kernel that counts its output units: the last, as jax's libraries have it."""
        return -1 if self.form is None else self.form.output_axis(path)

    def weighed_loss(
        self, split: str = "train", *, counted: bool = False, loss: PerExample | None = None
    ) -> PerExample:
        """Return the per-example loss whose plain mean over a random minibatch has the split's mean.

        Of all examples, or of those of positive weight alone if `counted`; `loss` may be another form of the
        problem's. Call it outside of any program.
        """
        chosen, known = loss or self.loss, self.weighting(split)
        if self.weights is None or known.plain:
            return chosen
        mean = known.scale * known.total / known.count if counted else known.scale
        return weighed_loss(chosen, self.weights, mean, self.head(1, split))

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
        if not self.checked:
            # Values that are not finite prove nothing; the next parameters are probed again.
            few, episodes = self.head(4), not self.differentiable
            with users_errors(self._hint(params)):
                self.checked = probe(self._values, sealed(params), few, episodes=episodes)

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

    def points_program(self, path: Callable[[PyTree, jax.Array], PyTree]) -> PointsProgram:
        """Return what evaluates several points of a path per call; see `per_example_along`."""
        return self._paths.setdefault(path, PointsProgram(self._values, path))

    def evaluate(
        self, params: PyTree, split: str = "train", *, batch_size: int | None = None, dtype: Any = None
    ) -> dict[str, float]:
        """Return the exact means over the split of the loss and every metric, summed in float64."""
        values = self.per_example(params, split, batch_size=batch_size, dtype=dtype)
        return {key: self.weighting(split).mean(value) for key, value in values.items()}

    def recompute_stats(
        self, params: PyTree, batch_stats: PyTree, *, batch_size: int | None = None
    ) -> PyTree:
        """Return batch statistics of `params` on the training split.

        Exact over all examples where `update_stats` is made by `flax_statistics`. Otherwise the mean over
        batches of ``update_stats((params, batch_stats), batch)``, weighted by the number of examples (as in
        Garipov et al. 2018, who recompute them at every point of a path), which moves with the batch size.
        They are moments of activations, which need not have an axis of examples: every example of positive
        weight counts once, as in training, where a layer does not know the weights of the loss.

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
        given = opened(params)
        with users_errors(self._hint(given)):  # of any split: data may differ in shape from those of training
            found = self._loss_and_metrics(given, batch)
            return {key: one_value_each(key, values, count) for key, values in found.items()}

    def _loss_and_metrics(self, params: PyTree, batch: PyTree) -> dict[str, Any]:
        """Return the loss and the metrics, of one pass where they can be taken from the outputs."""
        from_outputs = {key: m.of_outputs for key, m in self.metrics.items() if m.of_outputs is not None}
        apart = {key: m.fn for key, m in self.metrics.items()}
        if self.outputs is None or not from_outputs:
            return {"loss": self.loss(params, batch), **{k: fn(params, batch) for k, fn in apart.items()}}
        outputs = self.outputs.model(params, batch)
        shared = {key: fn(outputs, batch) for key, fn in from_outputs.items()}
        others = {key: shared[key] if key in shared else fn(params, batch) for key, fn in apart.items()}
        return {"loss": self.outputs.loss(outputs, batch), **others}

    def _hint(self, params: PyTree) -> str:
        """Return the likely reason why a loss raises an error."""
        return self._split("train").hint or what_it_holds(params)

    def _gather_and_evaluate(
        self, params: PyTree, arrays: PyTree, start: jax.Array, *, batch_size: int
    ) -> dict[str, jax.Array]:
        return self._values(params, examples_from(arrays, start, batch_size))

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
