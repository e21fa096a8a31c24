"""Can dense evolution be lifted? One setting of it at a time, at an equal number of member-examples.

    LANDSCAPE_DATA=folder python -m benchmarks.dense -o DIR [--preset small-fashion-mnist] [--seeds 0 1 2]

Trains the dense level of a preset again and again: as it stands, and with other scales, weights of the
ranks, steps, decays, and with the budget of a level (population x batch x generations) spent in other
ways. Prints the test accuracy of each beside the preset's, and their difference paired by seed, with
Student's 95 % intervals. A setting that is done is not trained again: the same command goes on.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.sweep import configured
from benchmarks.timing import machine
from landscape.results import mean_interval
from trainers.config import AUTO, EvolutionConfig, resolve
from trainers.tickets import train_tickets

# Variants of the scale, of the rates and of the rule are made of the preset's own values; a spending is
# (population, batch, generations) as factors of them.
SPENDINGS: tuple[tuple[float, float, float], ...] = (
    (2, 0.5, 1),
    (4, 0.25, 1),
    (1, 0.5, 2),
    (1, 0.25, 4),
    (2, 1, 1),
)
Changes = dict[str, float | str]


def variants(given: EvolutionConfig) -> dict[str, Changes]:
    """Return the keys of `evolution` that each variant changes."""
    falling = 0.1 ** (1 / given.generations)
    found: dict[str, Changes] = {
        "as it stands": {},
        "standard deviation x 0.5": {"std_init": 0.5 * given.std_init},
        "standard deviation x 1.5": {"std_init": 1.5 * given.std_init},
        "softmax of the ranks, temperature 12": {"temperature": 12},
        "step of the mean x 2": {"mean_learning_rate": 2.0},
        "step of the mean x 2, falling to 0.2": {
            "mean_learning_rate": 2.0,
            "mean_learning_rate_decay": falling,
        },
        "mean decay 1e-4": {"mean_decay": 1e-4},
        "mean decay 1e-3": {"mean_decay": 1e-3},
        "sep-CMA-ES": {"strategy": "sep-cma-es", "temperature": AUTO},
    }
    for population, batch, generations in SPENDINGS:
        members, examples, steps = (
            round(factor * value)
            for factor, value in (
                (population, given.population_size),
                (batch, given.batch_size),
                (generations, given.generations),
            )
        )
        budget = population * batch * generations
        name = f"population {members}, batch {examples}, {steps} generations"
        name += f", {budget:g} x the budget" if budget != 1 else ""
        found[name] = {"population_size": members, "batch_size": examples, "generations": steps}
    return found


def dense(preset: str, seeds: Sequence[int], changes: Changes, folder: Path) -> np.ndarray:
    """Return the test accuracies [S] of the dense level with `changes`."""
    overrides = [f"evolution.{key}={value}" for key, value in changes.items()]
    config = configured(preset, seeds, ["es-snr"], ["pruning.levels=1", *overrides])
    return train_tickets(config, folder, resume=folder.exists()).accuracies("es-snr", 0)


def told(values: np.ndarray) -> str:
    """Return mean ± half of Student's 95 % interval."""
    mean, interval = values.mean(), mean_interval(values.tolist())
    return f"{mean:.4f} ± {interval[1] - mean:.4f}" if interval else f"{mean:.4f}"


def main(given: Sequence[str] | None = None) -> None:
    """Train and print one line per variant."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR")
    parser.add_argument("--preset", default="small-fashion-mnist")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    options = parser.parse_args(given)
    if len(options.seeds) < 2:
        parser.error("--seeds: an interval needs two seeds or more")
    evolution = resolve(options.preset).evolution
    if evolution.strategy != "snes":
        parser.error(f"--preset: expected one of SNES, got {evolution.strategy}")
    print(machine())
    base: np.ndarray | None = None
    for number, (name, changes) in enumerate(variants(evolution).items()):
        folder = options.output / f"{options.preset}-{number:02d}"
        found = dense(options.preset, options.seeds, changes, folder)
        base = found if base is None else base
        beside = "" if base is found else f"   paired difference {told(found - base)}"
        print(f"{name:<58} {told(found)}{beside}", flush=True)


if __name__ == "__main__":
    main()
