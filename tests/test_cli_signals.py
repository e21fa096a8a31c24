"""Row 22 of the table of faults, on the side of the command line: what SIGINT and SIGTERM do."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cli.shared.signals import SAME_REQUEST, Signals, Stopped

SIGNALS = [signal.SIGINT, signal.SIGTERM]

# A training run in miniature: `body` is the work, with `progress` and `should_stop` as trainers get them.
# After a stop the interpreter's own end is left out: what waits for it would spoil the JSON object.
PROGRAM = """
import atexit, sys, time, types
atexit.register(lambda: print("the interpreter's end"))
from landscape.errors import InterruptedRunError
sys.modules["jax"] = types.ModuleType("jax")
config = types.ModuleType("trainers.config.run_config")
config.resolve = lambda *_, **__: types.SimpleNamespace(name="mini")
tickets = types.ModuleType("trainers.tickets.iterative")
def train_tickets(config, folder, *, resume, progress, should_stop, **_):
    folder.mkdir(parents=True)
    (folder / "run.toml").write_text("")
{body}
tickets.train_tickets = train_tickets
sys.modules.update({{"trainers.config.run_config": config, "trainers.tickets.iterative": tickets}})
from cli.shared import devices
devices.configure = lambda *_, **__: None
devices.require = lambda device: device
from cli.main import main
sys.argv[1:] = ["train", "mini", "--json"]
main()
"""
POLLING = """
    should_stop()
    print("ready", file=sys.stderr, flush=True)
    for _ in range(600):
        time.sleep(0.05)
        if (signum := should_stop()) is not None:
            raise InterruptedRunError("runs/mini: stopped on request", signum=signum)
"""
# Minutes inside one call of C, as a compilation: no Python handler can run meanwhile.
BUSY = """
    import hashlib
    should_stop()
    print("ready", file=sys.stderr, flush=True)
    hashlib.pbkdf2_hmac("sha256", b"", b"", 10**9)
"""
STARTING = """
    print("ready", file=sys.stderr, flush=True)
    time.sleep(60)
"""
# C code that imports cannot pass an exception of ours on; numpy's answers with one of its own.
IMPORTING = """
    sys.path.insert(0, "")
    try:
        import slow
    except BaseException:
        raise ImportError("half made")
"""

# The command line itself, with a line of progress for every chunk.
WHOLE = """
import sys
from cli.shared import progress
progress.make_progress = lambda *, quiet: progress.PlainProgress(interval=0.0)
from cli.main import main
sys.argv[1:] = {args!r}
main()
"""
# A library that takes its time when the interpreter ends, as jax does.
ENDING = """
import atexit, sys, time
def end():
    print("ready", file=sys.stderr, flush=True)
    time.sleep(60)
atexit.register(end)
from cli.main import main
sys.argv[1:] = ["--version"]
main()
"""


@pytest.fixture(autouse=True)
def interruptible() -> Iterator[None]:
    """Where the shell has SIGINT ignored (``make test &``, nohup), children would inherit that."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@contextmanager
def heard() -> Iterator[None]:
    """Let signals be heard, here and by processes started here, where the shell had them ignored.

    `nohup` and jobs in the background of a script ignore SIGINT, and children inherit that.
    """
    before = {signum: signal.getsignal(signum) for signum in SIGNALS}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        yield
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)


@pytest.fixture(autouse=True)
def _heard() -> Iterator[None]:
    with heard():
        yield


@contextmanager
def running(code: str, folder: Path, until: str) -> Iterator[subprocess.Popen[str]]:
    """Yield the process once it has written a line with `until` in it on standard error."""
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=folder,
    )
    try:
        assert process.stderr is not None
        assert any(until in line for line in process.stderr)
        yield process
    finally:
        process.kill()
        process.communicate()


@contextmanager
def started(body: str, folder: Path) -> Iterator[subprocess.Popen[str]]:
    with running(PROGRAM.format(body=body), folder, "ready") as process:
        yield process


@pytest.mark.faults
@pytest.mark.parametrize("signum", SIGNALS)
def test_row_22_the_first_signal_asks_the_computation_to_stop(signum: int, tmp_path: Path) -> None:
    with started(POLLING, tmp_path) as process:
        process.send_signal(signum)
        out, err = process.communicate(timeout=30)
    assert process.returncode == 128 + signum
    error = json.loads(out)["error"]
    assert error["type"] == "InterruptedRunError"
    assert error["exit_code"] == 128 + signum
    assert "landscape train --resume -o runs/mini" in error["hint"]
    assert "landscape train --resume -o runs/mini" in err
    assert "once more stops at once" in err
    assert "Traceback" not in err


