"""What holds for every figure and page: captions, looks, ticks, names, rows, dark and narrow pages."""

from __future__ import annotations

import csv
import dataclasses
import itertools
import json
import re
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import plotly.graph_objects as go
import pytest
from browser import open_page
from flatness_results import a_measure, a_table
from hypothesis import given, strategies as st
from plot_samples import a_barrier, a_spectral_table, a_sweep, some_layers, some_levels, some_pairs

from landscape import Problem, loss_line, loss_surface, trajectory
from landscape.connectivity.barrier import Barrier
from landscape.errors import InputError, MissingDependencyError, OutputExistsError
from landscape.plots import Page, density_figure, figure_of, page_of, sweep_figure, write_csv, write_image
from landscape.plots.connectivity.barrier import barrier_figure
from landscape.plots.curvature.densities import density_panels
from landscape.plots.curvature.sweep import sweep_figures
from landscape.plots.flatness.figures import curve_figure, networks_figure, sweep_of
from landscape.plots.flatness.page import flatness_page
from landscape.plots.flatness.ranks import correlation_figure
from landscape.plots.names import WIDTH, names_of, renamed, short_names
from landscape.plots.points import COLUMNS, points_of
from landscape.plots.surfaces.lines import spread_figure
from landscape.plots.surfaces.persistence import persistence_figure
from landscape.plots.surfaces.planes import surface_figure
from landscape.plots.surfaces.trajectories import hidden_figure
from landscape.plots.tables import figure_rows
from landscape.plots.theme import COLORS, DARK, LIGHT, caption_of, style_of
from landscape.plots.tickets.barriers import barrier_levels_figure, barrier_pairs_figure

LEVELS = [100 * 0.8**k for k in range(10)]


def every_figure() -> dict[str, go.Figure]:
    table = a_table(seeds=2, levels=3, measures=("gaussian", "sam", "trace"))
    rows = a_table(seeds=2, levels=1, measures=("gaussian", "sam"), density=False)
    found = {
        "barrier": barrier_figure(a_barrier()),
        "overflow": barrier_figure(a_barrier(overflow=True)),
        "sweep": sweep_figure(a_sweep(), reference=("chance", 0.1)),
        "transfers": sweep_figure([{**a_sweep()[0], "name": n, "panel": n[:2]} for n in ("es-a", "gd-a")]),
        "density": density_figure(*some_layers()),
        "levels": barrier_levels_figure(some_levels()),
        "pairs": barrier_pairs_figure(some_pairs()),
        "one network": figure_of(a_table(seeds=1, levels=1, methods=("es",))),
        "networks": networks_figure(rows, "gaussian"),
        "table": figure_of(table),
        "measure": figure_of(a_measure()),
        "measured sweep": sweep_of(table, "gaussian"),
        "curve": curve_figure(table, "gaussian"),
        "ranks": correlation_figure(table),
        "curvature of one": figure_of(a_spectral_table(levels=1, methods=("es-snr",))),
        "curvature of many": figure_of(a_spectral_table(levels=10)),
        **{f"curvature {name}": fig for fig, _, name in sweep_figures(a_spectral_table(levels=2))},
    }
    return {name: fig for name, fig in {**found, **figures_of_surfaces()}.items() if fig is not None}


def figures_of_surfaces() -> dict[str, go.Figure]:
    at, other = ({"w": np.array([w], np.float32)} for w in ((0.5, 0.2), (-1.0, 0.4)))
    problem = Problem(
        lambda params, batch: (params["w"] ** 2).sum() * (1 + batch), train=np.arange(3, dtype=np.float32)
    )
    plane = loss_surface(problem, at, x=(-1, 1, 5), y=(-1, 1, 5), num_planes=2)
    path = trajectory(problem, [at, other, {"w": np.array([[0.1, -0.3]], np.float32)}])
    return {
        "plane": figure_of(plane),
        "plane in three dimensions": surface_figure(plane),
        "spread": spread_figure(plane),
        "persistence": persistence_figure(plane),
        "line": figure_of(loss_line(problem, at, x=(-1, 1, 5))),
        "lines": figure_of(loss_line(problem, at, x=(-1, 1, 5), num_lines=6)),
        "trajectory": figure_of(path),
        "hidden": hidden_figure(path),
    }


