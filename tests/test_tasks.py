"""Built-in tasks: data that are checked, networks that are what they are called."""

from __future__ import annotations

import gzip
import hashlib
import http.client
import io
import lzma
import struct
import urllib.request
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from landscape import Checkpoint
from landscape.errors import ArchitectureMismatchError, ConfigurationError, DataError
from landscape.problem.tasks import problem_of
from landscape.trees import Layout
from trainers import tasks
from trainers.tasks import datasets, load_task
from trainers.tasks.datasets import cache_folder, load_dataset
from trainers.tasks.idx import read_idx
from trainers.tasks.networks import build, initialise, validate_network
from trainers.tasks.population import mlp_population_loss
from trainers.tasks.population_cnn import cnn_population_loss

IMAGES = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)


def idx(array: np.ndarray) -> bytes:
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()


@pytest.mark.parametrize(("suffix", "pack"), [("", bytes), (".gz", gzip.compress), (".xz", lzma.compress)])
def test_idx_files_are_read_whatever_their_compression(suffix: str, pack: Any, tmp_path: Path) -> None:
    path = tmp_path / f"images{suffix}"
    path.write_bytes(pack(idx(IMAGES)))
    np.testing.assert_array_equal(read_idx(path, (2, 3, 4)), IMAGES)


DAMAGE = {
    "short": idx(IMAGES)[:-1],
    "long": idx(IMAGES) + b"\0",
    "other shape": idx(IMAGES.reshape(3, 2, 4)),
    "other kind": b"\0\0\x0d\x03" + idx(IMAGES)[4:],
    "html": b"<html>not found</html>",
    "empty": b"",
}


@pytest.mark.faults
@pytest.mark.parametrize("name", DAMAGE)
@pytest.mark.parametrize("suffix", ["", ".gz", ".xz"])
def test_a_damaged_file_is_refused_and_left_alone(name: str, suffix: str, tmp_path: Path) -> None:
    """Faults 20 and 34."""
    pack = {"": bytes, ".gz": gzip.compress, ".xz": lzma.compress}[suffix]
    path = tmp_path / f"images{suffix}"
    path.write_bytes(pack(DAMAGE[name]))
    with pytest.raises(DataError, match="images") as refusal:
        read_idx(path, (2, 3, 4))
    assert "left as it is" in str(refusal.value)
    assert path.exists()


@pytest.mark.faults
def test_torn_streams_and_wrong_digests_are_refused(tmp_path: Path) -> None:
    """Fault 34."""
    for suffix, pack in ((".gz", gzip.compress), (".xz", lzma.compress)):
        path = tmp_path / f"torn{suffix}"
        path.write_bytes(pack(idx(np.zeros((2, 300, 4), np.uint8)))[:-9])
        with pytest.raises(DataError, match="cannot be read"):
            read_idx(path, (2, 300, 4))
    (tmp_path / "raw").write_bytes(idx(IMAGES))
    with pytest.raises(DataError, match="sha256"):
        read_idx(tmp_path / "raw", (2, 3, 4), "0" * 64)


@pytest.mark.faults
def test_a_decompression_bomb_is_read_only_as_far_as_the_header_promises(tmp_path: Path) -> None:
    path = tmp_path / "bomb.xz"
    path.write_bytes(lzma.compress(idx(IMAGES) + bytes(300 * 2**20), preset=0))
    with pytest.raises(DataError, match="more"):
        read_idx(path, (2, 3, 4))


