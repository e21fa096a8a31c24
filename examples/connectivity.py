r"""Whether tickets of a run are linearly connected, and what their barriers are made of.

    landscape train quickstart -o run --set evolution.generations=600 \
        --set 'seeds=[{init=0,train=0},{init=0,train=1},{init=0,train=2},
                      {init=1,train=3},{init=1,train=4},{init=1,train=5}]' \
        --set 'methods=["es-snr","gd-magnitude"]'
    python examples/connectivity.py run answer.html

Four questions, each answered for every method: do barriers lie between runs of one initialisation, of two,
and between successive levels; how much of a barrier is the order of the units and their scale; is there a
curve of low loss where the line has a barrier; does the distance between two networks explain it. Barriers
are above the chord, on the training data; means are over pairs, with the range, and the number of pairs whose
own 95 % interval lies above 0. Without arguments it trains a run of seconds.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import landscape
from landscape.plots import write_html
from trainers import open_run, resolve, train_tickets

CHORD = "above_chord"
SEEDS = "seeds=[{init=0,train=0},{init=0,train=1},{init=1,train=2}]"
TWO_INITS, ONE_INIT = "two-inits", "one-init"
WAYS: list[tuple[str, dict[str, Any]]] = [
    ("as trained", {}),
    ("permuted, by weights", {"method": "weights"}),
    ("permuted and rescaled", {"method": "weights", "symmetry": ("permutation", "scale")}),
    ("permuted, by barrier", {"method": "barrier"}),
]


def small_run(folder: Path) -> Any:
    """Train a run of seconds, by gradient descent alone."""
    return train_tickets(resolve("smoke", overrides=['methods=["gd-magnitude"]', SEEDS]), folder)


def told(values: Iterable[float], above: Iterable[bool] | None = None) -> str:
    """Return the mean of values with their range, and how many have an interval above 0."""
    found = np.array(list(values))
    count = f"{len(found)} pair" + "s" * (len(found) > 1)
    text = f"{found.mean():8.4f} ({found.min():.4f} to {found.max():.4f}), {count}"
    return text if above is None else f"{text}, {sum(above)} above 0"


def connected(run: Any, levels: Sequence[int]) -> Any:
    """Print barriers between runs of one initialisation, of two, and between levels; return their matrix."""
    print("\n1. Barriers between runs and between levels")
    tickets = [t for method in run.methods for t in run.checkpoints(method=method)]
    between = landscape.barrier_matrix(None, [t.path for t in tickets], pairs="levels", num_points=11)
    matrix = landscape.barrier_matrix(None, [t.path for t in tickets if t.level in levels], num_points=11)
    for (relation, method), places in between.groups().items():
        print(f"{method:14s} successive {relation:10s} {_heights(between, places)}")
    for (relation, method), places in matrix.groups().items():
        for level in levels:
            same = [p for p in places if all(matrix.records[i]["level"] == level for i in matrix.pairs[p])]
            if relation in (ONE_INIT, TWO_INITS) and same:
                print(f"{method:14s} {relation:10s} level {level:3d}  {_heights(matrix, same)}")
    return matrix


def _heights(matrix: Any, places: Sequence[int]) -> str:
    values = matrix.barriers[matrix.split]["loss"][CHORD][places]
    return told(values, matrix.intervals[CHORD][places, 0] > 0)


def pairs_of(run: Any, method: str, level: int, *, one_init: bool) -> list[tuple[Any, Any]]:
    """Return the pairs of a method's checkpoints at one level, of one initialisation or of two."""
    found = [landscape.load(t.path) for t in run.checkpoints(method=method) if t.level == level]
    return [
        (a, b)
        for number, a in enumerate(found)
        for b in found[number + 1 :]
        if (a.info["seeds"]["init"] == b.info["seeds"]["init"]) == one_init
    ]


def symmetries(run: Any, levels: Sequence[int], ways: Iterable[tuple[str, dict[str, Any]]]) -> None:
    """Print how much of the barrier between runs of two initialisations alignment takes away."""
    print("\n2. What of a barrier is the order of the units, and their scale (runs of two initialisations)")
    for method in run.methods:
        for level in levels:
            pairs = pairs_of(run, method, level, one_init=False)
            for name, how in ways:
                heights, above = [], []
                for a, b in pairs:
                    other = landscape.align(None, a, b, **how).checkpoint if how else b
                    barrier = landscape.loss_barrier(None, a, other, num_points=11)
                    heights.append(float(barrier.barrier_above_chord))
                    above.append(barrier.interval_above_chord[0] > 0)
                print(f"{method:14s} level {level:2d} {name:22s} {told(heights, above)}")


def curves(run: Any, steps: int) -> None:
    """Print the barriers along trained curves between dense networks, beside those of the lines."""
    print("\n3. Curves of low loss between dense networks of two initialisations")
    for method in run.methods:
        found = [
            landscape.connect(None, *pair, steps=steps) for pair in pairs_of(run, method, 0, one_init=False)
        ]
        line = [float(one.line_barrier_above_chord) for one in found]
        print(f"{method:14s} line  {told(line)}")
        curve = [float(one.barrier_above_chord) for one in found]
        print(f"{method:14s} curve {told(curve, [one.interval_above_chord[0] > 0 for one in found])}")


def distances(run: Any) -> None:
    """Print what the loss rises by at equal distances from the networks, along their lines and beyond."""
    print("\n4. Whether distance explains it (dense networks of one initialisation)")
    pairs = {method: pairs_of(run, method, 0, one_init=True) for method in run.methods}
    halves = {}
    for method, found in pairs.items():
        both = [landscape.barrier_matrix(None, pair, num_points=11) for pair in found]
        lengths = [float(one.distances[0]) for one in both]
        heights = [float(one.barriers[one.split]["loss"][CHORD][0]) for one in both]
        halves[method] = float(np.mean(lengths)) / 2
        print(f"{method:14s} distance {told(lengths)}")
        print(f"{method:14s} barrier  {told(heights)}")
    for method, found in pairs.items():
        for where, sign in (("towards the other", 1), ("away from it", -1)):
            for name, half in halves.items():
                rises = told(_rise(a, b, sign * half) for a, b in found)
                print(f"{method:14s} rise at half the distance of {name}, {where:18s} {rises}")


def _rise(a: Any, b: Any, step: float) -> float:
    """Return the mean rise of the loss at a signed distance from each of two networks on their line."""
    rises = []
    for first, second in ((a, b), (b, a)):
        x = (0, step, 2) if step > 0 else (step, 0, 2)
        line = landscape.loss_line(None, [first, second], directions="checkpoints", x=x)
        losses = line.losses["train"]["loss"][0]
        rises.append(float(losses[1] - losses[0] if step > 0 else losses[0] - losses[1]))
    return float(np.mean(rises))


def main(words: Sequence[str]) -> None:
    """Answer the four questions of a run, and write the matrix as a page."""
    given = bool(words) and (Path(words[0]) / "run.toml").exists()
    run = open_run(words[0]) if given else small_run(Path(tempfile.mkdtemp()) / "run")
    last = max(t.level for t in run.checkpoints(method=run.methods[0]))
    levels = sorted({0, last // 3, 2 * last // 3, last})
    matrix = connected(run, levels)
    symmetries(run, levels[:3] if given else levels[:1], WAYS if given else WAYS[:2])
    curves(run, steps=500 if given else 100)
    distances(run)
    page = words[1] if given and len(words) > 1 else Path(tempfile.mkdtemp()) / "matrix.html"
    write_html(matrix.plot(), page)
    print(f"\n{page}")


if __name__ == "__main__":
    main(sys.argv[1:])
