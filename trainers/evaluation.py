"""How populations and replicates are evaluated: the one place where the backend decides.

On a CPU, members and replicates are mapped one after another or in blocks that stay in the cache; a
`vmap` over a convolution would become a slow grouped one. On a GPU one batched program wins. Nothing
here is ever vmapped again from outside.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from landscape.layout import Layout
from landscape.problem import Problem

PyTree = Any


# Replicates that stand side by side in the loop's body: their independent parts overlap on the cores
# (three seeds cost 3.1 times one instead of 3.8), for no more compile time than a plain loop.
_UNROLL = 4


def map_replicates(function: Callable[..., PyTree], *arguments: PyTree) -> PyTree:
    """Apply a function of one replicate to arguments with a leading axis of replicates."""
    if jax.default_backend() != "cpu":
        return jax.vmap(function)(*arguments)

    def body(carry: None, one: tuple[PyTree, ...]) -> tuple[None, PyTree]:
        return carry, function(*one)

    return jax.lax.scan(body, None, arguments, unroll=_UNROLL)[1]


def mean_loss(problem: Problem, layout: Layout, like: PyTree) -> Callable[[jax.Array, PyTree], jax.Array]:
    """Return ``loss(vector [n], batch) -> scalar``, the mean of the problem's loss over a batch."""
    return lambda vector, batch: jnp.mean(problem.loss(layout.unflatten(vector, like), batch))


def population_evaluator(
    problem: Problem, layout: Layout, like: PyTree
) -> Callable[[jax.Array, PyTree], jax.Array]:
    """Return ``evaluate(population [P, n], batch [B, …]) -> mean losses [P]`` of one search.

    All members share the minibatch. A problem that knows how to evaluate many networks at once
    (`Problem.population_loss`) does so on a CPU; any other is mapped there, and batched elsewhere.
    """
    single = mean_loss(problem, layout, like)
    if jax.default_backend() != "cpu":
        return jax.vmap(single, in_axes=(0, None))
    if problem.population_loss is not None:
        at_once = problem.population_loss
        return lambda population, batch: at_once(layout.unflatten(population, like), batch)
    return lambda population, batch: jax.lax.map(lambda vector: single(vector, batch), population)
