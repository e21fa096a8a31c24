"""One writer a run folder: refusals that name the holder, stale locks, forks, races."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from landscape.errors import RunError
from trainers.config import resolve
from trainers.runs import RunFolder, open_run

CONFIG = resolve("smoke")


def snapshot(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A run that was begun and left."""
    path = tmp_path / "run"
    RunFolder.open(path, CONFIG).close()
    return path


HOLDER = """
import sys, time
from trainers.config import resolve
from trainers.runs import RunFolder
run = RunFolder.open(sys.argv[1], resolve("smoke"), resume=True)
print("held", flush=True)
time.sleep(60)
"""


@contextlib.contextmanager
def holder(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """A second process that holds the run."""
    command = [sys.executable, "-c", HOLDER, str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "held\n"
            yield process
        finally:
            process.kill()


@pytest.mark.faults
@pytest.mark.parametrize("resume", [False, True])
def test_row_25_a_second_process_is_refused_naming_host_and_pid(resume: bool, folder: Path) -> None:
    with holder(folder) as process:
        before = snapshot(folder)
        with pytest.raises(RunError, match=rf"process {process.pid} on host") as caught:
            RunFolder.open(folder, CONFIG, resume=resume)
        assert socket.gethostname() in str(caught.value)
        assert snapshot(folder) == before
        assert open_run(folder).config == CONFIG  # readers need no lock


@pytest.mark.faults
def test_row_25_the_lock_of_a_killed_process_is_taken_over_and_explained(folder: Path) -> None:
    with holder(folder) as process:
        process.send_signal(signal.SIGKILL)
        process.wait()
    with RunFolder.open(folder, CONFIG, resume=True) as run:
        assert "stale lock" in run.notes[0]
        assert f"process {process.pid} on host" in run.notes[0]
    with RunFolder.open(folder, CONFIG, resume=True) as run:
        assert run.notes == ()


@pytest.mark.faults
def test_row_25_a_refusal_leaves_the_record_of_a_stale_lock(folder: Path) -> None:
    (folder / "lock").write_text('{"host": "far", "pid": 7, "started": "then"}')
    with pytest.raises(RunError, match="--resume"):
        RunFolder.open(folder, CONFIG)
    with RunFolder.open(folder, CONFIG, resume=True) as run:
        assert "process 7 on host far" in run.notes[0]


@pytest.mark.faults
def test_row_25_the_same_process_cannot_open_a_run_twice(folder: Path) -> None:
    with (
        RunFolder.open(folder, CONFIG, resume=True),
        pytest.raises(RunError, match=f"process {os.getpid()} on host"),
    ):
        RunFolder.open(folder, CONFIG, resume=True)
    RunFolder.open(folder, CONFIG, resume=True).close()


FORKER = """
import os, sys, time
from trainers.config import resolve
from trainers.runs import RunFolder
run = RunFolder.open(sys.argv[1], resolve("smoke"), resume=True)
reading, writing = os.pipe()
child = os.fork()
if child == 0:
    try:
        run.event("from the child")
        refused = "nothing"
    except Exception as error:
        refused = type(error).__name__
    run.close()
    os.write(writing, refused.encode())
    time.sleep(600)
    os._exit(0)
refused = os.read(reading, 100).decode()
# One write for the whole line: two processes that print to one pipe can interleave.
os.write(1, f"{child} {refused}\\n".encode())
time.sleep(600)
"""


@pytest.mark.faults
def test_row_25_a_forked_child_neither_keeps_nor_releases_the_lock(folder: Path) -> None:
    command = [sys.executable, "-c", FORKER, str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        said = process.stdout.readline()
        assert said, "the process that forks ended before it said anything"
        child, refused = said.split()
        try:
            assert refused == "RunError"
            with pytest.raises(RunError, match=f"process {process.pid} on"):
                RunFolder.open(folder, CONFIG, resume=True)
            process.kill()
            process.wait()
            RunFolder.open(folder, CONFIG, resume=True).close()
        finally:
            process.kill()
            os.kill(int(child), signal.SIGKILL)


def test_a_run_survives_many_writers_that_race_for_it(tmp_path: Path) -> None:
    """Exactly one of several processes that start at once gets the folder."""
    code = HOLDER.replace("time.sleep(60)", "sys.stdin.read()")
    command: list[Any] = [sys.executable, "-c", code, str(tmp_path / "raced")]
    pipes: dict[str, Any] = {name: subprocess.PIPE for name in ("stdin", "stdout", "stderr")}
    processes = [subprocess.Popen(command, text=True, **pipes) for _ in range(3)]
    try:
        waiting = [
            process for process in processes if process.stdout and process.stdout.readline() != "held\n"
        ]
        assert len(waiting) == 2
        assert all("another process writes" in process.communicate()[1] for process in waiting)
    finally:
        for process in processes:
            if process.poll() is None:
                process.communicate()
    assert dataclasses.asdict(open_run(tmp_path / "raced").config) == dataclasses.asdict(CONFIG)
