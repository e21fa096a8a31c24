"""Names of files in what is published: relative to it, so that nobody's folders, user or host stand in it."""

from __future__ import annotations

import os
import shutil
import socket
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from cli.main import run as command_line
from landscape import Checkpoint, load, load_result, save
from landscape.files import relative_name, without_folders
from trainers import open_run, resolve, train_tickets
from trainers.config import as_found, as_stored

pytestmark = pytest.mark.faults
PROBLEM = """
import numpy as np
from landscape import Problem


def make():
    return Problem(lambda p, b: ((b @ p["w"]) ** 2).sum(1), train=np.ones((8, 3), np.float32))


def size(inputs):
    return abs(inputs.mean)
"""
COMMANDS = {
    "barrier": ["barrier", "nets/a.h5", "nets/b.h5", "--points", "3", "--resamples", "10"],
    "curvature": ["curvature", "nets/a.h5", "nets/b.h5", "--top", "1"],
    "flatness": ["flatness", "nets/a.h5", "--measures", "gaussian", "--draws", "2"],
}


def place(folder: Path) -> Path:
    (folder / "nets").mkdir(parents=True)
    (folder / "mine.py").write_text(PROBLEM)
    for name, value in (("a.h5", 1.0), ("b.h5", 2.0)):
        save(folder / "nets" / name, Checkpoint(params={"w": np.full((3, 2), value, np.float32)}))
    return folder


def text_of(path: Path) -> bytes:
    """Return the bytes of a file, and the texts of an HDF5 file."""
    if path.suffix != ".h5":
        return path.read_bytes()
    with h5py.File(path) as file:
        texts = [bytes(item[()]) for item in file["meta"].values()]
        return b"\n".join([*texts, *(str(value).encode() for value in file.attrs.values())])


def private(folder: Path) -> list[str]:
    """Return what must stand in no published file: folders (with them the user's name) and the host."""
    return [str(folder), str(folder.parent), f"{Path.home()}/", f'"{socket.gethostname()}"']


@pytest.mark.parametrize("kind", COMMANDS)
def test_results_hold_no_absolute_path_and_are_the_same_from_every_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    found = []
    for name in ("here", "elsewhere"):
        folder = place(tmp_path / name)
        (folder / "out").mkdir()
        monkeypatch.chdir(folder)
        given = [str(folder / word) if word.endswith(".h5") else word for word in COMMANDS[kind]]
        outputs = [word for end in ("h5", "json", "html") for word in ("-o", f"out/x.{end}")]
        problem = ["--problem", str(folder / "mine.py:make")]
        assert command_line([*given, *problem, *outputs, "-q", "--json"]) == 0
        published = [capsys.readouterr().out.encode(), *(text_of(p) for p in (folder / "out").glob("**/*.*"))]
        for text in published:
            assert not [word for word in private(folder) if word.encode() in text]
        result = load_result(folder / "out/x.h5")
        assert result.config["command"]["options"]["problem"] == "../mine.py:make"
        assert result.config["command"]["checkpoints"][0] == "../nets/a.h5"
        found.append(result)
    first, second = (without_seconds(result.to_dict()) for result in found)
    assert first == second


def without_seconds(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: without_seconds(item) for key, item in value.items() if "seconds" not in key}
    return [without_seconds(item) for item in value] if isinstance(value, list) else value


def test_a_moved_result_finds_its_networks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    place(tmp_path / "here")
    monkeypatch.chdir(tmp_path / "here")
    problem = ["--problem", "mine.py:make", "-q"]
    assert command_line([*COMMANDS["barrier"], *problem, "-o", "x.h5"]) == 0
    monkeypatch.chdir(tmp_path)
    shutil.move("here", "there")
    assert command_line(["barrier", "--config", "there/x.h5", "--problem", "there/mine.py:make", "-q"]) == 0
    assert "error" not in capsys.readouterr().err


def test_of_a_path_elsewhere_on_the_machine_only_the_name_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "homes" / "anna"))
    mine, theirs = tmp_path / "homes/anna/nets/a.h5", tmp_path / "homes/berta/b.h5"
    data = {"files": [str(mine), str(theirs), "c.h5"], "text": f"{theirs}: half trained"}
    assert without_folders(data, tmp_path / "homes/anna/out") == {
        "files": ["../nets/a.h5", "b.h5", "c.h5"],
        "text": "b.h5: half trained",
    }
    assert without_folders(["/data/x.h5", 3, None, "/"], tmp_path) == ["x.h5", 3, None, "/"]


def test_a_run_folder_holds_no_absolute_path_and_can_be_moved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place(tmp_path / "here")
    monkeypatch.chdir(tmp_path / "here")
    size = ["gradient.epochs=1", "pruning.levels=2", "seeds=[0]"]
    train_tickets(resolve("smoke", overrides=["methods=['gd-random']", *size]), "runs/first")
    score = str(tmp_path / "here/mine.py:size")
    first = f"{tmp_path / 'here/runs/first'}:gd-random"
    tables = f"method={{own={{algorithm='gd', score='{score}'}}, taken={{algorithm='gd', source='{first}'}}}}"
    config = resolve("smoke", overrides=["methods=['own', 'taken']", tables, *size])
    args = ["-o", "runs/second", "-q", "--allow-code", score]
    sets = [word for text in ("methods=['own', 'taken']", tables, *size) for word in ("--set", text)]
    assert command_line(["train", "smoke", *sets, *args]) == 0
    for path in Path("runs").rglob("*"):
        if path.is_file():
            text = text_of(path)
            assert not [word for word in private(tmp_path / "here") if word.encode() in text], path
    info = open_run("runs/second").checkpoints(method="own")[0].info
    assert info["score"] == "mine.py:size"
    table = load("runs/second/own/seed-0/level-00.h5").config["method"]
    assert table["own"]["score"] == "../../mine.py:size"
    assert table["taken"]["source"] == "../first:gd-random"
    train_tickets(config, "runs/second", resume=True, allow_code=[score])  # the same configuration
    shutil.move(tmp_path / "here", tmp_path / "there")
    monkeypatch.chdir(tmp_path)
    stored = open_run("there/runs/second").config
    assert stored.method["own"]["score"] == os.path.join("there", "mine.py:size")  # noqa: PTH118  as text
    again = ["train", "--resume", "-o", "there/runs/second", "-q", "--allow-code", "there/mine.py:size"]
    assert command_line(again) == 0


def test_what_a_run_stores_is_found_again() -> None:
    values = {
        "task_options": {"folder": "data", "download": False},
        "method": {"a": {"source": "runs/x:es-snr"}, "b": {"source": "a"}, "c": {"score": "pkg.mod:f"}},
    }
    stored = as_stored(values, Path("runs/y"))
    assert stored["task_options"] == {"folder": "../../data", "download": False}
    assert stored["method"]["a"] == {"source": "../x:es-snr"}
    assert as_found(stored, Path("runs/y")) == values
    assert relative_name("a/b.h5", "a") == "b.h5"


def test_keys_are_names_too_and_two_files_of_one_name_stay_two() -> None:
    given = {"origin": "/x/a/net.h5", "anchors": {"/x/a/net.h5": 1, "/y/b/net.h5": 2}}
    found = without_folders(given, "/home/someone/results")
    assert found == {"origin": "net.h5", "anchors": {"net.h5": 1, "net.h5 (2)": 2}}
