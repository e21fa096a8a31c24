"""A barrier between two networks of your own: any loss, any parameter tree, any data.

    python examples/own_model.py a.h5 b.h5
    landscape barrier a.h5 b.h5 --problem examples/own_model.py:problem -o barrier.html

Nothing here knows about the built-in tasks: a plain function of (params, batch) that returns one
loss per example is all that an analysis needs. Tickets also need a network to start from.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import landscape
from trainers import ChainLayer, resolve, train_tickets


def data(seed: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return points in the plane, and whether each lies inside a ring."""
    points = np.random.default_rng(seed).uniform(-1, 1, size=(count, 2)).astype(np.float32)
    radius = np.linalg.norm(points, axis=1)
    return points, ((radius > 0.4) & (radius < 0.9)).astype(np.float32)


def logits(params: Any, points: jax.Array) -> jax.Array:
    """Return the logits [B] of a network with one hidden layer."""
    hidden = jnp.tanh(points @ params["hidden"]["kernel"] + params["hidden"]["bias"])
    return hidden @ params["output"]["kernel"][:, 0] + params["output"]["bias"][0]


def loss(params: Any, batch: Any) -> jax.Array:
    """Return the logistic loss of each example [B]."""
    points, inside = batch
    return optax.sigmoid_binary_cross_entropy(logits(params, points), inside)


def error(params: Any, batch: Any) -> jax.Array:
    """Return 1 for each example [B] that is misclassified."""
    points, inside = batch
    return (logits(params, points) > 0) != (inside > 0.5)


def problem() -> landscape.Problem:
    """Return the problem; the command line finds it by ``--problem examples/own_model.py:problem``."""
    return landscape.Problem(
        loss, train=data(0, 800), test=data(1, 400), metrics={"error": error}, name="ring"
    )


def train(seed: int, steps: int = 1_500) -> Any:
    """Return a network trained by Adam on the whole training set."""
    params = jax.tree.map(jnp.asarray, init(seed))
    adam = optax.adam(1e-2)
    batch = data(0, 800)

    def step(carry: Any, _: None) -> Any:
        params, state = carry
        gradient = jax.grad(lambda p: loss(p, batch).mean())(params)
        updates, state = adam.update(gradient, state)
        return (optax.apply_updates(params, updates), state), None

    (params, _), _ = jax.lax.scan(step, (params, adam.init(params)), length=steps)
    return params


def init(seed: int) -> Any:
    """Return an untrained network of the task: where the tickets of a seed start."""
    rng = np.random.default_rng(seed)
    params = {
        "hidden": {"kernel": rng.normal(size=(2, 16)), "bias": rng.normal(size=16)},
        "output": {"kernel": rng.normal(size=(16, 1)) / 4, "bias": np.zeros(1)},
    }
    return jax.tree.map(lambda leaf: leaf.astype(np.float32), params)


CHAIN = (
    ChainLayer(path="hidden/kernel"),
    ChainLayer(path="output/kernel"),
)  # tells which weights are on paths


def trainable() -> Any:
    """Return what training needs: ``landscape train CONFIG --problem examples/own_model.py:trainable``."""
    return problem(), init, CHAIN


def growth(inputs: Any) -> np.ndarray:
    """Return a pruning score of your own, one value per weight: how much it has grown since its start."""
    return np.abs(inputs.mean) - np.abs(inputs.initial)


def tickets(folder: Path) -> None:
    """Train sparse tickets by evolution and by an optimiser and a score of your own."""
    config = resolve(
        "smoke",
        overrides=[
            "methods=['es-snr', 'mine']",
            f"method={{mine={{algorithm='gd', score='{__file__}:growth'}}}}",
            "pruning.levels=3",
            "evolution.generations=300",
            "gradient.epochs=60",
        ],
    )
    run = train_tickets(
        config,
        folder,
        problem=problem(),
        init=init,
        chain=CHAIN,
        optimizer=optax.lion(3e-3),
        allow_code=[
            f"{__file__}:growth"
        ],  # a configuration may come from a file: what it runs is named here too
    )
    for method in run.methods:
        errors = [run.accuracies(method, level, metric="error").mean() for level in range(3)]
        print(f"{method}: test error at 100, 50 and 25 % {', '.join(f'{error:.3f}' for error in errors)}")
        info = run.infos[method, run.seeds[0], 2]
        ranks = info["rank_correlation"]["all"]
        print(f"  at 25 %: {info['effective_density']:.3f} on paths; ranks as when dense {ranks:.2f}")


def main(paths: list[str]) -> None:
    """Train two networks, keep them if two paths are given, and print the barrier between them."""
    networks = [train(seed) for seed in (0, 1)]
    for path, params in zip(paths, networks, strict=False):
        landscape.save(path, landscape.Checkpoint(params=params), force=True)
    barrier = landscape.loss_barrier(problem(), *networks, names=("seed 0", "seed 1"))
    print(barrier)
    with tempfile.TemporaryDirectory() as folder:
        tickets(Path(folder) / "tickets")


if __name__ == "__main__":
    main(sys.argv[1:])
