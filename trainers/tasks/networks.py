"""Networks and policies of the built-in tasks, named so that a checkpoint can rebuild them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from landscape.errors import ArchitectureMismatchError
from landscape.trees import difference, map_with_paths, shapes
from trainers.config import KNOWN_KEYS, Invalid, network_faults, refusal
from trainers.pruning import ChainLayer
from trainers.tasks.tiled_cnn import fits_tiles, tiled_logits

PyTree = Any
_CHANNELS = (8, 16)  # of the paper's convolutions
_MAX_BIAS = 0.05  # biases start uniform on [0, 0.05), those of the output layer at zero (the paper's code)


class MLP(nn.Module):
    """Dense layers with rectifiers, or another activation, between them; returns logits.

    Attributes
    ----------
    widths : tuple of int
        Hidden widths.
    num_outputs : int
        Classes, or what a policy puts out.
    activation : callable
        Of hidden layers.
    """

    widths: tuple[int, ...]
    num_outputs: int = 10
    activation: Callable[[jax.Array], jax.Array] = nn.relu

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Return logits [B, classes] of inputs [B, …]."""
        x = x.reshape(x.shape[0], -1)
        for index, width in enumerate(self.widths):
            x = self.activation(nn.Dense(width, name=f"Dense_{index}")(x))
        logits: jax.Array = nn.Dense(self.num_outputs, name=f"Dense_{len(self.widths)}")(x)
        return logits


class PaperCNN(nn.Module):
    """The paper's network for 28×28 images: 11,274 parameters, 11,240 of them in kernels.

    Pooling stands before the rectifier, which gives the same values (both are monotone) for a
    quarter of the work.
    """

    num_outputs: int = 10

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Return logits [B, classes] of images [B, 28, 28, 1]."""
        for index, features in enumerate(_CHANNELS):
            x = nn.Conv(features, (5, 5), name=f"Conv_{index}")(x)
            x = nn.relu(nn.max_pool(x, (2, 2), (2, 2)))
        logits: jax.Array = nn.Dense(self.num_outputs, name="Dense_0")(x.reshape(x.shape[0], -1))
        return logits


class PolicyCNN(nn.Module):
    """A convolution of 3×3 without padding, then dense layers, tanh throughout: a policy of small images.

    Attributes
    ----------
    channels : int
        Of the convolution.
    widths : tuple of int
        Hidden widths behind it.
    num_outputs : int
        What a policy puts out.
    """

    channels: int
    widths: tuple[int, ...]
    num_outputs: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Return outputs [B, num_outputs] of images [B, H, W, C]."""
        x = nn.tanh(nn.Conv(self.channels, (3, 3), padding="VALID", name="Conv_0")(x))
        x = x.reshape(x.shape[0], -1)
        for index, width in enumerate(self.widths):
            x = nn.tanh(nn.Dense(width, name=f"Dense_{index}")(x))
        outputs: jax.Array = nn.Dense(self.num_outputs, name=f"Dense_{len(self.widths)}")(x)
        return outputs


def _widths(network: Mapping[str, Any]) -> tuple[int, ...]:
    return tuple(int(width) for width in network["widths"])


# How each kind of `trainers.config.task_table.NETWORKS` is built.
_KINDS: dict[str, Callable[[Mapping[str, Any], int], nn.Module]] = {
    "mlp": lambda network, outputs: MLP(_widths(network), outputs),
    "lenet-300-100": lambda _, outputs: MLP((300, 100), outputs),
    "paper-cnn": lambda _, outputs: PaperCNN(outputs),
    "policy": lambda network, outputs: MLP(_widths(network), outputs, nn.tanh),
    "policy-cnn": lambda network, outputs: PolicyCNN(int(network["channels"]), _widths(network), outputs),
}


def validate_network(network: Mapping[str, Any]) -> dict[str, Any]:
    """Return the network's description, checked.

    Raises
    ------
    ConfigurationError
        Listing an unknown kind, unknown keys, or widths that are not positive whole numbers.
    """
    faults = network_faults(network, ".network")
    if faults:
        raise refusal("network: cannot be built", Invalid(faults), KNOWN_KEYS)
    return {key: list(value) if isinstance(value, tuple) else value for key, value in network.items()}


def build(network: Mapping[str, Any], num_outputs: int = 10) -> nn.Module:
    """Return the Flax module that a description names.

    Raises
    ------
    ConfigurationError
        As `validate_network`.
    """
    described = validate_network(network)
    return _KINDS[described["kind"]](described, num_outputs)


