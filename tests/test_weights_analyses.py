"""Weighted examples in analyses and training, against the weighted mean loss by hand or repeated data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from small_runs import smoke
from weighted_samples import (
    COUNT,
    OTHER,
    PARAMS,
    REAL,
    WHOLE,
    X,
    Y,
    back,
    by_hand,
    features,
    flat,
    in_float64,
    loss,
    network,
    problem,
    repeated,
    third,
)

import landscape
from landscape import Checkpoint, Problem, flax_statistics
from landscape.flatness import MEASURES
from landscape.flatness.features import feature_spreads
from landscape.flatness.neighbourhood import Neighbourhood, Options
from landscape.trees import Layout
from trainers import train_tickets
from trainers.config import Evaluation
from trainers.pruning.derivatives import loss_derivatives
from trainers.training import mean_loss, population_evaluator

F64: dict[str, Any] = {"dtype": "float64"}


def losses_at(*vectors: np.ndarray, weights: np.ndarray = REAL) -> np.ndarray:
    return np.array([in_float64(by_hand(weights), vector) for vector in vectors])


# Paths and planes.


def test_a_barrier_is_that_of_the_weighted_mean_and_of_repeated_examples() -> None:
    a, b = flat(PARAMS), flat(OTHER)
    found = landscape.loss_barrier(problem(REAL), PARAMS, OTHER, num_points=7, batch_size=5, **F64)
    expected = losses_at(*(a + alpha * (b - a) for alpha in found.alphas))
    np.testing.assert_allclose(found.losses["train"]["loss"], expected, rtol=1e-12)
    np.testing.assert_allclose(
        found.losses["test"]["loss"][0], in_float64(by_hand(REAL, slice(None, None, 2)), a), rtol=1e-12
    )
    chord = (1 - found.alphas) * expected[0] + found.alphas * expected[-1]
    assert found.barrier_above_chord == pytest.approx((expected - chord).max(), rel=1e-10)
    refined = losses_at(*(a + alpha * (b - a) for alpha in found.refined_alphas))
    np.testing.assert_allclose(found.refined_losses, refined, rtol=1e-12)
    weighted, plain = (
        landscape.loss_barrier(given, PARAMS, OTHER, num_points=7, **F64)
        for given in (problem(WHOLE), repeated(WHOLE))
    )
    for key in ("loss", "accuracy"):
        np.testing.assert_allclose(weighted.losses["train"][key], plain.losses["train"][key], rtol=1e-12)
    assert weighted.barrier_above_mean == pytest.approx(plain.barrier_above_mean, rel=1e-12)


def test_a_matrix_has_the_barriers_of_its_pairs() -> None:
    given, nets = problem(REAL), [PARAMS, OTHER, jax.tree.map(np.float32, network(3))]
    found = landscape.barrier_matrix(given, nets, num_points=5)
    pair = landscape.loss_barrier(given, nets[0], nets[2], num_points=5, refine=False)
    assert found.matrix()[0, 2] == pair.barrier_above_chord
    assert tuple(found.intervals["above_chord"][1]) == pair.interval_above_chord
    assert "weighted" in str(found)


def test_kept_pieces_of_other_weights_are_not_taken(tmp_path: Path) -> None:
    class Stop(Exception):
        pass

    class Progress:
        def start(self, label: str, total: int | None = None) -> None: ...
        def note(self, text: str) -> None: ...
        def stop(self) -> None: ...
        def advance(self, n: int = 1, **fields: float | str) -> None:
            self.left = getattr(self, "left", 8) - n
            if self.left < 0:
                raise Stop

    nets = [PARAMS, OTHER, jax.tree.map(np.float32, network(3))]
    with pytest.raises(Stop):
        landscape.barrier_matrix(problem(REAL), nets, num_points=5, resume=tmp_path, progress=Progress())
    with pytest.raises(landscape.errors.CheckpointError):
        landscape.barrier_matrix(problem(None, train=(X, Y, REAL)), nets, num_points=5, resume=tmp_path)


def test_a_connecting_curve_has_the_weighted_losses_of_its_points() -> None:
    found = landscape.connect(problem(REAL), PARAMS, OTHER, steps=30, num_points=5, **F64)
    points = [flat(found.at(t)) for t in found.ts]
    np.testing.assert_allclose(found.losses["train"]["loss"], losses_at(*points), rtol=1e-6)
    assert np.isfinite(found.history).all()
    assert found.interval_above_chord is not None


def test_a_curve_minimises_the_weighted_mean() -> None:
    """Half of the examples pull to each side, one half three times as much; those of weight 0 are NaN."""
    sides = np.tile(np.array([1, -1], np.float32), 20)
    weights = np.where(sides > 0, 3, 1).astype(np.float32)
    sides[-6:], weights[-6:] = np.nan, 0

    def pulled(params: Any, batch: Any) -> jax.Array:  # low where w lies at (·, 2 side)
        return (params["w"][1] - 2 * batch[0]) ** 2 + 0 * params["w"][0]

    given = Problem(pulled, train=(sides, weights), weights=lambda batch: batch[1])
    ends = [{"w": np.array([x, 0.0], np.float32)} for x in (-1, 1)]
    found = landscape.connect(given, *ends, steps=600, learning_rate=0.05, num_points=5)
    assert np.isfinite(found.history).all()
    assert found.status == "ok"
    # The weighted mean lies at 1, and b = 5/2 minimises the mean over t of (2 t (1 − t) b − 1)².
    assert found.bends[0, 1] == pytest.approx(2.5, rel=0.1)


def test_lines_planes_and_trajectories_have_weighted_losses_and_errors() -> None:
    given, origin = problem(REAL), flat(PARAMS)
    direction = jax.tree.map(np.ones_like, PARAMS)
    line = landscape.loss_line(given, PARAMS, directions=direction, x=(-1, 1, 3), **F64)
    np.testing.assert_allclose(
        line.losses["train"]["loss"][0], losses_at(*(origin + x for x in line.x)), rtol=1e-12
    )
    x = X.astype(np.float64)
    moved, still = (in_float64(lambda v: loss(back()(v), (x, Y)), vector) for vector in (origin + 1, origin))
    kept = REAL > 0
    w, away = REAL[kept].astype(np.float64), (moved - still)[kept]
    n, mean = kept.sum(), w @ away / w.sum()
    expected = np.sqrt((w**2 * (away - mean) ** 2).sum() / w.sum() ** 2 * n / (n - 1))
    assert line.standard_error[0, -1] == pytest.approx(expected, rel=1e-10)
    plane = landscape.loss_surface(given, PARAMS, x=(-1, 1, 3), y=(-1, 1, 2), **F64)
    centre = plane.losses["train"]["loss"]
    assert np.isfinite(centre).all()
    assert plane.anchors[plane.origin]["loss"] == pytest.approx(losses_at(origin)[0], rel=1e-12)
    nets = [PARAMS, OTHER, jax.tree.map(np.float32, network(3))]
    path = landscape.trajectory(given, nets, x=(-1, 1, 2), y=(-1, 1, 2), **F64)
    np.testing.assert_allclose(path.losses, losses_at(*map(flat, nets)), rtol=1e-12)


def test_units_are_matched_on_the_examples_that_count() -> None:
    hostile = X.copy()
    hostile[REAL == 0] = np.nan
    kept = np.flatnonzero(REAL)
    a, b = (
        landscape.align(given, PARAMS, OTHER, method="activations")
        for given in (problem(REAL, train=(hostile, Y, REAL)), problem(None, kept))
    )
    assert {name: list(p) for name, p in a.permutations.items()} == {
        name: list(p) for name, p in b.permutations.items()
    }


def test_permutations_that_lower_the_barrier_are_chosen_on_the_examples_that_count() -> None:
    hostile = X.copy()
    hostile[REAL == 0] = np.nan
    given = problem(REAL, train=(hostile, Y, REAL))
    found = landscape.align(given, PARAMS, OTHER, method="barrier", steps=3)
    before, after = (
        landscape.loss_barrier(given, PARAMS, other, refine=False).barrier_above_chord
        for other in (OTHER, found.params)
    )
    assert after <= before + 1e-6


def test_renormalisation_measures_units_on_the_examples_that_count() -> None:
    """As for normalisation layers: every example of positive weight once."""
    hostile = X.copy()
    hostile[REAL == 0] = np.nan
    weighted = problem(REAL, train=(hostile, Y, REAL))
    kept = problem(REAL, train=tuple(array[REAL > 0] for array in (X, Y, REAL)))
    a, b = (
        landscape.loss_barrier(given, PARAMS, OTHER, num_points=5, repair=True, refine=False)
        for given in (weighted, kept)
    )
    np.testing.assert_allclose(a.losses["train"]["loss"], b.losses["train"]["loss"], rtol=1e-5)


# Derivatives of the smoothed loss.


def test_smoothed_derivatives_are_those_of_the_weighted_mean() -> None:
    weighted, plain = problem(WHOLE, batch_size=9), repeated(WHOLE)
    for function in (landscape.smoothed_trace, landscape.smoothed_diagonal, landscape.smoothed_gradient):
        a, b = (
            function(given, PARAMS, radius=0.1, num_pairs=12, seed=2, **F64) for given in (weighted, plain)
        )
        name = "value" if hasattr(a, "value") else "values"
        np.testing.assert_allclose(getattr(a, name), getattr(b, name), rtol=1e-9, atol=1e-12)
        assert a.rise == pytest.approx(b.rise, rel=1e-9)
        assert a.loss == pytest.approx(b.loss, rel=1e-12)


# Statistics of normalisation layers.


class Net(nn.Module):
    @nn.compact
    def __call__(self, x: Any) -> Any:
        x = nn.tanh(nn.BatchNorm(use_running_average=True, name="norm1")(nn.Dense(4)(x)))
        return nn.BatchNorm(use_running_average=True, name="norm2")(nn.Dense(1)(x))


def test_statistics_of_normalisation_count_every_example_of_positive_weight_once() -> None:
    """They are of activations: the weights of the loss are not theirs, and weight 0 means left out."""

    def squared(point: Any, batch: Any) -> jax.Array:
        return Net().apply({"params": point[0], "batch_stats": point[1]}, batch[0])[:, 0] ** 2

    found = Net().init(jax.random.key(0), X)
    params, stats = (jax.tree.map(np.asarray, found[name]) for name in ("params", "batch_stats"))
    hostile = X.copy()
    hostile[REAL == 0] = np.nan
    update = flax_statistics(Net())
    weighted = Problem(squared, train=(hostile, REAL), update_stats=update, weights=lambda batch: batch[1])
    plain = Problem(squared, train=(X[REAL > 0],), update_stats=update)
    a, b = (given.recompute_stats(params, stats, batch_size=6) for given in (weighted, plain))
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-7), a, b)
    barrier = landscape.loss_barrier(
        weighted, (params, stats), (jax.tree.map(np.negative, params), stats), num_points=3
    )
    assert barrier.status == "ok"


# Flatness.


def checkpoint() -> Checkpoint:
    std = jax.tree.map(lambda x: np.full_like(x, 0.1), PARAMS)
    return Checkpoint(params=PARAMS, std=std, init=OTHER)


def test_every_measure_of_flatness_is_that_of_repeated_examples() -> None:
    """With batches of all examples where a measure is of batches: other batches are other measures."""
    whole = {name: {"m": 1000} for name in MEASURES if name in BATCHED}
    whole["local_entropy"] = {"samples": 10}
    whole["keskar_subspace"] = {"subspace": 10}
    weighted, plain = (
        landscape.measure_flatness(given, checkpoint(), measures="all", draws=4, settings=whole, **F64)
        for given in (problem(WHOLE, batch_size=9), repeated(WHOLE))
    )
    assert not weighted.warnings or weighted.warnings == plain.warnings
    assert [record["measure"] for record in weighted.records] == list(MEASURES)
    for a, b in zip(weighted.records, plain.records, strict=True):
        assert a["status"] == b["status"]
        if b["value"] is None:
            assert a["value"] is None
        else:
            assert a["value"] == pytest.approx(b["value"], rel=1e-5), a["measure"]
    network, other = weighted.networks[0], plain.networks[0]
    assert network["loss"] == pytest.approx(other["loss"], rel=1e-12)
    assert network["metrics"] == pytest.approx(other["metrics"], rel=1e-12)


BATCHED = {"sam", "sam_ascent", "adaptive_l2", "adaptive_linf", "adaptive_normalised"}


def test_sharpness_of_batches_is_their_mean_by_weight() -> None:
    found = landscape.sam_sharpness(problem(REAL), PARAMS, radius=0.1, m=4, batch_size=3, **F64)
    kept, vector = np.flatnonzero(REAL), flat(PARAMS)
    total = 0.0
    for start in range(0, len(kept), 4):
        only = np.zeros(COUNT)
        only[kept[start : start + 4]] = REAL[kept[start : start + 4]]
        slope = in_float64(jax.grad(by_hand(only)), vector)
        there = vector + 0.1 * slope / np.linalg.norm(slope)
        rise = np.diff(losses_at(vector, there, weights=only))[0]
        total += only.sum() / REAL.astype(np.float64).sum() * rise
    assert found.value == pytest.approx(total, rel=1e-9)


def test_spreads_of_features_are_weighted_like_the_loss() -> None:
    around = Neighbourhood(problem(REAL), PARAMS, Options(batch_size=5, **F64))
    found = feature_spreads(around, {"a/kernel": (3, 4), "b/kernel": (4, 3)})
    seen = features(jax.tree.map(np.float64, PARAMS), (X.astype(np.float64), Y))
    for path, spread in found.items():
        values = np.asarray(seen[path], np.float64)[:, 0]
        mean = np.average(values, axis=0, weights=REAL)
        expected = np.sqrt(np.average((values - mean) ** 2, axis=0, weights=REAL))
        np.testing.assert_allclose(spread, expected, rtol=1e-6)


def test_bounds_count_the_effective_number_of_examples() -> None:
    found = landscape.pac_bayes_flatness(problem(REAL), PARAMS, draws=4, target=0.05, tolerance=0.2)
    w = REAL[REAL > 0].astype(np.float64)
    effective = w.sum() ** 2 / (w**2).sum()
    sigma, norm = found.details["sigma"], np.linalg.norm(flat(PARAMS))
    complexity = norm**2 / (4 * sigma**2) + np.log(effective / sigma) + 10
    assert found.details["complexity_origin"] == pytest.approx(complexity, rel=1e-6)
    assert found.details["bound_origin"] == pytest.approx(np.sqrt(complexity / (effective - 1)), rel=1e-6)


# Training.

LAYOUT = Layout.of(PARAMS)


def vector() -> np.ndarray:
    return np.concatenate(
        [np.asarray(leaf).reshape(-1) for leaf in jax.tree.leaves(PARAMS)]
    )  # dictionaries are sorted


@pytest.mark.parametrize("form", ["mapped", "batched"])
def test_populations_are_evaluated_on_the_weighted_mean(form: str) -> None:
    given = problem(REAL)
    evaluate = population_evaluator(given, LAYOUT, PARAMS, Evaluation(form=form))
    members = jnp.stack([vector(), 0.5 * vector()])
    expected = losses_at(flat(PARAMS), flat(jax.tree.map(lambda x: 0.5 * x, PARAMS)))
    np.testing.assert_allclose(evaluate(members, given.arrays("train")), expected, rtol=1e-5)


def test_minibatches_are_unbiased_and_blind_to_examples_of_weight_0() -> None:
    """The mean of the gradients over single examples, each as likely, is the gradient of the whole."""
    hostile = X.copy()
    hostile[REAL == 0] = np.nan
    given = problem(REAL, train=(hostile, Y, REAL))
    at = jax.value_and_grad(mean_loss(given, LAYOUT, PARAMS))
    one_by_one = [at(vector(), (hostile[i : i + 1], Y[i : i + 1], REAL[i : i + 1])) for i in range(COUNT)]
    values, slopes = (np.array([np.asarray(part[k]) for part in one_by_one], np.float64) for k in (0, 1))
    assert values.mean() == pytest.approx(losses_at(flat(PARAMS))[0], rel=1e-6)
    expected = in_float64(jax.grad(by_hand(REAL)), flat(PARAMS))
    np.testing.assert_allclose(slopes.mean(0), expected, atol=1e-6)


def test_pruning_scores_use_the_gradient_of_the_weighted_mean() -> None:
    found = loss_derivatives(problem(REAL), LAYOUT, PARAMS, num_examples=COUNT, seed=0)
    gradient = found.gradient(vector().astype(np.float64))
    np.testing.assert_allclose(gradient, in_float64(jax.grad(by_hand(REAL)), flat(PARAMS)), atol=1e-7)


def test_tickets_of_a_weighted_problem_are_trained_and_counted_by_effective_examples(tmp_path: Path) -> None:
    def init(seed: int) -> Any:
        return jax.tree.map(np.float32, network(seed))

    hostile = X.copy()
    hostile[REAL == 0] = np.nan
    given = Problem(loss, train=(hostile, Y, REAL), test=(hostile, Y, REAL), weights=third)
    config = smoke(
        "methods=['es-snr', 'gd-magnitude']",
        "seeds=[0]",
        "evolution.batch_size=8",
        "gradient.batch_size=8",
        "pruning.levels=1",
    )
    run = train_tickets(config, tmp_path / "run", problem=given, init=init)
    for method in run.methods:
        found = run.checkpoints(method=method, seed=0, level=0)[0].load()
        assert np.isfinite(given.evaluate(found.params)["loss"])
    assert run.num_examples("test") == int(given.weighting("test").effective) < np.count_nonzero(REAL)
