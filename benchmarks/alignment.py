"""Planted permutations: how many of 100 each method recovers exactly, and what it costs.

    .venv/bin/python -m benchmarks.alignment [--seeds 5] [--only planted]

The second network is the first with the units of every group permuted at random. It is recovered if every
weight is where it was. Plain and residual networks of ten widths from 3 to 256, five seeds each: 100 cases.
Goal: 100 of 100 by activations. Weight matching is shown from one start, the identity (what git-re-basin
does), and as `landscape.align` runs it: with restarts and the match by activations as one more start.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np

from benchmarks.timing import machine
from landscape import Problem, align
from landscape.alignment import structure_of
from landscape.alignment.matching import match_weights
from landscape.trees import by_path, fill

WIDTHS = (3, 4, 5, 6, 8, 12, 16, 32, 64, 256)
_RNG = np.random.default_rng(0)
X = _RNG.normal(size=(48, 6)).astype(np.float32)
Y = np.sin(X.sum(axis=1))


def plain(params: Any, batch: Any) -> Any:
    """Return the losses of a network of two hidden layers, one smooth and one of rectifiers."""
    inputs, targets = batch
    hidden = jnp.tanh(inputs @ params["in"] + params["bias"])
    hidden = jnp.maximum(hidden @ params["mid"], 0)
    return ((hidden @ params["out"])[:, 0] - targets) ** 2


def residual(params: Any, batch: Any) -> Any:
    """Return the losses of a stream with one block that adds to it."""
    inputs, targets = batch
    x = inputs @ params["in"] + params["bias"]
    x = x + jnp.tanh(x @ params["mid"]) @ params["back"]
    return ((x @ params["out"])[:, 0] - targets) ** 2


LOSSES: dict[str, Callable[..., Any]] = {"plain": plain, "residual": residual}


def parameters(kind: str, width: int, seed: int) -> dict[str, np.ndarray]:
    """Return random weights of a network of one kind."""
    rng = np.random.default_rng([seed, width])
    inner = width + 1
    last = inner if kind == "plain" else width
    shapes = {"in": (6, width), "bias": (width,), "mid": (width, inner), "out": (last, 1)}
    if kind == "residual":
        shapes["back"] = (inner, width)
    return {
        name: (rng.normal(size=shape) / np.sqrt(shape[0])).astype(np.float32)
        for name, shape in shapes.items()
    }


def planted(kind: str, width: int, seed: int) -> tuple[Problem, Any, Any]:
    """Return a problem, a network, and the same network with its units permuted."""
    params = parameters(kind, width, seed)
    structure = structure_of(LOSSES[kind], params, (X[:2], Y[:2]))
    rng = np.random.default_rng([seed, width, 1])
    permutations = {name: rng.permutation(units.size) for name, units in structure.groups.items()}
    moved = fill(params, structure.apply(by_path(params), permutations))
    return Problem(LOSSES[kind], train=(X, Y)), params, moved


def same(found: Any, wanted: Any) -> bool:
    """Return whether two networks agree to the bit."""
    return all(np.array_equal(leaf, by_path(found)[path]) for path, leaf in by_path(wanted).items())


def by_activations(problem: Problem, a: Any, b: Any) -> Any:
    """Return b aligned to a by what its units do."""
    return align(problem, a, b, method="activations").params


def by_weights(problem: Problem, a: Any, b: Any) -> Any:
    """Return b aligned to a by weights, from all the starts of `align`."""
    return align(problem, a, b, method="weights").params


def by_weights_alone(problem: Problem, a: Any, b: Any) -> Any:
    """Return b aligned to a by weights from the identity alone: what git-re-basin does."""
    structure = structure_of(problem.loss, b, problem.head(2))
    rng = np.random.default_rng(0)
    found = match_weights(structure, by_path(a), by_path(b), rng=rng, restarts=0)
    return fill(b, structure.apply(by_path(b), found.permutations))


WAYS: dict[str, Callable[[Problem, Any, Any], Any]] = {
    "activations": by_activations,
    "weights, one start": by_weights_alone,
    "weights": by_weights,
}


def count(seeds: int) -> None:
    """Print by kind and width, and in all, how many planted permutations each way recovers."""
    totals = dict.fromkeys(WAYS, 0)
    for kind in LOSSES:
        for width in WIDTHS:
            cases = [planted(kind, width, seed) for seed in range(seeds)]
            found = {way: sum(same(bring(*case), case[1]) for case in cases) for way, bring in WAYS.items()}
            totals = {way: totals[way] + number for way, number in found.items()}
            text = ", ".join(f"{way} {number}" for way, number in found.items())
            print(f"{kind}, width {width}: of {seeds}: {text}", flush=True)
    cases_in_all = seeds * len(LOSSES) * len(WIDTHS)
    print(f"of {cases_in_all}: " + ", ".join(f"{way} {number}" for way, number in totals.items()))


PARTS = {"planted": count}


def main() -> None:
    """Run the parts that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--only", default=",".join(PARTS))
    arguments = parser.parse_args()
    print(machine())
    for name in arguments.only.split(","):
        PARTS[name](arguments.seeds)


if __name__ == "__main__":
    main()
