"""Paths, planes, matrices and matching: what they cost beside plain forward passes, in one run.

    .venv/bin/python -m benchmarks.connectivity [--rounds 5] [--only lines,plane,tiles,matrix,matching]

A path or plane is compared with as many calls of a jitted mean loss, the program that one would write first.
Goals: paths and planes at most 1.25 of their forward passes; the 20 x 20 matrix of a digits run (25 points,
two splits) 20 s on two cores with compilation; weight matching of two LeNet-300-100 3 s; a plane of 51 x 51
points of the paper's network on 1,000 MNIST images 60 s, its gradient and Hessian product .35 of those
with convolutions. Medians over rounds. Set LANDSCAPE_DATA for MNIST.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import jax

from benchmarks.timing import Timed, interleaved, machine, median, ratio
from landscape import Problem, align, barrier_matrix, loss_barrier, loss_surface
from landscape.compute import program
from trainers.tasks import load_task

POINTS = 25
SIDE = 15
IMAGES = 1_000


def passes(problem: Any, params: Any, count: int) -> Callable[[], object]:
    """Return a call of so many forward passes over the training data, each waited for."""
    batch = problem.arrays("train")
    mean = jax.jit(lambda p, data: problem.loss(p, data).mean())
    given = jax.device_put(params)
    return lambda: [float(mean(given, batch)) for _ in range(count)]


def lines(rounds: int) -> None:
    """Print a barrier and a plane against their forward passes, on the digits and on LeNet-300-100's size."""
    for name, network in (
        ("digits", {"kind": "mlp", "widths": [32]}),
        ("digits, wide", {"kind": "lenet-300-100"}),
    ):
        task = load_task("digits", network)
        a, b = task.init(0), task.init(1)
        found = interleaved(
            {
                "passes": passes(task.problem, a, POINTS),
                "barrier": lambda t=task, a=a, b=b: loss_barrier(
                    t.problem, a, b, num_points=POINTS, splits=("train",), refine=False, num_resamples=20
                ),
                "grid": passes(task.problem, a, SIDE * SIDE),
                "plane": lambda t=task, a=a: loss_surface(
                    t.problem, a, x=(-1, 1, SIDE), y=(-1, 1, SIDE), splits=("train",), num_planes=1
                ),
            },
            repeats=rounds,
        )
        print(f"{name}: barrier {ratio(found['barrier'], found['passes']):.2f} of {POINTS} passes")
        print(f"{name}: plane {ratio(found['plane'], found['grid']):.2f} of {SIDE * SIDE} passes")


def matrix(rounds: int) -> None:
    """Print the seconds of a 20 x 20 matrix with compilation; the first round compiles."""
    del rounds
    task = load_task("digits", {"kind": "mlp", "widths": [32]})
    networks = [task.init(seed) for seed in range(20)]
    began = time.perf_counter()
    found = barrier_matrix(task.problem, networks, splits=("train", "test"))
    print(f"matrix of 20 networks, {len(found.pairs)} pairs: {time.perf_counter() - began:.1f} s (goal 20)")


def matching(rounds: int) -> None:
    """Print the seconds of weight matching of two networks of LeNet-300-100's widths."""
    task = load_task("digits", {"kind": "lenet-300-100"})
    a, b = task.init(0), task.init(1)
    seconds = []
    for _ in range(rounds):
        began = time.perf_counter()
        align(task.problem, a, b, restarts=2)
        seconds.append(time.perf_counter() - began)
    print(f"alignment of two LeNet-300-100 by weights: {median(seconds):.2f} s (goal 3)")


def plane(rounds: int) -> None:
    """Print the seconds of a plane of the paper's network per point, scaled to 51 x 51 points."""
    del rounds
    task = load_task("mnist", {"kind": "paper-cnn"})
    images, labels = task.problem.head(IMAGES)
    problem = Problem(task.problem.loss, train=(images, labels), metrics=task.problem.metrics)
    params = task.init(0)
    loss_surface(problem, params, x=(-1, 1, 2), y=(-1, 1, 2), num_planes=1)
    began = time.perf_counter()
    loss_surface(problem, params, x=(-1, 1, 7), y=(-1, 1, 7), num_planes=1)
    each = (time.perf_counter() - began) / 49
    whole = 51 * 51 * each
    print(
        f"plane of the paper's network, {IMAGES:,} MNIST images: {1e3 * each:.1f} ms per point, "
        f"51 x 51 in {whole:.0f} s (goal 60)"
    )


def tiles(rounds: int) -> None:
    """Print loss, gradient and Hessian product of the paper's network against those with convolutions."""
    task = load_task("mnist", {"kind": "paper-cnn"})
    params, batch = jax.device_put((task.init(0), task.problem.head(2 * IMAGES)))
    tangent = jax.device_put(task.init(1))
    timed: dict[str, Timed] = {}
    for name, loss in (("tiles", task.problem.loss), ("convolutions", task.problem.plain_loss)):

        def mean(p: Any, data: Any, loss: Any = loss) -> Any:
            return loss(p, data).mean()

        def product(p: Any, t: Any, data: Any, mean: Any = mean) -> Any:
            return jax.jvp(lambda q: jax.grad(mean)(q, data), (p,), (t,))[1]

        runs = program(mean), program(jax.grad(mean)), program(product)
        timed[f"loss, {name}"] = lambda run=runs[0]: run(params, batch)
        timed[f"gradient, {name}"] = lambda run=runs[1]: run(params, batch)
        timed[f"product, {name}"] = lambda run=runs[2]: run(params, tangent, batch)
    found = interleaved(timed, repeats=rounds)
    for what in ("loss", "gradient", "product"):
        ours, theirs = found[f"{what}, tiles"], found[f"{what}, convolutions"]
        print(
            f"{what} of the paper's network, {2 * IMAGES:,} images: {1e3 * median(ours):.0f} ms, "
            f"{ratio(ours, theirs):.2f} of the convolutions' (goal .35)"
        )


PARTS = {"lines": lines, "plane": plane, "tiles": tiles, "matrix": matrix, "matching": matching}


def main() -> None:
    """Run the parts that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", default=",".join(PARTS))
    arguments = parser.parse_args()
    print(machine())
    for name in arguments.only.split(","):
        PARTS[name](arguments.rounds)


if __name__ == "__main__":
    main()
