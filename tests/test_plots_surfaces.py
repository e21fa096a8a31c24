"""Figures and pages of lines, planes and trajectories: what is drawn is what was measured."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from landscape import Problem, loss_line, loss_surface, trajectory
from landscape.plots import figure_of, page_of
from landscape.plots.points import points_of
from landscape.plots.surfaces.lines import spread_figure
from landscape.plots.surfaces.persistence import persistence_figure
from landscape.plots.surfaces.planes import contour_levels, surface_figure
from landscape.plots.surfaces.trajectories import hidden_figure
from landscape.plots.theme import DARK, LIGHT, caption_of, style_of


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
    line = loss_line(PROBLEM, AT, directions=AXES[0], x=(-1, 1, 5))
    one = figure_of(line)
    many = figure_of(loss_line(PROBLEM, AT, num_lines=6, x=(-1, 1, 5)))
    assert sum(trace.meta == "band" for trace in one.data) == 1
    assert sum(trace.meta == "band" for trace in many.data) == 1
    assert "6 lines" in next(trace.name for trace in many.data if trace.name and "lines" in trace.name)
    (band,) = (trace for trace in one.data if trace.meta == "band")
    loss, error = line.losses["train"]["loss"][0], line.standard_error[0]
    np.testing.assert_allclose(band.y, [*(loss + 1.96 * error), *(loss - 1.96 * error)[::-1]])


def test_bands_stay_on_a_logarithmic_axis() -> None:
    steep = Problem(lambda params, batch: (batch * params["w"][0] ** 2 - 1e-3) ** 2, train=np.arange(1, 9.0))
    fig = figure_of(loss_line(steep, {"w": np.zeros(2, np.float32)}, directions=[{"w": np.eye(2)[0]}]))
    (band,) = (trace for trace in fig.data if trace.meta == "band")
    assert fig.layout.yaxis.type == "log"
    assert min(band.y) > 0


def test_paths_look_like_their_methods_and_seeds_differ() -> None:
    points = [
        {"w": np.array([[t, t * t], [s * t, 0.0]], np.float32)} for s in (0.1, 0.4, 0.9) for t in (1, 2)
    ]
    names = ["gd-magnitude, seed 0", "gd-magnitude, seed 1", "es-snr, seed 0"]
    result = trajectory(PROBLEM, points, paths=[name for name in names for _ in range(2)])
    for fig in (figure_of(result), hidden_figure(result)):
        lines = [trace for trace in fig.data if trace.type == "scatter"]
        drawn = {t.name.removesuffix(", networks"): t for t in lines if t.mode == "lines+markers"}
        gd, gd_1, es = (drawn[name] for name in names)
        look = style_of("gd-magnitude")
        assert (gd.line.color, gd.line.dash, gd.marker.symbol) == tuple(look.values())
        assert es.line.color == style_of("es-snr")["color"]
        assert gd_1.line.color == gd.line.color
        assert gd_1.line.dash != gd.line.dash
        assert gd_1.marker.symbol != gd.marker.symbol


def test_the_table_of_a_plane_has_one_row_per_point_with_its_error(tmp_path: Path) -> None:
    plane = _plane()
    page_of(plane).write(tmp_path / "a.html")
    with (tmp_path / "a-data" / "plane.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    grid = [row for row in rows if row["quantity"] == "loss"]
    assert len(grid) == 17 * 9
    assert [float(row["value"]) for row in grid] == plane.losses["train"]["loss"].ravel().tolist()
    assert [float(row["standard_error"]) for row in grid] == plane.standard_error.ravel().tolist()
    assert (float(grid[10]["x"]), float(grid[10]["y"])) == (plane.x[1], plane.y[1])
    (network,) = (row for row in rows if row["quantity"] == "loss of the network")
    assert (network["name"], float(network["value"])) == (plane.origin, plane.anchors[plane.origin]["loss"])


def test_rows_of_further_planes_lines_and_trajectories_are_theirs() -> None:
    planes = loss_surface(PROBLEM, AT, x=(-1, 1, 3), y=(-1, 1, 3), num_planes=2)
    second = [row["value"] for row in points_of(planes) if row["name"] == "plane 2"]
    assert second == planes.planes[1].ravel().tolist()
    line = loss_line(PROBLEM, AT, directions=AXES[0], x=(-1, 1, 5))
    errors = [row["standard_error"] for row in points_of(line) if row["quantity"] == "loss"]
    assert errors == line.standard_error[0].tolist()
    path = [{"w": np.array([[t, t * t], [0.3 * t, 0.0]], np.float32)} for t in (2.0, 1.5, 1.0)]
    result = trajectory(PROBLEM, path)
    rows = points_of(result)
    below = [row["value"] for row in rows if row["quantity"] == "loss of the plane below it"]
    assert below == result.plane_losses.tolist()
    grid = [row["value"] for row in rows if row["quantity"] == "loss of the plane"]
    assert grid == result.surface.ravel().tolist()


def test_marks_over_colours_stay_light_on_a_dark_page_and_out_of_the_legend() -> None:
    fig = figure_of(_plane())
    marks = [trace for trace in fig.data[1:] if trace.marker.color == LIGHT]
    assert {trace.name for trace in marks} == {"minimum", "saddle"}
    assert not any(trace.showlegend for trace in marks)
    assert LIGHT not in DARK
    assert not [light for light in ("white", "#ffffff") if f'"{light}"' in json.dumps(_drawn_colors(fig))]


def _drawn_colors(fig: Any) -> list[Any]:
    """Return markers and lines of the traces of a figure."""
    return [[part.to_plotly_json() for part in (t.marker, t.line) if part] for t in fig.data[1:]]


def test_pages_have_a_caption_for_every_figure_and_are_the_same_bytes_twice(tmp_path: Path) -> None:
    path = [{"w": np.array([[t, t * t], [0.3 * t, 0.0]], np.float32)} for t in (2.0, 1.5, 1.0, 0.5)]
    for result in (_plane(), loss_line(PROBLEM, AT), trajectory(PROBLEM, path)):
        page = page_of(result)
        html = page.html()
        assert caption_of(figure_of(result))
        assert "<figcaption></figcaption>" not in html
        assert html.count("<figcaption") == html.count('class="plot"') > 0
        assert html == page_of(result).html()
        page.write(tmp_path / f"{result.kind}.html")


@pytest.mark.faults
def test_row_33_names_with_tags_are_text() -> None:
    plane = loss_surface(PROBLEM, AT, directions=AXES, x=(-1, 1, 3), y=(-1, 1, 3), names=["<b>x</b>"])
    assert "<b>x" not in page_of(plane).html().replace("&lt;b&gt;", "")
