"""``landscape curvature``: arguments in, one call, outputs out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import landscape
from cli.main import run
from landscape import Checkpoint, load_result, save
from trainers.tasks import load_task

NETWORK = {"kind": "mlp", "widths": [2]}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two checkpoints of the digits task and one with NaN."""
    folder = tmp_path_factory.mktemp("curvature")
    task = load_task("digits", NETWORK)
    info = {"task": {"name": "digits", "options": {}}, "network": NETWORK, "method": "gd-magnitude"}
    for seed, name in enumerate(("a.h5", "b.h5", "bad.h5")):
        params = task.init(seed)
        if name == "bad.h5":
            params["Dense_0"]["bias"] = np.full(2, np.nan, np.float32)
        save(folder / name, Checkpoint(params=params, info={**info, "level": 0}))
    return folder


@pytest.fixture(autouse=True)
def in_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)


QUICK = ["--examples", "40", "--top", "2", "--relative-error", "0.5", "-q"]


def test_one_checkpoint_prints_eigenvalues_with_residuals_and_a_trace_by_layer(capsys: Any) -> None:
    assert run(["curvature", "a.h5", *QUICK]) == 0
    text = capsys.readouterr().out
    assert "λ2" in text
    assert "standard error" in text
    assert "Dense_0/kernel" in text
    assert run(["curvature", "a.h5", *QUICK, "--no-per-layer"]) == 0
    assert "Dense_0/kernel" not in capsys.readouterr().out


def test_json_is_one_object_with_a_record_a_checkpoint(capsys: Any) -> None:
    assert run(["curvature", "a.h5", "b.h5", *QUICK, "--no-trace", "--where", "Dense_1/*", "--json"]) == 0
    form = json.loads(capsys.readouterr().out)
    assert form["schema"] == "landscape.curvature/1"
    assert [record["name"] for record in form["data"]["records"]] == ["a.h5", "b.h5"]
    assert form["data"]["records"][0]["dim"] == 30
    assert form["config"]["paths"] == ["Dense_1/bias", "Dense_1/kernel"]


def test_a_stored_result_is_loaded_and_run_again_with_changes(folder: Path, capsys: Any) -> None:
    given = ["curvature", "a.h5", *QUICK, "--matrix", "gauss_newton", "--seed", "4"]
    assert run([*given, "-o", "one.h5", "-o", "one.html", "-o", "one.json", "-o", "one.csv", "--force"]) == 0
    head, *rows = (folder / "one.csv").read_text(encoding="utf-8").splitlines()
    assert {"method", "seed", "level", "split", "low", "high"} <= set(head.split(","))
    assert any(",eigenvalue," in row for row in rows)
    stored = load_result(folder / "one.h5")
    assert stored.config["matrix"] == "gauss_newton"
    assert "plotly" in (folder / "one.html").read_text(encoding="utf-8").lower()
    capsys.readouterr()
    assert run(["curvature", "--config", "one.h5", "--json", "-q"]) == 0
    (again,) = json.loads(capsys.readouterr().out)["data"]["records"]
    (first,) = json.loads((folder / "one.json").read_text(encoding="utf-8"))["data"]["records"]
    assert again == first  # names are relative to where the answer goes
    assert run(["curvature", "--config", "one.h5", "--top", "1", "--json", "-q"]) == 0
    assert len(json.loads(capsys.readouterr().out)["data"]["records"][0]["eigenvalues"]) == 1


def test_float64_agrees_with_float32(capsys: Any) -> None:
    values = []
    for dtype in ("float32", "float64"):
        assert run(["curvature", "a.h5", *QUICK, "--no-trace", "--dtype", dtype, "--json"]) == 0
        values.append(json.loads(capsys.readouterr().out)["data"]["records"][0]["eigenvalues"])
    np.testing.assert_allclose(values[0], values[1], rtol=1e-4)


@pytest.mark.faults
def test_weights_that_are_not_finite_are_refused_or_computed_with_status_4(capsys: Any) -> None:
    assert run(["curvature", "bad.h5", *QUICK, "-o", "never.h5"]) == 3
    assert not Path("never.h5").exists()
    assert "Dense_0/bias" in capsys.readouterr().err
    assert run(["curvature", "bad.h5", *QUICK, "--allow-nonfinite"]) == 4


@pytest.mark.faults
@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        ([], 2),
        (["a.h5", "--where", "nothing"], 2),
        (["a.h5", "--top", "0", "--no-trace"], 2),
        (["missing.h5"], 3),
        (["a.h5", "--examples", "99999"], 2),
        (["a.h5", "-o", "x.txt"], 2),
        (["a.h5", "--tolerance", "0"], 2),
    ],
)
def test_commands_that_cannot_be_meant_are_refused(arguments: list[str], status: int) -> None:
    assert run(["curvature", *arguments, "-q"]) == status


@pytest.mark.faults
@pytest.mark.parametrize("more", [[], ["--scale"]])
def test_checkpoints_of_different_tasks_are_refused(folder: Path, more: list[str], capsys: Any) -> None:
    network = landscape.load(folder / "a.h5")
    info = {**network.info, "task": {"name": "mnist", "options": {}}}
    std = {layer: {n: np.ones_like(x) for n, x in leaves.items()} for layer, leaves in network.params.items()}
    save(folder / "mnist.h5", Checkpoint(params=network.params, std=std, info=info), force=True)
    assert run(["curvature", "a.h5", "mnist.h5", *more, "-q", "-o", "never.h5"]) == 2
    assert "a.h5 and mnist.h5 name different tasks" in capsys.readouterr().err
    assert not Path("never.h5").exists()


def test_the_library_gives_the_same_numbers(capsys: Any) -> None:
    assert run(["curvature", "a.h5", *QUICK, "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)["data"]["records"][0]
    table = landscape.curvature_table(None, [landscape.load("a.h5")], k=2, subset=40, relative_error=0.5)
    np.testing.assert_array_equal(table.records[0]["eigenvalues"], shown["eigenvalues"])


def test_scale_compares_the_search_distribution_with_the_diagonal(folder: Path, capsys: Any) -> None:
    network = landscape.load(folder / "a.h5")
    rng = np.random.default_rng(0)
    std = {
        layer: {name: rng.uniform(0.1, 1, np.shape(leaf)).astype(np.float32) for name, leaf in leaves.items()}
        for layer, leaves in network.params.items()
    }
    save(folder / "es.h5", Checkpoint(params=network.params, std=std, info=network.info), force=True)
    given = [
        "curvature",
        "es.h5",
        "--scale",
        "--examples",
        "40",
        "-q",
        "--force",
        "-o",
        "s.h5",
        "-o",
        "s.html",
    ]
    assert run([*given, "--json"]) == 0
    form = json.loads(capsys.readouterr().out)
    assert form["schema"] == "landscape.scale_curvature/1"
    assert form["data"]["records"][0]["layer"] == "all"
    assert "Search precision" in (folder / "s.html").read_text(encoding="utf-8")
    assert run(["curvature", "--config", "s.h5", "--json", "-q"]) == 0
    assert json.loads(capsys.readouterr().out)["data"]["summary"] == form["data"]["summary"]


@pytest.mark.faults
def test_scale_without_a_search_distribution_is_refused(capsys: Any) -> None:
    assert run(["curvature", "a.h5", "--scale", "-q"]) == 3
    assert "Leave out the checkpoints of gradient descent" in capsys.readouterr().err
