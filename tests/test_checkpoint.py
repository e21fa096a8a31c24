"""Checkpoints: what goes in comes out, and masks are kept."""

from __future__ import annotations

import subprocess
import sys
from collections import defaultdict, namedtuple
from pathlib import Path
from typing import Any

import h5py
import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, strategies as st

from landscape import Checkpoint, load, load_result, save
from landscape.errors import ArchitectureMismatchError, CheckpointError, InputError, MaskError, NonFiniteError
from landscape.files import compare, describe, verify
from landscape.files.hdf5 import reading, writing
from landscape.trees import (
    by_path,
    escape_key,
    fill,
    leaves_with_paths,
    nest,
    unescape_key,
)

Pair = namedtuple("Pair", "first second")
RNG = np.random.default_rng(0)

DTYPES = [
    np.bool_, np.int8, np.uint8, np.int32, np.int64, np.uint64, np.float16, np.float32, np.float64,
    ml_dtypes.bfloat16, ml_dtypes.float8_e4m3fn, ml_dtypes.float8_e5m2,
]  # fmt: skip


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: np.dtype(dtype).name)
@pytest.mark.parametrize("shape", [(), (0,), (3, 0), (5,), (2, 3, 4)], ids=str)
def test_every_dtype_and_shape_survives_to_the_bit(
    dtype: Any, shape: tuple[int, ...], tmp_path: Path
) -> None:
    array = np.asarray(RNG.integers(0, 2, shape) if dtype is np.bool_ else RNG.normal(size=shape) * 4).astype(
        dtype
    )
    masks = {"x": np.ones(shape, bool)}
    found = load(save(tmp_path / "a.h5", Checkpoint(params={"x": array}, mask=masks))).params["x"]
    assert found.dtype == np.dtype(dtype)
    assert found.shape == shape
    assert found.tobytes() == array.tobytes()


def test_big_endian_and_strided_arrays_are_stored_by_value(tmp_path: Path) -> None:
    array = np.arange(12.0).reshape(3, 4).T[::-1].astype(">f4")
    found = load(save(tmp_path / "a.h5", Checkpoint(params=array))).params
    np.testing.assert_array_equal(found, array)


@pytest.mark.parametrize("key", ["a/b", "..", ".", "", "[0]", "%", "%2F", "ä漢", "a b", "\n", "\x00"])
def test_odd_keys_survive(key: str, tmp_path: Path) -> None:
    found = load(save(tmp_path / "a.h5", Checkpoint(params={key: np.ones(2), "other": np.zeros(1)})))
    assert set(found.params) == {key, "other"}


@given(st.text(max_size=20), st.text(max_size=20))
def test_escaped_keys_are_unique_and_hold_no_separator(a: str, b: str) -> None:
    a, b = (text.encode("utf-8", "replace").decode() for text in (a, b))
    assert unescape_key(escape_key(a)) == a
    assert (escape_key(a) == escape_key(b)) == (a == b)
    assert "/" not in escape_key(a)
    assert escape_key(a) not in ("", ".", "..")


TREES = st.recursive(
    st.integers(0, 9).map(np.float32),
    lambda inner: (
        st.lists(inner, min_size=1, max_size=3)
        | st.dictionaries(st.text(max_size=4), inner, min_size=1, max_size=3)
    ),
    max_leaves=8,
)


@given(TREES)
def test_nesting_is_the_inverse_of_flattening(tree: Any) -> None:
    leaves = by_path(tree)
    assert by_path(nest(leaves)) == leaves
    assert by_path(fill(tree, leaves)) == leaves


def test_paths_come_in_the_order_of_jax() -> None:
    tree = {
        "b": [np.zeros(1), (np.zeros(2), Pair(np.zeros(3), None))],
        "a": {"z": np.zeros(4), "y": np.zeros(5)},
    }
    ours = [leaf.shape for _, leaf in leaves_with_paths(tree)]
    assert ours == [leaf.shape for leaf in jax.tree.leaves(tree)]


