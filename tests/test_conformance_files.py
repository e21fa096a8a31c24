"""One network saved in every format: the same numbers come out of all of them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import flax.serialization
import h5py
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest
import safetensors.numpy
from torch_files import state_dict

import landscape
from cli.main import run
from landscape import (
    Checkpoint,
    Problem,
    curvature_table,
    load,
    load_result,
    loss_barrier,
    save,
    top_eigenpairs,
)
from landscape.curvature import hessian
from landscape.errors import CheckpointError
from landscape.files import FORMATS, describe, read_foreign
from landscape.trees import by_path, tree_digest

RNG = np.random.default_rng(0)
INPUTS = RNG.normal(size=(16, 2)).astype(np.float32)
TARGETS = RNG.normal(size=(16, 2)).astype(np.float32)
SHAPES = {"fc1/kernel": (2, 3), "fc1/bias": (3,), "fc2/kernel": (3, 2), "fc2/bias": (2,)}
KERAS = {
    "fc1/kernel": "fc1/vars/0",
    "fc1/bias": "fc1/vars/1",
    "fc2/kernel": "fc2/vars/0",
    "fc2/bias": "fc2/vars/1",
}
FROM_KERAS = {f"layers/{old}": new for new, old in KERAS.items()}
Flat = dict[str, np.ndarray]


def network(seed: int) -> Flat:
    rng = np.random.default_rng(seed)
    return {name: rng.normal(size=shape).astype(np.float32) for name, shape in SHAPES.items()}


def tree(flat: Flat) -> dict[str, Any]:
    return {layer: {leaf: flat[f"{layer}/{leaf}"] for leaf in ("kernel", "bias")} for layer in ("fc1", "fc2")}


def state(flat: Flat) -> dict[str, Any]:
    """A train state, as Flax users save theirs."""
    momentum = {"mu": tree(network(9)), "count": np.int32(5)}
    return {"params": tree(flat), "opt_state": [momentum, {}], "step": 5}


def problem() -> Problem:
    def loss(params: Any, batch: Any) -> Any:
        x, y = batch
        hidden = jnp.tanh(x @ params["fc1"]["kernel"] + params["fc1"]["bias"])
        return ((hidden @ params["fc2"]["kernel"] + params["fc2"]["bias"] - y) ** 2).mean(-1)

    return Problem(loss, train=(INPUTS, TARGETS))


def own(folder: Path, flat: Flat) -> Path:
    return save(folder / "net.h5", Checkpoint(params=tree(flat)))


def npz(folder: Path, flat: Flat) -> Path:
    np.savez_compressed(folder / "net.npz", **flat)
    return folder / "net.npz"


def one_file(folder: Path, flat: Flat) -> Path:
    safetensors.numpy.save_file({k.replace("/", "."): v for k, v in flat.items()}, folder / "net.safetensors")
    return folder / "net.safetensors"


def shards(folder: Path, flat: Flat) -> Path:
    names = {name: f"part-{i % 2}.safetensors" for i, name in enumerate(flat)}
    for file in set(names.values()):
        held = {k.replace("/", "."): v for k, v in flat.items() if names[k] == file}
        safetensors.numpy.save_file(held, folder / file)
    index = folder / "net.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {k.replace("/", "."): v for k, v in names.items()}}))
    return index


def msgpack(folder: Path, flat: Flat) -> Path:
    (folder / "net.msgpack").write_bytes(flax.serialization.to_bytes(state(flat)))
    return folder / "net.msgpack"


def hdf5(folder: Path, flat: Flat) -> Path:
    with h5py.File(folder / "other.h5", "w") as file:
        for name, array in flat.items():
            file.create_dataset(name, data=array, compression="gzip")
    return folder / "other.h5"


def keras_weights(folder: Path, flat: Flat) -> Path:
    with h5py.File(folder / "net.weights.h5", "w") as file:
        for name, array in flat.items():
            file[f"layers/{KERAS[name]}"] = array
        file["optimizer/vars/0"] = np.int64(5)
    return folder / "net.weights.h5"


def keras(folder: Path, flat: Flat) -> Path:
    with zipfile.ZipFile(folder / "net.keras", "w") as archive:
        archive.write(keras_weights(folder, flat), "model.weights.h5")
        archive.writestr("config.json", "{}")
    return folder / "net.keras"


def orbax_standard(folder: Path, flat: Flat) -> Path:
    with ocp.StandardCheckpointer() as saver:
        saver.save(folder.absolute() / "standard", state(flat))
    return folder / "standard"


def orbax_pytree(folder: Path, flat: Flat) -> Path:
    ocp.PyTreeCheckpointer(use_ocdbt=False).save(folder.absolute() / "pytree", state(flat))
    return folder / "pytree"


def orbax_zarr3(folder: Path, flat: Flat) -> Path:
    ocp.Checkpointer(ocp.PyTreeCheckpointHandler(use_zarr3=True)).save(folder.absolute() / "z", state(flat))
    return folder / "z"


def orbax_manager(folder: Path, flat: Flat) -> Path:
    with ocp.CheckpointManager(folder.absolute() / "manager") as manager:
        manager.save(7, args=ocp.args.StandardSave(state(flat)))
    return folder / "manager"


def torch(folder: Path, flat: Flat) -> Path:
    arrays = {k.replace("/", ".").replace("kernel", "weight"): v.T for k, v in flat.items()}
    return state_dict(folder / "net.pt", arrays)


# How each is written, what reading it in the same names takes, and whether analyses take it as it is.
CASES: dict[str, tuple[str | None, Callable[[Path, Flat], Path], dict[str, Any]]] = {
    "npz": ("npz", npz, {}),
    "safetensors": ("safetensors", one_file, {}),
    "safetensors in shards": ("safetensors", shards, {}),
    "Flax msgpack": ("msgpack", msgpack, {}),
    "HDF5 of another tool": ("hdf5", hdf5, {"kind": "hdf5"}),
    "Keras weights": ("hdf5", keras_weights, {"names": FROM_KERAS}),
    "Keras archive": ("keras", keras, {"names": FROM_KERAS}),
    "Orbax StandardCheckpointer": ("orbax", orbax_standard, {}),
    "Orbax PyTreeCheckpointer, plain files": ("orbax", orbax_pytree, {}),
    "Orbax zarr 3": ("orbax", orbax_zarr3, {}),
    "Orbax CheckpointManager": ("orbax", orbax_manager, {"step": 7}),
    "PyTorch state dict": ("torch", torch, {"transpose": "torch"}),
}


def test_the_table_has_every_format() -> None:
    assert {kind for kind, _, _ in CASES.values()} == set(FORMATS) - {
        "npy"
    }  # one array is no network of layers


@pytest.fixture(scope="module")
def expected() -> Any:
    return loss_barrier(problem(), tree(network(1)), tree(network(2)), num_points=5)


@pytest.mark.parametrize("case", CASES)
def test_every_format_gives_the_same_network_and_the_same_barrier(
    case: str, tmp_path: Path, expected: Any
) -> None:
    kind, write, options = CASES[case]
    found = []
    for seed in (1, 2):
        folder = tmp_path / str(seed)
        folder.mkdir()
        checkpoint = read_foreign(write(folder, network(seed)), **options)
        assert checkpoint.digest == tree_digest(tree(network(seed)))
        assert (checkpoint.info or {})["converted_from"]["format"] == kind
        found.append(checkpoint)
    result = loss_barrier(problem(), found[0], found[1], num_points=5)
    np.testing.assert_array_equal(result.losses["train"]["loss"], expected.losses["train"]["loss"])


@pytest.mark.parametrize("case", CASES)
def test_info_shows_the_arrays_of_every_format(case: str, tmp_path: Path) -> None:
    _, write, options = CASES[case]
    path = write(tmp_path, network(1))
    if case == "HDF5 of another tool":  # any file could be one: only convert reads it
        with pytest.raises(CheckpointError, match=r"holding fc1, fc2[\s\S]*landscape convert"):
            describe(path)
        return
    found = describe(path, step=options.get("step"))
    assert found["parameters"] == 17
    shapes = sorted(row["shape"] for row in found["params"])
    assert shapes == sorted("×".join(map(str, s)) for s in ((2, 3), (3,), (3, 2), (2,)))
    assert {row["dtype"] for row in found["params"]} == {"float32"}


@pytest.mark.parametrize(
    "case", [case for case, (_, _, options) in CASES.items() if set(options) <= {"step"}]
)
def test_analyses_take_every_file_as_it_is(case: str, tmp_path: Path, expected: Any) -> None:
    _, write, _ = CASES[case]
    path = write(tmp_path, network(1))
    checkpoint = load(path)
    assert checkpoint.path == path
    assert checkpoint.digest == tree_digest(tree(network(1)))
    result = loss_barrier(problem(), path, tree(network(2)), num_points=5)
    np.testing.assert_array_equal(result.losses["train"]["loss"], expected.losses["train"]["loss"])


SHARED = problem()  # one problem: its programs are compiled once for all formats
PLANE: dict[str, Any] = {"x": (-1, 1, 3), "y": (-1, 1, 3)}
FEW: dict[str, Any] = {"num_points": 3, "num_resamples": 20}


def numbers(given: Any) -> dict[str, np.ndarray]:
    """Return what every analysis says of a network, beside others, as plain numbers."""
    operator, other = landscape.hessian(SHARED, given), tree(network(2))
    curve = landscape.connect(SHARED, given, other, steps=3, train_batch_size=8, **FEW)
    half = curve.at(0.5)
    aligned = landscape.align(SHARED, other, given, restarts=1)
    measures = ("gaussian_relative", "sam", "fisher_rao")
    flatness = landscape.measure_flatness(SHARED, given, measures=measures, draws=2)
    found = {
        "eigenvalues": top_eigenpairs(operator, 2).eigenvalues,
        "trace": landscape.trace(operator, num_probes=4).value,
        "diagonal": landscape.diagonal(operator, num_probes=4).values,
        "density": landscape.spectral_density(operator, num_probes=2, num_steps=4).density,
        "gradient": operator.gradient(),
        "surface": landscape.loss_surface(SHARED, given, num_planes=1, **PLANE).losses["train"]["loss"],
        "line": landscape.loss_line(SHARED, given, x=(-1, 1, 3), num_lines=1).losses["train"]["loss"],
        "trajectory": landscape.trajectory(SHARED, [given, half, other], **PLANE).surface,
        "curve": curve.losses["train"]["loss"],
        "controls": curve.controls,
        "matrix": landscape.barrier_matrix(SHARED, [given, half, other], **FEW).losses["train"]["loss"],
        "flatness": [record["value"] for record in flatness.records],
        **{f"aligned {path}": leaf for path, leaf in by_path(aligned.params).items()},
    }
    return {name: np.asarray(value) for name, value in found.items()}


@pytest.fixture(scope="module")
def expected_numbers() -> dict[str, np.ndarray]:
    return numbers(tree(network(1)))


@pytest.mark.parametrize(
    "case", ["ours", *(case for case, (_, _, options) in CASES.items() if set(options) <= {"step"})]
)
def test_every_analysis_gives_equal_numbers_whatever_the_file(
    case: str, tmp_path: Path, expected_numbers: dict[str, np.ndarray]
) -> None:
    """To the bit: the same arrays meet the same programs. A path is loaded once here, not by each of them."""
    write = own if case == "ours" else CASES[case][1]
    found = numbers(load(write(tmp_path, network(1))))
    assert found.keys() == expected_numbers.keys()
    for name, values in expected_numbers.items():
        np.testing.assert_array_equal(found[name], values, err_msg=name)


def test_scale_curvature_is_the_same_from_a_file_as_from_the_checkpoint_itself(tmp_path: Path) -> None:
    std = {
        layer: {k: np.abs(v) + 0.1 for k, v in leaves.items()} for layer, leaves in tree(network(3)).items()
    }
    checkpoint = Checkpoint(params=tree(network(1)), std=std)
    given = (checkpoint, save(tmp_path / "net.h5", checkpoint))
    results = [landscape.scale_curvature(SHARED, item) for item in given]
    for field in ("rank", "linear"):
        values = [[record[field] for record in result.records] for result in results]
        assert values[0] == values[1]


PROBLEM = """
import jax.numpy as jnp, numpy as np
from landscape import Problem
RNG = np.random.default_rng(0)
X = RNG.normal(size=(16, 2)).astype(np.float32)
def loss(params, x):
    hidden = jnp.tanh(x @ params["fc1"]["kernel"] + params["fc1"]["bias"])
    return ((hidden @ params["fc2"]["kernel"] + params["fc2"]["bias"]) ** 2).sum(-1)
