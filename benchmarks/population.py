"""Population evaluation: images a second against ``vmap(model.apply)``, and the fraction of the peak.

    .venv/bin/python -m benchmarks.population [--members 128] [--images 1024] [--plain-images 64]

What evolution spends its time on: the mean loss of every member of a population over one batch that
all share. An image counts once for every member. The plain program gets fewer images, since its
activations for a whole batch do not fit 24 GiB; its rate hardly depends on their number. Rounds are
interleaved, figures are medians, ratios are taken round by round. The peak is that of a float32 matrix
product of 2,048³ in the same round.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.timing import interleaved, machine, median, ratio
from landscape import Problem
from landscape.layout import Layout
from trainers.evaluation import population_evaluator
from trainers.tasks.classification import classification_task
from trainers.tasks.datasets import Dataset

# Multiplications and additions for one image and one member.
FLOPS = {
    "paper-cnn": 2 * (28 * 28 * 25 * 8 + 14 * 14 * 200 * 16 + 784 * 10),
    "lenet-300-100": 2 * (784 * 300 + 300 * 100 + 100 * 10),
}


def random_images(count: int) -> Dataset:
    """Return images and labels of the size of MNIST's; their values do not matter here."""
    rng = np.random.default_rng(0)
    images = rng.normal(size=(count, 28, 28, 1)).astype(np.float32)
    split = (images, rng.integers(0, 10, count))
    return Dataset(name="mnist", splits=dict.fromkeys(("train", "validation", "test"), split))


def programs(kind: str, given: argparse.Namespace) -> Mapping[str, Callable[[], object]]:
    """Return ours, and vmap over the problem's own loss."""
    members, images = given.members, given.images
    task = classification_task(random_images(images), {"kind": kind}, options={})
    problem: Problem = task.problem
    like = task.init(0)
    layout = Layout.of(like)
    noise = np.random.default_rng(1).normal(size=(members, layout.size)).astype(np.float32)
    population = jnp.asarray(layout.flatten(like) + 0.02 * noise)
    batch = problem.arrays("train")

    def single(vector: jax.Array, batch: Any) -> jax.Array:
        return problem.loss(layout.unflatten(vector, like), batch).mean()

    ours = jax.jit(population_evaluator(problem, layout, like))
    plain = jax.jit(jax.vmap(single, in_axes=(0, None)))
    part = jax.tree.map(lambda leaf: leaf[: given.plain_images], batch)
    difference = np.abs(np.asarray(ours(population, part)) - np.asarray(plain(population, part)))
    print(f"  largest difference of a member's loss  {difference.max():.1e}")
    return {
        "ours": lambda: jax.block_until_ready(ours(population, batch)),
        "plain": lambda: jax.block_until_ready(plain(population, part)),
    }


def main() -> None:
    """Print one block a network."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--members", type=int, default=128)
    parser.add_argument("--images", type=int, default=1024)
    parser.add_argument("--plain-images", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    print(machine())
    square = jnp.ones((2048, 2048), jnp.float32)
    product = jax.jit(lambda x: x @ x)
    for kind, flops in FLOPS.items():
        print(f"{kind}: population {given.members}, batch {given.images}")
        found = programs(kind, given)
        times = interleaved(
            {**found, "peak": lambda: jax.block_until_ready(product(square))}, repeats=given.rounds
        )
        work = given.members * given.images
        rate = flops * work / median(times["ours"]) / 1e9
        fraction = flops * work / (2 * 2048**3) * ratio(times["peak"], times["ours"])
        print(f"  ours   {work / median(times['ours']):>12,.0f} images a second, {rate:.0f} GFLOP/s")
        plain_work = given.members * given.plain_images
        print(f"  plain  {plain_work / median(times['plain']):>12,.0f} images a second")
        print(f"  ours / plain  {work / plain_work * ratio(times['plain'], times['ours']):.1f}")
        print(f"  fraction of the matrix-product peak  {fraction:.2f}")


if __name__ == "__main__":
    main()
