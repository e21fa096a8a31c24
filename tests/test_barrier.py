"""Barriers between networks: closed forms, a dense oracle, both definitions, storage."""

from __future__ import annotations

import dataclasses
import functools
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from landscape import Barrier, Checkpoint, Metric, Problem, load_result, loss_barrier, save

RNG = np.random.default_rng(0)
X = RNG.normal(size=(61, 5)).astype(np.float32)
Y = RNG.integers(0, 3, size=61)


def logits(params: Any, inputs: Any) -> Any:
    return jnp.tanh(inputs @ params["hidden"]["kernel"] + params["hidden"]["bias"]) @ params["out"]["kernel"]


def cross_entropy(params: Any, batch: Any) -> jax.Array:
    inputs, labels = batch
    return -jnp.take_along_axis(jax.nn.log_softmax(logits(params, inputs)), labels[:, None], 1)[:, 0]


def accuracy(params: Any, batch: Any) -> jax.Array:
    return logits(params, batch[0]).argmax(axis=1) == batch[1]


def network(seed: int) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    shapes = {"hidden": {"kernel": (5, 8), "bias": (8,)}, "out": {"kernel": (8, 3)}}
    return {
        layer: {name: rng.normal(size=shape).astype(np.float32) for name, shape in leaves.items()}
        for layer, leaves in shapes.items()
    }


def permuted(params: Any) -> dict[str, Any]:
    """The same function with its hidden units in another order."""
    order = np.roll(np.arange(8), 3)
    hidden = {"kernel": params["hidden"]["kernel"][:, order], "bias": params["hidden"]["bias"][order]}
    return {"hidden": hidden, "out": {"kernel": params["out"]["kernel"][order]}}


@functools.cache
def classify() -> Problem:
    return Problem(
        cross_entropy,
        train=(X, Y),
        test=(X[:20], Y[:20]),
        metrics={"accuracy": Metric(accuracy, higher_is_better=True)},
    )


def well(params: Any, batch: Any) -> jax.Array:
    return (params["w"] ** 2 - 1) ** 2 + 0 * batch


def dense_losses(a: Any, b: Any, alphas: np.ndarray) -> np.ndarray:
    """Mean losses on the path, by NumPy in float64."""
    means = []
    for alpha in alphas:
        p = jax.tree.map(lambda x, y, t=alpha: x.astype(np.float64) + t * (y.astype(np.float64) - x), a, b)
        z = np.tanh(X.astype(np.float64) @ p["hidden"]["kernel"] + p["hidden"]["bias"]) @ p["out"]["kernel"]
        z -= z.max(axis=1, keepdims=True)
        means.append(np.mean(np.log(np.exp(z).sum(axis=1)) - z[np.arange(len(Y)), Y]))
    return np.array(means)


@pytest.fixture(scope="module")
def barrier() -> Barrier:
    a = network(0)
    return loss_barrier(classify(), a, permuted(a))


def test_barrier_of_a_double_well_is_its_height_half_way() -> None:
    problem = Problem(well, train=np.zeros(4, np.float32))
    found = loss_barrier(problem, {"w": np.float32(-1)}, {"w": np.float32(1)})
    assert (found.barrier_above_chord, found.barrier_above_mean) == (1.0, 1.0)
    assert found.alpha_max == {"above_chord": 0.5, "above_mean": 0.5}
    assert found.status == "ok"


def test_barrier_above_the_chord_is_exactly_zero_on_a_convex_loss() -> None:
    def loss(params: Any, batch: Any) -> jax.Array:
        return 0.5 * ((params - batch) ** 2).sum(axis=1)

    found = loss_barrier(Problem(loss, train=X), np.zeros(5, np.float32), np.full(5, 3, np.float32))
    assert found.barrier_above_chord == 0.0
    assert found.interval_above_chord == (0.0, 0.0)
    losses = found.losses["train"]["loss"]
    assert found.barrier_above_mean == losses[-1] - (0.5 * losses[0] + 0.5 * losses[-1]) > 0
    assert found.alpha_max["above_mean"] == 1.0


def test_deep_linear_networks_of_opposite_signs_have_the_known_barrier() -> None:
    def loss(params: Any, batch: Any) -> jax.Array:
        return 0.5 * (params["u"] * params["v"] * batch - batch) ** 2

    ones, minus = ({"u": np.float32(s), "v": np.float32(s)} for s in (1, -1))
    data = np.array([1.0, 2.0, 3.0], np.float32)
    found = loss_barrier(Problem(loss, train=data), ones, minus)
    assert found.barrier_above_chord == pytest.approx(0.5 * np.mean(data**2))  # the zero network half way


