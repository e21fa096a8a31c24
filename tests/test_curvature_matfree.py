"""Lanczos, traces, diagonals and quadrature against another library, on one Hessian with the same vectors."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from curvature_samples import network_problem
from matfree import decomp, funm, stochtrace

from landscape import hessian
from landscape.curvature import Lanczos, estimators
from landscape.trees import Layout

STEPS = 12


@pytest.fixture(scope="module")
def pair() -> tuple[Any, Any]:
    """The Hessian of a network as our operator, and as a product that jax derives anew."""
    problem, params = network_problem("mlp", pixels=8)
    operator = hessian(problem, params, dtype="float64")
    layout = Layout.of(params)
    with jax.enable_x64(True):
        wide = jax.tree.map(lambda x: jnp.asarray(np.asarray(x), jnp.float64), params)
        batch = problem.arrays("train", dtype=np.float64)
        flat = jnp.asarray(layout.flatten(wide))

        def mean(vector: Any) -> Any:
            return problem.loss(layout.unflatten(vector, wide), batch).mean()

        @jax.jit
        def product(vector: Any) -> Any:
            return jax.jvp(jax.grad(mean), (flat,), (vector,))[1]

    return operator, product


def lanczos(operator: Any, start: np.ndarray) -> Lanczos:
    """Return our run of `STEPS` steps from a vector."""
    run = Lanczos(
        operator.rows,
        operator.dim,
        num_vectors=STEPS + 1,
        rng=np.random.default_rng(0),
        dtype=operator.dtype,
        start=start[None].copy(),
    )
    for _ in range(STEPS - 1):
        run.step()
    run.last_step()
    return run


def test_products_are_those_of_a_derivation_of_its_own(pair: Any) -> None:
    operator, product = pair
    vector = np.random.default_rng(0).standard_normal(operator.dim)
    with jax.enable_x64(True):
        expected = np.asarray(product(jnp.asarray(vector)))
    np.testing.assert_allclose(operator.matvec(vector), expected, rtol=1e-9, atol=1e-12)


def test_lanczos_makes_the_tridiagonal_matrix_of_the_other_library(pair: Any) -> None:
    operator, product = pair
    start = np.random.default_rng(1).standard_normal(operator.dim)
    run = lanczos(operator, start)
    with jax.enable_x64(True):
        _, dense, *_ = decomp.tridiag_sym(STEPS)(product, jnp.asarray(start / np.linalg.norm(start)))
        expected = np.linalg.eigvalsh(np.asarray(dense))
    np.testing.assert_allclose(run.ritz()[0], expected, rtol=1e-8, atol=1e-8 * abs(expected).max())


def test_quadrature_gives_the_quadratic_form_of_the_other_library(pair: Any) -> None:
    operator, product = pair
    start = np.random.default_rng(2).choice((-1.0, 1.0), operator.dim)
    run = lanczos(operator, start)
    theta, coefficients, _ = run.ritz()
    ours = operator.dim * float(coefficients[0] ** 2 @ np.log1p(theta**2))
    with jax.enable_x64(True):
        logarithm = funm.dense_funm_sym_eigh(lambda x: jnp.log1p(x**2))
        form = funm.monte_carlo_funm_sym(logarithm, decomp.tridiag_sym(STEPS))
        expected = float(form(product, jnp.asarray(start)))
    assert ours == pytest.approx(expected, rel=1e-8)


def test_leave_one_out_traces_are_those_of_the_other_library(pair: Any) -> None:
    operator, product = pair
    probes = np.random.default_rng(3).standard_normal((STEPS, operator.dim))
    probes *= np.sqrt(operator.dim) / np.linalg.norm(probes, axis=1, keepdims=True)
    with jax.enable_x64(True):
        expected = stochtrace.leave_one_out_xtrace()(product, jnp.asarray(probes))
        found = estimators.xtrace(operator.rows, probes)
        np.testing.assert_allclose(found, np.asarray(expected), rtol=1e-7)


def test_the_leave_one_out_diagonal_is_that_of_the_other_library(pair: Any) -> None:
    operator, product = pair
    probes = np.random.default_rng(4).choice((-1.0, 1.0), (STEPS, operator.dim))
    with jax.enable_x64(True):
        each = np.asarray(stochtrace.leave_one_out_xdiag()(product, jnp.asarray(probes)))
    found, spread = estimators.xdiag(operator.rows, probes)
    np.testing.assert_allclose(found, each.mean(0), rtol=1e-7, atol=1e-9 * np.abs(found).max())
    np.testing.assert_allclose(
        spread, each.std(0, ddof=1) / np.sqrt(STEPS), rtol=1e-6, atol=1e-9 * np.abs(found).max()
    )


def test_probes_of_the_trace_and_diagonal_give_the_values_of_the_other_library(pair: Any) -> None:
    operator, product = pair
    probe = np.random.default_rng(5).choice((-1.0, 1.0), operator.dim)
    with jax.enable_x64(True):
        trace = float(stochtrace.monte_carlo_trace()(product, jnp.asarray(probe)))
        each = np.asarray(stochtrace.monte_carlo_diagonal()(product, jnp.asarray(probe)))
    ours = probe * operator.matvec(probe)
    assert float(ours.sum()) == pytest.approx(trace, rel=1e-9)
    np.testing.assert_allclose(ours, each, rtol=1e-8, atol=1e-12)
