"""Traces, diagonals, norms and densities: exact identities, brute force, and the coverage of intervals."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from curvature_samples import NaN, prescribed, tanh_params, tanh_problem

import landscape
from landscape import (
    MatrixOperator,
    diagonal,
    frobenius_norm,
    hessian,
    spectral_density,
    top_eigenpairs,
    trace,
)
from landscape.curvature import estimators
from landscape.curvature.estimators import Hutchinson, HutchPP, rademacher, xdiag, xtrace
from landscape.results import probe_interval

FLOAT = np.dtype(float)
DECAYING = 1 / np.arange(1, 121) ** 2


def sphere(rng: np.random.Generator, count: int, dim: int) -> np.ndarray:
    rows = rng.standard_normal((count, dim))
    return rows * np.sqrt(dim) / np.linalg.norm(rows, axis=1, keepdims=True)


def plain(matrix: np.ndarray, rng: np.random.Generator, layers: Any = None) -> Hutchinson:
    return Hutchinson(
        products=lambda rows: rows @ matrix, dim=len(matrix), dtype=FLOAT, rng=rng, layers=layers or {}
    )


def estimator(matrix: np.ndarray, rng: np.random.Generator, *, sketch: int, layers: Any = None) -> Hutchinson:
    """Return Hutchinson's estimator, or Hutch++ with a sketch of so many vectors."""
    hutchinson = plain(matrix, rng, layers)
    if not sketch:
        return hutchinson
    found = HutchPP.sketched(hutchinson, hutchinson.kept_run(sketch)[2])
    assert found is not None
    return found


# -- estimators against brute force -------------------------------------------------------------------


def test_xtrace_equals_leaving_out_each_probe_by_hand() -> None:
    matrix, rng = prescribed(DECAYING), np.random.default_rng(0)
    probes = sphere(rng, 9, 120)
    images, expected = matrix @ probes.T, []
    for i, probe in enumerate(probes):
        q = np.linalg.qr(np.delete(images, i, axis=1))[0]
        rest = probe - q @ (q.T @ probe)
        stretch = (120 - 9 + 1) / (rest @ rest)
        expected.append(np.trace(q.T @ matrix @ q) + stretch * rest @ matrix @ rest)
    np.testing.assert_allclose(xtrace(lambda rows: rows @ matrix, probes), expected, rtol=1e-11)


def test_xdiag_equals_leaving_out_each_probe_by_hand() -> None:
    matrix, rng = prescribed(DECAYING), np.random.default_rng(0)
    probes = rademacher(rng, 9, 120, FLOAT)
    images, expected = matrix @ probes.T, []
    for i, probe in enumerate(probes):
        q = np.linalg.qr(np.delete(images, i, axis=1))[0]
        image = matrix @ probe
        expected.append(np.diag(q @ q.T @ matrix) + probe * (image - q @ (q.T @ image)))
    found, spread = xdiag(lambda rows: rows @ matrix, probes)
    np.testing.assert_allclose(found, np.mean(expected, axis=0), atol=1e-13)
    np.testing.assert_allclose(spread, np.std(expected, axis=0, ddof=1) / 3, atol=1e-13)


def test_hutchinson_has_the_variance_of_the_theory() -> None:
    matrix = prescribed(np.random.default_rng(1).normal(size=40))
    expected = 2 * (np.sum(matrix**2) - np.sum(np.diag(matrix) ** 2))
    samples = plain(matrix, np.random.default_rng(0)).run(5_000)
    values = samples.total
    # The variance of 5,000 values is known to about 2 %; 10 % is five of its standard errors.
    assert np.var(values) == pytest.approx(expected, rel=0.1)
    assert samples.foretold_variance == pytest.approx(expected, rel=0.1)


@pytest.mark.parametrize("sketch", [0, 8])
def test_layers_sum_to_the_whole_and_are_unbiased(sketch: int) -> None:
    matrix = prescribed(np.r_[10.0, -6.0, np.random.default_rng(1).normal(size=58)])
    layers = {"a": np.arange(20), "b": np.arange(20, 60)}
    samples = estimator(matrix, np.random.default_rng(0), sketch=sketch, layers=layers).run(4000)
    shares = {
        path: samples.exact.layers.get(path, 0.0) + np.mean(values) for path, values in samples.layers.items()
    }
    assert sum(shares.values()) == pytest.approx(samples.value, abs=1e-10)
    for path, where in layers.items():
        error = estimators.standard_error(samples.layers[path])
        assert abs(shares[path] - np.diag(matrix)[where].sum()) < 4 * error  # one false alarm in 16,000


