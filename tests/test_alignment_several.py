"""Several networks brought to one alignment: consistent around cycles, never worse than by pairs."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from benchmarks import alignment as planting
from landscape import Problem, align, align_all
from landscape.errors import InputError

BOTH = ("permutation", "scale")


def _agreement(networks: list[Any]) -> float:
    pairs = itertools.combinations(networks, 2)
    return sum(float(sum(np.vdot(a[name].astype(np.float64), b[name]) for name in a)) for a, b in pairs)


@pytest.mark.parametrize("method", ["weights", "activations"])
def test_planted_copies_all_come_back_to_the_first(method: str) -> None:
    problem, a, b = planting.planted("residual", 12, 0)
    _, _, c = planting.planted("residual", 12, 0)
    order = np.random.default_rng(5).permutation(12)
    c = {**a, "in": a["in"][:, order], "bias": a["bias"][order], "mid": a["mid"][order],
         "back": a["back"][:, order], "out": a["out"][order]}  # fmt: skip
    found = align_all(problem, [a, b, c], method=method, names=["a", "b", "c"])
    assert [one.distance_after for one in found] == [0, 0, 0]
    assert all(planting.same(one.params, a) for one in found)
    assert set(found[0].moved.values()) == {0.0}
    assert found[2].endpoints == ("a", "c")


@pytest.mark.parametrize("symmetry", [("permutation",), BOTH])
def test_cycles_close_and_networks_agree_more_than_after_pairs(
    symmetry: Any,
) -> None:
    problem = Problem(planting.LOSSES["plain"], train=(planting.X, planting.Y))
    networks = [planting.parameters("plain", 8, seed) for seed in range(4)]
    found = align_all(problem, networks, names=list("abcd"), symmetry=symmetry)
    for name in found[0].permutations:
        p = [one.permutations[name] for one in found]
        ways = [p[i][np.argsort(p[j])] for i, j in ((1, 2), (2, 3), (3, 1))]  # from i's units to j's
        np.testing.assert_array_equal(ways[0][ways[1][ways[2]]], np.arange(len(p[0])))
    if symmetry == BOTH:
        return  # the sum is of the networks on their canonical scales
    pairwise = [networks[0], *(align(problem, networks[0], other).params for other in networks[1:])]
    assert _agreement([one.params for one in found]) >= _agreement(pairwise) * (1 - 1e-6)


def test_rescaled_copies_come_back_on_the_scale_of_the_first() -> None:
    problem, a, b = planting.planted("plain", 6, 2)
    c = {**b, "mid": 2 * b["mid"], "out": b["out"] / 2}
    found = align_all(problem, [a, b, c], symmetry=BOTH, names=["a", "b", "c"])
    for one in found:
        for name, leaf in a.items():
            np.testing.assert_allclose(one.params[name], leaf, rtol=1e-5, atol=1e-7)


def test_by_barrier_every_network_is_brought_to_the_first() -> None:
    problem, a, b = planting.planted("plain", 5, 1)
    networks = [a, b, planting.parameters("plain", 5, 9)]
    found = align_all(problem, networks, method="barrier", steps=2, names=list("abc"))
    assert found[0].distance_after == 0
    assert all(one.barrier_after <= one.barrier_before for one in found[1:])  # type: ignore[operator]


@pytest.mark.faults
def test_one_network_is_refused() -> None:
    problem, a, _ = planting.planted("plain", 5, 1)
    with pytest.raises(InputError, match="at least two"):
        align_all(problem, [a])
