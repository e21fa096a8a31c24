"""``landscape info``, ``diff`` and ``verify``: they print what `landscape.files` finds, without jax."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import landscape
from cli.main import run
from cli.shared.text import aligned, outline, table


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    params = {"Dense_0": {"kernel": np.arange(6.0, dtype=np.float32).reshape(2, 3), "bias": np.zeros(3)}}
    info = {"method": "es-snr", "level": 2, "metrics": {"test": {"loss": 0.25, "accuracy": 0.95}}}
    path = tmp_path / "a.h5"
    landscape.save(path, landscape.Checkpoint(params=params, info=info))
    return path


@pytest.fixture
def other(tmp_path: Path) -> Path:
    path = tmp_path / "b.h5"
    params = {"Dense_0": {"kernel": np.ones((2, 3), np.float32), "bias": np.zeros(3)}}
    landscape.save(path, landscape.Checkpoint(params=params))
    return path


def output(args: list[str], capsys: pytest.CaptureFixture[str], status: int = 0) -> tuple[str, str]:
    assert run(args) == status
    said = capsys.readouterr()
    return said.out, said.err


def envelope(args: list[str], capsys: pytest.CaptureFixture[str], status: int = 0) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(
        output([*args, "--json"], capsys, status)[0], parse_constant=pytest.fail
    )
    return found


def test_info_names_every_array_with_its_shape(checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text, _ = output(["info", str(checkpoint)], capsys)
    assert "Dense_0/kernel" in text
    assert "es-snr" in text
    assert "0.95" in text


def test_info_json_is_strict_and_says_the_same(checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = envelope(["info", str(checkpoint)], capsys)
    assert found["schema"] == "landscape.info/1"
    (record,) = found["data"]["files"]
    assert record["path"] == str(checkpoint)
    assert record["status"] == "ok"
    assert "Dense_0/kernel" in json.dumps(record)


def test_diff_of_a_file_with_itself_is_status_0(checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = envelope(["diff", str(checkpoint), str(checkpoint)], capsys)
    assert found["status"] == "ok"


def test_diff_of_different_files_is_status_4_and_names_the_path(
    checkpoint: Path, other: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = envelope(["diff", str(checkpoint), str(other)], capsys, status=4)
    assert found["status"] == "different"
    text, _ = output(["diff", str(checkpoint), str(other)], capsys, status=4)
    assert "Dense_0/kernel" in text


def test_verify_accepts_a_whole_file(checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert str(checkpoint) in output(["verify", str(checkpoint)], capsys)[0]


def test_one_damaged_file_keeps_nobody_from_the_others(
    checkpoint: Path, other: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = bytearray(other.read_bytes())
    other.write_bytes(data[: len(data) // 2])
    text, err = output(["verify", str(other), str(checkpoint)], capsys, status=3)
    assert str(checkpoint) in text
    assert str(other) in err
    found = envelope(["verify", str(other), str(checkpoint)], capsys, status=3)
    assert [record["status"] for record in found["data"]["files"]] == ["refused", "ok"]
    assert found["error"]["exit_code"] == 3


@pytest.mark.parametrize("name", ["info", "verify"])
def test_a_missing_file_is_refused_by_name(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert "/nowhere/a.h5" in output([name, "/nowhere/a.h5"], capsys, status=3)[1]


@pytest.mark.parametrize("name", ["info", "diff", "verify"])
def test_looking_at_files_imports_no_jax(name: str, checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "jax.py").write_text("raise SystemExit('jax was imported')", encoding="utf-8")
    names = [str(checkpoint)] * (2 if name == "diff" else 1)
    env = {**os.environ, "PYTHONPATH": str(tmp_path)}
    code = f"import sys; from cli.main import run; sys.exit(run({[name, *names]!r}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.faults
def test_row_33_names_in_files_are_escaped_in_the_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "c.h5"
    params = {"evil\x1b[2J<script>\nname": np.ones(2, np.float32)}
    landscape.save(path, landscape.Checkpoint(params=params, info={"method": "\x1b]0;owned\x07"}))
    for args in (["info", str(path)], ["verify", str(path)], ["diff", str(path), str(path)]):
        text, err = output(args, capsys)
        assert "\x1b" not in text + err
        assert "\x07" not in text + err


def test_aligned_text_keeps_values_in_one_column() -> None:
    assert aligned([("a", 0.123456), ("longer", [1, 2]), ("none", None)]) == (
        "a       0.1235\nlonger  1, 2\nnone    -"
    )


def test_tables_put_numbers_to_the_right() -> None:
    assert table(["path", "size"], [["a", 1], ["bb", 200]]) == "path  size\na        1\nbb     200"


def test_outline_indents_what_is_nested() -> None:
    data = {
        "level": 2,
        "metrics": {"test": {"loss": 0.25}},
        "arrays": [{"path": "w", "size": 4}],
        "empty": {},
    }
    assert outline(data).splitlines() == [
        "level  2",
        "empty  none",
        "metrics",
        "  test",
        "    loss  0.25",
        "arrays",
        "  path  size",
        "  w        4",
    ]


@pytest.mark.faults
def test_verify_reads_the_texts_of_a_run_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    landscape.save(tmp_path / "a.h5", landscape.Checkpoint(params={"w": np.ones(3)}))
    (tmp_path / "run.toml").write_text('name = "x"\n')
    (tmp_path / "metrics.jsonl").write_text('{"step": 1}\n')
    assert run(["verify", str(tmp_path)]) == 0
    (tmp_path / "metrics.jsonl").write_text('{"step": 1}\n{"st\n')
    assert run(["verify", str(tmp_path)]) == 3
    assert "1 of 3 files are not sound" in capsys.readouterr().err
    (tmp_path / "run.toml").write_text("name = \n")
    assert run(["verify", str(tmp_path)]) == 3
    assert "2 of 3 files are not sound" in capsys.readouterr().err


def test_info_of_a_run_lists_its_results_and_pages(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "results").mkdir()
    (tmp_path / "run.toml").write_text('name = "mine"\n', encoding="utf-8")
    for name in ("tickets.html", "barrier.html", "barrier.h5", ".draft.html", "table.csv"):
        (tmp_path / "results" / name).touch()
    assert run(["info", str(tmp_path)]) == 0
    lines = [line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines()]
    assert ["pages", "barrier.html, tickets.html"] in lines
    assert ["results", "barrier.h5"] in lines
