"""What flatness costs: the whole family on one and on many networks, perturbations in forward passes.

Run from the root of the repository::

    LANDSCAPE_DATA=folder python -m benchmarks.flatness [--quick]

Everything is timed side by side in one run; ratios are medians over rounds.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.curvature import EXAMPLES, digits_run, image_task, line, trained
from benchmarks.timing import interleaved, machine, median, ratio
from landscape import flatness_table, measure_flatness
from landscape.flatness.draws import draw
from landscape.flatness.gaussian import mirrored
from landscape.flatness.neighbourhood import Neighbourhood
from landscape.flatness.options import Options

DRAWS = 8
RADII = (0.01, 0.02, 0.05, 0.1, 0.2)


def perturbations(kind: str, repeats: int) -> None:
    """Compare a perturbation measure with as many forward passes and the drawing of its noise."""
    task = image_task(kind)
    params = trained(task.problem, task.init(0), steps=10)
    around = Neighbourhood(task.problem, params, Options(subset=EXAMPLES))
    scale = around.scale("absolute")
    batch = jax.tree.map(lambda x: x[:EXAMPLES], task.problem.arrays("train"))
    functions = {"loss": task.problem.loss} | {k: m.fn for k, m in task.problem.metrics.items()}
    with jax.default_matmul_precision("highest"):
        forward = jax.jit(lambda p, b: {name: fn(p, b).mean() for name, fn in functions.items()})
        on_device = jax.tree.map(jnp.asarray, params)
        jax.block_until_ready(forward(on_device, batch))
    key, vector = jax.random.key(0), around.on_device(scale)

    def noise() -> Any:
        return [jax.block_until_ready(draw(key, np.uint32(i), vector)) for i in range(DRAWS)]

    def plain() -> Any:
        return [jax.block_until_ready(forward(on_device, batch)) for _ in range(2 * DRAWS * len(RADII))]

    seconds = interleaved(
        {
            "measure": lambda: mirrored(around, scale, RADII, draws=DRAWS, seed=0),
            "forward": plain,
            "noise": noise,
        },
        repeats=repeats,
    )
    baseline = [a + b for a, b in zip(seconds["forward"], seconds["noise"], strict=True)]
    passes = 2 * DRAWS * len(RADII)
    name = f"{kind}, {EXAMPLES:,} examples: forward pass"
    line(name, f"{1e3 * median(seconds['forward']) / passes:.2f} ms")
    line("  drawing of one pair", f"{1e3 * median(seconds['noise']) / DRAWS:.2f} ms")
    line(
        "  perturbation measure / (passes + drawing)", f"{ratio(seconds['measure'], baseline):.2f}", "<= 1.25"
    )


def family(levels: int, seeds: int) -> None:
    """Measure one digits network by everything, with compilation, and all levels and seeds of a run."""
    task, given = digits_run(levels, seeds, steps=100)
    began = time.perf_counter()
    found = measure_flatness(task.problem, given[0])
    text = f"{time.perf_counter() - began:.1f} s ({len(found.records)} measures)"
    line("digits, one network: the whole family, compiled anew", text, "< 20 s")
    line("  of which compiling", f"{found.stats['compile_seconds']:.1f} s")
    began = time.perf_counter()
    table = flatness_table(task.problem, given)
    text = f"{time.perf_counter() - began:.1f} s ({table.status})"
    line(f"digits, {levels} levels x {seeds} seeds: the whole family", text, "< 180 s")
    line("  of which compiling", f"{table.stats['compile_seconds']:.1f} s")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="Fewer repeats and levels.")
    quick = parser.parse_args().quick
    print(machine())
    for kind in ("lenet-300-100", "paper-cnn"):
        if not (quick and kind == "paper-cnn"):
            perturbations(kind, 3 if quick else 7)
    family(*((3, 1) if quick else (20, 2)))


if __name__ == "__main__":
    main()
