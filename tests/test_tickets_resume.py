"""Runs that are stopped, killed, damaged or extended go on, to the same bits."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_runs import SMALL, StopAfter, arrays, assert_same_run, smoke

from landscape import load, save
from landscape.errors import ConfigurationError, InterruptedRunError, RunError
from trainers import open_run, train_tickets
from trainers.runs import Run
from trainers.training import LevelRunner


@pytest.fixture
def run(small_run: Run) -> Run:
    return small_run


@pytest.mark.faults
@pytest.mark.parametrize("polls", [0, 3, 9, 16])
def test_a_stopped_run_goes_on_to_the_bitwise_same_result(run: Run, tmp_path: Path, polls: int) -> None:
    """Faults 22 and 23: stopped again and again, at whatever chunk."""
    folder, codes = tmp_path / "stopped", []
    while not (folder / "gd-magnitude/seed-1/level-02.h5").exists():
        with contextlib.suppress(InterruptedRunError):
            try:
                train_tickets(
                    smoke(), folder, resume=bool(codes), should_stop=StopAfter(polls + 2 * len(codes))
                )
            except InterruptedRunError as stop:
                codes.append(stop.exit_code)
                raise
    assert set(codes) == {143}
    assert_same_run(run.path, folder)


@pytest.mark.faults
def test_a_killed_run_goes_on_to_the_bitwise_same_result(run: Run, tmp_path: Path) -> None:
    """Faults 1 and 23: kill -9 as soon as a level is on disk, while the next one trains."""
    folder = tmp_path / "killed"
    code = (
        "from trainers import resolve, train_tickets\n"
        f"train_tickets(resolve('smoke', overrides={SMALL!r}), {str(folder)!r})\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not list(folder.rglob("level-01.h5")) and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    written = list(folder.rglob("level-*.h5"))
    assert 0 < len(written) < len(run.checkpoints())
    for path in written:
        load(path)
    train_tickets(smoke(), folder, resume=True)
    assert_same_run(run.path, folder)


@pytest.mark.faults
def test_a_torn_line_of_metrics_is_mended_on_resuming(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "torn"
    with pytest.raises(InterruptedRunError):
        train_tickets(smoke(), folder, should_stop=StopAfter(4))
    with (folder / "metrics.jsonl").open("a") as file:
        file.write('{"method": "es-s')
    train_tickets(smoke(), folder, resume=True)
    assert_same_run(run.path, folder)


def test_more_levels_and_methods_are_appended_and_nothing_is_trained_twice(tmp_path: Path) -> None:
    folder = tmp_path / "grown"
    train_tickets(smoke("pruning.levels=2", "methods=['es-snr']"), folder)
    times = {path: path.stat().st_mtime_ns for path in folder.rglob("level-*.h5")}
    grown = train_tickets(smoke("methods=['es-snr', 'es-magnitude']"), folder, resume=True)
    assert len(grown.checkpoints()) == 12
    assert all(path.stat().st_mtime_ns == moment for path, moment in times.items())


def started(run: Run, after: int = 0) -> list[tuple[int, list[list[Any]]]]:
    """Return (level, replicates) of every level that was trained, from an event on."""
    events = run.events()[after:]
    return [(event["level"], event["replicates"]) for event in events if event["event"] == "level started"]


def test_seeds_that_are_added_train_alone_and_no_finished_level_again(tmp_path: Path) -> None:
    folder = tmp_path / "grown"
    options = ["methods=['es-snr']", "pruning.levels=2"]
    first = train_tickets(smoke(*options), folder)
    bytes_before = {path: path.read_bytes() for path in folder.rglob("level-*.h5")}
    rows, told = (folder / "metrics.jsonl").read_bytes(), len(first.events())
    grown = train_tickets(smoke(*options, "seeds=[0, 1, 7]"), folder, resume=True)
    assert started(grown, told) == [(0, [["es-snr", 7]]), (1, [["es-snr", 7]])]
    assert all(path.read_bytes() == data for path, data in bytes_before.items())
    assert (folder / "metrics.jsonl").read_bytes().startswith(rows)
    old, new = (grown.checkpoints(seed=seed, level=1)[0] for seed in (0, 7))
    assert (old.info["batch"], new.info["batch"]) == ([["es-snr", 0], ["es-snr", 1]], [["es-snr", 7]])
    assert set(new.info["overlap"]) == {"0", "1"}
    masks = [arrays(entry.load().mask) for entry in (old, new)]
    kernels = [np.concatenate([m[p].ravel() for p in sorted(m) if p.endswith("kernel")]) for m in masks]
    jaccard = (kernels[0] & kernels[1]).sum() / (kernels[0] | kernels[1]).sum()
    assert new.info["overlap"]["0"]["jaccard"] == pytest.approx(jaccard)


@pytest.mark.faults
def test_a_run_killed_between_the_files_of_a_level_trains_nothing_again(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Faults 1 and 23: seed 0 of a level is on disk, seed 1 is not."""
    folder, written = tmp_path / "between", []

    def save_two_then_die(path: Path, checkpoint: Any, **options: Any) -> None:
        written.append(path)
        if len(written) == 4:
            raise KeyboardInterrupt
        save(path, checkpoint, **options)

    with monkeypatch.context() as patch:
        patch.setattr("trainers.tickets.iterative.save", save_two_then_die)
        with pytest.raises(KeyboardInterrupt):
            train_tickets(smoke(), folder)
    assert [path.parent.name for path in written[2:]] == ["seed-0", "seed-1"]
    trained = len(open_run(folder).metrics())
    with monkeypatch.context() as patch:
        patch.setattr(LevelRunner, "_evaluate", _unexpected)
        with pytest.raises(AssertionError, match="trains on"):
            train_tickets(smoke(), folder, resume=True)
    assert (folder / "es-snr/seed-1/level-01.h5").exists()
    assert len(open_run(folder).metrics()) == trained
    train_tickets(smoke(), folder, resume=True)
    assert_same_run(run.path, folder)


