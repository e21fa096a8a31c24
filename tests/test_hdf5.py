"""Published whole, and read without trust."""

from __future__ import annotations

import ast
import json
import os
import re
import signal
import stat
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from attacker import rewritten, sealed, whole
from hostile import SAMPLES

from landscape import Checkpoint, load, save
from landscape.errors import CheckpointError, OutputExistsError
from landscape.files import verify
from landscape.files.hdf5 import opening

pytestmark = pytest.mark.faults
MASK = {"layer": {"kernel": np.ones((3, 4), bool), "bias": np.ones(4, bool)}}


@pytest.mark.parametrize("name", SAMPLES)
def test_a_hostile_or_damaged_file_is_refused_by_name(name: str, tmp_path: Path) -> None:
    """Faults 4 to 9."""
    write, expected = SAMPLES[name]
    path = tmp_path / f"{name}.h5"
    write(path)
    with pytest.raises(CheckpointError) as refusal:
        load(path)
    message = str(refusal.value)
    assert path.name in message
    assert re.search(expected, message), message


def test_verify_refuses_texts_that_load_would_refuse(tmp_path: Path) -> None:
    SAMPLES["long_quotes"][0](tmp_path / "a.h5")
    with pytest.raises(CheckpointError, match="JSON"):
        verify(tmp_path / "a.h5")


@pytest.mark.parametrize(
    "name",
    [
        "shape_bomb", "chunk_bomb", "many_objects", "huge_json", "deep_json", "huge_chunk", "many_values",
        "heap_cycle", "bomb_of_zeros", "bomb_of_columns", "long_quotes", "partly_written_chunks",
        "tiny_chunks", "text_array",
    ],
)  # fmt: skip
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's /proc")
def test_refusing_a_bomb_takes_little_memory_and_no_jax(name: str, tmp_path: Path) -> None:
    """Fault 7: under 200 MB in the whole process."""
    path = tmp_path / f"{name}.h5"
    SAMPLES[name][0](path)
    code = textwrap.dedent(f"""
        import sys
        from landscape import errors, load
        try:
            load({str(path)!r})
        except errors.CheckpointError:
            # not getrusage: its peak is inherited from the process that started this one
            status = dict(line.split(":", 1) for line in open("/proc/self/status"))
            print(int(status["VmHWM"].split()[0]) // 1024, "jax" in sys.modules)
    """)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    megabytes, jax = done.stdout.split()
    assert int(megabytes) < 200
    assert jax == "False"


