"""Figures and page of flatness, from plain numbers and in a real browser."""

from __future__ import annotations

import dataclasses
import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flatness_results import a_measure, a_table, figures

from landscape.flatness import MEASURES, title_of
from landscape.plots import figure_of
from landscape.plots.flatness.curves import metrics_of
from landscape.plots.flatness.figures import curve_figure, networks_figure, sweep_of, values_figure
from landscape.plots.flatness.page import flatness_page
from landscape.plots.flatness.ranks import correlation_figure
from landscape.plots.names import short_names
from landscape.plots.tables import figure_rows
from landscape.plots.text import label


def words(fig: Any) -> list[str]:
    return [annotation.text for annotation in fig.layout.annotations]


def test_one_network_shows_every_measure_with_its_interval() -> None:
    result = a_table(seeds=1, levels=1, methods=("es",))
    fig = figure_of(result)
    (trace,) = fig.data
    assert len(trace.x) == len(result.measures)
    first = next(i for i, r in enumerate(result.records) if r["measure"] == "gaussian")
    record = result.records[first]
    assert trace.customdata[first][0] == record["value"]
    assert trace.error_x.array[first] == pytest.approx(0.1 * record["value"])
    bounds = [i for i, r in enumerate(result.records) if r["label"] == "lower bound"]
    assert all(trace.marker.symbol[i] == "triangle-right" for i in bounds)
    assert all("≥ " in trace.text[i] for i in bounds)
    negative = next(i for i, r in enumerate(result.records) if r["measure"] == "local_entropy")
    assert trace.x[negative] == -record_value(result, "local_entropy")
    assert trace.marker.symbol[negative].endswith("-open")


def record_value(result: Any, measure: str) -> float:
    return float(next(r["value"] for r in result.records if r["measure"] == measure))


def test_values_that_are_not_defined_are_left_out() -> None:
    fig = values_figure(a_table(seeds=1, levels=1, methods=("es",), missing=("pac_bayes",)))
    assert "PAC-Bayes 1/σ²" not in words(fig)
    assert "PAC-Bayes 1/σ′², magnitude-aware" in words(fig)
    nothing = a_table(seeds=1, levels=1, methods=("es",), measures=("trace",), missing=("trace",))
    assert figure_of(nothing).data[0].x == ()


def test_measures_stand_in_families() -> None:
    fig = values_figure(
        a_table(seeds=1, levels=1, methods=("es",), measures=("gaussian", "sam", "average_normalised"))
    )
    assert words(fig) == [
        "<b>Random perturbations</b>",
        "Gaussian robustness",
        "Average-case sharpness, adaptive, normalised logits",
        "<b>Worst case</b>",
        "m-sharpness, first order",
    ]
    heights = [annotation.y for annotation in fig.layout.annotations]
    assert heights == sorted(heights, reverse=True)
    assert sorted(fig.data[0].y) == sorted(heights[i] for i in (1, 2, 4))


def test_an_interval_around_zero_reaches_to_a_tenth_on_the_axis_of_sizes() -> None:
    result = a_table(seeds=1, levels=1, methods=("es",), measures=("trace",))
    result.records[0].update(value=2.0, interval=[-1.0, 5.0])
    (trace,) = values_figure(result).data
    assert (trace.error_x.arrayminus[0], trace.error_x.array[0]) == pytest.approx((1.8, 3.0))
    assert list(trace.customdata[0][:3]) == [2.0, -1.0, 5.0]


def test_ticket_and_full_space_are_two_series() -> None:
    fig = figure_of(a_table(seeds=1, levels=1, methods=("es",), spaces=("ticket", "full")))
    assert [trace.name for trace in fig.data] == ["ticket space", "full space"]
    assert fig.data[0].marker.color != fig.data[1].marker.color
    assert fig.data[0].marker.symbol[0] != fig.data[1].marker.symbol[0]
    assert not set(fig.data[0].y) & set(fig.data[1].y)  # bounds differ in more than colour too


def test_a_sweep_shows_the_mean_over_runs_at_every_density() -> None:
    result = a_table(seeds=3)
    fig = sweep_of(result, "gaussian")
    assert fig is not None
    lines = {trace.name: trace for trace in fig.data if trace.mode == "lines+markers"}
    assert set(lines) == {"es-snr", "gd-magnitude"}
    values = [
        r["value"]
        for r in result.records
        if (r["measure"], r["method"], r["level"]) == ("gaussian", "es-snr", 1)
    ]
    assert lines["es-snr"].y[1] == pytest.approx(np.mean(values))
    assert lines["es-snr"].x[1] == 50
    assert not any(trace.fill for trace in fig.data)  # three runs: each is shown, there is no interval
    assert any(trace.fill for trace in sweep_of(a_table(seeds=5), "gaussian").data)  # type: ignore[union-attr]


