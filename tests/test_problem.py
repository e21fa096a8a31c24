"""Exact means over examples, and losses that are refused."""

from __future__ import annotations

import functools
import itertools
import random
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from landscape import Metric, Problem, Stream
from landscape.connectivity import barrier_cost
from landscape.errors import ConfigurationError, DeviceMemoryError, ProblemError
from landscape.problem.splits import make_split

RNG = np.random.default_rng(0)
X = RNG.normal(size=(53, 4)).astype(np.float32)
Y = RNG.normal(size=53).astype(np.float32)
PARAMS = {"w": RNG.normal(size=4).astype(np.float32), "b": np.float32(0.3)}


def squared(params: Any, batch: Any) -> jax.Array:
    inputs, targets = batch
    return 0.5 * (inputs @ params["w"] + params["b"] - targets) ** 2


def close(params: Any, batch: Any) -> jax.Array:
    return squared(params, batch) < 0.5


def make(**options: Any) -> Problem:
    return Problem(squared, train=(X, Y), metrics={"close": Metric(close, higher_is_better=True)}, **options)


def dense_loss() -> np.ndarray:
    residual = X.astype(np.float64) @ PARAMS["w"].astype(np.float64) + 0.3 - Y
    return 0.5 * residual**2


@pytest.mark.parametrize("batch_size", [1, 7, 52, 53, 1000, None])
def test_means_are_exact_whatever_the_batch_size(batch_size: int | None) -> None:
    found = make().evaluate(PARAMS, batch_size=batch_size)
    assert found["loss"] == pytest.approx(dense_loss().mean(), rel=1e-6)
    assert found["close"] == (dense_loss() < 0.5).mean()


def test_values_come_one_an_example_in_the_order_of_the_data() -> None:
    values = make().per_example(PARAMS, batch_size=10)
    np.testing.assert_allclose(values["loss"], dense_loss(), rtol=1e-5)
    assert values["close"].shape == (53,)


def test_float64_is_local_to_the_call() -> None:
    problem = make()
    exact = problem.per_example(PARAMS, dtype=np.float64)["loss"]
    assert exact.dtype == np.float64
    expected = (
        0.5 * (X.astype(np.float64) @ PARAMS["w"].astype(np.float64) + np.float64(PARAMS["b"]) - Y) ** 2
    )
    np.testing.assert_allclose(exact, expected, rtol=1e-13)
    assert jnp.ones(1).dtype == jnp.float32
    assert problem.per_example(PARAMS)["loss"].dtype == np.float32


@pytest.mark.faults
def test_one_example_and_a_batch_larger_than_the_data_are_exact() -> None:
    """Fault 19."""
    problem = Problem(squared, train=(X[:1], Y[:1]))
    assert problem.evaluate(PARAMS, batch_size=64)["loss"] == pytest.approx(dense_loss()[0], rel=1e-6)


@pytest.mark.faults
@pytest.mark.parametrize("data", [(X[:0], Y[:0]), (), [], {}], ids=["no rows", "tuple", "list", "dict"])
def test_empty_data_is_refused(data: Any) -> None:
    """Fault 19."""
    with pytest.raises(ProblemError, match="no examples"):
        Problem(squared, train=data)


def test_arrays_of_different_lengths_are_refused_by_name() -> None:
    with pytest.raises(ProblemError, match="different numbers of examples"):
        Problem(squared, train=(X, Y[:5]))
    with pytest.raises(ProblemError, match="not an array with a leading axis"):
        Problem(squared, train=(X, 3.0))


