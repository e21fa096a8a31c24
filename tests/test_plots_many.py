"""Pages of two networks and of many: names that tell them apart, and room for what is said."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browser import open_page
from plot_samples import a_spectral_table
from stored_samples import samples

from landscape import Problem, barrier_matrix, load_result, loss_line, loss_surface
from landscape.plots import Page, figure_of, page_of
from landscape.plots.curvature.sweep import sweep_figures
from landscape.plots.names import WIDTH, direction_text, short_names
from landscape.plots.report import together
from landscape.plots.tables import html_table, scroll_class
from landscape.plots.theme import DARK, caption_of, style_of, swatch
from trainers.config import preset_summaries


def _loss(params: Any, batch: Any) -> Any:
    return (params["w"][0] - batch) ** 2 + 2 * params["w"][1] ** 2 + 0.1


PROBLEM = Problem(_loss, train=np.linspace(-1, 1, 8).astype(np.float32))
PATHS = [
    f"../run/{method}/seed-{s}/level-00.h5"
    for method, s in (("es-snr", 0), ("es-snr", 1), ("gd-magnitude", 0))
]
NETWORKS = [{"w": np.array(w, np.float32)} for w in ((0, 0), (1, 0), (0, 1))]


def _plane() -> Any:
    return loss_surface(PROBLEM, NETWORKS, directions="checkpoints", names=PATHS, x=(-1, 2, 7), y=(-1, 2, 7))


def _texts(fig: Any) -> list[str]:
    axes = [axis.title.text for axis in (fig.layout.xaxis, fig.layout.yaxis)]
    return [
        fig.layout.title.text,
        *axes,
        *(trace.name for trace in fig.data if trace.showlegend is not False),
    ]


# -- names --------------------------------------------------------------------------------------------


def test_names_on_a_plane_and_a_line_are_short_and_tell_its_networks_apart() -> None:
    line = loss_line(PROBLEM, NETWORKS[:2], directions="checkpoints", names=PATHS[:2], x=(-1, 2, 7))
    for result, short in (
        (_plane(), ["es-snr/seed-0", "es-snr/seed-1", "gd-magnitude/seed-0"]),
        (line, ["seed-0", "seed-1"]),
    ):
        fig = figure_of(result)
        marked = [trace.name for trace in fig.data if trace.type == "scatter" and trace.mode == "markers"]
        assert [name for name in marked if "seed" in name] == short
        assert not any("…" in text or "level-00" in text for text in _texts(fig))


def test_axes_of_a_plane_say_between_which_networks_they_run() -> None:
    fig = figure_of(_plane())
    assert fig.layout.xaxis.title.text == "es-snr/seed-0 → es-snr/seed-1"
    assert fig.layout.yaxis.title.text == "orthogonal, to gd-magnitude/seed-0"
    assert direction_text("random direction 1", {}) == "random direction 1"


@pytest.mark.parametrize(
    ("path", "short"),
    [
        ("runs/es-snr/seed-0/level-03.h5", "es-snr/seed-0/level-03"),
        ("runs/a-long-name-of-a-method/seed-0/level-03.h5", "seed-0/level-03"),
        ("models/resnet.h5", "resnet.h5"),
        ("level-03.h5", "level-03"),
    ],
)
def test_name_of_a_single_network_says_of_what_it_is_the_level(path: str, short: str) -> None:
    assert short_names([path]) == [short]
    assert len(short) <= WIDTH


def _matrix(count: int) -> Any:
    networks = [{"w": np.array([i % 3, i // 3], np.float32)} for i in range(count)]
    names = [f"../run/gd-magnitude/seed-{i % 3}/level-{i // 3:02}.h5" for i in range(count)]
    return barrier_matrix(PROBLEM, networks, names=names, num_points=3, num_resamples=5)


def test_every_row_of_a_matrix_of_many_networks_is_named_and_columns_are_numbered_like_the_rows() -> None:
    found = _matrix(14)
    fig = figure_of(found)
    rows = fig.layout.yaxis.ticktext
    assert [row.rsplit(" ", 1)[1] for row in rows] == [str(i) for i in range(1, 15)]
    assert len(set(rows)) == 14
    numbers = dict(zip(fig.layout.xaxis.tickvals, fig.layout.xaxis.ticktext, strict=True))
    assert len(numbers) <= 8
    assert all(rows[place].endswith(f" {number}") for place, number in numbers.items())
    assert fig.layout.plot_bgcolor not in DARK  # cells that were not measured stay light beside the dark ones
    assert fig.data[0].colorbar.orientation == "h"  # below: on a phone it takes no width from the cells


def test_one_pair_is_said_by_its_barrier_and_not_by_a_range() -> None:
    said = dict(_matrix(2).rows())
    assert any(text.endswith("(1 pair)") and "median" not in text for text in said.values())
    assert not any("(1 pairs)" in text for text in said.values())


# -- words --------------------------------------------------------------------------------------------


def test_barriers_above_a_curve_fit_a_phone() -> None:
    fig = figure_of(samples()["connecting_curve"])
    lines = [re.sub("<.*?>", "", line) for line in fig.layout.annotations[0].text.split("<br>")]
    assert max(map(len, lines)) <= 44


def test_warnings_that_say_the_same_of_several_networks_are_one() -> None:
    names = ["run/seed-0/a.h5", "run/seed-1/a.h5", "run/seed-2/a.h5"]
    said = together([f"{names[0]}: too few", "of all", f"{names[2]}: too few", f"{names[1]}: other"], names)
    assert said == ["2 networks: too few (seed-0, seed-2)", "of all", f"{names[1]}: other"]


def test_caption_of_traces_says_nothing_of_eigenvalues_that_are_not_drawn() -> None:
    table = a_spectral_table(levels=3)
    for record in table.records:
        record["eigenvalues"] = []
    fig, _, name = sweep_figures(table)[0]
    assert (name, fig.layout.meta["title"]) == ("eigenvalues", "Trace")
    assert "eigenvalue" not in caption_of(fig)
    assert "trace" in caption_of(fig)


def test_first_line_of_every_preset_is_a_whole_sentence() -> None:
    for name, line in preset_summaries().items():
        assert line.count("(") == line.count(")"), name
        assert not re.search(r"\b(at|of|the|and|by|to|with|a)$", line), name


def test_correlations_of_each_layer_have_a_panel_with_the_levels_below_it() -> None:
    found = samples()["scale_curvature"]
    layers = {entry["layer"] for entry in found.summary} - {"all"}
    fig = figure_of(found)
    titles = [note.text for note in fig.layout.annotations]
    assert titles[0] == "All parameters"
    assert set(titles[1:-1]) == layers
    assert titles[-1].startswith("Each parameter of ")


def test_columns_of_a_stored_table_begin_with_the_network_as_those_of_a_new_one(tmp_path: Path) -> None:
    found = samples()["scale_curvature"]
    found.save(tmp_path / "scale.h5")
    again = load_result(tmp_path / "scale.h5")
    heads = [re.findall('<th scope="col"[^>]*>(.*?)</th>', page_of(one).html()) for one in (found, again)]
    assert heads[0] == heads[1]
    assert heads[0][:3] == ["method", "level", "layer"]


def test_no_other_method_has_the_dash_or_the_marker_of_a_method_of_the_presets_in_its_colour() -> None:
    presets = {look["color"]: look for look in map(swatch, range(6))}
    looks = [style_of(f"{who}-from-{score}") for who in ("gd", "snes", "pgpe", "ppo") for score in "abcdefgh"]
    for look in looks:
        assert look["dash"] != presets[look["color"]]["dash"]
        assert look["symbol"] != presets[look["color"]]["symbol"]
    assert len({tuple(look.values()) for look in looks}) > 24


def test_methods_of_a_control_preset_never_share_a_colour() -> None:
    methods = ("es-snr", "es-magnitude", "es-random", "connected", "ppo-magnitude")
    assert len({style_of(method)["color"] for method in methods}) == 5


# -- tables and room ----------------------------------------------------------------------------------


def test_only_long_tables_scroll_by_themselves() -> None:
    assert scroll_class(["a", "b"], [[1, 2]] * 14) == "scroll"
    assert scroll_class(["a", "b"], [[1, 2]] * 21) == "scroll long"
    assert scroll_class(list("abcde"), [[1] * 5] * 13) == "scroll long-folded"
    html = Page("t").table(["a", "b"], [[1, 2]] * 14).html()
    assert '<div class="scroll" ' in html


def test_short_words_of_a_table_never_break_and_paths_have_room() -> None:
    html = html_table(["a", "b"], [["gd-magnitude", "../run/gd-magnitude/seed-0/level-00.h5"]])
    assert '<td class="text short">gd-magnitude</td>' in html
    assert '<td class="text path">../run' in html


BESIDE = """
var plot = document.querySelector(".plot"), box = function (name) {
  return plot.querySelector(name).getBoundingClientRect();
};
var cells = box(".contourlayer"), bar = box(".cbfills"), whole = plot.getBoundingClientRect();
return { gap: bar.left - cells.right, over: bar.bottom - cells.bottom, below: whole.bottom - cells.bottom };
"""


@pytest.mark.parametrize("width", [1300, 390])
def test_colour_bar_of_a_plane_stands_beside_it_and_no_gap_below_it(tmp_path: Path, width: int) -> None:
    page, *_ = page_of(_plane()).write(tmp_path / "plane.html")
    seen = open_page(page, tmp_path, width=width, script=BESIDE)
    assert seen.errors == []
    assert 0 < seen.answer["gap"] < 50
    assert seen.answer["over"] < 10
    assert seen.answer["below"] < 90  # ticks and the name of the axis