FIGURES = every_figure()


@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_has_a_caption_that_holds_when_panels_are_stacked(name: str) -> None:
    caption = caption_of(FIGURES[name])
    assert len(caption) > 20
    assert not re.search(r"\b(left|right)\b", caption)


@pytest.mark.parametrize("name", FIGURES)
def test_no_two_lines_or_markers_differ_by_opacity_alone(name: str) -> None:
    looks: dict[Any, set[float]] = {}
    for trace in FIGURES[name].data:
        if trace.type != "scatter" or trace.meta == "band" or trace.line.color is None:
            continue
        red, green, blue, alpha = rgba(trace.line.color)
        symbol = trace.marker.symbol if isinstance(trace.marker.symbol, str) else None
        key = (red, green, blue, trace.line.dash, trace.line.width, trace.mode, symbol)
        looks.setdefault(key, set()).add(alpha)
    assert all(len(alphas) == 1 for alphas in looks.values())


def rgba(color: str) -> tuple[float, ...]:
    if color.startswith("#"):
        return (*(int(color[i : i + 2], 16) for i in (1, 3, 5)), 1.0)
    return tuple(float(part) for part in re.findall(r"[\d.]+", color))


def test_every_tick_of_weights_remaining_is_a_level() -> None:
    table = a_spectral_table(levels=10)
    curve = {"name": "es", "densities": [level / 100 for level in LEVELS], "values": [0.5] * 10}
    figures = [sweep_figure([curve]), *(fig for fig, *_ in sweep_figures(table))]
    for axis in (axis for fig in figures for axis in fig.select_xaxes()):
        if axis.title.text == "weights remaining":
            ticks = [float(tick) for tick in axis.tickvals]
            assert all(any(tick == pytest.approx(level, rel=1e-6) for level in LEVELS) for tick in ticks)
            assert len(ticks) >= 5


def test_a_lower_bound_has_no_interval_in_its_caption_nor_beside_it() -> None:
    fig = networks_figure(a_table(measures=("gaussian", "sam"), density=False), "sam")
    assert fig is not None
    assert "no interval" in caption_of(fig)
    assert not any("95 %" in text for trace in fig.data for text in (trace.text or ()))


def test_methods_keep_their_look_from_page_to_page() -> None:
    for method in ("es-snr", "gd-magnitude"):
        want = style_of(method)["color"]
        lines = [
            trace.line.color
            for name in ("measured sweep", "curvature of many", "curve")
            for trace in FIGURES[name].data
            if trace.name is not None and trace.name.startswith(method) and "lines" in trace.mode
            if trace.meta != "band"
        ]
        assert lines
        assert set(lines) == {want}


def test_sixteen_refinement_points_do_not_hide_the_maximum() -> None:
    alphas = np.linspace(0.45, 0.55, 16)
    fig = barrier_figure(a_barrier(refined_alphas=alphas, refined_losses=np.full(16, 0.4)))
    names = [trace.name for trace in fig.data]
    assert names.index("refined") < names.index("barrier")
    [dots] = [trace for trace in fig.data if trace.name == "refined"]
    [diamond] = [trace for trace in fig.data if trace.name == "barrier"]
    assert dots.marker.size * 3 < diamond.marker.size[1]


def test_many_densities_are_a_heat_map_per_method_and_one_network() -> None:
    few, many = a_spectral_table(levels=2), a_spectral_table(levels=10)
    assert len(density_panels(few)) == 4
    [fig] = [fig for fig, _, name in sweep_figures(many) if name == "densities"]
    maps = [trace for trace in fig.data if trace.type == "heatmap"]
    assert [np.shape(trace.z)[0] for trace in maps] == [10, 10]
    first = many.spectra[0]
    at = np.interp(first["log_grid"][250], maps[0].x, maps[0].z[0])
    assert at == pytest.approx(np.log10(first["log_density"][250]), abs=0.02)


# -- names --------------------------------------------------------------------------------------------


