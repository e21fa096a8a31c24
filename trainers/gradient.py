"""Training by gradient descent on a masked vector."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from landscape.errors import ConfigurationError
from trainers.config import GradientConfig
from trainers.protocol import Step

PyTree = Any
# loss(vector [n], batch [B, …]) -> mean loss, of one replicate
MeanLoss = Callable[[jax.Array, PyTree], jax.Array]
# map_replicates(function, trees with leading axis S) -> trees with leading axis S
MapReplicates = Callable[..., Any]


def learning_rate(config: GradientConfig, num_steps: int) -> optax.Schedule:
    """Return the schedule: linear warm-up, then constant, cosine to zero or linear to zero."""
    rest = max(1, num_steps - config.warmup_steps)
    after: dict[str, Callable[[], optax.Schedule]] = {
        "constant": lambda: optax.constant_schedule(config.learning_rate),
        "cosine": lambda: optax.cosine_decay_schedule(config.learning_rate, rest),
        "linear": lambda: optax.linear_schedule(config.learning_rate, 0.0, rest),
    }
    if config.schedule not in after:
        raise ConfigurationError(
            f"gradient.schedule: unknown {config.schedule!r}", expected="one of " + ", ".join(after)
        )
    if not config.warmup_steps:
        return after[config.schedule]()
    warmup = optax.linear_schedule(0.0, config.learning_rate, config.warmup_steps)
    return optax.join_schedules([warmup, after[config.schedule]()], [config.warmup_steps])


def make_optimizer(config: GradientConfig, num_steps: int) -> optax.GradientTransformation:
    """Return the optax optimiser that `config` names.

    Raises
    ------
    ConfigurationError
        If there is no such optimiser or schedule.
    """
    rate = learning_rate(config, num_steps)
    optimizers: dict[str, Callable[[], optax.GradientTransformation]] = {
        "sgd": lambda: optax.sgd(rate),
        "momentum": lambda: optax.sgd(rate, momentum=config.momentum),
        "adam": lambda: optax.adam(rate),
        "adamw": lambda: optax.adamw(rate, weight_decay=config.weight_decay),
    }
    if config.optimizer not in optimizers:
        raise ConfigurationError(
            f"gradient.optimizer: unknown {config.optimizer!r}", expected="one of " + ", ".join(optimizers)
        )
    chosen = optimizers[config.optimizer]()
    if config.weight_decay and config.optimizer != "adamw":
        return optax.chain(optax.add_decayed_weights(config.weight_decay), chosen)
    return chosen


class Gradient:
    """A batch of gradient descents on masked vectors.

    Parameters
    ----------
    config : GradientConfig
        Optimiser, schedule and length.
    num_examples : int
        Training examples N; an epoch is floor(N / batch_size) steps.
    loss : callable
        ``loss(vector [n], batch) -> mean loss`` of one replicate.
    map_replicates : callable
        How a function of one replicate becomes one of S (`trainers.evaluation.map_replicates`).
    """

    name = "gd"
    info_names: tuple[str, ...] = ("loss", "gradient_norm")

    def __init__(
        self, config: GradientConfig, num_examples: int, loss: MeanLoss, map_replicates: MapReplicates
    ) -> None:
        steps_per_epoch = num_examples // config.batch_size
        self.config = config
        self.batch_size = config.batch_size
        self.num_steps = config.epochs * steps_per_epoch
        self.eval_every = max(1, round(config.eval_every_epochs * steps_per_epoch))
        self.optimizer = make_optimizer(config, self.num_steps)
        self.loss = loss
        self.map_replicates = map_replicates

    def constants(self, num_free: int) -> PyTree:
        """Return nothing: no constant of gradient descent depends on the dimension."""
        del num_free
        return ()

    def init(self, mean: np.ndarray, mask: np.ndarray, constants: PyTree) -> PyTree:
        """Return the state (vectors, optimiser states) of S descents from `mean` [S, n]."""
        del constants
        vector = jnp.asarray(np.where(mask, mean, 0.0), jnp.float32)
        state = (vector, jax.vmap(self.optimizer.init)(vector))
        return jax.tree.map(lambda leaf: jnp.asarray(np.asarray(leaf)), state)

    def step(self, state: PyTree, step: Step) -> tuple[PyTree, dict[str, jax.Array]]:
        """Advance every descent by one minibatch."""

        def one(vector: jax.Array, optimizer_state: PyTree, batch: PyTree, mask: jax.Array) -> PyTree:
            loss, gradient = jax.value_and_grad(self.loss)(vector, batch)
            # Masked before the optimiser sees it, so that no moment gathers on pruned entries.
            gradient = jnp.where(mask, gradient, 0.0)
            updates, optimizer_state = self.optimizer.update(gradient, optimizer_state, vector)
            vector = jnp.where(mask, vector + updates, 0.0)
            return vector, optimizer_state, loss, jnp.linalg.norm(gradient)

        vector, optimizer_state, loss, norm = self.map_replicates(one, *state, step.batch, step.mask)
        return (vector, optimizer_state), {"loss": loss, "gradient_norm": norm}

    def solution(self, state: PyTree) -> jax.Array:
        """Return the parameters [S, n]."""
        vector: jax.Array = state[0]
        return vector

    def std(self, state: PyTree) -> None:
        """Return None: gradient descent has no search distribution."""
        del state