def expected_shapes(module: nn.Module, input_shape: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
    """Return the shapes of a module's parameters by path; nothing is computed."""
    example = jnp.zeros((1, *input_shape))
    return shapes(jax.eval_shape(module.init, jax.random.key(0), example)["params"])


def check_params(
    task: str, params: PyTree, expected: Mapping[str, tuple[int, ...]], *, what: str = "network"
) -> None:
    """Refuse parameters of another network, by path; `what` is the word for a network of the task.

    Raises
    ------
    ArchitectureMismatchError
        Naming the first paths that differ.
    """
    differing = difference(dict(expected), shapes(params))
    if differing:
        raise ArchitectureMismatchError(
            f"{task}: these parameters are of another {what}: {len(differing)} paths differ",
            expected=f"the task's {what}",
            got="; ".join(differing[:3]),
            hint="Give the network that the parameters belong to, or another --problem.",
        )


def features(module: nn.Module, params: PyTree, inputs: jax.Array) -> dict[str, jax.Array]:
    """Return what enters each kernel of dense and convolutional layers, {path: [B, …, kernel inputs]}.

    Of a convolution these are the patches, in the order of its kernel (height, width, channels).
    """
    found: dict[str, jax.Array] = {}

    def note(call: Callable[..., Any], args: Any, kwargs: Any, context: Any) -> Any:
        layer = context.module
        if context.method_name == "__call__" and isinstance(layer, (nn.Dense, nn.Conv)):
            entering = args[0] if isinstance(layer, nn.Dense) else _patches(args[0], layer)
            found["/".join((*layer.path, "kernel"))] = entering
        return call(*args, **kwargs)

    with nn.intercept_methods(note):
        module.apply({"params": params}, inputs)
    return found


def _patches(images: jax.Array, layer: nn.Conv) -> jax.Array:
    """Return the patches [B, H, W, height · width · channels] that a convolution of stride one sees."""
    height, width = layer.variables["params"]["kernel"].shape[:2]
    patches = jax.lax.conv_general_dilated_patches(
        images, (height, width), (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    channels = images.shape[-1]  # jax has them first
    ordered = patches.reshape(*patches.shape[:-1], channels, -1).swapaxes(-1, -2)
    return ordered.reshape(patches.shape)


def fast_form(
    network: Mapping[str, Any], input_shape: tuple[int, ...]
) -> Callable[[PyTree, jax.Array], jax.Array] | None:
    """Return ``logits(params, inputs)`` in a form that is faster on a CPU; None where there is none."""
    return tiled_logits if isinstance(build(network), PaperCNN) and fits_tiles(input_shape) else None


def num_dense_layers(network: Mapping[str, Any]) -> int | None:
    """Return the number of dense layers of a multilayer perceptron, None for other networks."""
    module = build(network)
    return len(module.widths) + 1 if isinstance(module, MLP) else None


def initialise(
    network: Mapping[str, Any], input_shape: tuple[int, ...], seed: int, *, num_outputs: int = 10
) -> PyTree:
    """Return initial parameters: LeCun-normal kernels, biases U(0, 0.05), output biases zero.

    Parameters
    ----------
    network : mapping
        The description.
    input_shape : tuple of int
        Shape of one input.
    seed : int
        The initialisation depends on the network, its inputs and outputs and this seed alone.
    num_outputs : int
        Classes, or what a policy puts out.
    """
    module = build(network, num_outputs)
    key = jax.random.key(seed)
    params = module.init(key, jnp.zeros((1, *input_shape)))["params"]
    params = jax.tree.map(np.asarray, params)
    last = f"Dense_{max(int(name.split('_')[1]) for name in params if name.startswith('Dense_'))}"
    rng = np.random.default_rng([seed, 0xB1A5])

    def with_biases(path: str, leaf: np.ndarray) -> np.ndarray:
        if not path.endswith("bias") or path.startswith(f"{last}/"):
            return leaf
        return rng.uniform(0.0, _MAX_BIAS, leaf.shape).astype(np.float32)

    return map_with_paths(with_biases, params)


def chain(network: Mapping[str, Any]) -> tuple[ChainLayer, ...]:
    """Return the network as a chain of layers, from inputs to outputs.

    Raises
    ------
    ConfigurationError
        As `validate_network`.
    """
    module = build(network)
    if isinstance(module, MLP):
        return tuple(ChainLayer(path=f"Dense_{i}/kernel") for i in range(len(module.widths) + 1))
    if isinstance(module, PolicyCNN):
        behind = (ChainLayer(path=f"Dense_{i}/kernel") for i in range(1, len(module.widths) + 1))
        flattened = ChainLayer(path="Dense_0/kernel", channels=module.channels)
        return (ChainLayer(path="Conv_0/kernel"), flattened, *behind)
    return (
        ChainLayer(path="Conv_0/kernel"),
        ChainLayer(path="Conv_1/kernel"),
        ChainLayer(path="Dense_0/kernel", channels=_CHANNELS[-1]),
    )
