"""Many small convolutional networks on one minibatch, on a CPU.

A `vmap` over members turns every convolution into a grouped one, which XLA runs one group at a time
and without its fast kernels. Here the images are taken a tile at a time: the first convolution of all
members is one matrix product with the patches that they share, four of them, one for each place of a
pooling window, so that pooling is an element-wise maximum before bias and rectifier (which both keep
order). Members are then mapped, each with a convolution of its own.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

PyTree = Any

# Images a tile: the first activations of 128 members of the paper's network are then 25 MB.
_TILE = 32
_AXES = ("NHWC", "HWIO", "NHWC")


def cnn_population_loss(params: PyTree, batch: PyTree) -> jax.Array:
    """Return the mean cross-entropy [P] of P networks of the paper over one batch.

    Parameters
    ----------
    params : pytree
        ``Conv_0``, ``Conv_1`` and ``Dense_0`` with ``kernel`` and ``bias``, each with a leading axis P.
    batch : (array [B, H, W, 1], array [B])
        Images whose height and width are multiples of 4, and labels.
    """
    images, labels = (jnp.asarray(part) for part in batch)
    count = images.shape[0]
    num_tiles = -(-count // _TILE)
    size = -(-count // num_tiles)
    # Tiles are equal; what the last one lacks are copies of a real image that count for nothing.
    index = jnp.arange(num_tiles * size).reshape(num_tiles, size)
    weights = (index < count).astype(images.dtype)
    index = jnp.minimum(index, count - 1)

    def tile(part: tuple[jax.Array, jax.Array]) -> jax.Array:
        places, weight = part
        first = _first_layer(params["Conv_0"], images[places])
        rest = {name: params[name] for name in ("Conv_1", "Dense_0")}
        logits = lax.map(lambda member: _other_layers(*member), (first, rest))
        return (_cross_entropy(logits, labels[places]) * weight).sum(-1)

    losses: jax.Array = lax.map(tile, (index, weights)).sum(0) / count
    return losses


def _first_layer(layer: PyTree, images: jax.Array) -> jax.Array:
    """Return the pooled, rectified first activations [P, B, H/2, W/2, C] of all members."""
    kernel, bias = layer["kernel"], layer["bias"]
    members, height, width, _, channels = kernel.shape
    taps = height * width
    weights = kernel.reshape(members, taps, channels).transpose(1, 0, 2).reshape(taps, members * channels)
    patches = _pooled_patches(images[..., 0], height, width)
    values = patches[0] @ weights
    for place in range(1, 4):
        values = jnp.maximum(values, patches[place] @ weights)
    values = jax.nn.relu(values + bias.reshape(-1))
    count, rows, columns = images.shape[0], images.shape[1] // 2, images.shape[2] // 2
    values = values.reshape(count * rows * columns, members, channels).transpose(1, 0, 2)
    values = values.reshape(members, count, rows, columns, channels)
    # Without the barrier the transposition is done again inside the loop over members.
    result: jax.Array = lax.optimization_barrier(values)
    return result


def _pooled_patches(images: jax.Array, height: int, width: int) -> jax.Array:
    """Return the patches [4, B·H/2·W/2, taps] below the four places of every pooling window."""
    count, rows, columns = images.shape
    above, left = (height - 1) // 2, (width - 1) // 2
    padded = jnp.pad(images, ((0, 0), (above, height - 1 - above), (left, width - 1 - left)))
    shifted = [padded[:, y : y + rows, x : x + columns] for y in range(height) for x in range(width)]
    patches = jnp.stack(shifted, -1).reshape(count, rows // 2, 2, columns // 2, 2, height * width)
    return patches.transpose(2, 4, 0, 1, 3, 5).reshape(4, -1, height * width)


def _other_layers(values: jax.Array, layers: PyTree) -> jax.Array:
    """Return the logits [B, classes] of one member from its first activations."""
    kernel, bias = layers["Conv_1"]["kernel"], layers["Conv_1"]["bias"]
    values = lax.conv_general_dilated(values, kernel, (1, 1), "SAME", dimension_numbers=_AXES)
    count, rows, columns, channels = values.shape
    pooled = values.reshape(count, rows // 2, 2, columns // 2, 2, channels).max((2, 4))
    flat = jax.nn.relu(pooled + bias).reshape(count, -1)
    logits: jax.Array = flat @ layers["Dense_0"]["kernel"] + layers["Dense_0"]["bias"]
    return logits


def _cross_entropy(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Return the cross-entropy [P, B] of logits [P, B, classes]."""
    true_logit = jnp.take_along_axis(logits, labels[None, :, None], axis=-1)[..., 0]
    return jax.nn.logsumexp(logits, axis=-1) - true_logit
