"""How long one forward pass, one gradient and one product take at a network: measured on one batch."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from landscape.compute import device_memory, on_device, precision, program
from landscape.network.argument import Network, differentiable, network_of
from landscape.network.costs import GRADIENTS_PER_PRODUCT, PASSES_PER_GRADIENT, Pace
from landscape.network.subject import Subject
from landscape.problem import Problem

_ENOUGH = 0.05  # seconds of timed calls, after which the fastest stands


def measure_pace(
    problem: Problem,
    subject: Subject,
    *,
    split: str = "train",
    count: int | None = None,
    batch_size: int | None = None,
    dtype: str | None = None,
    order: int = 2,
) -> Pace:
    """Measure the time of one evaluation of a network over its data.

    One batch is evaluated, and its time multiplied by the number of batches.

    Parameters
    ----------
    problem : Problem
        The loss and its data.
    subject : Subject
        The network.
    split : str
        Which data.
    count : int, optional
        How many examples; all unless given.
    batch_size, dtype
        As for the analysis.
    order : {0, 1, 2}
        The highest derivative to measure: each is a program to compile. Higher ones get the usual price,
        as do all of a loss without derivatives.

    Returns
    -------
    Pace
        Seconds, without compilation.
    """
    kind = np.dtype(dtype or "float32")
    order = order if problem.differentiable else 0
    count = problem.num_examples(split) if count is None else count
    size = min(problem.resolve_batch_size(split, batch_size), count)
    with precision(kind), device_memory(size), differentiable():
        network = network_of(subject, kind)
        problem.check(network.point(network.leaves))  # an error of the loss is said as one
        batch = jax.tree.map(lambda x: on_device(np.asarray(x), kind), problem.head(size, split))
        times = [_seconds(fn, network, batch) for fn in _derivatives(problem)[: order + 1]]
    batches = math.ceil(count / size)
    forward = times[0] * batches
    gradient = times[1] * batches if order > 0 else PASSES_PER_GRADIENT * forward
    product = times[2] * batches if order > 1 else GRADIENTS_PER_PRODUCT * gradient
    return Pace(
        forward=forward,
        gradient=gradient,
        product=product,
        measured=order,
        vector_bytes=subject.layout.size * kind.itemsize,
    )


def _derivatives(problem: Problem) -> list[Callable[[Network, Any], Any]]:
    """Return the mean loss of a batch, its gradient, and the gradient's derivative along the weights."""

    def loss(network: Network, batch: Any, leaves: Any) -> jax.Array:
        value: jax.Array = jnp.mean(problem.loss(network.point(leaves), batch))
        return value

    def forward(network: Network, batch: Any) -> jax.Array:
        return loss(network, batch, network.leaves)

    def gradient(network: Network, batch: Any) -> Any:
        return jax.grad(lambda leaves: loss(network, batch, leaves))(network.leaves)

    def product(network: Network, batch: Any) -> Any:
        slope = jax.grad(lambda leaves: loss(network, batch, leaves))
        return jax.jvp(slope, (network.leaves,), (network.leaves,))[1]

    return [forward, gradient, product]


def _seconds(function: Callable[[Network, Any], Any], network: Network, batch: Any) -> float:
    compiled = program(function)
    jax.block_until_ready(compiled(network, batch))
    fastest, began = math.inf, time.perf_counter()
    while True:
        start = time.perf_counter()
        jax.block_until_ready(compiled(network, batch))
        now = time.perf_counter()
        fastest = min(fastest, now - start)
        if now - began > _ENOUGH:
            return fastest