def make():
    return Problem(loss, train=X)
"""


def test_commands_take_files_of_other_tools(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Barrier, curvature and flatness of an Orbax folder, a safetensors file and a checkpoint of ours."""
    monkeypatch.chdir(tmp_path)  # names are relative to where the answer goes
    (tmp_path / "problem.py").write_text(PROBLEM)
    spec = f"{tmp_path / 'problem.py'}:make"
    paths = [write(tmp_path, network(1)) for write in (own, orbax_standard, one_file, npz)]
    other = save(tmp_path / "b.h5", Checkpoint(params=tree(network(2))))
    seen = []
    for path in paths:
        args = ["barrier", str(path), str(other), "--problem", spec, "--points", "3", "--json"]
        assert run(args) == 0
        data = json.loads(capsys.readouterr().out)["data"]
        assert data.pop("endpoints") == [path.name, "b.h5"]
        seen.append(json.dumps({k: v for k, v in data.items() if k not in ("names", "files")}))
    assert len({text.replace(str(path), "") for text, path in zip(seen, paths, strict=True)}) == 1
    assert run(["curvature", str(paths[1]), "--problem", spec, "--top", "1", "--json", "-q"]) == 0
    assert json.loads(capsys.readouterr().out)["status"] == "ok"


def test_analyses_take_a_step_of_a_managers_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "problem.py").write_text(PROBLEM)
    with ocp.CheckpointManager(tmp_path / "manager") as manager:
        for step in (1, 7):
            manager.save(step, args=ocp.args.StandardSave(state(network(step))))
    other = save(tmp_path / "b.h5", Checkpoint(params=tree(network(7))))
    shared = ["--problem", f"{tmp_path / 'problem.py'}:make", "--json", "-q"]
    args = ["barrier", str(tmp_path / "manager"), str(other), "--points", "3", *shared]
    assert run([*args, "--step", "7"]) == 0
    assert json.loads(capsys.readouterr().out)["data"]["barrier_above_chord"] == 0  # the same network
    assert run([*args, "--step", "1"]) == 0
    assert not json.loads(capsys.readouterr().out)["data"]["identical"]
    assert run(args) == 3
    assert "1, 7" in json.loads(capsys.readouterr().out)["error"]["got"]
    assert run([*args, "--step", "3"]) == 3
    assert "no step 3" in json.loads(capsys.readouterr().out)["error"]["what"]
    again = ["curvature", str(tmp_path / "manager"), "--step", "1", "--top", "1", *shared]
    assert run(again) == 0
    assert json.loads(capsys.readouterr().out)["status"] == "ok"