@pytest.mark.faults
@pytest.mark.parametrize("signum", SIGNALS)
def test_row_22_the_second_signal_stops_at_once(signum: int, tmp_path: Path) -> None:
    with started(BUSY, tmp_path) as process:
        process.send_signal(signum)
        time.sleep(2 * SAME_REQUEST)
        assert process.poll() is None
        process.send_signal(signum)
        out, err = process.communicate(timeout=30)
    assert process.returncode == 128 + signum
    error = json.loads(out)["error"]
    assert error["exit_code"] == 128 + signum
    assert "landscape train --resume -o runs/mini" in error["hint"]
    assert "Traceback" not in err


@pytest.mark.faults
@pytest.mark.parametrize("signum", SIGNALS)
def test_row_22_a_signal_before_the_first_poll_stops_too(signum: int, tmp_path: Path) -> None:
    with started(STARTING, tmp_path) as process:
        process.send_signal(signum)
        out, err = process.communicate(timeout=30)
    assert process.returncode == 128 + signum
    assert json.loads(out)["error"]["type"] == "InterruptedRunError"
    assert "Traceback" not in err


@pytest.mark.faults
@pytest.mark.parametrize("signum", SIGNALS)
def test_row_22_a_signal_during_an_import_stops_at_once(signum: int, tmp_path: Path) -> None:
    source = "import sys, time\nprint('ready', file=sys.stderr, flush=True)\ntime.sleep(60)\n"
    (tmp_path / "slow.py").write_text(source, encoding="utf-8")
    with started(IMPORTING, tmp_path) as process:
        process.send_signal(signum)
        out, err = process.communicate(timeout=30)
    assert process.returncode == 128 + signum
    assert json.loads(out)["error"]["exit_code"] == 128 + signum
    assert "Traceback" not in err


@pytest.mark.faults
@pytest.mark.parametrize(("place", "pause"), [("started", 0.6), ("loss", 0.25)])
def test_row_22_two_signals_end_a_real_training_without_a_traceback(
    place: str, pause: float, tmp_path: Path
) -> None:
    begin = ["train", "smoke", "--set", "evolution.generations=100000", "-o", "run"]
    with running(WHOLE.format(args=begin), tmp_path, place) as process:
        process.send_signal(signal.SIGINT)
        time.sleep(pause)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in err
    assert "landscape train --resume -o run" in err
    with running(WHOLE.format(args=["train", "--resume", "-o", "run"]), tmp_path, "loss") as process:
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 143
    assert "Traceback" not in err


@pytest.mark.faults
@pytest.mark.parametrize("signum", SIGNALS)
def test_row_22_a_signal_when_all_is_done_ends_the_process_at_once(signum: int, tmp_path: Path) -> None:
    with running(ENDING, tmp_path, "ready") as process:
        process.send_signal(signum)
        out, err = process.communicate(timeout=30)
    assert process.returncode == 128 + signum
    assert out.startswith("landscape ")
    assert err == ""


def test_a_signal_raises_where_nothing_polls() -> None:
    def work() -> None:
        with Signals():
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(5)

    with pytest.raises(Stopped) as stop:
        work()
    assert stop.value.signum == signal.SIGTERM


def test_a_signal_that_arrives_in_a_destructor_is_raised_again_afterwards(
    capsys: pytest.CaptureFixture[str],
) -> None:
    class Interrupted:
        def __del__(self) -> None:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.01)

    def work() -> None:
        with Signals():
            Interrupted()
            time.sleep(30)

    began = time.monotonic()
    with pytest.raises(Stopped):
        work()
    assert time.monotonic() - began < 20
    assert "Traceback" not in capsys.readouterr().err


def test_a_polled_signal_is_returned_and_notified_once() -> None:
    noticed = threading.Event()
    with Signals() as signals, signals.polled(noticed.set) as should_stop:
        assert should_stop() is None
        os.kill(os.getpid(), signal.SIGINT)
        assert noticed.wait(10)
        assert should_stop() == signal.SIGINT


def test_two_signals_of_one_request_count_once() -> None:
    with Signals() as signals, signals.polled() as should_stop:
        should_stop()
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(SAME_REQUEST)
        assert should_stop() == signal.SIGTERM


def test_handlers_are_given_back() -> None:
    before = [signal.getsignal(signum) for signum in SIGNALS]
    with Signals():
        assert [signal.getsignal(signum) for signum in SIGNALS] != before
    assert [signal.getsignal(signum) for signum in SIGNALS] == before
    previous = signal.set_wakeup_fd(-1)
    signal.set_wakeup_fd(previous)
    assert previous == -1


def test_an_ignored_signal_stays_ignored() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with Signals():
            assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_other_threads_leave_the_handlers_alone() -> None:
    before = signal.getsignal(signal.SIGINT)
    seen = []

    def enter() -> None:
        with Signals():
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert seen == [before]


def test_children_hear_a_signal_that_the_shell_ignores() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with heard():
        said = subprocess.run(
            [sys.executable, "-c", "import signal; print(signal.getsignal(signal.SIGINT))"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
    assert "default_int_handler" in said
