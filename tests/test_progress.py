"""Progress of analyses called from Python: a bar on a terminal, with an estimate before the first part."""

from __future__ import annotations

import ast
import io
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

import landscape
from landscape import Problem, errors
from landscape.compute import SILENT, PlainProgress, Share, shown
from landscape.compute.bars import BarProgress

ROOT = Path(__file__).parents[1]
PROBLEM = Problem(
    lambda params, batch: ((batch @ params["w"]) ** 2 - 1) ** 2, train=np.eye(3, dtype=np.float32)
)
NETWORKS = [{"w": np.array(w, np.float32)} for w in ([1, 0, 2], [0, 1, 1], [3, 1, 0])]


TANH = Problem(
    lambda params, batch: (jnp.tanh(batch @ params["w"]) @ params["v"]) ** 2,
    train=np.eye(3, dtype=np.float32),
)
UNITS = [
    {"w": np.arange(6.0, dtype=np.float32).reshape(3, 2)[:, order], "v": np.ones(2, np.float32)}
    for order in ([0, 1], [1, 0])
]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def on_terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """Return standard error as a terminal, as if outside of pytest (which resets it after fixtures)."""
    stream = Terminal()
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setattr("landscape.compute.displays._tested", lambda: False)
    return stream


class Told:
    """A progress that remembers what it was told."""

    def __init__(self) -> None:
        self.labels: list[str] = []
        self.totals: list[int | None] = []
        self.done = 0
        self.running = 0

    def start(self, label: str, total: int | None = None) -> None:
        self.labels.append(label)
        self.totals.append(total)
        self.running += 1

    def advance(self, n: int = 1, **fields: float | str) -> None:
        self.done += n

    def note(self, text: str) -> None: ...

    def stop(self) -> None:
        self.running = 0


ANALYSES: dict[str, Callable[..., Any]] = {
    "align": lambda **k: landscape.align(TANH, *UNITS, restarts=0, **k),
    "barrier": lambda **k: landscape.loss_barrier(PROBLEM, *NETWORKS[:2], num_points=3, **k),
    "barrier matrix": lambda **k: landscape.barrier_matrix(PROBLEM, NETWORKS, num_points=3, **k),
    "curve": lambda **k: landscape.connect(PROBLEM, *NETWORKS[:2], steps=4, num_points=3, **k),
    "line": lambda **k: landscape.loss_line(PROBLEM, NETWORKS[0], directions=NETWORKS[1], x=(-1, 1, 3), **k),
    "surface": lambda **k: landscape.loss_surface(
        PROBLEM, NETWORKS[0], directions=NETWORKS[1:], x=(-1, 1, 3), y=(-1, 1, 3), **k
    ),
    "trajectory": lambda **k: landscape.trajectory(PROBLEM, NETWORKS, x=(-1, 1, 3), y=(-1, 1, 3), **k),
    "curvature": lambda **k: landscape.curvature_table(PROBLEM, NETWORKS[:2], k=1, **k),
    "flatness": lambda **k: landscape.flatness_table(PROBLEM, NETWORKS[:2], measures=["sam"], **k),
}


@pytest.mark.parametrize("name", ANALYSES)
def test_every_analysis_tells_its_estimate_before_the_first_part(name: str) -> None:
    told = Told()
    ANALYSES[name](progress=told)
    assert told.labels[0].startswith(f"{name}, about ")
    assert told.running == 0


@pytest.mark.parametrize("name", ANALYSES)
def test_every_analysis_shows_a_bar_on_a_terminal_unless_told_otherwise(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal = on_terminal(monkeypatch)
    ANALYSES[name]()
    assert f"{name}, about " in terminal.getvalue()
    assert terminal.getvalue().count("\x1b[?25l") == terminal.getvalue().count("\x1b[?25h")
    terminal.truncate(0)
    ANALYSES[name](progress=SILENT)
    with landscape.show_progress("never"):
        ANALYSES[name]()
    assert terminal.getvalue().strip("\0") == ""


def test_a_single_measure_shows_a_bar_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = on_terminal(monkeypatch)
    landscape.sam_sharpness(PROBLEM, NETWORKS[0])
    assert "sam sharpness" in terminal.getvalue()


def test_a_curvature_bar_moves_by_products_to_its_end_within_one_network() -> None:
    told = Told()
    landscape.curvature_table(PROBLEM, NETWORKS[:1], k=1, density=True, progress=told)
    assert told.totals[0] is not None
    assert told.totals[0] > 800
    assert told.done == told.totals[0]


def test_the_bar_of_an_alignment_that_lowers_the_barrier_moves_by_its_steps() -> None:
    told = Told()
    landscape.align(TANH, *UNITS, method="barrier", steps=3, restarts=0, progress=told)
    assert told.totals == [2 + 3]
    assert told.done == 2 + 3


def test_a_share_never_moves_the_bar_by_more_than_was_planned() -> None:
    told = Told()
    for taken in (2, 9):
        share = Share(told, 5)
        share.start("part")
        share.advance(taken)
        share.stop()
    assert told.done == 10


def test_nothing_is_shown_where_standard_error_is_no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("landscape.compute.displays._tested", lambda: False)
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    assert shown(None) is SILENT


def test_nothing_is_shown_under_pytest_and_doctest(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = on_terminal(monkeypatch)
    assert isinstance(shown(None), BarProgress)
    monkeypatch.undo()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    assert "PYTEST_CURRENT_TEST" in os.environ
    assert shown(None) is SILENT
    monkeypatch.delenv("PYTEST_CURRENT_TEST")
    monkeypatch.setattr(sys, "stdout", type("_SpoofOut", (io.StringIO,), {"__module__": "doctest"})())
    assert shown(None) is SILENT


def test_the_setting_and_the_variable_decide_and_an_argument_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    on_terminal(monkeypatch)
    monkeypatch.setenv("LANDSCAPE_PROGRESS", "never")
    assert shown(None) is SILENT
    with landscape.show_progress("auto"):
        assert isinstance(shown(None), BarProgress)
        with landscape.show_progress(False):
            assert shown(None) is SILENT
            assert isinstance(shown(told := Told()), Told)
            assert shown(told) is told
        assert isinstance(shown(None), BarProgress)
    assert shown(None) is SILENT
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    with landscape.show_progress("always"):
        assert isinstance(shown(None), PlainProgress)


def test_words_that_are_no_setting_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(errors.ConfigurationError, match="auto, always, never"):
        landscape.show_progress("on")
    monkeypatch.setenv("LANDSCAPE_PROGRESS", "loud")
    with pytest.raises(errors.ConfigurationError, match="LANDSCAPE_PROGRESS"):
        shown(None)


def functions_with_progress() -> set[str]:
    found = set()
    for path in (ROOT / "landscape").rglob("*.py"):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
                optional = zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True)
                if any(arg.arg == "progress" and isinstance(d, ast.Constant) for arg, d in optional):
                    found.add(node.name)
    return found


def test_the_packages_pass_progress_on_to_every_analysis_that_they_call() -> None:
    """One that is left out would draw a second bar into the first."""
    names = functions_with_progress()
    assert {"loss_barrier", "trace", "top_eigenpairs", "flatness_table", "local_entropy"} <= names
    wrong = [
        f"{path.relative_to(ROOT)}:{node.lineno}: {node.func.id}"
        for folder in ("landscape", "trainers", "cli")
        for path in (ROOT / folder).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
        if node.func.id in names | {"estimate_trace"}
        if not any(key.arg in ("progress", None) for key in node.keywords)
    ]
    assert not wrong
