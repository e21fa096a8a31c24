"""Many small networks on one minibatch: the inner loop of evolution on a CPU.

All members share the input batch, so the first layer of a block of members is one matrix product
(members·hidden × inputs) · (inputs × batch). Activations are kept with the batch as the last axis,
where every element-wise operation is a long contiguous vector; the softmax over ten classes would
otherwise run along rows of ten. Blocks are independent, so the runtime spreads them over the cores,
and small enough to stay in the cache between the layers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

PyTree = Any
PopulationLoss = Callable[[PyTree, PyTree], jax.Array]

# Activations of one block, in floats: 1 MiB. With a second-level cache of 512 KiB per core this was the
# fastest of 128 KiB to 4 MiB, by a fifth over 2 MiB, which a machine with 1 MiB had suggested.
_BLOCK_FLOATS = 256 * 1024
_MOST_BLOCKS = 32


def mlp_population_loss(num_layers: int) -> PopulationLoss:
    """Return the mean cross-entropy of P multilayer perceptrons over one batch.

    Parameters
    ----------
    num_layers : int
        Dense layers, named ``Dense_0`` to ``Dense_{num_layers-1}``, rectified between.

    Returns
    -------
    callable
        ``loss(params, (inputs [B, …], labels [B])) -> [P]`` where the leaves of `params` have a
        leading axis P.
    """

    def loss(params: PyTree, batch: PyTree) -> jax.Array:
        inputs, labels = batch
        columns = inputs.reshape(inputs.shape[0], -1).T
        columns = jnp.concatenate([jnp.ones_like(columns[:1]), columns])
        layers = [params[f"Dense_{i}"] for i in range(num_layers)]
        members, classes = layers[-1]["bias"].shape
        onehot = jax.nn.one_hot(labels, classes, axis=0)
        # The first bias is one more input that is always 1. One transposition for all members costs
        # less than one per block, which XLA would choose without the barriers.
        first = jnp.concatenate([layers[0]["bias"][:, None], layers[0]["kernel"]], axis=1)
        kernels = [first, *(layer["kernel"] for layer in layers[1:])]
        kernels = [jax.lax.optimization_barrier(kernel.transpose(0, 2, 1)) for kernel in kernels]
        biases = [layer["bias"][:, :, None] for layer in layers[1:]]
        widest = max(kernel.shape[1] for kernel in kernels)
        size = _block_size(members, widest * columns.shape[1])
        blocks = []
        for start in range(0, members, size):
            rows = slice(start, start + size)
            block = [kernel[rows] for kernel in kernels], [bias[rows] for bias in biases]
            blocks.append(_block_loss(*block, columns, onehot))
        return jnp.concatenate(blocks)

    return loss


def at_least_float32(values: jax.Array) -> jax.Array:
    """Return logits in which a softmax and a mean over a batch lose nothing."""
    return values.astype(jnp.promote_types(values.dtype, jnp.float32))


def _block_size(members: int, floats_per_member: int) -> int:
    """Return how many members to evaluate together."""
    fitting = max(1, _BLOCK_FLOATS // floats_per_member)
    # Every block is code to compile: large populations take larger blocks instead of more of them.
    return min(members, max(fitting, -(-members // _MOST_BLOCKS)))


def _block_loss(
    kernels: list[jax.Array], biases: list[jax.Array], columns: jax.Array, onehot: jax.Array
) -> jax.Array:
    """Return the mean cross-entropy [q] of q members.

    `kernels` are [q, outputs, inputs] (the first with its bias as input 0), `biases` [q, outputs, 1]
    of the layers behind it, `columns` [1 + D, B], `onehot` [C, B].
    """
    first = kernels[0]
    values = (first.reshape(-1, first.shape[-1]) @ columns).reshape(*first.shape[:2], -1)
    for kernel, bias in zip(kernels[1:], biases, strict=True):
        values = jnp.einsum("qch,qhb->qcb", kernel, jax.nn.relu(values)) + bias
    values = at_least_float32(values)
    top = values.max(1, keepdims=True)
    log_sum = jnp.log(jnp.exp(values - top).sum(1)) + top[:, 0]
    return (log_sum - (values * onehot).sum(1)).mean(-1)
