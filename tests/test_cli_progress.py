"""Progress on standard error."""

from __future__ import annotations

import io
import sys

import pytest
from rich.console import Console

from cli.shared.progress import PlainProgress, make_progress, on_terminal
from landscape.compute import SILENT, Progress
from landscape.compute.bars import BarProgress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def plain(times: list[float]) -> tuple[PlainProgress, list[str]]:
    lines: list[str] = []
    clock = iter(times)
    return PlainProgress(lines.append, lambda: next(clock)), lines


def test_every_kind_follows_the_protocol() -> None:
    for progress in (SILENT, PlainProgress(), BarProgress(Console(file=io.StringIO()))):
        assert isinstance(progress, Progress)
        progress.stop()


def test_plain_progress_writes_at_once_and_then_at_most_every_30_seconds() -> None:
    progress, lines = plain([0, 0, 10, 10, 29, 29, 31, 31, 60, 60, 61, 61])
    progress.start("es-snr level 1/11", total=100)
    for _ in range(5):
        progress.advance(10, loss=0.51237)
    assert lines == [
        "es-snr level 1/11: started",
        "es-snr level 1/11: 30/100  0.968/s  72 s left  loss 0.5124",
        "es-snr level 1/11: 50/100  0.82/s  61 s left  loss 0.5124",
    ]


def test_plain_progress_counts_the_interval_across_tasks() -> None:
    progress, lines = plain([0, 0, 1, 1, 2, 2])
    progress.start("first")
    progress.start("second")
    progress.note("compiling")
    assert lines == ["first: started"]


@pytest.mark.faults
def test_row_33_labels_are_escaped() -> None:
    progress, lines = plain([0, 0])
    progress.start("\x1b[2Jname")
    assert lines == ["\\x1b[2Jname: started"]


@pytest.mark.faults
@pytest.mark.parametrize(
    ("stream", "term", "bars"),
    [
        (Terminal, "xterm", True),
        (Terminal, "dumb", False),
        (Terminal, "", False),
        (io.StringIO, "xterm", False),
    ],
)
def test_row_28_bars_only_on_a_terminal_that_can_redraw(
    stream: type[io.StringIO], term: str, bars: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stderr", stream())
    monkeypatch.setenv("TERM", term)
    assert on_terminal() is bars
    assert isinstance(make_progress(quiet=False), BarProgress if bars else PlainProgress)


def test_quiet_is_silent() -> None:
    assert make_progress(quiet=True) is SILENT


@pytest.mark.faults
@pytest.mark.parametrize("width", [1, 20, 80])
def test_row_28_bars_draw_on_narrow_terminals_without_colour(
    width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    stream = Terminal()
    progress = BarProgress(Console(file=stream, force_terminal=True, width=width))
    progress.start("es-snr [bold]level 1/11", total=10)
    progress.note("compiling")
    progress.advance(5, loss=0.25)
    progress.start("next")
    progress.advance(5)
    progress.stop()
    progress.stop()
    text = stream.getvalue()
    assert "\x1b[3" not in text  # no colours
    assert text.count("\x1b[?25l") == text.count("\x1b[?25h")  # the cursor is shown again
    if width == 80:
        assert "[bold]level 1/11" in text
        assert "5/10" in text
        assert "loss 0.25" in text
