"""A barrier between networks with batch normalisation: statistics recomputed exactly at every point.

    python examples/batch_norm.py a.h5 b.h5
    landscape barrier a.h5 b.h5 --problem examples/batch_norm.py:problem -o barrier.html

Half way between two networks stored statistics fit neither. `landscape.flax_statistics` takes those of the
training data anew, layer by layer as they are at inference, whatever the batch size.
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
from flax import linen as nn

import landscape


class Classifier(nn.Module):
    """Two hidden layers, each normalised."""

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Return the logits [B]."""
        for width in (16, 16):
            x = nn.Dense(width)(x)
            x = nn.relu(nn.BatchNorm(use_running_average=not train, momentum=0.9)(x))
        return nn.Dense(1)(x)[:, 0]


MODEL = Classifier()


def data(seed: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return points in the plane, and whether each lies inside a ring."""
    points = np.random.default_rng(seed).uniform(-1, 1, size=(count, 2)).astype(np.float32)
    radius = np.linalg.norm(points, axis=1)
    return points, ((radius > 0.4) & (radius < 0.9)).astype(np.float32)


def loss(point: Any, batch: Any) -> jax.Array:
    """Return the logistic loss of each example [B], with stored statistics."""
    params, batch_stats = point
    logits = MODEL.apply({"params": params, "batch_stats": batch_stats}, batch[0], train=False)
    return optax.sigmoid_binary_cross_entropy(logits, batch[1])


def problem() -> landscape.Problem:
    """Return the problem; `flax_statistics` says how the network is called at inference."""
    return landscape.Problem(
        loss,
        train=data(0, 800),
        test=data(1, 400),
        update_stats=landscape.flax_statistics(MODEL, train=False),
        name="ring",
    )


def train(seed: int, steps: int = 300) -> Any:
    """Return the variables of a network trained by Adam on batches of 100."""
    points, inside = data(0, 800)
    variables = MODEL.init(jax.random.key(seed), points[:1])
    optimiser = optax.adam(1e-2)

    def batch_loss(params: Any, batch_stats: Any, batch: Any) -> tuple[jax.Array, Any]:
        logits, changed = MODEL.apply(
            {"params": params, "batch_stats": batch_stats}, batch[0], train=True, mutable=["batch_stats"]
        )
        return optax.sigmoid_binary_cross_entropy(logits, batch[1]).mean(), changed["batch_stats"]

    @jax.jit
    def step(variables: Any, state: Any, batch: Any) -> tuple[Any, Any]:
        gradient, stats = jax.grad(batch_loss, has_aux=True)(
            variables["params"], variables["batch_stats"], batch
        )
        updates, state = optimiser.update(gradient, state)
        return {"params": optax.apply_updates(variables["params"], updates), "batch_stats": stats}, state

    state = optimiser.init(variables["params"])
    rng = np.random.default_rng(seed)
    for _ in range(steps):
        chosen = rng.integers(0, len(points), 100)
        variables, state = step(variables, state, (jnp.asarray(points[chosen]), jnp.asarray(inside[chosen])))
    return variables


def main(paths: list[str]) -> None:
    """Train two networks, save them, and measure the barrier in both ways."""
    folder = Path(tempfile.mkdtemp())
    files = paths or [str(folder / "a.h5"), str(folder / "b.h5")]
    for seed, path in enumerate(files):
        found = train(seed)
        checkpoint = landscape.Checkpoint(params=found["params"], batch_stats=found["batch_stats"])
        landscape.save(path, checkpoint, force=True)
    exact = landscape.loss_barrier(problem(), *files, num_points=11)
    stored = landscape.loss_barrier(problem(), *files, num_points=11, batch_stats="keep")
    print(exact)
    print(f"\nwith interpolated statistics: barrier {stored.barrier_above_chord:.3f} above the chord")


if __name__ == "__main__":
    main(sys.argv[1:3])