def test_the_structure_of_the_caller_is_restored_by_path(tmp_path: Path) -> None:
    params = {"layers": [Pair(np.ones(2), np.zeros(3)), (jnp.ones(1),)], "scale": jnp.float32(2.0)}
    path = save(
        tmp_path / "a.h5",
        Checkpoint(params=params, mask=jax.tree.map(lambda x: np.ones(np.shape(x), bool), params)),
    )
    assert isinstance(load(path).params["layers"], list)
    found = load(path, like=params)
    assert jax.tree.structure(found.params) == jax.tree.structure(params)
    assert isinstance(found.mask["layers"][0], Pair)
    with pytest.raises(ArchitectureMismatchError, match="scale"):
        load(path, like={"layers": params["layers"]})


EMPTY = [
    [{"w": np.ones(2)}, (), {"w": np.zeros(3)}, ()],
    [(), (np.ones(2), np.zeros(1)), (), (), (np.ones(3), None)],
    {"a": None, "b": {"c": {}, "d": np.ones(1)}, "e": []},
    Pair((), Pair(None, [None, np.ones(4)])),
    (None, {"x": np.ones(2)}),
]


@pytest.mark.parametrize("params", EMPTY, ids=["stax", "pairs", "dicts", "named", "first"])
def test_layers_without_parameters_are_restored(params: Any, tmp_path: Path) -> None:
    mask = jax.tree.map(lambda x: np.ones(x.shape, bool), params)
    path = save(tmp_path / "a.h5", Checkpoint(params=params, mask=mask, init=params))
    found = load(path, like=params)
    assert jax.tree.structure(found.params) == jax.tree.structure(params)
    assert jax.tree.structure(found.mask) == jax.tree.structure(params)
    assert found.digest == load(path).digest == Checkpoint(params=params).digest
    again = load(save(tmp_path / "b.h5", load(path)), like=params)
    assert jax.tree.structure(again.params) == jax.tree.structure(params)


def test_default_dictionaries_and_custom_nodes_are_restored(tmp_path: Path) -> None:
    params = {"a": defaultdict(list, {"w": np.ones(2)}), "b": jax.tree_util.Partial(max, np.zeros(3), ())}
    found = load(save(tmp_path / "a.h5", Checkpoint(params=params)), like=params)
    assert jax.tree.structure(found.params) == jax.tree.structure(params)


def test_keys_that_are_written_alike_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"layer/0: two leaves have this path"):
        save(tmp_path / "a.h5", Checkpoint(params={"layer": {0: np.ones(1), "0": np.zeros(1)}}))
    with pytest.raises(InputError, match="both written 'x'"):
        save(tmp_path / "a.h5", Checkpoint(params=np.ones(1), info={"level": {"x": 1, Text(): 2}}))
    with pytest.raises(InputError, match="not finite"):
        save(tmp_path / "a.h5", Checkpoint(params=np.ones(1), info={"level": {"$float": 2}}))
    with pytest.raises(InputError, match="Unicode"):
        save(tmp_path / "a.h5", Checkpoint(params={"\ud800": np.ones(1)}))
    with pytest.raises(CheckpointError, match="could not be written"):
        save(tmp_path / "a.h5", Checkpoint(params=np.ones(1), info={"name": "\ud800"}))
    assert not list(tmp_path.iterdir())


class Text:
    def __str__(self) -> str:
        return "x"


@pytest.mark.parametrize(
    "paths", [("a", "%61"), ("[00]",), ("a%2fb",), ("", "a"), ("a", "a/b"), ("a/b", "a"), ("[999999]",),
              ("/".join("a" * 80),), ("%FF",), ("[0]", "%5B0%5D")],
)  # fmt: skip
def test_paths_that_no_tree_has_are_not_nested(paths: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match=r"path|leaf|sequence|names"):
        nest(dict.fromkeys(paths, 1.0))


