"""Renormalisation on paths (REPAIR): closed forms, statistics of units, what cannot be renormalised."""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from landscape import Checkpoint, Problem, barrier_matrix, flax_statistics, loss_barrier, save
from landscape.connectivity.endpoints import make_pair
from landscape.connectivity.line import Line, Plan, _Evaluator
from landscape.connectivity.renormalisation import Renormaliser, layers_of
from landscape.errors import ConfigurationError, ProblemError

RNG = np.random.default_rng(0)
X = RNG.normal(size=(64, 4)).astype(np.float32)
Y = RNG.integers(0, 3, size=64)
IMAGES = RNG.normal(size=(40, 6, 6, 1)).astype(np.float32)
POINTS = {"num_points": 3, "num_resamples": 20, "refine": False}


def cross_entropy(logits: Any, labels: Any) -> jax.Array:
    return -jnp.take_along_axis(jax.nn.log_softmax(logits), labels[:, None], 1)[:, 0]


def perceptron(params: Any, x: Any, keep: list[Any] | None = None) -> Any:
    """Two hidden layers; their pre-activations go to `keep`."""
    for name in ("first", "second"):
        x = x @ params[name]["kernel"] + params[name]["bias"]
        if keep is not None:
            keep.append(x)
        x = jax.nn.relu(x)
    return x @ params["out"]["kernel"] + params["out"]["bias"]


def drawn(seed: int, sizes: dict[str, tuple[int, int]]) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    return {
        name: {
            "kernel": rng.normal(size=shape).astype(np.float32),
            "bias": rng.normal(size=shape[1:]).astype(np.float32),
        }
        for name, shape in sizes.items()
    }


SIZES = {"first": (4, 7), "second": (7, 5), "out": (5, 3)}


def classify(**more: Any) -> Problem:
    return Problem(lambda p, batch: cross_entropy(perceptron(p, batch[0]), batch[1]), train=(X, Y), **more)


def networks_at(problem: Problem, a: Any, b: Any, alphas: Any, **settings: Any) -> list[Any]:
    """The renormalised networks of a path."""
    chosen = {"batch_size": None, "dtype": None, "batch_stats": "recompute", **settings}
    plan = Plan(
        split="train", splits=("train",), alphas=np.array([0.0, 1.0]), refine=False, allow_nonfinite=False,
        repair=True, **chosen,
    )  # fmt: skip
    pair = make_pair((a, b), names=None, problem=problem, allow_nonfinite=False)
    maker = Renormaliser(
        problem, pair.a.params, pair.a.batch_stats, batch_size=chosen["batch_size"], dtype=chosen["dtype"]
    )
    run = _Evaluator(problem, pair, plan, renormaliser=maker)
    return [jax.tree.map(np.asarray, run.point(alpha)) for alpha in alphas]


def moments_of(params: Any) -> list[tuple[np.ndarray, np.ndarray]]:
    kept: list[Any] = []
    perceptron(jax.tree.map(lambda x: np.asarray(x, np.float64), params), X.astype(np.float64), kept)
    return [(np.mean(z, 0), np.std(z, 0)) for z in map(np.asarray, kept)]


@pytest.mark.parametrize("batch_size", [None, 24])
def test_hidden_units_have_the_interpolated_mean_and_standard_deviation(batch_size: int | None) -> None:
    a, b = drawn(0, SIZES), drawn(1, SIZES)
    ends = [moments_of(a), moments_of(b)]
    alphas = (0.2, 0.5)
    for alpha, found in zip(
        alphas, networks_at(classify(), a, b, alphas, batch_size=batch_size), strict=True
    ):
        for layer, (mean, spread) in enumerate(moments_of(found)):
            wanted = [(1 - alpha) * ends[0][layer][i] + alpha * ends[1][layer][i] for i in (0, 1)]
            np.testing.assert_allclose(mean, wanted[0], rtol=1e-5, atol=1e-5)
            np.testing.assert_allclose(spread, wanted[1], rtol=1e-5)
        for name in ("kernel", "bias"):  # the output layer is none of the hidden ones
            line = np.asarray(Line(a, b, None)(alpha)["out"][name])
            np.testing.assert_array_equal(found["out"][name], line)


def test_the_ends_of_a_renormalised_path_are_the_networks_to_the_bit() -> None:
    a, b = drawn(0, SIZES), drawn(1, SIZES)
    for end, found in zip((a, b), networks_at(classify(), a, b, (0.0, 1.0)), strict=True):
        jax.tree.map(np.testing.assert_array_equal, found, end)
    plain, mended = (loss_barrier(classify(), a, b, **POINTS, repair=repair) for repair in (False, True))
    ours, theirs = (found.losses["train"]["loss"] for found in (plain, mended))
    np.testing.assert_array_equal(ours[[0, -1]], theirs[[0, -1]])
    assert ours[1] != theirs[1]


