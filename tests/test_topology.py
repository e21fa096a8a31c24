"""Topology of sampled surfaces: minima, saddles and persistence by hand and by brute force."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, strategies as st
from hypothesis.extra import numpy as hnp

from landscape.surfaces import topology_of


def test_a_quadratic_has_one_minimum_and_one_pair_that_never_ends() -> None:
    x, y = np.meshgrid(np.linspace(-1, 1, 9), np.linspace(-1, 1, 7), indexing="ij")
    found = topology_of(x**2 + 3 * y**2)
    assert found.minima.tolist() == [[4, 3]]
    assert found.births.tolist() == [0.0]
    assert found.deaths.tolist() == [np.inf]
    assert found.saddles.tolist() == [[-1, -1]]
    assert found.parents.tolist() == [-1]


def test_a_double_well_dies_at_the_saddle_between_its_minima() -> None:
    x, y = np.meshgrid(np.linspace(-1.5, 1.5, 13), np.linspace(-1, 1, 9), indexing="ij")
    found = topology_of((x**2 - 1) ** 2 + y**2 + 0.1 * x)
    # the saddle lies on y = 0 at x = 0 on this grid, 1 above the well's bottom but for the tilt
    assert found.minima.tolist() == [[2, 4], [10, 4]]
    assert found.saddles[1].tolist() == [6, 4]
    assert found.deaths[1] == 1.0
    assert found.persistence[1] == pytest.approx(1.0 - 0.1)
    assert found.parents.tolist() == [-1, 0]


def test_a_line_has_the_minima_that_one_reads_off() -> None:
    found = topology_of(np.array([3.0, 1.0, 2.0, 0.0, 5.0, 4.0]))
    assert found.minima.ravel().tolist() == [3, 1, 5]
    assert found.deaths.tolist() == [np.inf, 2.0, 5.0]


def test_points_that_are_not_finite_separate_basins() -> None:
    found = topology_of(np.array([0.0, 1.0, np.nan, 0.5, np.inf, 2.0]))
    assert found.minima.ravel().tolist() == [0, 3, 5]
    assert np.isinf(found.deaths).all()


def test_a_constant_surface_has_one_minimum_and_no_pair_of_no_depth() -> None:
    assert len(topology_of(np.ones((4, 4))).births) == 1


def _components(mask: np.ndarray) -> int:
    """The number of components of a set of grid points, neighbours as in the triangulation, by flooding."""
    left = {tuple(map(int, place)) for place in np.argwhere(mask)}
    steps = [(-1, 0), (1, 0), (0, -1), (0, 1), (-1, -1), (1, 1)]
    count = 0
    while left:
        count += 1
        front = [left.pop()]
        while front:
            i, j = front.pop()
            for a, b in steps:
                if (i + a, j + b) in left:
                    left.remove((i + a, j + b))
                    front.append((i + a, j + b))
    return count


@given(hnp.arrays(np.int64, st.tuples(st.integers(1, 5), st.integers(1, 5)), elements=st.integers(0, 6)))
def test_the_pairs_count_the_components_of_every_sublevel_set(values: np.ndarray) -> None:
    found = topology_of(values)
    for level in itertools.chain(np.unique(values), [2.5]):
        alive = int(np.sum((found.births <= level) & (found.deaths > level)))
        assert alive == _components(values <= level)
