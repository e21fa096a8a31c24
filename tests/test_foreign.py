"""What is common to files of other tools: names, subtrees, types, structure, and the command."""

from __future__ import annotations

import importlib
import json
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import flax.serialization
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import orbax.checkpoint as ocp
import pytest
import safetensors.numpy
from test_conformance_files import network, orbax_standard, state, torch, tree

from cli.main import run
from landscape import Checkpoint, load, save
from landscape.errors import ArchitectureMismatchError, CheckpointError, ConfigurationError
from landscape.files import FORMATS, describe, formats, read_foreign
from landscape.trees import tree_digest

W = np.arange(6, dtype=np.float32).reshape(2, 3)


def test_every_line_of_the_register_is_a_module_and_every_reader_has_a_line() -> None:
    folder = Path(formats.__path__[0])
    readers = {path.stem for path in folder.glob("*.py") if "\nSUFFIXES" in path.read_text(encoding="utf-8")}
    assert readers == set(FORMATS.values())
    for module in FORMATS.values():
        reader = importlib.import_module(f"landscape.files.formats.{module}")
        assert all(hasattr(reader, name) for name in ("TITLE", "SUFFIXES", "recognises", "entries", "arrays"))


def test_reading_files_of_other_tools_imports_no_jax(tmp_path: Path) -> None:
    paths = [str(orbax_standard(tmp_path, network(1))), str(torch(tmp_path, network(1)))]
    (tmp_path / "a.msgpack").write_bytes(flax.serialization.to_bytes(tree(network(1))))
    code = (
        "import sys; from landscape import load; from landscape.files import describe\n"
        f"for path in {[*paths, str(tmp_path / 'a.msgpack')]!r}: describe(path); load(path)\n"
        "print('\\n'.join(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not set(done.stdout.split()) & {"jax", "flax", "orbax", "torch"}


# Types


def raw_safetensors(path: Path, dtype: str, shape: list[int], data: bytes) -> Path:
    header = {"w": {"dtype": dtype, "shape": shape, "data_offsets": [0, len(data)]}}
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)
    return path


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [
        ("BF16", ml_dtypes.bfloat16),
        ("F8_E4M3", ml_dtypes.float8_e4m3fn),
        ("F8_E5M2", ml_dtypes.float8_e5m2),
        ("F8_E8M0", ml_dtypes.float8_e8m0fnu),
        ("F16", np.float16),
        ("BOOL", np.bool_),
    ],
)
def test_short_types_of_safetensors_are_read_and_survive_conversion(
    dtype: str, expected: Any, tmp_path: Path
) -> None:
    values = np.array([1, 2, 1, 4]).astype(expected)
    path = raw_safetensors(tmp_path / "a.safetensors", dtype, [4], values.tobytes())
    found = load(save(tmp_path / "a.h5", load(path))).params["w"]
    assert found.dtype == np.dtype(expected)
    np.testing.assert_array_equal(found, values)


@pytest.mark.parametrize("dtype", ["F4", "F6_E2M3", "C64"])
def test_types_that_are_not_read_are_refused_by_their_name(dtype: str, tmp_path: Path) -> None:
    path = raw_safetensors(tmp_path / "a.safetensors", dtype, [8], bytes({"F4": 4, "C64": 64}.get(dtype, 6)))
    with pytest.raises(CheckpointError, match="complex64" if dtype == "C64" else dtype) as caught:
        load(path)
    assert "damaged" not in str(caught.value)
    assert describe(path)["params"][0]["dtype"] == ("complex64" if dtype == "C64" else dtype)


def test_our_reader_of_safetensors_agrees_with_its_own(tmp_path: Path) -> None:
    arrays = {"a.b": W, "a.c": W.astype(np.float64), "d": np.int64(3), "e": np.zeros((0, 2), np.float16)}
    safetensors.numpy.save_file({k: np.asarray(v) for k, v in arrays.items()}, tmp_path / "a.safetensors")
    expected = safetensors.numpy.load_file(tmp_path / "a.safetensors")
    found = load(tmp_path / "a.safetensors").params
    for name, array in (
        ("a.b", found["a"]["b"]),
        ("a.c", found["a"]["c"]),
        ("d", found["d"]),
        ("e", found["e"]),
    ):
        assert array.dtype == expected[name].dtype
        np.testing.assert_array_equal(array, expected[name])


def test_arrays_of_text_or_complex_numbers_can_be_left_out(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, **{"net/w": W, "names": np.array(["a"]), "spectrum": np.ones(2, complex), "net/note": "x"})
    with pytest.raises(CheckpointError, match="holds"):
        read_foreign(path)
    with pytest.raises(CheckpointError, match="net/note holds no numbers"):
        read_foreign(path, params="net")
    found = read_foreign(path, params="net", names={"note": False})
    np.testing.assert_array_equal(found.params["w"], W)
    assert (found.info or {})["converted_from"]["left_out"] == ["names", "spectrum"]


# Structure


class Pair(NamedTuple):
    first: Any
    second: Any


def test_like_restores_whole_number_keys_lists_and_tuples_of_an_orbax_folder(tmp_path: Path) -> None:
    given = {
        "blocks": {0: jnp.ones(2), 10: jnp.zeros(3)},
        "list": [jnp.ones(1), Pair(jnp.ones(2), jnp.zeros(2))],
    }
    with ocp.StandardCheckpointer() as saver:
        saver.save(tmp_path / "a", {"params": given})
    found = load(tmp_path / "a", like=given).params
    assert found["blocks"].keys() == {0, 10}
    assert isinstance(found["list"][1], Pair)
    assert load(tmp_path / "a").params["blocks"].keys() == {"0", "10"}
    with pytest.raises(ArchitectureMismatchError):
        load(tmp_path / "a", like={"blocks": {1: jnp.ones(2)}})


