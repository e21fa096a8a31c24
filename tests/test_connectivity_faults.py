"""Rows of the table of faults for every analysis between networks: curve, plane, matrix, trajectory."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from landscape import (
    Checkpoint,
    Problem,
    barrier_matrix,
    connect,
    load_result,
    loss_line,
    loss_surface,
    trajectory,
)
from landscape.errors import (
    ArchitectureMismatchError,
    DeviceMemoryError,
    InputError,
    MaskError,
    NonFiniteError,
    ProblemError,
)
from landscape.plots import page_of
from landscape.results import Result

pytestmark = pytest.mark.faults

X = np.random.default_rng(0).normal(size=(23, 4)).astype(np.float32)
RANGE = (-0.5, 1.5, 3)


def bounded(params: Any, batch: Any) -> jax.Array:
    return ((jnp.tanh(batch @ params["w"]) + params["b"]) ** 2 - 1) ** 2


def network(seed: int) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    return {"w": rng.normal(size=4).astype(np.float32), "b": np.float32(rng.normal())}


def curve_of(problem: Problem, networks: Sequence[Any], **more: Any) -> Result:
    a, b, *_ = networks
    names = more.pop("names", None)
    short: dict[str, Any] = {"steps": 3, "num_points": 3, "num_resamples": 20, "train_batch_size": 8}
    return connect(problem, a, b, **short, names=names and tuple(names[:2]), **more)


def plane_of(problem: Problem, networks: Sequence[Any], **more: Any) -> Result:
    return loss_surface(problem, list(networks), directions="checkpoints", x=RANGE, y=RANGE, **more)


def line_of(problem: Problem, networks: Sequence[Any], **more: Any) -> Result:
    if more.get("names"):
        more["names"] = more["names"][:2]
    return loss_line(problem, list(networks[:2]), directions="checkpoints", x=RANGE, **more)


def matrix_of(problem: Problem, networks: Sequence[Any], **more: Any) -> Result:
    return barrier_matrix(problem, networks, num_points=3, num_resamples=20, **more)


def paths_of(problem: Problem, networks: Sequence[Any], **more: Any) -> Result:
    return trajectory(problem, networks, x=RANGE, y=RANGE, **more)


Analysis = Callable[..., Result]
ANALYSES: dict[str, Analysis] = {
    "curve": curve_of,
    "plane": plane_of,
    "line": line_of,
    "matrix": matrix_of,
    "trajectory": paths_of,
}
every = pytest.mark.parametrize("analyse", ANALYSES.values(), ids=ANALYSES)
THREE = [network(0), network(1), network(2)]


def problem_of_data(train: Any = X, **more: Any) -> Problem:
    return Problem(bounded, train=train, **more)


def losses_in(result: Result) -> np.ndarray:
    """All losses on the training split of a result, in one row."""
    found: Any = result
    measured = found.losses["train"]["loss"] if hasattr(found.losses, "keys") else found.surface
    return np.ravel(measured)


@every
def test_row_10_networks_that_do_not_fit_are_refused_with_their_paths(analyse: Analysis) -> None:
    other = {"w": np.zeros(5, np.float32), "c": np.float32(0)}
    with pytest.raises(ArchitectureMismatchError) as caught:
        analyse(problem_of_data(), [network(0), other, network(2)])
    for said in ("3 paths differ", "w: (4,) against (5,)"):
        assert said in str(caught.value)


@every
def test_row_11_equal_networks_have_no_barrier_or_span_nothing(analyse: Analysis) -> None:
    same = [network(0), network(0), network(0)]
    if analyse in (plane_of, line_of, paths_of):
        with pytest.raises(InputError, match=r"same network|fewer than three different"):
            analyse(problem_of_data(), same)
        return
    found: Any = analyse(problem_of_data(), same)
    if analyse is matrix_of:
        assert not found.matrix().any()
        assert found.identical.all()
    else:
        assert found.line_barrier_above_chord == found.line_length == 0.0
        np.testing.assert_array_equal(found.controls[0], found.controls[-1])


@every
def test_row_12_weights_that_are_not_finite_are_refused_by_path_and_count(analyse: Analysis) -> None:
    broken = {**network(1), "w": np.array([1, np.nan, np.inf, 0], np.float32)}
    with pytest.raises(NonFiniteError, match=r"2 weights are NaN or infinite, 2 of them in w"):
        analyse(problem_of_data(), [network(0), broken, network(2)])


def steep(params: Any, batch: Any) -> jax.Array:
    return jnp.exp(1e3 * jnp.maximum(jnp.abs(params["w"].sum()) - 1, 0)) + 0 * batch[:, 0]


@every
def test_row_13_losses_that_overflow_are_marked_and_the_rest_is_measured(analyse: Analysis) -> None:
    far = [{"w": np.array([x, 0, 0, 0], np.float32), "b": np.float32(y)} for x, y in ((0, 0), (3, 0), (0, 1))]
    found = analyse(Problem(steep, train=X), far)
    assert found.status == "incomplete"
    assert not found.trustworthy
    losses = losses_in(found)
    assert np.isfinite(losses).any()
    assert not np.isfinite(losses).all()
    if analyse is curve_of:
        assert found.barrier_above_chord is None  # type: ignore[attr-defined]


@every
@pytest.mark.parametrize(
    ("mask", "said"),
    [
        ({"w": np.ones(3, bool), "b": np.array(True)}, r"w: \(4,\) against \(3,\)"),
        ({"w": np.ones(4, bool)}, "b"),
        ({"w": np.full(4, 0.5), "b": np.array(True)}, "w: values other than 0 and 1"),
        ({"w": np.zeros(4, bool), "b": np.array(True)}, "w"),
    ],
    ids=["shape", "tree", "values", "weights-under-zeros"],
)
def test_row_14_masks_that_do_not_fit_are_refused_by_path(analyse: Analysis, mask: Any, said: str) -> None:
    def ticket() -> Checkpoint:
        return Checkpoint(params=network(1), mask=mask)

    with pytest.raises(MaskError, match=said):
        analyse(problem_of_data(), [network(0), ticket(), network(2)])


def test_row_14_a_layer_of_which_nothing_is_left_is_named(tmp_path: Any) -> None:
    from landscape import save

    mask = {"w": np.zeros(4, bool), "b": np.array(True)}
    paths = []
    for number in range(3):
        tree = {"w": np.zeros(4, np.float32), "b": np.float32(number)}
        paths.append(save(tmp_path / f"{number}.h5", Checkpoint(params=tree, mask=mask)))
    found = matrix_of(problem_of_data(), paths)
    assert any("nothing is left of w" in warning for warning in found.warnings)
    found = curve_of(problem_of_data(), paths)
    assert any("nothing is left of w" in warning for warning in found.warnings)


def shaken(params: Any, batch: Any) -> jax.Array:
    return bounded(params, batch) + random.random()  # noqa: S311  no cryptography: a loss that is not one


def mixing(params: Any, batch: Any) -> jax.Array:
    return bounded(params, batch - batch.mean(0))


@every
@pytest.mark.parametrize("loss", [shaken, mixing])
def test_row_16_losses_that_are_random_or_mix_examples_are_refused(
    analyse: Analysis, loss: Callable[..., Any]
) -> None:
    with pytest.raises(ProblemError):
        analyse(Problem(loss, train=X), THREE)


@every
@pytest.mark.parametrize("batch_size", [5, 100])
def test_row_19_ragged_and_oversized_batches_change_nothing(analyse: Analysis, batch_size: int) -> None:
    whole, cut = (analyse(problem_of_data(), THREE, batch_size=size) for size in (None, batch_size))
    np.testing.assert_allclose(losses_in(cut), losses_in(whole), rtol=2e-6)


@every
def test_row_19_one_example_is_measured_without_an_interval(analyse: Analysis) -> None:
    found: Any = analyse(problem_of_data(X[:1]), THREE)
    assert np.isfinite(losses_in(found)).all()
    if analyse is matrix_of:
        assert np.isnan(found.intervals["above_chord"]).all()
    if analyse is curve_of:
        assert found.interval_above_chord is None


@every
def test_row_21_running_out_of_memory_names_the_batch_size_and_half_of_it(
    analyse: Analysis, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    problem = problem_of_data()

    def exhausted(*_: Any, **__: Any) -> Any:
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 1 byte")

    monkeypatch.setattr(problem, "_gathered", exhausted)
    with pytest.raises(DeviceMemoryError, match=r"20 examples[\s\S]*--batch-size 10"):
        analyse(problem, THREE, batch_size=20, resume=tmp_path / "kept")
    assert not list(tmp_path.rglob("*.h5")) or analyse is curve_of  # a curve keeps its trained bends


@every
def test_row_33_markup_in_names_is_text_in_every_figure(analyse: Analysis, tmp_path: Any) -> None:
    names = ["<script>alert(1)</script>", "a\x1b[31m\u202eb", "c<b>&amp;"]
    found: Any = analyse(problem_of_data(), THREE, names=names)
    found.save(tmp_path / "named.h5")
    again = load_result(tmp_path / "named.h5")
    page_of(found).write(tmp_path / "named.html")
    page = (tmp_path / "named.html").read_text(encoding="utf-8")
    assert "<script>alert(1)" not in page
    assert "\x1b" not in page
    assert str(again) == str(found)
