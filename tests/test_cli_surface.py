"""``landscape surface``: arguments in, one call, outputs out. Surfaces themselves have their own tests."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import landscape
from cli.main import run
from landscape import Checkpoint, load_result, save
from trainers import Run
from trainers.tasks import load_task

NETWORK = {"kind": "mlp", "widths": [2]}
GRID = ["--x", "-1:1:3", "--y", "-1:1:3"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three networks of the digits task, one between two of them, one of another width, one with NaN."""
    folder = tmp_path_factory.mktemp("surface")
    task = load_task("digits", NETWORK)
    info = {"task": {"name": "digits", "options": {}}, "network": NETWORK}
    params = {name: task.init(seed) for seed, name in enumerate("abc")}
    params["bad"] = task.init(5)
    params["bad"]["Dense_0"]["bias"] = np.full(2, np.nan, np.float32)
    params["middle"] = {
        layer: {name: (x + params["b"][layer][name]) / 2 for name, x in leaves.items()}
        for layer, leaves in params["a"].items()
    }
    for name, tree in params.items():
        save(folder / f"{name}.h5", Checkpoint(params=tree, info=info))
    wide = {**NETWORK, "widths": [3]}
    tree = load_task("digits", wide).init(0)
    save(folder / "wide.h5", Checkpoint(params=tree, info={**info, "network": wide}))
    return folder


@pytest.fixture(autouse=True)
def in_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)


def test_a_plane_through_one_checkpoint_is_random_and_what_the_library_says(capsys: Any) -> None:
    outputs = [word for kind in ("h5", "html", "csv") for word in ("-o", f"one.{kind}")]
    given = ["surface", "a.h5", *GRID, "--planes", "2", "--seed", "3", "--batch-size", "500"]
    assert run([*given, *outputs, "--force", "-q"]) == 0
    assert "random direction 1" in capsys.readouterr().out
    found = load_result("one.h5")
    ours = landscape.loss_surface(
        None, "a.h5", x=(-1, 1, 3), y=(-1, 1, 3), num_planes=2, seed=3, batch_size=500, dtype="float32"
    )
    assert (found.directions, found.planes.shape) == ("random", (2, 3, 3))
    np.testing.assert_array_equal(found.losses["train"]["loss"], ours.losses["train"]["loss"])
    np.testing.assert_array_equal(found.planes, ours.planes)
    assert '"scatter3d"' not in Path("one.html").read_text(encoding="utf-8").split("</main>")[0]
    assert not Path("one.partial").exists()


def test_three_checkpoints_span_the_plane_that_holds_them(capsys: Any) -> None:
    assert run(["surface", "a.h5", "b.h5", "c.h5", *GRID, "--json", "-q"]) == 0
    form = json.loads(capsys.readouterr().out)
    assert form["schema"] == "landscape.surface/1"
    assert form["data"]["directions"] == "checkpoints"
    assert list(form["data"]["anchors"]) == ["a.h5", "b.h5", "c.h5"]


def test_three_dimensions_are_on_the_page_where_they_are_asked_for_and_again_in_a_report() -> None:
    given = ["surface", "a.h5", *GRID, "--planes", "1", "--view", "3d"]
    assert run([*given, "-o", "view.h5", "-o", "view.html", "--force", "-q"]) == 0
    assert run(["report", "view.h5", "-o", "report.html", "--force", "-q"]) == 0
    for name in ("view.html", "report.html"):
        assert "three dimensions" in Path(name).read_text(encoding="utf-8")


def test_lines_are_random_along_eigenvectors_or_through_two_checkpoints(capsys: Any) -> None:
    ends = ["--x", "-1:1:3", "--json", "-q"]
    expected = {
        ("a.h5", "--planes", "2"): ("random", 2),
        ("a.h5", "--directions", "eigenvectors", "--planes", "2"): ("eigenvectors", 2),
        ("a.h5", "--directions", "gradient", "--where", "Dense_1/*"): ("gradient", 1),
        ("a.h5", "b.h5"): ("checkpoints", 1),
    }
    for words, (directions, count) in expected.items():
        assert run(["surface", *words, "--line", *ends]) == 0
        data = json.loads(capsys.readouterr().out)["data"]
        assert (data["directions"], len(data["direction_names"])) == (directions, count)
        assert np.shape(data["losses"]["test"]["loss"]) == (count, 3)