def test_like_restores_lists_that_msgpack_turned_into_keys(tmp_path: Path) -> None:
    given = {"layers": [jnp.ones(2), (jnp.zeros(3),)]}
    (tmp_path / "a.msgpack").write_bytes(flax.serialization.to_bytes(given))
    found = load(tmp_path / "a.msgpack", like=given).params
    assert isinstance(found["layers"], list)
    assert isinstance(found["layers"][1], tuple)


def test_steps_of_a_manager_are_chosen_by_number_and_never_guessed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "manager"
    with ocp.CheckpointManager(folder) as manager:
        for step in (1, 20):
            manager.save(step, args=ocp.args.StandardSave(state(network(step))))
    with pytest.raises(CheckpointError, match=r"holds 2 steps[\s\S]*1, 20"):
        load(folder)
    with pytest.raises(CheckpointError, match="holds no step 3"):
        read_foreign(folder, step=3)
    assert (
        load(folder / "20").digest == read_foreign(folder, step=20).digest == tree_digest(tree(network(20)))
    )
    assert run(["convert", str(folder), str(tmp_path / "out.h5"), "--step", "1"]) == 0
    assert load(tmp_path / "out.h5").digest == tree_digest(tree(network(1)))
    assert run(["info", str(folder), "--step", "20"]) == 0
    assert "Orbax" in capsys.readouterr().out


def test_items_of_a_step_are_told_apart(tmp_path: Path) -> None:
    with ocp.CheckpointManager(tmp_path / "manager") as manager:
        items = {"params": ocp.args.StandardSave(tree(network(1))), "other": ocp.args.StandardSave({"x": W})}
        manager.save(5, args=ocp.args.Composite(**items, notes=ocp.args.JsonSave({"a": 1})))
    found = load(tmp_path / "manager")
    assert found.digest == tree_digest(tree(network(1)))
    assert (found.info or {})["converted_from"]["left_out"] == ["other"]


def test_batch_statistics_beside_the_parameters_of_a_train_state_are_found(tmp_path: Path) -> None:
    whole = {"params": tree(network(1)), "batch_stats": {"norm": {"mean": W}}, "step": 3}
    (tmp_path / "a.msgpack").write_bytes(flax.serialization.to_bytes(whole))
    found = load(tmp_path / "a.msgpack")
    np.testing.assert_array_equal(found.batch_stats["norm"]["mean"], W)
    everything = read_foreign(tmp_path / "a.msgpack", params=".").params
    assert everything.keys() == {"params", "batch_stats", "step"}


# Names


def test_names_are_changed_by_a_table_of_toml_or_json(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, **{"enc/0/w": W, "enc/0/b": W[0], "enc/1/w": W, "head/w": W})
    table = {"enc/0": "Dense_0", "enc/0/b": "Dense_0/bias", "enc/1": "a/b", "head": False}
    toml = "\n".join(f"{json.dumps(k)} = {json.dumps(v)}" for k, v in table.items())
    (tmp_path / "names.toml").write_text(toml)
    (tmp_path / "names.json").write_text(json.dumps(table))
    digests = set()
    for name in ("names.toml", "names.json"):
        args = ["convert", str(path), str(tmp_path / "out.h5"), "--map", str(tmp_path / name), "--force"]
        assert run(args) == 0
        found = load(tmp_path / "out.h5")
        assert found.params.keys() == {"Dense_0", "a"}
        assert found.params["Dense_0"].keys() == {"w", "bias"}
        digests.add(found.digest)
    assert len(digests) == 1


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ({"nothing": "x"}, "is not in the file"),
        ({"a": "b"}, "both become b"),
        ({"a": 3}, "the new name, or false"),
        ({}, "holds no names"),
    ],
)
def test_tables_of_names_that_cannot_be_right_are_refused(
    names: dict[str, Any], expected: str, tmp_path: Path
) -> None:
    np.savez(tmp_path / "a.npz", a=W, b=W)
    with pytest.raises(ConfigurationError, match=expected):
        read_foreign(tmp_path / "a.npz", names=names)


@pytest.mark.parametrize("text", ["not toml", "x = " + "[" * 10_000])
def test_a_table_that_cannot_be_read_is_refused_by_its_name(
    text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.savez(tmp_path / "a.npz", a=W)
    (tmp_path / "names.toml").write_text(text)
    assert (
        run(
            [
                "convert",
                str(tmp_path / "a.npz"),
                str(tmp_path / "o.h5"),
                "--map",
                str(tmp_path / "names.toml"),
            ]
        )
        == 2
    )
    assert "names.toml: cannot be read" in capsys.readouterr().err


# The two digests


def test_the_digest_of_a_file_and_that_of_parameters_have_two_names(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.savez(tmp_path / "a.npz", w=W)
    assert run(["convert", str(tmp_path / "a.npz"), str(tmp_path / "a.h5"), "--json"]) == 0
    converted = json.loads(capsys.readouterr().out)["data"]
    found = describe(tmp_path / "a.h5")
    assert converted["params_digest"] == load(tmp_path / "a.h5").digest == Checkpoint(params={"w": W}).digest
    assert "digest" not in converted
    assert "digest" not in found
    assert found["file_digest"] != converted["params_digest"]
    assert found["converted_from"]["name"] == "a.npz"
