"""Files of other tools: the same numbers, and nothing unpickled."""

from __future__ import annotations

import os
import pickle
import zipfile
from pathlib import Path

import flax.serialization
import h5py
import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy

from cli.main import run
from landscape import Checkpoint, Problem, load, loss_barrier, save
from landscape.errors import CheckpointError, ConfigurationError, InputError
from landscape.files import read_foreign

RNG = np.random.default_rng(0)
KERNEL = RNG.normal(size=(3, 4)).astype(np.float32)
BIAS = RNG.normal(size=4).astype(np.float32)
TREE = {"layer": {"bias": BIAS, "kernel": KERNEL}}


def write(kind: str, folder: Path) -> Path:
    path = folder / {"npz": "a.npz", "hdf5": "a.h5", "keras": "a.keras"}.get(kind, f"a.{kind}")
    flat = {"layer/kernel": KERNEL, "layer/bias": BIAS}
    if kind == "npz":
        np.savez_compressed(path, **flat)
    elif kind == "safetensors":
        safetensors.numpy.save_file({name.replace("/", "."): leaf for name, leaf in flat.items()}, path)
    elif kind == "msgpack":
        path.write_bytes(flax.serialization.msgpack_serialize(TREE))
    else:
        inner = path if kind == "hdf5" else folder / "inner.h5"
        with h5py.File(inner, "w") as file:
            file.attrs["keras_version"] = "3.0"
            for name, leaf in flat.items():
                file.create_dataset(name, data=leaf, compression="gzip").attrs["note"] = "x"
            file.create_dataset("names", data=["a", "b"])
        if kind == "keras":
            with zipfile.ZipFile(path, "w") as archive:
                archive.write(inner, "model.weights.h5")
    return path


@pytest.mark.parametrize("kind", ["npz", "safetensors", "msgpack", "hdf5", "keras"])
def test_every_format_gives_the_same_tree(kind: str, tmp_path: Path) -> None:
    found = load(save(tmp_path / "out.h5", read_foreign(write(kind, tmp_path))))
    assert found.params.keys() == {"layer"}
    np.testing.assert_array_equal(found.params["layer"]["kernel"], KERNEL)
    np.testing.assert_array_equal(found.params["layer"]["bias"], BIAS)


def test_subtrees_become_parameters_and_statistics(tmp_path: Path) -> None:
    path = tmp_path / "state.msgpack"
    path.write_bytes(flax.serialization.msgpack_serialize({"params": TREE, "batch_stats": {"mean": BIAS}}))
    found = read_foreign(path, params="params", batch_stats="batch_stats")
    np.testing.assert_array_equal(found.params["layer"]["kernel"], KERNEL)
    np.testing.assert_array_equal(found.batch_stats["mean"], BIAS)
    with pytest.raises(CheckpointError, match="nothing at 'weights'"):
        read_foreign(path, params="weights")


def test_bfloat16_survives(tmp_path: Path) -> None:
    path = tmp_path / "a.msgpack"
    half = KERNEL.astype(ml_dtypes.bfloat16)
    path.write_bytes(flax.serialization.msgpack_serialize({"kernel": half}))
    found = load(save(tmp_path / "out.h5", read_foreign(path)))
    np.testing.assert_array_equal(found.params["kernel"], half)


