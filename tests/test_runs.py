"""Run folders: one writer, safe changes, files that survive crashes, odd paths."""

from __future__ import annotations

import contextlib
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from landscape import Checkpoint, save
from landscape.errors import RunError
from trainers.config import RunConfig, resolve, to_toml
from trainers.runs import Run, RunFolder, open_run

CONFIG = resolve("smoke")
LINUX = pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")


def changed(*overrides: str) -> RunConfig:
    return resolve("smoke", overrides=overrides)


def snapshot(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def finish(run: RunFolder, method: str, seed: int, level: int, *, accuracy: float = 0.5) -> None:
    info = {"metrics": {"test": {"accuracy": accuracy, "loss": 1.0}}}
    params = {"kernel": np.ones((2, 2), np.float32)}
    save(run.level_path(method, seed, level), Checkpoint(params=params, info=info))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A run that was begun and left."""
    path = tmp_path / "run"
    RunFolder.open(path, CONFIG).close()
    return path


def test_a_new_run_has_its_configuration_and_an_empty_lock(folder: Path) -> None:
    assert resolve(folder / "run.toml") == CONFIG
    assert (folder / "lock").read_bytes() == b""
    assert open_run(folder).config == CONFIG
    assert [event["event"] for event in open_run(folder).events()] == ["started"]


def test_resuming_with_the_same_configuration_changes_no_file_but_the_events(folder: Path) -> None:
    before = snapshot(folder)
    with RunFolder.open(folder, CONFIG, resume=True) as run:
        assert run.notes == ()
    after = snapshot(folder)
    assert before.pop("events.jsonl") != after.pop("events.jsonl")
    assert before == after


@pytest.mark.faults
def test_row_24_an_existing_run_is_refused_without_resume(folder: Path) -> None:
    before = snapshot(folder)
    with pytest.raises(RunError, match="--resume"):
        RunFolder.open(folder, CONFIG)
    assert snapshot(folder) == before


@pytest.mark.faults
@pytest.mark.parametrize(
    ("overrides", "keys"),
    [
        (["evolution.generations=11"], ["evolution.generations (was 10, now 11)"]),
        (["gradient.epochs=2", "task=mnist"], ["gradient.epochs", "task"]),
        (["pruning.levels=1"], ["pruning.levels"]),
        (["pruning.ratio=0.6", "pruning.levels=5"], ["pruning.levels", "pruning.ratio"]),
        (["pruning.densities=[1.0, 0.4]"], ["pruning.densities"]),
        (["seeds=[0]"], ["seeds"]),
        (["seeds=[{init=9, train=0}, 1, 2]"], ["seeds"]),
        (["methods=[es-snr]"], ["methods"]),
        (["pruning.levels=3", "evolution.std_init=0.1"], ["evolution.std_init"]),
        (["evolution.precision=tf32"], ["evolution.precision"]),
    ],
)
def test_row_24_a_changed_configuration_is_refused_with_the_changed_keys(
    overrides: list[str], keys: list[str], folder: Path
) -> None:
    before = snapshot(folder)
    with pytest.raises(RunError, match="has changed") as caught:
        RunFolder.open(folder, changed(*overrides), resume=True)
    assert all(key in str(caught.value.got) for key in keys)
    assert snapshot(folder) == before


@pytest.mark.faults
@pytest.mark.parametrize(
    "overrides",
    [
        ["pruning.levels=5"],
        ["pruning.densities=[1.0, 0.5, 0.1]"],
        ["seeds=[2, 1, 0]"],
        ["methods=[gd-magnitude, es-random, es-snr]"],
        ["name=other"],
        ["runtime.chunk_seconds=2"],
        ["runtime.evaluation=batched", "runtime.evaluation_mib=64"],
    ],
)
def test_row_24_an_extended_configuration_is_taken_and_the_former_kept(
    overrides: list[str], folder: Path
) -> None:
    former = (folder / "run.toml").read_bytes()
    with RunFolder.open(folder, changed(*overrides), resume=True) as run:
        assert "run-1.toml" in run.notes[0]
    assert resolve(folder / "run.toml") == changed(*overrides)
    assert (folder / "run-1.toml").read_bytes() == former
    events = open_run(folder).events()
    assert any(e["event"] == "configuration changed" and e["former"] == "run-1.toml" for e in events)


def test_a_closed_run_writes_nothing(folder: Path) -> None:
    run = RunFolder.open(folder, CONFIG, resume=True)
    run.close()
    writes: list[Callable[[], None]] = [
        lambda: run.append_metrics([{"a": 1}]),
        lambda: run.event("x"),
        lambda: run.trim_metrics(bool),
    ]
    for write in writes:
        with pytest.raises(RunError, match="closed"):
            write()


def test_metrics_are_strict_sorted_json_and_come_back(folder: Path) -> None:
    with RunFolder.open(folder, CONFIG, resume=True) as run:
        run.append_metrics(
            [{"b": np.float32(0.5), "a": float("nan"), "c": [np.int64(2), np.inf]}, {"ä": "\ud800"}]
        )
        run.append_metrics([])
        rows = run.read_metrics()
    assert rows == [{"a": None, "b": 0.5, "c": [2, None]}, {"ä": "\ud800"}]
    first = (folder / "metrics.jsonl").read_text().splitlines()[0]
    assert first == '{"a": null, "b": 0.5, "c": [2, null]}'
    assert open_run(folder).metrics() == rows


@pytest.mark.faults
def test_row_1_a_torn_line_is_ignored_by_readers_and_cut_by_the_next_append(folder: Path) -> None:
    path = folder / "metrics.jsonl"
    path.write_bytes(b'{"a": 1}\n{"a": 2')
    with RunFolder.open(folder, CONFIG, resume=True) as run:
        assert run.read_metrics() == [{"a": 1}]
        run.append_metrics([{"a": 3}])
    assert path.read_bytes() == b'{"a": 1}\n{"a": 3}\n'


@pytest.mark.faults
def test_row_5_a_damaged_line_in_the_middle_is_refused_by_number(folder: Path) -> None:
    (folder / "metrics.jsonl").write_bytes(b'{"a": 1}\n{"a": \n{"a": 3}\n')
    with pytest.raises(RunError, match="line 2"):
        open_run(folder).metrics()


def test_trimming_keeps_the_other_lines_byte_for_byte(folder: Path) -> None:
    path = folder / "metrics.jsonl"
    path.write_bytes(b'{"step":  1}\n{"step": 2}\n{"step":3}\n{"st')
    with RunFolder.open(folder, CONFIG, resume=True) as run:
        run.trim_metrics(lambda row: row["step"] != 2)
        assert path.read_bytes() == b'{"step":  1}\n{"step":3}\n'
        moment = path.stat().st_mtime_ns
        time.sleep(0.01)
        run.trim_metrics(lambda _: True)
    assert path.stat().st_mtime_ns == moment


def test_leftovers_of_killed_writers_are_swept_but_not_among_results(folder: Path) -> None:
    name = ".landscape-1-abcd.partial"
    places = [folder, folder / "es-snr" / "seed-0", folder / "results"]
    for place in places:
        place.mkdir(parents=True, exist_ok=True)
        (place / name).write_bytes(b"x")
    RunFolder.open(folder, CONFIG, resume=True).close()
    assert [(place / name).exists() for place in places] == [False, False, True]


def test_a_run_lists_its_finished_checkpoints_and_nothing_else(folder: Path) -> None:
    with RunFolder.open(folder, CONFIG, resume=True) as run:
        for seed in (0, 1):
            finish(run, "es-snr", seed, 0, accuracy=0.8 + 0.1 * seed)
        finish(run, "es-snr", 1, 1, accuracy=0.25)
        assert run.is_finished("es-snr", 1, 1)
        assert not run.is_finished("es-snr", 0, 1)
        (run.level_path("es-snr", 0, 1).parent / ".landscape-1-a.partial").write_bytes(b"")
        (run.level_path("es-snr", 0, 1).parent / "level-01.h5.bak").write_bytes(b"")
    read = open_run(folder)
    assert [(c.method, c.seed, c.level, c.density) for c in read.checkpoints()] == [
        ("es-snr", 0, 0, 1.0),
        ("es-snr", 1, 0, 1.0),
        ("es-snr", 1, 1, 0.5),
    ]
    assert read.levels("es-snr", 1) == [0, 1]
    (only,) = read.checkpoints(method="es-snr", seed=1, level=1)
    assert only.init_seed == 1
    assert only.load().info == only.info
    assert read.summary_rows()[0][1] == "0.8500 at 100 %, 0.2500 at 50 %"


def scored(path: Path, scores: list[float], **info: Any) -> Run:
    """Return a run of one method and one level with these test scores of its seeds."""
    config = changed(f"seeds={list(range(len(scores)))}")
    with RunFolder.open(path, config) as run:
        for seed, score in enumerate(scores):
            found = {"metrics": {"test": {"accuracy": score, "loss": 10 * score}}, **info}
            params = {"kernel": np.ones((2, 2), np.float32)}
            save(run.level_path("es-snr", seed, 0), Checkpoint(params=params, info=found))
    return open_run(path)


def test_the_score_of_five_seeds_has_students_interval(tmp_path: Path) -> None:
    """Of 0.1 to 0.5 the standard deviation is sqrt(0.025), and t(4) is 2.776."""
    run = scored(tmp_path / "run", [0.1, 0.2, 0.3, 0.4, 0.5], num_examples={"test": 100})
    found = run.score("es-snr", 0)
    half = 2.7764451052 * np.sqrt(0.025 / 5)
    assert found == (pytest.approx(0.3), pytest.approx((0.3 - half, 0.3 + half)))
    assert run.score("es-snr", 0, metric="loss") == (
        pytest.approx(3),
        pytest.approx((3 - 10 * half, 3 + 10 * half)),
    )


def test_the_score_of_few_seeds_has_wilsons_interval_for_its_examples(tmp_path: Path) -> None:
    """Wilson's interval of 80 of 100: its centre is (80 + z²/2) / (100 + z²)."""
    run = scored(tmp_path / "run", [0.7, 0.9], num_examples={"test": 100})
    z = 1.959963985
    centre = (80 + z**2 / 2) / (100 + z**2)
    half = z * np.sqrt(80 * 20 / 100 + z**2 / 4) / (100 + z**2)
    assert run.score("es-snr", 0) == (pytest.approx(0.8), pytest.approx((centre - half, centre + half)))
    assert run.score("es-snr", 0, metric="loss") == (pytest.approx(8), None)
    assert run.score("es-snr", 1) is None


def test_a_score_of_unknown_examples_has_no_interval(tmp_path: Path) -> None:
    assert scored(tmp_path / "run", [0.7, 0.9]).score("es-snr", 0) == (pytest.approx(0.8), None)


@pytest.mark.faults
def test_row_24_a_folder_with_other_things_is_refused_untouched(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(RunError, match=r"thesis\.tex"):
        RunFolder.open(tmp_path, CONFIG)
    assert list(snapshot(tmp_path)) == ["thesis.tex"]


def test_a_start_that_crashed_before_its_configuration_is_begun_again(tmp_path: Path) -> None:
    (tmp_path / "lock").write_text("")
    (tmp_path / ".landscape-1-a.partial").write_text("half")
    RunFolder.open(tmp_path, CONFIG, resume=True).close()
    assert not (tmp_path / ".landscape-1-a.partial").exists()


@pytest.mark.faults
def test_row_27_odd_paths_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    for name in ("läufe 実験/a/b", "~/home", "link"):
        path = name if name.startswith("~") else tmp_path / name
        RunFolder.open(path, CONFIG).close()
        assert open_run(path).config == CONFIG
    assert (tmp_path / "home" / "run.toml").exists()
    assert (tmp_path / "real" / "run.toml").exists()


@pytest.mark.faults
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("x" * 300, "File name too long"),
        ("file", "is a file"),
        ("file/below", "Not a directory"),
        ("nowhere", "leads nowhere"),
        ("loop", "leads nowhere|symbolic links"),
        ("nul\0", "not a path"),
    ],
)
def test_row_27_odd_paths_are_refused_by_name(name: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "nowhere").symlink_to(tmp_path / "missing")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for action in (lambda path: RunFolder.open(path, CONFIG), open_run):
        with pytest.raises(RunError) as caught:
            action(tmp_path / name)
        assert name[:20].strip("\0") in str(caught.value)
    with pytest.raises(RunError, match=message):
        RunFolder.open(tmp_path / name, CONFIG)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "loop", "nowhere"]


