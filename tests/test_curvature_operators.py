"""Products of curvature operators against dense float64 oracles."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from curvature_samples import (
    INPUTS,
    LABELS,
    TARGETS,
    cross_entropy,
    dense_hessian,
    linear_problem,
    network_problem,
    softmax_problem,
    tanh_model,
    tanh_params,
    tanh_problem,
)

import landscape
from landscape import Problem, Stream, fisher, gauss_newton, hessian
from landscape.curvature import products
from landscape.trees import Layout
from trainers.tasks import load_task


def tanh_loss(params: Any, batch: Any) -> jax.Array:
    return cross_entropy(tanh_model(params, batch), batch)


def oracle() -> np.ndarray:
    return dense_hessian(tanh_loss, tanh_params(), (INPUTS, LABELS))


# -- closed forms -------------------------------------------------------------------------------------


def test_hessian_of_linear_regression_is_the_second_moment_of_the_inputs() -> None:
    wide = INPUTS.astype(np.float64)
    found = hessian(linear_problem(), {"w": np.ones(3, np.float32)}, dtype="float64").dense()
    np.testing.assert_allclose(found, wide.T @ wide / len(wide), rtol=1e-12)


def test_hessian_of_logistic_regression_weighs_inputs_by_the_variance_of_the_label() -> None:
    def loss(params: Any, batch: Any) -> jax.Array:
        return jax.nn.softplus(batch[0] @ params) - batch[1] * (batch[0] @ params)

    params, wide = np.array([0.3, -0.2, 0.9], np.float32), INPUTS.astype(np.float64)
    labels = (TARGETS > 0).astype(np.float32)
    p = 1 / (1 + np.exp(-wide @ params.astype(np.float64)))
    expected = wide.T @ (wide * (p * (1 - p))[:, None]) / len(wide)
    found = hessian(Problem(loss, train=(INPUTS, labels)), params, dtype="float64").dense()
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_hessian_of_softmax_regression_is_the_kronecker_form_and_so_is_its_gauss_newton_matrix() -> None:
    rng = np.random.default_rng(1)
    params = {
        "bias": rng.normal(size=3).astype(np.float32),
        "kernel": rng.normal(size=(3, 3)).astype(np.float32),
    }
    wide = np.hstack([np.ones((len(INPUTS), 1)), INPUTS]).astype(np.float64)  # bias first, as in the vector
    weights = np.vstack([params["bias"], params["kernel"]]).astype(np.float64)
    p = np.exp(wide @ weights)
    p /= p.sum(axis=1, keepdims=True)
    blocks = [np.kron(np.outer(x, x), np.diag(q) - np.outer(q, q)) for x, q in zip(wide, p, strict=True)]
    expected = np.mean(blocks, axis=0)
    problem = softmax_problem()
    for make in (hessian, gauss_newton):
        np.testing.assert_allclose(make(problem, params, dtype="float64").dense(), expected, atol=1e-14)


# -- dense oracles ------------------------------------------------------------------------------------


def test_hessian_of_a_smooth_network_equals_the_dense_oracle() -> None:
    found = hessian(tanh_problem(), tanh_params(), dtype="float64")
    np.testing.assert_allclose(found.dense(), oracle(), atol=1e-13)
    assert hessian(tanh_problem(), tanh_params()).dense() == pytest.approx(oracle(), abs=1e-6)


PARTS = [
    ("mlp", ["*"]),
    ("lenet-300-100", ["Dense_1/bias", "Dense_2/*"]),
    ("paper-cnn", ["Conv_*/bias", "Conv_0/*"]),
]


@pytest.mark.parametrize(("kind", "where"), PARTS)
def test_every_matrix_of_every_network_of_the_package_equals_its_dense_oracle(
    kind: str, where: list[str]
) -> None:
    """On small images: the weights between layers, and what is asked of them, are the same on large ones."""
    problem, params = network_problem(kind, pixels=8 if kind == "mlp" else 12)
    operator = hessian(problem, params, where=where, dtype="float64")
    paths = operator.config["paths"]
    part = {name: {k: v for k, v in own.items() if f"{name}/{k}" in paths} for name, own in params.items()}
    part = {name: own for name, own in part.items() if own}
    layout = Layout.of(part)
    assert problem.outputs is not None
    with jax.enable_x64(True), jax.default_matmul_precision("highest"):
        images, labels = problem.arrays("train", dtype=np.float64)
        wide = jax.tree.map(lambda x: jnp.asarray(x, jnp.float64), params)
        vector = jnp.asarray(layout.flatten(part), jnp.float64)

        def outputs(free: jax.Array) -> jax.Array:  # the others are constants: not copied for every tangent
            own = layout.unflatten(free, part)
            tree = {name: {**leaves, **own.get(name, {})} for name, leaves in wide.items()}
            return problem.outputs.model(tree, (images, labels))  # type: ignore[union-attr]

        def loss(free: jax.Array) -> jax.Array:
            return cross_entropy(outputs(free), (images, labels)).mean()

        second = np.asarray(jax.jit(jax.hessian(loss))(vector))
        jacobian, z = (np.asarray(jax.jit(f)(vector)) for f in (jax.jacrev(outputs), outputs))
    p = np.exp(z - z.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    newton = np.mean(
        [j.T @ (np.diag(q) - np.outer(q, q)) @ j for j, q in zip(jacobian, p, strict=True)], axis=0
    )
    slopes = np.einsum("nco,nc->no", jacobian, p - np.eye(10)[np.asarray(labels)])
    options = {"where": where, "dtype": "float64"}
    np.testing.assert_allclose(operator.dense(), second, atol=1e-12)
    np.testing.assert_allclose(gauss_newton(problem, params, **options).dense(), newton, atol=1e-12)
    np.testing.assert_allclose(fisher(problem, params, **options).dense(), slopes.T @ slopes / 5, atol=1e-12)
    model = fisher(problem, params, labels="model", **options)
    np.testing.assert_allclose(model.dense(), newton, atol=1e-12)


@pytest.mark.parametrize("kind", ["lenet-300-100", "paper-cnn"])
def test_products_of_whole_networks_are_derivatives_of_the_gradient(kind: str) -> None:
    problem, params = network_problem(kind)
    layout = Layout.of(params)
    operator = hessian(problem, params, dtype="float64")
    vector = np.random.default_rng(0).normal(size=operator.dim)
    with jax.enable_x64(True), jax.default_matmul_precision("highest"):
        batch = problem.arrays("train", dtype=np.float64)
        gradient = jax.grad(lambda v: problem.loss(layout.unflatten(v, params), batch).mean())
        at = jnp.asarray(layout.flatten(params), jnp.float64)
        expected = jax.jit(lambda x, v: jax.jvp(gradient, (x,), (v,))[1])(at, jnp.asarray(vector))
    np.testing.assert_allclose(operator.matvec(vector), expected, atol=1e-10)


def test_gauss_newton_equals_jacobian_products_and_the_fisher_matrix_of_the_models_labels() -> None:
    params = tanh_params()
    layout = Layout.of(params)
    with jax.enable_x64(True):
        vector = jnp.asarray(layout.flatten(params), jnp.float64)
        batch = (jnp.asarray(INPUTS, jnp.float64), jnp.asarray(LABELS))
        jacobian = np.asarray(
            jax.jit(jax.jacobian(lambda v: tanh_model(layout.unflatten(v, params), batch)))(vector)
        )
        p = np.asarray(jax.nn.softmax(tanh_model(layout.unflatten(vector, params), batch)))
    curved = [j.T @ (np.diag(q) - np.outer(q, q)) @ j for j, q in zip(jacobian, p, strict=True)]
    expected = np.mean(curved, axis=0)
    problem = tanh_problem()
    found = gauss_newton(problem, params, dtype="float64").dense()
    np.testing.assert_allclose(found, expected, atol=1e-13)
    model = fisher(problem, params, labels="model", dtype="float64").dense()
    np.testing.assert_allclose(model, expected, atol=1e-13)
    assert np.linalg.eigvalsh(found)[0] > -1e-12


def test_model_fisher_of_a_gaussian_is_the_second_moment_of_the_inputs() -> None:
    found = fisher(linear_problem(), {"w": np.ones(3, np.float32)}, labels="model", dtype="float64").dense()
    wide = INPUTS.astype(np.float64)
    np.testing.assert_allclose(found, wide.T @ wide / len(wide), rtol=1e-12)


def test_empirical_fisher_is_the_second_moment_of_the_examples_gradients() -> None:
    params = tanh_params()
    layout = Layout.of(params)
    with jax.enable_x64(True):
        vector = jnp.asarray(layout.flatten(params), jnp.float64)
        batch = (jnp.asarray(INPUTS, jnp.float64), jnp.asarray(LABELS))
        gradients = np.asarray(
            jax.jit(jax.jacobian(lambda v: tanh_loss(layout.unflatten(v, params), batch)))(vector)
        )
    found = fisher(tanh_problem(), params, dtype="float64").dense()
    np.testing.assert_allclose(found, gradients.T @ gradients / len(gradients), atol=1e-13)


def test_built_in_tasks_have_all_matrices_without_more_ado() -> None:
    task = load_task("digits", {"kind": "mlp", "widths": [2]})
    params = task.init(0)
    newton = gauss_newton(task.problem, params, subset=20).dense()
    model = fisher(task.problem, params, labels="model", subset=20).dense()
    np.testing.assert_allclose(newton, model, atol=1e-6 * np.abs(newton).max())


def test_gradient_is_that_of_the_mean_loss() -> None:
    params = tanh_params()
    operator = hessian(tanh_problem(), params, batch_size=4, dtype="float64")
    with jax.enable_x64(True):
        layout = Layout.of(params)
        vector = jnp.asarray(layout.flatten(params), jnp.float64)
        batch = (jnp.asarray(INPUTS, jnp.float64), jnp.asarray(LABELS))
        expected = jax.grad(lambda v: tanh_loss(layout.unflatten(v, params), batch).mean())(vector)
    np.testing.assert_allclose(operator.gradient(), expected, atol=1e-14)


# -- batches ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch_size", [1, 2, 4, 10, 11, 50])
@pytest.mark.parametrize("make", [hessian, gauss_newton, fisher])
def test_products_do_not_depend_on_the_batch_size(make: Any, batch_size: int) -> None:
    whole = make(tanh_problem(), tanh_params(), dtype="float64").dense()
    found = make(tanh_problem(), tanh_params(), batch_size=batch_size, dtype="float64")
    np.testing.assert_allclose(found.dense(), whole, atol=1e-14)
    assert found.stats["num_batches"] == -(-11 // min(batch_size, 11))


def test_a_stream_gives_the_same_products_as_arrays() -> None:
    batches = [(INPUTS[:6], LABELS[:6]), (INPUTS[6:], LABELS[6:])]
    streamed = hessian(
        Problem(tanh_loss, train=Stream(batches)), tanh_params(), batch_size=4, dtype="float64"
    )
    np.testing.assert_allclose(streamed.dense(), oracle(), atol=1e-13)
    assert streamed.stats["streamed"]


def test_products_are_the_same_whether_linearised_once_or_at_every_product(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kept = hessian(tanh_problem(), tanh_params(), batch_size=4)
    monkeypatch.setattr(products, "_KEPT_BYTES", 0)
    anew = hessian(tanh_problem(), tanh_params(), batch_size=4)
    assert kept.stats["linearised_once"]
    assert not anew.stats["linearised_once"]
    np.testing.assert_allclose(kept.dense(), anew.dense(), atol=1e-7)


def test_the_automatic_batch_keeps_within_its_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(products, "_BATCH_BYTES", 3000)
    operator = hessian(tanh_problem(), tanh_params(), dtype="float64")
    assert 1 <= operator.stats["batch_size"] < 11
    np.testing.assert_allclose(operator.dense(), oracle(), atol=1e-13)


def test_a_subset_is_the_mean_over_its_examples() -> None:
    problem, params = tanh_problem(), tanh_params()
    expected = dense_hessian(tanh_loss, params, (INPUTS[[2, 5, 7]], LABELS[[2, 5, 7]]))
    found = hessian(problem, params, subset=[2, 5, 7], dtype="float64")
    np.testing.assert_allclose(found.dense(), expected, atol=1e-13)
    assert found.config["subset"] == [2, 5, 7]
    assert hessian(problem, params, subset=4).config["subset"] == 4
    first = dense_hessian(tanh_loss, params, (INPUTS[:4], LABELS[:4]))
    np.testing.assert_allclose(hessian(problem, params, subset=4, dtype="float64").dense(), first, atol=1e-13)


def test_groups_of_examples_average_to_the_whole_matrix() -> None:
    operator = hessian(tanh_problem(), tanh_params(), dtype="float64", subset=9)
    parts = [group.dense() for group in operator.groups(3)]
    np.testing.assert_allclose(np.mean(parts, axis=0), operator.dense(), atol=1e-14)


def test_one_compilation_serves_all_checkpoints_of_a_shape(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = Problem(tanh_loss, train=(INPUTS, LABELS))
    params = tanh_params()
    hessian(problem, params).dense()
    before = len(problem.__dict__["_curvature_programs"])
    programs = problem.__dict__["_curvature_programs"]["hessian"]
    sizes = programs.prepare._cache_size(), programs.apply._cache_size()
    other = jax.tree.map(lambda x: 2 * x, params)
    mask = jax.tree.map(lambda x: x > 0, params)
    hessian(problem, jax.tree.map(np.multiply, other, mask), mask=mask).dense()
    assert (programs.prepare._cache_size(), programs.apply._cache_size()) == sizes
    assert len(problem.__dict__["_curvature_programs"]) == before


# -- subspaces ----------------------------------------------------------------------------------------


def test_a_masked_operator_is_the_dense_submatrix() -> None:
    rng = np.random.default_rng(5)
    params = tanh_params()
    mask = jax.tree.map(lambda x: rng.random(x.shape) < 0.5, params)
    sparse = jax.tree.map(np.multiply, params, mask)
    free = np.flatnonzero(Layout.of(params).flatten(mask))
    whole = dense_hessian(tanh_loss, sparse, (INPUTS, LABELS))
    operator = hessian(tanh_problem(), sparse, mask=mask, dtype="float64")
    assert operator.dim == len(free)
    np.testing.assert_allclose(operator.dense(), whole[np.ix_(free, free)], atol=1e-13)
    tree = operator.unflatten(np.ones(operator.dim))
    assert all(jax.tree.leaves(jax.tree.map(lambda t, m: bool(np.all((t != 0) == m)), tree, mask)))
    np.testing.assert_array_equal(operator.flatten(tree), np.ones(operator.dim))


def test_where_chooses_layers_by_path_and_layers_partition_the_vector() -> None:
    layout = Layout.of(tanh_params())
    operator = hessian(tanh_problem(), tanh_params(), where="b/*", dtype="float64")
    at = np.r_[layout.slices["b/bias"], layout.slices["b/kernel"]]
    np.testing.assert_allclose(operator.dense(), oracle()[np.ix_(at, at)], atol=1e-13)
    whole = hessian(tanh_problem(), tanh_params()).layers()
    assert list(whole) == list(layout.paths)
    np.testing.assert_array_equal(np.concatenate(list(whole.values())), np.arange(layout.size))


def test_a_checkpoint_brings_its_mask_and_false_leaves_it_out() -> None:
    params = tanh_params()
    mask = jax.tree.map(lambda x: x > 0, params)
    ticket = landscape.Checkpoint(params=jax.tree.map(np.multiply, params, mask), mask=mask)
    assert hessian(tanh_problem(), ticket).dim == sum(int(m.sum()) for m in jax.tree.leaves(mask))
    assert hessian(tanh_problem(), ticket, mask=False).dim == 31


def test_whole_numbers_are_constants_and_said_to_be() -> None:
    def loss(params: Any, batch: Any) -> jax.Array:
        return 0.5 * params["n"] * (batch @ params["w"]) ** 2

    params = {"n": np.int32(3), "w": np.ones(2, np.float32)}
    operator = hessian(Problem(loss, train=np.eye(2, dtype=np.float32)), params)
    np.testing.assert_allclose(operator.dense(), 1.5 * np.eye(2))
    assert "n" in operator.subject.notes[0]


def test_parameters_that_the_loss_ignores_have_zero_curvature() -> None:
    problem = Problem(lambda p, b: (b @ p["w"]) ** 2, train=np.eye(2, dtype=np.float32))
    operator = hessian(problem, {"idle": np.ones(2, np.float32), "w": np.ones(2, np.float32)})
    np.testing.assert_allclose(operator.dense(), np.diag([0.0, 0, 1, 1]))


def test_batch_statistics_are_held_fixed() -> None:
    def loss(variables: Any, batch: Any) -> jax.Array:
        params, stats = variables
        return 0.5 * ((batch - stats["mean"]) @ params["w"]) ** 2

    problem = Problem(loss, train=INPUTS, update_stats=lambda _, batch: {"mean": jnp.mean(batch, axis=0)})
    stats = {"mean": np.full(3, 0.5, np.float32)}
    operator = hessian(problem, ({"w": np.ones(3, np.float32)}, stats), dtype="float64")
    shifted = INPUTS.astype(np.float64) - 0.5
    np.testing.assert_allclose(operator.dense(), shifted.T @ shifted / len(shifted), rtol=1e-12)
    assert operator.config["batch_stats"] == "stored"


# -- the operator as an object ------------------------------------------------------------------------


def test_blocks_single_products_and_scipy_agree() -> None:
    operator = hessian(tanh_problem(), tanh_params(), dtype="float64")
    block = np.random.default_rng(0).normal(size=(31, 4))
    together = operator.matmat(block)
    single = np.stack([operator.matvec(column) for column in block.T], axis=1)
    np.testing.assert_allclose(together, single, atol=1e-15)
    np.testing.assert_allclose(operator.to_scipy() @ block, together, atol=1e-15)
    np.testing.assert_allclose(operator @ block, together, atol=1e-15)


def test_batched_block_products_equal_single_ones() -> None:
    operator = hessian(tanh_problem(), tanh_params())
    block = np.random.default_rng(0).normal(size=(3, 31)).astype(np.float32)
    single = operator.rows(block)
    operator._blocked = lambda count: count > 1  # type: ignore[method-assign]  # what a GPU does
    np.testing.assert_allclose(operator.rows(block), single, atol=1e-6)


def test_the_symmetry_error_is_rounding_for_a_curvature_matrix_and_large_for_another() -> None:
    assert hessian(tanh_problem(), tanh_params()).symmetry_error() < 1e-6
    skew = landscape.MatrixOperator(np.triu(np.ones((20, 20))))
    assert skew.symmetry_error() > 0.01


def test_float64_is_local_to_the_operator() -> None:
    assert hessian(tanh_problem(), tanh_params(), dtype="float64").matvec(np.ones(31)).dtype == np.float64
    assert jnp.zeros(1).dtype == jnp.float32
    assert hessian(tanh_problem(), tanh_params()).matvec(np.ones(31)).dtype == np.float32
