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
from scipy import stats

from benchmarks.timing import machine
from trainers.config import RunConfig, resolve
from trainers.runs import open_run
from trainers.tickets import train_tickets

# name -> keys of `evolution` that differ from the preset
SETTINGS: dict[str, dict[str, float | str]] = {
    "as it stands": {},
    "standard deviation x 0.5": {"std_init": 0.01},
    "standard deviation x 1.5": {"std_init": 0.03},
    "softmax of the ranks, temperature 12": {"temperature": 12},
    "step of the mean x 2": {"mean_learning_rate": 2.0},
    "step of the mean x 2, falling to 0.2": {"mean_learning_rate": 2.0, "mean_learning_rate_decay": 0.9923},
    "mean decay 1e-4": {"mean_decay": 1e-4},
    "mean decay 1e-3": {"mean_decay": 1e-3},
    "sep-CMA-ES": {"strategy": "sep-cma-es", "temperature": "auto"},
}
# (population, batch, generations) as factors of the preset's
SPENDINGS: tuple[tuple[float, float, float], ...] = (
    (2, 0.5, 1),
    (4, 0.25, 1),
    (1, 0.5, 2),
    (1, 0.25, 4),
    (2, 1, 1),
)


def variants(config: RunConfig) -> dict[str, dict[str, float | str]]:
    """Return the keys that each variant changes."""
    evolution = config.evolution
    found = dict(SETTINGS)
    for population, batch, generations in SPENDINGS:
        keys = {
            "population_size": round(population * evolution.population_size),
            "batch_size": round(batch * evolution.batch_size),
            "generations": round(generations * evolution.generations),
        }
        name = "population {population_size}, batch {batch_size}, {generations} generations".format(**keys)
        budget = population * batch * generations
        found[name + (f", {budget:g} x the budget" if budget != 1 else "")] = dict(keys)
    return found


def dense(preset: str, seeds: Sequence[int], changes: dict[str, float | str], folder: Path) -> np.ndarray:
    """Return the test accuracies [S] of the dense level with `changes`."""
    fixed = [f"seeds=[{', '.join(map(str, seeds))}]", "methods=[es-snr]", "pruning.levels=1"]
    overrides = [f"evolution.{key}={value}" for key, value in changes.items()]
    config = resolve(preset, overrides=[*fixed, *overrides])
    train_tickets(config, folder, resume=folder.exists())
    return np.asarray(open_run(folder).accuracies("es-snr", 0))


def interval(values: np.ndarray) -> str:
    """Return mean ± half of Student's 95 % interval."""
    half = stats.t.ppf(0.975, values.size - 1) * stats.sem(values)
    return f"{values.mean():.4f} ± {half:.4f}"


def main(given: Sequence[str] | None = None) -> None:
    """Train and print one line a variant."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR")
    parser.add_argument("--preset", default="small-fashion-mnist")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    options = parser.parse_args(given)
    if len(options.seeds) < 2:
        parser.error("--seeds: an interval needs two seeds or more")
    print(machine())
    base: np.ndarray | None = None
    for number, (name, changes) in enumerate(variants(resolve(options.preset)).items()):
        folder = options.output / f"{options.preset}-{number:02d}"
        found = dense(options.preset, options.seeds, changes, folder)
        base = found if base is None else base
        beside = "" if base is found else f"   paired difference {interval(found - base)}"
        print(f"{name:<58} {interval(found)}{beside}", flush=True)


if __name__ == "__main__":
    main()
