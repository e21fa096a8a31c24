"""Paths, planes, matrices and matching: what they cost beside plain forward passes, in one run.

    .venv/bin/python -m benchmarks.connectivity [--rounds 5] [--only lines,plane,matrix,matching]

A path or plane is compared with as many calls of a jitted mean loss, the program that one would write first.
Goals: paths and planes at most 1.25 of their forward passes; the 20 x 20 matrix of a digits run (25 points,
two splits) 20 s on two cores with compilation; weight matching of two LeNet-300-100 3 s. Medians over rounds.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import jax

from benchmarks.timing import interleaved, machine, median, ratio
from landscape import align, barrier_matrix, loss_barrier, loss_surface
from trainers.tasks import load_task

POINTS = 25
SIDE = 15


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
    task = load_task("digits", {"kind": "paper-cnn"})
    params = task.init(0)
    loss_surface(task.problem, params, x=(-1, 1, 2), y=(-1, 1, 2), splits=("train",), num_planes=1)
    began = time.perf_counter()
    loss_surface(task.problem, params, x=(-1, 1, 6), y=(-1, 1, 6), splits=("train",), num_planes=1)
    each = (time.perf_counter() - began) / 37
    whole = 51 * 51 * each
    print(
        f"plane of the paper's network on the digits: {1e3 * each:.0f} ms per point, 51 x 51 in {whole:.0f} s"
    )


PARTS = {"lines": lines, "plane": plane, "matrix": matrix, "matching": matching}


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