def test_a_sweep_of_one_density_or_of_no_values_is_none() -> None:
    assert sweep_of(a_table(levels=1), "gaussian") is None
    assert sweep_of(a_table(density=False), "gaussian") is None
    assert sweep_of(a_table(missing=("sam",)), "sam") is None


def test_lower_bounds_say_so_on_the_hover_of_a_sweep() -> None:
    fig = sweep_of(a_table(), "sam")
    assert fig is not None
    assert any("(≥)" in (trace.hovertemplate or "") for trace in fig.data)


def test_several_networks_make_a_panel_a_measure() -> None:
    fig = figure_of(a_table(measures=("gaussian", "trace")))
    titles = [annotation.text for annotation in fig.layout.annotations]
    assert titles == ["Gaussian robustness", "Hessian trace", "parameter norm"]


def test_runs_of_two_folders_that_share_method_and_seed_are_two_runs() -> None:
    one, two = (a_table(seeds=1, methods=("es",), name=name, measures=("gaussian",)) for name in "ab")
    for record in two.records:
        record["value"] *= 3
    both = dataclasses.replace(
        one, records=[*one.records, *two.records], networks=[*one.networks, *two.networks]
    )
    fig = sweep_of(both, "gaussian")
    assert fig is not None
    mean = next(trace for trace in fig.data if trace.mode == "lines+markers")
    assert mean.y == pytest.approx([2 * record["value"] for record in one.records])
    assert sum(trace.mode == "markers" for trace in fig.data) == 2


def test_a_sweep_meets_at_densities_not_at_levels() -> None:
    result = a_table(seeds=2, levels=2, methods=("es",), measures=("gaussian",))
    for entry in (*result.records[2:], *result.networks[2:]):
        entry["density"] = 0.8 ** entry["level"]  # the second run pruned less
    fig = sweep_of(result, "gaussian")
    assert fig is not None
    assert fig.data[-1].x == pytest.approx((100, 80, 50))


def test_networks_without_a_sweep_are_rows() -> None:
    table = a_table(measures=("gaussian", "sam"), density=False)
    fig = networks_figure(table, "gaussian")
    assert fig is not None
    assert [len(trace.x) for trace in fig.data] == [6, 6]
    values = [record["value"] for record in table.records if record["measure"] == "gaussian"]
    assert [*fig.data[0].x, *fig.data[1].x] == values
    names = [label(name) for name in short_names([network["name"] for network in table.networks])]
    assert words(fig) == names
    assert names[0] == "es-snr/s0/l0"  # what tells the networks apart, in 24 characters
    assert fig.data[0].customdata[0][3] == table.networks[0]["name"]
    bounds = networks_figure(table, "sam")
    assert bounds is not None
    assert bounds.layout.xaxis.title.text == "lower bound (≥)"
    norm = networks_figure(table, "parameter_norm")
    assert norm is not None
    assert norm.data[0].x[:3] == (3.0, 4.0, 5.0)
    whole = figure_of(table)
    assert [trace.xaxis for trace in whole.data] == ["x", "x", "x2", "x2"]


def test_names_that_look_alike_when_shortened_stay_apart() -> None:
    table = a_table(measures=("gaussian",), density=False, name="a" * 60)
    fig = networks_figure(table, "gaussian")
    assert fig is not None
    assert len({y for trace in fig.data for y in trace.y}) == 12


def test_many_networks_are_named_on_hover_only() -> None:
    fig = networks_figure(a_table(seeds=8, measures=("gaussian",), density=False), "gaussian")
    assert fig is not None
    assert not words(fig)
    assert "level-0.h5" in fig.data[0].text[0]


def test_a_measure_that_no_network_has_makes_no_rows() -> None:
    table = a_table(measures=("gaussian", "sam"), density=False, missing=("sam",))
    assert networks_figure(table, "sam") is None
    assert networks_figure(table, "search") is None
    partly = a_table(measures=("gaussian",), density=False)
    partly.records[0]["value"] = None
    fig = networks_figure(partly, "gaussian")
    assert fig is not None
    assert len(fig.data[0].x) == 5


