"""Connecting curves: their form, their ends, what training does to them, and going on after a stop."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.integrate import quad
from stopping import Stopped, Stopping

from landscape import Checkpoint, Problem, Stream, connect, load_result, loss_barrier
from landscape.connectivity.curve_form import arc_mean, length_of, weights_at
from landscape.errors import ArchitectureMismatchError, ConfigurationError, ProblemError


def _ring(params: Any, batch: Any) -> Any:
    return ((params["w"] ** 2).sum() - 1) ** 2 + 0 * batch


RING = Problem(_ring, train=np.zeros(6, np.float32), test=np.ones(4, np.float32))
WEST = {"w": np.array([-1, 0, 0], np.float32), "count": np.array(3)}
EAST = {"w": np.array([0.99, 0.141, 0], np.float32), "count": np.array(3)}


def test_weights_are_a_partition_of_one_and_exact_at_the_ends() -> None:
    for curve in ("bezier", "chain", "neb"):
        for bends in (1, 2, 5):
            weights = weights_at(curve, np.linspace(0, 1, 11), bends)
            np.testing.assert_allclose(weights.sum(axis=-1), 1, rtol=1e-14)
            assert weights[0].tolist() == [1, *[0] * (bends + 1)]
            assert weights[-1].tolist() == [*[0] * (bends + 1), 1]


def test_a_quadratic_bezier_is_the_formula_of_garipov() -> None:
    t = 0.3
    np.testing.assert_allclose(weights_at("bezier", t, 1), [(1 - t) ** 2, 2 * t * (1 - t), t**2], rtol=1e-14)


def test_the_length_is_that_of_the_parabola_that_it_is() -> None:
    controls = np.array([[0.0, 0.0], [1.0, 2.0], [2.0, 0.0]])  # φ = (2t, 4t(1 − t))
    expected, _ = quad(lambda t: np.hypot(2, 4 - 8 * t), 0, 1)
    assert length_of("bezier", controls) == pytest.approx(expected, rel=1e-6)
    assert length_of("chain", controls) == pytest.approx(2 * np.hypot(1, 2), rel=1e-9)


def test_the_mean_by_arc_length_weighs_long_pieces_more() -> None:
    controls = np.array([[0.0], [3.0], [4.0]])  # three units in the first half of the time, one in the second
    times = np.array([0.0, 0.5, 1.0])
    assert arc_mean("chain", controls, times, np.array([1.0, 1.0, 5.0])) == pytest.approx((3 * 1 + 1 * 3) / 4)


@pytest.mark.parametrize(("curve", "bends"), [("bezier", 2), ("chain", 3), ("neb", 5)])
def test_a_curve_goes_around_what_the_line_goes_over(curve: str, bends: int) -> None:
    found = connect(RING, WEST, EAST, curve=curve, bends=bends, steps=300, num_points=15)
    assert found.line_barrier_above_chord == pytest.approx(
        loss_barrier(RING, WEST, EAST, num_points=15, refine=False).barrier_above_chord
    )
    assert found.line_barrier_above_chord > 0.9
    assert found.barrier_above_chord < 0.25
    assert found.length > found.line_length
    assert found.line_length == pytest.approx(np.hypot(1.99, 0.141), rel=1e-5)
    assert set(found.losses) == {"train", "test"}


def test_the_ends_are_the_networks_to_the_bit_and_points_have_their_structure() -> None:
    found = connect(RING, WEST, EAST, bends=2, steps=30, num_points=5)
    np.testing.assert_array_equal(found.at(0)["w"], WEST["w"])
    np.testing.assert_array_equal(found.at(1)["w"], EAST["w"])
    assert found.losses["train"]["loss"][0] == RING.evaluate(WEST)["loss"]
    assert found.losses["train"]["loss"][-1] == RING.evaluate(EAST)["loss"]
    middle = found.at(0.5, like=WEST)
    assert middle["count"] == 3
    assert middle["w"].dtype == np.float32
    assert RING.evaluate(middle)["loss"] == pytest.approx(found.losses["train"]["loss"][2], rel=1e-5)


def test_untrained_bends_are_the_straight_line() -> None:
    found = connect(RING, WEST, EAST, bends=3, steps=0, num_points=9)
    np.testing.assert_allclose(found.losses["train"]["loss"], found.line_losses, rtol=1e-5)
    assert found.length == pytest.approx(found.line_length, rel=1e-6)


def test_images_of_a_band_stay_equally_spaced() -> None:
    found = connect(RING, WEST, EAST, curve="neb", bends=6, steps=40, num_points=5)
    gaps = np.linalg.norm(np.diff(found.controls.astype(float), axis=0), axis=1)
    np.testing.assert_allclose(
        gaps, gaps.mean(), rtol=0.02
    )  # put back along the polygon, not along its chords


def test_bends_of_two_tickets_stay_within_the_union_of_their_masks() -> None:
    tickets = [
        Checkpoint(params={"w": WEST["w"]}, mask={"w": np.array([True, False, False])}),
        Checkpoint(params={"w": np.array([0, 1, 0], np.float32)}, mask={"w": np.array([False, True, False])}),
    ]
    found = connect(RING, *tickets, bends=2, steps=50, num_points=5)
    assert not found.bends[:, 2].any()
    assert found.line_barrier_above_chord == pytest.approx(0.25, rel=0.02)
    assert found.barrier_above_chord < 0.1


def test_a_stopped_training_goes_on_to_the_same_bits(tmp_path: Path) -> None:
    options: dict[str, Any] = {"bends": 2, "steps": 60, "num_points": 5}
    with pytest.raises(Stopped):
        connect(RING, WEST, EAST, resume=tmp_path / "kept", progress=Stopping(3), **options)
    resumed = connect(RING, WEST, EAST, resume=tmp_path / "kept", **options)
    whole = connect(RING, WEST, EAST, **options)
    np.testing.assert_array_equal(resumed.controls, whole.controls)
    np.testing.assert_array_equal(resumed.history, whole.history)
    assert not (tmp_path / "kept").exists()


def test_a_curve_comes_back_from_disk_and_is_evaluated_at_more_points(tmp_path: Path) -> None:
    found = connect(RING, WEST, EAST, bends=2, steps=20, num_points=5)
    found.save(tmp_path / "c.h5")
    again = load_result(tmp_path / "c.h5")
    assert again.to_dict() == found.to_dict()
    assert str(again) == str(found)
    np.testing.assert_array_equal(again.at(0.37)["w"], found.at(0.37)["w"])


def test_two_equal_networks_are_joined_by_nothing() -> None:
    found = connect(RING, WEST, WEST, steps=5, num_points=5)
    assert found.line_barrier_above_chord == 0
    assert found.line_length == 0


@pytest.mark.faults
def test_what_cannot_be_connected_is_refused() -> None:
    streamed = Problem(_ring, train=Stream([np.zeros(3, np.float32)]))
    with pytest.raises(ProblemError, match="stream"):
        connect(streamed, WEST, EAST, steps=2)
    with pytest.raises(ArchitectureMismatchError):
        connect(RING, WEST, {"v": WEST["w"]})
    for wrong in (
        {"curve": "spline"},
        {"bends": 0},
        {"steps": -1},
        {"learning_rate": 0.0},
        {"num_points": 2},
    ):
        with pytest.raises(ConfigurationError):
            connect(RING, WEST, EAST, **wrong)
    with pytest.raises(ConfigurationError, match="outside the curve"):
        connect(RING, WEST, EAST, steps=1, num_points=3).at(1.2)
