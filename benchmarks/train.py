"""Everything that is promised of training's speed and memory, with the goals, in one run.

    .venv/bin/python -m benchmarks.train [--quick]

Training throughput on the digits, evaluation of populations in every form, what the host takes between
chunks, and the memory that ``--dry-run`` states. Each part is a module of its own with its own sizes:
`benchmarks.throughput`, `benchmarks.population`, `benchmarks.overhead`, `benchmarks.memory`.
``--quick`` takes fewer rounds and smaller batches: to see that all of it runs, not to quote.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping

from benchmarks import memory, overhead, population, throughput
from benchmarks.timing import machine


def parts(*, quick: bool) -> Mapping[str, Callable[[], None]]:
    """Return what is run, by its heading."""
    few = population.Sizes(members=32, images=256, part_images=32, rounds=3)
    sizes = few if quick else population.Sizes(rounds=5)
    cases = ("quickstart", "gradient") if quick else tuple(memory.CASES)
    return {
        "Training throughput, digits": lambda: throughput.report(3 if quick else 9),
        "Population evaluation": lambda: population.report(sizes),
        "Between two chunks": lambda: overhead.report(6 if quick else None),
        "Memory": lambda: memory.report(cases),
    }


def main() -> None:
    """Print the parts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer rounds, smaller batches, fewer cases")
    given = parser.parse_args()
    print(machine())
    for heading, run in parts(quick=given.quick).items():
        began = time.perf_counter()
        print(f"\n{heading}\n{'-' * len(heading)}")
        run()
        print(f"({time.perf_counter() - began:.0f} s)")


if __name__ == "__main__":
    main()