def test_a_name_that_lies_inside_another_keeps_names_whole(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", **{"a": BIAS, "a/b": KERNEL})
    assert read_foreign(tmp_path / "a.npz").params.keys() == {"a", "a/b"}


@pytest.mark.faults
def test_pickles_are_refused_and_never_run(tmp_path: Path) -> None:
    marker = tmp_path / "ran"

    class Attack:
        def __reduce__(self) -> tuple[object, ...]:
            return (Path.touch, (marker,))

    (tmp_path / "a.pt").write_bytes(pickle.dumps(Attack()))
    with pytest.raises(InputError, match="unpickling"):
        read_foreign(tmp_path / "a.pt")
    np.savez(tmp_path / "a.npz", x=np.array([Attack()], dtype=object))
    with pytest.raises(CheckpointError):
        read_foreign(tmp_path / "a.npz")
    assert not marker.exists()


@pytest.mark.faults
@pytest.mark.parametrize("kind", ["npz", "safetensors", "msgpack", "hdf5", "keras"])
def test_damaged_files_are_refused_by_name(kind: str, tmp_path: Path) -> None:
    path = write(kind, tmp_path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(CheckpointError, match=path.name):
        read_foreign(path)
    path.write_bytes(b"<html>not found</html>")
    with pytest.raises(CheckpointError, match=path.name):
        read_foreign(path)


@pytest.mark.parametrize("libver", ["earliest", "v108", "latest"])
def test_every_layout_of_hdf5_is_read(libver: str, tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w", libver=libver) as file:
        file.create_dataset("layer/kernel", data=KERNEL, chunks=(2, 2), compression="gzip", shuffle=True)
        file["layer/bias"] = BIAS.astype(">f4")
        file.create_dataset("layer/chunked", data=np.arange(25.0).reshape(5, 5), chunks=(2, 2))
        file["file"] = np.int8(3)
    found = load(save(tmp_path / "out.h5", read_foreign(path))).params
    np.testing.assert_array_equal(found["layer"]["kernel"], KERNEL)
    np.testing.assert_array_equal(found["layer"]["bias"], BIAS)
    np.testing.assert_array_equal(found["layer"]["chunked"], np.arange(25.0).reshape(5, 5))
    assert found["file"] == 3


@pytest.mark.faults
def test_a_crash_of_the_hdf5_library_is_a_refusal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fault 7: the newer layouts are read in a process of their own."""
    with h5py.File(tmp_path / "a.h5", "w", libver="latest") as file:
        file["x"] = h5py.ExternalLink("/etc/passwd", "/")
    with pytest.raises(CheckpointError, match=r"a\.h5: refused: x is a link"):
        read_foreign(tmp_path / "a.h5")
    monkeypatch.setattr("sys.executable", "/bin/false")
    with pytest.raises(CheckpointError, match=r"a\.h5: damaged[\s\S]*status 1"):
        read_foreign(tmp_path / "a.h5")


@pytest.mark.faults
def test_links_to_other_files_are_refused(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["x"] = h5py.ExternalLink("/etc/passwd", "/")
    with pytest.raises(CheckpointError, match="link"):
        read_foreign(tmp_path / "a.h5")


@pytest.mark.faults
@pytest.mark.parametrize("kind", [None, "hdf5"])
def test_our_own_files_are_refused(kind: str | None, tmp_path: Path) -> None:
    """Masks and deviations are no parameters."""
    mask = {"layer": {"bias": BIAS != 0, "kernel": KERNEL != 0}}
    path = save(tmp_path / "own.h5", Checkpoint(params=TREE, mask=mask, std=TREE))
    with pytest.raises(CheckpointError, match=r"own\.h5: is a landscape checkpoint already"):
        read_foreign(path, kind=kind)


def test_a_result_is_no_file_of_another_tool(tmp_path: Path) -> None:
    problem = Problem(lambda params, batch: (params - batch) ** 2, train=np.zeros(4, np.float32))
    path = tmp_path / "result.h5"
    loss_barrier(problem, np.float32(0), np.float32(1)).save(path)
    with pytest.raises(CheckpointError, match=r"result\.h5: is a landscape result already"):
        read_foreign(path)


def test_other_attributes_of_that_name_do_no_harm(tmp_path: Path) -> None:
    for i, value in enumerate(["landscape of 1890", np.arange(3), "x" * 1000, np.bytes_(b"keras")]):
        with h5py.File(tmp_path / f"{i}.h5", "w") as file:
            file.attrs["format"] = value
            file["kernel"] = KERNEL
        np.testing.assert_array_equal(read_foreign(tmp_path / f"{i}.h5").params["kernel"], KERNEL)


@pytest.mark.faults
def test_the_source_is_never_replaced(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, link = write("npz", tmp_path), tmp_path / "link.npz"
    link.symlink_to(path)
    before = path.read_bytes()
    for pair in ([path, path], [path, link], [link, path]):
        assert run(["convert", *map(str, pair), "--force"]) == 2
        assert "the same file as" in capsys.readouterr().err
    assert path.read_bytes() == before


@pytest.mark.faults
def test_what_is_no_file_is_called_by_its_name(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.npz")
    with pytest.raises(CheckpointError, match=r"not a regular file[\s\S]*to a file first"):
        read_foreign(tmp_path / "pipe.npz")
    with pytest.raises(CheckpointError, match="is a folder"):
        read_foreign(tmp_path)


def test_what_cannot_be_meant_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.xyz").write_bytes(b"")
    with pytest.raises(InputError, match="unknown kind"):
        read_foreign(tmp_path / "a.xyz")
    with pytest.raises(ConfigurationError, match="unknown"):
        read_foreign(tmp_path / "a.xyz", kind="xyz")
    with pytest.raises(CheckpointError, match="no such file"):
        read_foreign(tmp_path / "none.npz")
    np.savez(tmp_path / "text.npz", names=np.array(["a"]))
    with pytest.raises(CheckpointError, match="holds no numbers"):
        read_foreign(tmp_path / "text.npz")
