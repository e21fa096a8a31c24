"""Many small networks on one minibatch, on a device that wants large batched products.

Members are taken a tile at a time, as many as the memory that is granted holds. In a tile every layer is
one matrix product or one batched over members, with the images as the last axis throughout: whatever is
cut out, pooled or rectified between is read and written in long contiguous runs, and nothing is transposed.

- The first layer has the same inputs for all members: one product with members × channels outputs.
- Kernels are shifted to all four places of a pooling window, which stand side by side as further
  outputs (see `trainers.tasks.population_cnn`), so a patch serves a whole window: 1.44 times the
  operations, for patches with 0.36 times the entries to write and read again, and products four times
  as wide. Pooling is a maximum of four slices, before bias and rectifier, which both keep order.
- The second convolution is a product batched over members with their patches; a `vmap` would make it
  a convolution grouped by member.

Notes
-----
A tile holds, in numbers per member and image, at most what `cnn_floats` and `mlp_floats` count: 28,474
for the paper's network, so 117 MB per member in float32 at a batch of 1,024, half of that in bfloat16, and
15 GB for an untiled population of 128.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from trainers.tasks.population import at_least_float32
from trainers.tasks.population_cnn import same_margins, with_shifts

PyTree = Any
BatchedLoss = Callable[[PyTree, PyTree, int], jax.Array]

_WINDOW = 4  # places of a 2×2 pooling window


def mlp_batched_loss(num_layers: int) -> BatchedLoss:
    """Return ``loss(params, (inputs [B, …], labels [B]), memory_bytes) -> [P]`` of perceptrons.

    Parameters
    ----------
    num_layers : int
        Dense layers, named ``Dense_0`` to ``Dense_{num_layers-1}``, rectified between.
    """

    def loss(params: PyTree, batch: PyTree, memory_bytes: int) -> jax.Array:
        columns = jnp.asarray(batch[0]).reshape(batch[0].shape[0], -1).T
        layers = [params[f"Dense_{i}"] for i in range(num_layers)]

        def tile(layers: list[PyTree]) -> jax.Array:
            values = _shared(layers[0]["kernel"], columns) + layers[0]["bias"][..., None]
            for layer in layers[1:]:
                values = _dense(layer, jax.nn.relu(values))
            return _mean_cross_entropy(values, batch[1])

        floats = mlp_floats([layer["bias"].shape[-1] for layer in layers])
        return _in_tiles(tile, layers, _tile_size(memory_bytes, floats, columns))

    return loss


def cnn_batched_loss(params: PyTree, batch: PyTree, memory_bytes: int) -> jax.Array:
    """Return the mean cross-entropy [P] of P networks of the paper over one batch.

    Parameters
    ----------
    params : pytree
        ``Conv_0``, ``Conv_1`` and ``Dense_0`` with ``kernel`` and ``bias``, each with a leading axis P.
    batch : (array [B, H, W, 1], array [B])
        Images whose height and width are multiples of 4, and labels.
    memory_bytes : int
        What a tile of members may hold; at least one member is taken.
    """
    images = jnp.moveaxis(jnp.asarray(batch[0]), 0, -1)[None, :, :, 0]
    height, width = params["Conv_0"]["kernel"].shape[1:3]
    patches = _patches(images, height, width)
    layers = {
        "Conv_0": with_shifts(params["Conv_0"], 2, 2),
        "Conv_1": with_shifts(params["Conv_1"], 2, 2),
        "Dense_0": params["Dense_0"],
    }

    def tile(layers: PyTree) -> jax.Array:
        # Sliced out here and not again inside the products; one copy is small beside the members of a tile.
        shared = jax.lax.optimization_barrier(patches)
        return _mean_cross_entropy(_logits(layers, shared), batch[1])

    floats = cnn_floats((images.shape[1], images.shape[2]), layers)
    return _in_tiles(tile, layers, _tile_size(memory_bytes, floats, images))


def mlp_floats(widths: Sequence[int]) -> int:
    """Return the numbers that a member holds for one example: the outputs of every layer."""
    return sum(widths)


def cnn_floats(size: tuple[int, int], layers: PyTree) -> int:
    """Return the numbers that a member holds for one image of `size`, all layers counted as kept.

    `layers` are those with shifted kernels, [P, h + 1, w + 1, I, 4·O].
    """
    first, second = (layers[name]["kernel"].shape[1:] for name in ("Conv_0", "Conv_1"))
    rows, columns = size[0] // 2, size[1] // 2
    windows = rows * columns
    padded = (rows + second[0] - 2) * (columns + second[1] - 2)
    convolved = windows * (first[3] + first[3] // _WINDOW) + padded * second[2]
    pooled = (windows // 4) * (second[0] * second[1] * second[2] + second[3] + second[3] // _WINDOW)
    return int(convolved + pooled + layers["Dense_0"]["bias"].shape[-1])


def _tile_size(memory_bytes: int, floats: int, inputs: jax.Array) -> int:
    """Return how many members fit `memory_bytes`; `inputs` have the examples last."""
    return max(1, memory_bytes // (floats * inputs.shape[-1] * inputs.dtype.itemsize))


def _in_tiles(loss: Callable[[PyTree], jax.Array], layers: PyTree, size: int) -> jax.Array:
    """Return ``loss(layers) -> [P]`` taken over equal tiles of at most `size` members."""
    members = jax.tree.leaves(layers)[0].shape[0]
    num_tiles = -(-members // size)
    if num_tiles == 1:
        return loss(layers)
    size = -(-members // num_tiles)
    # What the last tile lacks are copies of the last member, whose losses are dropped.
    index = jnp.minimum(jnp.arange(num_tiles * size), members - 1).reshape(num_tiles, size)

    def one(places: jax.Array) -> jax.Array:
        return loss(jax.tree.map(lambda leaf: leaf[places], layers))

    losses: jax.Array = jax.lax.map(one, index)
    return losses.reshape(-1)[:members]


def _patches(images: jax.Array, height: int, width: int) -> jax.Array:
    """Return what each window of 2×2 outputs depends on, (height + 1)(width + 1) places of images.

    `images` are [C, H, W, B] or [t, C, H, W, B]; their channels stand behind the place in the window:
    [(height + 1)(width + 1), C, …] or [t, (height + 1)(width + 1), C, …].
    """
    rows, columns = images.shape[-3:-1]
    zeros = [(0, 0)] * (images.ndim - 3)
    padded = jnp.pad(images, [*zeros, *same_margins(height, width), (0, 0)])
    places = [
        padded[..., y : y + rows - 1 : 2, x : x + columns - 1 : 2, :]
        for y in range(height + 1)
        for x in range(width + 1)
    ]
    return jnp.stack(places, axis=-5)


def _logits(layers: PyTree, patches: jax.Array) -> jax.Array:
    """Return the logits [t, classes, B] of the members of a tile."""
    first, second, last = (layers[name] for name in ("Conv_0", "Conv_1", "Dense_0"))
    rows, columns, count = patches.shape[-3:]
    flat = patches.reshape(-1, rows * columns * count)
    values = _pooled(_shared(_as_matrix(first["kernel"]), flat), first["bias"])
    values = values.reshape(*values.shape[:2], rows, columns, count)
    height, width = (side - 1 for side in second["kernel"].shape[1:3])
    places = _patches(values, height, width)
    members, taps = places.shape[0], second["kernel"].shape[1] * second["kernel"].shape[2]
    places = places.reshape(members, taps * values.shape[1], -1)
    values = jnp.einsum("tkn,tkb->tnb", _as_matrix(second["kernel"]), places)
    values = _pooled(values, second["bias"])
    # The kernel's inputs are ordered place by place; here a channel has all its places together.
    channels = values.shape[1]
    kernel = last["kernel"].reshape(members, -1, channels, last["kernel"].shape[-1])
    kernel = kernel.swapaxes(1, 2).reshape(last["kernel"].shape)
    return _dense({**last, "kernel": kernel}, values.reshape(members, -1, count), wide=True)


def _as_matrix(kernel: jax.Array) -> jax.Array:
    """Return a kernel [t, h, w, I, O] as [t, h·w·I, O]."""
    return kernel.reshape(kernel.shape[0], -1, kernel.shape[-1])


def _shared(kernel: jax.Array, inputs: jax.Array) -> jax.Array:
    """Return [t, O, M], the products of kernels [t, K, O] with the inputs [K, M] of all members."""
    return jnp.einsum("tko,km->tom", kernel, inputs)


def _dense(layer: PyTree, values: jax.Array, *, wide: bool = False) -> jax.Array:
    """Return the outputs [t, O, B] of a dense layer for values [t, I, B], in at least float32 if `wide`."""
    kind = jnp.promote_types(values.dtype, jnp.float32) if wide else values.dtype
    product = jnp.einsum("tio,tib->tob", layer["kernel"], values, preferred_element_type=kind)
    outputs: jax.Array = product + layer["bias"][..., None]
    return outputs


def _pooled(values: jax.Array, bias: jax.Array) -> jax.Array:
    """Return the rectified maximum [t, C, M] over the four places of [t, 4·C, M]."""
    first, second, third, fourth = jnp.split(values, _WINDOW, axis=1)
    highest = jnp.maximum(jnp.maximum(first, second), jnp.maximum(third, fourth))
    return jax.nn.relu(highest + bias[..., None])


def _mean_cross_entropy(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Return the mean cross-entropy [t] of logits [t, classes, B]."""
    logits = at_least_float32(logits)
    true_logit = jnp.take_along_axis(logits, jnp.asarray(labels)[None, None, :], axis=1)[:, 0]
    return (jax.nn.logsumexp(logits, axis=1) - true_logit).mean(-1)