class Loader:
    """Batches of ragged sizes, the same at every pass."""

    def __iter__(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        return iter([(X[i : i + 20], Y[i : i + 20]) for i in range(0, 53, 20)])


@pytest.mark.parametrize("data", [Loader(), Stream(Loader()), Stream(Loader(), num_examples=53)])
@pytest.mark.parametrize("batch_size", [8, 20, 64])
def test_a_stream_gives_the_means_of_its_arrays(data: Any, batch_size: int) -> None:
    problem = Problem(squared, train=data)
    assert problem.num_examples("train") == 53
    assert problem.evaluate(PARAMS, batch_size=batch_size)["loss"] == pytest.approx(
        dense_loss().mean(), rel=1e-6
    )


def test_a_generator_is_refused_because_it_can_be_read_once() -> None:
    with pytest.raises(ProblemError, match="only once"):
        Problem(squared, train=iter(Loader()))


class Shuffling:
    """The same examples in another order at every pass."""

    def __init__(self) -> None:
        self.passes = 0

    def __iter__(self) -> Any:
        self.passes += 1
        order = np.random.default_rng(self.passes).permutation(len(X))
        return iter([(X[part], Y[part]) for part in np.array_split(order, 4)])


@pytest.mark.faults
def test_row_16_a_stream_that_shuffles_is_refused_at_its_second_pass() -> None:
    """Values of two passes would not belong to the same examples."""
    problem = Problem(squared, train=Stream(Shuffling()))
    problem.evaluate(PARAMS)
    with pytest.raises(ProblemError, match="changes from one pass to the next") as caught:
        problem.evaluate(PARAMS)
    assert "another batch 1" in str(caught.value.got)
    shrinking = [(X[:20], Y[:20]), (X[20:], Y[20:])]
    problem = Problem(squared, train=Stream(shrinking))
    problem.evaluate(PARAMS)
    shrinking.pop()
    with pytest.raises(ProblemError, match="changes from one pass to the next"):
        problem.evaluate(PARAMS)


@pytest.mark.parametrize("said", [52, 54])
def test_a_stream_with_another_number_of_examples_than_said_is_refused(said: int) -> None:
    problem = Problem(squared, train=Stream(Loader(), num_examples=said))
    with pytest.raises(ProblemError, match="another number of examples") as caught:
        problem.evaluate(PARAMS)
    assert caught.value.got == "53"


@pytest.mark.parametrize("size", [1, 7, 16, 20, 53, 99])
def test_batches_of_a_stream_are_cut_and_joined_to_the_size(size: int) -> None:
    """Small batches of a stream do not make small, or padded, batches on the device."""
    cut = list(make_split(Stream(Loader()), "train").batches(size))
    assert [count for _, count in cut] == [min(size, 53 - start) for start in range(0, 53, size)]
    np.testing.assert_array_equal(np.concatenate([batch[0] for batch, _ in cut]), X)


def test_a_stream_is_not_held_on_the_device() -> None:
    with pytest.raises(ProblemError, match="stream"):
        Problem(squared, train=Loader()).arrays("train")


def noisy(params: Any, batch: Any) -> jax.Array:
    return squared(params, batch) * (1 + 0.1 * random.random())  # noqa: S311


def mixing(params: Any, batch: Any) -> jax.Array:
    values = squared(params, batch)
    return values - values.mean()


def positional(params: Any, batch: Any) -> jax.Array:
    return squared(params, batch) * jax.random.bernoulli(jax.random.key(0), 0.5, batch[1].shape)


@pytest.mark.faults
@pytest.mark.parametrize(
    ("loss", "message"),
    [
        (noisy, "differ"),
        (jax.jit(noisy), "differ"),
        (mixing, "depends on the other examples"),
        (positional, "depends on the other examples"),
    ],
    ids=["python randomness", "jitted python randomness", "batch statistics", "dropout with a fixed key"],
)
def test_losses_that_are_no_function_of_one_example_are_refused_at_first_use(loss: Any, message: str) -> None:
    """Fault 16."""
    problem = Problem(loss, train=(X, Y))
    with pytest.raises(ProblemError, match=message):
        problem.evaluate(PARAMS)
    with pytest.raises(ProblemError, match=message):
        Problem(loss, train=(X, Y), check=PARAMS)


@pytest.mark.faults
def test_row_16_a_loss_that_depends_on_the_size_of_the_batch_is_refused() -> None:
    def shared(params: Any, batch: Any) -> jax.Array:
        return squared(params, batch) / batch[0].shape[0]

    with pytest.raises(ProblemError, match="depends on the other examples") as caught:
        Problem(shared, train=(X, Y)).evaluate(PARAMS)
    assert "9 copies" in str(caught.value.got)


@pytest.mark.faults
def test_row_16_parameters_that_tell_nothing_do_not_end_the_probing() -> None:
    problem = Problem(mixing, train=(X, Y))
    problem.evaluate(jax.tree.map(lambda x: x * np.nan, PARAMS))
    with pytest.raises(ProblemError, match="depends on the other examples"):
        problem.evaluate(PARAMS)


@pytest.mark.parametrize("offset", [0, 4])
def test_data_are_not_the_callers_memory(offset: int) -> None:
    # XLA would share what lies at a multiple of 64 bytes, and see what the caller writes later.
    raw = np.zeros(X.nbytes + 128, np.uint8)
    start = -raw.ctypes.data % 64 + offset
    mine = raw[start : start + X.nbytes].view(np.float32).reshape(X.shape)
    mine[:] = X
    problem = Problem(squared, train=(mine, Y))
    before = problem.evaluate(PARAMS)
    mine[:] = 7
    assert problem.evaluate(PARAMS) == before
    assert before["loss"] == make().evaluate(PARAMS)["loss"]


def test_arrays_keep_the_precision_that_they_were_asked_for_in() -> None:
    """What a caller does under 64 bits leaves nothing behind for one under 32."""
    problem = Problem(squared, train=(X.astype(np.float64), Y))
    with jax.enable_x64(True):
        assert problem.arrays("train")[0].dtype == np.float64
    assert problem.arrays("train", dtype="float32")[0].dtype == np.float32
    assert problem.arrays("train")[0].dtype == np.float32


def test_a_random_metric_is_refused_by_its_name() -> None:
    """Fault 16."""
    with pytest.raises(ProblemError, match="luck"):
        Problem(squared, train=(X, Y), metrics={"luck": noisy}).evaluate(PARAMS)


@pytest.mark.parametrize("values", [lambda p, b: squared(p, b).mean(), lambda p, b: squared(p, b)[:, None]])
def test_a_loss_must_give_one_value_an_example(values: Any) -> None:
    with pytest.raises(ProblemError, match="one value per example"):
        Problem(values, train=(X, Y)).evaluate(PARAMS)


def test_what_is_missing_is_named() -> None:
    with pytest.raises(ProblemError, match="'test'"):
        make().evaluate(PARAMS, "test")
    with pytest.raises(ProblemError, match="train"):
        Problem(squared, train=None)
    with pytest.raises(ProblemError, match="not a function"):
        Problem(3, train=(X, Y))  # type: ignore[arg-type]
    with pytest.raises(ProblemError, match="name of the loss"):
        Problem(squared, train=(X, Y), metrics={"loss": close})


@pytest.mark.parametrize("size", [0, -1, 2.5, True])
def test_batch_sizes_that_are_no_counts_are_refused(size: Any) -> None:
    with pytest.raises(ConfigurationError, match="batch_size"):
        make().evaluate(PARAMS, batch_size=size)


def test_the_digest_follows_every_byte_of_the_data() -> None:
    changed = Y.copy()
    changed[52] = np.nextafter(changed[52], np.float32(9))
    digests = {
        Problem(squared, train=data).data_digest("train") for data in ((X, Y), (X, Y.copy()), (X, changed))
    }
    assert len(digests) == 2


@pytest.mark.faults
def test_running_out_of_memory_names_the_batch_size_and_half_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fault 21."""
    problem = make()

    def exhausted(*_: Any, **__: Any) -> Any:
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 1 byte")

    monkeypatch.setattr(problem, "_gathered", exhausted)
    with pytest.raises(DeviceMemoryError, match=r"40 examples[\s\S]*--batch-size 20"):
        problem.evaluate(PARAMS, batch_size=40)


def normalised(params: Any, batch: Any) -> jax.Array:
    weights, stats = params
    return 0.5 * ((batch[0] - stats["mean"]) @ weights["w"]) ** 2


def test_batch_statistics_are_means_over_all_examples() -> None:
    problem = Problem(
        normalised, train=(X, Y), update_stats=lambda _, batch: {"mean": batch[0].mean(0)}, batch_size=20
    )
    stats = problem.recompute_stats({"w": PARAMS["w"]}, {"mean": np.zeros(4, np.float32)})
    np.testing.assert_allclose(stats["mean"], X.astype(np.float64).mean(0), rtol=1e-5, atol=1e-7)
    with pytest.raises(ProblemError, match="update_stats"):
        make().recompute_stats(PARAMS, {})


@pytest.mark.faults
def test_what_the_users_loss_raises_is_told_as_the_users() -> None:
    problem = Problem(lambda p, b: b @ p["there"], train=np.ones((3, 2), np.float32))
    with pytest.raises(ProblemError, match="raised KeyError: 'there'") as caught:
        problem.evaluate({"elsewhere": np.ones(2, np.float32)})
    assert "test_problem.py:" in str(caught.value.got)
    assert isinstance(caught.value.__cause__, KeyError)


@pytest.mark.faults
def test_a_loss_that_asks_for_other_leaves_is_told_those_that_there_are() -> None:
    problem = Problem(lambda p, b: b @ p["there"], train=np.ones((3, 2), np.float32))
    network = {"elsewhere": np.ones(2, np.float32)}
    for ask in (
        problem.evaluate,
        functools.partial(barrier_cost, problem, network),
    ):  # the latter by its pace
        with pytest.raises(ProblemError, match="raised KeyError: 'there'") as caught:
            ask(network)
        assert "The network holds elsewhere." in str(caught.value.hint)


@pytest.mark.parametrize(
    ("name", "higher"), [("accuracy", True), ("top5_accuracy", True), ("return", True), ("error", False)]
)
def test_the_direction_of_a_metric_of_the_trade_is_known_by_its_name(name: str, higher: bool) -> None:
    values = {name: lambda p, b: (b @ p) > 0}
    problem = Problem(lambda p, b: b @ p, train=np.ones((3, 2), np.float32), metrics=values)
    assert problem.metrics[name].higher_is_better is higher
    lower = {name: Metric(values[name], higher_is_better=False)}
    said = Problem(lambda p, b: b @ p, train=np.ones((3, 2), np.float32), metrics=lower)
    assert not said.metrics[name].higher_is_better


def test_a_loss_with_a_loop_whose_length_depends_on_values_is_probed_all_the_same() -> None:
    def halved(params: Any, batch: Any) -> jax.Array:
        steps, value = jax.lax.while_loop(
            lambda state: state[1].max() > 1, lambda state: (state[0] + 1, state[1] / 2), (0, batch * params)
        )
        return value * 2.0**steps

    data = np.array([3.0, 4.0, 5.0, 6.0], np.float32)
    assert Problem(halved, train=data).evaluate(np.float32(2))["loss"] == 9.0
    count = itertools.count()

    def counted(params: Any, batch: Any) -> jax.Array:
        return halved(params, batch) + next(count)

    with pytest.raises(ProblemError, match="two evaluations"):
        Problem(counted, train=data).evaluate(np.float32(2))


def test_an_example_whose_value_is_right_by_chance_does_not_hide_that_its_batch_decides() -> None:
    def centred(params: Any, batch: Any) -> jax.Array:  # 0 for the first example, among its mates and alone
        return params["w"] * (batch - batch.mean())

    train = np.array([0.0, 1.0, -3.0, 2.0, 5.0], np.float32)  # the first four have a mean of 0
    with pytest.raises(ProblemError, match="depends on the other examples"):
        Problem(centred, train=train).evaluate({"w": np.float32(1)})