@given(st.lists(st.text(min_size=1, max_size=60), min_size=1, max_size=12, unique=True))
def test_short_names_fit_and_tell_networks_apart(names: list[str]) -> None:
    short = short_names(names)
    assert all(len(name) <= WIDTH for name in short)
    if len({ascii(name) for name in names}) == len({name.replace("\\", "/").strip("/") for name in names}):
        assert len(set(short)) == len(names)


def test_short_names_are_what_differs() -> None:
    paths = [f"/data/runs/gd-magnitude/seed-{s}/level-{k:02d}.h5" for s in (0, 1) for k in (0, 9)]
    assert short_names(paths) == ["seed-0/level-00.h5", "seed-0/level-09.h5", *(short_names(paths)[2:])]
    mixed = [f"/d/{m}/seed-0/level-{k:02d}.h5" for m in ("es-snr", "gd-magnitude") for k in (0, 1)]
    assert short_names(mixed)[3] == "gd-magnitude/level-01.h5"
    deep = [f"/d/{m}/seed-{s}/level-00.h5" for m in ("es-snr", "gd-magnitude") for s in (0, 1)]
    deep += ["/d/gd-magnitude/seed-0/level-11.h5"]
    assert short_names(deep)[3:] == ["gd-magnitude/s1/l00", "gd-magnitude/s0/l11"]
    assert short_names(["/x/y/a.h5"]) == ["a.h5"]
    assert short_names([]) == []  # of a result that names no network, such as eigenpairs of a pytree
    assert short_names(["one/z.h5", "two/z.h5", "one/z.h5"]) == ["one", "two", "one"]


def test_names_of_several_words_keep_those_that_differ() -> None:
    assert short_names([f"gd-magnitude seed {seed} at 100 %" for seed in (0, 2)]) == ["seed 0", "seed 2"]
    mixed = [f"{method} seed 0 at 70.7 %" for method in ("es-random", "gd-magnitude")]
    assert short_names(mixed) == ["es-random", "gd-magnitude"]
    levels = [f"gd-magnitude seed {seed} at {left} %" for seed, left in ((0, 100), (1, 70.7))]
    assert short_names(levels) == ["seed 0 at 100 %", "seed 1 at 70.7 %"]
    assert short_names(["gd-magnitude seed 0 at 100 %"]) == ["gd-magnitude s0 at 100 %"]
    assert short_names(["es seed 0 at 100 %", "es seed 2 at 100 %"])[0] == "es seed 0 at 100 %"  # fits


def test_titles_name_networks_by_what_differs_and_a_table_has_the_files() -> None:
    ends = ("/data/a/seed-0/level-3.h5", "/data/a/seed-1/level-3.h5")
    html = page_of(a_stored_barrier(endpoints=ends)).html(plotlyjs="cdn")
    assert "<h3>Loss along the path from seed-0 to seed-1</h3>" in html
    assert f"{ends[0]}</td>" in html
    mine = page_of(a_stored_barrier(endpoints=ends), names=["dense", "sparse"], title="Mine")
    html = mine.html(plotlyjs="cdn")
    assert "<h1>Mine</h1>" in html
    assert "from dense to sparse" in html
    assert f"{ends[1]}</td>" in html
    with pytest.raises(InputError, match="2 different names"):
        page_of(a_stored_barrier(endpoints=ends), names=["one"])


def test_networks_of_a_table_can_be_renamed() -> None:
    table = a_table(seeds=1, levels=2, methods=("es",), measures=("gaussian",))
    html = page_of(table, names=["before", "after"]).html(plotlyjs="cdn")
    assert "before</td>" in html
    assert "level-1.h5</td>" in html


