"""Relative flatness with features scaled to one, by their deviations over the data."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from curvature_samples import cross_entropy
from flatness_samples import F64, relu_features, relu_model, relu_network, relu_problem, rescaled

import landscape
from landscape import Problem, Stream, hessian, measure_flatness
from landscape.errors import ProblemError
from landscape.trees import Layout
from trainers.tasks import load_task
from trainers.tasks.networks import build, features, initialise

NAME = "relative_flatness_normalised"


def data(problem: Problem) -> tuple[np.ndarray, np.ndarray]:
    inputs, labels = problem.head(10_000)
    return np.asarray(inputs), np.asarray(labels)


def spreads_of(network: Any, problem: Problem) -> dict[str, np.ndarray]:
    with jax.enable_x64(True):
        found = relu_features(jax.tree.map(jnp.asarray, network), data(problem))
        return {path: np.asarray(one).std(0) for path, one in found.items()}


def measured(problem: Problem, network: Any, **options: Any) -> landscape.FlatnessMeasure:
    return landscape.relative_flatness(problem, network, feature_std="measured", **{**F64, **options})


def test_deviations_are_those_of_the_features_over_the_data() -> None:
    problem, network = relu_problem(), relu_network(bias=True)
    found = measured(problem, network)
    same = landscape.relative_flatness(problem, network, feature_std=spreads_of(network, problem), **F64)
    assert found.name == same.name == NAME
    assert found.value == pytest.approx(same.value, rel=1e-10)
    assert found.value != pytest.approx(landscape.relative_flatness(problem, network, **F64).value, rel=0.01)


def test_the_estimate_holds_the_dense_value_of_the_network_with_scaled_features() -> None:
    """z-statistics below 4: false alarm 6e-5 a layer; the seed is fixed."""
    problem, network = relu_problem(), relu_network()
    layout, matrix = Layout.of(network), hessian(problem, network, **F64).dense()
    spreads = spreads_of(network, problem)
    found = measured(problem, network, draws=2000)
    for path, layer in found.details["layers"].items():
        at, spread = layout.slices[path], spreads[path][:, None]
        kernel = network[path.split("/")[0]]["kernel"] * spread
        blocks = matrix[at, at].reshape(*kernel.shape, *kernel.shape) / spread[..., None, None] / spread
        exact = np.einsum("is,it,jsjt->", kernel, kernel, blocks)
        assert abs(layer["value"] - exact) < 4 * layer["standard_error"], path


@pytest.mark.parametrize("unit", [None, 1])
def test_rescalings_change_neither_the_value_nor_its_error(unit: int | None) -> None:
    problem, network = relu_problem(), relu_network()
    one, other = measured(problem, network), measured(problem, rescaled(network, 7.0, unit=unit))
    assert other.value == pytest.approx(one.value, rel=1e-9)
    assert other.standard_error == pytest.approx(one.standard_error, rel=1e-9)


def test_batches_streams_and_subsets_give_the_same_deviations() -> None:
    problem, network = relu_problem(), relu_network()
    inputs, labels = data(problem)
    whole = measured(problem, network)
    batches = Stream([(inputs[:23], labels[:23]), (inputs[23:], labels[23:])])
    stream = Problem(problem.loss, train=batches, features=relu_features)
    part = Problem(problem.loss, train=(inputs[:25], labels[:25]), features=relu_features)
    assert measured(problem, network, batch_size=13).value == pytest.approx(whole.value, rel=1e-9)
    assert measured(stream, network).value == pytest.approx(whole.value, rel=1e-9)
    assert measured(problem, network, subset=25).value == pytest.approx(
        measured(part, network).value, rel=1e-9
    )


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_feature_that_never_changes_is_a_bias_and_no_part_of_the_kernel(dtype: str) -> None:
    """A tenth is no binary number: a mean of it is rounded, and its deviation must be zero all the same."""
    problem, network = relu_problem(), relu_network()
    inputs, labels = data(problem)
    constant = np.full((len(inputs), 1), 0.1)
    wider = {
        **network,
        "Dense_0": {"kernel": np.concatenate([network["Dense_0"]["kernel"], np.ones((1, 5))])},
    }
    as_bias = {**network, "Dense_0": {**network["Dense_0"], "bias": np.full(5, 0.1)}}

    def loss(params: Any, batch: Any) -> jax.Array:
        return cross_entropy(relu_model(params, batch), batch)

    both = Problem(loss, train=(np.concatenate([inputs, constant], 1), labels), features=relu_features)
    found = measured(both, wider, where="*/kernel", dtype=dtype, draws=200)
    same = measured(problem, as_bias, where="*/kernel", dtype=dtype, draws=200)
    # The signs drawn differ: z-statistics.
    for path, layer in found.details["layers"].items():
        other = same.details["layers"][path]
        error = np.hypot(layer["standard_error"], other["standard_error"])
        assert abs(layer["value"] - other["value"]) < 4 * error


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_feature_that_is_constant_among_the_chosen_examples_alone_has_no_deviation(dtype: str) -> None:
    """The first example, which is not chosen, has another value; a third is no binary number."""
    problem, network = relu_problem(), relu_network()
    inputs, labels = data(problem)
    inputs = np.array(inputs)
    inputs[1:, 0] = 1 / 3
    rest = Problem(problem.loss, train=(inputs[1:], labels[1:]), features=relu_features)
    whole = Problem(problem.loss, train=(inputs, labels), features=relu_features)
    chosen = range(1, len(inputs))
    found = measured(whole, network, subset=list(chosen), dtype=dtype)
    assert found.value == pytest.approx(measured(rest, network, dtype=dtype).value, rel=1e-5)
    spread = spreads_of(network, rest)["Dense_0/kernel"]
    spread[0] = 0.0
    given = {**spreads_of(network, rest), "Dense_0/kernel": spread}
    same = landscape.relative_flatness(rest, network, feature_std=given, dtype=dtype)
    assert found.value == pytest.approx(same.value, rel=1e-4)


def test_the_patches_of_a_convolution_give_its_outputs() -> None:
    network = {"kind": "paper-cnn"}
    params = initialise(network, (28, 28, 1), 0)
    images = jnp.asarray(np.random.default_rng(0).normal(size=(3, 28, 28, 1)), jnp.float32)
    found = features(build(network), params, images)
    assert sorted(found) == ["Conv_0/kernel", "Conv_1/kernel", "Dense_0/kernel"]
    for name, value in (("Conv_0", images), ("Conv_1", None)):
        kernel = params[name]["kernel"]
        product = found[f"{name}/kernel"] @ kernel.reshape(-1, kernel.shape[-1])
        if value is None:  # entered by what came out of the one before, pooled
            middle = 12 * kernel.shape[2]
            value = found["Conv_1/kernel"][..., middle : middle + kernel.shape[2]]
        direct = jax.lax.conv_general_dilated(
            value, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
        np.testing.assert_allclose(product, direct, atol=1e-4)


def test_the_built_in_tasks_say_what_enters_their_kernels() -> None:
    task = load_task("digits", {"kind": "mlp", "widths": [8]})
    found = measure_flatness(task.problem, task.init(0), measures=[NAME], subset=100)
    [record] = found.records
    assert record["status"] == "ok"
    assert set(record["details"]["layers"]) == {"Dense_0/kernel", "Dense_1/kernel"}


@pytest.mark.faults
def test_features_that_are_missing_or_of_another_shape_are_refused_by_path() -> None:
    problem, network = relu_problem(), relu_network()
    without = Problem(problem.loss, train=data(problem))
    with pytest.raises(ProblemError, match="what enters its kernels"):
        measured(without, network)

    def wrong(params: Any, batch: Any) -> dict[str, jax.Array]:
        found = relu_features(params, batch)
        return {"Dense_0/kernel": found["Dense_1/kernel"], "Dense_1/kernel": found["Dense_1/kernel"]}

    with pytest.raises(ProblemError) as refusal:
        measured(Problem(problem.loss, train=data(problem), features=wrong), network)
    assert "Dense_0/kernel: (1, 5)" in str(refusal.value)
    assert "Dense_2/kernel: none" in str(refusal.value)
    assert "Dense_1/kernel: " not in str(refusal.value)
