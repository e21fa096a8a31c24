"""Every command is attacked with files that name code beside them: nothing of it is imported."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from hostile_code import MARKER, SAMPLES

from cli.main import COMMANDS, run as command_line
from landscape.errors import CodeRefusedError
from trainers import open_run, resolve, train_tickets

pytestmark = pytest.mark.faults


def attacks(sample: str) -> dict[str, list[list[str]]]:
    """Return how each command can be given a file; a new command owes its row."""
    measured = {
        name: [[name, "--config", sample, "-o", f"{name}-again.h5"], [name, sample, *more]]
        for name, more in (
            ("barrier", ["a.h5"]),
            ("curvature", []),
            ("flatness", []),
            ("connect", ["a.h5"]),
            ("rollout", []),
            ("surface", []),
        )
    }
    return measured | {
        "align": [["align", sample, "a.h5", "-o", "aligned.h5"]],
        "train": [
            ["train", sample, "-o", "out"],
            ["train", "smoke", "--config", sample, "-o", "out"],
            ["train", "--resume", "-o", sample],
        ],
        "transfer": [["transfer", sample, "--to", "adam", "-o", "moved"]],
        "runs": [["runs", sample], ["runs", "."]],
        "report": [["report", sample, "-o", "page.html"]],
        "info": [["info", sample]],
        "verify": [["verify", sample]],
        "diff": [["diff", sample, "a.h5"]],
        "convert": [["convert", sample, "converted.h5"]],
        "quickstart": [],  # takes no file
        "completion": [],
    }


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "evil", raising=False)
    return tmp_path


@pytest.mark.parametrize("name", SAMPLES)
def test_no_command_imports_code_that_a_file_names(
    name: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sample = SAMPLES[name](folder)
    rows = attacks(sample.name)
    assert rows.keys() == COMMANDS.keys()
    for args in [args for row in rows.values() for args in row]:
        code = command_line(args)
        said = capsys.readouterr().err
        assert code != 1, (args, said)  # 1 is a bug; 4 of diff says that two files differ
        assert not (folder / MARKER).exists(), args
        assert "evil" not in sys.modules, args
    assert not (folder / "out").exists()


def test_the_code_leaves_its_mark_where_the_command_line_names_it(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What the attacks look for is there to be found."""
    sample = SAMPLES["result_of_barrier"](folder)
    refused = ["barrier", "--config", sample.name, "-q"]
    assert command_line(refused) == 3
    assert "--problem" in capsys.readouterr().err
    assert command_line([*refused, "--problem", "evil.py:make"]) == 0
    assert (folder / MARKER).exists()


def test_no_function_of_the_library_trains_by_a_score_that_a_file_names(folder: Path) -> None:
    runs = SAMPLES["run_folder"](folder)
    for config in (open_run(runs).config, resolve(runs / "run.toml")):
        with pytest.raises(CodeRefusedError, match="allow_code"):
            train_tickets(config, "out")
    assert not (folder / MARKER).exists()
