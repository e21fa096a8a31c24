"""Many small convolutional networks on one minibatch, on a CPU.

A `vmap` over members turns every convolution into a grouped one, which XLA runs one group at a time
and without its fast kernels. Here the images are taken a tile at a time and members two by two, one per
core, so that the activations of a member stay near it. Three things make each member fast:

- The patches of a tile are cut out once for all members; a member's first layer is one matrix product.
- A patch serves several neighbouring outputs. Their kernels, shifted and padded with zeros, stand side
  by side as further output channels: all four places of a pooling window in the first layer, the two
  rows of it in the second. That multiplies a few zeros (1.44 and 1.2 times the operations), but cuts
  out and packs a third and three fifths of the entries, for products twice to four times as wide.
- Pooling is then a maximum of slices of the channels, in long contiguous runs, before bias and
  rectifier (which both keep order); as a reduction over a short axis it would cost as much as the
  products.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from trainers.tasks.population import at_least_float32

PyTree = Any

# Images per tile. With two members at a time 128 was the fastest of 32 to 256, by a tenth and more; with
# one at a time 8 to 128 hardly differed.
_TILE = 128
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
    weights = (index < count).astype(jnp.promote_types(images.dtype, jnp.float32))
    index = jnp.minimum(index, count - 1)
    height, width = params["Conv_0"]["kernel"].shape[1:3]
    layers = {
        "Conv_0": with_shifts(params["Conv_0"], 2, 2),
        "Conv_1": with_shifts(params["Conv_1"], 2, 1),
        "Dense_0": params["Dense_0"],
    }

    def tile(part: tuple[jax.Array, jax.Array]) -> jax.Array:
        places, weight = part
        # Without the barrier the patches would be cut out again for every member.
        patches = lax.optimization_barrier(_patches(images[places, ..., 0], height, width))
        logits = _map_in_pairs(lambda member: _logits(member, patches), layers)
        return (_cross_entropy(logits, labels[places]) * weight).sum(-1)

    losses: jax.Array = lax.map(tile, (index, weights)).sum(0) / count
    return losses


def _map_in_pairs(function: Callable[[PyTree], jax.Array], members: PyTree) -> jax.Array:
    """Return `function` of each member, stacked, two at a time.

    Two members depend on nothing of each other, so that the runtime gives each a core; it would
    otherwise halve every operation of one and wait for both halves, half as long again on two cores.
    """
    count = jax.tree.leaves(members)[0].shape[0]

    def pair(two: PyTree) -> jax.Array:
        return jnp.stack([function(jax.tree.map(lambda x, i=i: x[i], two)) for i in range(2)])

    found = []
    if count > 1:
        pairs = jax.tree.map(lambda x: x[: count // 2 * 2].reshape(count // 2, 2, *x.shape[1:]), members)
        values = lax.map(pair, pairs)
        found.append(values.reshape(-1, *values.shape[2:]))
    if count % 2:
        found.append(function(jax.tree.map(lambda x: x[-1], members))[None])
    return jnp.concatenate(found)


def with_shifts(layer: PyTree, rows: int, columns: int) -> PyTree:
    """Return a convolution [P, h, w, I, O] that gives `rows` by `columns` neighbouring outputs at once.

    The kernel becomes [P, h + rows − 1, w + columns − 1, I, rows·columns·O].
    """
    shifts = [(y, x) for y in range(rows) for x in range(columns)]
    shifted = [
        jnp.pad(layer["kernel"], ((0, 0), (y, rows - 1 - y), (x, columns - 1 - x), (0, 0), (0, 0)))
        for y, x in shifts
    ]
    return {"kernel": jnp.concatenate(shifted, -1), "bias": layer["bias"]}


def same_margins(height: int, width: int) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return the zeros around an image that keep its size under a kernel, as SAME does."""
    above, left = (height - 1) // 2, (width - 1) // 2
    return (above, height - 1 - above), (left, width - 1 - left)


def _patches(images: jax.Array, height: int, width: int) -> jax.Array:
    """Return [B, H/2, W/2, (height + 1)(width + 1)], what each window of 2×2 outputs depends on."""
    rows, columns = images.shape[1:]
    padded = jnp.pad(images, ((0, 0), *same_margins(height, width)))
    places = [
        padded[:, y : y + rows - 1 : 2, x : x + columns - 1 : 2]
        for y in range(height + 1)
        for x in range(width + 1)
    ]
    return jnp.stack(places, -1)


def _logits(layers: PyTree, patches: jax.Array) -> jax.Array:
    """Return the logits [B, classes] of one member."""
    first, second, last = (layers[name] for name in ("Conv_0", "Conv_1", "Dense_0"))
    taps = patches.shape[-1]
    values = patches.reshape(-1, taps) @ first["kernel"].reshape(taps, -1)
    values = _pooled(values, first["bias"]).reshape(*patches.shape[:3], -1)
    kernel = second["kernel"]
    margins = same_margins(kernel.shape[0] - 1, kernel.shape[1])
    values = lax.conv_general_dilated(values, kernel, (2, 1), margins, dimension_numbers=_AXES)
    # Two neighbouring columns of two rows each: four places of a window in one run of channels.
    count, rows, columns, channels = values.shape
    values = values.reshape(count, rows, columns // 2, 2 * channels)
    flat = _pooled(values, second["bias"]).reshape(count, -1)
    logits: jax.Array = flat @ last["kernel"] + last["bias"]
    return logits


def _pooled(values: jax.Array, bias: jax.Array) -> jax.Array:
    """Return the rectified maximum [..., C] over the four places of [..., 4·C]."""
    first, second, third, fourth = jnp.split(values, 4, axis=-1)
    highest = jnp.maximum(jnp.maximum(first, second), jnp.maximum(third, fourth))
    return jax.nn.relu(highest + bias)


def _cross_entropy(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Return the cross-entropy [P, B] of logits [P, B, classes]."""
    logits = at_least_float32(logits)
    true_logit = jnp.take_along_axis(logits, labels[None, :, None], axis=-1)[..., 0]
    return jax.nn.logsumexp(logits, axis=-1) - true_logit
