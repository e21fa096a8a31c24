"""The paper's network on a CPU, in a form that is fast forwards and in both orders of derivatives.

Convolutions by themselves spend most of their time in memory: patches, activations and their slopes are
several megabytes for a thousand images. Here

- images are taken a tile at a time, so that what a tile needs stays in the cache, and its halves apart, so
  that each core has one; a tile's activations are computed again where derivatives need them, which costs
  less than writing and reading those of all tiles;
- kernels are shifted to the four places of a pooling window, which stand side by side as further outputs
  (see `trainers.tasks.population_cnn`): the maximum over a window is one of four slices;
- each layer is a product of patches, cut out along the width first and then along the height, with its
  kernel.

The values are those of `trainers.tasks.networks.PaperCNN` but for rounding, and so are derivatives wherever
they exist. Where two places of a window are equal to the last bit, each gets half the slope; there, a
reduction over the window gives all of it to the first.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from trainers.tasks.population_cnn import same_margins, with_shifts

__all__ = ["fits_tiles", "tiled_logits"]

PyTree = Any

_TILE = 32  # images; two halves, one per core


def fits_tiles(shape: tuple[int, ...]) -> bool:
    """Return whether images [H, W, C] can be pooled twice without a remainder."""
    return len(shape) == 3 and shape[0] % 4 == 0 and shape[1] % 4 == 0


def tiled_logits(params: PyTree, images: jax.Array) -> jax.Array:
    """Return the logits [B, classes] of the paper's network.

    Parameters
    ----------
    params : pytree
        ``Conv_0``, ``Conv_1`` and ``Dense_0`` with ``kernel`` and ``bias``.
    images : array [B, H, W, C]
        Their height and width are multiples of 4.
    """
    count = images.shape[0]
    if count <= _TILE:
        return _logits(params, images)
    tiles = -(-count // _TILE)
    size = -(-count // (2 * tiles)) * 2
    # Tiles are equal and even; what the last one lacks are copies of the last image, to be dropped.
    index = jnp.minimum(jnp.arange(tiles * size), count - 1).reshape(tiles, 2, size // 2)

    @jax.checkpoint
    def tile(places: jax.Array) -> jax.Array:
        return jnp.concatenate([_logits(params, images[half]) for half in places])

    logits: jax.Array = lax.map(tile, index)
    return logits.reshape(tiles * size, -1)[:count]


def _logits(params: PyTree, images: jax.Array) -> jax.Array:
    values = images
    for name in ("Conv_0", "Conv_1"):
        values = _pooled_convolution(params[name], values)
    last = params["Dense_0"]
    logits: jax.Array = values.reshape(values.shape[0], -1) @ last["kernel"] + last["bias"]
    return logits


def _pooled_convolution(layer: PyTree, images: jax.Array) -> jax.Array:
    """Return the rectified maximum over windows of 2×2 of a convolution that keeps the size."""
    height, width, _, channels = layer["kernel"].shape
    kernel = with_shifts(jax.tree.map(lambda leaf: leaf[None], layer), 2, 2)["kernel"][0]
    patches = _patches(images, height, width)
    values = patches.reshape(-1, patches.shape[-1]) @ kernel.reshape(patches.shape[-1], -1)
    first, second, third, fourth = (values[:, i * channels : (i + 1) * channels] for i in range(4))
    highest = jnp.maximum(jnp.maximum(first, second), jnp.maximum(third, fourth))
    return jax.nn.relu(highest + layer["bias"]).reshape(*patches.shape[:3], channels)


def _patches(images: jax.Array, height: int, width: int) -> jax.Array:
    """Return [B, H/2, W/2, (height + 1)(width + 1)·C], what each window of 2×2 outputs depends on."""
    rows, columns = images.shape[1:3]
    padded = jnp.pad(images, ((0, 0), *same_margins(height, width), (0, 0)))
    across = jnp.concatenate([padded[:, :, x : x + columns - 1 : 2] for x in range(width + 1)], -1)
    return jnp.concatenate([across[:, y : y + rows - 1 : 2] for y in range(height + 1)], -1)
