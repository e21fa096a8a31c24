"""Losses as they are found in the wild: what works, and what is refused in one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

import landscape
from landscape import Outputs, Problem, loss_barrier
from landscape.errors import ArchitectureMismatchError, ProblemError
from landscape.problem import load_problem

RNG = np.random.default_rng(5)
X = RNG.standard_normal((9, 3)).astype(np.float32)
Y = RNG.standard_normal(9).astype(np.float32)
PARAMS = {"w": np.array([0.3, -0.4, 0.2], np.float32), "b": np.float32(0.1)}
OTHER = {"w": np.array([-0.1, 0.6, 0.9], np.float32), "b": np.float32(-0.2)}


def linear(params: Any, x: Any) -> Any:
    return x @ params["w"] + params["b"]


def dense(problem: Problem, params: Any) -> np.ndarray:
    """Return the Hessian of the mean loss in float64, by jax's own means, in the order b, w."""
    with jax.enable_x64(True):
        wide = jax.tree.map(lambda x: jnp.asarray(np.asarray(x, np.float64)), params)
        flat, back = jax.flatten_util.ravel_pytree(wide)
        batch = jax.tree.map(
            lambda x: jnp.asarray(x.astype(np.float64) if x.dtype.kind == "f" else x), problem.head(99)
        )
        return np.asarray(jax.hessian(lambda v: jnp.mean(problem.loss(back(v), batch)))(flat))


def softplus_with_a_reverse_rule() -> Any:
    @jax.custom_vjp
    def softplus(z: Any) -> Any:
        return jnp.logaddexp(z, 0)

    softplus.defvjp(lambda z: (jnp.logaddexp(z, 0), z), lambda z, g: (g * jax.nn.sigmoid(z),))
    return softplus


@pytest.mark.faults
def test_row_45_a_reverse_only_loss_has_every_measure_of_gradients() -> None:
    own = softplus_with_a_reverse_rule()

    def problem(function: Any) -> Problem:
        return Problem(
            lambda params, batch: function(linear(params, batch[0])) - batch[1] * linear(params, batch[0]),
            train=(X, Y),
        )

    mine, plain = problem(own), problem(lambda z: jnp.logaddexp(z, 0))
    for build in (landscape.fisher, landscape.hessian):
        np.testing.assert_allclose(
            build(mine, PARAMS).dense(), build(plain, PARAMS).dense(), rtol=1e-5, atol=1e-6
        )
    for measures in (["sam", "fisher_rao"], ["gaussian"]):
        a, b = (
            landscape.measure_flatness(p, PARAMS, measures=measures, draws=4).records for p in (mine, plain)
        )
        assert [x["value"] for x in a] == pytest.approx([x["value"] for x in b], rel=1e-4)


@pytest.mark.faults
def test_row_45_a_reverse_only_model_has_its_gauss_newton_and_fisher() -> None:
    own = softplus_with_a_reverse_rule()

    def problem(function: Any) -> Problem:
        def model(params: Any, batch: Any) -> Any:
            return function(linear(params, batch[0]))

        def loss(z: Any, batch: Any) -> Any:
            return 0.5 * (z - batch[1]) ** 2

        return Problem(
            lambda params, batch: loss(model(params, batch), batch),
            train=(X, Y),
            outputs=Outputs(model, loss, likelihood="gaussian"),
        )

    mine, plain = problem(own), problem(lambda z: jnp.logaddexp(z, 0))
    np.testing.assert_allclose(
        landscape.gauss_newton(mine, PARAMS).dense(), landscape.gauss_newton(plain, PARAMS).dense(), rtol=1e-5
    )
    a, b = (landscape.fisher(p, PARAMS, labels="model").dense() for p in (mine, plain))
    np.testing.assert_allclose(a, b, rtol=1e-5)


@pytest.mark.faults
def test_row_45_where_forward_mode_is_needed_the_refusal_says_what_works() -> None:
    inner = softplus_with_a_reverse_rule()

    @jax.custom_vjp
    def outer(z: Any) -> Any:
        return z * inner(z)

    # The backward rule has a part with a reverse rule only: there are no second derivatives.
    outer.defvjp(lambda z: (z * inner(z), z), lambda z, g: (g * inner(z),))
    problem = Problem(lambda params, batch: outer(linear(params, batch[0])), train=(X, Y))
    with pytest.raises(ProblemError, match=r"custom_vjp[\s\S]*fisher\(labels='data'\)"):
        landscape.hessian(problem, PARAMS).dense()
    assert landscape.fisher(problem, PARAMS).dense().shape == (4, 4)


