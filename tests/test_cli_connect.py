"""``landscape connect``: arguments in, one call, outputs out. The curve itself has its own tests."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cli.main import run
from landscape import Checkpoint, load_result, save
from trainers.tasks import load_task

NETWORK = {"kind": "mlp", "widths": [2]}
QUICK = ["--steps", "4", "--points", "3", "--resamples", "20", "-q"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two networks of the digits task, one of another width, and one with NaN."""
    folder = tmp_path_factory.mktemp("connect")
    for seed, (name, width) in enumerate((("a", 2), ("b", 2), ("wide", 3), ("bad", 2))):
        network = {**NETWORK, "widths": [width]}
        params = load_task("digits", network).init(seed)
        if name == "bad":
            params["Dense_0"]["bias"] = np.full(2, np.nan, np.float32)
        info = {"task": {"name": "digits", "options": {}}, "network": network}
        save(folder / f"{name}.h5", Checkpoint(params=params, info=info))
    return folder


@pytest.fixture(autouse=True)
def in_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)


def test_options_reach_the_curve_and_every_output_is_written(capsys: Any) -> None:
    outputs = [word for kind in ("h5", "html", "json", "csv") for word in ("-o", f"one.{kind}")]
    given = ["connect", "a.h5", "b.h5", *QUICK, "--curve", "chain", "--bends", "2", "--seed", "5"]
    assert run([*given, "--learning-rate", "0.1", "--split", "test", *outputs, "--force"]) == 0
    assert "chain with 2 bends" in capsys.readouterr().out
    found = load_result("one.h5")
    assert (found.curve, len(found.bends), len(found.history), len(found.ts)) == ("chain", 2, 4, 3)
    assert (found.split, found.config["seed"], found.config["learning_rate"]) == ("test", 5, 0.1)
    page = Path("one.html").read_text(encoding="utf-8")
    assert "Loss along the curve from a.h5 to b.h5" in page
    assert "Training of the curve" in page
    rows = Path("one.csv").read_text(encoding="utf-8").splitlines()
    assert any("line_barrier_above_chord" in row for row in rows)
    assert not Path("one.partial").exists()


def test_a_stored_curve_is_trained_again_to_the_same_bits_and_drawn_by_report(capsys: Any) -> None:
    assert run(["connect", "a.h5", "b.h5", *QUICK, "-o", "two.h5", "--force"]) == 0
    capsys.readouterr()
    assert run(["connect", "--config", "two.h5", "--json", "-q"]) == 0
    again = json.loads(capsys.readouterr().out)["data"]
    np.testing.assert_array_equal(again["controls"], load_result("two.h5").controls)
    assert run(["report", "two.h5", "-o", "report.html", "--force", "-q"]) == 0
    assert "Curve and straight line" in Path("report.html").read_text(encoding="utf-8")


def test_what_is_kept_is_said_and_another_curve_of_the_same_name_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    from landscape.files import Pieces

    given = ["connect", "a.h5", "b.h5", *QUICK[:-1], "-o", "kept.h5", "--force"]
    with monkeypatch.context() as patch:
        patch.setattr(Pieces, "remove", lambda _: None)  # as if it had been stopped at the end
        assert run(given) == 0
    assert "kept.partial" in capsys.readouterr().err
    assert Path("kept.partial").is_dir()
    assert run([*given, "--seed", "9"]) == 3
    assert "another computation" in capsys.readouterr().err
    assert run(given) == 0
    assert "going on" in capsys.readouterr().err
    assert not Path("kept.partial").exists()


def test_a_dry_run_counts_the_steps_and_writes_nothing(capsys: Any) -> None:
    assert run(["connect", "a.h5", "b.h5", *QUICK, "--dry-run", "-o", "never.h5"]) == 0
    text = capsys.readouterr().out
    assert "training, 4 steps" in text
    assert "losses, train" in text
    assert not Path("never.h5").exists()
    assert not Path("never.partial").exists()


@pytest.mark.faults
@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (["a.h5"], 2),
        (["a.h5", "b.h5", "a.h5"], 2),
        (["a.h5", "b.h5", "--bends", "0"], 2),
        (["a.h5", "b.h5", "--curve", "straight"], 2),
        (["a.h5", "wide.h5"], 3),
        (["a.h5", "bad.h5"], 3),
        (["a.h5", "missing.h5"], 3),
    ],
)
def test_commands_that_cannot_be_meant_are_refused(arguments: list[str], status: int) -> None:
    assert run(["connect", *arguments, *QUICK, "-o", "never.h5"]) == status
    assert not Path("never.h5").exists()
