"""Refinement that lowers the barrier itself: never worse than it began, and refused without a gradient."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from landscape import Problem, align, loss_barrier
from landscape.errors import ProblemError

MATCHED = ("weights", "activations")
X = np.random.default_rng(0).normal(size=(96, 4)).astype(np.float32)


def _loss(params: Any, batch: Any) -> Any:
    hidden = jnp.maximum(batch @ params["w"] + params["b"], 0)
    return (hidden @ params["v"] - jnp.sin(batch.sum(1))) ** 2


def _params(seed: int, width: int = 8) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    shapes = {"w": (4, width), "b": (width,), "v": (width,)}
    return {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


def _height(problem: Problem, a: Any, b: Any) -> float:
    found = loss_barrier(problem, a, b, splits=("train",), refine=False, num_resamples=20)
    assert found.barrier_above_chord is not None
    return found.barrier_above_chord


@pytest.mark.parametrize("symmetry", [("permutation",), ("permutation", "scale")])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_refinement_never_ends_with_a_higher_barrier_than_it_began(seed: int, symmetry: Any) -> None:
    problem, a, b = Problem(_loss, train=X), _params(2 * seed), _params(2 * seed + 1)
    found = align(problem, a, b, method="barrier", symmetry=symmetry, steps=30)
    others = [align(problem, a, b, method=method, symmetry=symmetry).params for method in MATCHED]
    assert found.barrier_before == pytest.approx(_height(problem, a, b), rel=1e-6)
    assert found.barrier_after == pytest.approx(_height(problem, a, found.params), rel=1e-6)
    assert found.barrier_after <= found.barrier_before
    for other in others:
        assert found.barrier_after <= _height(problem, a, other) * (1 + 1e-4) + 1e-7
    assert found.equivalence_error < 1e-5
    assert "above the chord" in str(found)


def _trained(seed: int) -> dict[str, np.ndarray]:
    """Return a network of 12 units after 400 steps of Adam on all examples."""
    optimizer = optax.adam(0.02)

    def step(_: Any, carry: Any) -> Any:
        params, state = carry
        updates, state = optimizer.update(jax.grad(lambda p: _loss(p, X).mean())(params), state)
        return optax.apply_updates(params, updates), state

    start = _params(seed, 12)
    params, _ = jax.jit(lambda p: jax.lax.fori_loop(0, 400, step, (p, optimizer.init(p))))(start)
    return {name: np.asarray(leaf) for name, leaf in params.items()}


def test_refinement_lowers_the_barrier_between_trained_networks_below_that_of_both_matches() -> None:
    problem, lowered = Problem(_loss, train=X), 0
    for seed in range(3):
        a, b = _trained(2 * seed), _trained(2 * seed + 1)
        found = align(problem, a, b, method="barrier")
        heights = [_height(problem, a, align(problem, a, b, method=method).params) for method in MATCHED]
        assert found.barrier_after is not None
        assert found.barrier_after <= min(heights) + 1e-7
        lowered += found.barrier_after < 0.99 * min(heights)
    assert lowered


def test_a_planted_permutation_leaves_no_barrier() -> None:
    problem, a, order = Problem(_loss, train=X), _trained(0), np.random.default_rng(0).permutation(12)
    b = {"w": a["w"][:, order], "b": a["b"][order], "v": a["v"][order]}
    found = align(problem, a, b, method="barrier", steps=3)
    assert found.barrier_before is not None
    assert found.barrier_before > 0
    assert found.barrier_after == 0
    for name, leaf in a.items():
        np.testing.assert_array_equal(found.params[name], leaf)


def test_a_network_that_fits_its_data_is_compared_in_float64() -> None:
    a = _trained(0)
    targets = np.asarray(jnp.maximum(X @ a["w"] + a["b"], 0) @ a["v"])  # its own outputs: no loss is left
    problem = Problem(
        lambda p, batch: (jnp.maximum(batch[0] @ p["w"] + p["b"], 0) @ p["v"] - batch[1]) ** 2,
        train=(X, targets + np.float32(1e-3)),
    )
    order = np.random.default_rng(0).permutation(12)
    found = align(problem, a, {"w": a["w"][:, order], "b": a["b"][order], "v": a["v"][order]})
    assert found.equivalence_error < 1e-9
    assert any("float64" in text for text in found.warnings)


@pytest.mark.faults
def test_a_loss_without_a_gradient_is_refused_in_one_sentence() -> None:
    a, b = _params(0), _params(1)
    flat = Problem(lambda p, batch: jnp.floor(_loss(p, batch)), train=X)
    with pytest.raises(ProblemError, match="needs a gradient"):
        align(flat, a, b, method="barrier", steps=5)
    stated = Problem(_loss, train=X, differentiable=False)
    with pytest.raises(ProblemError, match="needs derivatives"):
        align(stated, a, b, method="barrier", steps=5)
    assert align(stated, a, b, method="weights").method == "weights"
