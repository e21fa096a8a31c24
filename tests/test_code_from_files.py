"""No code from data: a function that a file names is run only if the command line names it too."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cli.main import run as command_line
from landscape import Checkpoint, Problem, load, load_result, loss_barrier, problem_of, save
from landscape.errors import CodeRefusedError, InputError
from trainers import open_run, resolve, train_tickets
from trainers.reports.ranks import final_rank_correlations

pytestmark = pytest.mark.faults
DECOY = "from pathlib import Path\nPath({mark!r}).touch()\n"
PROBLEM = """
import numpy as np
from landscape import Problem


def make():
    return Problem(lambda p, b: ((b @ p["w"]) ** 2).sum(1), train=np.ones((8, 3), np.float32))


def size(inputs):
    return abs(inputs.mean)
"""


@pytest.fixture
def stranger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder with a file of code that leaves a mark when it is imported."""
    (tmp_path / "evil.py").write_text(DECOY.format(mark=str(tmp_path / "ran")) + PROBLEM)
    for name, value in (("a.h5", 1.0), ("b.h5", 2.0)):
        save(tmp_path / name, Checkpoint(params={"w": np.full((3, 2), value, np.float32)}))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "evil", raising=False)
    return tmp_path


def refused(args: list[str], folder: Path, capsys: pytest.CaptureFixture[str], option: str) -> None:
    assert command_line(args) == 3
    said = capsys.readouterr().err
    assert option in said
    assert "evil" in said
    assert not (folder / "ran").exists()


@pytest.mark.parametrize(
    ("command", "more"),
    [
        (["barrier", "a.h5", "b.h5"], ["--points", "3", "--resamples", "10"]),
        (["curvature", "a.h5"], ["--top", "1"]),
        (["flatness", "a.h5"], ["--measures", "gaussian", "--draws", "2"]),
    ],
)
@pytest.mark.parametrize("spec", ["evil.py:make", "evil:make"])
def test_a_stored_result_does_not_say_what_code_is_run(
    stranger: Path, capsys: pytest.CaptureFixture[str], command: list[str], more: list[str], spec: str
) -> None:
    measure = [*command, *more, "-q", "--problem", spec, "-o", "result.h5"]
    assert command_line(measure) == 0, capsys.readouterr().err
    (stranger / "ran").unlink(missing_ok=True)
    sys.modules.pop("evil", None)
    again = [command[0], "--config", "result.h5", "-o", "again.h5", "-q"]
    refused(again, stranger, capsys, "--problem")
    assert not (stranger / "again.h5").exists()
    assert command_line([*again, "--problem", spec]) == 0
    assert (stranger / "ran").exists()


def configuration(folder: Path, text: str = "evil.py:size") -> Path:
    path = folder / "stranger.toml"
    path.write_text(
        'extends = "smoke"\nmethods = ["mine"]\nseeds = [0]\n'
        f'[method.mine]\nalgorithm = "gd"\nscore = "{text}"\n[pruning]\nlevels = 2\n'
    )
    return path


def test_a_configuration_does_not_say_what_code_is_run(
    stranger: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = configuration(stranger)
    train = ["train", str(path), "-o", "run", "-q"]
    refused(train, stranger, capsys, "--allow-code")
    refused([*train, "--allow-code", "other.py:size"], stranger, capsys, "--allow-code")
    path.write_text(path.read_text().partition("\n")[2])
    refused(["train", "smoke", "--config", str(path), "-o", "run"], stranger, capsys, "--allow-code")
    assert not (stranger / "run").exists()


def test_a_run_folder_does_not_say_what_code_is_run(
    stranger: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    allowed = ["--allow-code", str(stranger / "evil.py:size")]  # another path of the same file
    assert command_line(["train", str(configuration(stranger)), "-o", "run", "-q", *allowed]) == 0
    (stranger / "ran").unlink()
    resume = ["train", "--resume", "-o", "run", "-q", "--set", "pruning.levels=3"]
    refused(resume, stranger, capsys, "--allow-code")
    checkpoint = str(stranger / "run/mine/seed-0/level-00.h5")
    refused(["train", checkpoint, "-o", "other", "-q"], stranger, capsys, "--allow-code")
    run = open_run("run")
    with pytest.raises(CodeRefusedError, match="allow_code"):
        train_tickets(run.config, "run", resume=True)
    with pytest.raises(CodeRefusedError, match=r"evil\.py"):
        final_rank_correlations(run, "mine")
    assert command_line(["info", "run"]) == command_line(["runs", "run"]) == 0
    assert not (stranger / "ran").exists()
    assert final_rank_correlations(run, "mine", allow_code=["evil.py:size"])
    assert command_line([*resume, "--set", "method.mine.score='evil.py:size'"]) == 0


def test_a_transfer_runs_no_score_of_its_source(stranger: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = resolve(configuration(stranger))
    train_tickets(config, "run", allow_code=["evil.py:size"])
    (stranger / "ran").unlink()
    args = ["transfer", "run", "--to", "adam", "--method", "mine", "-o", "moved", "-q"]
    assert command_line(args) == 0, capsys.readouterr().err
    assert not (stranger / "ran").exists()


@pytest.mark.parametrize("name", ["evil:make", "evil.py:make", "os:system"])
def test_a_checkpoint_names_installed_tasks_only(stranger: Path, name: str) -> None:
    checkpoint = Checkpoint(params={"w": np.ones((3, 2), np.float32)}, info={"task": {"name": name}})
    with pytest.raises(InputError, match="not installed"):
        problem_of(checkpoint)
    assert not (stranger / "ran").exists()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("points", "many"),
        ("points", -3),
        ("split", ["train"]),
        ("refine", {}),
        ("dtype", "<b>"),
        ("seed", 1e300),
    ],
)
def test_a_stored_option_that_is_none_is_refused_by_its_name(
    stranger: Path, capsys: pytest.CaptureFixture[str], key: str, value: Any
) -> None:
    options = {"points": 5, "split": "train", key: value}
    altered(stranger, {"name": "barrier", "checkpoints": ["a.h5", "b.h5"], "options": options})
    assert command_line(["barrier", "--config", "result.h5", "--problem", "evil.py:make"]) == 3
    assert key in capsys.readouterr().err


@pytest.mark.parametrize(
    "command",
    [
        {"name": "barrier", "checkpoints": 3, "options": {}},
        {"name": "barrier", "checkpoints": [["a.h5"], "b.h5"], "options": {}},
        {"name": "barrier", "checkpoints": ["a.h5", "b.h5"], "options": [1]},
        {"name": "barrier", "checkpoints": ["a.h5", "b.h5"]},
    ],
)
def test_a_stored_command_that_is_none_is_refused(
    stranger: Path, capsys: pytest.CaptureFixture[str], command: Mapping[str, Any]
) -> None:
    altered(stranger, command)
    assert command_line(["barrier", "--config", "result.h5", "--problem", "evil.py:make"]) == 3
    assert "bug" not in capsys.readouterr().err


def altered(folder: Path, command: Mapping[str, Any]) -> None:
    """Write a barrier whose stored command line is `command`."""
    import dataclasses

    problem = Problem(lambda p, b: ((b @ p["w"]) ** 2).sum(1), train=np.ones((8, 3), np.float32))
    result = loss_barrier(problem, load("a.h5"), load("b.h5"), num_points=3, num_resamples=10)
    dataclasses.replace(result, config={**result.config, "command": command}).save(folder / "result.h5")
    assert load_result(folder / "result.h5").config["command"] == command
    shutil.rmtree(folder / "ran", ignore_errors=True)
