"""Figures and pages of lines, planes and trajectories: what is drawn is what was measured."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from landscape import Problem, loss_line, loss_surface, trajectory
from landscape.plots import figure_of, page_of
from landscape.plots.surfaces.lines import spread_figure
from landscape.plots.surfaces.persistence import persistence_figure
from landscape.plots.surfaces.planes import contour_levels, surface_figure


def _loss(params: Any, batch: Any) -> Any:
    w = params["w"].reshape(-1)
    return (w[0] ** 2 - 1) ** 2 + w[1] ** 2 + 0.2 * w[0] + 0.5 + 0.01 * batch * w[1]


PROBLEM = Problem(_loss, train=np.arange(-2, 3).astype(np.float32))
AT = {"w": np.array([[1.0, 0.5], [0.0, 0.2]], np.float32)}
AXES = [{"w": np.eye(4, dtype=np.float32)[i].reshape(2, 2)} for i in range(2)]


def _plane() -> Any:
    return loss_surface(PROBLEM, AT, directions=AXES, x=(-3, 1, 17), y=(-1, 1, 9))


def test_a_contour_has_the_loss_with_x_along_the_columns() -> None:
    plane = _plane()
    fig = figure_of(plane)
    contour = fig.data[0]
    np.testing.assert_allclose(np.array(contour.text, float), plane.losses["train"]["loss"].T)
    assert (len(contour.x), len(contour.y), np.shape(contour.z)) == (17, 9, (9, 17))


def test_minima_and_saddles_are_marked_where_they_are() -> None:
    plane = _plane()
    marks = {trace.name: trace for trace in figure_of(plane).data if trace.name in ("minimum", "saddle")}
    found = plane.topology
    assert marks["minimum"].x[0] == pytest.approx(plane.x[found.minima[1][0]])
    assert marks["saddle"].x[0] == pytest.approx(plane.x[found.saddles[1][0]])


def test_every_random_plane_has_a_button_and_a_line_of_its_spread() -> None:
    plane = loss_surface(PROBLEM, AT, x=(-1, 1, 7), y=(-1, 1, 7), num_planes=3)
    fig = figure_of(plane)
    assert [button.label for button in fig.layout.updatemenus[0].buttons] == ["plane 1", "plane 2", "plane 3"]
    assert [trace.visible for trace in fig.data[:3]] == [True, False, False]
    assert len(spread_figure(plane).data) == 3


def test_levels_are_logarithmic_where_the_loss_spans_decades() -> None:
    assert contour_levels(np.array([[1e-3, 1.0], [0.1, 10.0]]))["log"]
    assert not contour_levels(np.array([[1.0, 2.0]]))["log"]
    assert not contour_levels(np.array([[-1.0, 200.0]]))["log"]
    assert contour_levels(np.array([[np.nan, np.nan]]))["spacing"] == 0


def test_the_lowest_minimum_is_drawn_at_the_highest_loss() -> None:
    plane = _plane()
    points = persistence_figure(plane).data[1]
    assert points.y[0] == plane.losses["train"]["loss"].max()
    assert points.x[1] == pytest.approx(plane.topology.births[1])


def test_a_surface_in_three_dimensions_has_the_same_heights() -> None:
    plane = _plane()
    np.testing.assert_allclose(
        np.array(surface_figure(plane).data[0].customdata), plane.losses["train"]["loss"].T
    )


def test_few_lines_have_a_band_each_and_many_share_one() -> None:
    one = figure_of(loss_line(PROBLEM, AT, directions=AXES[0], x=(-1, 1, 5)))
    many = figure_of(loss_line(PROBLEM, AT, num_lines=6, x=(-1, 1, 5)))
    assert sum(trace.meta == "band" for trace in one.data) == 2
    assert sum(trace.meta == "band" for trace in many.data) == 2
    assert "6 lines" in next(trace.name for trace in many.data if trace.name and "lines" in trace.name)


def test_pages_have_a_caption_for_every_figure_and_are_the_same_bytes_twice(tmp_path: Path) -> None:
    path = [{"w": np.array([[t, t * t], [0.3 * t, 0.0]], np.float32)} for t in (2.0, 1.5, 1.0, 0.5)]
    for result in (_plane(), loss_line(PROBLEM, AT), trajectory(PROBLEM, path)):
        page = page_of(result)
        html = page.html()
        assert html.count("<figcaption") == html.count('class="plot"') > 0
        assert html == page_of(result).html()
        page.write(tmp_path / f"{result.kind}.html")


@pytest.mark.faults
def test_row_33_names_with_tags_are_text() -> None:
    plane = loss_surface(PROBLEM, AT, directions=AXES, x=(-1, 1, 3), y=(-1, 1, 3), names=["<b>x</b>"])
    assert "<b>x" not in page_of(plane).html().replace("&lt;b&gt;", "")
