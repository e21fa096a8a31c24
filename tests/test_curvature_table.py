"""Many checkpoints, the gradient in the spectrum, search distributions, and their figures."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import jax
import numpy as np
import plotly.graph_objects as go
import pytest
from curvature_samples import INPUTS, dense_hessian, tanh_params, tanh_problem

import landscape
from landscape import (
    Checkpoint,
    Problem,
    curvature_table,
    gradient_alignment,
    hessian,
    scale_curvature,
    top_eigenpairs,
    trace,
)
from landscape.curvature.alignment import num_outliers
from landscape.errors import ArchitectureMismatchError, ConfigurationError, InputError


def tickets() -> list[Checkpoint]:
    """Return four small networks: two methods, two levels."""
    params, rng = tanh_params(), np.random.default_rng(0)
    made = []
    for method in ("es-snr", "gd-magnitude"):
        for level, density in enumerate((1.0, 0.6)):
            mask = jax.tree.map(lambda x, d=density: rng.random(x.shape) < d, params)
            sparse = jax.tree.map(np.multiply, params, mask)
            info = {"method": method, "level": level, "seeds": {"train": 3}}
            made.append(Checkpoint(params=sparse, mask=mask, info=info))
    return made


def test_every_row_equals_the_analysis_of_its_checkpoint_alone() -> None:
    problem, given = tanh_problem(), tickets()
    table = curvature_table(problem, given, k=3, relative_error=0.1, seed=5)
    assert [(row["method"], row["level"], row["seed"]) for row in table.records] == [
        ("es-snr", 0, 3),
        ("es-snr", 1, 3),
        ("gd-magnitude", 0, 3),
        ("gd-magnitude", 1, 3),
    ]
    for row, ticket in zip(table.records, given, strict=True):
        operator = hessian(problem, ticket)
        np.testing.assert_array_equal(row["eigenvalues"], top_eigenpairs(operator, 3, seed=5).eigenvalues)
        assert row["trace"]["value"] == trace(operator, relative_error=0.1, seed=5).value
        assert row["dim"] == operator.dim


def test_without_the_mask_the_dense_network_is_measured() -> None:
    table = curvature_table(tanh_problem(), tickets(), k=1, trace=False, use_mask=False)
    assert {row["dim"] for row in table.records} == {31}


@pytest.mark.parametrize("density", [False, True])
@pytest.mark.parametrize("count", [1, 4])
def test_tables_are_stored_loaded_drawn_and_printed(count: int, density: bool, tmp_path: Path) -> None:
    table = curvature_table(tanh_problem(), tickets()[:count], k=2, density=density, relative_error=0.2)
    assert table.status == "ok"
    table.save(tmp_path / "table.h5")
    again = landscape.load_result(tmp_path / "table.h5")
    assert str(again) == str(table)
    assert "λ1" in str(table)
    for one in (table, again):
        figure = one.plot()
        assert isinstance(figure, go.Figure)
        assert len(figure.data) >= 2
    assert table.to_json()


def test_the_figure_of_one_network_shows_its_eigenvalues_and_layers() -> None:
    table = curvature_table(tanh_problem(), tickets()[:1], k=2)
    bars = {bar.name: bar for bar in table.plot().data if bar.type == "bar"}
    np.testing.assert_allclose(bars["eigenvalue"].y, table.records[0]["eigenvalues"])
    assert len(bars["trace"].x) == 4


def test_a_record_keeps_what_the_eigenpairs_say_of_themselves() -> None:
    ticket = tickets()[0]
    table = curvature_table(tanh_problem(), [ticket], k=3, trace=False, seed=5)
    (record,), pairs = table.records, top_eigenpairs(hessian(tanh_problem(), ticket), 3, seed=5)
    np.testing.assert_array_equal(record["converged"], pairs.converged)
    np.testing.assert_array_equal(record["multiplicity"], pairs.multiplicity)
    assert record["complete_probe"] == pairs.complete_probe
    assert "none missed  exact" in str(table)


def test_pairs_that_did_not_converge_are_marked_in_the_text() -> None:
    problem, params = quadratic(np.linspace(1.0, 1.001, 150))
    table = curvature_table(problem, [params], k=2, tolerance=1e-12, trace=False)
    assert table.status == "not-converged"
    assert table.records[0]["converged"].dtype == bool
    assert not table.records[0]["converged"].all()
    assert "(not converged)" in str(table)
    several = curvature_table(problem, [params, params], k=2, tolerance=1e-12, trace=False)
    assert "not converged" in str(several).splitlines()[2]


def test_a_repeated_eigenvalue_is_said_to_be_one() -> None:
    problem, params = quadratic(np.r_[5.0, 5.0, np.ones(20)])
    table = curvature_table(problem, [params], k=2, trace=False, dtype="float64")
    assert table.records[0]["multiplicity"].tolist() == [2, 2]
    assert "one of 2 that cannot be told apart" in str(table)


def test_the_error_from_the_examples_is_kept_apart_from_that_of_the_probes() -> None:
    table = curvature_table(tanh_problem(), tickets()[:2], k=1, relative_error=0.1, seed=5, subset=8)
    alone = trace(hessian(tanh_problem(), tickets()[0], subset=8), relative_error=0.1, seed=5)
    found = table.records[0]["trace"]
    assert found["data_standard_error"] == alone.data_standard_error
    assert found["data_standard_error"] > 0
    assert found["standard_error"] == alone.standard_error
    assert table.records[0]["data_passes"] == alone.stats["data_passes"]
    assert "from the examples ±" in str(table)
    one = str(curvature_table(tanh_problem(), tickets()[:1], k=0, subset=8, relative_error=0.1))
    assert "from the examples  ±" in one
    assert f"and {alone.stats['data_passes']} passes" in one
    whole = curvature_table(tanh_problem(), tickets()[:1], k=0, relative_error=0.1)
    assert whole.records[0]["trace"]["data_standard_error"] is None
    assert "from the examples" not in str(whole)


def test_checks_of_the_density_are_printed() -> None:
    table = curvature_table(tanh_problem(), tickets()[:1], k=1, trace=False, density=True)
    checks = table.spectra[0]["checks"]
    text = str(table)
    assert f"density: mass             {checks['mass']:.6f}" in text
    assert f"{landscape.results.format_value(checks['mean_square_drawn'])} as drawn" in text


def test_the_end_of_the_spectrum_is_named_and_every_eigenvalue_printed() -> None:
    table = curvature_table(tanh_problem(), tickets(), k=3, which="smallest", trace=False)
    text = str(table)
    assert "eigenvalues  smallest" in text
    for value in table.records[2]["eigenvalues"]:
        assert landscape.results.format_value(float(value)) in text


def test_tidy_rows_are_one_a_checkpoint_with_the_same_columns(tmp_path: Path) -> None:
    given = tickets()
    table = curvature_table(tanh_problem(), given, k=3, density=True, relative_error=0.2, seed=5)
    rows = table.tidy()
    assert len(rows) == len(given)
    assert len({tuple(row) for row in rows}) == 1
    assert all(np.ndim(value) == 0 for row in rows for value in row.values())
    for row, record, spectrum in zip(rows, table.records, table.spectra, strict=True):
        assert [row["method"], row["seed"], row["level"]] == [record["method"], 3, record["level"]]
        np.testing.assert_array_equal([row[f"lambda_{i}"] for i in (1, 2, 3)], record["eigenvalues"])
        np.testing.assert_array_equal([row[f"residual_{i}"] for i in (1, 2, 3)], record["residuals"])
        assert row["trace"] == record["trace"]["value"]
        assert row["trace_standard_error"] == record["trace"]["standard_error"]
        assert row["density_mass"] == spectrum["checks"]["mass"]
    layers = table.tidy_layers()
    assert len(layers) == 4 * len(given)
    assert sum(row["trace"] for row in layers[:4]) == pytest.approx(rows[0]["trace"])
    table.save(tmp_path / "table.h5")
    assert landscape.load_result(tmp_path / "table.h5").tidy() == rows


def test_a_table_stored_before_there_were_certificates_in_it_still_loads(tmp_path: Path) -> None:
    table = curvature_table(tanh_problem(), tickets(), k=2, relative_error=0.2)
    lately = {"converged", "multiplicity", "complete_probe", "data_passes"}
    old = [{key: value for key, value in record.items() if key not in lately} for record in table.records]
    for record in old:
        record["trace"] = {k: v for k, v in record["trace"].items() if k != "data_standard_error"}
    dataclasses.replace(table, records=old).save(tmp_path / "old.h5")
    again = landscape.load_result(tmp_path / "old.h5")
    assert again.tidy()[0]["lambda_1"] == table.tidy()[0]["lambda_1"]
    assert "converged_1" not in again.tidy()[0]
    assert "λ1-λ2" in str(again)
    assert len(again.plot().data) >= 2
    single = dataclasses.replace(again, records=old[:1])
    assert "none missed  passed" in str(single)


def test_traces_alone_are_stored_and_loaded(tmp_path: Path) -> None:
    table = curvature_table(tanh_problem(), tickets(), k=0, relative_error=0.2)
    table.save(tmp_path / "table.h5")
    again = landscape.load_result(tmp_path / "table.h5")
    assert str(again) == str(table)
    assert again.tidy() == table.tidy()


@pytest.mark.faults
def test_names_that_are_not_one_a_checkpoint_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="names: not one per network"):
        curvature_table(tanh_problem(), tickets(), k=1, names=["a"])


@pytest.mark.faults
def test_nothing_to_measure_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="nothing to measure"):
        curvature_table(tanh_problem(), [])
    with pytest.raises(ConfigurationError, match="nothing to measure"):
        curvature_table(tanh_problem(), tickets(), k=0, trace=False)


@pytest.mark.faults
@pytest.mark.parametrize("measure", [curvature_table, scale_curvature])
def test_networks_of_different_tasks_are_not_measured_on_the_first_ones(measure: Any, tmp_path: Path) -> None:
    params = tanh_params()
    given = [
        Checkpoint(params=params, std=jax.tree.map(np.ones_like, params), info={"task": {"name": name}})
        for name in ("mnist", "fashion_mnist")
    ]
    with pytest.raises(ConfigurationError, match="network 1 and network 2 name different tasks"):
        measure(None, given)
    for i, one in enumerate(given):
        landscape.save(tmp_path / f"{i}.h5", one)
    with pytest.raises(ConfigurationError, match=r"0\.h5 and .*1\.h5 name different tasks"):
        measure(None, [tmp_path / "0.h5", str(tmp_path / "1.h5")])
    assert len(measure(tanh_problem(), given).records) >= 2  # a problem that is given is everybody's


# -- the gradient in the spectrum ---------------------------------------------------------------------


def quadratic(curvatures: np.ndarray) -> tuple[Problem, dict[str, Any]]:
    """Return ½ Σ c_i w_i² as a mean over one example each, at w = 1."""
    n = len(curvatures)
    rows = (np.sqrt(n * curvatures)[:, None] * np.eye(n)).astype(np.float32)
    return Problem(lambda p, b: 0.5 * (b @ p["w"]) ** 2, train=rows), {"w": np.ones(n, np.float32)}


def test_overlaps_on_a_quadratic_are_those_of_the_closed_form() -> None:
    curvatures = np.r_[9.0, 4.0, 1.0, np.linspace(0.01, 0.1, 27)]
    problem, params = quadratic(curvatures)
    update = {"w": np.eye(30, dtype=np.float32)[1]}
    found = gradient_alignment(problem, params, update=update, k=3)
    expected = np.cumsum(curvatures[:3] ** 2) / np.sum(curvatures**2)  # the gradient is c ∘ w
    np.testing.assert_allclose(found.gradient_overlap, expected, rtol=1e-4)
    np.testing.assert_allclose(found.update_overlap, [0, 1, 1], atol=1e-5)
    assert found.gradient_norm == pytest.approx(np.linalg.norm(curvatures), rel=1e-5)
    assert found.gauss_newton is None


def test_gauss_newton_and_residual_parts_add_up_to_the_eigenvalues() -> None:
    found = gradient_alignment(tanh_problem(), tanh_params(), k=5, dtype="float64")
    assert found.gauss_newton is not None
    np.testing.assert_allclose(found.gauss_newton + found.residual_part, found.eigenvalues)
    assert (found.gauss_newton > -1e-12).all()
    assert found.plot().data[0].name == "gradient"


def test_outliers_end_at_the_largest_ratio_of_neighbours() -> None:
    assert num_outliers(np.array([10.0, 9, 8, 0.5, 0.4])) == 3
    assert num_outliers(np.array([1.0])) == 1
    assert num_outliers(np.array([-1.0, -2.0])) == 0


@pytest.mark.faults
def test_updates_that_do_not_fit_or_have_no_direction_are_refused() -> None:
    problem, params = quadratic(np.ones(5))
    with pytest.raises(ArchitectureMismatchError):
        gradient_alignment(problem, params, update={"v": np.ones(5)}, k=1)
    with pytest.raises(InputError, match="no direction"):
        gradient_alignment(problem, params, update={"w": np.zeros(5)}, k=1)


# -- search distributions -----------------------------------------------------------------------------


def test_a_distribution_adapted_to_a_quadratic_correlates_perfectly() -> None:
    curvatures = np.linspace(0.1, 10, 40)
    problem, params = quadratic(curvatures)
    ideal = Checkpoint(params=params, std={"w": (curvatures**-0.5).astype(np.float32)})
    flat = Checkpoint(params=params, std={"w": np.full(40, 0.1, np.float32)})
    whole, layer, *rest = scale_curvature(problem, [ideal, flat]).records
    assert whole["layer"] == "all"
    assert whole["rank"] == pytest.approx(1)
    assert whole["linear"] == pytest.approx(1, abs=1e-6)
    assert layer["layer"] == "w"
    assert rest[0]["rank"] is None  # a scale that does not vary has no correlation
    assert rest[0]["spread"] == 0


def test_probe_noise_is_corrected_in_an_estimated_diagonal() -> None:
    rng = np.random.default_rng(0)
    mixing = rng.normal(size=(200, 60)).astype(np.float32) * np.linspace(0.3, 1.5, 60, dtype=np.float32)
    problem = Problem(lambda p, b: 0.5 * (b @ p["w"]) ** 2, train=mixing)
    truth = np.diag(
        dense_hessian(lambda p, b: 0.5 * (b @ p["w"]) ** 2, {"w": np.ones(60, np.float32)}, mixing)
    )
    ticket = Checkpoint(params={"w": np.ones(60, np.float32)}, std={"w": (truth**-0.5).astype(np.float32)})
    exact = scale_curvature(problem, ticket).records[0]
    noisy = scale_curvature(problem, ticket, exact_up_to=1, num_probes=20).records[0]
    assert exact["linear"] == pytest.approx(1, abs=1e-5)
    assert noisy["attenuation"] < 1
    assert abs(noisy["linear_corrected"] - 1) < abs(noisy["linear"] - 1)
    assert noisy["linear_corrected"] <= 1  # clipped: the reliability is an estimate
    found = scale_curvature(problem, ticket, exact_up_to=1, num_probes=20)
    assert found.summary[0]["linear_corrected"] == pytest.approx(noisy["linear_corrected"])
    corrected = landscape.results.format_value(noisy["linear_corrected"])
    assert f"linear {corrected}" in str(found)
    assert "rank is not" in str(found)
    assert "not corrected" in found.plot().layout.yaxis.title.text
    assert "rank is not" not in str(scale_curvature(problem, ticket))


def test_the_figure_of_a_sweep_draws_all_that_was_measured() -> None:
    table = curvature_table(
        tanh_problem(), tickets(), k=3, which="smallest", density=True, relative_error=0.2, subset=8
    )
    fig = table.plot()
    axes = [fig.layout[f"yaxis{i}"].title.text for i in ("", *range(2, 11))]
    assert axes == ["smallest eigenvalues", *["trace"] * 5, *["density"] * 4]
    points = {trace.name: trace for trace in fig.data if trace.mode == "markers" and trace.x[0] is not None}
    for j in range(3):
        np.testing.assert_array_equal(
            points[f"es-snr, λ{j + 1}"].y, [record["eigenvalues"][j] for record in table.records[:2]]
        )
    drawn = points["gd-magnitude, trace"]
    for k, record in enumerate(table.records[2:]):
        low, high = record["trace"]["interval"]
        assert drawn.y[k] + drawn.error_y.array[k] == pytest.approx(high)
        assert drawn.y[k] - drawn.error_y.arrayminus[k] == pytest.approx(low)
        assert drawn.customdata[k][3] == pytest.approx(100 * record["density"])
    apart = points["± standard error from the examples"].error_y.array
    np.testing.assert_allclose(apart, [record["trace"]["data_standard_error"] for record in table.records])
    for axis, record in zip(("y7", "y8", "y9", "y10"), table.spectra, strict=True):  # a panel per network
        [line] = [trace for trace in fig.data if trace.name == "density" and trace.yaxis == axis]
        np.testing.assert_allclose(max(line.y), np.max(record["log_density"]))
    layer = points["es-snr, a/kernel"]
    np.testing.assert_array_equal(
        layer.y, [record["per_layer"]["a/kernel"]["value"] for record in table.records[:2]]
    )


def test_the_figure_of_one_network_has_both_densities_and_both_errors_of_the_trace() -> None:
    table = curvature_table(tanh_problem(), tickets()[:1], k=2, density=True, relative_error=0.2, subset=8)
    fig = table.plot()
    assert fig.layout.xaxis3.title.text == "log10 of the eigenvalue's size"
    bars = {bar.name: bar for bar in fig.data if bar.type == "bar"}
    found = table.records[0]["trace"]
    assert bars["trace, whole"].error_y.array[0] == pytest.approx(found["interval"][1] - found["value"])
    apart = bars["trace, standard error from the examples"]
    assert apart.error_y.array[0] == found["data_standard_error"]


def test_networks_without_densities_are_drawn_one_after_the_other() -> None:
    problem, params = quadratic(np.linspace(1.0, 2.0, 150))
    table = curvature_table(problem, [params] * 3, k=1, tolerance=1e-12, trace=False, names=["a", "b", "c"])
    fig = table.plot()
    assert list(fig.layout.xaxis.ticktext) == ["a", "b", "c"]
    assert all(symbol.endswith("-open") for symbol in fig.data[0].marker.symbol)  # not converged


def test_a_trace_is_not_estimated_where_the_whole_spectrum_was_computed() -> None:
    problem = landscape.Problem(lambda p, b: 0.5 * (b @ p["w"]) ** 2, train=np.eye(100, dtype=np.float32))
    params = {"w": np.ones(100, np.float32)}
    found = landscape.curvature_table(problem, [params], k=2)
    record = found.records[0]
    assert record["complete_probe"]["exact"]
    assert record["trace"]["method"] == "exact"
    assert record["trace"]["value"] == pytest.approx(1.0)
    assert record["trace"]["interval"] == [record["trace"]["value"]] * 2


def test_intervals_are_over_networks_and_only_from_two(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    curvatures = np.linspace(0.1, 10, 40)
    problem, params = quadratic(curvatures)

    def network(seed: int) -> Checkpoint:
        std = (curvatures**-0.5 * np.exp(0.3 * rng.normal(size=40))).astype(np.float32)
        return Checkpoint(
            params=params, std={"w": std}, info={"method": "es-snr", "level": 0, "seeds": {"train": seed}}
        )

    three = scale_curvature(problem, [network(seed) for seed in range(3)])
    entry = three.summary[0]
    assert entry["networks"] == 3
    assert entry["rank_interval"][0] < entry["rank"] < entry["rank_interval"][1]
    assert scale_curvature(problem, network(9)).summary[0]["rank_interval"] is None
    three.save(tmp_path / "scale.h5")
    again = landscape.load_result(tmp_path / "scale.h5")
    assert str(again) == str(three)
    assert len(again.plot().data) == 4


@pytest.mark.faults
def test_checkpoints_without_a_search_distribution_are_refused() -> None:
    with pytest.raises(InputError, match="standard deviations"):
        scale_curvature(tanh_problem(), Checkpoint(params=tanh_params()))
    std = jax.tree.map(np.zeros_like, tanh_params())
    with pytest.raises(InputError, match="not positive"):
        scale_curvature(tanh_problem(), Checkpoint(params=tanh_params(), std=std))


def test_other_results_are_drawn_too() -> None:
    operator = hessian(tanh_problem(), tanh_params())
    assert len(INPUTS) == operator.num_examples
    for result in (top_eigenpairs(operator, 3), trace(operator), landscape.diagonal(operator)):
        assert len(result.plot().data) >= 1