def test_a_folder_that_is_not_a_run_is_not_opened(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(RunError, match="no such folder"):
        open_run(tmp_path / "missing")
    with pytest.raises(RunError, match=f"Runs are in {folder}"):
        open_run(tmp_path)
    with pytest.raises(RunError, match="Give the folder"):
        open_run(folder / "run.toml")
    (folder / "run.toml").write_text("[evolution]\npopulation_size = 1\n")
    with pytest.raises(RunError, match="population_size"):
        open_run(folder)
    with pytest.raises(RunError, match="population_size"):
        RunFolder.open(folder, CONFIG, resume=True)


@contextlib.contextmanager
def unprivileged() -> Iterator[None]:
    """Permissions bind even where tests run as root."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)


@pytest.mark.faults
def test_row_3_a_read_only_folder_is_refused() -> None:
    with tempfile.TemporaryDirectory() as name:
        path = Path(name)
        path.chmod(0o555)
        with unprivileged(), pytest.raises(RunError, match="Permission denied"):
            RunFolder.open(path, CONFIG)
        with unprivileged(), pytest.raises(RunError, match="Permission denied"):
            RunFolder.open(path / "new", CONFIG)
        path.chmod(0o755)
        assert not list(path.iterdir())


@pytest.mark.faults
@LINUX
def test_row_3_a_full_disk_is_an_error_and_loses_nothing(folder: Path) -> None:
    with RunFolder.open(folder, CONFIG, resume=True) as run:
        (folder / "metrics.jsonl").symlink_to("/dev/full")
        with pytest.raises(RunError, match="No space left"):
            run.append_metrics([{"a": 1}])


def _limited(folder: str, size: int) -> str:
    """Return the error of begun work under a limit on the size of files, in a process of its own."""
    code = (
        "import resource, signal, sys\n"
        "from trainers.config import resolve\n"
        "from trainers.runs import RunFolder\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({size}, {size}))\n"
        "try:\n"
        f"    with RunFolder.open({folder!r}, resolve('smoke'), resume=True) as run:\n"
        "        run.append_metrics([{'row': 'x' * 5000}])\n"
        "except Exception as error:\n"
        "    print(type(error).__name__, error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout


@pytest.mark.faults
@pytest.mark.skipif(not hasattr(resource, "RLIMIT_FSIZE"), reason="needs a limit on the size of files")
def test_row_3_a_size_limit_leaves_no_half_written_file(tmp_path: Path, folder: Path) -> None:
    new = tmp_path / "limited"
    assert _limited(str(new), 200).startswith("RunError")
    assert not new.exists()
    (folder / "metrics.jsonl").write_bytes(b'{"a": 1}\n')
    assert "metrics.jsonl: could not be appended" in _limited(str(folder), 4096)
    assert (folder / "metrics.jsonl").read_bytes() == b'{"a": 1}\n'


def test_run_toml_says_what_it_is_and_is_plain_toml(folder: Path) -> None:
    text = (folder / "run.toml").read_text(encoding="utf-8")
    assert text.startswith("# A run of landscape")
    assert text.endswith(to_toml(CONFIG))
