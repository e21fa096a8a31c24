"""Figures: what they show of results and plain numbers."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import plotly.graph_objects as go
import plotly.io
import pytest
from hypothesis import given, strategies as st
from plot_samples import a_barrier, a_sweep, some_layers, some_levels, some_pairs

from landscape.errors import InputError, MissingDependencyError, OutputExistsError
from landscape.plots import density_figure, figure_of, sweep_figure, write_image
from landscape.plots.axes import Scale
from landscape.plots.connectivity.barrier import barrier_figure
from landscape.plots.text import label, markup, shorten, visible, wrapped_label
from landscape.plots.theme import COLORS, level_ticks, log_axis, log_ticks, numbers, style, style_of, swatch
from landscape.plots.tickets.sweeps import barrier_levels_figure, barrier_pairs_figure
from landscape.results import mean_interval


def traces(fig: go.Figure, name: str) -> list[Any]:
    return [trace for trace in fig.data if trace.name == name]


def words(fig: go.Figure) -> str:
    return " ".join(annotation.text for annotation in fig.layout.annotations)


# -- theme and text -----------------------------------------------------------------------------------


def test_style_leaves_the_global_template_alone() -> None:
    before = plotly.io.templates.default
    fig = style(go.Figure(), title="a", x="b", y="c")
    assert plotly.io.templates.default == before
    assert fig.layout.template.layout.colorway == COLORS
    assert fig.layout.template.layout.paper_bgcolor == "white"


def test_thirty_series_all_look_different() -> None:
    assert len({tuple(swatch(i).values()) for i in range(30)}) == 30


def test_series_differ_in_dash_and_marker_beside_colour() -> None:
    looks = [swatch(i) for i in range(6)]
    assert all(len({look[channel] for look in looks}) == 6 for channel in ("color", "dash", "symbol"))


def test_numbers_turns_what_is_not_finite_into_gaps() -> None:
    assert numbers([1, None, np.inf, np.nan, np.float32(0.5)]) == [1.0, None, None, None, 0.5]
    assert numbers(None) == []


def test_log_ticks_are_round_and_inside() -> None:
    assert log_ticks(2.7, 110) == [5.0, 10.0, 20.0, 50.0, 100.0]


@pytest.mark.parametrize(("low", "high"), [(2.825, 100.0), (100.0, 100.0), (0.03, 0.05)])
def test_ticks_of_levels_name_the_smallest_value(low: float, high: float) -> None:
    ticks = level_ticks([high, low])
    assert ticks["tickvals"][-1] == low
    assert len(ticks["tickvals"]) == len(set(ticks["tickvals"])) == len(ticks["ticktext"])


@pytest.mark.parametrize("ratio", [0.5, 0.8, 0.35])
@pytest.mark.parametrize("count", [1, 4, 20])
def test_every_tick_of_a_level_axis_is_a_level(ratio: float, count: int) -> None:
    levels = [100 * ratio**k for k in range(count)]
    ticks = level_ticks(levels)["tickvals"]
    assert all(any(tick == pytest.approx(level, rel=1e-8) for level in levels) for tick in ticks)
    assert (ticks[0], ticks[-1]) == pytest.approx((100.0, levels[-1]))
    assert len(ticks) <= 8


def test_levels_are_named_as_they_are() -> None:
    assert level_ticks([100, 50, 25, 12.5])["ticktext"] == ["100 %", "50 %", "25 %", "12.5 %"]


def test_log_axes_print_decades_or_one_two_five() -> None:
    assert log_axis(0.02, 30)["tickvals"] == [0.1, 1.0, 10.0]
    assert log_axis(2.2, 8)["tickvals"] == [2.0, 5.0]
    assert log_axis(1e-9, 1e-5)["ticktext"][0] == "10<sup>−9</sup>"


def test_a_method_looks_the_same_by_name_wherever_it_stands() -> None:
    presets = ["es-snr", "es-magnitude", "es-random", "gd-snr", "gd-magnitude", "gd-random"]
    assert len({style_of(name)["color"] for name in presets}) == 6
    assert len({(style_of(name)["dash"], style_of(name)["symbol"]) for name in presets}) == 6
    forth = sweep_figure([{**a_sweep()[0], "name": name} for name in ("gd-magnitude", "mine")])
    back = sweep_figure([{**a_sweep()[0], "name": name} for name in ("mine", "es-snr", "gd-magnitude")])
    levels = barrier_levels_figure([{**some_levels()[0], "name": "mine"}])
    for name, figs in (("gd-magnitude", (forth, back)), ("mine", (forth, back, levels))):
        looks = {(t.line.color, t.line.dash, t.marker.symbol) for fig in figs for t in traces(fig, name)}
        assert len(looks) == 1


@pytest.mark.faults
def test_33_labels_for_plotly_switch_off_tags_templates_and_formulas() -> None:
    shown = label("<b>a</b> %{x} $y$ \x1b & \udc80")
    assert shown == "&lt;b&gt;a&lt;/b&gt; %&#123;x} &#36;y&#36; \\x1b &amp; \\udc80"


@given(st.text())
def test_visible_text_has_no_invisible_character(text: str) -> None:
    assert visible(text).isprintable()


@given(st.text(min_size=1), st.integers(5, 30))
def test_wrapped_labels_keep_to_their_lines(text: str, width: int) -> None:
    assert wrapped_label(text, width).count("<br>") <= 1
    assert len(shorten(text, width)) <= max(width, 1)


def test_markup_knows_five_marks_and_escapes_the_rest() -> None:
    shown = markup("one **two** *three* `<b>*x*` 2*3*4\n\n- a\n- <i>")
    assert shown == (
        "<p>one <strong>two</strong> <em>three</em> <code>&lt;b&gt;*x*</code> 2*3*4</p>"
        "<ul><li>a</li><li>&lt;i&gt;</li></ul>"
    )


# -- the path between two networks --------------------------------------------------------------------


def test_barrier_is_drawn_from_the_chord_to_the_curve_where_it_is_largest() -> None:
    [bar] = traces(barrier_figure(a_barrier()), "barrier")
    assert tuple(bar.x) == (0.5, 0.5)
    assert bar.y[1] - bar.y[0] == pytest.approx(0.38)
    assert bar.y[0] == pytest.approx(0.035)


def test_barrier_is_said_with_its_interval() -> None:
    text = words(barrier_figure(a_barrier()))
    assert "<b>0.38</b> [0.342, 0.418] above the chord" in text
    assert "a.h5" in text
    assert "b.h5" in text


def test_every_split_and_metric_is_drawn_exactly() -> None:
    barrier = a_barrier()
    fig = barrier_figure(barrier)
    for split in ("train", "test"):
        np.testing.assert_array_equal(traces(fig, split)[0].y, barrier.losses[split]["loss"])
        np.testing.assert_array_equal(
            traces(fig, f"{split} accuracy")[0].y, barrier.losses[split]["accuracy"]
        )
    assert traces(fig, "train")[0].line.dash == "solid"
    assert traces(fig, "test")[0].line.dash != "solid"


def test_band_is_chord_plus_excess_within_the_critical_multiple() -> None:
    [band] = traces(barrier_figure(a_barrier()), "95 % band (train)")
    upper = dict(zip(band.x[:25], band.y[:25], strict=True))
    assert upper[0.5] == pytest.approx(0.035 + 0.38 + 2.8 * 0.03 * 0.38)
    assert upper[0.0] == pytest.approx(0.02)
    assert min(band.y) >= 0


def test_identical_networks_are_said_to_be() -> None:
    barrier = a_barrier(height=0.0, identical=True, interval_above_chord=[0.0, 0.0])
    fig = barrier_figure(barrier)
    assert "identical networks: barrier exactly 0" in words(fig)
    assert not traces(fig, "barrier")


@pytest.mark.faults
def test_13_points_that_overflow_are_marked_at_the_upper_edge() -> None:
    fig = barrier_figure(a_barrier(overflow=True))
    [lost] = traces(fig, "not finite")
    np.testing.assert_allclose(lost.x, np.linspace(0, 1, 25)[8:12])
    assert set(lost.y) == {fig.layout.yaxis.range[1]}
    assert "not available: 4 points" in words(fig)
    assert traces(fig, "train")[0].y[9] is None
    assert None in traces(fig, "95 % band (train)")[0].x


@pytest.mark.parametrize("which", [0, -1, slice(None)])
def test_missing_endpoints_leave_a_figure_without_chord(which: Any) -> None:
    barrier = a_barrier(barrier_above_chord=None)
    barrier.losses["train"]["loss"][which] = np.nan
    fig = barrier_figure(barrier)
    assert set(traces(fig, "chord (train)")[0].y) == {None}


def test_figure_survives_without_band_refinement_or_maximum() -> None:
    barrier = a_barrier(band={}, alpha_max={}, refined_alphas=None, interval_above_chord=None)
    fig = barrier_figure(barrier)
    assert not traces(fig, "refined")
    assert "<b>0.38</b> above the chord" in words(fig)


def test_axis_is_logarithmic_only_over_more_than_two_decades() -> None:
    assert barrier_figure(a_barrier()).layout.yaxis.type is None
    assert barrier_figure(a_barrier(height=20.0)).layout.yaxis.type == "log"


def test_losses_without_metrics_make_one_panel() -> None:
    barrier = a_barrier()
    for values in barrier.losses.values():
        del values["accuracy"]
    assert "yaxis2" not in barrier_figure(barrier).to_plotly_json()["layout"]


def test_endpoints_may_come_as_a_mapping() -> None:
    assert "one" in words(barrier_figure(a_barrier(endpoints={"a": "one", "b": "two"})))


def test_figure_of_chooses_by_kind() -> None:
    assert figure_of(a_barrier()) == barrier_figure(a_barrier())
    with pytest.raises(InputError, match="no figure"):
        figure_of(SimpleNamespace(kind="weather"))


def test_figure_of_a_measured_barrier() -> None:
    from landscape import Problem, loss_barrier

    x = np.linspace(-1, 1, 40, dtype=np.float32)
    problem = Problem(lambda p, batch: (p["w"] * batch[0] - batch[1]) ** 2, train=(x, 2 * x))
    ends = [{"w": np.float32(w)} for w in (1.5, 2.5)]
    result = loss_barrier(problem, *ends, num_points=5)
    fig = result.plot()
    np.testing.assert_array_equal(traces(fig, "train")[0].y, result.losses["train"]["loss"])


# -- tickets ------------------------------------------------------------------------------------------


def test_sweep_puts_dense_networks_at_the_left_of_a_log_axis_of_percentages() -> None:
    fig = sweep_figure(a_sweep())
    left, right = fig.layout.xaxis.range
    assert left > 2 > np.log10(5) > right
    assert "100 %" in fig.layout.xaxis.ticktext
    assert tuple(traces(fig, "ES, SNR")[0].x) == (100, 50, 20, 5)


def test_sweep_shows_the_mean_and_with_few_seeds_each_seed() -> None:
    fig = sweep_figure(a_sweep())
    assert traces(fig, "ES, SNR")[0].y[0] == pytest.approx(0.975)
    assert traces(fig, "ES, SNR, run 2")[0].y[0] == pytest.approx(0.97)


def test_sweep_with_five_seeds_makes_students_interval_and_no_markers() -> None:
    [curve, _] = a_sweep(seeds=5)
    fig = sweep_figure([{**curve, "interval": None}])
    want = mean_interval([0.98 - 0.01 * seed for seed in range(5)])
    assert tuple(traces(fig, "ES, SNR")[0].customdata[0][1:]) == pytest.approx(want)
    assert not traces(fig, "ES, SNR, run 1")


def test_sweep_leaves_missing_seeds_out_of_the_mean() -> None:
    curve = {"name": "a", "densities": [1.0, 0.5], "values": [[0.9, None], [0.8, None]]}
    assert traces(sweep_figure([curve]), "a")[0].y == (pytest.approx(0.85), None)


def test_reference_line_lies_inside_the_axis() -> None:
    low, high = sweep_figure(a_sweep(), reference=("chance", 0.1)).layout.yaxis.range
    assert low < 0.1 < 0.98 < high


@pytest.mark.parametrize(
    "change", [{"densities": [1.0]}, {"densities": [1.0, 0.5, 0.2, 0.0]}, {"interval": [(0, 1)]}]
)
def test_sweep_refuses_what_does_not_fit(change: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="ES, SNR"):
        sweep_figure([{**a_sweep()[0], **change}])


def test_density_shows_every_layer_and_leaves_empty_ones_out_of_a_log_axis() -> None:
    fig = density_figure(*some_layers())
    [drawn] = traces(fig, "ES, SNR, out")
    assert tuple(drawn.y) == pytest.approx((100, 90, 70, 40))
    [own] = traces(fig, "ES, SNR, ES, SNR")
    assert own.y[3] is None
    assert own.customdata[3][0] == 0


def test_density_takes_one_list_of_densities_a_method() -> None:
    layers = [{"a": [1.0, 0.5]}, {"a": [1.0]}]
    fig = density_figure(layers, [[1.0, 0.5], [0.7]], ["x", "y"])
    assert tuple(traces(fig, "y, a")[0].x) == (70,)


def test_level_barriers_are_drawn_on_a_log_axis_whose_floor_is_named() -> None:
    fig = barrier_levels_figure(some_levels())
    [run] = traces(fig, "GD, run 1")
    assert fig.layout.yaxis.type == "log"
    assert fig.layout.yaxis.ticktext[0].startswith("≤")
    assert run.y[1] == fig.layout.yaxis.tickvals[0]
    assert run.marker.symbol[1].endswith("-open")
    assert run.customdata[1][0] == 0
    assert run.y[3] is None


def test_error_bars_end_at_the_interval() -> None:
    [run] = traces(barrier_levels_figure(some_levels()), "GD, run 1")
    assert run.y[0] + run.error_y.array[0] == pytest.approx(0.01)
    assert run.y[0] - run.error_y.arrayminus[0] == pytest.approx(0.0025)


def test_one_run_may_be_given_without_nesting() -> None:
    one = {"name": "a", "densities": [1.0, 0.5], "values": [0.1, 0.2], "intervals": [(0.0, 0.2), None]}
    [run] = traces(barrier_levels_figure([one]), "a, run 1")
    assert tuple(run.y) == (0.1, 0.2)


def test_pairs_are_grouped_by_method_and_kind_with_error_bars() -> None:
    fig = barrier_pairs_figure(some_pairs())
    ticks = fig.layout.yaxis.ticktext
    assert list(ticks) == [
        "ES, SNR<br>one initialisation",
        "ES, SNR<br>two initialisations",
        "GD<br>one initialisation",
        "GD<br>two initialisations",
    ]
    es = traces(fig, "ES, SNR, one initialisation")[0]
    assert es.x[0] + es.error_x.array[0] == pytest.approx(0.07)


@pytest.mark.parametrize(
    ("values", "log"),
    [
        ([1.0, 2.0], False),
        ([0.001, 1.0], True),
        ([0.0, 0.0], False),
        ([], False),
        ([-1.0, 0.001, 1.0], False),
    ],
)
def test_scale_is_logarithmic_only_where_positive_values_span_decades(values: list[float], log: bool) -> None:
    assert (Scale.of(values).floor is not None) is log


def test_linear_axis_has_room_for_a_marker_on_zero() -> None:
    low, high = Scale.of([0.0, 0.3], [0.5]).axis()["range"]
    assert low < 0 < 0.5 < high
    assert Scale.of([]).axis()["range"] == pytest.approx([-0.04, 1.06])


def test_floor_lies_at_most_four_decades_below_the_top() -> None:
    assert Scale.of([1e-30, 1.0]).floor == pytest.approx(1e-4)
    assert Scale.of([0.005, 1.0], [30.0]).floor == pytest.approx(1e-3)


@pytest.mark.parametrize(
    "fig",
    [sweep_figure([]), barrier_levels_figure([]), barrier_pairs_figure([]), density_figure([], [], [])],
)
def test_nothing_to_draw_is_an_empty_figure(fig: go.Figure) -> None:
    json.loads(fig.to_json())


# -- pictures and imports -----------------------------------------------------------------------------


@pytest.mark.faults
def test_32_pictures_without_kaleido_name_the_pip_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "kaleido", None)
    with pytest.raises(MissingDependencyError, match="pip install kaleido"):
        write_image(go.Figure(), tmp_path / "a.png")
    assert not list(tmp_path.iterdir())


@pytest.mark.faults
def test_32_pictures_without_a_browser_say_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> bytes:
        raise RuntimeError("\n\nKaleido requires Google Chrome to be installed.\n\n")

    monkeypatch.setitem(sys.modules, "kaleido", SimpleNamespace())
    monkeypatch.setattr(go.Figure, "to_image", refuse)
    with pytest.raises(MissingDependencyError, match="Chrome"):
        write_image(go.Figure(), tmp_path / "a.svg")


def test_pictures_are_not_overwritten_and_their_kind_is_checked(tmp_path: Path) -> None:
    there = tmp_path / "a.png"
    there.write_text("mine")
    with pytest.raises(OutputExistsError):
        write_image(go.Figure(), there)
    with pytest.raises(InputError, match="kind of picture"):
        write_image(go.Figure(), tmp_path / "a.doc")
    assert there.read_text() == "mine"


def test_plots_are_imported_without_plotly_or_jax() -> None:
    code = "import sys, landscape.plots; print({'jax', 'plotly'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_figures_need_no_jax() -> None:
    names = ["connectivity.barrier", "tickets.sweeps", "page", "theme"]
    assert all(importlib.import_module(f"landscape.plots.{name}") for name in names)
    code = (
        "import sys, landscape.plots.page, landscape.plots.connectivity.barrier; print('jax' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
