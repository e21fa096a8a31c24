"""A small weighted problem, its mean loss written by hand, and the same data with examples repeated."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np

from landscape import Metric, Outputs, Problem

RNG = np.random.default_rng(25)
COUNT = 23
X = RNG.normal(size=(COUNT, 3)).astype(np.float32)
REAL = RNG.exponential(1, COUNT).astype(np.float32) * (RNG.random(COUNT) < 0.8)
WHOLE = RNG.integers(0, 4, COUNT).astype(np.float32)


def network(seed: int) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    return {
        "a": {"kernel": rng.normal(size=(3, 4)), "bias": rng.normal(size=4)},
        "b": {"kernel": rng.normal(size=(4, 3))},
    }


PARAMS, OTHER = (jax.tree.map(np.float32, network(seed)) for seed in (1, 2))
# Four labels of five are those of the first network, so that it has an accuracy to lose.
Y = np.argmax(np.tanh(X @ PARAMS["a"]["kernel"] + PARAMS["a"]["bias"]) @ PARAMS["b"]["kernel"], axis=1)
Y = np.where(RNG.random(COUNT) < 0.8, Y, RNG.integers(0, 3, COUNT)).astype(np.int32)
DIM = 12 + 4 + 12


def model(params: Any, batch: Any) -> jax.Array:
    return jnp.tanh(batch[0] @ params["a"]["kernel"] + params["a"]["bias"]) @ params["b"]["kernel"]


def loss_of(logits: jax.Array, batch: Any) -> jax.Array:
    return jax.nn.logsumexp(logits, -1) - jnp.take_along_axis(logits, batch[1][:, None].astype(int), -1)[:, 0]


def loss(params: Any, batch: Any) -> jax.Array:
    return loss_of(model(params, batch), batch)


def right(params: Any, batch: Any) -> jax.Array:
    return model(params, batch).argmax(-1) == batch[1]


def features(params: Any, batch: Any) -> dict[str, jax.Array]:
    hidden = jnp.tanh(batch[0] @ params["a"]["kernel"] + params["a"]["bias"])
    return {"a/kernel": batch[0][:, None], "b/kernel": hidden[:, None]}


def third(batch: Any) -> jax.Array:
    """The weights of the problems here: the third array of a batch."""
    return batch[2]


def problem(weights: np.ndarray | None, rows: np.ndarray | None = None, **more: Any) -> Problem:
    """Return the problem with these weights, or with these rows of the data and no weights."""
    data = (X, Y, np.ones(COUNT, np.float32) if weights is None else weights)
    data = data if rows is None else tuple(array[rows] for array in data)
    test = tuple(array[::2] for array in data)
    given = {"train": data, "test": test, **more}
    return Problem(
        loss,
        metrics={"accuracy": Metric(right, higher_is_better=True)},
        outputs=Outputs(model, loss_of, likelihood="categorical"),
        features=features,
        weights=None if weights is None else third,
        **given,
    )


def repeated(weights: np.ndarray) -> Problem:
    """Return the problem in which every example stands as often as its whole-number weight says."""
    return problem(None, np.repeat(np.arange(COUNT), weights.astype(int)))


def by_hand(weights: np.ndarray, rows: slice = slice(None)) -> Callable[[Any], Any]:
    """Return the weighted mean loss of a flat vector, over the whole batch, in float64."""
    x, y, w = X[rows].astype(np.float64), Y[rows], weights[rows].astype(np.float64)

    def mean(vector: Any) -> Any:
        losses = loss(back()(vector), (x, y))
        return jnp.sum(jnp.asarray(w) * losses) / w.sum()

    return mean


def flat(params: Any) -> np.ndarray:
    """Return the parameters in the order of an operator's vectors, in float64."""
    leaves = (params["a"]["bias"], params["a"]["kernel"], params["b"]["kernel"])
    return np.concatenate([np.asarray(leaf, np.float64).reshape(-1) for leaf in leaves])


def back() -> Callable[[Any], Any]:
    """Return the function from such a vector to the parameters."""
    return lambda v: {
        "a": {"bias": v[:4], "kernel": v[4:16].reshape(3, 4)},
        "b": {"kernel": v[16:].reshape(4, 3)},
    }


def in_float64(function: Callable[..., Any], *arguments: Any) -> np.ndarray:
    with jax.enable_x64(True):
        return np.asarray(function(*(jnp.asarray(x) for x in arguments)))