def test_results_say_from_which_file_of_another_tool_they_are(tmp_path: Path) -> None:
    path, ours = orbax_standard(tmp_path, network(1)), own(tmp_path, network(1))
    results = [top_eigenpairs(hessian(problem(), given), 1, seed=0) for given in (path, ours)]
    np.testing.assert_array_equal(results[0].eigenvalues, results[1].eigenvalues)
    source = {
        "name": "standard",
        "format": "orbax",
        "params": "params",
        "left_out": ["opt_state", "step"],
    }
    assert results[0].provenance["read_from"] == {"params": source}
    assert results[0].provenance["digests"] == results[1].provenance["digests"]
    assert "read_from" not in results[1].provenance
    barrier = loss_barrier(problem(), ours, path, num_points=3)
    assert barrier.provenance["read_from"] == {"b": source}
    assert load_result(barrier.save(tmp_path / "r.h5")).provenance == barrier.provenance
    table = curvature_table(problem(), [ours, path], k=1, trace=False)
    assert table.provenance["read_from"] == {"network 2": source}
    assert "standard (orbax)" in repr(load(path))


@pytest.mark.parametrize("case", [case for case in CASES if not case.startswith(("HDF5", "Keras"))])
def test_info_reads_no_array(case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kind, write, options = CASES[case]
    path = write(tmp_path, network(1))

    def read(*_: Any) -> Any:
        raise AssertionError("an array was read")

    monkeypatch.setattr(f"landscape.files.formats.{kind}.arrays", read)
    assert describe(path, step=options.get("step"))["parameters"] == 17


SHARDED = """
import sys, jax, numpy as np, orbax.checkpoint as ocp
from jax.sharding import Mesh, NamedSharding, PartitionSpec as P
mesh = Mesh(np.array(jax.devices()).reshape(2, 2), ("x", "y"))
array = np.arange(64, dtype=np.float32).reshape(8, 8)
place = lambda x, *axes: jax.device_put(x, NamedSharding(mesh, P(*axes)))
tree = {"w": place(array, "x", "y"), "b": place(array[0])}
with ocp.StandardCheckpointer() as saver:
    saver.save(sys.argv[1], {"params": tree})
"""


def test_arrays_that_lay_on_several_devices_are_read_whole(tmp_path: Path) -> None:
    env = {**os.environ, "XLA_FLAGS": "--xla_force_host_platform_device_count=4", "JAX_PLATFORMS": "cpu"}
    subprocess.run(
        [sys.executable, "-c", SHARDED, str(tmp_path / "a")], env=env, check=True, capture_output=True
    )
    found, array = load(tmp_path / "a").params, np.arange(64, dtype=np.float32).reshape(8, 8)
    np.testing.assert_array_equal(found["w"], array)
    np.testing.assert_array_equal(found["b"], array[0])


def test_one_array_is_a_whole_tree(tmp_path: Path) -> None:
    vector = np.arange(4, dtype=np.float32)
    np.save(tmp_path / "a.npy", vector)
    np.testing.assert_array_equal(load(tmp_path / "a.npy").params, vector)
    assert describe(tmp_path / "a.npy")["parameters"] == 4
    assert by_path(load(tmp_path / "a.npy").params).keys() == {""}
