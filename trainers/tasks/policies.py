"""Policies of control tasks as plain products, for one network or for a population in one batched product.

The Flax modules of `trainers.tasks.networks` say what these networks are and start them. Here the same values
come from matrix products that take a leading axis of members on every array: a `vmap` over a convolution
would become a slow grouped one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from trainers.tasks.networks import validate_network

__all__ = ["Policy", "policy_of"]

PyTree = Any
# policy(params, observations) -> outputs. Of one network: observations [E, …] -> [E, num_outputs]. Of a
# population, whose arrays have a leading axis P: [P, E, …] -> [P, E, num_outputs].
Policy = Callable[[PyTree, jax.Array], jax.Array]

_KERNEL = 3  # height and width of the convolution


def policy_of(network: Mapping[str, Any], observation_shape: tuple[int, ...]) -> Policy:
    """Return ``policy(params, observations) -> outputs`` of a description.

    Parameters
    ----------
    network : mapping
        ``{"kind": "policy", "widths"}`` or ``{"kind": "policy-cnn", "channels", "widths"}``.
    observation_shape : tuple of int
        Of one observation.

    Raises
    ------
    ConfigurationError
        As `trainers.tasks.networks.validate_network`.
    """
    described = validate_network(network)
    num_hidden, rank = len(described["widths"]), len(observation_shape)
    convolved = described["kind"] == "policy-cnn"

    def policy(params: PyTree, observations: jax.Array) -> jax.Array:
        lanes = observations.shape[: observations.ndim - rank]
        values = observations
        if convolved:
            values = jnp.tanh(_convolution(params["Conv_0"], values))
        values = values.reshape(*lanes, -1)
        for index in range(num_hidden):
            values = jnp.tanh(_dense(params[f"Dense_{index}"], values))
        outputs = _dense(params[f"Dense_{num_hidden}"], values)
        return outputs.astype(jnp.promote_types(outputs.dtype, jnp.float32))

    return policy


def _dense(layer: PyTree, values: jax.Array) -> jax.Array:
    """Return the layer's values: [(P,) E, in] · [(P,) in, out] + [(P,) out]."""
    kernel = layer["kernel"]
    found: jax.Array = values.astype(kernel.dtype) @ kernel + layer["bias"][..., None, :]
    return found


def _convolution(layer: PyTree, images: jax.Array) -> jax.Array:
    """Return a convolution without padding as one product over the patches of all places.

    [(P,) E, H, W, C] with a kernel [(P,) 3, 3, C, channels] to [(P,) E, (H − 2)·(W − 2), channels].
    """
    kernel = layer["kernel"]
    *lanes, height, width, _ = images.shape
    rows, columns = height - _KERNEL + 1, width - _KERNEL + 1
    shifts = [(i, j) for i in range(_KERNEL) for j in range(_KERNEL)]
    patches = [images[..., i : i + rows, j : j + columns, :] for i, j in shifts]
    members = kernel.ndim - 4
    flat = jnp.concatenate(patches, axis=-1).reshape(*lanes[:members], -1, kernel.shape[-2] * len(shifts))
    matrix = kernel.reshape(*kernel.shape[:members], -1, kernel.shape[-1])
    values = _dense({"kernel": matrix, "bias": layer["bias"]}, flat)
    return values.reshape(*lanes, rows * columns, kernel.shape[-1])