def one_curve(**changes: Any) -> Any:
    result = a_table(seeds=1, levels=1, methods=("es",), measures=("gaussian",))
    result.curves[0].update(changes)
    return result


def test_a_curve_is_logarithmic_and_draws_what_is_not_positive_on_its_floor() -> None:
    fig = curve_figure(one_curve(loss_rise=[-1.0, 3e-3, 2.0], loss_rise_error=[0.1, 1e-4, 0.2]), "gaussian")
    assert fig is not None
    assert fig.layout.xaxis.type == fig.layout.yaxis.type == "log"
    assert fig.layout.yaxis.ticktext[0] == "≤ 0.001"
    line = fig.data[-1]
    assert line.y == (0.001, 3e-3, 2.0)
    assert line.customdata[0][0] == -1.0  # the hover and the CSV give the number itself
    assert [symbol.endswith("-open") for symbol in line.marker.symbol] == [True, False, False]
    assert curve_figure(one_curve(), "sam") is None


def test_a_curve_that_never_rises_is_drawn() -> None:
    fig = curve_figure(one_curve(loss_rise=[-1.0, 0.0, -2.0]), "gaussian")
    assert fig is not None
    assert set(fig.data[-1].y) == {1e-12}


def test_the_band_of_one_network_is_students_interval_over_draws() -> None:
    result = one_curve(loss_rise=[1.0, 2.0, 3.0], loss_rise_error=[0.1, 0.1, np.nan])
    result.records[0]["details"] = {"draws": 3}
    fig = curve_figure(result, "gaussian")
    assert fig is not None
    band, line = fig.data
    assert band.y[0] == pytest.approx(1 + 4.302653 * 0.1)
    assert len(band.x) == 4  # where the error is not known there is none
    assert line.y == (1.0, 2.0, 3.0)


@pytest.mark.parametrize(("seeds", "bands", "markers"), [(2, 0, 2), (5, 1, 0)])
def test_few_runs_are_markers_and_five_have_an_interval(seeds: int, bands: int, markers: int) -> None:
    fig = curve_figure(a_table(seeds=seeds, levels=1, methods=("es",)), "gaussian")
    assert fig is not None
    assert sum(trace.fill == "toself" for trace in fig.data) == bands
    assert sum(trace.mode == "markers" for trace in fig.data) == markers
    assert f"mean of {seeds} runs" in fig.data[-1].hovertemplate


def with_metric(table: Any, **metrics: bool) -> Any:
    for curve in table.curves:
        for i, name in enumerate(metrics, start=1):
            curve |= {f"{name}_rise": [0.0, -0.01 * i, -0.2 * i], f"{name}_rise_error": [0.0, 1e-3, 0.05]}
    return dataclasses.replace(table, config={"higher_is_better": metrics})


def test_a_curve_of_a_metric_shows_how_much_worse_it_gets() -> None:
    table = with_metric(a_table(seeds=1, levels=1, methods=("es",)), accuracy=True, cost=False)
    table.records[0]["details"] = {"draws": 3}
    assert metrics_of(table, "gaussian") == ["accuracy", "cost"]
    assert metrics_of(table, "sam") == []
    fall, rise = (curve_figure(table, "gaussian", metric=name) for name in ("accuracy", "cost"))
    assert fall is not None
    assert rise is not None
    assert fall.layout.title.text.startswith("Fall of the accuracy")
    assert rise.layout.title.text.startswith("Rise of the cost")
    assert fall.data[-1].y == pytest.approx((0, 0.01, 0.2))
    assert rise.data[-1].y == pytest.approx((0, -0.02, -0.4))
    assert fall.layout.yaxis.type != "log"
    assert fall.data[0].y[1] == pytest.approx(0.01 + 4.302653 * 1e-3)  # Student's interval over draws
    assert min(fall.data[0].y) == pytest.approx(0.2 - 4.302653 * 0.05)


def test_the_page_shows_curves_of_loss_and_metric_side_by_side() -> None:
    page = flatness_page(with_metric(a_table(measures=("gaussian", "gaussian_relative")), accuracy=True))
    assert [name for name in figures(page) if "curve" in name] == [
        "ticket-curve-gaussian",
        "ticket-curve-gaussian-accuracy",
        "ticket-curve-gaussian-relative",
        "ticket-curve-gaussian-relative-accuracy",
    ]


def test_results_of_old_have_the_accuracy_drawn_as_a_fall() -> None:
    table = dataclasses.replace(with_metric(a_table(seeds=1, levels=1), accuracy=True, odd=True), config={})
    assert metrics_of(table, "gaussian") == ["accuracy"]


