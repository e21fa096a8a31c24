"""``landscape barrier``: arguments in, one call, outputs out. The measure itself has its own tests."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest

import landscape
from cli.main import run
from cli.shared import devices, writing
from landscape.errors import InputError, NonFiniteError
from landscape.results import Result, load_result


@dataclasses.dataclass(frozen=True, kw_only=True, repr=False)
class StandIn(Result):
    """A result of the same interface as a barrier."""

    kind: ClassVar[str] = "barrier-stand-in"

    alphas: Any
    barrier_above_chord: float | None
    endpoints: Any


class Calls(list[dict[str, Any]]):
    """The calls of `loss_barrier`, and what it will say."""

    status = "ok"
    value: float | None = 0.25
    page: Any = None
    digests: Any = {"a": "1", "b": "2", "data": {"train": "3"}}  # noqa: RUF012  replaced, never changed


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Calls:
    """Stand-ins for loading and measuring; the working folder is empty."""
    calls = Calls()

    def loss_barrier(problem: Any, a: Any, b: Any, **options: Any) -> StandIn:
        calls.append({"problem": problem, "a": a, "b": b, **options})
        return StandIn(
            alphas=np.linspace(0, 1, options["num_points"]),
            barrier_above_chord=calls.value,
            endpoints=list(options["names"]),
            status=calls.status,
            warnings=("the grid is coarse",),
            config={"num_points": options["num_points"]},
            provenance={"seed": options["seed"], "digests": calls.digests},
        )

    def page(result: Result, path: Path, **options: Any) -> list[Path]:
        calls.page = options
        path.write_text("page", encoding="utf-8")
        return [path]

    monkeypatch.setitem(vars(landscape), "load", lambda path, **_: f"checkpoint {path}")
    monkeypatch.setitem(vars(landscape), "loss_barrier", loss_barrier)
    monkeypatch.setattr(devices, "configure", lambda *_, **__: None)
    monkeypatch.setattr(devices, "require", lambda device: device)
    monkeypatch.setattr(writing, "write_page", page)
    monkeypatch.chdir(tmp_path)
    return calls


def test_options_reach_the_library(calls: Calls) -> None:
    options = "--points 7 --split test --no-refine --confidence 0.9 --seed 3 --batch-size 64"
    more = "--dtype float64 --batch-stats keep"
    assert run(["barrier", "a.h5", "b.h5", *options.split(), *more.split(), "-q"]) == 0
    (call,) = calls
    del call["progress"]
    assert call == {
        "problem": None,
        "a": "checkpoint a.h5",
        "b": "checkpoint b.h5",
        "num_points": 7,
        "split": "test",
        "refine": False,
        "num_resamples": 1000,
        "confidence": 0.9,
        "seed": 3,
        "batch_size": 64,
        "dtype": "float64",
        "allow_nonfinite": False,
        "batch_stats": "keep",
        "repair": False,
        "align": None,
        "names": ("a.h5", "b.h5"),
    }


def test_text_is_the_result_and_nothing_is_written(
    calls: Calls, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["barrier", "a.h5", "b.h5"]) == 0
    text = capsys.readouterr().out
    assert "barrier_above_chord" in text
    assert "warning: the grid is coarse" in text
    assert not list(tmp_path.iterdir())


def test_json_is_one_strict_object_even_with_numbers_that_are_not(
    calls: Calls, capsys: pytest.CaptureFixture[str]
) -> None:
    calls.value, calls.status = float("nan"), "non-finite"
    assert run(["barrier", "a.h5", "b.h5", "--json", "-q"]) == 4
    envelope = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
    assert envelope["schema"] == f"landscape.{StandIn.kind}/1"
    assert envelope["status"] == "non-finite"
    assert envelope["data"]["barrier_above_chord"] is None
    assert envelope["warnings"] == ["the grid is coarse"]
    assert envelope["provenance"] == {"seed": 0, "digests": calls.digests}
    assert envelope["outputs"] == []


def test_every_output_is_written_and_named_although_not_trustworthy(
    calls: Calls, capsys: pytest.CaptureFixture[str]
) -> None:
    calls.status = "incomplete"
    assert run(["barrier", "a.h5", "b.h5", "-o", "x.html", "-o", "x.h5", "-o", "x.json"]) == 4
    said = capsys.readouterr()
    assert "status" in said.out
    for name in ("x.html", "x.h5", "x.json"):
        assert Path(name).exists()
        assert f"wrote {name}" in said.err
    assert json.loads(Path("x.json").read_text(encoding="utf-8"))["status"] == "incomplete"
    assert load_result("x.h5").status == "incomplete"


def test_names_and_title_reach_the_page_and_not_the_stored_result(calls: Calls) -> None:
    given = ["--names", "dense", "--names", "sparse", "--title", "Mine"]
    assert run(["barrier", "a.h5", "b.h5", *given, "-o", "x.html", "-o", "x.h5", "-q"]) == 0
    assert (calls.page["labels"], calls.page["title"]) == (("dense", "sparse"), "Mine")
    stored = load_result("x.h5")
    assert stored.endpoints == ["a.h5", "b.h5"]
    assert not {"labels", "title"} & set(stored.config["command"]["options"])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("--names one -o x.html", "not one per network"),
        ("--names one --names one -o x.html", "different names"),
        ("--names one --names two -o x.h5", "an output that shows it"),
        ("--title Mine", "an output that shows it"),
    ],
)
def test_names_that_no_page_can_show_are_refused_before_computing(
    given: str, message: str, calls: Calls, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["barrier", "a.h5", "b.h5", *given.split()]) == 2
    assert message in capsys.readouterr().err
    assert not calls


@pytest.mark.parametrize("name", ["x.h5", "x.html", "x.json"])
def test_an_output_that_exists_is_refused_before_computing_and_replaced_by_force(
    name: str, calls: Calls, capsys: pytest.CaptureFixture[str]
) -> None:
    Path(name).write_text("mine", encoding="utf-8")
    assert run(["barrier", "a.h5", "b.h5", "-o", name]) == 3
    assert "--force" in capsys.readouterr().err
    assert not calls
    assert Path(name).read_text(encoding="utf-8") == "mine"
    assert run(["barrier", "a.h5", "b.h5", "-o", name, "--force"]) == 0
    assert Path(name).read_bytes() != b"mine"


@pytest.mark.parametrize(
    ("output", "status", "message"),
    [
        ("x.xlsx", 2, "suffix"),
        ("tables.html", 3, "tables-data already exists"),
        ("x", 2, "suffix"),
        ("a.h5", 2, "same file"),
        ("missing/x.h5", 3, "mkdir"),
        ("folder.html", 3, "is a folder"),
        ("", 2, "empty path"),
        ("x" * 300 + ".h5", 3, "too long"),
    ],
)
def test_outputs_that_cannot_be_meant_are_refused_before_computing(
    output: str, status: int, message: str, calls: Calls, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("folder.html").mkdir()
    Path("tables-data").mkdir()
    assert run(["barrier", "a.h5", "b.h5", "-o", output]) == status
    assert message in capsys.readouterr().err
    assert not calls


@pytest.mark.parametrize("names", [[], ["a.h5"]])
def test_two_checkpoints_are_expected(
    names: list[str], calls: Calls, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["barrier", *names]) == 2
    assert f"two checkpoints are expected, got {len(names)}" in capsys.readouterr().err


def test_a_stored_result_runs_again_from_anywhere_and_options_given_win(
    calls: Calls, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = ["--points", "9", "--seed", "5", "--split", "test", "--no-refine"]
    assert run(["barrier", "a.h5", "b.h5", *given, "-o", "first.h5", "-q"]) == 0
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert run(["barrier", "--config", "../first.h5", "--seed", "6", "-q"]) == 0
    first, second = calls
    for key in ("num_points", "split", "refine", "confidence", "dtype"):
        assert second[key] == first[key]
    assert second["seed"] == 6
    assert [Path(name).resolve() for name in second["names"]] == [tmp_path / "a.h5", tmp_path / "b.h5"]
    assert run(["barrier", "c.h5", "d.h5", "--config", "../first.h5", "-q"]) == 0
    assert calls[2]["names"] == ("c.h5", "d.h5")
    assert calls[2]["num_points"] == 9


def test_running_again_on_what_has_changed_says_so(calls: Calls, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["barrier", "a.h5", "b.h5", "-o", "first.h5", "-q"]) == 0
    capsys.readouterr()
    assert run(["barrier", "--config", "first.h5", "-q"]) == 0
    assert "when the stored result" not in capsys.readouterr().out
    calls.digests = {"a": "1", "b": "9", "data": {"train": "8"}}
    assert run(["barrier", "--config", "first.h5", "-q"]) == 0
    said = "the second checkpoint and the data are not what they were when the stored result was measured"
    assert said in capsys.readouterr().out
    assert run(["barrier", "c.h5", "d.h5", "--config", "first.h5", "-q"]) == 0
    assert "when the stored result" not in capsys.readouterr().out


def test_a_result_of_a_program_runs_again_too(calls: Calls, monkeypatch: pytest.MonkeyPatch) -> None:
    config = {"num_points": 11, "batch_stats": "none", "batch_size": {"train": 9}, "checkpoints": ["a", "b"]}
    stored = SimpleNamespace(kind="barrier", config=config, provenance={})
    monkeypatch.setitem(vars(landscape), "load_result", lambda _: stored)
    assert run(["barrier", "--config", "x.h5", "-q"]) == 0
    assert calls[0]["num_points"] == 11
    assert calls[0]["batch_stats"] == "recompute"
    assert calls[0]["batch_size"] is None
    stored.kind = "surface"
    assert run(["barrier", "--config", "x.h5", "-q"]) == 2


def test_refusals_of_the_library_write_nothing(
    calls: Calls, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise NonFiniteError("a.h5: params/Dense_0/kernel: 3 values are not finite")

    monkeypatch.setitem(vars(landscape), "loss_barrier", refuse)
    assert run(["barrier", "a.h5", "b.h5", "-o", "x.html", "--json"]) == 3
    said = capsys.readouterr()
    assert json.loads(said.out)["error"]["type"] == "NonFiniteError"
    assert "params/Dense_0/kernel" in said.err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("def problem():\n    raise KeyError('labels')\n", "mine.py:2: KeyError"),
        ("def problem(:\n", "line 1: SyntaxError"),
        ("import math\ndef problem():\n    return math.sqrt(-1)\n", "mine.py:3: ValueError"),
        (
            "import jax\ndef problem():\n    return jax.numpy.zeros(2).reshape(3)\n",
            "mine.py:3: TypeError",
        ),
        ("from numpy import zeros as problem\n", "mine.py:problem: TypeError"),
        ("import no_such_package\n", "pip install no_such_package"),
    ],
)
def test_a_problem_that_fails_is_the_users_to_mend(
    source: str, message: str, calls: Calls, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("mine.py").write_text(source, encoding="utf-8")
    assert run(["barrier", "a.h5", "b.h5", "--problem", "mine.py:problem"]) == 3
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("mine.py:problem", "'problem' is not a function"),
        ("mine.py", "Name the function after a colon: mine.py:function"),
        (":problem", "Name the function after a colon: file.py:problem"),
    ],
)
def test_a_problem_that_is_not_named_properly_is_refused(
    spec: str, message: str, calls: Calls, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("mine.py").write_text("problem = 3\n", encoding="utf-8")
    assert run(["barrier", "a.h5", "b.h5", "--problem", spec]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.faults
def test_row_33_names_of_files_are_escaped_in_the_result(
    calls: Calls, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(StandIn, "rows", lambda self: [("a", self.endpoints[0])])
    assert run(["barrier", "\x1b[2J.h5", "b.h5"]) == 0
    said = capsys.readouterr()
    assert "\x1b" not in said.out + said.err
    assert "\\x1b[2J.h5" in said.out


@pytest.mark.faults
def test_row_32_a_picture_without_kaleido_is_refused_before_computing(
    calls: Calls, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(writing.importlib.util, "find_spec", lambda _: None)
    assert run(["barrier", "a.h5", "b.h5", "-o", "x.png"]) == 3
    assert capsys.readouterr().err == (
        "error: pictures need kaleido, which is not installed: pip install kaleido\n"
    )
    assert not calls


def test_text_files_are_replaced_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.json"
    writing.write_text(path, "first", force=False)
    with pytest.raises(InputError, match="already exists"):
        writing.write_text(path, "second", force=False)
    monkeypatch.setattr(writing.os, "fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space", "x")))
    with pytest.raises(OSError, match="No space"):
        writing.write_text(path, "third", force=True)
    assert path.read_text(encoding="utf-8") == "first"
    assert list(tmp_path.iterdir()) == [path]
