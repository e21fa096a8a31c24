"""What the compiler options of this package (``landscape/compute/compiling.py``) are worth on this machine.

    .venv/bin/python -m benchmarks.compiling [--rounds 3]

Each measurement is a process of its own, without and with them in turn, so that nothing is compiled yet: the
whole flatness family on a digits network, then on another one with what is compiled; Hessian products;
generations of evolution. Ratios are medians over rounds, below 1 where the options are the faster.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time

import numpy as np

import landscape.compute.compiling
from benchmarks.curvature import EXAMPLES, digits_run, image_task, line, trained
from benchmarks.throughput import ours
from benchmarks.timing import interleaved, machine, median, ratio
from landscape import hessian, measure_flatness

REPEATS = 9


def timed() -> dict[str, float]:
    """Return seconds of everything, measured in this process."""
    task, networks = digits_run(2, 1, steps=100)
    seconds: dict[str, float] = {}
    for name, network in zip(("family, nothing compiled", "family, all compiled"), networks, strict=True):
        began = time.perf_counter()
        measure_flatness(task.problem, network)
        seconds[name] = time.perf_counter() - began
    for kind in ("lenet-300-100", "paper-cnn"):
        task = image_task(kind)
        curved = hessian(task.problem, trained(task.problem, task.init(0), steps=10), subset=EXAMPLES)
        vector = np.random.default_rng(0).standard_normal(curved.dim).astype(np.float32)
        found = interleaved({"product": lambda curved=curved, vector=vector: curved.matvec(vector)})
        seconds[f"Hessian product, {kind}"] = median(found["product"])
    began = time.perf_counter()
    evolve = ours(1)
    found = interleaved({"evolve": evolve}, repeats=REPEATS)
    seconds["100 generations"] = median(found["evolve"])
    seconds["100 generations, nothing compiled"] = time.perf_counter() - began - sum(found["evolve"])
    return seconds


def main() -> None:
    """Print the table, or what a process of its own measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--child", choices=("without", "with"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        if arguments.child == "without":
            landscape.compute.compiling._compiler_options = lambda: None  # type: ignore[assignment]
        print(json.dumps(timed()))
        return
    print(machine())
    rounds: dict[str, list[dict[str, float]]] = {"without": [], "with": []}
    for _ in range(arguments.rounds):
        for child, found in rounds.items():
            command = [sys.executable, "-m", "benchmarks.compiling", "--child", child]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
            found.append(json.loads(done.stdout.splitlines()[-1]))
    for name in rounds["with"][0]:
        without, with_options = ([found[name] for found in rounds[child]] for child in ("without", "with"))
        line(f"{name}: default", f"{median(without):.3f} s")
        line("  our options / default", f"{ratio(with_options, without):.2f}")


if __name__ == "__main__":
    main()
