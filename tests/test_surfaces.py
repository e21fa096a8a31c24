"""Lines and planes through networks: directions, values, errors, and going on after a stop."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from stopping import Stopped, Stopping

from landscape import (
    Checkpoint,
    Metric,
    Problem,
    hessian,
    load_result,
    loss_line,
    loss_surface,
    save,
    top_eigenpairs,
)
from landscape.errors import (
    ArchitectureMismatchError,
    CheckpointError,
    ConfigurationError,
    InputError,
    NonFiniteError,
)
from landscape.surfaces.directions import filter_normalised
from landscape.surfaces.frames import Origin

RNG = np.random.default_rng(5)
X = RNG.normal(size=(40, 3)).astype(np.float32)
Y = np.sin(X.sum(axis=1)).astype(np.float32)


def _tanh(params: Any, batch: Any) -> Any:
    import jax.numpy as jnp

    inputs, targets = batch
    hidden = jnp.tanh(inputs @ params["in"]["kernel"] + params["in"]["bias"])
    return (hidden @ params["out"]["kernel"] - targets) ** 2


def _problem(**options: Any) -> Problem:
    metrics = {"twice": Metric(lambda params, batch: 2 * _tanh(params, batch))}
    return Problem(_tanh, train=(X, Y), test=(X[:16], Y[:16]), metrics=metrics, **options)


def _params(seed: int) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    return {
        "in": {
            "kernel": rng.normal(size=(3, 4)).astype(np.float32),
            "bias": rng.normal(size=4).astype(np.float32),
        },
        "out": {"kernel": rng.normal(size=4).astype(np.float32)},
    }


def _quadratic() -> Problem:
    def loss(params: Any, batch: Any) -> Any:
        w = params["w"].reshape(-1)
        return 0.5 * (w * np.arange(1, 5)) @ w + 0 * batch

    return Problem(loss, train=np.zeros(3, np.float32))


W = {"w": np.zeros((2, 2), np.float32)}


def _unit(number: int) -> dict[str, np.ndarray]:
    return {"w": np.eye(4, dtype=np.float32)[number].reshape(2, 2)}


def test_the_surface_of_a_quadratic_is_the_quadratic_on_a_grid_that_is_not_square() -> None:
    surface = loss_surface(
        _quadratic(), W, directions=[_unit(0), _unit(2)], x=(-2, 2, 5), y=(-1, 3, 3), dtype="float64"
    )
    x, y = np.meshgrid([-2, -1, 0, 1, 2], [-1, 1, 3], indexing="ij")
    np.testing.assert_allclose(surface.losses["train"]["loss"], 0.5 * x**2 + 1.5 * y**2, rtol=1e-14)
    assert surface.gram.tolist() == [[1, 0], [0, 1]]
    assert len(surface.topology.births) == 1


def test_a_random_direction_is_filter_normalised_as_a_hand_computed_case() -> None:
    params = _params(1)
    origin = Origin.of(_problem(), params)
    direction = origin.subject.layout.split(filter_normalised(origin, np.random.default_rng(3)))
    noise = origin.subject.layout.split(np.random.default_rng(3).standard_normal(origin.subject.layout.size))
    for unit in range(4):
        drawn = noise["in/kernel"][:, unit]
        expected = drawn / np.linalg.norm(drawn) * np.linalg.norm(params["in"]["kernel"][:, unit])
        np.testing.assert_allclose(direction["in/kernel"][:, unit], expected, rtol=1e-6)
    assert not direction["in/bias"].any()
    assert not direction["out/kernel"].any()  # one axis: no filter of its own


def test_filters_are_rows_where_the_output_axis_is_the_first() -> None:
    params = _params(1)
    origin = Origin.of(_problem(), params)
    drawn = filter_normalised(origin, np.random.default_rng(3), filter_axis=0)
    lengths = np.linalg.norm(origin.subject.layout.split(drawn)["in/kernel"], axis=1)
    np.testing.assert_allclose(lengths, np.linalg.norm(params["in"]["kernel"], axis=1), rtol=1e-6)


def test_the_origin_and_every_checkpoint_have_their_own_loss_to_the_bit() -> None:
    problem, networks = _problem(), [_params(i) for i in range(3)]
    surface = loss_surface(problem, networks, directions="checkpoints", x=(-3, 3, 4), y=(-3, 3, 3))
    own = [problem.evaluate(network)["loss"] for network in networks]
    assert [anchor["loss"] for anchor in surface.anchors.values()] == own
    random = loss_surface(problem, networks[0], x=(-1, 1, 5), y=(-1, 1, 5), num_planes=1)
    assert random.losses["train"]["loss"][2, 2] == own[0]
    assert random.standard_error[2, 2] == 0
    np.testing.assert_allclose(random.losses["train"]["twice"], 2 * random.losses["train"]["loss"], rtol=1e-6)


def test_directions_through_three_checkpoints_are_orthonormal_and_reach_them() -> None:
    problem, networks = _problem(), [_params(i) for i in range(3)]
    surface = loss_surface(problem, networks, directions="checkpoints", x=None, y=(-1, 8, 3), dtype="float64")
    np.testing.assert_allclose(surface.gram, np.eye(2), atol=1e-12)
    flat = [
        np.concatenate([n["in"]["bias"], n["in"]["kernel"].ravel(), n["out"]["kernel"]]) for n in networks
    ]
    (_, first, second) = surface.anchors.values()
    assert first["x"] == pytest.approx(np.linalg.norm(flat[1] - flat[0]), rel=1e-6)
    assert (first["y"], np.hypot(second["x"], second["y"])) == pytest.approx(
        (0, np.linalg.norm(flat[2] - flat[0])), rel=1e-6
    )
    assert surface.x[0] < 0 < first["x"] < surface.x[-1]


def test_eigenvectors_curve_the_line_by_half_their_eigenvalue() -> None:
    problem, params = _problem(), _params(2)
    pairs = top_eigenpairs(hessian(problem, params, dtype="float64"), 2)
    line = loss_line(
        problem, params, directions="eigenvectors", num_lines=2, x=(-1e-2, 1e-2, 3), dtype="float64"
    )
    loss = line.losses["train"]["loss"]
    curvature = (loss[:, 0] - 2 * loss[:, 1] + loss[:, 2]) / 1e-4
    np.testing.assert_allclose(curvature, pairs.eigenvalues, rtol=1e-3)


def test_the_gradient_is_the_slope_of_its_line() -> None:
    problem, params = _problem(), _params(2)
    length = np.linalg.norm(hessian(problem, params, dtype="float64").gradient())
    line = loss_line(problem, params, directions="gradient", x=(-1e-3, 1e-3, 3), dtype="float64")
    loss = line.losses["train"]["loss"][0]
    assert (loss[2] - loss[0]) / 2e-3 == pytest.approx(length, rel=1e-4)
    plane = loss_surface(problem, params, directions="gradient", x=(-1, 1, 2), y=(-1, 1, 2))
    np.testing.assert_allclose(plane.gram, np.eye(2), atol=1e-9)


def test_a_ticket_moves_in_its_own_subspace() -> None:
    params = _params(0)
    mask = {
        "in": {"kernel": np.eye(3, 4, dtype=bool), "bias": np.zeros(4, bool)},
        "out": {"kernel": np.ones(4, bool)},
    }
    params["in"]["kernel"] *= mask["in"]["kernel"]
    params["in"]["bias"] *= 0
    origin = Origin.of(_problem(), Checkpoint(params=params, mask=mask))
    drawn = origin.subject.layout.split(filter_normalised(origin, np.random.default_rng(0)))
    assert not drawn["in/kernel"][~mask["in"]["kernel"]].any()
    np.testing.assert_allclose(
        np.abs(drawn["in/kernel"][mask["in"]["kernel"]]), np.abs(np.diag(params["in"]["kernel"])), rtol=1e-6
    )
    dense = Origin.of(_problem(), Checkpoint(params=params, mask=mask), mask=False)
    assert dense.masked(np.ones(dense.subject.layout.size)).all()


def test_several_planes_start_with_the_one_that_is_drawn_and_have_seeds_of_their_own() -> None:
    problem, params = _problem(), _params(0)
    three = loss_surface(problem, params, x=(-1, 1, 3), y=(-1, 1, 3))
    one = loss_surface(problem, params, x=(-1, 1, 3), y=(-1, 1, 3), num_planes=1)
    assert three.planes is not None
    np.testing.assert_array_equal(three.planes[0], one.losses["train"]["loss"])
    assert len({plane.tobytes() for plane in three.planes}) == 3
    assert (three.planes[:, 1, 1] == three.planes[0, 1, 1]).all()


def test_no_value_depends_on_the_batch_size() -> None:
    problem, params = _problem(), _params(0)
    grids = {"x": (-1, 1, 3), "y": (-1, 1, 2), "num_planes": 1}
    whole, small = (loss_surface(problem, params, batch_size=size, **grids) for size in (None, 7))
    np.testing.assert_allclose(whole.losses["train"]["loss"], small.losses["train"]["loss"], rtol=1e-6)


def test_the_standard_error_is_that_of_paired_differences() -> None:
    problem, params = _problem(), _params(0)
    direction = {
        "in": {"kernel": np.ones((3, 4), np.float32), "bias": np.zeros(4, np.float32)},
        "out": {"kernel": np.zeros(4, np.float32)},
    }
    line = loss_line(problem, params, directions=direction, x=(0, 1, 2))
    moved = {**params, "in": {**params["in"], "kernel": params["in"]["kernel"] + 1}}
    difference = problem.per_example(moved)["loss"].astype(float) - problem.per_example(params)["loss"]
    assert line.standard_error[0, 1] == pytest.approx(difference.std(ddof=1) / np.sqrt(40), rel=1e-5)


def test_a_stopped_surface_goes_on_and_is_the_uninterrupted_one(tmp_path: Path) -> None:
    problem, params = _problem(), _params(0)
    grids: dict[str, Any] = {"x": (-1, 1, 4), "y": (-1, 1, 3), "num_planes": 2}
    folder = tmp_path / "kept"
    with pytest.raises(Stopped):
        loss_surface(problem, params, resume=folder, progress=Stopping(7), **grids)
    assert list(folder.iterdir())
    resumed = loss_surface(problem, params, resume=folder, **grids)
    whole = loss_surface(problem, params, **grids)
    np.testing.assert_array_equal(resumed.planes, whole.planes)
    np.testing.assert_array_equal(resumed.standard_error, whole.standard_error)
    assert resumed.stats["evaluations"] < whole.stats["evaluations"]
    assert not folder.exists()


def test_pieces_of_another_computation_are_refused(tmp_path: Path) -> None:
    problem, folder = _problem(), tmp_path / "kept"
    with pytest.raises(Stopped):
        loss_surface(problem, _params(0), x=(-1, 1, 4), resume=folder, progress=Stopping(3))
    with pytest.raises(CheckpointError, match="another computation"):
        loss_surface(problem, _params(1), x=(-1, 1, 4), resume=folder)
    assert list(folder.iterdir())


def test_results_come_back_from_disk(tmp_path: Path) -> None:
    problem, params = _problem(), _params(0)
    surface = loss_surface(problem, params, x=(-1, 1, 3), y=(-1, 1, 3))
    line = loss_line(problem, params, x=(-1, 1, 3))
    for result in (surface, line):
        result.save(tmp_path / f"{result.kind}.h5")
        again = load_result(tmp_path / f"{result.kind}.h5")
        assert again.to_dict() == result.to_dict()
        assert str(again) == str(result)


def test_a_plane_of_files_is_stored_and_drawn_by_names_relative_to_it(tmp_path: Path) -> None:
    from landscape.plots import page_of

    (tmp_path / "b").mkdir()
    paths = [tmp_path / "net.h5", tmp_path / "b" / "net.h5", tmp_path / "third.h5"]
    for path, seed in zip(paths, range(3), strict=True):
        save(path, Checkpoint(params=_params(seed)))
    surface = loss_surface(_problem(), paths, directions="checkpoints", x=(-1, 1, 3), y=(-1, 1, 3))
    surface.save(tmp_path / "plane.h5")
    stored = load_result(tmp_path / "plane.h5")
    assert stored.origin == "net.h5"
    assert set(stored.anchors) == {"net.h5", "b/net.h5", "third.h5"}
    assert str(tmp_path) not in stored.to_json()
    assert "third" in page_of(stored).html()


@pytest.mark.faults
def test_row_13_a_loss_that_overflows_on_a_part_is_marked() -> None:
    def loss(params: Any, batch: Any) -> Any:
        import jax.numpy as jnp

        return jnp.exp(params["w"].sum() * 100) + 0 * batch

    line = loss_line(Problem(loss, train=np.zeros(3, np.float32)), W, directions=_unit(0), x=(-1, 1, 3))
    assert line.status == "incomplete"
    assert line.non_finite == 1


@pytest.mark.faults
def test_directions_that_span_nothing_are_refused(tmp_path: Path) -> None:
    problem, a, b = _problem(), _params(0), _params(1)
    zero = {"w": np.zeros((2, 2), np.float32)}
    with pytest.raises(InputError, match="no length"):
        loss_line(_quadratic(), W, directions=zero)
    with pytest.raises(InputError, match="no length"):
        loss_line(_quadratic(), W)  # every filter is zero
    with pytest.raises(InputError, match="on a line"):
        loss_surface(_quadratic(), W, directions=[_unit(0), _unit(0)])
    with pytest.raises(InputError, match="same network"):
        loss_surface(problem, [a, a, b], directions="checkpoints")
    import jax

    middle = jax.tree.map(lambda x, y: (x + y) / 2, a, b)
    with pytest.raises(InputError, match="on a line"):
        loss_surface(problem, [a, b, middle], directions="checkpoints")
    with pytest.raises(ConfigurationError, match="three"):
        loss_surface(problem, [a, b], directions="checkpoints")
    path = tmp_path / "a.h5"
    save(path, Checkpoint(params=a))
    with pytest.raises(ConfigurationError, match="takes one checkpoint"):
        loss_surface(problem, [path, path])
    with pytest.raises(ArchitectureMismatchError):
        loss_surface(problem, [a, b, {"other": a}], directions="checkpoints")


@pytest.mark.faults
@pytest.mark.parametrize("grid", [(1, -1, 5), (0, 1, 1), (0, 1, 2.5), (0, np.inf, 3), "wide", (0, 1)])
def test_grids_that_are_none_are_refused(grid: Any) -> None:
    with pytest.raises(ConfigurationError, match="x:"):
        loss_line(_quadratic(), W, directions=_unit(0), x=grid)


@pytest.mark.faults
def test_row_12_weights_that_are_not_finite_are_refused_unless_allowed() -> None:
    params = _params(0)
    params["in"]["bias"] = np.full(4, np.nan, np.float32)
    with pytest.raises(NonFiniteError):
        loss_line(_problem(), params)
    assert loss_line(_problem(), params, x=(-1, 1, 2), allow_nonfinite=True).status == "non-finite"


def test_values_alone_are_enough_where_a_loss_has_no_gradient() -> None:
    import jax
    import jax.numpy as jnp

    def loss(params: Any, batch: Any) -> Any:
        return jax.lax.stop_gradient(jnp.floor(params["w"].sum())) + 0 * batch

    line = loss_line(Problem(loss, train=np.zeros(3, np.float32)), W, directions=_unit(0), x=(0, 2, 3))
    assert line.losses["train"]["loss"].tolist() == [[0.0, 1.0, 2.0]]