def test_networks_of_a_plane_can_be_renamed_with_their_directions() -> None:
    given = [{"w": np.array(row, np.float32)} for row in ([0.0, 0.0], [1.0, 0.0], [0.0, 2.0])]
    problem = Problem(lambda params, batch: (batch * params["w"]).sum(-1), train=np.ones((4, 2), np.float32))
    plane = loss_surface(
        problem, given, directions="checkpoints", x=(0, 1, 3), y=(0, 1, 3), names=["a.h5", "b.h5", "c.h5"]
    )
    assert names_of(plane) == ["a.h5", "b.h5", "c.h5"]
    mine = renamed(plane, ["dense", "sparse", "other"])
    assert mine.direction_names == ("from dense to sparse", "towards other, orthogonal to it")
    assert (mine.origin, list(mine.anchors)) == ("dense", ["dense", "sparse", "other"])
    assert [mine.anchors["other"], plane.origin] == [plane.anchors["c.h5"], "a.h5"]
    assert "sparse" in page_of(plane, names=["dense", "sparse", "other"]).html(plotlyjs="cdn")


def test_a_picture_takes_a_title_and_leaves_its_figure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[str] = []

    def to_image(figure: go.Figure, **_: Any) -> bytes:
        drawn.append(figure.layout.title.text)
        return b"picture"

    monkeypatch.setitem(sys.modules, "kaleido", SimpleNamespace())
    monkeypatch.setattr(go.Figure, "to_image", to_image)
    figure = figure_of(a_stored_barrier())
    own = figure.layout.title.text
    write_image(figure, tmp_path / "a.png", title="<b>Mine</b>")
    write_image(figure, tmp_path / "b.png")
    assert drawn == ["&lt;b&gt;Mine&lt;/b&gt;", own]
    assert figure.layout.title.text == own


# -- rows ---------------------------------------------------------------------------------------------


def a_stored_barrier(**changes: Any) -> Barrier:
    fields = vars(a_barrier(**changes))
    known = {field.name for field in dataclasses.fields(Barrier)}
    given = {name: value for name, value in fields.items() if name in known}
    defaults = {"barriers": {}, "num_points": 25}
    return Barrier(**{**defaults, **given, "endpoints": tuple(fields["endpoints"])})


def test_rows_of_a_barrier_are_its_points_with_the_ends_of_the_band() -> None:
    barrier = a_stored_barrier()
    rows = points_of(barrier)
    assert all(list(row) == list(COLUMNS) for row in rows)
    losses = [row for row in rows if row["split"] == "train" and row["quantity"] == "loss"]
    middle = losses[12]
    assert middle["value"] == barrier.losses["train"]["loss"][12]
    assert middle["high"] - middle["value"] == pytest.approx(2.8 * 0.03 * 0.38)
    assert middle["value"] - middle["low"] == pytest.approx(2.8 * 0.03 * 0.38)
    [summary] = [row for row in rows if row["quantity"] == "barrier_above_chord"]
    assert (summary["value"], summary["low"], summary["high"]) == pytest.approx((0.38, 0.342, 0.418))


def test_rows_of_flatness_and_curvature_have_method_seed_level_and_interval() -> None:
    table = a_table(seeds=2, levels=2, measures=("gaussian",))
    row = next(row for row in points_of(table) if row["quantity"] == "gaussian" and row["level"] == 1)
    assert (row["method"], row["seed"]) == ("es-snr", 0)
    assert row["low"] < row["value"] < row["high"]
    traces = [r for r in points_of(a_spectral_table(levels=2)) if r["quantity"] == "trace" and not r["layer"]]
    assert [(r["method"], r["level"]) for r in traces] == list(
        itertools.product(("es-snr", "gd-magnitude"), (0, 1))
    )
    assert all(r["low"] < r["value"] < r["high"] for r in traces)


def test_csv_has_the_columns_that_are_documented_and_is_not_overwritten(tmp_path: Path) -> None:
    path = write_csv(a_stored_barrier(), tmp_path / "a.csv")
    with path.open(newline="", encoding="utf-8") as file:
        head, *rows = csv.reader(file)
    assert head == list(COLUMNS)
    assert {"method", "seed", "level", "split", "low", "high"} <= set(head)
    assert len(rows) == len(points_of(a_stored_barrier()))
    with pytest.raises(OutputExistsError):
        write_csv(a_stored_barrier(), path)


def test_a_data_frame_has_the_same_rows_and_says_what_its_columns_hold() -> None:
    pytest.importorskip("pandas")
    frame = a_stored_barrier().to_dataframe()
    assert list(frame.columns) == list(COLUMNS)
    assert len(frame) == len(points_of(a_stored_barrier()))
    assert frame.attrs["columns"]["x"].startswith("place")


