"""Rows 1, 22, 23 and 28 for curves, surfaces and matrices: stopped, killed, and their streams broken."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cli.main import run
from landscape import Checkpoint, load_result, save
from landscape.results import Result
from trainers import Run
from trainers.tasks import load_task

NETWORK = {"kind": "mlp", "widths": [2]}
SCRIPT = str(Path(sys.executable).with_name("landscape"))
COMMANDS = {
    "connect": ["connect", "a.h5", "b.h5", "--steps", "6", "--points", "3", "--resamples", "20"],
    "surface": ["surface", "a.h5", "--x", "-1:1:3", "--y", "-1:1:3", "--planes", "2"],
    "matrix": ["barrier", "a.h5", "b.h5", "c.h5", "--points", "3", "--resamples", "20"],
    "trajectory": ["surface", "a.h5", "b.h5", "c.h5", "--trajectory", "--x", "-1:1:3", "--y", "-1:1:3"],
}
# Sends the process a signal once so many parts are kept, one part per step or point.
ENDING = """
import os, sys
from landscape.connectivity import curve_training
from landscape.files import Pieces
from landscape.surfaces import points
curve_training._CHUNK_SECONDS = curve_training._SECONDS_PER_PIECE = points._SECONDS_PER_PIECE = 0
keep, parts = Pieces.keep, []
def counted(self, *given):
    keep(self, *given)
    parts.append(given)
    if len(parts) == {parts}:
        os.kill(os.getpid(), {signum:d})
Pieces.keep = counted
from cli.main import main
sys.argv = ["landscape", *{words!r}]
main()
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stopped")
    task = load_task("digits", NETWORK)
    info = {"task": {"name": "digits", "options": {}}, "network": NETWORK}
    for seed, name in enumerate("abc"):
        save(folder / f"{name}.h5", Checkpoint(params=task.init(seed), info=info))
    return folder


@pytest.fixture(autouse=True)
def in_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)


def ended(words: list[str], signum: int) -> subprocess.CompletedProcess[str]:
    """Run a command in a process of its own that gets a signal when two parts are kept."""
    code = ENDING.format(parts=2, signum=signum, words=words)
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


def numbers(result: Result) -> dict[str, Any]:
    """Return what was measured, without seconds and counts of this run."""
    data = result.to_dict()["data"]
    return json.loads(json.dumps(data, sort_keys=True))


@pytest.mark.faults
@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize(
    ("signum", "status"), [(signal.SIGKILL, -signal.SIGKILL), (signal.SIGTERM, 143)], ids=["kill-9", "TERM"]
)
def test_rows_1_22_and_23_a_stopped_command_goes_on_to_the_same_bits(
    name: str, signum: int, status: int, capsys: Any
) -> None:
    words, output = COMMANDS[name], f"{name}-{signum:d}"
    done = ended([*words, "-o", f"{output}.h5"], signum)
    assert done.returncode == status, done.stderr
    assert "Traceback" not in done.stderr
    assert not Path(f"{output}.h5").exists()
    kept = sorted(Path(f"{output}.partial").glob("*.h5"))
    assert kept
    assert run([*words, "-o", f"{output}.h5"]) == 0
    assert "going on with what is kept" in capsys.readouterr().err
    assert not Path(f"{output}.partial").exists()
    assert run([*words, "-o", f"{output}-whole.h5", "-q"]) == 0
    resumed, whole = (load_result(f"{output}{end}.h5") for end in ("", "-whole"))
    assert numbers(resumed) == numbers(whole)
    if name == "matrix":
        assert resumed.stats["evaluations"] < whole.stats["evaluations"]


@pytest.mark.faults
@pytest.mark.parametrize("redirect", [">&-", "2>&-", "| true"])
@pytest.mark.parametrize("name", ["connect", "surface", "matrix"])
def test_row_28_closed_and_broken_streams_are_no_fault(name: str, redirect: str) -> None:
    line = f"set -o pipefail; {shlex.quote(SCRIPT)} {shlex.join(COMMANDS[name])} {redirect}"
    narrow = {**os.environ, "COLUMNS": "20", "TERM": "dumb", "PYTHONIOENCODING": "ascii", "LC_ALL": "C"}
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, env=narrow, check=False)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr


def test_the_barriers_of_a_run_are_those_of_its_levels_and_seeds(small_run: Run, capsys: Any) -> None:
    quick = ["--points", "3", "--resamples", "20", "-q"]
    assert run(["barrier", str(small_run.path), *quick, "-o", "run.h5"]) == 0
    capsys.readouterr()
    found: Any = load_result("run.h5")
    ends = [end.path for end in small_run.checkpoints()]
    assert len(found.records) == len(ends)
    assert set(found.relations) == {"levels", "two-inits"}
    for (i, j), relation in zip(found.pairs, found.relations, strict=True):
        a, b = found.records[i], found.records[j]
        assert a["method"] == b["method"]
        if relation == "levels":
            assert (b["seed"], b["level"]) == (a["seed"], a["level"] + 1)
        else:
            assert (a["seed"] != b["seed"], a["level"]) == (True, b["level"])
    assert np.isfinite(found.barriers["test"]["accuracy"]["above_mean"]).all()
    assert run(["barrier", str(small_run.path), *quick, "--pairs", "dense", "--json"]) == 0
    data = json.loads(capsys.readouterr().out)["data"]
    levels = [[data["records"][i]["level"] for i in pair] for pair in data["pairs"]]
    assert {low for low, _ in levels} == {0}
    assert {high for _, high in levels} == {1, 2}
