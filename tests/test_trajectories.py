"""Training paths on a plane: coordinates, distances, and the losses that a projection hides."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from landscape import Problem, load_result, trajectory
from landscape.errors import ConfigurationError, InputError

SCALES = np.arange(1, 5)


def _loss(params: Any, batch: Any) -> Any:
    return 0.5 * (params["w"] * SCALES) @ params["w"] + 0 * batch


PROBLEM = Problem(_loss, train=np.zeros(3, np.float32))


def _network(*w: float) -> dict[str, np.ndarray]:
    return {"w": np.array(w, np.float32)}


PATH = [_network(4, 0, 1, 0), _network(3, 2, 0, 0), _network(1, 1, 0, 0.5), _network(0, 0, 0, 0)]


def test_the_last_network_is_the_origin_and_the_rest_is_the_singular_value_decomposition() -> None:
    found = trajectory(PROBLEM, PATH, dtype="float64")
    differences = np.array([n["w"] for n in PATH], float)
    _, singular, _ = np.linalg.svd(differences)
    shares = singular**2 / (singular**2).sum()
    np.testing.assert_allclose(found.explained_variance, shares[:2], rtol=1e-9)
    np.testing.assert_allclose(found.coordinates[-1], 0, atol=1e-12)
    squares = (found.coordinates**2).sum(axis=1) + found.distances**2
    np.testing.assert_allclose(squares, (differences**2).sum(axis=1), rtol=1e-9)


def test_the_loss_of_a_network_stands_beside_that_of_its_projection() -> None:
    axes = [_network(1, 0, 0, 0), _network(0, 2, 0, 0)]
    found = trajectory(PROBLEM, PATH, directions=axes, x=(-1, 5, 4), y=(-1, 3, 3), dtype="float64")
    np.testing.assert_allclose(found.coordinates, [[4, 0], [3, 2], [1, 1], [0, 0]], atol=1e-12)
    np.testing.assert_allclose(found.losses, [9.5, 8.5, 2.0, 0.0], rtol=1e-12)
    np.testing.assert_allclose(found.plane_losses, [8.0, 8.5, 1.5, 0.0], rtol=1e-12)
    np.testing.assert_allclose(found.distances, [1, 0, 0.5, 0], atol=1e-12)
    np.testing.assert_allclose(found.gram, np.eye(2), atol=1e-12)
    x, y = np.meshgrid(found.x, found.y, indexing="ij")
    np.testing.assert_allclose(found.surface, 0.5 * x**2 + y**2, rtol=1e-12)


def test_paths_share_a_plane_around_the_last_network_of_the_first() -> None:
    others = [_network(-1, 0, 0, 0), _network(0, -1, 0, 0)]
    found = trajectory(PROBLEM, [*PATH, *others], paths=["a"] * 4 + ["b"] * 2, names=list("uvwxyz"))
    assert found.origin == "x"
    np.testing.assert_allclose(found.coordinates[3], 0, atol=1e-7)
    assert found.paths == ("a", "a", "a", "a", "b", "b")


def test_a_trajectory_comes_back_from_disk(tmp_path: Path) -> None:
    found = trajectory(PROBLEM, PATH, x=(-1, 5, 4), y=(-1, 3, 3))
    found.save(tmp_path / "t.h5")
    assert load_result(tmp_path / "t.h5").to_dict() == found.to_dict()


@pytest.mark.faults
def test_networks_that_span_no_plane_are_refused() -> None:
    with pytest.raises(InputError, match="on a line"):
        trajectory(PROBLEM, [_network(t, 2 * t, 0, 0) for t in (3, 2, 1, 0)])
    with pytest.raises(InputError, match="fewer than three"):
        trajectory(PROBLEM, PATH[-2:])
    with pytest.raises(ConfigurationError, match="paths"):
        trajectory(PROBLEM, PATH, paths=["a"])