def test_the_digits_are_in_the_package_with_fixed_splits() -> None:
    data = load_dataset("digits")
    sizes = {split: (inputs.shape, labels.shape) for split, (inputs, labels) in data.splits.items()}
    assert sizes == {
        "train": ((1257, 8, 8, 1), (1257,)),
        "validation": ((180, 8, 8, 1), (180,)),
        "test": ((360, 8, 8, 1), (360,)),
    }
    whole = np.concatenate([inputs.reshape(-1, 64) for inputs, _ in data.splits.values()])
    assert np.isclose(whole.min(), -0.1307 / 0.3081)
    assert np.isclose(whole.max(), (1 - 0.1307) / 0.3081)
    labels = np.concatenate([labels for _, labels in data.splits.values()])
    np.testing.assert_array_equal(np.bincount(labels), [178, 182, 177, 183, 181, 182, 181, 179, 174, 180])
    again = load_dataset("digits")
    np.testing.assert_array_equal(data.splits["test"][0], again.splits["test"][0])


@pytest.mark.faults
def test_missing_data_name_the_folder_to_fill(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LANDSCAPE_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("LANDSCAPE_DATA", raising=False)
    with pytest.raises(DataError) as refusal:
        load_dataset("mnist")
    message = str(refusal.value)
    assert str(tmp_path / "cache" / "mnist" / "train-images-idx3-ubyte.gz") in message
    assert "download=true" in message


def offline(*_: Any, **__: Any) -> Any:
    raise OSError("Network is unreachable")


@pytest.mark.faults
def test_a_download_without_network_names_the_folder_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LANDSCAPE_CACHE", str(tmp_path))
    monkeypatch.delenv("LANDSCAPE_DATA", raising=False)
    monkeypatch.setattr(urllib.request, "urlopen", offline)
    with pytest.raises(DataError, match=r"unreachable[\s\S]*Put the file there"):
        load_dataset("kmnist", download=True)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


@pytest.mark.faults
def test_a_download_is_published_only_if_its_checksum_is_right(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LANDSCAPE_CACHE", str(tmp_path))
    monkeypatch.delenv("LANDSCAPE_DATA", raising=False)
    wrong = gzip.compress(idx(np.zeros((60_000, 28, 28), np.uint8)))
    monkeypatch.setattr(urllib.request, "urlopen", lambda *_, **__: io.BytesIO(wrong))
    with pytest.raises(DataError, match="sha256"):
        load_dataset("mnist", download=True)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


@pytest.mark.faults
def test_a_failed_download_does_not_advise_to_allow_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LANDSCAPE_CACHE", str(tmp_path))
    monkeypatch.delenv("LANDSCAPE_DATA", raising=False)
    monkeypatch.setattr(urllib.request, "urlopen", offline)
    with pytest.raises(DataError, match="unreachable") as refusal:
        load_dataset("mnist", download=True)
    assert "download=true" not in str(refusal.value)
    assert "mnist/train-images-idx3-ubyte.gz" in str(refusal.value.hint)


@pytest.mark.faults
def test_a_download_that_breaks_off_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def torn(*_: Any, **__: Any) -> Any:
        raise http.client.IncompleteRead(b"", 5)

    monkeypatch.setenv("LANDSCAPE_CACHE", str(tmp_path))
    monkeypatch.delenv("LANDSCAPE_DATA", raising=False)
    monkeypatch.setattr(urllib.request, "urlopen", torn)
    with pytest.raises(DataError, match="no download"):
        load_dataset("mnist", download=True)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


@pytest.mark.faults
@pytest.mark.parametrize("asked", [True, False])
def test_row_34_training_images_of_kmnist_are_known_by_the_digest_of_their_gz(
    asked: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The right header and size is not enough, whether downloaded or given."""
    wrong = gzip.compress(idx(np.zeros((60_000, 28, 28), np.uint8)))
    monkeypatch.setenv("LANDSCAPE_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("LANDSCAPE_DATA", raising=False)
    opened: list[str] = []

    def answer(url: str, **_: Any) -> io.BytesIO:
        opened.append(url)
        return io.BytesIO(wrong)

    monkeypatch.setattr(urllib.request, "urlopen", answer)
    given = tmp_path / "train-images-idx3-ubyte.gz"
    if not asked:
        given.write_bytes(wrong)
    with pytest.raises(DataError, match="sha256 51467d22d8cc7292… of the file") as refusal:
        load_dataset("kmnist", folder=tmp_path, download=asked)
    left = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert left == ([] if asked else [given])
    assert ("Nothing was kept" if asked else "left as it is") in str(refusal.value)
    assert all(url.startswith("https://") for url in opened)
    assert len(opened) == asked


def test_a_file_is_compared_before_it_is_decompressed(tmp_path: Path) -> None:
    path = tmp_path / "images.gz"
    path.write_bytes(gzip.compress(idx(IMAGES)))
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    np.testing.assert_array_equal(read_idx(path, (2, 3, 4), sha256_file=digest), IMAGES)
    path.write_bytes(b"no gzip at all")
    with pytest.raises(DataError, match="of the file"):
        read_idx(path, (2, 3, 4), sha256_file=digest)
    with pytest.raises(DataError, match="cannot be read"):
        read_idx(tmp_path / "missing.gz", (2, 3, 4), sha256_file=digest)


@pytest.mark.faults
def test_a_named_folder_that_is_not_there_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LANDSCAPE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("LANDSCAPE_DATA", "/nowhere")
    with pytest.raises(DataError, match="LANDSCAPE_DATA=/nowhere is not a folder"):
        load_dataset("mnist")
    monkeypatch.setenv("LANDSCAPE_DATA", str(tmp_path))
    with pytest.raises(DataError) as refusal:
        load_dataset("mnist", folder=tmp_path / "gone")
    assert f"task_options.folder={tmp_path / 'gone'} is not a folder" in str(refusal.value)
    assert "LANDSCAPE_DATA=" not in str(refusal.value)
    assert str(tmp_path) in str(refusal.value.expected)


def test_the_cache_folder_follows_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LANDSCAPE_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "landscape"
    monkeypatch.setenv("LANDSCAPE_CACHE", str(tmp_path / "mine"))
    assert cache_folder() == tmp_path / "mine"


@pytest.mark.faults
def test_labels_out_of_range_are_refused() -> None:
    """Fault 20."""
    with pytest.raises(DataError, match="0 to 9"):
        datasets._example_pair(np.zeros((1, 2, 2), np.uint8), np.array([10], np.uint8), 255.0)


@pytest.mark.data
@pytest.mark.parametrize("name", ["mnist", "fashion_mnist"])
def test_real_data_sets_have_their_sizes_and_classes(name: str, data_folder: Path) -> None:
    data = load_dataset(name, folder=data_folder)
    assert [len(labels) for _, labels in data.splits.values()] == [55_000, 5_000, 10_000]
    assert data.splits["train"][0].shape[1:] == (28, 28, 1)
    assert set(np.unique(data.splits["test"][1])) == set(range(10))
    mean = float(data.splits["train"][0].mean() * 0.3081 + 0.1307)
    assert mean == pytest.approx({"mnist": 0.1307, "fashion_mnist": 0.286}[name], abs=2e-3)


@pytest.mark.data
@pytest.mark.faults
def test_the_training_images_of_kmnist_are_asked_for_by_name(
    data_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LANDSCAPE_CACHE", str(tmp_path))
    with pytest.raises(DataError, match=r"Kuzushiji-MNIST[\s\S]*train-images"):
        load_dataset("kmnist", folder=data_folder)


COUNTS = [
    ({"kind": "mlp", "widths": [32]}, (8, 8, 1), 64 * 32 + 32 * 10, 42),
    ({"kind": "mlp", "widths": []}, (8, 8, 1), 640, 10),
    ({"kind": "lenet-300-100"}, (28, 28, 1), 784 * 300 + 300 * 100 + 1000, 410),
    ({"kind": "paper-cnn"}, (28, 28, 1), 11_240, 34),
]


@pytest.mark.parametrize(("network", "shape", "kernels", "biases"), COUNTS)
def test_networks_have_their_published_sizes(network: Any, shape: Any, kernels: int, biases: int) -> None:
    layout = Layout.of(initialise(network, shape, 0))
    assert int(layout.prunable().sum()) == kernels
    assert layout.size == kernels + biases


def test_initialisation_is_the_published_one_and_follows_its_seed() -> None:
    network = {"kind": "mlp", "widths": [200, 50]}
    params = initialise(network, (8, 8, 1), 3)
    np.testing.assert_allclose(params["Dense_0"]["kernel"].std(), 1 / 8, rtol=0.03)
    assert (params["Dense_0"]["bias"] > 0).all()
    assert params["Dense_0"]["bias"].max() < 0.05
    assert params["Dense_1"]["bias"].any()
    assert not params["Dense_2"]["bias"].any()
    assert (
        Layout.of(params).flatten(params).tobytes()
        == Layout.of(params).flatten(initialise(network, (8, 8, 1), 3)).tobytes()
    )
    assert (params["Dense_0"]["kernel"] != initialise(network, (8, 8, 1), 4)["Dense_0"]["kernel"]).any()


@pytest.mark.parametrize(
    ("network", "message"),
    [
        ({"kind": "mpl"}, "did you mean mlp"),
        ({"kind": "mlp"}, "widths"),
        ({"kind": "mlp", "widths": [0]}, "positive"),
        ({"kind": "paper-cnn", "widths": [3]}, "unknown key"),
        ({}, "kind"),
    ],
)
def test_networks_that_cannot_be_built_are_refused(network: Any, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        validate_network(network)
    with pytest.raises(ConfigurationError, match=message):
        load_task("digits", network or {"kind": None})


@pytest.mark.faults
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"download": "no"}, "task_options.download: expected true or false, got 'no'"),
        ({"download": 1}, "task_options.download: expected true or false, got 1"),
        ({"folder": 3}, "task_options.folder: expected a non-empty string"),
        ({"dwnload": True}, "task_options.dwnload: unknown key; did you mean task_options.download"),
    ],
)
def test_row_31_options_of_a_task_are_checked_before_anything_is_fetched(
    options: Any, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(urllib.request, "urlopen", lambda *_, **__: pytest.fail("asked the network"))
    with pytest.raises(ConfigurationError, match=message):
        load_task("mnist", **options)


def test_a_folder_may_be_a_path() -> None:
    assert load_task("digits", folder=Path("anywhere"), download=False).name == "digits"


@pytest.mark.faults
def test_row_31_what_is_wrong_with_a_task_is_listed_at_once() -> None:
    with pytest.raises(ConfigurationError) as caught:
        load_task("mnist", {"kind": "mlp", "width": [3]}, download="yes", fodler="x")
    keys = [problem.split(":")[0] for problem in caught.value.problems]
    assert keys == ["task_options.download", "task_options.fodler", "network.width", "network.widths"]
    with pytest.raises(ConfigurationError, match="did you mean digits"):
        load_task("digit")


@pytest.mark.faults
def test_a_checkpoint_never_says_that_data_be_downloaded_or_where_they_lie(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    task = load_task("digits", {"kind": "mlp", "widths": [2]})
    options = {"download": True, "folder": "/etc", "network": {"kind": "paper-cnn"}}
    stored = {"name": "digits", "options": options}
    seen: list[dict[str, Any]] = []
    monkeypatch.setattr(tasks, "digits", lambda **given: seen.append(given))
    problem_of(Checkpoint(params=task.init(0), info={"task": stored, "network": dict(task.network)}))
    assert seen == [{"network": {"kind": "mlp", "widths": [2]}}]


@pytest.mark.faults
def test_parameters_of_another_network_are_refused_with_their_paths() -> None:
    """Faults 10 and 20."""
    task = load_task("digits", {"kind": "mlp", "widths": [8]})
    other = load_task("digits", {"kind": "mlp", "widths": [9]}).init(0)
    with pytest.raises(ArchitectureMismatchError, match="Dense_0/bias"):
        task.problem.evaluate(other)


def test_the_loss_is_the_cross_entropy_of_the_softmax() -> None:
    task = load_task("digits", {"kind": "mlp", "widths": [8]})
    params = task.init(0)
    inputs, labels = (np.asarray(leaf) for leaf in task.problem.arrays("test"))
    logits = np.asarray(task.apply(params, inputs), np.float64)
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    found = task.problem.per_example(params, "test")
    np.testing.assert_allclose(found["loss"], -np.log(probabilities[np.arange(360), labels]), rtol=1e-5)
    np.testing.assert_array_equal(found["accuracy"], logits.argmax(1) == labels)


def test_a_task_rebuilds_from_what_a_checkpoint_stores() -> None:
    task = load_task("digits", {"kind": "mlp", "widths": [5]})
    stored = task.problem.task
    assert stored == {"name": "digits", "options": {}, "network": {"kind": "mlp", "widths": [5]}}


@pytest.mark.parametrize("widths", [[32], [20, 10], []])
@pytest.mark.parametrize("members", [1, 7, 64])
def test_a_population_is_evaluated_like_its_members(widths: list[int], members: int) -> None:
    task = load_task("digits", {"kind": "mlp", "widths": widths})
    batch = jax.tree.map(lambda leaf: leaf[:100], task.problem.arrays("train"))
    population = jax.tree.map(
        lambda *leaves: jnp.stack(leaves), *[task.init(seed) for seed in range(members)]
    )
    found = mlp_population_loss(len(widths) + 1)(population, batch)
    expected = [float(task.problem.loss(task.init(seed), batch).mean()) for seed in range(members)]
    np.testing.assert_allclose(found, expected, rtol=2e-6)


def test_pooling_before_the_rectifier_changes_nothing() -> None:
    module = build({"kind": "paper-cnn"})
    params = initialise({"kind": "paper-cnn"}, (28, 28, 1), 0)
    images = jnp.asarray(np.random.default_rng(0).normal(size=(4, 28, 28, 1)), jnp.float32)

    def published(x: jax.Array) -> jax.Array:
        for name in ("Conv_0", "Conv_1"):
            kernel = params[name]["kernel"]
            x = jax.lax.conv_general_dilated(
                x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
            )
            x = jax.nn.relu(x + params[name]["bias"])
            x = x.reshape(x.shape[0], x.shape[1] // 2, 2, x.shape[2] // 2, 2, -1).max((2, 4))
        return x.reshape(x.shape[0], -1) @ params["Dense_0"]["kernel"] + params["Dense_0"]["bias"]

    np.testing.assert_allclose(
        module.apply({"params": params}, images), published(images), rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize(("members", "count"), [(3, 5), (2, 131), (1, 64)])
def test_many_convolutional_networks_at_once_are_each_of_them_alone(members: int, count: int) -> None:
    """Tiles of images, ragged ones included, and pooling before bias and rectifier change nothing."""
    network = {"kind": "paper-cnn"}
    rng = np.random.default_rng(count)
    images = rng.normal(size=(count, 28, 28, 1)).astype(np.float32)
    labels = rng.integers(0, 10, count)
    alone = [initialise(network, (28, 28, 1), seed) for seed in range(members)]
    alone = [jax.tree.map(lambda x: x + rng.normal(size=x.shape).astype(np.float32) / 8, p) for p in alone]
    population = jax.tree.map(lambda *leaves: np.stack(leaves), *alone)
    found = cnn_population_loss(population, (images, labels))
    module = build(network)
    for value, params in zip(found, alone, strict=True):
        logits = module.apply({"params": params}, images)
        expected = -jnp.take_along_axis(jax.nn.log_softmax(logits), labels[:, None], axis=1).mean()
        assert float(value) == pytest.approx(float(expected), rel=2e-5)
