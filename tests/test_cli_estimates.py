"""``--dry-run`` of analyses: the estimate, and nothing else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cli.main import run
from landscape import Checkpoint, save
from trainers.tasks import load_task

NETWORK = {"kind": "mlp", "widths": [2]}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two networks of the digits task."""
    folder = tmp_path_factory.mktemp("estimates")
    task = load_task("digits", NETWORK)
    info = {"task": {"name": "digits", "options": {}}, "network": NETWORK}
    for seed, name in enumerate(("a.h5", "b.h5")):
        save(folder / name, Checkpoint(params=task.init(seed), info=info))
    return folder


@pytest.fixture(autouse=True)
def in_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)


@pytest.mark.faults
@pytest.mark.parametrize(
    ("command", "part"),
    [
        (["flatness", "a.h5", "b.h5"], "adaptive_l2"),
        (["flatness", "a.h5", "--measures", "all", "--both"], "local_entropy"),
        (["curvature", "a.h5", "b.h5", "--density"], "density"),
        (["curvature", "a.h5", "--scale"], "diagonal"),
        (["barrier", "a.h5", "b.h5"], "losses, train"),
        (["align", "a.h5", "b.h5", "--method", "barrier"], "100 steps"),
    ],
)
def test_row_39_a_dry_run_prints_the_estimate_and_ends(command: list[str], part: str, capsys: Any) -> None:
    before = sorted(Path().iterdir())
    assert run([*command, "--dry-run", "-o", "x.h5", "-q"]) == 0
    text = capsys.readouterr().out
    assert part in text
    assert "without compilation" in text
    assert "of vectors" in text
    assert sorted(Path().iterdir()) == before
    assert run([*command, "--dry-run", "--json", "-q"]) == 0
    data = json.loads(capsys.readouterr().out)["data"]
    assert data["seconds"] > 0
    assert part in [one["name"] for one in data["parts"]]