def test_a_trajectory_takes_checkpoints_or_the_folder_of_a_run(small_run: Run, capsys: Any) -> None:
    assert run(["surface", "a.h5", "b.h5", "c.h5", "--trajectory", *GRID, "--json", "-q"]) == 0
    assert len(json.loads(capsys.readouterr().out)["data"]["names"]) == 3
    assert run(["surface", str(small_run.path), "--trajectory", *GRID, "-o", "run.h5", "--force", "-q"]) == 0
    found = load_result("run.h5")
    assert len(found.names) == len(list(small_run.path.rglob("level-0?.h5")))
    assert set(found.paths) >= {"gd-magnitude, seed 0"}
    capsys.readouterr()
    assert run(["surface", "--config", "run.h5", "--split", "test", "--json", "-q"]) == 0
    assert json.loads(capsys.readouterr().out)["data"]["split"] == "test"


@pytest.mark.parametrize("more", [[], ["--line"], ["--directions", "eigenvectors"], ["--trajectory"]])
def test_a_dry_run_counts_the_points_and_writes_nothing(more: list[str], capsys: Any) -> None:
    given = ["a.h5", "b.h5", "c.h5"] if more == ["--trajectory"] else ["a.h5"]
    assert run(["surface", *given, *more, "--dry-run", "--json", "-o", "never.h5", "-q"]) == 0
    parts = {one["name"]: one for one in json.loads(capsys.readouterr().out)["data"]["parts"]}
    points = {"--line": 5 * 51, "--trajectory": 31 * 31}.get(more[0] if more else "", 51 * 51)
    assert parts["losses, train"]["passes"] == points
    assert not list(Path().glob("never*"))


@pytest.mark.faults
@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        ([], 2, "at least one checkpoint"),
        (["a.h5", "b.h5"], 2, "one or 3 checkpoints"),
        (["a.h5", "b.h5", "c.h5", "--line"], 2, "one or 2 checkpoints"),
        (["a.h5", "b.h5", "c.h5", "--directions", "random"], 2, "takes one checkpoint"),
        (["a.h5", "--line", "--y", "-1:1:3"], 2, "--y does not go with --line"),
        (["a.h5", "--line", "--trajectory"], 2, "exclude each other"),
        (["a.h5", "b.h5", "--trajectory"], 2, "at least three"),
        (
            ["a.h5", "--directions", "gradient", "--planes", "2"],
            2,
            "--planes does not go with --directions gradient",
        ),
        (["a.h5", "--x", "1:-1:3"], 2, "LOW below HIGH"),
        (["a.h5", "--x", "1:2"], 2, "LOW:HIGH:POINTS"),
        (["a.h5", "--where", "nothing"], 2, "nothing"),
        (["a.h5", "b.h5", "a.h5"], 3, "same network"),
        (["a.h5", "b.h5", "middle.h5"], 3, "on a line"),
        (["a.h5", "b.h5", "wide.h5"], 3, "Dense_0/kernel"),
        (["bad.h5"], 3, "Dense_0/bias"),
        (["missing.h5"], 3, "missing.h5"),
        ([".", "--trajectory"], 3, "not a run"),
    ],
)
def test_what_cannot_be_meant_is_refused(
    arguments: list[str], status: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["surface", *arguments, "-o", "never.h5", "-q"]) == status
    assert said in capsys.readouterr().err
    assert not list(Path().glob("never*"))


@pytest.mark.faults
def test_a_network_with_nan_is_drawn_on_request_with_status_4() -> None:
    assert run(["surface", "bad.h5", *GRID, "--planes", "1", "--allow-nonfinite", "-q"]) == 4