def test_everything_a_run_needs_is_stored(tmp_path: Path) -> None:
    tree = {"kernel": RNG.normal(size=(3, 2)).astype(np.float32)}
    checkpoint = Checkpoint(
        params=tree, std={"kernel": np.abs(tree["kernel"])}, init=tree, best=tree,
        batch_stats={"mean": np.ones(2)},
        history={"loss": np.arange(3.0)}, state={"step": np.int32(7), "leaves": [np.ones(1), np.zeros(2)]},
        info={"level": 3, "loss": float("nan"), "top": float("inf")}, config={"name": "run"},
    )  # fmt: skip
    found = load(save(tmp_path / "a.h5", checkpoint))
    assert found.info is not None
    assert found.info["level"] == 3
    assert np.isnan(found.info["loss"])
    assert found.info["top"] == float("inf")
    assert found.config == {"name": "run"}
    assert found.state["step"] == 7
    np.testing.assert_array_equal(found.history["loss"], [0, 1, 2])
    assert found.digest == checkpoint.digest


KERNEL = np.arange(6, dtype=np.float32).reshape(2, 3)
MASK = KERNEL > 2


@pytest.mark.faults
@pytest.mark.parametrize("name", ["params", "best", "std"])
def test_weights_that_are_not_zero_where_masked_are_refused_or_zeroed(name: str, tmp_path: Path) -> None:
    """Fault 14."""
    trees = {"params": {"kernel": KERNEL * MASK}, "mask": {"kernel": MASK}, name: {"kernel": KERNEL}}
    with pytest.raises(MaskError, match=rf"{name}: kernel: 2 entries"):
        save(tmp_path / "a.h5", Checkpoint(**trees))
    found = load(save(tmp_path / "a.h5", Checkpoint(**trees), apply_mask=True))
    np.testing.assert_array_equal(getattr(found, name)["kernel"], KERNEL * MASK)


@pytest.mark.faults
@pytest.mark.parametrize(
    ("mask", "message"),
    [
        ({"kernel": MASK, "bias": MASK}, "bias"),
        ({"other": MASK}, "other|kernel"),
        ({"kernel": MASK.T}, r"\(3, 2\)"),
        ({"kernel": MASK * 0.5}, "other than 0 and 1"),
    ],
)
def test_a_mask_of_the_wrong_tree_shape_or_value_is_refused_with_its_path(
    mask: Any, message: str, tmp_path: Path
) -> None:
    """Fault 14."""
    with pytest.raises(MaskError, match=message):
        save(tmp_path / "a.h5", Checkpoint(params={"kernel": KERNEL * MASK}, mask=mask))


@pytest.mark.faults
def test_a_fully_masked_layer_is_a_warning_with_its_name(tmp_path: Path) -> None:
    """Fault 14."""
    trees = {"a": KERNEL * 0, "b": KERNEL}
    mask = {"a": np.zeros((2, 3)), "b": np.ones((2, 3))}
    found = load(save(tmp_path / "a.h5", Checkpoint(params=trees, mask=mask)))
    assert found.warnings == ("nothing is left of a",)
    assert found.density == 0.5


@pytest.mark.faults
def test_weights_that_are_not_finite_load_and_are_refused_on_request(tmp_path: Path) -> None:
    """Fault 12."""
    path = save(tmp_path / "a.h5", Checkpoint(params={"w": np.array([1.0, np.nan, np.inf])}))
    assert load(path).num_params == 3
    with pytest.raises(NonFiniteError, match=r"2 weights[\s\S]*w"):
        load(path, allow_nonfinite=False)


def test_masks_are_small_on_disk(tmp_path: Path) -> None:
    mask = {"kernel": RNG.random((300, 300)) < 0.02}
    params = {"kernel": RNG.normal(size=(300, 300)).astype(np.float32) * mask["kernel"]}
    sparse = save(tmp_path / "sparse.h5", Checkpoint(params=params, mask=mask)).stat().st_size
    assert sparse < 0.25 * params["kernel"].nbytes


