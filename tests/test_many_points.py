"""Several points of a path or plane in one program: the values of single calls."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from landscape import Metric, Outputs, Problem, Stream, loss_barrier, loss_line
from landscape.problem import along, per_example_along

RNG = np.random.default_rng(3)
X = RNG.normal(size=(37, 4)).astype(np.float32)


def loss(params: Any, batch: Any) -> jax.Array:
    return (jnp.tanh(batch @ params["w"]).sum(1) - params["b"]) ** 2


def network(seed: int) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    return {"w": rng.normal(size=(4, 6)).astype(np.float32), "b": np.float32(rng.normal())}


def on_line(ends: Any, alpha: Any) -> Any:
    return jax.tree.map(lambda x, y: x + alpha * (y - x), *ends)


def checked(**more: Any) -> Problem:
    metrics = {"large": Metric(lambda p, b: loss(p, b) > 1)}
    return Problem(loss, train=X, test=X[:5], metrics=metrics, check=network(0), **more)


ENDS = (network(0), network(1))
ALPHAS = np.linspace(0.05, 0.95, 11, dtype=np.float32)


@pytest.mark.parametrize("batch_size", [None, 10])
def test_points_have_the_values_of_single_calls(batch_size: int | None) -> None:
    problem = checked()
    found = per_example_along(problem, on_line, ENDS, ALPHAS, splits=("train", "test"), batch_size=batch_size)
    assert found is not None
    several = list(found)
    assert len(several) == len(ALPHAS)
    for alpha, at_point in zip(ALPHAS, several, strict=True):
        for split, values in at_point.items():
            single = problem.per_example(on_line(ENDS, alpha), split)
            assert set(values) == set(single)
            np.testing.assert_allclose(values["loss"], single["loss"], rtol=1e-5, atol=1e-6)


def test_values_do_not_depend_on_which_points_are_asked_for_together() -> None:
    problem = checked()

    def losses(alphas: np.ndarray) -> list[np.ndarray]:
        found = per_example_along(problem, on_line, ENDS, alphas, splits=("train",))
        assert found is not None
        return [values["train"]["loss"] for values in found]

    whole, parts = losses(ALPHAS), [*losses(ALPHAS[:3]), *losses(ALPHAS[3:])]
    np.testing.assert_array_equal(whole, parts)


def test_what_gains_nothing_is_left_to_single_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    ask = {"splits": ("train",)}
    assert per_example_along(checked(), on_line, ENDS, ALPHAS[:0], **ask) is None
    assert per_example_along(Problem(loss, train=X), on_line, ENDS, ALPHAS, **ask) is None  # not probed yet
    streamed = Problem(loss, train=Stream([X[:20], X[20:]]), check=network(0))
    assert per_example_along(streamed, on_line, ENDS, ALPHAS, **ask) is None
    monkeypatch.setattr(along, "_MOST_WORK", 24)
    assert per_example_along(checked(), on_line, ENDS, ALPHAS, **ask) is None


def test_paths_and_lines_agree_with_single_calls_and_ends_to_the_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    def measured() -> list[np.ndarray]:
        path = loss_barrier(checked(), *ENDS, num_points=7, num_resamples=20, refine=False)
        line = loss_line(checked(), list(ENDS), directions="checkpoints", x=(-0.5, 1.5, 5))
        assert path.stats["evaluations"] == 7 * 2
        return [np.ravel(found.losses["train"]["loss"]) for found in (path, line)]

    several = measured()
    monkeypatch.setattr(along, "_MOST_WORK", 0)
    single = measured()
    for ours, theirs in zip(several, single, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-6)
    for end, row in zip(ENDS, several[0][[0, -1]], strict=True):
        assert row == checked().evaluate(end)["loss"]


def test_one_pass_serves_the_loss_and_metrics_of_its_outputs() -> None:
    traced: list[int] = []

    def model(params: Any, batch: Any) -> jax.Array:
        traced.append(1)
        return jnp.tanh(batch @ params["w"]).sum(1) - params["b"]

    def squared(outputs: Any, batch: Any) -> jax.Array:
        return outputs**2 + 0 * batch[:, 0]

    def large(outputs: Any, batch: Any) -> jax.Array:
        return (outputs > 1) | (batch[:, 0] > 9)

    def problem(of_outputs: Any) -> Problem:
        metric = Metric(lambda p, b: large(model(p, b), b), of_outputs=of_outputs)
        outputs = Outputs(model, squared)
        given = {"metrics": {"large": metric}, "outputs": outputs, "check": network(0)}
        return Problem(lambda p, b: squared(model(p, b), b), train=X, **given)

    counts, values = [], []
    for of_outputs in (large, None):
        made = problem(of_outputs)
        traced.clear()
        values.append(made.per_example(network(1)))
        counts.append(len(traced))
    assert counts == [1, 2]
    for key in ("loss", "large"):
        np.testing.assert_array_equal(values[0][key], values[1][key])
