"""How populations and replicates are evaluated: the one place where the backend decides.

On a CPU, members and replicates are mapped one after another or in blocks that stay in the cache; a
`vmap` over a convolution would become a slow grouped one. Elsewhere all members go through batched
matrix products. A mapped evaluator is never vmapped from outside: replicates are mapped as well.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.custom_batching import custom_vmap, sequential_vmap

from landscape.problem import Problem
from landscape.trees import Layout
from trainers.config import Evaluation

PyTree = Any
# evaluate(population [P, n], batch [B, …]) -> mean losses [P]
Evaluate = Callable[[jax.Array, PyTree], jax.Array]

# Replicates that stand side by side in the loop's body: their independent parts overlap on the cores
# (three seeds cost 3.1 times one instead of 3.8), for no more compile time than a plain loop.
_UNROLL = 4
# What the batched form may hold where the device does not tell how much memory it has.
_UNKNOWN_BYTES = 256 * 2**20
_MEMORY_SHARE = 8
_MATMUL_PRECISION = {"float32": "highest", "tf32": "tensorfloat32", "bfloat16": "highest"}


def map_replicates(function: Callable[..., PyTree], *arguments: PyTree) -> PyTree:
    """Apply a function of one replicate to arguments with a leading axis of replicates."""
    if jax.default_backend() != "cpu":
        return jax.vmap(function)(*arguments)

    def body(carry: None, one: tuple[PyTree, ...]) -> tuple[None, PyTree]:
        return carry, function(*one)

    return jax.lax.scan(body, None, arguments, unroll=_UNROLL)[1]


def mean_loss(problem: Problem, layout: Layout, like: PyTree) -> Callable[[jax.Array, PyTree], jax.Array]:
    """Return ``loss(vector [n], batch) -> scalar``, the mean of the problem's loss over a batch.

    With weights of examples it is an unbiased estimate of the weighted mean over the training split.
    """
    per_example = problem.weighed_loss()
    return lambda vector, batch: jnp.mean(per_example(layout.unflatten(vector, like), batch))


def chosen_form(form: str) -> str:
    """Return the form of evaluation that "auto" stands for on this backend."""
    if form != "auto":
        return form
    return "mapped" if jax.default_backend() == "cpu" else "batched"


def memory_budget(memory_mib: int) -> int:
    """Return the bytes that the batched form may hold: as given, or an eighth of the device's memory."""
    if memory_mib:
        return memory_mib * 2**20
    told = jax.devices()[0].memory_stats() or {}
    limit = int(told.get("bytes_limit", 0))
    return limit // _MEMORY_SHARE if limit else _UNKNOWN_BYTES


def population_evaluator(
    problem: Problem, layout: Layout, like: PyTree, evaluation: Evaluation | None = None
) -> Evaluate:
    """Return ``evaluate(population [P, n], batch [B, …]) -> mean losses [P]`` of one search.

    Parameters
    ----------
    problem : Problem
        Its `population_loss` is used by the mapped form, its `batched_loss` by the batched one; a
        problem without them has its loss mapped, or vmapped, over the members.
    layout, like : Layout, pytree
        How vectors become the problem's parameters.
    evaluation : Evaluation, optional
        Form, memory and precision; by default what suits the backend, in float32.

    Notes
    -----
    All members share the minibatch. All forms give the same losses up to rounding.
    """
    given = evaluation or Evaluation()
    loss = _forms(problem, given)
    precision = _MATMUL_PRECISION[given.precision]

    def evaluate(population: jax.Array, batch: PyTree) -> jax.Array:
        params = layout.unflatten(population, like)
        if given.precision == "bfloat16":
            params, batch = _in_bfloat16((params, batch))
        with jax.default_matmul_precision(precision):
            return loss(params, batch)

    return evaluate


def _forms(problem: Problem, evaluation: Evaluation) -> Callable[[PyTree, PyTree], jax.Array]:
    """Return ``loss(stacked params, batch) -> [P]`` in the chosen form."""
    per_example = problem.weighed_loss()

    def single(params: PyTree, batch: PyTree) -> jax.Array:
        return jnp.mean(_at_least_float32(per_example(params, batch)))

    def mapped(params: PyTree, batch: PyTree) -> jax.Array:
        losses: jax.Array = jax.lax.map(lambda member: single(member, batch), params)
        return losses

    form = chosen_form(evaluation.form)
    if form == "mapped":
        at_once = problem.population_loss or mapped
        return at_once if jax.default_backend() == "cpu" else sequential_vmap(at_once)
    if form == "batched" and problem.batched_loss is not None:
        return _within(memory_budget(evaluation.memory_mib), problem.batched_loss)
    return jax.vmap(single, in_axes=(0, None))


def _within(
    budget: int, at_once: Callable[[PyTree, PyTree, int], jax.Array]
) -> Callable[[PyTree, PyTree], jax.Array]:
    """Return a batched loss that keeps to `budget` bytes, for all replicates together if it is vmapped."""

    @custom_vmap
    def loss(params: PyTree, batch: PyTree) -> jax.Array:
        losses: jax.Array = at_once(params, batch, budget)
        return losses

    @loss.def_vmap
    def replicates(
        count: int, batched: list[PyTree], params: PyTree, batch: PyTree
    ) -> tuple[jax.Array, bool]:
        axes = jax.tree.map(lambda is_batched: 0 if is_batched else None, tuple(batched))
        share: Callable[[PyTree, PyTree], jax.Array] = jax.vmap(
            lambda params, batch: at_once(params, batch, budget // count), in_axes=axes
        )
        return share(params, batch), True

    result: Callable[[PyTree, PyTree], jax.Array] = loss
    return result


def _in_bfloat16(tree: PyTree) -> PyTree:
    """Return a tree whose floating-point leaves are rounded to bfloat16."""

    def rounded(leaf: Any) -> jax.Array:
        values = jnp.asarray(leaf)
        return values.astype(jnp.bfloat16) if jnp.issubdtype(values.dtype, jnp.floating) else values

    return jax.tree.map(rounded, tree)


def _at_least_float32(values: jax.Array) -> jax.Array:
    """Return values in which a mean over a batch loses nothing."""
    return values.astype(jnp.promote_types(values.dtype, jnp.float32))
