"""PyTorch's files: what torch itself wrote (``tests/data/torch``), and what only looks like it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
import torch_files as t
from flax import linen as nn

from landscape import load
from landscape.errors import CheckpointError, InputError
from landscape.files import describe, read_foreign

DATA = Path(__file__).parent / "data" / "torch"
BASE = np.arange(12, dtype=np.float32).reshape(3, 4) * 0.5 - 1
RAMP = np.arange(4, dtype=np.float32) * 0.5 - 1
WEIGHTS = {
    "tied_a": BASE,
    "tied_b": BASE,
    "transposed": BASE.T,
    "row": BASE[1],
    "strided": BASE[:, ::2],
    "expanded": np.full(3, -1, np.float32),
    "half": RAMP.astype(np.float16),
    "bfloat": RAMP.astype(ml_dtypes.bfloat16),
    "double": RAMP[:2].astype(np.float64),
    "boolean": np.array([True, False]),
    "int64": np.arange(3),
    "uint8": np.arange(3, dtype=np.uint8),
    "float8": RAMP.astype(ml_dtypes.float8_e4m3fn),
    "uint16": np.arange(3, dtype=np.uint16),
    "parameter": np.array([-1, 1], np.float32),
    "scalar": np.float32(2.5),
    "empty": np.zeros((0, 3), np.float32),
}


def test_a_train_state_of_torch_is_read_tensor_for_tensor() -> None:
    """Views, strides, shared storages and every type; what beside the weights is there is named."""
    found = read_foreign(DATA / "train_state.pt", names={"complex": False})
    assert found.params.keys() == WEIGHTS.keys()
    for name, expected in WEIGHTS.items():
        assert found.params[name].dtype == expected.dtype, name
        np.testing.assert_array_equal(found.params[name], expected, err_msg=name)
    said = (found.info or {})["converted_from"]
    assert said["format"] == "torch"
    assert said["params"] == "model_state_dict"
    assert set(said["left_out"]) >= {"epoch", "loss", "name", "optimizer_state_dict"}
    assert "left out: " in found.warnings[0]


def test_complex_weights_are_refused_by_name_unless_they_are_left_out() -> None:
    with pytest.raises(CheckpointError, match=r"complex holds complex numbers[\s\S]*\"complex\" = false"):
        read_foreign(DATA / "train_state.pt")


def test_arrays_of_an_optimiser_can_be_read_where_they_are_named() -> None:
    found = read_foreign(DATA / "train_state.pt", params="optimizer_state_dict/state/0")
    assert found.params.keys() == {"step", "exp_avg", "exp_avg_sq"}
    np.testing.assert_allclose(found.params["exp_avg"], np.full((3, 2), 0.1), rtol=1e-6)


def test_info_shows_the_types_of_torch() -> None:
    found = describe(DATA / "train_state.pt")
    rows = {row["name"]: (row["shape"], row["dtype"]) for row in found["params"]}
    assert rows["bfloat"] == ("4", "bfloat16")
    assert rows["float8"] == ("4", "float8_e4m3fn")
    assert rows["empty"] == ("0×3", "float32")
    assert rows["complex"] == ("1", "complex64")


@pytest.mark.faults
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("whole_module.pt", r"asks for torch\.nn\.modules\.container\.Sequential[\s\S]*state_dict\(\)"),
        ("legacy.pt", r"PyTorch before 1\.6[\s\S]*unpickling[\s\S]*save it again"),
    ],
)
def test_row_38_what_torch_needs_code_for_is_refused_by_what_it_asks_for(name: str, expected: str) -> None:
    with pytest.raises(CheckpointError, match=expected):
        load(DATA / name)


class Net(nn.Module):
    """The network of ``make_files.py`` in Flax."""

    @nn.compact
    def __call__(self, image: Any, tokens: Any) -> Any:
        x = nn.Conv(3, (3, 2), padding="VALID", name="conv")(image.transpose(0, 2, 3, 1))
        x = nn.BatchNorm(use_running_average=True, epsilon=1e-5, name="norm")(x)
        seen = nn.relu(x).mean((1, 2))
        read = nn.Conv(3, (2,), padding="VALID", name="conv1d")(nn.Embed(5, 4, name="embedding")(tokens))
        return nn.Dense(2, name="Dense_0")(jnp.concatenate([seen, read.mean(1)], 1))


def test_transposed_weights_make_the_same_outputs_in_flax() -> None:
    """Linear, convolutions of one and two axes, an embedding, a normalisation: torch's own numbers."""
    net = read_foreign(DATA / "network.pt", transpose="torch", names={"head": "Dense_0"})
    whole = read_foreign(DATA / "network.pt", params=".").params
    outputs = Net().apply(
        {"params": net.params, "batch_stats": net.batch_stats},
        whole["image"],
        whole["tokens"].astype(np.int32),
    )
    np.testing.assert_allclose(np.asarray(outputs), whole["output"], rtol=1e-5, atol=1e-6)
    assert net.params["conv"]["kernel"].shape == (3, 2, 2, 3)
    assert net.batch_stats.keys() == {"norm"}
    assert (net.info or {})["converted_from"]["transposed"] == "torch"


def test_without_transpose_every_axis_stays() -> None:
    found = read_foreign(DATA / "network.pt").params
    assert found["conv"]["weight"].shape == (3, 2, 3, 2)
    assert found["norm"].keys() >= {"weight", "bias", "running_mean"}


def test_transposed_convolutions_are_refused(tmp_path: Path) -> None:
    path = t.state_dict(tmp_path / "a.pt", {"up.deconv.weight": np.ones((2, 3, 4, 4), np.float32)})
    with pytest.raises(InputError, match="transposed convolution"):
        read_foreign(path, transpose="torch")


def test_files_written_by_hand_are_read_as_torch_s_own(tmp_path: Path) -> None:
    """The hostile samples are made of the same parts as what is read."""
    arrays = {"fc1.weight": BASE, "fc1.bias": RAMP[:3], "flags": np.array([True, False])}
    found = load(t.state_dict(tmp_path / "a.pt", arrays)).params
    np.testing.assert_array_equal(found["fc1"]["weight"], BASE)
    np.testing.assert_array_equal(found["flags"], arrays["flags"])


def test_big_endian_storages_are_read(tmp_path: Path) -> None:
    made = t.ordered({"w": t.parameter(t.tensor(t.storage("0", "float32", 4), [4]))})
    path = t.archive(tmp_path / "a.pt", made, {"0": RAMP.astype(">f4").tobytes()}, order="big")
    np.testing.assert_array_equal(load(path).params["w"], RAMP)


def test_names_of_which_one_lies_inside_another_stay_whole(tmp_path: Path) -> None:
    path = t.state_dict(tmp_path / "a.pt", {"a": BASE, "a.b": RAMP, "c.d": RAMP})
    found = load(path).params
    assert found.keys() == {"a", "a.b", "c"}


def test_a_layer_called_model_keeps_the_layers_beside_it(tmp_path: Path) -> None:
    """Language models have ``model.…`` and ``lm_head.weight``: nothing is left out there."""
    path = t.state_dict(tmp_path / "a.pt", {"model.layer.weight": BASE, "lm_head.weight": BASE})
    assert load(path).params.keys() == {"model", "lm_head"}
    saved = {"model": t.ordered({"w": t.tensor(t.storage("0", "float32", 4), [4])}), "epoch": t.number(3)}
    path = t.archive(tmp_path / "b.pt", t.ordered(saved), {"0": RAMP.tobytes()})
    assert load(path).params.keys() == {"w"}