def coverage(matrix: np.ndarray, *, sketch: int = 0, probes: int = 48) -> float:
    hits, truth = 0, float(np.trace(matrix))
    for seed in range(1000):
        samples = estimator(matrix, np.random.default_rng(seed), sketch=sketch).run(probes)
        low, high = probe_interval(samples.total) or (np.nan, np.nan)
        hits += low <= truth - samples.exact.total <= high
    return hits / 1000


@pytest.mark.parametrize("sketch", [0, 6])
def test_intervals_cover_the_trace_as_often_as_they_say(sketch: int) -> None:
    values = np.random.default_rng(0).uniform(0.5, 1.5, 40)
    assert values.sum() ** 2 / np.sum(values**2) >= 20
    assert 0.93 <= coverage(prescribed(values), sketch=sketch) <= 0.97


# -- the trace ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["auto", "hutchinson", "hutch++", "xtrace", "exact"])
def test_every_method_finds_the_trace_of_a_network(method: str) -> None:
    operator = hessian(tanh_problem(), tanh_params(), dtype="float64")
    truth = np.trace(operator.dense())
    found = trace(operator, method=method, num_probes=24, seed=1)
    error = found.standard_error if found.standard_error is not None else found.error_estimate
    assert error is not None
    assert abs(found.value - truth) <= 4 * error + 1e-12
    assert found.num_matvecs >= 24 or method == "exact"


def test_the_requested_error_is_reached_or_the_status_says_that_it_was_not() -> None:
    matrix = prescribed(np.linspace(0, 1, 200))
    found = trace(matrix, relative_error=0.01)
    assert found.status == "ok"
    assert found.standard_error is not None
    assert found.standard_error <= 0.01 * max(found.value, np.linalg.norm(matrix)) * 1.2
    capped = trace(matrix, relative_error=1e-6, max_matvecs=40)
    assert capped.status == "not-converged"
    assert capped.num_matvecs <= 40


def test_an_indefinite_trace_near_zero_ends_by_the_floor() -> None:
    values = np.random.default_rng(0).normal(size=300)
    found = trace(prescribed(values - values.mean()), method="hutchinson", relative_error=0.1)
    assert found.status == "ok"
    assert found.interval is not None
    assert found.interval[0] < 0 < found.interval[1]


def test_xtrace_gives_an_interval_only_from_eight_replicates() -> None:
    matrix = prescribed(DECAYING)
    one = trace(matrix, method="xtrace", num_probes=10)
    assert one.interval is None
    assert one.standard_error is None
    assert one.error_estimate is not None
    eight = trace(matrix, method="xtrace", num_probes=10, num_replicates=8)
    assert eight.interval is not None
    assert eight.interval[0] < DECAYING.sum() < eight.interval[1]


def test_xtrace_is_exact_where_its_sketch_holds_the_whole_range() -> None:
    low_rank = prescribed(np.r_[3.0, -2.0, 1.0, np.zeros(117)])
    assert trace(low_rank, method="xtrace", num_probes=8).value == pytest.approx(2.0, abs=1e-6)


@pytest.mark.parametrize("method", ["auto", "hutchinson", "hutch++", "xtrace"])
def test_the_zero_matrix_has_trace_zero(method: str) -> None:
    found = trace(np.zeros((50, 50)), method=method)
    assert found.value == 0
    assert found.status == "ok"


def test_auto_goes_over_to_a_sketch_where_that_is_cheaper() -> None:
    outliers = np.r_[100.0, 80.0, 60.0, np.full(397, 0.01)]
    found = trace(prescribed(outliers), relative_error=0.005)
    plain = trace(prescribed(outliers), relative_error=0.005, method="hutchinson", max_matvecs=2_000)
    assert found.method == "hutch++"
    assert found.num_matvecs < plain.num_matvecs
    assert trace(prescribed(np.linspace(0.9, 1.1, 400))).method == "hutchinson"


