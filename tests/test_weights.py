"""Weighted examples: means, derivatives and matrices against the whole batch by hand, and what is refused."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np
import pytest
from weighted_samples import (
    COUNT,
    DIM,
    OTHER,
    PARAMS,
    REAL,
    WHOLE,
    X,
    Y,
    back,
    by_hand,
    flat,
    in_float64,
    loss,
    model,
    problem,
    repeated,
    right,
    third,
)

import landscape
from landscape import Metric, Problem, Stream
from landscape.errors import ConfigurationError, ProblemError

KINDS = ("hessian", "gauss_newton", "fisher", "model fisher")


def operator(given: Problem, kind: str, **more: Any) -> Any:
    if kind == "model fisher":
        return landscape.fisher(given, PARAMS, labels="model", dtype="float64", **more)
    return getattr(landscape, kind)(given, PARAMS, dtype="float64", **more)


def dense(kind: str, weights: np.ndarray) -> np.ndarray:
    """Return a weighted matrix in float64, by jax's own means."""
    x, w = X.astype(np.float64), weights.astype(np.float64) / weights.astype(np.float64).sum()
    vector = flat(PARAMS)
    if kind == "hessian":
        return in_float64(jax.hessian(by_hand(weights)), vector)
    if kind == "fisher":
        slopes = in_float64(jax.jacobian(lambda v: loss(back()(v), (x, Y))), vector)
        return np.einsum("i,ij,ik->jk", w, slopes, slopes)
    # Of a softmax with cross-entropy the Gauss-Newton matrix is the Fisher information.
    jacobian = in_float64(jax.jacobian(lambda v: model(back()(v), (x, Y))), vector)
    p = in_float64(jax.nn.softmax, in_float64(lambda v: model(back()(v), (x, Y)), vector))
    inner = np.einsum("ia,ab->iab", p, np.eye(3)) - np.einsum("ia,ib->iab", p, p)
    return np.einsum("i,iaj,iab,ibk->jk", w, jacobian, inner, jacobian)


@pytest.mark.parametrize("batch_size", [1, 7, 22, 23, None])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_means_are_the_weighted_ones_whatever_the_batch_size(batch_size: int | None, dtype: str) -> None:
    found = problem(REAL).evaluate(PARAMS, batch_size=batch_size, dtype=dtype)
    expected = float(in_float64(by_hand(REAL), flat(PARAMS)))
    assert found["loss"] == pytest.approx(expected, rel=1e-6 if dtype == "float32" else 1e-12)
    hits = np.asarray(right(PARAMS, (X, Y)))
    assert found["accuracy"] == pytest.approx(float(REAL @ hits / REAL.sum()), rel=1e-6)


def batches(size: int) -> Iterator[tuple[np.ndarray, ...]]:
    for start in range(0, COUNT, size):
        yield X[start : start + size], Y[start : start + size], REAL[start : start + size]


@pytest.mark.parametrize("batch_size", [3, 10, None])
def test_a_stream_has_the_means_and_products_of_its_arrays(batch_size: int | None) -> None:
    streamed = problem(REAL, train=Stream(lambda: batches(5)))
    assert streamed.evaluate(PARAMS, batch_size=batch_size) == pytest.approx(problem(REAL).evaluate(PARAMS))
    for kind in KINDS:
        given = operator(streamed, kind, batch_size=batch_size)
        np.testing.assert_allclose(given.dense(), dense(kind, REAL), atol=1e-12)
    np.testing.assert_allclose(
        operator(streamed, "hessian", batch_size=batch_size).gradient(),
        in_float64(jax.grad(by_hand(REAL)), flat(PARAMS)),
        atol=1e-12,
    )


@pytest.mark.parametrize("batch_size", [1, 4, 22, None])
@pytest.mark.parametrize("kind", KINDS)
def test_every_matrix_is_that_of_the_weighted_mean(kind: str, batch_size: int | None) -> None:
    found = operator(problem(REAL), kind, batch_size=batch_size)
    np.testing.assert_allclose(found.dense(), dense(kind, REAL), atol=1e-12)
    assert found.num_examples == np.count_nonzero(REAL)