def test_an_almost_empty_network_much_larger_than_its_file_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "SMALL_BYTES", 2**20)
    monkeypatch.setattr(writing, "MAX_STREAMED_CHUNK", 2**20)
    params = {"w": np.zeros((300, 2**14), np.float32), "wide": np.zeros((1, 2**18 + 1), np.float32)}
    params["w"][7, 5] = 1.5
    mask = {name: leaf != 0 for name, leaf in params.items()}
    path = save(tmp_path / "a.h5", Checkpoint(params={"w": params["w"]}, mask={"w": mask["w"]}))
    assert 100 * path.stat().st_size < params["w"].nbytes
    np.testing.assert_array_equal(load(path).params["w"], params["w"])
    path = save(tmp_path / "b.h5", Checkpoint(params=params, mask=mask))
    assert load(path).params["wide"].shape == (1, 2**18 + 1)
    with h5py.File(path) as file:
        assert file["params/wide"].chunks is None  # a row too long for a chunk
        assert file["params/w"].chunks is not None


def test_a_checkpoint_shows_itself_and_escapes_what_files_say(tmp_path: Path) -> None:
    found = load(save(tmp_path / "a.h5", Checkpoint(params={"w": KERNEL}, info={"method": "<b>es</b>"})))
    assert "6 in 1 arrays" in repr(found)
    assert len(repr(found).splitlines()) <= 13
    assert "<b>es</b>" not in found._repr_html_()


def test_reading_imports_no_jax(tmp_path: Path) -> None:
    path = save(tmp_path / "a.h5", Checkpoint(params={"w": KERNEL}))
    code = f"import sys, landscape; landscape.load({str(path)!r}); assert 'jax' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_checkpoint_is_not_a_result_and_says_so(tmp_path: Path) -> None:
    path = save(tmp_path / "a.h5", Checkpoint(params={"w": KERNEL}))
    with pytest.raises(CheckpointError, match=r"is a checkpoint[\s\S]*a result"):
        load_result(path)


def test_describe_says_what_is_in_a_file(tmp_path: Path) -> None:
    mask = {"w": MASK}
    path = save(
        tmp_path / "a.h5", Checkpoint(params={"w": KERNEL * MASK}, mask=mask, info={"method": "es-snr"})
    )
    found = describe(path)
    assert found["parameters"] == 6
    assert found["remaining"] == 3
    assert found["method"] == "es-snr"
    assert found["params"] == [{"name": "w", "shape": "2×3", "dtype": "float32", "count": 6, "remaining": 3}]
    with pytest.raises(CheckpointError, match=r"without run\.toml"):
        describe(tmp_path)


def test_compare_finds_equal_files_equal_and_names_what_differs(tmp_path: Path) -> None:
    one = save(tmp_path / "a.h5", Checkpoint(params={"w": KERNEL, "b": np.ones(2)}, info={"level": 0}))
    same = save(tmp_path / "b.h5", Checkpoint(params={"w": KERNEL, "b": np.ones(2)}, info={"level": 0}))
    other = save(
        tmp_path / "c.h5",
        Checkpoint(params={"w": KERNEL + np.array([0, 0, 0.5]), "b": np.ones(3)}, info={"level": 1}),
    )
    assert compare(one, same)["equal"]
    found = compare(one, other)
    assert not found["equal"]
    assert not found["same_architecture"]
    assert found["metadata that differs"] == ["info"]
    assert {row["path"]: row["what"] for row in found["differences"]} == {
        "params/b": "shape [2] against [3]",
        "params/w": "dtype float32 against float64",
    }


def test_verify_names_every_damaged_file_of_a_folder(tmp_path: Path) -> None:
    for name in ("a.h5", "b.h5", "c.h5"):
        save(tmp_path / name, Checkpoint(params={"w": KERNEL}))
    assert verify(tmp_path)["files"] == 3
    with h5py.File(tmp_path / "b.h5", "r+") as file:
        file["params/w"][0, 0] = 5.0
    with pytest.raises(CheckpointError, match=r"1 of 3[\s\S]*b\.h5"):
        verify(tmp_path)
    with pytest.raises(CheckpointError, match="digest"):
        verify(tmp_path / "b.h5")
