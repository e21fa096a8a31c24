"""Many small networks on one minibatch: the inner loop of evolution on a CPU.

All members share the input batch, so the first layer of a block of members is one matrix product
(members·hidden × inputs) · (inputs × batch). Activations are kept with the batch as the last axis,
where every element-wise operation is a long contiguous vector; the softmax over ten classes would
otherwise run along rows of ten. Blocks are independent, so the runtime spreads them over the cores,
and small enough to stay in the cache between the layers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

PyTree = Any
PopulationLoss = Callable[[PyTree, PyTree], jax.Array]

# Activations of one block, in floats: 2 MiB, about one core's second-level cache.
_BLOCK_FLOATS = 512 * 1024
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
        layers = [params[f"Dense_{i}"] for i in range(num_layers)]
        onehot = jax.nn.one_hot(labels, layers[-1]["bias"].shape[-1], axis=0)
        # One transposition for all members costs less than one a block, which XLA would choose.
        first = jax.lax.optimization_barrier(layers[0]["kernel"].transpose(0, 2, 1))
        layers[0] = {**layers[0], "kernel": first}
        members = layers[0]["bias"].shape[0]
        widest = max(layer["bias"].shape[-1] for layer in layers)
        size = _block_size(members, widest * columns.shape[1])
        blocks = [
            _block_loss([_rows(layer, start, size) for layer in layers], columns, onehot)
            for start in range(0, members, size)
        ]
        return jnp.concatenate(blocks)

    return loss


def _block_size(members: int, floats_per_member: int) -> int:
    """Return how many members to evaluate together."""
    fitting = max(1, _BLOCK_FLOATS // floats_per_member)
    # Every block is code to compile: large populations take larger blocks instead of more of them.
    return min(members, max(fitting, -(-members // _MOST_BLOCKS)))


def _rows(layer: Mapping[str, jax.Array], start: int, size: int) -> dict[str, jax.Array]:
    return {name: array[start : start + size] for name, array in layer.items()}


def _block_loss(layers: list[dict[str, jax.Array]], columns: jax.Array, onehot: jax.Array) -> jax.Array:
    """Return the mean cross-entropy [q] of q members: columns [D, B], onehot [C, B]."""
    kernel = layers[0]["kernel"]  # [q, H, D]
    values = (kernel.reshape(-1, kernel.shape[-1]) @ columns).reshape(*kernel.shape[:2], -1)
    values = values + layers[0]["bias"][:, :, None]
    for layer in layers[1:]:
        values = jax.nn.relu(values)
        values = jnp.einsum("qhc,qhb->qcb", layer["kernel"], values) + layer["bias"][:, :, None]
    top = values.max(1, keepdims=True)
    log_sum = jnp.log(jnp.exp(values - top).sum(1)) + top[:, 0]
    return (log_sum - (values * onehot).sum(1)).mean(-1)
