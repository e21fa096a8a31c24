"""``landscape barrier`` with more than two networks: the matrix, its pairs and its page."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cli.main import run
from landscape import Checkpoint, barrier_matrix, load_result, save
from landscape.plots.connectivity.matrix import levels_of, matrix_figure, paths_figure
from trainers.tasks import load_task

NETWORK = {"kind": "mlp", "widths": [2]}
QUICK = ["--points", "3", "--resamples", "20", "-q"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seeds at two levels, one network of another width, and one with NaN."""
    folder = tmp_path_factory.mktemp("matrix")
    task = load_task("digits", NETWORK)
    info = {"task": {"name": "digits", "options": {}}, "network": NETWORK, "method": "gd-magnitude"}
    for number, name in enumerate(("s0-l0", "s0-l1", "s1-l0", "s1-l1", "bad")):
        params = task.init(number)
        seed, level = divmod(number, 2)
        if name == "bad":
            params["Dense_0"]["bias"] = np.full(2, np.nan, np.float32)
        facts = {**info, "seeds": {"init": seed, "train": seed}, "level": level}
        mask = {layer: {n: np.ones_like(x, bool) for n, x in v.items()} for layer, v in params.items()}
        save(folder / f"{name}.h5", Checkpoint(params=params, mask=mask, info=facts))
    wide = {**NETWORK, "widths": [3]}
    params = load_task("digits", wide).init(0)
    save(folder / "wide.h5", Checkpoint(params=params, info={**info, "network": wide}))
    return folder


@pytest.fixture(autouse=True)
def in_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)


FOUR = ["s0-l0.h5", "s0-l1.h5", "s1-l0.h5", "s1-l1.h5"]


def test_a_matrix_is_what_the_library_says_and_its_page_has_the_figures(capsys: Any) -> None:
    outputs = [word for kind in ("h5", "html", "csv") for word in ("-o", f"all.{kind}")]
    assert run(["barrier", *FOUR, *QUICK, *outputs, "--force"]) == 0
    assert "4, 6 pairs" in capsys.readouterr().out
    found = load_result("all.h5")
    ours = barrier_matrix(None, FOUR, num_points=3, num_resamples=20, dtype="float32")
    np.testing.assert_array_equal(found.matrix(), ours.matrix())
    page = Path("all.html").read_text(encoding="utf-8")
    for said in ("Barriers between 4 networks", "Loss along the path of a pair", "Barrier against distance"):
        assert said in page
    assert len(Path("all-data/pairs.csv").read_text(encoding="utf-8").splitlines()) == 1 + len(
        ours.table()[1]
    )
    assert not Path("all.partial").exists()
    assert run(["report", "all.h5", "-o", "report.html", "--force", "-q"]) == 0


def test_a_cell_of_the_heat_map_names_the_path_of_its_pair() -> None:
    found = barrier_matrix(None, FOUR, num_points=3, num_resamples=20)
    heat, paths = matrix_figure(found).data[0], paths_figure(found)
    order = found.order()
    for i, row in enumerate(order):
        assert heat.customdata[i][i] is None
        for j, column in enumerate(order):
            if i != j:
                number = heat.customdata[i][j]
                assert sorted(found.pairs[number].tolist()) == sorted((row, column))
                assert heat.z[i][j] == found.barriers["train"]["loss"]["above_chord"][number]
                np.testing.assert_array_equal(paths.data[number].y, found.losses["train"]["loss"][number])
    largest = int(np.argmax(found.barriers["train"]["loss"]["above_chord"]))
    assert [i for i, trace in enumerate(paths.data) if trace.visible] == [largest]


def test_patterns_choose_pairs_and_levels_have_a_row_per_seed(capsys: Any) -> None:
    given = ["barrier", *FOUR, *QUICK, "--pairs", "levels", "--json"]
    assert run([*given, "-o", "levels.h5", "--force"]) == 0
    assert json.loads(capsys.readouterr().out)["data"]["relations"] == ["levels", "levels"]
    (series,) = levels_of(load_result("levels.h5"))
    assert (series["name"], np.shape(series["values"])) == ("gd-magnitude", (2, 1))


def test_a_dry_run_counts_the_pairs(capsys: Any) -> None:
    assert run(["barrier", *FOUR, *QUICK, "--dry-run", "--json", "-o", "never.h5"]) == 0
    parts = {one["name"]: one for one in json.loads(capsys.readouterr().out)["data"]["parts"]}
    assert parts["6 pairs, train"]["passes"] == 6 * 1 + 4
    assert not list(Path().glob("never*"))


@pytest.mark.faults
@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        ([*FOUR, "wide.h5"], 3, "Dense_0/kernel"),
        ([*FOUR, "bad.h5"], 3, "Dense_0/bias"),
        ([*FOUR, "--pairs", "methods"], 3, "pairs"),
        ([*FOUR, "--pairs", "nearest"], 2, "nearest"),
        (["."], 3, "not a run"),
    ],
)
def test_what_cannot_be_meant_is_refused(arguments: list[str], status: int, said: str, capsys: Any) -> None:
    assert run(["barrier", *arguments, *QUICK, "-o", "never.h5"]) == status
    assert said in capsys.readouterr().err
    assert not Path("never.h5").exists()