def test_gradient_is_that_of_the_weighted_mean() -> None:
    expected = in_float64(jax.grad(by_hand(REAL)), flat(PARAMS))
    for size in (5, None):
        found = operator(problem(REAL), "hessian", batch_size=size).gradient()
        np.testing.assert_allclose(found, expected, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_whole_number_weights_are_repeated_examples(kind: str) -> None:
    weighted, plain = (operator(given, kind) for given in (problem(WHOLE), repeated(WHOLE)))
    np.testing.assert_allclose(weighted.dense(), plain.dense(), atol=1e-13)
    np.testing.assert_allclose(weighted.gradient(), plain.gradient(), atol=1e-13)
    for method, options in (("hutchinson", {"num_probes": 12}), ("hutch++", {"num_probes": 12})):
        a, b = (landscape.trace(given, method=method, seed=3, **options) for given in (weighted, plain))
        assert a.value == pytest.approx(b.value, rel=1e-10)
        assert a.standard_error == pytest.approx(b.standard_error, rel=1e-8)
    assert problem(WHOLE).evaluate(PARAMS) == pytest.approx(repeated(WHOLE).evaluate(PARAMS), rel=1e-6)


def test_estimates_and_eigenpairs_are_those_of_the_weighted_matrix() -> None:
    given, matrix = operator(problem(REAL), "hessian"), dense("hessian", REAL)
    values = np.linalg.eigvalsh(matrix)
    found = landscape.top_eigenpairs(given, 3, which="largest")
    np.testing.assert_allclose(found.eigenvalues, values[::-1][:3], atol=1e-8)
    assert landscape.trace(given, method="exact").value == pytest.approx(np.trace(matrix), abs=1e-12)
    np.testing.assert_allclose(landscape.diagonal(given).values, np.diag(matrix), atol=1e-12)
    norm = landscape.frobenius_norm(given, num_probes=200, seed=1)
    assert abs(norm.value - np.linalg.norm(matrix)) < 5 * norm.standard_error + 1e-12  # false alarm 1e-5
    density = landscape.spectral_density(given)
    assert density.checks["mean_eigenvalue"] == pytest.approx(np.trace(matrix) / DIM, abs=1e-8)


@pytest.mark.parametrize("constant", [1.0, 3.0, 1e-30, 1e30])
def test_equal_weights_are_bit_identical_to_no_weights(constant: float) -> None:
    equal, plain = problem(np.full(COUNT, constant, np.float64)), problem(None)
    assert equal.evaluate(PARAMS, batch_size=5) == plain.evaluate(PARAMS, batch_size=5)
    a, b = (landscape.hessian(given, PARAMS, batch_size=5) for given in (equal, plain))
    np.testing.assert_array_equal(a.dense(), b.dense())
    np.testing.assert_array_equal(a.gradient(), b.gradient())
    measured = [landscape.loss_barrier(given, PARAMS, OTHER, num_points=5) for given in (equal, plain)]
    np.testing.assert_array_equal(measured[0].losses["train"]["loss"], measured[1].losses["train"]["loss"])
    assert measured[0].interval_above_chord == measured[1].interval_above_chord
    assert measured[0].config["problem"] == {**measured[1].config["problem"], "weights": "third"}


def test_weights_that_are_all_but_equal_give_all_but_the_plain_results(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The weighted formulas, and not the plain ones: equal weights would be none."""
    monkeypatch.setattr("landscape.connectivity.barrier_interval._STUDENTISED", 0)
    nearly, plain = problem(1 + 1e-9 * np.arange(COUNT)), problem(None)
    assert nearly.weighting("train").weights is not None
    assert nearly.evaluate(PARAMS) == pytest.approx(plain.evaluate(PARAMS), rel=1e-7)
    a, b = (operator(given, "hessian").dense() for given in (nearly, plain))
    np.testing.assert_allclose(a, b, atol=1e-7)
    measured = [landscape.loss_barrier(given, PARAMS, OTHER, num_points=5) for given in (nearly, plain)]
    assert measured[0].interval_above_chord == pytest.approx(measured[1].interval_above_chord, rel=1e-6)
    assert measured[0].bias_above_mean == pytest.approx(measured[1].bias_above_mean, rel=1e-6)


def test_a_common_factor_of_the_weights_changes_nothing() -> None:
    a, b = problem(REAL.astype(np.float64)), problem(1e30 * REAL.astype(np.float64))
    assert a.evaluate(PARAMS) == pytest.approx(b.evaluate(PARAMS), rel=1e-14)
    np.testing.assert_allclose(operator(a, "fisher").dense(), operator(b, "fisher").dense(), atol=1e-15)


@pytest.mark.parametrize("batch_size", [4, None])
def test_an_example_of_weight_0_is_left_out_even_if_its_loss_is_not_finite(batch_size: int | None) -> None:
    bad = X.copy()
    bad[REAL == 0] = np.nan
    hostile = problem(REAL, train=(bad, Y, REAL))
    kept = np.flatnonzero(REAL)
    assert hostile.evaluate(PARAMS, batch_size=batch_size) == pytest.approx(problem(REAL).evaluate(PARAMS))
    for kind in KINDS:
        found = operator(hostile, kind, batch_size=batch_size)
        np.testing.assert_allclose(found.dense(), dense(kind, REAL), atol=1e-12)
    assert np.isfinite(operator(hostile, "hessian", batch_size=batch_size).gradient()).all()
    barrier = landscape.loss_barrier(hostile, PARAMS, OTHER, num_points=5, batch_size=batch_size)
    without = landscape.loss_barrier(problem(REAL, kept), PARAMS, OTHER, num_points=5)
    assert barrier.status == "ok"
    assert not np.isfinite(hostile.per_example(PARAMS)["loss"]).all()
    # Without weights on what is left: other resamples weigh alike.
    weighted = problem(REAL, train=tuple(array[kept] for array in (X, Y, REAL)))
    alone = landscape.loss_barrier(weighted, PARAMS, OTHER, num_points=5)
    assert barrier.interval_above_chord == pytest.approx(alone.interval_above_chord, rel=1e-5)
    assert without.interval_above_chord is not None


@pytest.mark.parametrize("subset", [9, [20, 3, 3, 11, 0, 7]])
def test_a_subset_is_the_weighted_mean_of_its_own_examples(subset: Any) -> None:
    rows = np.arange(subset) if isinstance(subset, int) else np.array(subset)
    chosen = np.zeros(COUNT)
    np.add.at(chosen, rows, REAL[rows])
    found = operator(problem(REAL), "hessian", subset=subset, batch_size=2)
    np.testing.assert_allclose(found.dense(), dense("hessian", chosen), atol=1e-12)


def test_groups_of_examples_add_up_to_the_whole_matrix_by_their_weights() -> None:
    whole = operator(problem(REAL), "hessian")
    shares = whole.group_shares(4)
    assert shares is not None
    total = sum(share * group.dense() for share, group in zip(shares, whole.groups(4), strict=True))
    np.testing.assert_allclose(total, dense("hessian", REAL), atol=1e-12)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (lambda batch: batch[2] - 1, r"weights: not finite or negative[\s\S]*for example"),
        (lambda batch: batch[2] / 0, r"weights: not finite or negative"),
        (lambda batch: 0 * batch[2], r"all 23 examples of train weigh 0"),
        (lambda batch: batch[2].sum(), r"weights: must give one value per example"),
        (lambda batch: batch[0], r"weights: must give one value per example"),
        (lambda batch: batch[2] / batch[2].sum(), r"weights: .*depends on the other examples"),
        (lambda batch: batch[2] + np.random.default_rng().random(), r"weights: two evaluations"),
        (lambda _, batch: batch[2], r"the problem's weights raised TypeError[\s\S]*weights\(batch\)"),
    ],
)
def test_weights_that_cannot_be_those_of_a_mean_are_refused(weights: Any, message: str) -> None:
    given = Problem(loss, train=(X, Y, REAL), weights=weights)
    with pytest.raises(ProblemError, match=message):
        given.evaluate(PARAMS)
    with pytest.raises(ProblemError, match=message):
        Problem(loss, train=(X, Y, REAL), weights=weights, check=PARAMS)


def test_weights_of_another_split_are_checked_when_it_is_used() -> None:
    given = problem(REAL, test=(X, Y, np.zeros(COUNT, np.float32)))
    given.evaluate(PARAMS)
    with pytest.raises(ProblemError, match="examples of test weigh 0"):
        given.evaluate(PARAMS, "test")


def test_weights_are_refused_beside_losses_of_whole_batches_and_where_they_are_no_function() -> None:
    with pytest.raises(ProblemError, match="weights: not a function"):
        Problem(loss, train=(X, Y), weights=REAL)  # type: ignore[arg-type]  # what is refused
    with pytest.raises(ProblemError, match="population_loss"):
        Problem(loss, train=(X, Y, REAL), weights=third, population_loss=lambda *_: jnp.zeros(1))


def test_a_subset_of_weight_0_is_refused() -> None:
    zero = np.flatnonzero(REAL == 0)
    with pytest.raises(ConfigurationError, match="subset: all of its examples weigh 0"):
        operator(problem(REAL), "hessian", subset=zero)


def test_results_say_that_weights_were_used(tmp_path: Path) -> None:
    given = problem(REAL)
    found = landscape.loss_barrier(given, PARAMS, OTHER, num_points=3)
    assert found.config["problem"]["weights"] == "third"
    kept = REAL[REAL > 0].astype(np.float64)
    effective = kept.sum() ** 2 / (kept**2).sum()
    assert found.stats["weights"]["effective_examples"] == pytest.approx(effective)
    assert f"weighted (effective number {effective:.4g})" in str(found)
    found.save(tmp_path / "barrier.h5")
    assert str(landscape.load_result(tmp_path / "barrier.h5")) == str(found)
    assert "weights: third" in repr(given)
    plain = Problem(loss, train=(X, Y, REAL))
    assert given.data_digest("train") != plain.data_digest("train")
    assert operator(given, "hessian").config["problem"]["weights"] == "third"


def test_a_loss_of_numerator_and_denominator_is_told_about_weights() -> None:
    given = Problem(lambda params, batch: (loss(params, batch), batch[2]), train=(X, Y, REAL))
    with pytest.raises(ProblemError, match=r"\(numerator, denominator\)[\s\S]*weights="):
        given.evaluate(PARAMS)


# A language model: the loss of a sequence is the mean over its valid tokens, its weight their number.

VOCABULARY, LENGTH = 7, 6


def tokens() -> np.ndarray:
    """Return sequences of 1 to 6 tokens filled up with -1, one of them of nothing but filling."""
    rng = np.random.default_rng(3)
    found = rng.integers(0, VOCABULARY, (11, LENGTH)).astype(np.int32)
    found[np.arange(LENGTH) >= rng.integers(2, LENGTH + 1, 11)[:, None]] = -1
    found[4] = -1
    return found


def causal_logits(params: Any, sequences: Any) -> jax.Array:
    """Return next-token logits [B, T, V] of a one-layer causal attention."""
    x = params["e"][jnp.maximum(sequences, 0)]
    scores = jnp.einsum("btd,bsd->bts", x @ params["q"], x)
    unseen = jnp.arange(LENGTH)[:, None] < jnp.arange(LENGTH)
    attention = jax.nn.softmax(jnp.where(unseen, -1e9, scores))
    return (x + jnp.einsum("bts,bsd->btd", attention, x)) @ params["u"]


def token_losses(params: Any, sequences: Any) -> jax.Array:
    logits, targets = causal_logits(params, sequences)[:, :-1], jnp.maximum(sequences[:, 1:], 0)
    picked = jnp.take_along_axis(logits, targets[..., None], -1)[..., 0]
    return jax.nn.logsumexp(logits, -1) - picked


def valid_tokens(sequences: Any) -> jax.Array:
    return (sequences[:, 1:] >= 0).sum(-1)


def sequence_loss(params: Any, sequences: Any) -> jax.Array:
    losses = jnp.where(sequences[:, 1:] >= 0, token_losses(params, sequences), 0).sum(-1)
    return losses / jnp.maximum(valid_tokens(sequences), 1)


def language_model() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(4)
    shapes = {"e": (VOCABULARY, 3), "q": (3, 3), "u": (3, VOCABULARY)}
    return {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


def over_tokens(params: Any) -> jax.Array:
    """Return the mean over all valid tokens of all sequences, by hand."""
    sequences = tokens()
    losses = token_losses(params, jnp.asarray(sequences))
    valid = sequences[:, 1:] >= 0
    return jnp.sum(jnp.where(valid, losses, 0)) / valid.sum()


@pytest.mark.parametrize("batch_size", [2, 5, None])
def test_a_language_model_has_its_mean_over_valid_tokens(batch_size: int | None) -> None:
    given, params = Problem(sequence_loss, train=tokens(), weights=valid_tokens), language_model()
    with jax.enable_x64(True):
        wide = {name: jnp.asarray(leaf, jnp.float64) for name, leaf in params.items()}
        vector, unravel = jax.flatten_util.ravel_pytree(wide)
        expected = float(over_tokens(wide))
        hessian = np.asarray(jax.hessian(lambda v: over_tokens(unravel(v)))(vector))
    options = {"batch_size": batch_size, "dtype": "float64"}
    assert given.evaluate(params, **options)["loss"] == pytest.approx(expected, rel=1e-12)
    np.testing.assert_allclose(landscape.hessian(given, params, **options).dense(), hessian, atol=1e-12)
    plain = Problem(sequence_loss, train=tokens()).evaluate(params, **options)["loss"]
    assert abs(plain - expected) > 1e-3  # the mean of the means is another number


def test_metrics_of_sequences_are_means_over_valid_tokens_too() -> None:
    def hits(params: Any, sequences: Any) -> jax.Array:
        valid = sequences[:, 1:] >= 0
        right = causal_logits(params, sequences)[:, :-1].argmax(-1) == sequences[:, 1:]
        return (right & valid).sum(-1) / jnp.maximum(valid.sum(-1), 1)

    params, sequences = language_model(), tokens()
    metrics = {"accuracy": Metric(hits, higher_is_better=True)}
    given = Problem(sequence_loss, train=sequences, weights=valid_tokens, metrics=metrics)
    valid = sequences[:, 1:] >= 0
    right_tokens = np.asarray(causal_logits(params, sequences))[:, :-1].argmax(-1) == sequences[:, 1:]
    expected = right_tokens[valid].mean()
    assert given.evaluate(params, batch_size=4)["accuracy"] == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(("spread", "warned"), [(0.5, False), (2.0, True)])
def test_intervals_that_few_examples_decide_come_with_a_warning(spread: float, warned: bool) -> None:
    weights = np.exp(spread * np.random.default_rng(0).normal(size=COUNT)).astype(np.float32)
    given = problem(weights)
    assert (given.weighting("train").effective < 0.45 * COUNT) is warned
    barrier = landscape.loss_barrier(given, PARAMS, OTHER, num_points=3, refine=False)
    matrix = landscape.barrier_matrix(given, [PARAMS, OTHER], num_points=3)
    for found in (barrier, matrix):
        assert any("few examples carry most of the weight" in text for text in found.warnings) is warned