@pytest.mark.faults
def test_row_45_a_loss_with_aux_is_told_that_the_loss_alone_is_wanted() -> None:
    problem = Problem(lambda params, batch: (linear(params, batch[0]) ** 2, {"seen": 1}), train=(X, Y))
    with pytest.raises(ProblemError, match=r"loss: returned several things[\s\S]*\(loss, aux\)"):
        problem.evaluate(PARAMS)


# What is right today stays right.


def padded(params: Any, batch: Any) -> Any:
    tokens, targets = batch
    logits = jnp.where(tokens[..., None] >= 0, params["e"][jnp.maximum(tokens, 0)], 0) @ params["u"]
    nll = (
        jax.nn.logsumexp(logits, -1)
        - jnp.take_along_axis(logits, jnp.maximum(targets, 0)[..., None], -1)[..., 0]
    )
    valid = targets >= 0
    return jnp.where(valid, nll, 0).sum(-1) / jnp.maximum(valid.sum(-1), 1)


def test_padded_tokens_give_the_loss_of_the_sequences_without_them() -> None:
    rng = np.random.default_rng(0)
    params = {
        "e": rng.standard_normal((5, 3)).astype(np.float32),
        "u": rng.standard_normal((3, 5)).astype(np.float32),
    }
    short = rng.integers(0, 5, (4, 3)).astype(np.int32)
    filled = np.concatenate([short, np.full((4, 2), -1, np.int32)], axis=1)
    a, b = (Problem(padded, train=(tokens, tokens)) for tokens in (short, filled))
    np.testing.assert_allclose(a.per_example(params)["loss"], b.per_example(params)["loss"], rtol=1e-6)
    dense_a, dense_b = (landscape.hessian(p, params).dense() for p in (a, b))
    np.testing.assert_allclose(dense_a, dense_b, rtol=1e-4, atol=1e-6)


def test_weight_decay_in_the_loss_adds_its_multiple_of_the_identity() -> None:
    def decayed(params: Any, batch: Any) -> Any:
        return (linear(params, batch[0]) - batch[1]) ** 2 + 0.25 * sum(
            jnp.sum(x**2) for x in jax.tree.leaves(params)
        )

    plain = Problem(lambda params, batch: (linear(params, batch[0]) - batch[1]) ** 2, train=(X, Y))
    difference = (
        landscape.hessian(Problem(decayed, train=(X, Y)), PARAMS).dense()
        - landscape.hessian(plain, PARAMS).dense()
    )
    np.testing.assert_allclose(difference, 0.5 * np.eye(4), atol=2e-6)


def test_a_loss_with_a_while_loop_has_a_barrier() -> None:
    def looped(params: Any, batch: Any) -> Any:
        def body(state: Any) -> Any:
            return state[0] + 1, 0.5 * jnp.tanh(state[1] + linear(params, batch[0]))

        return jax.lax.while_loop(lambda state: state[0] < 3, body, (0, 0 * batch[1]))[1] ** 2

    def unrolled(params: Any, batch: Any) -> Any:
        z = 0 * batch[1]
        for _ in range(3):
            z = 0.5 * jnp.tanh(z + linear(params, batch[0]))
        return z**2

    a, b = (
        loss_barrier(Problem(loss, train=(X, Y)), PARAMS, OTHER, num_points=3, refine=False)
        for loss in (looped, unrolled)
    )
    np.testing.assert_allclose(a.losses["train"]["loss"], b.losses["train"]["loss"], rtol=1e-5)


def test_a_scan_with_remat_has_the_hessian_of_its_unrolled_form() -> None:
    def step(params: Any, z: Any, x: Any) -> Any:
        return jnp.tanh(z + linear(params, x))

    def scanned(params: Any, batch: Any) -> Any:
        run = jax.checkpoint(lambda z, _: (step(params, z, batch[0]), None))
        return jax.lax.scan(run, 0 * batch[1], None, length=3)[0] ** 2

    found = landscape.hessian(Problem(scanned, train=(X, Y)), PARAMS).dense()

    def unrolled(params: Any, batch: Any) -> Any:
        z = 0 * batch[1]
        for _ in range(3):
            z = step(params, z, batch[0])
        return z**2

    np.testing.assert_allclose(found, dense(Problem(unrolled, train=(X, Y)), PARAMS), rtol=2e-4, atol=2e-5)


