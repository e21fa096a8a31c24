"""Derivatives that SNIP, GraSP and SynFlow need, on the flat vector of a problem.

1. Draw `num_examples` training examples without replacement, fixed by the seed.
2. Gradient g of their mean loss, by reverse mode.
3. Hessian-vector products H d by forward over reverse mode (Pearlmutter 1994).
4. For SynFlow the gradient of the summed outputs for one input of ones (Tanaka et al. 2020).

All of it is float64: scores of weights that matter equally would else be ranked by rounding errors,
and one mask would depend on the device.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from landscape import Outputs, Problem
from landscape.compute import program
from landscape.trees import Layout
from trainers.pruning.scores import Derivatives

PyTree = Any


def loss_derivatives(
    problem: Problem, layout: Layout, like: PyTree, *, num_examples: int, seed: int
) -> Derivatives:
    """Return derivatives of the mean loss over some training examples, in float64.

    Parameters
    ----------
    problem : Problem
        Its loss, and for the synaptic flow its `outputs`.
    layout, like : Layout, pytree
        How vectors become parameters.
    num_examples : int
        How many training examples, at most; drawn without replacement.
    seed : int
        Fixes which.
    """
    host = jax.tree.map(np.asarray, problem.arrays("train"))
    total = problem.num_examples("train")
    index = np.random.default_rng([seed, 0xDA7A]).permutation(total)[:num_examples]
    batch = jax.tree.map(lambda x: _wide(x[np.sort(index)]), host)

    per_example = problem.weighed_loss()

    def loss(vector: jax.Array, batch: PyTree) -> jax.Array:
        return jnp.mean(per_example(layout.unflatten(vector, like), batch))

    gradient = program(jax.grad(loss))
    product = program(lambda v, d, batch: jax.jvp(lambda x: jax.grad(loss)(x, batch), (v,), (d,))[1])

    def compute(function: Any, *vectors: np.ndarray) -> np.ndarray:
        with jax.enable_x64(True):
            return np.asarray(function(*(jnp.asarray(v, jnp.float64) for v in vectors), batch))

    return Derivatives(
        gradient=lambda vector: compute(gradient, vector),
        hessian_product=lambda vector, direction: compute(product, vector, direction),
        flow=None if problem.outputs is None else _flow(problem.outputs, layout, like, batch),
    )


def _flow(
    outputs: Outputs, layout: Layout, like: PyTree, batch: PyTree
) -> Callable[[np.ndarray], np.ndarray]:
    """Return the gradient of the summed outputs for one example of ones (Tanaka et al. 2020)."""
    ones = jax.tree.map(lambda x: np.ones_like(x[:1]), batch)
    gradient = program(jax.grad(lambda vector: jnp.sum(outputs.model(layout.unflatten(vector, like), ones))))

    def flow(vector: np.ndarray) -> np.ndarray:
        with jax.enable_x64(True):
            return np.asarray(gradient(jnp.asarray(vector, jnp.float64)))

    return flow


def _wide(leaf: np.ndarray) -> np.ndarray:
    return leaf.astype(np.float64) if np.issubdtype(leaf.dtype, np.floating) else leaf
