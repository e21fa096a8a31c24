"""Training by gradient descent on a masked vector."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from landscape.errors import ConfigurationError, did_you_mean
from trainers.config import GradientConfig
from trainers.training.protocol import Step, strong

PyTree = Any
# loss(vector [n], batch [B, …]) -> mean loss, of one replicate
MeanLoss = Callable[[jax.Array, PyTree], jax.Array]
# map_replicates(function, trees with leading axis S) -> trees with leading axis S
MapReplicates = Callable[..., Any]
_BETAS = (0.9, 0.999)  # Adam's


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
            f"gradient.schedule: unknown {config.schedule!r}",
            expected="one of " + ", ".join(after),
            hint=did_you_mean(config.schedule, after),
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
        "nesterov": lambda: optax.sgd(rate, momentum=config.momentum, nesterov=True),
        "adam": lambda: optax.adam(rate, b1=_BETAS[0], b2=_BETAS[1]),
        "adamw": lambda: optax.adamw(rate, b1=_BETAS[0], b2=_BETAS[1], weight_decay=config.weight_decay),
    }
    if config.optimizer not in optimizers:
        raise ConfigurationError(
            f"gradient.optimizer: unknown {config.optimizer!r}",
            expected="one of " + ", ".join(optimizers),
            hint=did_you_mean(config.optimizer, optimizers),
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
        How a function of one replicate becomes one of S (`trainers.training.evaluation.map_replicates`).
    optimizer : optax.GradientTransformation, optional
        Your own, in place of the one that `config` names (whose optimiser, learning rate, momentum,
        weight decay and schedule then say nothing). Its updates are masked, and so is the gradient
        that it sees.
    """

    name = "gd"
    info_names: tuple[str, ...] = ("loss", "gradient_norm")

    def __init__(
        self,
        config: GradientConfig,
        num_examples: int,
        loss: MeanLoss,
        map_replicates: MapReplicates,
        *,
        optimizer: optax.GradientTransformation | None = None,
    ) -> None:
        steps_per_epoch = num_examples // config.batch_size
        self.config = config
        self.batch_size = config.batch_size
        self.num_steps = config.epochs * steps_per_epoch
        self.eval_every = max(1, round(config.eval_every_epochs * steps_per_epoch))
        if optimizer is None and config.warmup_steps >= self.num_steps:
            raise ConfigurationError(
                "gradient.warmup_steps: the learning rate would rise until the end",
                expected=f"fewer than the {self.num_steps:,} steps of a level",
                got=f"{config.warmup_steps:,}",
            )
        self.optimizer = make_optimizer(config, self.num_steps) if optimizer is None else optimizer
        self._has_moments = optimizer is None and config.optimizer in {"adam", "adamw"}
        self.loss = loss
        self.map_replicates = map_replicates

    def constants(self, num_free: int) -> PyTree:
        """Return no constants: none of gradient descent depends on the dimension."""
        del num_free
        return ()

    def init(
        self, mean: np.ndarray, mask: np.ndarray, constants: PyTree, *, keys: jax.Array | None = None
    ) -> PyTree:
        """Return the state (vectors, optimiser states) of S descents from `mean` [S, n]; nothing is drawn."""
        del constants, keys
        vector = jnp.asarray(np.where(mask, mean, 0.0), jnp.float32)
        state = (vector, jax.vmap(self.optimizer.init)(vector))
        return strong(state)

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

    def moments(self, state: PyTree) -> tuple[jax.Array, jax.Array] | None:
        """Return Adam's moments (m̂, v̂) of the gradient, each [S, n], without their bias to zero.

        None unless the configuration's optimiser is Adam or AdamW. Before the first step both are 0.

        References
        ----------
        Kingma & Ba 2015, arXiv 1412.6980, algorithm 1.
        """
        if not self._has_moments:
            return None
        return unbiased_moments(state[1])


def unbiased_moments(
    state: PyTree, of: Callable[[PyTree], jax.Array] = lambda moment: moment
) -> tuple[jax.Array, jax.Array]:
    """Return Adam's moments (m̂, v̂) of S optimiser states with one Adam in each, without their bias to zero.

    `of` picks the vectors [S, n] from the tree of a moment.
    """
    (adam,) = _adam_states(state)
    steps = jnp.maximum(adam.count, 1)[:, None]
    first, second = (
        of(moment) / (1.0 - beta**steps) for moment, beta in zip((adam.mu, adam.nu), _BETAS, strict=True)
    )
    return first, second


def _adam_states(state: PyTree) -> list[optax.ScaleByAdamState]:
    def is_adam(node: Any) -> bool:
        return isinstance(node, optax.ScaleByAdamState)

    return [node for node in jax.tree.leaves(state, is_leaf=is_adam) if is_adam(node)]


def gradient_noise_std(second_moment: np.ndarray) -> np.ndarray:
    """Return the scale 1 / √v̂ that plays the part of a search distribution's σ in gradient descent.

    Adam's second moment estimates E[g²], the diagonal of the empirical Fisher matrix F of a
    minibatch. A Gaussian posterior around a minimum (Laplace, or the stationary variational one) has
    σ² ∝ 1/F, as an evolution strategy's σ² follows the inverse curvature; so |θ| / σ = |θ|·√v̂ is the
    signal-to-noise ratio of gradient descent, up to a factor that is the same for all weights. It is
    large where a weight is large *and* the loss feels it; a weight without any gradient has an
    infinite σ and a ratio of zero. The other reading, |m̂| / √v̂, is the ratio of the *gradient*: it
    tells which weights still move, not which matter, and vanishes for all of them at a minimum.

    Parameters
    ----------
    second_moment : array
        v̂, as `Gradient.moments` returns it; squared units of the gradient.

    Returns
    -------
    array
        1 / √v̂ in float64, infinite where v̂ is 0.

    References
    ----------
    Kingma & Ba 2015, arXiv 1412.6980, section 4 (v̂ and the Fisher matrix); Khan et al. 2018, arXiv
    1806.04854 (σ from Adam's second moment).
    """
    with np.errstate(divide="ignore"):
        return np.asarray(1.0 / np.sqrt(np.asarray(second_moment, np.float64)))
