"""``landscape report``: stored results in, one page out, nothing computed again."""

from __future__ import annotations

import csv
import json
import sys
import types
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browser import open_page
from curvature_samples import tanh_params, tanh_problem

import landscape
from cli.main import COMMANDS, run
from landscape import Checkpoint
from landscape.plots import FIGURES


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a result of each kind that a command stores."""
    folder, problem, params = tmp_path_factory.mktemp("report"), tanh_problem(), tanh_params()
    other = {layer: {name: 1.1 * x for name, x in leaves.items()} for layer, leaves in params.items()}
    std = {layer: {n: 0.1 + np.abs(x) for n, x in leaves.items()} for layer, leaves in params.items()}
    given = [Checkpoint(params=params, std=std, info={"method": "es", "level": 0}), other]
    results = {
        "barrier": landscape.loss_barrier(problem, params, other, num_points=5),
        "one": landscape.curvature_table(problem, given[:1], k=2, density=True, relative_error=0.2, subset=8),
        "many": landscape.curvature_table(problem, given, k=3, density=True, relative_error=0.2, subset=8),
        "scale": landscape.scale_curvature(problem, given[0]),
        "flat": landscape.measure_flatness(problem, params, measures=["sam", "trace"]),
    }
    for name, result in results.items():
        result.save(folder / f"{name}.h5")
    return folder


@pytest.fixture(autouse=True)
def in_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)


@pytest.mark.parametrize("name", ["barrier", "one", "many", "scale", "flat"])
@pytest.mark.parametrize("width", [1280, 390])
def test_the_page_of_a_stored_result_is_drawn_whole(name: str, width: int, folder: Path, capsys: Any) -> None:
    assert run(["report", f"{name}.h5", "-o", f"{name}.html", "--force", "-q"]) == 0
    assert name in capsys.readouterr().out
    seen = open_page(folder / f"{name}.html", folder, width=width)
    assert seen.errors == []
    assert seen.drawn == seen.plots > 0
    assert seen.content_width <= seen.width


def test_several_results_are_sections_of_one_page_the_same_each_time(folder: Path, capsys: Any) -> None:
    given = ["report", "barrier.h5", "one.h5", "many.h5", "scale.h5", "flat.h5", "-o", "all.html", "--force"]
    assert run([*given, "--json", "-q"]) == 0
    form = json.loads(capsys.readouterr().out)
    assert form["schema"] == "landscape.report/1"
    kinds = [found["kind"] for found in form["data"]["results"]]
    assert kinds == ["barrier", "curvature", "curvature", "scale_curvature", "flatness"]
    assert form["outputs"][0] == "all.html"
    first = (folder / "all.html").read_bytes()
    assert run([*given, "-q"]) == 0
    assert (folder / "all.html").read_bytes() == first


def test_the_rows_beside_the_page_are_those_of_the_stored_table(folder: Path) -> None:
    assert run(["report", "many.h5", "-o", "rows.html", "--force", "-q"]) == 0
    table = landscape.load_result(folder / "many.h5")
    with (folder / "rows-data" / "curvature.csv").open(encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 2
    for row, expected in zip(rows, table.tidy(), strict=True):
        assert row["name"] == expected["name"]
        assert float(row["lambda_3"]) == expected["lambda_3"]
        assert float(row["residual_1"]) == expected["residual_1"]
        assert float(row["trace_data_standard_error"]) == expected["trace_data_standard_error"]
    with (folder / "rows-data" / "figures.csv").open(encoding="utf-8") as stream:
        points = [row for row in csv.DictReader(stream) if row["figure"] == "eigenvalues"]
    points = [row for row in points if not row["series"].endswith("mean")]
    assert points
    assert all(row["low"] and row["high"] for row in points)


@pytest.mark.faults
@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        ([], 2),
        (["one.h5"], 2),
        (["one.h5", "-o", "one.txt"], 2),
        (["one.h5", "-o", "missing/one.html"], 3),
        (["missing.h5", "-o", "never.html"], 3),
    ],
)
def test_reports_that_cannot_be_written_are_refused(arguments: list[str], status: int) -> None:
    assert run(["report", *arguments, "-q"]) == status
    assert not Path("never.html").exists()


@pytest.mark.faults
def test_a_page_that_is_there_is_not_replaced_and_a_checkpoint_is_no_result(
    folder: Path, capsys: Any
) -> None:
    (folder / "there.html").write_text("mine", encoding="utf-8")
    assert run(["report", "one.h5", "-o", "there.html", "-q"]) == 3
    assert (folder / "there.html").read_text(encoding="utf-8") == "mine"
    landscape.save(folder / "checkpoint.h5", Checkpoint(params=tanh_params()), force=True)
    assert run(["report", "checkpoint.h5", "-o", "never.html", "-q"]) == 3
    assert "checkpoint.h5" in capsys.readouterr().err


@pytest.mark.parametrize("suffix", [".png", ".svg", ".pdf"])
def test_a_picture_is_the_figure_of_the_one_result(
    suffix: str, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    drawn = []
    package = types.ModuleType("kaleido")  # stands for the package that draws; it may not be installed
    package.__spec__ = ModuleSpec("kaleido", None)
    monkeypatch.setitem(sys.modules, "kaleido", package)
    monkeypatch.setattr("landscape.plots.write_image", lambda figure, path, **_: drawn.append((figure, path)))
    assert run(["report", "barrier.h5", "-o", f"x{suffix}", "-q"]) == 0
    ((figure, path),) = drawn
    assert path == Path(f"x{suffix}")
    assert figure == landscape.load_result("barrier.h5").relative_to(Path()).plot()
    assert run(["report", "barrier.h5", "flat.h5", "-o", f"x{suffix}", "-q"]) == 2
    assert "a picture shows one result" in capsys.readouterr().err
    assert len(drawn) == 1


def test_help_lists_the_kinds_that_are_drawn(capsys: Any) -> None:
    assert run(["report", "--help"]) == 0
    text = capsys.readouterr().out
    rows = [line.split(maxsplit=1) for line in text.splitlines() if line.startswith("  ")]
    written = {row[0]: row[1] for row in rows if len(row) == 2}
    for kind in FIGURES:
        command, _, name = written[kind].partition(" ")
        assert command in ("landscape", "Python:")
        assert name.split()[0] in COMMANDS or hasattr(landscape, name.split(".")[-1].split()[0])


def test_networks_and_page_of_a_report_can_be_named(folder: Path) -> None:
    given = ["--names", "dense", "--names", "sparse", "--title", "Mine"]
    assert (
        run(["report", "barrier.h5", *given, "-o", "named.html", "--plotlyjs", "cdn", "--force", "-q"]) == 0
    )
    page = (folder / "named.html").read_text(encoding="utf-8")
    assert "<h1>Mine</h1>" in page
    assert "from dense to sparse" in page
    assert run(["report", "barrier.h5", "--names", "dense", "-o", "one.html", "--force", "-q"]) != 0
    assert run(["report", "barrier.h5", "one.h5", *given, "-o", "two.html", "--force", "-q"]) != 0