def test_losses_match_a_dense_float64_recomputation(barrier: Barrier) -> None:
    expected = dense_losses(network(0), permuted(network(0)), barrier.alphas)
    np.testing.assert_allclose(barrier.losses["train"]["loss"], expected, rtol=2e-6)
    assert barrier.barrier_above_chord is not None
    assert barrier.barrier_above_chord > 0.05
    assert barrier.barrier_above_chord == pytest.approx(np.max(expected) - expected[0], rel=1e-4)


def test_float64_agrees_with_the_dense_recomputation_to_rounding_and_stays_local() -> None:
    a, b = network(0), network(1)
    found = loss_barrier(classify(), a, b, dtype="float64", num_points=7, refine=False)
    np.testing.assert_allclose(found.losses["train"]["loss"], dense_losses(a, b, found.alphas), rtol=1e-13)
    assert jnp.ones(1).dtype == jnp.float32
    assert found.provenance["dtype"] == "float64"


@pytest.mark.parametrize("dtype", [None, "float64"])
@pytest.mark.parametrize("batch_size", [None, 7])
def test_endpoints_losses_are_bitwise_those_of_evaluate(dtype: str | None, batch_size: int | None) -> None:
    problem, ends = classify(), (network(0), network(1))
    found = loss_barrier(problem, *ends, num_points=3, dtype=dtype, batch_size=batch_size, refine=False)
    for split in ("train", "test"):
        for end, params in zip((0, -1), ends, strict=True):
            exact = problem.evaluate(params, split, batch_size=batch_size, dtype=dtype)
            assert {key: values[end] for key, values in found.losses[split].items()} == exact


def test_points_are_exactly_the_networks_at_both_ends_and_zero_where_both_are_pruned() -> None:
    from landscape.connectivity.line import Line

    a, b = (RNG.normal(size=1000).astype(np.float32) * scale for scale in (1e-6, 1e6))
    a[::3] = b[::3] = 0
    line = Line({"w": a}, {"w": b}, None)
    np.testing.assert_array_equal(line(0.0)["w"], a)
    np.testing.assert_array_equal(line(1.0)["w"], b)
    middle = np.asarray(line(0.25)["w"])
    assert not middle[::3].any()
    np.testing.assert_allclose(middle, a + 0.25 * (b.astype(np.float64) - a), rtol=1e-6)


def test_half_precision_weights_move_without_a_staircase() -> None:
    from landscape.connectivity.line import Line

    line = Line({"w": jnp.ones(1, jnp.bfloat16)}, {"w": jnp.full(1, 3, jnp.bfloat16)}, None)
    assert line(1 / 3)["w"].dtype == jnp.bfloat16
    assert float(line(1 / 3)["w"][0]) == float(jnp.bfloat16(5 / 3))


def test_metrics_of_which_more_is_better_give_positive_barriers_where_the_path_is_worse(
    barrier: Barrier,
) -> None:
    for split in ("train", "test"):
        error = 1 - barrier.losses[split]["accuracy"]
        expected = error.max() - (error[0] + error[-1]) / 2
        assert barrier.barriers[split]["accuracy"]["above_mean"] == pytest.approx(expected)
    assert barrier.barriers["train"]["loss"]["above_chord"] == barrier.barrier_above_chord


def test_both_definitions_differ_by_the_endpoints() -> None:
    found = loss_barrier(classify(), network(0), network(1), split="test")
    losses = found.losses["test"]["loss"]
    chord = (1 - found.alphas) * losses[0] + found.alphas * losses[-1]
    assert found.barrier_above_chord == pytest.approx(np.max(losses - chord))
    assert found.barrier_above_mean == pytest.approx(losses.max() - (losses[0] + losses[-1]) / 2)
    assert found.barrier_above_chord != found.barrier_above_mean


def test_refinement_finds_a_maximum_between_grid_points_and_stays_apart() -> None:
    problem = Problem(well, train=np.zeros(4, np.float32))
    found = loss_barrier(problem, {"w": np.float32(-1)}, {"w": np.float32(1)}, num_points=4)
    assert found.barrier_above_chord == pytest.approx((1 - 1 / 9) ** 2)
    assert len(found.alphas) == len(found.losses["train"]["loss"]) == 4
    assert found.barrier_refined is not None
    assert found.barrier_refined["above_chord"] == pytest.approx(1, abs=1e-3)
    assert (np.diff(found.refined_alphas) > 0).all()
    assert len(found.refined_alphas) == len(found.refined_losses) <= 16


