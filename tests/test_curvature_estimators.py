"""Traces, diagonals, norms and densities: exact identities, brute force, and the coverage of intervals."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from curvature_samples import prescribed, tanh_params, tanh_problem

import landscape
from landscape import diagonal, frobenius_norm, hessian, spectral_density, top_eigenpairs, trace
from landscape.curvature import _estimators
from landscape.curvature._estimators import Hutchinson, HutchPP, rademacher, xdiag, xtrace
from landscape.curvature._linear import SymmetricOperator
from landscape.curvature._tracing import t_interval

FLOAT = np.dtype(float)
DECAYING = 1 / np.arange(1, 121) ** 2


def sphere(rng: np.random.Generator, count: int, dim: int) -> np.ndarray:
    rows = rng.standard_normal((count, dim))
    return rows * np.sqrt(dim) / np.linalg.norm(rows, axis=1, keepdims=True)


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
    run = Hutchinson(lambda rows: rows @ matrix, 40, dtype=FLOAT, rng=np.random.default_rng(0), layers={})
    values = run.run(5_000).total
    # The variance of 5,000 values is known to about 2 %; 10 % is five of its standard errors.
    assert np.var(values) == pytest.approx(expected, rel=0.1)


@pytest.mark.parametrize("method", [Hutchinson, HutchPP])
def test_layers_sum_to_the_whole_and_are_unbiased(method: Any) -> None:
    matrix = prescribed(np.r_[10.0, -6.0, np.random.default_rng(1).normal(size=58)])
    layers = {"a": np.arange(20), "b": np.arange(20, 60)}
    run = method(lambda rows: rows @ matrix, 60, dtype=FLOAT, rng=np.random.default_rng(0), layers=layers)
    if method is HutchPP:
        run.sketch(8)
    samples = run.run(4000)
    shares = {
        path: samples.exact_layers.get(path, 0.0) + np.mean(values) for path, values in samples.layers.items()
    }
    assert sum(shares.values()) == pytest.approx(samples.value, abs=1e-10)
    for path, where in layers.items():
        error = _estimators.standard_error(samples.layers[path])
        assert abs(shares[path] - np.diag(matrix)[where].sum()) < 4 * error  # one false alarm in 16,000


def coverage(matrix: np.ndarray, method: Any, *, sketch: int = 0, probes: int = 48) -> float:
    hits, truth, dim = 0, float(np.trace(matrix)), len(matrix)
    for seed in range(1000):
        rng = np.random.default_rng(seed)
        run = method(lambda rows: rows @ matrix, dim, dtype=FLOAT, rng=rng, layers={})
        if sketch:
            run.sketch(sketch)
        samples = run.run(probes)
        ends = t_interval(samples.value, samples.standard_error, probes - 1, 0.95)
        hits += ends is not None and ends[0] <= truth <= ends[1]
    return hits / 1000


@pytest.mark.parametrize(("method", "sketch"), [(Hutchinson, 0), (HutchPP, 6)])
def test_intervals_cover_the_trace_as_often_as_they_say(method: Any, sketch: int) -> None:
    values = np.random.default_rng(0).uniform(0.5, 1.5, 40)
    assert values.sum() ** 2 / np.sum(values**2) >= 20
    assert 0.93 <= coverage(prescribed(values), method, sketch=sketch) <= 0.97


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


class NaN(SymmetricOperator):
    """A matrix whose products are finite for a while."""

    def __init__(self, good: int) -> None:
        super().__init__(200, FLOAT)
        self.good = good

    def _products(self, rows: np.ndarray) -> np.ndarray:
        self.good -= len(rows)
        return rows if self.good >= 0 else rows * np.nan


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


# -- means and ends -----------------------------------------------------------------------------------


def spread() -> np.ndarray:
    values = np.r_[100.0, 80, 60, np.ones(397)] * np.random.default_rng(0).choice([-1, 1], 400)
    return prescribed(values)


@pytest.mark.parametrize("method", ["auto", "hutchinson", "hutch++", "xtrace"])
@pytest.mark.parametrize("most", [6, 15, 20, 35])
def test_no_method_takes_more_products_than_allowed(method: str, most: int) -> None:
    found = trace(spread(), method=method, relative_error=1e-6, max_matvecs=most)
    assert found.num_matvecs <= most
    assert found.status == "not-converged"
    assert np.isfinite(found.value)


@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("hutchinson", {"max_matvecs": 1}),
        ("hutch++", {"max_matvecs": 3}),
        ("xtrace", {"max_matvecs": 3}),
        ("xtrace", {"max_matvecs": 50, "num_probes": 10, "num_replicates": 3}),
        ("hutch++", {"max_matvecs": 40, "num_probes": 30}),
        ("auto", {"max_matvecs": 10, "num_probes": 20}),
    ],
)
def test_fewer_products_than_a_method_takes_are_refused(method: str, options: Any) -> None:
    with pytest.raises(landscape.errors.ConfigurationError, match="max_matvecs"):
        trace(spread(), method=method, **options)


def test_xtrace_adds_replicates_until_the_error_is_reached_and_has_an_interval_then() -> None:
    matrix = prescribed(np.linspace(0, 1, 300))
    found = trace(matrix, method="xtrace", relative_error=0.002, num_replicates=8, max_matvecs=5000)
    assert found.status == "ok"
    assert found.standard_error is not None
    assert found.standard_error <= 0.002 * 150
    assert found.num_matvecs % (16 * 30) != 0 or found.num_matvecs == 8 * 2 * 30
    few = trace(matrix, method="xtrace", relative_error=0.002, max_matvecs=60)
    assert few.status == "not-converged"


@pytest.mark.parametrize("dim", [1, 2, 30])
def test_xtrace_is_exact_where_it_has_a_probe_for_every_dimension(dim: int) -> None:
    found = trace(np.diag(np.arange(1.0, dim + 1)), method="xtrace")
    assert found.value == dim * (dim + 1) / 2
    assert found.method == "exact"


def test_xtrace_says_that_it_has_no_values_by_layer() -> None:
    found = trace(hessian(tanh_problem(), tanh_params()), method="xtrace", num_probes=8)
    assert "layer" in found.warnings[0]


@pytest.mark.faults
def test_the_probes_before_a_bad_product_stand_with_their_error() -> None:
    found = trace(NaN(8), method="hutchinson")
    assert found.value == 200
    assert found.interval == (200, 200)
    assert found.num_probes == 8
    assert "8 finite probes" in found.warnings[0]
    assert trace(NaN(15), method="hutch++").value == 200  # of the sketch's own products
    exact = NaN(8)
    assert np.isnan(trace(exact, method="exact").value)
    assert exact.num_matvecs == 9
    norm = frobenius_norm(NaN(8))
    assert norm.value == pytest.approx(np.sqrt(200))
    assert norm.num_probes == 8
    assert "8 finite probes" in norm.warnings[0]
    mean = diagonal(NaN(8), num_probes=20, method="hutchinson")
    np.testing.assert_array_equal(mean.values, 1)
    assert mean.num_matvecs == 9
    part = diagonal(NaN(8), method="exact")
    assert np.isfinite(part.values).sum() == 8
    assert "8 of 200" in part.warnings[0]


def test_a_diagonal_and_a_norm_stop_at_the_error_asked_for() -> None:
    values = np.random.default_rng(1).uniform(0.5, 1.5, 400)
    matrix = prescribed(values)
    found = diagonal(matrix, num_probes=10, relative_error=0.05)
    assert found.status == "ok"
    assert found.standard_errors is not None
    assert found.intervals is not None
    assert np.linalg.norm(found.standard_errors) <= 0.05 * np.linalg.norm(found.values)
    inside = (found.intervals[:, 0] <= np.diag(matrix)) & (np.diag(matrix) <= found.intervals[:, 1])
    assert inside.mean() > 0.9  # 95 % of 400 entries of one draw, which are nearly independent
    assert diagonal(matrix, num_probes=10, relative_error=1e-4, max_matvecs=30).status == "not-converged"
    norm = frobenius_norm(matrix, relative_error=0.003)
    assert norm.status == "ok"
    assert norm.num_probes > 30
    assert norm.standard_error is not None
    assert norm.standard_error <= 0.003 * norm.value
    assert frobenius_norm(matrix, relative_error=1e-6, max_matvecs=40).status == "not-converged"
    assert diagonal(matrix, method="xdiag", num_probes=40, relative_error=1e-6).status == "not-converged"


def share(hits: list[bool]) -> float:
    """Return how often something held; with 1,000 seeds 93-97 % has a false alarm rate of 0.3 %."""
    return float(np.mean(hits))


def covers(interval: Any, truth: float) -> bool:
    return interval is not None and interval[0] <= truth <= interval[1]


class Layered(landscape.MatrixOperator):
    """A matrix with two named blocks."""

    def layers(self) -> dict[str, np.ndarray]:
        return {"a": np.arange(20), "b": np.arange(20, 60)}


FLAT = prescribed(np.random.default_rng(0).uniform(0.5, 1.5, 60))


def test_intervals_of_layers_cover_as_often_as_they_say() -> None:
    truth, hits = np.diag(FLAT)[:20].sum(), []
    for seed in range(1000):
        found = trace(Layered(FLAT), method="hutchinson", num_probes=48, seed=seed)
        hits.append(covers(found.per_layer["a"]["interval"], truth))
    assert 0.93 <= share(hits) <= 0.97


def test_intervals_of_the_norm_and_of_replicates_of_xtrace_cover_as_often_as_they_say() -> None:
    norms, traces = [], []
    for seed in range(1000):
        norm = frobenius_norm(FLAT, num_probes=48, seed=seed)
        norms.append(covers(norm.interval, float(np.linalg.norm(FLAT))))
        found = trace(FLAT, method="xtrace", num_probes=4, num_replicates=12, seed=seed)
        traces.append(covers(found.interval, float(np.trace(FLAT))))
    assert 0.93 <= share(norms) <= 0.97
    assert 0.93 <= share(traces) <= 0.97


def test_the_default_method_covers_as_often_as_it_says_for_a_flat_spectrum() -> None:
    wide = prescribed(np.random.default_rng(0).uniform(0.5, 1.5, 200))
    found = [trace(wide, relative_error=0.006, seed=seed) for seed in range(1000)]
    assert {one.method for one in found} <= {"hutchinson", "hutch++", "exact"}
    # Stopping on the error's own estimate costs a little coverage: from 0.92 on is what is promised here.
    assert 0.92 <= share([covers(one.interval, float(np.trace(wide))) for one in found]) <= 0.98
