"""Classification tasks: a data set and a network become a Problem."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from landscape import Metric, Outputs, Problem
from trainers.config import KNOWN_KEYS, Invalid, default_network, refusal, task_faults
from trainers.tasks.datasets import Dataset, load_dataset
from trainers.tasks.networks import (
    build,
    check_params,
    expected_shapes,
    fast_form,
    features,
    initialise,
    num_dense_layers,
    validate_network,
)
from trainers.tasks.population import PopulationLoss, at_least_float32, mlp_population_loss
from trainers.tasks.population_batched import BatchedLoss, cnn_batched_loss, mlp_batched_loss
from trainers.tasks.population_cnn import cnn_population_loss

PyTree = Any
# Options that decide the numbers; where the files lie does not, and differs between machines.
_STORED_OPTIONS: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Task:
    """A problem with a network that starts it.

    Attributes
    ----------
    name : str
        The task.
    problem : Problem
        Cross-entropy, and accuracy as a metric, on train, validation and test.
    network : dict
        Description of the network.
    input_shape : tuple of int
        Shape of one input.
    init : callable
        ``init(seed) -> params``.
    apply : callable
        ``apply(params, inputs [B, …]) -> logits [B, classes]``.
    """

    name: str
    problem: Problem
    network: Mapping[str, Any]
    input_shape: tuple[int, ...]
    init: Callable[[int], PyTree]
    apply: Callable[[PyTree, jax.Array], jax.Array]


def load_task(name: str, network: Mapping[str, Any] | None = None, **options: Any) -> Task:
    """Return a built-in task.

    Parameters
    ----------
    name : str
        ``"digits"``, ``"mnist"``, ``"fashion_mnist"`` or ``"kmnist"``.
    network : mapping, optional
        Description of the network; by default a multilayer perceptron with 32 hidden units.
    **options
        ``folder`` and ``download`` of `trainers.tasks.datasets.load_dataset`.

    Raises
    ------
    ConfigurationError
        Listing all that is unknown or of a wrong type: the task, its options, the network.
    DataError
        If the data are missing or damaged.
    """
    given = network or default_network(name)
    faults = task_faults({"task": name, "task_options": options, "network": given})
    if faults:
        raise refusal(f"task {name}", Invalid(faults), KNOWN_KEYS)
    described = validate_network(given)
    return classification_task(load_dataset(name, **options), described, options=options)


def classification_task(dataset: Dataset, network: Mapping[str, Any], *, options: Mapping[str, Any]) -> Task:
    """Return the task of a data set and a network."""
    module = build(network)
    input_shape = tuple(int(n) for n in dataset.splits["train"][0].shape[1:])
    expected = expected_shapes(module, input_shape)

    fast = fast_form(network, input_shape)

    def plain(params: PyTree, inputs: jax.Array) -> jax.Array:
        check_params(dataset.name, params, expected)
        return jnp.asarray(module.apply({"params": params}, inputs))

    def apply(params: PyTree, inputs: jax.Array) -> jax.Array:
        if fast is None or jax.default_backend() != "cpu":
            return plain(params, inputs)
        check_params(dataset.name, params, expected)
        return fast(params, inputs)

    def loss(params: PyTree, batch: PyTree) -> jax.Array:
        return _cross_entropy(apply(params, batch[0]), batch)

    def accuracy(params: PyTree, batch: PyTree) -> jax.Array:
        return _hits(apply(params, batch[0]), batch)

    problem = Problem(
        loss,
        train=dataset.splits["train"],
        validation=dataset.splits["validation"],
        test=dataset.splits["test"],
        metrics={"accuracy": Metric(accuracy, higher_is_better=True, of_outputs=_hits)},
        name=dataset.name,
        plain_loss=lambda params, batch: _cross_entropy(plain(params, batch[0]), batch),
        population_loss=_population_loss(network),
        batched_loss=_batched_loss(network),
        outputs=Outputs(
            lambda params, batch: apply(params, batch[0]), _cross_entropy, likelihood="categorical"
        ),
        features=lambda params, batch: features(module, params, batch[0]),
        task={
            "name": dataset.name,
            "options": {key: options[key] for key in _STORED_OPTIONS if key in options},
            "network": dict(network),
        },
    )
    return Task(
        name=dataset.name,
        problem=problem,
        network=dict(network),
        input_shape=input_shape,
        init=lambda seed: initialise(network, input_shape, seed),
        apply=apply,
    )


def _population_loss(network: Mapping[str, Any]) -> PopulationLoss:
    """Return what evaluates many networks of a kind at once."""
    layers = num_dense_layers(network)
    return cnn_population_loss if layers is None else mlp_population_loss(layers)


def _batched_loss(network: Mapping[str, Any]) -> BatchedLoss:
    """Return the same for devices that want large batched products."""
    layers = num_dense_layers(network)
    return cnn_batched_loss if layers is None else mlp_batched_loss(layers)


def _hits(logits: jax.Array, batch: PyTree) -> jax.Array:
    """Return whether the largest logit is that of the label [B]."""
    hits: jax.Array = jnp.argmax(logits, axis=-1) == batch[1]
    return hits


def _cross_entropy(logits: jax.Array, batch: PyTree) -> jax.Array:
    """Return log-sum-exp minus the true logit [B]; both are finite for finite logits."""
    logits = at_least_float32(logits)
    true_logit = jnp.take_along_axis(logits, batch[1][:, None], axis=-1)[:, 0]
    values: jax.Array = jax.nn.logsumexp(logits, axis=-1) - true_logit
    return values