def test_auto_is_exact_where_that_costs_no_more_than_probing() -> None:
    values = np.random.default_rng(0).normal(size=150)
    found = trace(prescribed(values), relative_error=1e-3)
    assert found.method == "exact"
    assert found.value == pytest.approx(values.sum())
    assert found.num_matvecs <= 150 + 40  # the pilot and the sketch that were given up


def test_traces_by_layer_are_those_of_the_diagonal_blocks() -> None:
    operator = hessian(tanh_problem(), tanh_params(), dtype="float64")
    dense = operator.dense()
    found = trace(operator, method="exact")
    for path, where in operator.layers().items():
        assert found.per_layer[path]["value"] == pytest.approx(np.diag(dense)[where].sum(), abs=1e-12)
    assert sum(layer["value"] for layer in found.per_layer.values()) == pytest.approx(found.value)


def test_the_error_from_the_data_is_that_of_the_examples_and_apart_from_that_of_the_probes() -> None:
    rng = np.random.default_rng(0)
    scales = rng.gamma(2.0, size=4000).astype(np.float32)
    data = np.sqrt(scales)[:, None] * np.eye(3, dtype=np.float32)[rng.integers(0, 3, 4000)]
    problem = landscape.Problem(lambda p, b: 0.5 * (b @ p) ** 2, train=data)
    operator = hessian(problem, np.ones(3, np.float32))
    found = trace(operator, num_groups=40)  # the trace is the mean of the scales
    assert found.standard_error == 0.0
    # A standard error from 40 groups is itself known to about 11 %.
    assert found.data_standard_error == pytest.approx(scales.std() / np.sqrt(4000), rel=0.4)


@pytest.mark.faults
@pytest.mark.parametrize("method", ["auto", "hutchinson", "hutch++", "xtrace", "exact"])
@pytest.mark.parametrize("good", [0, 5])
def test_a_product_that_is_not_finite_shows_in_the_status_of_every_estimate(method: str, good: int) -> None:
    assert trace(NaN(good), method=method).status == "non-finite"


@pytest.mark.faults
def test_densities_diagonals_and_norms_say_so_too() -> None:
    assert spectral_density(NaN(40), num_steps=20).status == "non-finite"
    assert len(spectral_density(NaN(40), num_steps=20).nodes) == 2  # the probes before it stand
    assert spectral_density(NaN(0), num_steps=20).status == "non-finite"
    assert diagonal(NaN(5)).status == "non-finite"
    assert frobenius_norm(NaN(5)).status == "non-finite"


# -- diagonal and norm --------------------------------------------------------------------------------


def test_the_exact_diagonal_and_the_estimates_agree() -> None:
    operator = hessian(tanh_problem(), tanh_params(), dtype="float64")
    truth = np.diag(operator.dense())
    exact = diagonal(operator)
    assert exact.method == "exact"
    np.testing.assert_allclose(exact.values, truth, atol=1e-14)
    found = diagonal(operator, method="hutchinson", num_probes=400)
    assert found.standard_errors is not None
    assert np.all(np.abs(found.values - truth) <= 5 * found.standard_errors + 1e-12)
    close = diagonal(operator, method="xdiag", num_probes=40)
    assert np.abs(close.values - truth).max() < 0.05 * np.abs(truth).max()


def test_the_frobenius_norm_lies_in_its_interval_and_is_exact_for_enough_probes() -> None:
    matrix = prescribed(np.random.default_rng(2).normal(size=60))
    found = frobenius_norm(matrix, num_probes=40)
    assert found.interval is not None
    assert found.interval[0] < np.linalg.norm(matrix) < found.interval[1]
    assert frobenius_norm(matrix, num_probes=60).value == pytest.approx(np.linalg.norm(matrix))


# -- the density --------------------------------------------------------------------------------------


def test_nodes_and_weights_of_a_full_run_are_the_spectrum() -> None:
    values = np.random.default_rng(3).normal(size=80)
    found = spectral_density(prescribed(values), num_steps=80, num_probes=2)
    np.testing.assert_allclose(found.nodes[0], np.sort(values), atol=1e-10)
    np.testing.assert_allclose(found.weights.sum(axis=1), 1)


