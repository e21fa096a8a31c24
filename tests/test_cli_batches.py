"""Commands over several files: what is wrong with one is said by its name, before anything is measured."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cli.main import run
from landscape import Checkpoint, Problem, load_result, save

SOURCE = """
import jax.numpy as jnp
import numpy as np
from landscape import Problem

def loss(params, batch):
    return (jnp.tanh(batch @ params["a"]["kernel"]).sum(-1) * params["b"]["bias"][0] - 1) ** 2

def function():
    return Problem(loss, train=np.eye(3, dtype=np.float32))

def trainable():
    return function(), lambda seed: {}

ready = function()
several = [ready]
"""


def network(first: str = "a", width: int = 4, value: float = 0.5) -> dict[str, Any]:
    kernel = np.full((3, width), value, np.float32)
    return {first: {"kernel": kernel}, "b": {"bias": np.ones(1, np.float32)}}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("batches")
    (folder / "mine.py").write_text(SOURCE, encoding="utf-8")
    save(folder / "a.h5", Checkpoint(params=network()))
    save(folder / "b.h5", Checkpoint(params=network(value=-0.25)))
    save(folder / "other.h5", Checkpoint(params=network("z")))
    save(folder / "wide.h5", Checkpoint(params=network(width=5)))
    broken = network()
    broken["a"]["kernel"][0, 0] = np.nan
    save(folder / "broken.h5", Checkpoint(params=broken))
    return folder


@pytest.fixture(autouse=True)
def in_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)


@pytest.mark.parametrize("name", ["function", "ready", "trainable"])
def test_a_problem_is_named_itself_or_by_a_function_that_returns_it(name: str, capsys: Any) -> None:
    assert (
        run(["curvature", "a.h5", "--problem", f"mine.py:{name}", "--top", "1", "-q", "-o", f"{name}.h5"])
        == 0
    )
    assert load_result(f"{name}.h5").records[0]["dim"] == 13  # type: ignore[attr-defined]


def test_what_is_neither_is_refused_by_its_type(capsys: Any) -> None:
    assert run(["curvature", "a.h5", "--problem", "mine.py:several"]) == 2
    assert "'several' is not a function" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["curvature", "a.h5", "b.h5", "other.h5", "--where", "a/*"], "--where: no parameter of other.h5"),
        (
            ["flatness", "a.h5", "other.h5", "--measures", "sam", "--where", "a/*"],
            "--where: no parameter of other.h5",
        ),
        (["curvature", "a.h5", "broken.h5"], "broken.h5"),
        (["flatness", "a.h5", "broken.h5", "--measures", "sam"], "broken.h5"),
        (["curvature", "a.h5", "b.h5", "--matrix", "gauss_newton"], "does not say where its outputs are"),
        (["barrier", "a.h5", "b.h5", "wide.h5"], "a.h5 and wide.h5 are different networks"),
        (["surface", "a.h5", "b.h5", "wide.h5"], "a.h5 and wide.h5 are different networks"),
        (["connect", "a.h5", "wide.h5"], "a.h5 and wide.h5 are different networks"),
        (["align", "a.h5", "wide.h5"], "a.h5 and wide.h5 are different networks"),
    ],
)
def test_the_offending_file_of_a_batch_is_named_before_anything_is_measured(
    arguments: list[str], said: str, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    def measured(*_: Any, **__: Any) -> Any:
        raise AssertionError("something was measured")

    for place in (
        "landscape.curvature.table._measured",
        "landscape.curvature.cost.measure_pace",
        "landscape.flatness.forecast.measure_pace",
        "landscape.flatness.records.Rows.add",
    ):
        monkeypatch.setattr(place, measured)
    monkeypatch.setattr(Problem, "per_example", measured)
    status = 2 if "--where" in arguments else 3
    assert run([*arguments, "--problem", "mine.py:function"]) == status
    error = capsys.readouterr().err
    assert said in error
    assert "started" not in error


def test_a_trace_that_nobody_asked_for_is_said_with_how_to_leave_it_out(capsys: Any) -> None:
    given = ["curvature", "a.h5", "--problem", "mine.py:function", "--top", "1"]
    assert run(given) == 0
    said = capsys.readouterr()
    assert "--no-trace" in said.err
    assert "trace" in said.out
    for more in (["--no-trace"], ["--trace"], ["-q"]):
        assert run([*given, *more]) == 0
        assert "--no-trace" not in capsys.readouterr().err