@pytest.mark.parametrize("ends", [(0, 1), (2, 3), (4, 5)])
def test_refined_barrier_is_never_below_the_grids(ends: tuple[int, int]) -> None:
    found = loss_barrier(classify(), network(ends[0]), network(ends[1]), num_points=5)
    assert found.barrier_refined is not None
    assert found.barrier_refined["above_chord"] >= (found.barrier_above_chord or 0)
    assert found.barrier_refined["above_mean"] >= (found.barrier_above_mean or 0)


def test_reversing_the_path_mirrors_everything() -> None:
    problem = classify()
    there, back = (
        loss_barrier(problem, a, b, dtype="float64", refine=False)
        for a, b in ((network(0), network(1)), (network(1), network(0)))
    )
    np.testing.assert_allclose(there.losses["test"]["loss"], back.losses["test"]["loss"][::-1], rtol=1e-12)
    assert there.barrier_above_chord == pytest.approx(back.barrier_above_chord, abs=1e-12)


def test_only_the_chosen_splits_are_evaluated() -> None:
    found = loss_barrier(classify(), network(0), network(1), split="test", splits=[], refine=False)
    assert set(found.losses) == {"test"}
    assert found.stats["evaluations"] == 25


@pytest.mark.parametrize("refine", [True, False])
def test_a_stored_barrier_loads_equal_and_prints_the_same(tmp_path: Path, refine: bool) -> None:
    found = loss_barrier(classify(), network(0), network(1), refine=refine, num_points=5)
    loaded = load_result(found.save(tmp_path / "barrier.h5"))
    assert loaded == found
    assert str(loaded) == str(found)
    assert loaded.to_dict() == found.to_dict()
    assert dataclasses.replace(found, barrier_above_chord=9.0) != found


