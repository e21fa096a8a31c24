"""The HTML report: the same bytes each time, everything escaped, nothing overwritten."""

from __future__ import annotations

import base64
import csv
import io
import os
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import plotly.graph_objects as go
import pytest
from plot_samples import ODD_NAME, SHOWN_NAME, a_barrier, a_sweep, some_levels, some_pairs

from landscape.errors import ConfigurationError, InputError, OutputExistsError
from landscape.plots import Page, sweep_figure, write_html
from landscape.plots.connectivity.barrier import barrier_figure
from landscape.plots.tickets.sweeps import barrier_levels_figure, barrier_pairs_figure


def a_page(name: str = "tickets") -> Page:
    page = Page(name, "a subtitle").cards([("accuracy", "91.4 %"), ("barrier", "0.05", "ES")])
    page.section(name, "An introduction.").figure(sweep_figure(a_sweep(name)), f"About {name}.", "sweep")
    page.table(["name", "value", "interval"], [[name, 0.123456789, [0.1, 0.2]], ["b", None, None]], name)
    return page.warning(name).text(name, plain=True).provenance({"versions": {"jax": "0.10"}, "name": name})


class Elements(HTMLParser):
    """Collects tags, ids and text outside of scripts and styles."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.words: list[str] = []
        self.silent = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes.extend(attrs)
        self.silent = tag in ("script", "style")

    def handle_endtag(self, tag: str) -> None:
        self.silent = False

    def handle_data(self, data: str) -> None:
        if not self.silent:
            self.words.append(data)


def read_csv(path: Path) -> list[list[str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


def test_page_written_twice_is_the_same_bytes(tmp_path: Path) -> None:
    first, second = (a_page().write(tmp_path / folder / "p.html")[0] for folder in "ab")
    assert first.read_bytes() == second.read_bytes()


def test_page_embeds_the_library_once_and_needs_no_network(tmp_path: Path) -> None:
    page = a_page().figure(barrier_figure(a_barrier()), "", "barrier")
    text = page.html()
    assert text.count("plotly.js v") == 1
    outside = re.sub(r"<script.*?</script>", "", text, flags=re.DOTALL)
    assert "http" not in outside
    assert 3e6 < len(text) < 8e6


def test_page_without_figures_is_small() -> None:
    assert len(Page("a").text("b").html()) < 20_000


def test_library_from_the_network_is_pinned_by_its_digest() -> None:
    text = a_page().html(plotlyjs="cdn")
    assert re.search(r'src="https://cdn\.plot\.ly/plotly-[\d.]+\.min\.js" integrity="sha256-', text)
    assert len(text) < 200_000


def test_library_in_the_directory_is_shared_by_pages(tmp_path: Path) -> None:
    _, *first = a_page().write(tmp_path / "a.html", plotlyjs="directory")
    page, *second = a_page().write(tmp_path / "b.html", plotlyjs="directory")
    assert first[-1] == second[-1]
    assert f'src="{first[-1].name}"' in page.read_text()


def test_unknown_way_to_find_the_library_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="plotlyjs"):
        a_page().write(tmp_path / "a.html", plotlyjs="carrier pigeon")
    assert not list(tmp_path.iterdir())


def test_ids_are_fixed_and_unique() -> None:
    page = Page("a")
    for _ in range(3):
        page.figure(go.Figure(), "", "Same Name").table(["x"], [[1]], "", "Same Name")
    ids = [value for name, value in Elements(page.html(plotlyjs="cdn")).attributes if name == "id"]
    assert len(ids) == len(set(ids))
    assert ids[:3] == ["same-name", "plot-same-name", "same-name-2"]


@pytest.mark.faults
def test_33_tags_and_control_characters_are_text() -> None:
    page = Elements(a_page(ODD_NAME).html(plotlyjs="cdn"))
    assert not {"img", "b"} & set(page.tags)
    assert "".join(page.words).count(SHOWN_NAME) >= 7
    assert "\x1b" not in "".join(page.words)


@pytest.mark.faults
def test_33_data_of_a_figure_cannot_end_its_script() -> None:
    text = Page("a").figure(go.Figure(go.Scatter(x=[1], y=[1], name="</script><img>"))).html(plotlyjs="cdn")
    assert "img" not in Elements(text).tags


@pytest.mark.faults
def test_33_undecodable_file_names_can_be_written(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9.h5")
    page, *_ = a_page(name).write(tmp_path / "a.html")
    assert "caf\\udce9.h5" in page.read_text(encoding="utf-8")


def test_existing_files_are_kept_without_force(tmp_path: Path) -> None:
    path = tmp_path / "a.html"
    path.write_text("mine")
    with pytest.raises(OutputExistsError, match="already exists"):
        a_page().write(path)
    assert [path.read_text() for path in tmp_path.iterdir()] == ["mine"]
    a_page().write(path, force=True)
    assert path.read_text().startswith("<!doctype html>")


def test_existing_data_are_kept_without_force(tmp_path: Path) -> None:
    table = tmp_path / "a-data" / "table.csv"
    table.parent.mkdir()
    table.write_text("mine")
    with pytest.raises(OutputExistsError, match=r"table\.csv"):
        a_page().write(tmp_path / "a.html")
    assert table.read_text() == "mine"
    assert not (tmp_path / "a.html").exists()


@pytest.mark.faults
def test_03_page_that_cannot_be_written_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.html"
    path.write_text("old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(InputError, match="No space left"):
        Page("a").write(path, force=True)
    assert [(item.name, item.read_text()) for item in tmp_path.iterdir()] == [("a.html", "old")]


@pytest.mark.faults
@pytest.mark.parametrize("name", ["ü ß #%?&.html", "no/such/folder/a.html"])
def test_27_odd_paths_are_handled(tmp_path: Path, name: str) -> None:
    written = a_page().write(tmp_path / name)
    assert all(path.is_file() for path in written)


@pytest.mark.faults
def test_27_folders_and_long_names_are_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is a folder"):
        a_page().write(tmp_path)
    with pytest.raises(InputError, match="could not be written"):
        Page("a").write(tmp_path / f"{'n' * 300}.html")


def test_tables_have_their_numbers_in_full_beside_the_page(tmp_path: Path) -> None:
    page, *_ = a_page().write(tmp_path / "a.html")
    rows = read_csv(tmp_path / "a-data" / "table.csv")
    assert rows == [
        ["name", "value", "low", "high"],
        ["tickets", "0.123456789", "0.1", "0.2"],
        ["b", "", "", ""],
    ]
    assert "0.1235" in page.read_text()


def test_link_carries_the_table_inside_the_page(tmp_path: Path) -> None:
    page, *_ = a_page().write(tmp_path / "a.html")
    [*_, link] = re.findall(r'href="data:text/csv;charset=utf-8;base64,([^"]+)"', page.read_text())
    inside = list(csv.reader(io.StringIO(base64.b64decode(link).decode())))
    assert inside == read_csv(tmp_path / "a-data" / "table.csv")


def test_large_tables_are_linked_as_files(tmp_path: Path) -> None:
    page, *_ = (
        Page("a").table(["x"], [[i / 7] for i in range(10_000)], "", "big").write(tmp_path / "ä b.html")
    )
    assert 'href="%C3%A4%20b-data/big.csv"' in page.read_text(encoding="utf-8")


def test_numbers_behind_a_figure_are_in_its_csv(tmp_path: Path) -> None:
    page = Page("a").figure(barrier_levels_figure(some_levels()), "", "levels")
    page.figure(barrier_pairs_figure(some_pairs()), "", "pairs").write(tmp_path / "a.html")
    assert [path.name for path in (tmp_path / "a-data").iterdir()] == ["figures.csv"]
    head, *rows = read_csv(tmp_path / "a-data" / "figures.csv")
    assert head == ["figure", "series", "method", "run", "split", "x", "y", "low", "high"]
    assert ["levels", "GD, run 1", "GD", "1", "", "50.0", "0.0", "0.0", "0.0"] in rows
    assert any(
        row[:3] == ["pairs", "ES, SNR, one initialisation", "ES, SNR"] and row[6:] == ["0.05", "0.04", "0.07"]
        for row in rows
    )


def test_csv_of_figures_holds_no_outline_of_a_band(tmp_path: Path) -> None:
    Page("a").figure(barrier_figure(a_barrier()), "", "path").write(tmp_path / "a.html")
    rows = read_csv(tmp_path / "a-data" / "figures.csv")
    assert not any("band" in row[1] for row in rows)
    assert {row[4] for row in rows[1:]} >= {"train", "test"}


def test_rows_that_do_not_fit_the_headers_are_refused() -> None:
    with pytest.raises(InputError, match="row 1"):
        Page("a").table(["x", "y"], [[1, 2], [3]])


def test_title_of_a_figure_becomes_a_heading_of_the_page() -> None:
    fig = sweep_figure(a_sweep(), title="A <long> title")
    text = Page("a").figure(fig).html(plotlyjs="cdn")
    assert "<h3>A &lt;long&gt; title</h3>" in text
    assert '"title":{"text":"A' not in text
    assert fig.layout.title.text == "A &lt;long&gt; title"


def test_contents_are_shown_only_where_they_help() -> None:
    page = Page("a")
    for i in range(3):
        page.section(f"part {i}")
    assert "<nav" not in page.html()
    page.section("part 3")
    assert '<nav aria-label="Contents"><a href="#part-0">part 0</a>' in page.html()


def test_provenance_is_flat_and_last() -> None:
    text = Page("a").provenance({"versions": {"jax": "1"}}).text("after").html()
    assert text.index("versions.jax") > text.index("after")


def test_html_of_a_figure_is_a_page_with_its_title(tmp_path: Path) -> None:
    fig = sweep_figure(a_sweep(), title="Sweep")
    page, data = write_html(fig, tmp_path / "a.html")
    words = Elements(page.read_text()).words
    assert words.count("Sweep") == 2  # the window's title and the heading
    assert data == tmp_path / "a-data" / "figures.csv"
    assert fig.layout.meta["title"] == "Sweep"
    own, *_ = write_html(fig, tmp_path / "b.html", title="Mine", plotlyjs="cdn")
    assert "<h1>Mine</h1>" in own.read_text()


def test_cells_show_what_is_missing_and_lists() -> None:
    rows: list[list[Any]] = [[True, None, np.float64(1 / 3), np.array([1.0, 2.0])]]
    text = Page("a").table(["a", "b", "c", "d"], rows).html()
    assert all(f">{cell}</td>" in text for cell in ("yes", "–", "0.3333", "[1, 2]"))
