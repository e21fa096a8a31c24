"""The page of a flatness result: what stands beside what, in words and in a browser."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from browser import open_page
from flatness_results import a_table, figures
from plot_samples import ODD_NAME, SHOWN_NAME

from landscape.plots import figure_of
from landscape.plots.flatness.figures import values_figure
from landscape.plots.flatness.page import flatness_page
from landscape.plots.text import label


def test_the_page_shows_all_raw_measures_of_a_counterpart_beside_it() -> None:
    measures = ("sam", "sam_ascent", "adaptive_l2", "gaussian", "gaussian_relative")
    page = flatness_page(a_table(measures=measures))
    assert figures(page)[:6] == [
        "ticket-sam",
        "ticket-sam-ascent",
        "ticket-adaptive-l2",
        "ticket-gaussian",
        "ticket-gaussian-relative",
        "ticket-norm",
    ]
    left, right = page.html(plotlyjs="cdn").split('<div class="stays">')[:2]
    assert 'id="ticket-sam-ascent"' in left
    assert right.lstrip().startswith('<figure id="ticket-adaptive-l2"')
    assert "The other measures" not in left + right


def test_the_page_of_networks_without_a_sweep_shows_their_values() -> None:
    found = figures(flatness_page(a_table(measures=("gaussian", "trace"), density=False)))
    assert found[:3] == ["ticket-gaussian", "ticket-trace", "ticket-norm"]


def test_the_page_of_one_network_shows_the_curves_of_every_space() -> None:
    table = a_table(seeds=1, levels=1, methods=("es",), spaces=("ticket", "full"), measures=("gaussian",))
    assert figures(flatness_page(table)) == ["sizes", "ticket-curve-gaussian", "full-curve-gaussian"]


def test_the_page_of_one_network_has_raw_beside_scale_relative_measures() -> None:
    page = flatness_page(a_table(seeds=1, levels=1, methods=("es",), measures=("trace", "fisher_rao", "sam")))
    assert figures(page)[:2] == ["sizes-raw", "sizes-relative"]
    raw, relative = (
        values_figure(a_table(seeds=1, levels=1, methods=("es",)), names)
        for names in (["trace", "sam"], ["fisher_rao"])
    )
    assert [len(fig.data[0].x) for fig in (raw, relative)] == [2, 1]


def test_the_page_says_how_many_warnings_it_leaves_out() -> None:
    table = dataclasses.replace(a_table(), warnings=tuple(f"warning {i}" for i in range(20)))
    html = flatness_page(table).html(plotlyjs="cdn")
    assert "warning 11" in html
    assert "warning 12" not in html
    assert "and 8 more warnings" in html
    assert html.count('class="warning"') == 1


def test_the_page_says_at_each_figure_what_its_measure_is() -> None:
    html = flatness_page(a_table(measures=("sam", "local_entropy", "fisher_rao"))).html(plotlyjs="cdn")
    assert "Lower bound (≥). Depends on the scale of the weights." in html
    assert "Larger means flatter. Depends on the scale of the weights." in html
    assert "<p>Unchanged under layer-wise and neuron-wise rescaling.</p>" in html


@pytest.mark.parametrize("width", [390, 1280])
def test_the_page_draws_every_plot_without_an_error_or_a_sideways_scroll(tmp_path: Path, width: int) -> None:
    measures = ("gaussian", "gaussian_relative", "sam", "trace")
    page, *_ = flatness_page(a_table(measures=measures, spaces=("ticket", "full"))).write(tmp_path / "a.html")
    seen = open_page(page, tmp_path, width=width)
    assert seen.errors == []
    assert seen.drawn == seen.plots == 2 * 5 + 2 * 2 + 1  # measures and norm, curves, ranks
    assert seen.content_width <= seen.width
    assert seen.widest_plot <= seen.width


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize(("seeds", "levels"), [(1, 1), (2, 2)])
def test_rows_of_dots_draw_at_any_width(tmp_path: Path, width: int, seeds: int, levels: int) -> None:
    methods = ("es",) if seeds == 1 else ("es", "gd")
    table = a_table(seeds=seeds, levels=levels, methods=methods, density=False, name=ODD_NAME)
    page, *_ = flatness_page(table).write(tmp_path / "a.html")
    seen = open_page(page, tmp_path, width=width, script="return window.obeyed === true;")
    assert seen.errors == []
    assert seen.drawn == seen.plots
    assert seen.content_width <= seen.width
    assert SHOWN_NAME in seen.text
    assert not seen.answer


@pytest.mark.faults
def test_row_33_names_of_files_are_text() -> None:
    html = flatness_page(a_table(name=ODD_NAME, methods=(ODD_NAME,))).html()
    assert "<img src=x" not in html
    fig = figure_of(a_table(seeds=1, levels=1, methods=("es",), name=ODD_NAME))
    assert "<img" not in fig.layout.title.text
    assert label(SHOWN_NAME)[:10] in fig.data[0].text[0]
