"""A causal transformer in plain JAX, on sequences of different lengths that are filled up.

An example is a whole sequence. Its loss is the mean over its tokens, and its weight their number, so that the
mean over examples is the mean over all tokens, filling left out.

python examples/models/transformer.py a.h5 b.h5
landscape flatness a.h5 b.h5 --problem examples/models/transformer.py:problem -o flatness.html
"""

from __future__ import annotations

import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import landscape

VOCABULARY, LENGTH, WIDTH, HEADS, LAYERS = 32, 33, 32, 4, 2
FILLING = -1


def data(seed: int, count: int) -> np.ndarray:
    """Return sequences of 9 to LENGTH tokens, filled up [count, LENGTH].

    Each token is the sum of the two before it, one in ten random.
    """
    rng = np.random.default_rng(seed)
    tokens = rng.integers(0, VOCABULARY, (count, LENGTH))
    for place in range(2, LENGTH):
        follows = (tokens[:, place - 1] + tokens[:, place - 2]) % VOCABULARY
        tokens[:, place] = np.where(rng.uniform(size=count) < 0.9, follows, tokens[:, place])
    lengths = rng.integers(9, LENGTH + 1, (count, 1))
    return np.where(np.arange(LENGTH) < lengths, tokens, FILLING).astype(np.int32)


def init(seed: int) -> Any:
    """Return an untrained network."""
    rng = np.random.default_rng(seed)

    def matrix(rows: int, columns: int, scale: float = 1.0) -> np.ndarray:
        return (scale * rng.normal(size=(rows, columns)) / np.sqrt(rows)).astype(np.float32)

    def layer() -> dict[str, Any]:
        return {
            "attention": {"qkv": matrix(WIDTH, 3 * WIDTH), "out": matrix(WIDTH, WIDTH, 0.5)},
            "mlp": {"up": matrix(WIDTH, 4 * WIDTH), "down": matrix(4 * WIDTH, WIDTH, 0.5)},
            "norm": np.ones((2, WIDTH), np.float32),
        }

    return {
        "tokens": matrix(VOCABULARY, WIDTH),
        "places": matrix(LENGTH - 1, WIDTH),
        "layers": {str(number): layer() for number in range(LAYERS)},
        "head": matrix(WIDTH, VOCABULARY),
    }


def normalised(x: jax.Array, scale: jax.Array) -> jax.Array:
    """Return the rows of x divided by their root mean square, scaled."""
    return scale * x * jax.lax.rsqrt(jnp.mean(x**2, axis=-1, keepdims=True) + 1e-6)


def attention(weights: Any, x: jax.Array) -> jax.Array:
    """Return what each place takes from itself and those before it [B, T, WIDTH]."""
    batch, places, _ = x.shape
    q, k, v = jnp.moveaxis((x @ weights["qkv"]).reshape(batch, places, 3, HEADS, WIDTH // HEADS), 2, 0)
    scores = jnp.einsum("bqhd,bkhd->bhqk", q, k) / np.sqrt(WIDTH // HEADS)
    seen = np.tril(np.ones((places, places), bool))
    shares = jax.nn.softmax(jnp.where(seen, scores, -1e9), axis=-1)
    return jnp.einsum("bhqk,bkhd->bqhd", shares, v).reshape(batch, places, WIDTH) @ weights["out"]


def logits(params: Any, tokens: jax.Array) -> jax.Array:
    """Return the logits of every next token [B, LENGTH − 1, VOCABULARY]."""
    x = params["tokens"][jnp.maximum(tokens[:, :-1], 0)] + params["places"]
    for layer in params["layers"].values():
        x = x + attention(layer["attention"], normalised(x, layer["norm"][0]))
        hidden = jax.nn.gelu(normalised(x, layer["norm"][1]) @ layer["mlp"]["up"])
        x = x + hidden @ layer["mlp"]["down"]
    return x @ params["head"]


def valid_tokens(tokens: jax.Array) -> jax.Array:
    """Return how many tokens of each sequence are foretold [B]: its weight in every mean."""
    return jnp.sum(tokens[:, 1:] != FILLING, axis=1)


def mean_of_valid(values: jax.Array, tokens: jax.Array) -> jax.Array:
    """Return the mean of values [B, LENGTH − 1] over the valid tokens of each sequence [B]."""
    total = jnp.sum(jnp.where(tokens[:, 1:] != FILLING, values, 0), axis=1)
    return total / jnp.maximum(valid_tokens(tokens), 1)  # one without tokens has weight 0


def cross_entropy(outputs: jax.Array, tokens: jax.Array) -> jax.Array:
    """Return the loss of each sequence [B]: the mean over its valid tokens."""
    targets = jnp.maximum(tokens[:, 1:], 0)
    losses = optax.softmax_cross_entropy_with_integer_labels(outputs, targets)
    return mean_of_valid(losses, tokens)


def loss(params: Any, tokens: jax.Array) -> jax.Array:
    """Return the loss of each sequence [B]."""
    return cross_entropy(logits(params, tokens), tokens)


def accuracy(params: Any, tokens: jax.Array) -> jax.Array:
    """Return the share of each sequence's valid tokens that are foretold [B]."""
    return mean_of_valid(jnp.argmax(logits(params, tokens), axis=-1) == tokens[:, 1:], tokens)


def problem() -> landscape.Problem:
    """Return the problem, with outputs: Gauss-Newton and Fisher matrices need them."""
    return landscape.Problem(
        loss,
        train=data(0, 400),
        test=data(1, 200),
        metrics={"accuracy": accuracy},
        outputs=landscape.Outputs(logits, cross_entropy),
        weights=valid_tokens,
        name="sums",
    )


def train(seed: int, steps: int = 400) -> Any:
    """Return a network trained by Adam on fresh sequences."""
    params, adam = init(seed), optax.adam(3e-3)

    @jax.jit
    def step(params: Any, state: Any, tokens: jax.Array) -> tuple[Any, Any]:
        gradient = jax.grad(lambda p: jnp.average(loss(p, tokens), weights=valid_tokens(tokens)))(params)
        updates, state = adam.update(gradient, state)
        return optax.apply_updates(params, updates), state

    state = adam.init(params)
    for number in range(steps):
        params, state = step(params, state, data(1_000 + number, 64))
    return params


if __name__ == "__main__":
    for seed, path in enumerate(sys.argv[1:3]):
        landscape.save(path, landscape.Checkpoint(params=train(seed)), force=True)