def test_a_stored_barrier_loads_without_jax(tmp_path: Path, barrier: Barrier) -> None:
    path = barrier.save(tmp_path / "barrier.h5")
    code = (
        f"import landscape, sys; print(landscape.load_result({str(path)!r})); assert 'jax' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == f"{barrier}\n"


def test_printed_form_names_both_definitions_in_a_dozen_lines(barrier: Barrier) -> None:
    text = str(barrier)
    assert len(text.splitlines()) <= 12
    assert len(repr(barrier).splitlines()) <= 13
    for part in ("above chord", "above mean", "95 % interval", "α = 0", "train", "25 points", "lower bound"):
        assert part in text


def test_checkpoints_files_and_plain_trees_give_the_same_numbers(tmp_path: Path, barrier: Barrier) -> None:
    a = network(0)
    paths = [
        save(tmp_path / name, Checkpoint(params=params))
        for name, params in (("a.h5", a), ("b.h5", permuted(a)))
    ]
    found = loss_barrier(classify(), paths[0], str(paths[1]))
    np.testing.assert_array_equal(found.losses["train"]["loss"], barrier.losses["train"]["loss"])
    assert found.endpoints == (str(paths[0]), str(paths[1]))
    assert found.provenance["digests"] == barrier.provenance["digests"]
    assert found.config["checkpoints"] == [str(path) for path in paths]


class Pair(NamedTuple):
    u: Any
    v: Any


def test_a_checkpoint_takes_the_containers_of_the_callers_tree(tmp_path: Path) -> None:
    def loss(params: Pair, batch: Any) -> jax.Array:
        return (params.u * batch - params.v) ** 2

    stored = save(tmp_path / "a.h5", Checkpoint(params=Pair(np.ones(1, np.float32), np.ones(1, np.float32))))
    other = Pair(np.zeros(1, np.float32), np.ones(1, np.float32))
    found = loss_barrier(Problem(loss, train=X[:, 0]), stored, other)
    assert found.losses["train"]["loss"][-1] == 1.0


def test_networks_of_different_masks_join_and_both_densities_are_shown() -> None:
    def sparse(seed: int, keep: float) -> Checkpoint:
        params = network(seed)
        rng = np.random.default_rng(seed)
        mask = jax.tree.map(
            lambda x: rng.random(x.shape) < keep if x.ndim > 1 else np.ones(x.shape, bool), params
        )
        return Checkpoint(params=jax.tree.map(np.multiply, params, mask), mask=mask)

    a, b = sparse(0, 0.5), sparse(1, 0.2)
    found = loss_barrier(classify(), a, b)
    assert found.densities == (a.density, b.density)
    assert f"{a.density:.4g} and {b.density:.4g}" in str(found)
    assert loss_barrier(classify(), a, network(1)).densities == (a.density, 1.0)


def test_provenance_and_statistics_say_what_was_measured(barrier: Barrier) -> None:
    assert barrier.provenance["seed"] == 0
    assert barrier.provenance["dtype"] == "float32"
    assert set(barrier.provenance["versions"]) >= {"landscape", "jax", "numpy", "python"}
    assert set(barrier.provenance["digests"]["data"]) == {"train", "test"}
    assert barrier.provenance["digests"]["a"] == Checkpoint(params=network(0)).digest
    assert barrier.stats["evaluations"] == 2 * 25 + len(barrier.refined_alphas)
    assert barrier.stats["examples"] == 25 * (61 + 20) + 61 * len(barrier.refined_alphas)
    assert set(barrier.stats["seconds"]) == {"compile", "run", "resampling"}
    assert barrier.config["splits"] == ["train", "test"]


class Recorder:
    def __init__(self) -> None:
        self.calls: list[str] = []
        self.steps = 0

    def start(self, label: str, total: int | None = None) -> None:
        self.calls.append(label)

    def advance(self, n: int = 1, **fields: float | str) -> None:
        assert set(fields) == {"loss"}
        self.steps += n

    def note(self, text: str) -> None:
        self.calls.append(text)

    def stop(self) -> None:
        self.calls.append("stop")


def test_progress_hears_of_every_point_and_of_the_end() -> None:
    progress = Recorder()
    loss_barrier(classify(), network(0), network(1), num_points=5, progress=progress)
    assert progress.calls[0].startswith("barrier, about ")  # the estimate stands with the bar
    assert progress.calls[1:] == ["compiling", "stop"]
    assert progress.steps == 5 + 16


# A normalised model: one layer whose inputs are standardised with stored statistics.


def normalised(variables: Any, batch: Any) -> jax.Array:
    params, stats = variables
    hidden = (batch[0] @ params["w"] - stats["mean"]) / jnp.sqrt(stats["var"] + 1e-5)
    return 0.5 * (hidden.sum(axis=1) - batch[1]) ** 2


def statistics(variables: Any, batch: Any) -> Any:
    hidden = batch[0] @ variables[0]["w"]
    return {"mean": hidden.mean(axis=0), "var": hidden.var(axis=0)}


@pytest.fixture
def standardised() -> tuple[Problem, list[Checkpoint]]:
    data = (X, Y.astype(np.float32))
    ends = []
    for seed in (0, 1):
        params = {"w": np.random.default_rng(seed).normal(size=(5, 2)).astype(np.float32)}
        stats = statistics((params, None), data)
        ends.append(Checkpoint(params=params, batch_stats=jax.tree.map(np.asarray, stats)))
    return Problem(normalised, train=data, update_stats=statistics), ends


@pytest.mark.faults
def test_batch_statistics_are_recomputed_at_every_point_and_recorded(
    standardised: tuple[Problem, list[Checkpoint]],
) -> None:
    """Fault 15."""
    problem, (a, b) = standardised
    found = loss_barrier(problem, a, b, num_points=3, refine=False)
    assert found.config["batch_stats"] == "recompute"
    middle = {"w": (a.params["w"] + b.params["w"]) / 2}
    stats = statistics((middle, None), (X, None))
    expected = float(jnp.mean(normalised((middle, stats), (X, Y))))
    assert found.losses["train"]["loss"][1] == pytest.approx(expected, rel=1e-5)
    np.testing.assert_allclose(
        found.stats["endpoint_losses_with_stored_statistics"],
        found.losses["train"]["loss"][[0, 2]],
        rtol=1e-5,
    )


@pytest.mark.faults
def test_stored_batch_statistics_are_interpolated_on_request(
    standardised: tuple[Problem, list[Checkpoint]],
) -> None:
    """Fault 15."""
    problem, (a, b) = standardised
    found = loss_barrier(problem, a, b, num_points=3, refine=False, batch_stats="keep")
    assert found.config["batch_stats"] == "keep"
    middle = jax.tree.map(lambda x, y: (x + y) / 2, (a.params, a.batch_stats), (b.params, b.batch_stats))
    expected = float(jnp.mean(normalised(middle, (X, Y))))
    assert found.losses["train"]["loss"][1] == pytest.approx(expected, rel=1e-5)
    assert found.losses["train"]["loss"][0] == problem.evaluate((a.params, a.batch_stats))["loss"]


def test_plain_pairs_of_parameters_and_statistics_are_understood(
    standardised: tuple[Problem, list[Checkpoint]],
) -> None:
    problem, ends = standardised
    plain = [(end.params, end.batch_stats) for end in ends]
    found, expected = loss_barrier(problem, *plain), loss_barrier(problem, *ends)
    np.testing.assert_array_equal(found.losses["train"]["loss"], expected.losses["train"]["loss"])