def test_a_deep_linear_network_and_its_copy_of_other_sign_have_the_known_loss_half_way() -> None:
    """z = w·x + c and −z: half way the unit is the constant 0, and after renormalisation still is no line.

    Of w and w' = −w/2 the middle is w/4, rescaled to the standard deviation ¾·|w|·σ(x): three times itself.
    """

    def loss(params: Any, batch: Any) -> jax.Array:
        hidden = batch @ params["first"]["kernel"] + params["first"]["bias"]
        return (hidden @ params["out"]["kernel"])[:, 0]

    x = np.array([[0.0], [1.0], [2.0], [5.0]], np.float32)  # mean 2
    one = {"first": {"kernel": [[4.0]], "bias": [1.0]}, "out": {"kernel": [[1.0]]}}
    other = {"first": {"kernel": [[-2.0]], "bias": [3.0]}, "out": {"kernel": [[1.0]]}}
    a, b = (
        jax.tree.map(lambda v: np.asarray(v, np.float32), p, is_leaf=lambda v: isinstance(v, list))
        for p in (one, other)
    )
    (found,) = networks_at(Problem(loss, train=x), a, b, (0.5,))
    # Kernel (4 − 2)/2 = 1; wanted spread (4 + 2)/2 = 3 of σ(x); wanted mean (9 − 1)/2 = 4 = 3·2 + bias.
    np.testing.assert_allclose(found["first"]["kernel"], [[3.0]], rtol=1e-6)
    np.testing.assert_allclose(found["first"]["bias"], [-2.0], rtol=1e-6)
    barrier = loss_barrier(Problem(loss, train=x), a, b, **POINTS, repair=True)
    np.testing.assert_allclose(barrier.losses["train"]["loss"], [9.0, 4.0, -1.0], rtol=1e-6)


def teacher(seed: int, width: int = 64) -> dict[str, Any]:
    """A wide network of random rectified units, whose output is an estimate of one function of x."""
    rng = np.random.default_rng(seed)
    kernel = rng.normal(size=(4, width)).astype(np.float32)
    return {
        "first": {"kernel": kernel, "bias": np.zeros(width, np.float32)},
        "out": {"kernel": np.full((width, 1), 1 / width, np.float32)},
    }


def test_a_collapse_of_variance_is_undone() -> None:
    """Sums of different random units lose a factor √2 half way; renormalised ones do not."""

    def loss(params: Any, batch: Any) -> jax.Array:
        hidden = jax.nn.relu(batch @ params["first"]["kernel"] + params["first"]["bias"])
        size = jnp.linalg.norm(batch, axis=1) / np.sqrt(2 * np.pi)  # E relu(w·x), w standard normal
        return ((hidden @ params["out"]["kernel"])[:, 0] - size) ** 2

    problem = Problem(loss, train=X)
    plain, mended = (
        loss_barrier(problem, teacher(0), teacher(1), **POINTS, repair=repair) for repair in (False, True)
    )
    assert plain.barrier_above_chord is not None
    assert mended.barrier_above_chord is not None
    assert plain.barrier_above_chord > 0.05
    assert mended.barrier_above_chord < 0.2 * plain.barrier_above_chord
    assert mended.config["repair"]
    assert not plain.config["repair"]
    assert mended.stats["renormalised"]["layers"] == ["first/bias"]
    assert dict(mended.rows())["renormalised"]
    assert "renormalised" not in dict(plain.rows())


class Convolutions(nn.Module):
    """A convolution, a rectifier, pooling, and two dense layers."""

    normalise: bool = False

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        for _ in range(2):
            x = nn.Conv(3, (3, 3), use_bias=not self.normalise)(x)
            if self.normalise:
                x = nn.BatchNorm(use_running_average=True)(x)
            x = nn.max_pool(nn.relu(x), (2, 2), (1, 1))
        x = x.reshape(x.shape[0], -1)
        if not self.normalise:
            x = nn.relu(nn.Dense(5)(x))
        return nn.Dense(3)(x)


def test_channels_of_a_convolution_are_renormalised_over_examples_and_places() -> None:
    model, labels = Convolutions(), Y[:40]
    problem = Problem(
        lambda p, b: cross_entropy(model.apply({"params": p}, b[0]), b[1]), train=(IMAGES, labels)
    )
    a, b = (model.init(jax.random.key(seed), IMAGES[:1])["params"] for seed in (0, 1))
    (found,) = networks_at(problem, a, b, (0.5,))
    seen = []
    for params in (a, b, found):
        _, state = model.apply({"params": params}, IMAGES, capture_intermediates=True)
        inside = state["intermediates"]
        seen.append([np.asarray(inside[n]["__call__"][0]) for n in ("Conv_0", "Conv_1", "Dense_0")])
    for first, last, middle in zip(*seen, strict=True):
        over = tuple(range(first.ndim - 1))
        for moment in (np.mean, np.std):
            wanted = (moment(first, over) + moment(last, over)) / 2
            np.testing.assert_allclose(moment(middle, over), wanted, rtol=2e-5, atol=2e-6)