def test_few_runs_have_their_own_intervals_on_their_markers_and_in_the_csv() -> None:
    table = a_table(seeds=3, measures=("gaussian",))
    for fig, middle in ((sweep_of(table, "gaussian"), 1), (curve_figure(table, "gaussian"), 1)):
        assert fig is not None
        run = next(trace for trace in fig.data if trace.mode == "markers")
        value, low, high = run.customdata[middle]
        assert low < value < high
        assert run.error_y.array[middle] == pytest.approx(high - value)
        assert run.error_y.arrayminus[middle] == pytest.approx(value - low)
        rows = [row for row in figure_rows(fig) if str(row[1]).endswith("run 1")]
        assert rows[middle][6:] == (value, low, high)


def test_a_single_run_has_its_own_interval_as_the_band() -> None:
    table = a_table(seeds=1, measures=("gaussian",), methods=("es",))
    fig = sweep_of(table, "gaussian")
    assert fig is not None
    ends = [record["interval"] for record in table.records]
    assert [tuple(row[1:]) for row in fig.data[-1].customdata] == [tuple(pair) for pair in ends]


def censored(table: Any, *positions: int, at_most: bool = True) -> Any:
    for i in positions:
        key = "value_at_most" if at_most else "value_at_least"
        facts = {"value": None, "interval": None, "status": "not-found", "details": {key: 1e-7}}
        table.records[i].update(facts)
    return table


@pytest.mark.parametrize("seeds", [3, 6])
def test_a_value_beyond_what_was_tried_is_an_arrow_and_leaves_no_mean(seeds: int) -> None:
    table = censored(
        a_table(seeds=seeds, measures=("pac_bayes",), methods=("es",)), 1, 4
    )  # level 1 of two runs
    fig = sweep_of(table, "pac_bayes")
    assert fig is not None
    line = next(trace for trace in fig.data if trace.mode == "lines+markers")
    assert [y is None for y in line.y] == [False, True, False]
    (arrow,) = (trace for trace in fig.data if "text" in trace.mode)
    assert f"2 of {seeds} runs" in arrow.name
    assert arrow.text[0] == "≤ 1e-07"
    known = [r["value"] for r in table.records if r["value"] is not None]
    assert arrow.y[0] < min(known)
    assert (50.0, 1e-7, None, 1e-7) in [row[5:] for row in figure_rows(fig)]
    runs = [trace for trace in fig.data if trace.mode == "markers"]
    assert sum(trace.y[1] is not None for trace in runs) == seeds - 2  # those known are markers there
    assert "Beyond what was tried at 2 of" in flatness_page(table).html(plotlyjs="cdn")


def test_values_beyond_what_was_tried_are_arrows_among_rows_of_dots() -> None:
    table = censored(a_table(measures=("pac_bayes",), density=False), 0)
    fig = networks_figure(table, "pac_bayes")
    assert fig is not None
    arrow = fig.data[-1]
    assert arrow.text == ("≤ 1e-07",)
    assert arrow.x[0] < min(x for trace in fig.data[:-1] for x in trace.x)
    one = censored(
        a_table(seeds=1, levels=1, methods=("es",), measures=("pac_bayes", "trace")), 0, at_most=False
    )
    drawn = figure_of(one).data[-1]
    assert drawn.text == ("≥ 1e-07",)
    assert drawn.x[0] > figure_of(one).data[0].x[0]
    nothing = censored(a_table(seeds=1, measures=("pac_bayes",), methods=("es",)), 0, 1, 2)
    assert sweep_of(nothing, "pac_bayes") is not None


def test_tables_hold_networks_details_and_bounds() -> None:
    table = censored(a_table(measures=("pac_bayes", "relative_flatness")), 0)
    table.records[1]["details"] = {
        "layers": {"a/kernel": {"value": 1.5, "interval": (1, 2)}},
        "many": [1.0] * 20,
    }
    html = flatness_page(table).html(plotlyjs="cdn")
    assert '<th scope="col" class="number">norm of the parameters</th>' in html
    assert "≤ 1e-07, beyond what was tried" in html
    assert "<details><summary>Details of each measure</summary>" in html
    assert "Relative flatness, summed over layers</td>" in html
    assert "layers.a/kernel.value" in html
    assert "20 values, 1 to 1" in html
    single = flatness_page(a_table(seeds=1, levels=1, methods=("es",), measures=("pac_bayes",)))
    assert "<details><summary>" not in single.html(plotlyjs="cdn")


