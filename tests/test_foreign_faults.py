"""Row 38: hostile files of other tools are refused by name, in bounded memory; nothing in them runs."""

from __future__ import annotations

import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fuzzing import damaged
from hostile_foreign import MARKER, SAMPLES, Attack, changed, orbax
from test_conformance_files import keras, keras_weights, msgpack, network, npz, one_file, torch, tree

from cli.main import run
from landscape import load
from landscape.errors import InputError, MissingDependencyError
from landscape.files import describe, read_foreign
from landscape.trees import tree_digest

MEMORY = 200 * 2**20


@pytest.mark.faults
@pytest.mark.parametrize("name", SAMPLES)
def test_row_38_hostile_files_are_refused_and_nothing_of_them_runs(name: str, tmp_path: Path) -> None:
    write, expected = SAMPLES[name]
    path = write(tmp_path)
    tracemalloc.start()
    try:
        for read in (read_foreign, load):
            with pytest.raises(InputError, match=expected) as caught:
                read(path)
            assert path.name in str(caught.value) or "part" in str(caught.value)
        assert tracemalloc.get_traced_memory()[1] < MEMORY
    finally:
        tracemalloc.stop()
    assert not (tmp_path / MARKER).exists()


@pytest.mark.faults
@pytest.mark.parametrize("name", ["torch_system", "bare_pickle", "orbax_link_out", "msgpack_deep"])
def test_row_38_info_and_convert_refuse_them_with_status_3(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = SAMPLES[name][0](tmp_path)
    assert run(["info", str(path)]) == 3
    assert run(["convert", str(path), str(tmp_path / "out.h5")]) == 3
    assert path.name in capsys.readouterr().err
    assert not (tmp_path / "out.h5").exists()
    assert not (tmp_path / MARKER).exists()


@pytest.mark.faults
def test_row_38_code_in_a_keras_archive_is_never_looked_at(tmp_path: Path) -> None:
    path = keras(tmp_path, network(1))
    code = {"class_name": "Lambda", "config": {"function": f"__import__('os').system('touch {MARKER}')"}}
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("metadata.json", str(code))
        archive.writestr("assets/code.py", f"open({str(tmp_path / MARKER)!r}, 'w')")
    assert describe(path)["parameters"] == 17
    assert load(path).num_params == 17
    assert not (tmp_path / MARKER).exists()


@pytest.mark.faults
def test_row_38_handlers_that_an_orbax_folder_names_are_never_looked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = orbax(tmp_path)
    changed(path, "_CHECKPOINT_METADATA", "orbax.checkpoint", "evil_handlers")
    (tmp_path / "evil_handlers.py").write_text(f"open({str(tmp_path / MARKER)!r}, 'w')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    np.testing.assert_array_equal(load(path).params["w"], np.arange(4))
    assert not (tmp_path / MARKER).exists()


@pytest.mark.faults
@pytest.mark.parametrize("write", [npz, one_file, msgpack, torch, keras, keras_weights])
def test_row_38_damage_anywhere_is_refused_by_name_or_read(write: Any, tmp_path: Path) -> None:
    """Random changes of one to three places: no error but ours gets out."""
    path = write(tmp_path, network(1))
    raw = path.read_bytes()
    refusals = []
    for seed in range(40):
        path.write_bytes(damaged(raw, np.random.default_rng(seed)))
        try:
            load(path)
        except InputError as error:
            refusals.append(str(error))
    assert refusals
    assert all(path.name in text for text in refusals)


@pytest.mark.faults
def test_row_38_the_attacks_are_real(tmp_path: Path) -> None:
    """Unpickled, the same bytes do run."""
    import pickle

    pickle.loads(pickle.dumps(Attack(tmp_path)))  # noqa: S301  our own, to see that it would run
    assert (tmp_path / MARKER).exists()


@pytest.mark.faults
@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.pt", b"<!DOCTYPE html><html>404</html>", "HTML"),
        ("a.safetensors", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git-lfs"),
        ("a.npz", b"", "an empty file"),
        ("a.h5", b"\x1f\x8b\x08" + bytes(20), r"a\.h5: is gzip"),
    ],
)
def test_what_a_file_looks_like_is_said(name: str, content: bytes, expected: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=expected) as caught:
        load(tmp_path / name)
    assert "not HDF5" not in str(caught.value)


@pytest.mark.faults
def test_row_32_orbax_without_tensorstore_is_one_line_with_the_pip_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = orbax(tmp_path)
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(MissingDependencyError):
        load(path)
    assert run(["info", str(path)]) == 3
    said = capsys.readouterr().err.splitlines()
    assert said == ["error: tensorstore is not installed: pip install tensorstore"]


def test_the_samples_are_sound_where_they_are_not_touched(tmp_path: Path) -> None:
    assert load(orbax(tmp_path)).digest == tree_digest({"w": np.arange(4, dtype=np.float32)})
    assert tree(network(1)).keys() == {"fc1", "fc2"}
