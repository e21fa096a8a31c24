"""Rows 28 and 29 of the table of faults: odd streams, and decoys in the working folder."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = [str(Path(sys.executable).with_name("landscape"))]


@pytest.mark.faults
@pytest.mark.parametrize("args", [["--help"], ["barrier", "--help"], ["completion", "zsh"], ["barrier"]])
@pytest.mark.parametrize(
    "env",
    [
        {"PYTHONIOENCODING": "ascii", "LC_ALL": "C"},
        {"COLUMNS": "1"},
        {"COLUMNS": "0", "TERM": "dumb", "NO_COLOR": "1"},
    ],
)
def test_row_28_small_character_sets_and_narrow_terminals_are_no_fault(
    args: list[str], env: dict[str, str]
) -> None:
    done = subprocess.run(
        [*SCRIPT, *args], capture_output=True, text=True, env={**os.environ, **env}, check=False
    )
    assert done.returncode == (2 if args == ["barrier"] else 0)
    assert "Traceback" not in done.stderr


@pytest.mark.faults
@pytest.mark.parametrize("redirect", [">&-", ">&- 2>&-", "2>&-", "<&- >&- 2>&-", "2>/dev/full", "| true"])
@pytest.mark.parametrize("args", ["--help", "completion bash", "barrier --json a"])
def test_row_28_closed_and_broken_streams_are_no_fault(redirect: str, args: str) -> None:
    line = f"set -o pipefail; {shlex.quote(SCRIPT[0])} {args} {redirect}"
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=False)
    assert done.returncode == (2 if "barrier" in args else 0)
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr


@pytest.mark.faults
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
@pytest.mark.parametrize("args", ["completion bash", "--help", "barrier --help", "--version"])
def test_row_28_a_result_that_could_not_be_printed_is_said(args: str) -> None:
    line = f"{shlex.quote(SCRIPT[0])} {args} >/dev/full"
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=False)
    assert done.returncode == 3
    assert "No space left" in done.stderr
    assert "a bug" not in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.faults
def test_row_28_names_that_are_not_text_are_no_fault() -> None:
    done = subprocess.run([*SCRIPT, "barrier", b"\xff\xfe.h5", "--points"], capture_output=True, check=False)
    assert done.returncode == 2
    assert b"Traceback" not in done.stderr
    done = subprocess.run([*SCRIPT, b"\xff\xfe", "--json"], capture_output=True, check=False)
    assert done.returncode == 2
    assert "\\udcff" in done.stdout.decode("ascii")


DECOYS = (
    "cli/__init__.py",
    "cli/main.py",
    "trainers/__init__.py",
    "jax.py",
    "timeit.py",
    "click.py",
    "json.py",
)


@pytest.fixture
def decoys(tmp_path: Path) -> Path:
    for name in DECOYS:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("raise SystemExit('a decoy was imported')\n", encoding="utf-8")
    return tmp_path


@pytest.mark.faults
@pytest.mark.parametrize("start", [SCRIPT, [sys.executable, "-m", "landscape"]])
@pytest.mark.parametrize("args", [["--help"], ["barrier", "--help"], ["completion", "bash"]])
def test_row_29_decoy_modules_in_the_working_folder_are_not_imported(
    start: list[str], args: list[str], decoys: Path
) -> None:
    done = subprocess.run([*start, *args], cwd=decoys, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "decoy" not in done.stderr


@pytest.mark.faults
def test_row_29_decoys_are_not_imported_when_a_problem_is_loaded(decoys: Path) -> None:
    (decoys / "mine.py").write_text("def problem(): return 3\n", encoding="utf-8")
    code = "from cli.shared import own_problem; own_problem.load('mine.py:problem')"
    environment = {**os.environ, "PYTHONSAFEPATH": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=decoys, capture_output=True, text=True, env=environment, check=False
    )
    assert "did not return a Problem" in done.stderr
    assert "decoy" not in done.stderr