@pytest.mark.faults
def test_32_a_data_frame_without_pandas_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(MissingDependencyError, match="pandas"):
        a_stored_barrier().to_dataframe()


def test_kinds_without_rows_of_their_own_have_one_per_number() -> None:
    odd = SimpleNamespace(kind="odd", status="ok", data=lambda: {"a": 1.5, "b": np.eye(2), "c": "text"})
    found = [(row["quantity"], row["x"], row["y"], row["value"]) for row in points_of(odd)]
    assert found[0] == ("a", None, None, 1.5)
    assert ("b", 1, 0, 0.0) in found
    assert len(found) == 5


@pytest.mark.parametrize("name", FIGURES)
def test_rows_of_figures_are_points_and_never_outlines(name: str) -> None:
    fig = FIGURES[name]
    outlines = {trace.name for trace in fig.data if getattr(trace, "fill", None) == "toself"}
    assert not outlines & {row[1] for row in figure_rows(fig)}


def test_a_page_of_flatness_writes_one_file_per_table(tmp_path: Path) -> None:
    flatness_page(a_table(seeds=5, levels=4)).write(tmp_path / "a.html")
    names = sorted(path.name for path in (tmp_path / "a-data").iterdir())
    tables = ["invariances.csv", "networks-table.csv", "ranks-ticket-table.csv", "values-table.csv"]
    assert names == sorted(["figures.csv", *tables])


# -- pages --------------------------------------------------------------------------------------------


def test_every_colour_of_a_figure_has_a_dark_counterpart() -> None:
    for fig in FIGURES.values():
        text = re.sub(
            r'"(colorscale|sequential(minus)?)": \[.*?\]\]',
            "",
            json.dumps(fig.to_plotly_json(), default=list),
        )
        used = set(re.findall(r'"(#[0-9a-fA-F]{6}|white)"', text))
        assert used <= {*DARK, LIGHT}, used - set(DARK)


@pytest.mark.parametrize("color", COLORS)
def test_series_keep_a_contrast_of_three_on_both_pages(color: str) -> None:
    assert contrast(DARK[color], DARK["white"]) >= 3


def contrast(one: str, other: str) -> float:
    def luminance(color: str) -> float:
        parts = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_provenance_is_folded() -> None:
    html = Page("a").provenance({"versions": {"jax": "1"}}).html()
    assert re.search(r'<details class="provenance" id="provenance"><summary>', html)


NARROW = """
var seen = [].every.call(document.querySelectorAll("td.number"), function (cell) {
  var box = cell.getBoundingClientRect();
  return box.left >= 0 && box.right <= document.documentElement.clientWidth + 0.5;
});
var bars = [].filter.call(document.querySelectorAll(".legend .scrollbar"), function (bar) {
  return bar.getBoundingClientRect().width > 0;
});
var signs = [].map.call(document.querySelectorAll(".more"), function (sign) { return sign.textContent; });
return { seen: seen, bars: bars.length, signs: signs };
"""


def test_on_a_phone_numbers_are_visible_legends_whole_and_scrolling_is_announced(tmp_path: Path) -> None:
    names = [f"Evolution of a long name, {i}" for i in range(9)]
    page = Page("a").figure(sweep_figure([{**a_sweep()[0], "name": name} for name in names]), "", "many")
    path = "/a/very/long/path/of/a/network/that/does/not/fit/level-03.h5"
    page.table([f"column {i}" for i in range(12)], [[path, *range(11)]] * 40, "Wide", "wide")
    page.table(["quantity", "value"], [[path, 1.5]], "Narrow", "narrow")
    written, *_ = page.write(tmp_path / "a.html")
    seen = open_page(written, tmp_path, width=390, script=NARROW)
    assert seen.errors == []
    assert seen.content_width <= 390
    assert seen.answer["seen"]
    assert seen.answer["bars"] == 0
    assert "below" in seen.answer["signs"][0]
    assert seen.answer["signs"][1] == ""
