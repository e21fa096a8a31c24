"""Bad input and faults on the way from one network to another, and what is promised for each."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from landscape import Checkpoint, Metric, Problem, Stream, load_result, loss_barrier, save
from landscape.errors import (
    ArchitectureMismatchError,
    CheckpointError,
    ConfigurationError,
    DeviceMemoryError,
    InputError,
    NonFiniteError,
    ProblemError,
)
from landscape.problem import problem_for

X = np.random.default_rng(0).normal(size=(23, 4)).astype(np.float32)
A = {"w": np.array([1, 0, -1, 2], np.float32), "b": np.float32(0.5)}
B = {"w": np.array([-1, 2, 1, 0], np.float32), "b": np.float32(-0.5)}


def loss(params: Any, batch: Any) -> jax.Array:
    return ((jnp.tanh(batch @ params["w"]) + params["b"]) ** 2 - 1) ** 2


def positive(params: Any, batch: Any) -> jax.Array:
    return batch @ params["w"] > 0


def make(**options: Any) -> Problem:
    metrics = {"positive": Metric(positive, higher_is_better=True)}
    return Problem(loss, train=X, test=X[:5], metrics=metrics, **options)


def refuse_to_evaluate(*_: Any, **__: Any) -> Any:
    raise AssertionError("evaluated before the input was checked")


@pytest.fixture
def unevaluated(monkeypatch: pytest.MonkeyPatch) -> Problem:
    problem = make()
    monkeypatch.setattr(problem, "per_example", refuse_to_evaluate)
    return problem


@pytest.mark.faults
def test_different_architectures_are_refused_with_three_paths_and_a_count(unevaluated: Problem) -> None:
    """Fault 10."""
    a = {f"layer{i}": np.zeros((2, 3), np.float32) for i in range(5)}
    b = {f"layer{i}": np.zeros((3, 2), np.float32) for i in range(5)}
    with pytest.raises(ArchitectureMismatchError) as caught:
        loss_barrier(unevaluated, a, b, names=("old.h5", "new.h5"))
    text = str(caught.value)
    assert "old.h5 and new.h5" in text
    assert "5 paths differ" in text
    assert "layer2: (2, 3) against (3, 2) and 2 more" in text
    assert "layer3" not in text


@pytest.mark.faults
def test_equal_shapes_under_other_names_are_never_matched_by_position(unevaluated: Problem) -> None:
    """Fault 10."""
    with pytest.raises(ArchitectureMismatchError, match=r"v: absent against \(4,\)"):
        loss_barrier(unevaluated, {"w": A["w"]}, {"v": A["w"]})


@pytest.mark.faults
def test_one_network_with_batch_statistics_and_one_without_are_refused(unevaluated: Problem) -> None:
    """Fault 10."""
    with pytest.raises(ArchitectureMismatchError, match="statistics of a"):
        loss_barrier(
            unevaluated, Checkpoint(params=A, batch_stats={"mean": np.zeros(2)}), Checkpoint(params=B)
        )


@pytest.mark.faults
@pytest.mark.parametrize("dtype", [None, "float64"])
def test_barrier_is_exactly_zero_between_identical_networks(dtype: str | None, tmp_path: Path) -> None:
    """Fault 11: one point is evaluated, and the result says why."""
    copy = {key: np.array(value) for key, value in A.items()}
    found = loss_barrier(make(), A, copy, dtype=dtype)
    assert found.identical
    assert found.barrier_above_chord == found.barrier_above_mean == 0.0
    assert found.interval_above_chord == found.interval_above_mean == (0.0, 0.0)
    assert found.barrier_refined == {"above_chord": 0.0, "above_mean": 0.0}
    assert set(found.losses["test"]["loss"]) == {make().evaluate(A, "test", dtype=dtype)["loss"]}
    assert len(found.losses["test"]["loss"]) == 25
    assert found.stats["evaluations"] == 2
    assert "identical" in str(found)
    assert load_result(found.save(tmp_path / "same.h5")) == found


@pytest.mark.faults
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_weights_that_are_not_finite_are_refused_before_compute(unevaluated: Problem, bad: float) -> None:
    """Fault 12."""
    broken = {**B, "w": np.array([1, bad, bad, 0], np.float32)}
    with pytest.raises(NonFiniteError, match=r"b\.h5: 2 weights are NaN or infinite, 2 of them in w"):
        loss_barrier(unevaluated, A, broken, names=("a.h5", "b.h5"))
    stats = Checkpoint(params=A, batch_stats={"mean": np.array([bad])})
    with pytest.raises(NonFiniteError, match="batch statistics"):
        loss_barrier(unevaluated, stats, stats)


@pytest.mark.faults
def test_weights_that_are_not_finite_are_computed_with_on_request(tmp_path: Path) -> None:
    """Fault 12: the status says so, which the command line turns into exit status 4."""
    broken = {**B, "w": np.array([1, np.nan, 0, 0], np.float32)}
    found = loss_barrier(make(), A, broken, allow_nonfinite=True)
    assert found.status == "non-finite"
    assert not found.trustworthy
    assert found.barrier_above_chord is None
    assert np.isfinite(found.losses["train"]["loss"][0])
    assert any("1 weight is NaN" in warning for warning in found.warnings)
    same = loss_barrier(make(), broken, broken, allow_nonfinite=True)
    assert same.identical
    assert same.status == "non-finite"
    assert load_result(found.save(tmp_path / "broken.h5")) == found


def overflowing(params: Any, batch: Any) -> jax.Array:
    """Overflow to infinity in the middle of the path from −1 to 1 only."""
    return jnp.exp(150 * (1 - params["w"] ** 2)) + 0 * batch


@pytest.mark.faults
def test_a_loss_that_overflows_on_part_of_the_path_is_marked_there(tmp_path: Path) -> None:
    """Fault 13: every point is evaluated; the barriers of the loss and of all metrics are null."""
    problem = Problem(
        overflowing,
        train=X[:, 0],
        metrics={"wrong": lambda params, batch: (jnp.abs(params["w"]) < 0.25) + 0 * batch},
    )
    found = loss_barrier(problem, {"w": np.float32(-1)}, {"w": np.float32(1)}, num_points=9)
    assert found.status == "incomplete"
    assert found.non_finite.tolist() == [0.25, 0.375, 0.5, 0.625, 0.75]
    assert found.barrier_above_chord is found.barrier_above_mean is found.interval_above_chord is None
    assert found.band is found.barrier_refined is found.alpha_max["above_mean"] is None
    assert found.barriers["train"]["loss"] == {"above_chord": None, "above_mean": None}
    assert found.barriers["train"]["wrong"] == {"above_chord": None, "above_mean": None}
    assert np.isfinite(found.losses["train"]["loss"]).sum() == 4
    assert "not available" in str(found)
    assert found.to_dict()["data"]["losses"]["train"]["loss"][4] is None
    assert load_result(found.save(tmp_path / "part.h5")) == found


@pytest.mark.faults
def test_an_overflow_between_grid_points_keeps_the_grids_barrier() -> None:
    """Fault 13: the refinement alone is null."""

    def spike(params: Any, batch: Any) -> jax.Array:
        near = jnp.abs(params["w"]) < 0.05
        return jnp.where(near, jnp.inf, 1 - params["w"] ** 2) + 0 * batch

    ends = ({"w": np.float32(-1)}, {"w": np.float32(1)})
    found = loss_barrier(Problem(spike, train=X[:, 0]), *ends, num_points=4)
    assert found.status == "incomplete"
    assert found.barrier_above_chord == pytest.approx(8 / 9)
    assert found.barrier_refined is None
    assert len(found.non_finite) >= 1


@pytest.mark.faults
def test_a_single_example_gives_a_barrier_without_an_interval(tmp_path: Path) -> None:
    """Fault 19."""
    found = loss_barrier(Problem(loss, train=X[:1]), A, B, batch_size=64)
    assert found.barrier_above_chord is not None
    assert found.interval_above_chord is found.band is found.bias_above_mean is None
    assert found.status == "ok"
    assert found.warnings == ("train has a single example: no interval",)
    assert load_result(found.save(tmp_path / "one.h5")) == found


@pytest.mark.faults
@pytest.mark.parametrize("batch_size", [1, 4, 22, 23, 100])
def test_ragged_and_oversized_batches_give_the_same_exact_means(batch_size: int) -> None:
    """Fault 19."""
    found = loss_barrier(make(), A, B, batch_size=batch_size, num_points=5, refine=False, dtype="float64")
    alphas = found.alphas[:, None]
    w, b = A["w"] + alphas * (B["w"] - A["w"]), 0.5 - alphas
    expected = ((np.tanh(w @ X.T.astype(np.float64)) + b) ** 2 - 1) ** 2
    np.testing.assert_allclose(found.losses["train"]["loss"], expected.mean(axis=1), rtol=1e-12)


@pytest.mark.faults
def test_a_stream_of_uneven_batches_is_evaluated_exactly() -> None:
    """Fault 19."""
    problem = Problem(loss, train=Stream([X[:10], X[10:11], X[11:]]))
    found = loss_barrier(problem, A, B, num_points=5, refine=False)
    expected = loss_barrier(make(), A, B, num_points=5, refine=False)
    np.testing.assert_allclose(found.losses["train"]["loss"], expected.losses["train"]["loss"], rtol=1e-6)


@pytest.mark.faults
@pytest.mark.parametrize("place", ["evaluation", "point"])
def test_running_out_of_memory_names_the_batch_size_and_half_of_it(
    monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    """Fault 21."""
    problem = make()

    def exhausted(*_: Any, **__: Any) -> Any:
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 1 byte")

    if place == "evaluation":
        monkeypatch.setattr(problem, "_gathered", exhausted)
    else:
        monkeypatch.setattr("landscape.connectivity.line._between", exhausted)
    with pytest.raises(DeviceMemoryError, match=r"20 examples[\s\S]*--batch-size 10"):
        loss_barrier(problem, A, B, batch_size=20)


@pytest.mark.faults
def test_statistics_that_cannot_be_recomputed_are_refused_with_the_way_out(unevaluated: Problem) -> None:
    """Fault 15."""
    stats = Checkpoint(params=A, batch_stats={"mean": np.zeros(2, np.float32)})
    other = Checkpoint(params=B, batch_stats={"mean": np.ones(2, np.float32)})
    with pytest.raises(ProblemError, match="batch_stats='keep'"):
        loss_barrier(unevaluated, stats, other)


@pytest.mark.faults
def test_a_random_loss_is_refused() -> None:
    """Fault 16."""
    rng = np.random.default_rng(0)
    problem = Problem(lambda params, batch: batch @ params["w"] + rng.normal(), train=X)
    with pytest.raises(ProblemError, match="two evaluations"):
        loss_barrier(problem, A, B)


def test_whole_numbers_that_differ_are_refused_by_path(unevaluated: Problem) -> None:
    a, b = {**A, "steps": np.int32(3)}, {**B, "steps": np.int32(4)}
    with pytest.raises(InputError, match="steps: whole numbers differ"):
        loss_barrier(unevaluated, a, b)


def test_whole_numbers_that_agree_pass_unchanged() -> None:
    def counted(params: Any, batch: Any) -> jax.Array:
        return loss(params, batch) * params["steps"]

    a, b = {**A, "steps": np.int32(3)}, {**B, "steps": np.int32(3)}
    found = loss_barrier(Problem(counted, train=X), a, b)
    expected = loss_barrier(make(), A, B)
    assert found.barrier_above_chord == pytest.approx(3 * (expected.barrier_above_chord or 0), rel=1e-5)


@pytest.mark.parametrize("params", [{}, {"w": "weights"}], ids=["empty", "text"])
def test_trees_without_numbers_are_refused(unevaluated: Problem, params: Any) -> None:
    with pytest.raises(InputError):
        loss_barrier(unevaluated, params, params)


@pytest.mark.parametrize(
    "options",
    [
        {"num_points": 2},
        {"num_points": 2.5},
        {"num_points": True},
        {"seed": -1},
        {"seed": 2**32},
        {"dtype": "float8"},
        {"batch_stats": "average"},
        {"num_resamples": 0},
        {"confidence": 1.0},
        {"batch_size": 0},
    ],
    ids=str,
)
def test_settings_that_cannot_be_meant_are_refused(unevaluated: Problem, options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        loss_barrier(unevaluated, A, B, **options)


@pytest.mark.parametrize("options", [{"split": "validation"}, {"splits": ["train", "tset"]}])
def test_a_split_without_data_is_refused(unevaluated: Problem, options: dict[str, Any]) -> None:
    with pytest.raises(ProblemError, match="no such data"):
        loss_barrier(unevaluated, A, B, **options)


def test_no_problem_and_no_checkpoint_is_refused() -> None:
    with pytest.raises(InputError, match="bare parameters name no task"):
        loss_barrier(None, A, B)


def test_a_checkpoint_that_names_no_task_is_refused() -> None:
    with pytest.raises(InputError, match="names no task"):
        loss_barrier(None, Checkpoint(params=A), Checkpoint(params=B))


def test_the_task_is_that_of_the_first_network_that_names_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "landscape.problem.tasks.problem_of", lambda checkpoint: checkpoint.info["task"]["name"]
    )
    infos: list[dict[str, Any]] = [{}, {"task": {"name": "one"}}, {"task": {"name": "two"}}]
    bare, first, second = (Checkpoint(params=A, info=info) for info in infos)
    assert problem_for(None, bare, first, second) == "one"
    assert problem_for(None, A, second, first) == "two"
    given = make()
    assert problem_for(given, first) is given


def test_a_missing_file_is_refused(unevaluated: Problem, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError):
        loss_barrier(unevaluated, A, tmp_path / "missing.h5")


def test_different_tasks_and_lost_layers_are_warned_of(tmp_path: Path) -> None:
    mask = {"w": np.zeros(4, bool), "b": np.array(True)}
    ticket = Checkpoint(params={**B, "w": np.zeros(4, np.float32)}, mask=mask, info={"task": {"name": "one"}})
    save(tmp_path / "ticket.h5", ticket)
    found = loss_barrier(make(), Checkpoint(params=A, info={"task": {"name": "two"}}), tmp_path / "ticket.h5")
    assert any("different tasks" in warning for warning in found.warnings)
    assert any("nothing is left of w" in warning for warning in found.warnings)
    assert found.status == "ok"


def test_few_resamples_are_warned_of() -> None:
    found = loss_barrier(make(), A, B, num_resamples=50, refine=False)
    assert found.warnings == ("only 50 resamples: the interval's ends are uncertain",)


def test_progress_is_stopped_when_an_evaluation_fails() -> None:
    class Stopped:
        starts = stops = 0

        def start(self, label: str, total: int | None = None) -> None:
            self.starts += 1

        def advance(self, n: int = 1, **fields: float | str) -> None: ...

        def note(self, text: str) -> None: ...

        def stop(self) -> None:
            self.stops += 1

    progress = Stopped()
    problem = Problem(
        lambda params, batch: params["w"][0] * batch[:, 0], train=np.ones((4, 2)), test=np.ones(4)
    )
    with pytest.raises(ProblemError, match="IndexError"):  # on the test split, which nothing reads before
        loss_barrier(problem, A, B, progress=progress)
    assert progress.starts == progress.stops == 1


def test_infinities_of_both_signs_raise_no_numpy_warning() -> None:
    def diverging(params: Any, batch: Any) -> jax.Array:
        return jnp.where(batch > 0, jnp.inf, -jnp.inf) * jnp.where(jnp.abs(params["w"]) < 0.5, 1.0, 0.0) * 1.0

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = loss_barrier(
            Problem(diverging, train=X[:, 0]), {"w": np.float32(0)}, {"w": np.float32(0.25)}, num_points=3
        )
    assert found.status == "incomplete"