def test_under_batch_normalisation_renormalisation_is_the_recomputation_of_statistics() -> None:
    model, labels = Convolutions(normalise=True), Y[:40]

    def loss(point: Any, batch: Any) -> jax.Array:
        return cross_entropy(model.apply({"params": point[0], "batch_stats": point[1]}, batch[0]), batch[1])

    problem = Problem(loss, train=(IMAGES, labels), update_stats=flax_statistics(model))
    given = [model.init(jax.random.key(seed), IMAGES[:1]) for seed in (0, 1)]
    ends = [(one["params"], one["batch_stats"]) for one in given]
    plain, mended = (loss_barrier(problem, *ends, **POINTS, repair=repair) for repair in (False, True))
    np.testing.assert_array_equal(plain.losses["train"]["loss"], mended.losses["train"]["loss"])
    assert mended.stats["renormalised"]["layers"] == []
    assert mended.stats["renormalised"]["recomputed_statistics"]
    with pytest.raises(ConfigurationError, match="keep"):
        loss_barrier(problem, *ends, **POINTS, repair=True, batch_stats="keep")


class Mixed(nn.Module):
    """A normalised layer, then a plain one."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = nn.relu(nn.BatchNorm(use_running_average=True)(nn.Dense(6)(x)))
        x = nn.relu(nn.Dense(5)(x))
        return nn.Dense(3)(x)


def test_plain_layers_behind_normalised_ones_are_renormalised_under_recomputed_statistics() -> None:
    model = Mixed()

    def loss(point: Any, batch: Any) -> jax.Array:
        return cross_entropy(model.apply({"params": point[0], "batch_stats": point[1]}, batch[0]), batch[1])

    problem = Problem(loss, train=(X, Y), update_stats=flax_statistics(model))
    given = [model.init(jax.random.key(seed), X[:1]) for seed in (0, 1)]
    ends = [(one["params"], one["batch_stats"]) for one in given]
    assert [layer.bias for layer in layers_of(problem, *ends[0])] == ["Dense_1/bias"]
    seen = []
    for params, stats in networks_at(problem, *ends, (0.0, 1.0, 0.5)):
        variables = {"params": params, "batch_stats": stats}
        _, state = model.apply(variables, X, capture_intermediates=True)
        seen.append(np.asarray(state["intermediates"]["Dense_1"]["__call__"][0]))
    for moment in (np.mean, np.std):
        first, last, middle = (moment(values, 0) for values in seen)
        np.testing.assert_allclose(middle, (first + last) / 2, rtol=2e-5, atol=2e-6)


def test_heads_of_attention_are_renormalised_unit_by_unit() -> None:
    model = nn.MultiHeadDotProductAttention(num_heads=2, qkv_features=4, out_features=4)
    tokens = RNG.normal(size=(10, 3, 4)).astype(np.float32)

    def loss(params: Any, batch: Any) -> jax.Array:
        mixed = model.apply({"params": params["mix"]}, batch, batch)
        return (mixed.reshape(len(batch), -1) @ params["out"])[:, 0]

    start = [model.init(jax.random.key(seed), tokens, tokens)["params"] for seed in (0, 1)]
    a, b = ({"mix": one, "out": RNG.normal(size=(12, 1)).astype(np.float32)} for one in start)
    problem = Problem(loss, train=tokens)
    found = [layer.bias for layer in layers_of(problem, a, None)]
    assert sorted(found) == [f"mix/{name}/bias" for name in ("key", "out", "query", "value")]
    (middle,) = networks_at(problem, a, b, (0.5,))
    values = [
        np.einsum("btd,dhk->bthk", tokens, np.asarray(p["mix"]["value"]["kernel"]))
        + np.asarray(p["mix"]["value"]["bias"])
        for p in (a, b, middle)
    ]
    for moment in (np.mean, np.std):
        first, last, inside = (moment(v, (0, 1)) for v in values)
        np.testing.assert_allclose(inside, (first + last) / 2, rtol=2e-5, atol=2e-6)


def test_units_without_spread_keep_their_scale_and_are_counted() -> None:
    a, b = drawn(0, SIZES), drawn(1, SIZES)
    for network, sign in ((a, 1), (b, -1)):
        network["first"]["kernel"][:, 0] = sign * np.arange(4)
    found = loss_barrier(classify(), a, b, **POINTS, repair=True)
    assert found.status == "ok"
    assert found.stats["renormalised"]["units_without_spread"] == 1


def test_float64_is_renormalised_in_float64() -> None:
    a, b = drawn(0, SIZES), drawn(1, SIZES)
    wide, narrow = (
        loss_barrier(classify(), a, b, **POINTS, repair=True, dtype=kind) for kind in ("float64", "float32")
    )
    np.testing.assert_allclose(wide.losses["train"]["loss"], narrow.losses["train"]["loss"], rtol=1e-5)
    assert wide.losses["train"]["loss"][1] != narrow.losses["train"]["loss"][1]


def test_a_renormalised_matrix_equals_its_pairs_to_the_bit(tmp_path: Any) -> None:
    networks = [drawn(seed, SIZES) for seed in range(3)]
    matrix = barrier_matrix(
        classify(), networks, num_points=3, num_resamples=20, repair=True, resume=tmp_path
    )
    for position, (i, j) in enumerate(matrix.pairs):
        pair = loss_barrier(classify(), networks[i], networks[j], **POINTS, repair=True)
        np.testing.assert_array_equal(matrix.losses["train"]["loss"][position], pair.losses["train"]["loss"])
    assert matrix.config["repair"]
    assert matrix.stats["renormalised"]["layers"] == ["first/bias", "second/bias"]


def entrywise(params: Any, x: Any) -> Any:
    return ((x[:, :, None] * params["first"]["kernel"]).sum(1) + params["first"]["bias"]) @ params["out"][
        "kernel"
    ]


def without_bias(params: Any, x: Any) -> Any:
    return jax.nn.relu(x @ params["first"]["kernel"]) @ params["out"]["kernel"]


def shared(params: Any, x: Any) -> Any:
    for _ in range(2):
        x = jax.nn.relu(x @ params["square"]["kernel"] + params["square"]["bias"])
    return x @ params["out"]["kernel"]


def standardised(params: Any, x: Any) -> Any:
    kernel = params["first"]["kernel"]
    return (
        jax.nn.relu(x @ (kernel / jnp.linalg.norm(kernel)) + params["first"]["bias"])
        @ params["out"]["kernel"]
    )


def looped(params: Any, x: Any) -> Any:
    def step(value: Any, layer: Any) -> Any:
        return jax.nn.relu(value @ layer["kernel"] + layer["bias"]), None

    stacked = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), params["square"])
    return jax.lax.scan(step, x, stacked)[0] @ params["out"]["kernel"]


def one_layer(params: Any, x: Any) -> Any:
    return x @ params["first"]["kernel"] + params["first"]["bias"]


REFUSED = {"first": (4, 3), "square": (4, 4), "out": (3, 3)}


@pytest.mark.faults
@pytest.mark.parametrize(
    ("function", "said"),
    [
        (without_bias, "first/kernel: its units have no bias"),
        (shared, "square/kernel: stands at several places"),
        (standardised, "first/kernel: is changed before it meets the data"),
        (looped, "square/kernel: enters a loop"),
        (entrywise, "first/kernel: is multiplied with the data entry by entry"),
        (one_layer, "no hidden layer"),
    ],
)
def test_what_cannot_be_renormalised_is_refused_by_name(function: Any, said: str) -> None:
    sizes = REFUSED if function not in (shared, looped) else {**REFUSED, "out": (4, 3)}
    problem = Problem(lambda p, b: cross_entropy(function(p, b[0]), b[1]), train=(X, Y))
    with pytest.raises(ProblemError, match=said):
        loss_barrier(problem, drawn(0, sizes), drawn(1, sizes), **POINTS, repair=True)


def test_the_command_renormalises_and_says_so(tmp_path: Any, capsys: Any) -> None:
    from cli.main import run
    from landscape import load_result
    from trainers.tasks import load_task

    network = {"kind": "mlp", "widths": [2]}
    task = load_task("digits", network)
    info = {"task": {"name": "digits", "options": {}}, "network": network}
    paths = [
        str(save(tmp_path / f"{seed}.h5", Checkpoint(params=task.init(seed), info=info))) for seed in (0, 1)
    ]
    given = ["barrier", *paths, "--points", "3", "--resamples", "20", "--no-refine", "--repair"]
    assert run([*given, "-o", str(tmp_path / "out.h5")]) == 0
    assert "REPAIR" in capsys.readouterr().out
    found = load_result(tmp_path / "out.h5")
    assert found.stats["renormalised"]["layers"] == ["Dense_0/bias"]
    ours = loss_barrier(
        None, *paths, num_points=3, num_resamples=20, refine=False, repair=True, dtype="float32"
    )
    np.testing.assert_array_equal(found.losses["train"]["loss"], ours.losses["train"]["loss"])
    assert run([*given, "--dry-run"]) == 0
    assert "renormalisation" in capsys.readouterr().out