@pytest.mark.faults
def test_row_13_a_rise_that_overflows_in_one_run_has_no_mean() -> None:
    result = a_table(seeds=2, levels=1, methods=("es",), measures=("gaussian",))
    result.curves[0]["loss_rise"][2] = np.inf
    fig = curve_figure(result, "gaussian")
    assert fig is not None
    assert len(fig.data[-1].x) == 2


def test_curves_of_many_levels_show_the_densest_and_the_sparsest_of_each_method() -> None:
    result = a_table(levels=4)
    result.curves.reverse()  # whatever the order they came in
    fig = curve_figure(result, "gaussian")
    assert fig is not None
    names = [trace.name for trace in fig.data if trace.showlegend is not False]
    assert names == ["gd-magnitude, 100 %", "gd-magnitude, 12.5 %", "es-snr, 100 %", "es-snr, 12.5 %"]
    colors = [trace.line.color for trace in fig.data if trace.showlegend is not False]
    assert colors[0] == colors[1] != colors[2]


def test_curves_without_densities_are_told_apart_by_level() -> None:
    fig = curve_figure(a_table(levels=2, methods=("es",), density=False), "gaussian")
    assert fig is not None
    assert [t.name for t in fig.data if t.showlegend is not False] == ["es, level 0", "es, level 1"]


def test_curves_of_two_spaces_are_not_averaged() -> None:
    result = a_table(seeds=1, levels=1, methods=("es",), spaces=("ticket", "full"))
    for space in ("ticket", "full"):
        fig = curve_figure(result, "gaussian", space=space)
        (own,) = (c for c in result.curves if (c["measure"], c["space"]) == ("gaussian", space))
        assert fig is not None
        np.testing.assert_array_equal(fig.data[-1].y, own["loss_rise"])


def test_correlations_are_a_symmetric_matrix_with_intervals_on_hover() -> None:
    result = a_table(measures=("gaussian", "sam", "trace"))
    fig = correlation_figure(result)
    assert fig is not None
    (heat,) = fig.data
    assert np.shape(heat.z) == (4, 4)
    assert heat.z[0][1] == heat.z[1][0] == result.correlations[0]["tau"]
    assert heat.z[0][0] is None
    assert (heat.zmin, heat.zmax) == (-1, 1)
    assert "12 networks of 4 runs" in heat.text[0][1]
    assert "[-0.5, 0.5]" in heat.text[0][2]
    assert correlation_figure(a_table(seeds=1, levels=1, methods=("es",))) is None
    assert fig.layout.xaxis.ticktext == ("1", "2", "3", "4")
    whole = correlation_figure(a_table())
    assert whole is not None
    assert whole.layout.xaxis.ticktext == ("5", "10", "15", "20", "25")


def test_a_single_measure_shows_its_curve_or_its_value() -> None:
    assert figure_of(a_measure()).data[-1].y == pytest.approx((1e-4, 1e-2))
    assert figure_of(a_measure(curve=False)).data[0].x == (0.01,)


def test_unknown_measures_keep_their_name() -> None:
    assert title_of("my_measure") == "my measure"


def test_the_example_prints_a_row_of_every_measure_at_the_levels_asked_for() -> None:
    path = Path(__file__).parent.parent / "examples" / "flatness.py"
    spec = importlib.util.spec_from_file_location("flatness_example", path)
    assert spec is not None
    assert spec.loader is not None
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    table = censored(a_table(seeds=5, levels=3), 0)
    lines = example.markdown(table, ("es-snr", "gd-magnitude"), [0, 2]).splitlines()
    assert lines[0] == "| measure | unchanged by rescaling | 100 % | 25 % |"
    assert len(lines) == 2 + len(MEASURES)
    assert [line.split(" | ")[0] for line in lines[2:4]] == [
        "| Gaussian robustness, radius 0.05",
        r"| Gaussian robustness, relative to \|θ\|, radius 0.05",
    ]
    first, second = lines[2].split(" | ")[2:]
    assert first == "–"  # a seed has only a bound there
    logs = [
        np.log(a["value"] / b["value"])
        for seed in range(5)
        for a, b in [
            [r for r in table.records if (r["measure"], r["seed"], r["level"]) == ("gaussian", seed, 2)]
        ]
    ]
    assert second.startswith(f"{np.exp(np.mean(logs)):.2f} [")