def test_labels_that_are_nan_and_masked_safely_leave_finite_derivatives() -> None:
    labels = Y.copy()
    labels[::3] = np.nan

    def masked(params: Any, batch: Any) -> Any:
        known = jnp.isfinite(batch[1])
        return jnp.where(known, (linear(params, batch[0]) - jnp.where(known, batch[1], 0)) ** 2, 0)

    problem = Problem(masked, train=(X, labels))
    known = np.isfinite(labels)
    design = np.concatenate([np.ones((known.sum(), 1)), X[known]], axis=1)
    np.testing.assert_allclose(
        landscape.hessian(problem, PARAMS).dense(), 2 * design.T @ design / 9, rtol=1e-4, atol=1e-6
    )


def test_partitioned_boxes_of_flax_are_parameters_and_come_back_boxed() -> None:
    model = nn.Dense(1, kernel_init=nn.with_partitioning(nn.initializers.lecun_normal(), (None, "model")))
    boxed = model.init(jax.random.key(0), X)
    problem = Problem(
        lambda params, batch: (model.apply(nn.unbox(params), batch[0])[:, 0] - batch[1]) ** 2, train=(X, Y)
    )
    operator = landscape.hessian(problem, boxed)
    tree = operator.unflatten(np.ones(operator.dim, np.float32))
    assert isinstance(tree["params"]["kernel"], nn.Partitioned)
    np.testing.assert_allclose(
        operator.dense(), landscape.hessian(problem, nn.unbox(boxed)).dense(), rtol=1e-6
    )


def test_a_callback_without_a_derivative_has_losses_and_no_matrices() -> None:
    def called(params: Any, batch: Any) -> Any:
        z = linear(params, batch[0])
        return jax.pure_callback(np.square, jax.ShapeDtypeStruct(z.shape, z.dtype), z)

    problem = Problem(called, train=(X, Y))
    plain = Problem(lambda params, batch: linear(params, batch[0]) ** 2, train=(X, Y))
    assert problem.evaluate(PARAMS)["loss"] == pytest.approx(plain.evaluate(PARAMS)["loss"], rel=1e-6)
    with pytest.raises(ProblemError, match="cannot be differentiated"):
        landscape.hessian(problem, PARAMS).dense()


def test_an_operator_takes_trees_and_gives_trees() -> None:
    problem = Problem(lambda params, batch: (linear(params, batch[0]) - batch[1]) ** 2, train=(X, Y))
    operator = landscape.hessian(problem, PARAMS)
    expected = operator.unflatten(operator @ operator.flatten(OTHER))
    for found in (operator @ OTHER, operator(OTHER)):
        jax.tree.map(np.testing.assert_array_equal, found, expected)
    np.testing.assert_array_equal(operator([1.0, 0, 0, 0]), operator @ np.array([1.0, 0, 0, 0]))
    with pytest.raises(ArchitectureMismatchError, match="the tree"):
        operator @ {"w": PARAMS["w"]}


def test_a_problem_may_stand_where_a_function_is_named(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(
        "import numpy as np, landscape\n"
        "ready = landscape.Problem(lambda p, b: p['w'] * b, train=np.ones(3, np.float32))\n"
        "def made():\n    return ready\n",
        encoding="utf-8",
    )
    for name in ("ready", "made"):
        assert load_problem(f"{path}:{name}").num_examples("train") == 3


def test_a_stream_may_be_a_function_and_a_list_of_batches_is_told_of_streams() -> None:
    batches = [(X[:4], Y[:4]), (X[4:], Y[4:])]

    def loss(params: Any, batch: Any) -> Any:
        return (linear(params, batch[0]) - batch[1]) ** 2

    def read() -> Any:
        yield from batches

    streamed = Problem(loss, train=landscape.Stream(read))
    assert streamed.evaluate(PARAMS) == pytest.approx(Problem(loss, train=(X, Y)).evaluate(PARAMS))
    with pytest.raises(ProblemError, match=r"landscape\.Stream\(batches\)"):
        Problem(loss, train=batches)
    with pytest.raises(
        ProblemError, match=r"landscape\.Stream\(batches\)"
    ):  # of one length: read as one tree
        Problem(loss, train=[(X[:4], Y[:4]), (X[4:8], Y[4:8])]).evaluate(PARAMS)
    for bad in (3, lambda: 3):
        with pytest.raises(ProblemError, match="train: "):
            Problem(loss, train=landscape.Stream(bad))  # type: ignore[arg-type]