def test_mass_and_moments_are_those_of_the_matrix() -> None:
    matrix = prescribed(np.r_[20.0, 15.0, np.random.default_rng(3).normal(size=298)])
    found = spectral_density(matrix, num_probes=20, num_steps=40)
    checks = found.checks
    assert checks["mass"] == pytest.approx(1, abs=1e-5)
    assert np.trapezoid(found.log_density, found.log_grid) == pytest.approx(1, abs=1e-5)
    assert checks["mean_eigenvalue_drawn"] == pytest.approx(checks["mean_eigenvalue"], abs=1e-6)
    assert checks["mean_square_drawn"] == pytest.approx(checks["mean_square"], rel=1e-5)
    off = abs(checks["mean_eigenvalue"] - np.trace(matrix) / 300)
    assert off < 4 * checks["mean_eigenvalue_error"]
    assert abs(checks["mean_square"] - np.sum(matrix**2) / 300) < 4 * checks["mean_square_error"]


def test_weights_are_squared_first_components_not_plain_ones() -> None:
    matrix = prescribed(np.r_[np.ones(75), np.full(25, 5.0)])
    found = spectral_density(matrix, num_probes=30, num_steps=5)
    heavy = np.where(found.nodes > 3, found.weights, 0).sum(axis=1)
    assert heavy.mean() == pytest.approx(0.25, abs=4 * heavy.std() / np.sqrt(30))


def test_the_density_of_a_formed_matrix_is_that_of_its_eigenvalues() -> None:
    values = np.random.default_rng(3).normal(size=80)
    operator = MatrixOperator(prescribed(values))
    top_eigenpairs(operator, 2)  # forms it
    spent = operator.num_matvecs
    found = spectral_density(operator)
    assert operator.num_matvecs == spent
    assert found.exact
    np.testing.assert_allclose(found.nodes[0], np.sort(values), atol=1e-12)
    assert not found.standard_error.any()
    assert found.checks["mean_eigenvalue"] == pytest.approx(values.mean())
    assert found.checks["mass"] == pytest.approx(1, abs=1e-4)
    assert "exact: all 80 eigenvalues" in str(found)
    assert not found.warnings


def test_a_band_over_few_probes_says_so() -> None:
    matrix = prescribed(np.random.default_rng(3).normal(size=80))
    assert "3 probes are too few" in spectral_density(matrix, num_probes=3, num_steps=9).warnings[0]
    assert not spectral_density(matrix, num_probes=10, num_steps=9).warnings


@pytest.mark.parametrize("values", [np.zeros(40), np.ones(40), np.r_[1.0, np.zeros(39)]])
def test_degenerate_spectra_have_a_density_of_mass_one(values: np.ndarray) -> None:
    found = spectral_density(np.diag(values), num_steps=10, num_probes=3)
    assert found.status == "ok"
    assert found.checks["mass"] == pytest.approx(1, abs=1e-4)


def test_outliers_are_kept_with_the_density_and_drawn(tmp_path: Path) -> None:
    matrix = prescribed(np.r_[20.0, np.linspace(0, 1, 199)])
    found = spectral_density(matrix, num_steps=20, outliers=top_eigenpairs(matrix, 1))
    assert found.outliers[0] == pytest.approx(20)
    names = [drawn.name for drawn in found.plot().data]
    assert "exact eigenvalues" in names
    found.save(tmp_path / "density.h5")
    assert str(landscape.load_result(tmp_path / "density.h5")) == str(found)


@pytest.mark.parametrize(
    "result",
    [
        trace(np.diag(np.arange(200.0)), seed=1),
        trace(np.diag(np.arange(40.0)), method="xtrace"),
        frobenius_norm(np.diag(np.arange(200.0))),
        diagonal(np.diag(np.arange(200.0)), num_probes=20),
    ],
    ids=lambda result: result.kind,
)
def test_results_print_store_and_load(result: Any, tmp_path: Path) -> None:
    result.save(tmp_path / "result.h5")
    again = landscape.load_result(tmp_path / "result.h5")
    assert str(again) == str(result)
    assert again.to_dict() == result.to_dict()
    assert "<table>" in again._repr_html_()