def test_every_flipped_byte_is_refused_or_reads_equal_data(tmp_path: Path) -> None:
    """Fault 5: never wrong numbers."""
    path = tmp_path / "a.h5"
    whole(path)
    sound, raw = load(path), path.read_bytes()
    rng = np.random.default_rng(0)
    for place in rng.choice(len(raw), 400, replace=False):
        damaged = bytearray(raw)
        damaged[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(damaged)
        try:
            found = load(path)
        except CheckpointError:
            continue
        assert found.digest == sound.digest
        assert found.info == sound.info


def test_random_damage_never_crashes_hangs_or_leaks_an_exception(tmp_path: Path) -> None:
    """Fault 7: in a process of its own, so that a crash of the HDF5 library is seen."""
    script = Path(__file__).with_name("fuzzing.py")
    done = subprocess.run(
        [sys.executable, script, tmp_path, "0", "400"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"seed {(tmp_path / 'seed').read_text()}: {done.stderr[-2000:]}"
    seen = json.loads(done.stdout)
    assert set(seen) == {"equal", "refused"}, seen
    assert sum(seen.values()) == 400


def test_a_newer_minor_schema_is_read_with_a_warning(tmp_path: Path) -> None:
    """Fault 9."""
    path = tmp_path / "a.h5"

    def newer(file: h5py.File) -> None:
        file.attrs["schema"] = np.bytes_(b"1.7")
        sealed(file)

    rewritten(path, newer)
    assert "1.7" in load(path).warnings[0]


def test_a_missing_file_and_a_missing_folder_are_named(tmp_path: Path) -> None:
    """Fault 27."""
    with pytest.raises(CheckpointError, match=r"none\.h5: no such file"):
        load(tmp_path / "none.h5")
    with pytest.raises(CheckpointError, match="does not exist"):
        whole(tmp_path / "no" / "folder.h5")
    with pytest.raises(CheckpointError, match=r"too long|cannot be written"):
        whole(tmp_path / ("x" * 300))


@pytest.mark.parametrize("name", ["ä ö 漢字.h5", "x" * 200 + ".h5", "with space.h5", "-dash.h5"])
def test_odd_names_are_handled(name: str, tmp_path: Path) -> None:
    """Fault 27."""
    whole(tmp_path / name)
    assert load(tmp_path / name).num_params == 16


def test_links_to_a_checkpoint_and_the_home_folder_are_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fault 27."""
    whole(tmp_path / "a.h5")
    (tmp_path / "link.h5").symlink_to(tmp_path / "a.h5")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert load(tmp_path / "link.h5").digest == load("~/a.h5").digest


def test_saving_to_a_link_replaces_what_it_points_to(tmp_path: Path) -> None:
    """Fault 27: the link stays, the target is written atomically in its own folder."""
    (tmp_path / "store").mkdir()
    link, target = tmp_path / "link.h5", tmp_path / "store" / "a.h5"
    link.symlink_to(Path("store") / "a.h5")
    assert save(link, Checkpoint(params=np.ones(3))) == link  # a dangling link whose folder exists
    with pytest.raises(OutputExistsError):
        save(link, Checkpoint(params=np.ones(4)))
    save(link, Checkpoint(params=np.ones(5)), force=True)
    assert link.is_symlink()
    assert not target.is_symlink()
    assert load(target).num_params == 5
    assert sorted(sizes(tmp_path)) == ["link.h5", "store"]
    assert sorted(sizes(target.parent)) == ["a.h5"]


def test_links_that_lead_nowhere_are_refused(tmp_path: Path) -> None:
    """Fault 27."""
    (tmp_path / "lost.h5").symlink_to(tmp_path / "none" / "a.h5")
    (tmp_path / "round.h5").symlink_to(tmp_path / "round.h5")
    with pytest.raises(CheckpointError, match=r"lost\.h5[\s\S]*none"):
        whole(tmp_path / "lost.h5")
    with pytest.raises(CheckpointError, match=r"round\.h5"):
        whole(tmp_path / "round.h5")
    with pytest.raises(CheckpointError, match=r"round\.h5"):
        load(tmp_path / "round.h5")


def test_a_file_is_opened_once_and_nothing_else_is(tmp_path: Path) -> None:
    """Fault 7: what was checked is what is read, whatever takes its name meanwhile."""
    whole(tmp_path / "a.h5", mask=MASK)
    code = textwrap.dedent(f"""
        import sys
        from landscape import load
        load({str(tmp_path / "a.h5")!r})  # everything is imported now
        opened = []
        sys.addaudithook(lambda event, args: opened.append(args[0]) if event == "open" else None)
        load({str(tmp_path / "a.h5")!r})
        print(opened)
    """)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    names = [name for name in ast.literal_eval(done.stdout) if isinstance(name, str)]
    assert names == [str(tmp_path / "a.h5")]


def test_a_file_that_is_replaced_while_it_is_read_is_read_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fault 7: the other file takes the name after the checks."""
    path = tmp_path / "a.h5"
    whole(path)
    SAMPLES["external_storage"][0](tmp_path / "evil.h5")
    sound, check = load(path), opening._check_header

    def replaced(file: opening.RawFile) -> None:
        check(file)
        (tmp_path / "evil.h5").replace(path)

    monkeypatch.setattr(opening, "_check_header", replaced)
    assert load(path).digest == sound.digest


def test_nothing_is_overwritten_unless_asked(tmp_path: Path) -> None:
    whole(tmp_path / "a.h5")
    with pytest.raises(OutputExistsError, match="force"):
        save(tmp_path / "a.h5", Checkpoint(params={"x": np.ones(1)}))
    assert load(tmp_path / "a.h5").num_params == 16


def sizes(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_size for path in folder.iterdir()}


def test_a_file_size_limit_leaves_the_old_file_and_no_temporary(tmp_path: Path) -> None:
    """Fault 3."""
    whole(tmp_path / "a.h5")
    before = sizes(tmp_path)
    code = textwrap.dedent(f"""
        import resource, signal, numpy as np
        from landscape import Checkpoint, errors, save
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
        try:
            save({str(tmp_path / "a.h5")!r}, Checkpoint(params=np.ones(100_000)), force=True)
        except errors.CheckpointError as error:
            print(error)
    """)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "could not be written" in done.stdout
    assert sizes(tmp_path) == before
    load(tmp_path / "a.h5")


def test_a_full_disk_leaves_the_old_file_and_no_temporary(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fault 3: the device is full when the data reach it."""
    whole(tmp_path / "a.h5")
    before = sizes(tmp_path)

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(CheckpointError, match="No space left"):
        whole(tmp_path / "a.h5")
    monkeypatch.undo()
    assert sizes(tmp_path) == before


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder_is_refused(tmp_path: Path) -> None:
    """Fault 3."""
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(CheckpointError):
            whole(tmp_path / "a.h5")
    finally:
        tmp_path.chmod(0o700)


def test_kill_while_writing_leaves_the_previous_file(tmp_path: Path) -> None:
    """Fault 1: at most one temporary is left, and nobody reads it."""
    path = tmp_path / "a.h5"
    code = textwrap.dedent(f"""
        import numpy as np
        from landscape import Checkpoint, save
        n = 0
        while True:
            save({str(path)!r}, Checkpoint(params=np.full(300_000, n, np.float32)), force=True)
            n += 1
            print(n, flush=True)
    """)
    for delay in (0.0, 0.003, 0.011):
        process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(delay)
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        values = load(path).params
        assert (values == values[0]).all()
        temporaries = [entry for entry in tmp_path.iterdir() if entry != path]
        assert len(temporaries) <= 1
        for entry in temporaries:
            entry.unlink()


def test_readers_see_the_old_or_the_new_file_while_a_writer_publishes(tmp_path: Path) -> None:
    """Fault 26."""
    path, stop, failures = tmp_path / "a.h5", threading.Event(), []
    save(path, Checkpoint(params=np.zeros(50_000, np.float32)))

    def read() -> None:
        while not stop.is_set():
            try:
                values = load(path).params
                if not (values == values[0]).all():
                    failures.append("torn")
            except Exception as error:
                failures.append(error)

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    for n in range(1, 15):
        save(path, Checkpoint(params=np.full(50_000, n, np.float32)), force=True)
    stop.set()
    for reader in readers:
        reader.join()
    assert not failures


def test_what_hdf5_cannot_hold_is_refused_with_its_path(tmp_path: Path) -> None:
    cases: list[Any] = [np.ones(2, np.complex64), np.array(["a"]), np.array([object()])]
    for leaf in cases:
        with pytest.raises(CheckpointError, match="params/layer/x"):
            save(tmp_path / "a.h5", Checkpoint(params={"layer": {"x": leaf}}))
    assert not list(tmp_path.iterdir())


@pytest.mark.faults
def test_row_2_bytes_are_on_the_disk_before_the_name_and_the_name_before_the_return(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Power loss: the file is synchronised, then renamed, then its folder is synchronised."""
    calls: list[str] = []
    fsync, replace = os.fsync, os.replace

    def spy_fsync(descriptor: int) -> None:
        calls.append("folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file")
        fsync(descriptor)

    def spy_replace(source: Any, target: Any, **options: Any) -> None:
        calls.append("rename")
        replace(source, target, **options)

    monkeypatch.setattr(os, "fsync", spy_fsync)
    monkeypatch.setattr(os, "replace", spy_replace)
    save(tmp_path / "a.h5", Checkpoint(params={"w": np.ones(3)}))
    assert [call for call, before in zip(calls, [None, *calls], strict=False) if call != before] == [
        "file",
        "rename",
        "folder",
    ]