def _unexpected(*_: Any) -> None:
    raise AssertionError("trains on")


LATE = "method={late={algorithm='es', score='snr', pruning={rewind='step', rewind_step=3}}}"


def test_a_method_that_rewinds_late_is_added_to_a_finished_run(run: Run, tmp_path: Path) -> None:
    """No step of the dense level was kept: it is trained again, bitwise the same, and the step is."""
    folder = tmp_path / "grown"
    options = ["pruning.levels=2"]
    first = train_tickets(smoke(*options, "methods=['es-snr']"), folder)
    dense, before = first.checkpoints(level=0)[0].load(), len(first.events())
    grown = train_tickets(smoke(*options, "methods=['es-snr', 'late']", LATE), folder, resume=True)
    batch = [["late", 0], ["late", 1]]
    assert started(grown, before) == [(0, batch), (1, batch)]
    again = grown.checkpoints(method="late", seed=0, level=0)[0].load()
    assert again.digest == dense.digest
    assert [entry.step for entry in grown.trajectory("late", 1, 0)] == [3, None]
    whole = train_tickets(smoke(*options, "methods=['es-snr', 'late']", LATE), tmp_path / "whole")
    for one, other in zip(whole.checkpoints(), grown.checkpoints(), strict=True):
        assert one.load().digest == other.load().digest


@pytest.mark.faults
def test_a_folder_that_shared_a_dense_level_without_its_step_goes_on(run: Run, tmp_path: Path) -> None:
    """What an earlier version left behind: the copy of a dense level, and no step to rewind to."""
    folder = tmp_path / "stuck"
    options = ["pruning.levels=2", "methods=['es-snr', 'late']", LATE]
    whole = train_tickets(smoke(*options), folder)
    kept = (folder / "late/seed-0/level-00.h5").read_bytes()
    digests = [entry.load().digest for entry in whole.checkpoints()]
    for path in [*folder.rglob("*.step-*.h5"), *(folder / "late").rglob("level-01.h5")]:
        path.unlink()
    mended = train_tickets(smoke(*options), folder, resume=True)
    assert [entry.load().digest for entry in mended.checkpoints()] == digests
    assert (folder / "late/seed-0/level-00.h5").read_bytes() == kept


@pytest.mark.faults
@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ["method={late={algorithm='es', score='snr', pruning={rewind='step', rewind_step=12}}}"],
            "fewer than the 12 steps",
        ),
        (["method={late={algorithm='es', score='nowhere.py:f'}}"], "nowhere"),
        (["method={late={algorithm='es', score='snr', evolution={batch_size=2000}}}"], "larger than"),
    ],
)
def test_what_is_refused_leaves_the_run_as_it_was(
    run: Run, tmp_path: Path, options: list[str], message: str
) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(run.path, folder)
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    methods = "methods=['es-snr', 'es-random', 'gd-magnitude', 'late']"
    with pytest.raises((ConfigurationError, RunError), match=message):
        train_tickets(smoke(methods, *options), folder, resume=True, allow_code=["nowhere.py:f"])
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    with pytest.raises((ConfigurationError, RunError), match=message):
        train_tickets(smoke(methods, *options), tmp_path / "new", allow_code=["nowhere.py:f"])
    assert not (tmp_path / "new").exists()


@pytest.mark.faults
def test_an_existing_run_is_not_overwritten(run: Run) -> None:
    with pytest.raises(RunError, match="resume"):
        train_tickets(smoke(), run.path)
