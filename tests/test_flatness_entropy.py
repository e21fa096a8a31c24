"""Local entropy against the closed form of quadratics and against quadrature in two dimensions."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flatness_samples import F64, quadratic

from landscape import Problem, local_entropy
from landscape.errors import ConfigurationError
from landscape.flatness import entropy, gaussian_integral, langevin
from landscape.flatness.neighbourhood import Neighbourhood
from landscape.flatness.options import Options


def closed_form(matrix: np.ndarray, slope: np.ndarray, gamma: float) -> float:
    """Return log E exp(−(g·x + ½ xᵀHx)) for x ∼ N(0, I/γ)."""
    size = len(slope)
    determinant = np.linalg.slogdet(np.eye(size) + matrix / gamma)[1]
    return float(0.5 * slope @ np.linalg.solve(matrix + gamma * np.eye(size), slope) - 0.5 * determinant)


@pytest.mark.parametrize(("gamma", "reference"), [(5.0, 500.0), (40.0, 1e4)])
@pytest.mark.parametrize("slope", [0.0, 1.0])
def test_the_gaussian_value_of_a_quadratic_is_its_closed_form(
    gamma: float, reference: float, slope: float
) -> None:
    problem, params, matrix, gradient = quadratic(slope=slope, shift=1.0)
    found = local_entropy(problem, params, gamma=gamma, reference=reference, method="gaussian", **F64)
    expected = closed_form(matrix, gradient, gamma) - closed_form(matrix, gradient, reference)
    assert found.value == pytest.approx(expected, rel=1e-9)
    assert found.label == "Gaussian approximation"
    assert found.details["volume"] == pytest.approx(3 * np.log(reference / gamma))


@pytest.mark.parametrize("shift", [0.0, 3.0])
def test_langevin_chains_on_a_quadratic_agree_with_the_closed_form(shift: float) -> None:
    problem, params, matrix, gradient = quadratic(shift=shift)
    options: dict[str, Any] = {"gamma": 8.0, "reference": 800.0}
    found = local_entropy(problem, params, chains=16, samples=400, **options, **F64)
    expected = closed_form(matrix, gradient, 8.0) - closed_form(matrix, gradient, 800.0)
    assert found.standard_error is not None
    assert abs(found.value - expected) < 4 * found.standard_error
    assert found.standard_error < 0.05 * abs(expected)
    assert found.status == "ok"


def test_langevin_chains_draw_the_same_whatever_generator_jax_is_set_to() -> None:
    problem, params, _, _ = quadratic()
    found = [local_entropy(problem, params, samples=10)]
    with jax.default_prng_impl("rbg"):
        found.append(local_entropy(quadratic()[0], params, samples=10))
    assert found[0].value == found[1].value


def test_langevin_chains_agree_with_quadrature_where_the_loss_is_not_quadratic() -> None:
    def loss(params: Any, batch: Any) -> Any:
        x, y = params["w"]
        return batch * (3 * jnp.sin(3 * x) ** 2 + jnp.abs(y) ** 3 + x * y + jnp.exp(x))

    problem, params = Problem(loss, train=np.array([0.5, 1.5])), {"w": np.array([0.3, -0.2])}
    axis = np.linspace(-6, 6, 2001)

    def log_mean(gamma: float) -> float:
        x, y = np.meshgrid(axis, axis, indexing="ij")
        u, v = params["w"][0] + x, params["w"][1] + y
        potential = 3 * np.sin(3 * u) ** 2 + np.abs(v) ** 3 + u * v + np.exp(u)
        weights = np.exp(-gamma / 2 * (x**2 + y**2)) * gamma / (2 * np.pi) * (axis[1] - axis[0]) ** 2
        return float(np.log((weights * np.exp(-potential)).sum()))

    found = local_entropy(problem, params, gamma=2.0, reference=200.0, chains=16, samples=12_000, **F64)
    expected = log_mean(2.0) - log_mean(200.0)
    assert abs(found.value - expected) < 4 * (found.standard_error or 0)
    assert (found.standard_error or 1) < 0.06 * abs(expected)


def test_the_quadrature_of_larger_matrices_agrees_with_the_dense_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    problem, params, _, _ = quadratic(size=60, shift=9.0)
    exact = local_entropy(problem, params, gamma=50.0, method="gaussian", **F64)
    monkeypatch.setattr(gaussian_integral, "_DENSE_UP_TO", 0)
    found = local_entropy(problem, params, gamma=50.0, method="gaussian", probes=60, **F64)
    assert abs(found.value - exact.value) < 4 * (found.standard_error or 0)
    assert (found.standard_error or 1) < 0.1 * abs(exact.value)
    assert not found.details["exact_determinant"]


def test_a_matrix_that_is_not_positive_with_gamma_has_no_gaussian_value() -> None:
    problem, params, matrix, _ = quadratic(shift=-9.0)
    gamma = -0.5 * float(np.linalg.eigvalsh(matrix)[0])
    found = local_entropy(problem, params, gamma=gamma, method="gaussian", **F64)
    assert (found.value, found.status) == (None, "indefinite")


def test_chains_that_disagree_are_not_called_converged() -> None:
    halves = np.repeat([[0.0], [5.0], [0.0], [5.0]], 20, axis=1)
    noise = np.random.default_rng(0).normal(size=halves.shape)
    assert entropy._r_hat(halves + noise) > 2
    assert entropy._r_hat(noise) < 1.1


def test_control_variates_have_mean_zero_and_leave_no_noise_of_a_quadratic() -> None:
    problem, params, _, _ = quadratic(size=6, shift=2.0)
    around = Neighbourhood(problem, params, Options(**F64))
    with around.computing():
        model = langevin.quadratic_model(around, 8.0, seed=0)
        sampler = langevin.Sampler(around, model, 0)
        begun = langevin.Chains(np.zeros((8, 6)), np.ones(8), 0)
        tuned, _ = sampler.run(begun, 8.0, stage=0, blocks=6, tune=True)
        _, turns = sampler.run(tuned, 8.0, stage=0, blocks=80)
    variates = langevin.control_variates(model, turns, 8.0, 6)
    means = variates.mean(1)  # [C, 3]
    errors = means.std(0, ddof=1) / np.sqrt(8)
    assert (np.abs(means.mean(0)) < 5.4 * errors).all()  # Student's t with 7: 0.1 % each
    assert np.std(turns.drift) > 0.1
    assert np.std(langevin.controlled(model, turns, 8.0, 6)) < 1e-9
    drift = float(langevin.controlled(model, turns, 8.0, 6).mean())
    assert drift == pytest.approx(model.drift(8.0), rel=1e-9)


def test_the_integral_of_the_model_is_that_of_its_drift() -> None:
    model = langevin.Model(np.array([-2.0, 0.5, 30.0]), np.eye(3), np.array([0.3, 1.0, -2.0]))
    logs = np.linspace(np.log(5.0), np.log(500.0), 20_001)
    drifts = np.array([model.drift(float(np.exp(t))) for t in logs])
    assert model.integral(5.0, 500.0) == pytest.approx(np.trapezoid(drifts, logs), rel=1e-7)


def test_turns_go_where_weight_times_noise_is() -> None:
    found = langevin.allocated(np.array([1.0, 2.0, 1.0]), np.array([1.0, 1.0, 6.0]), 90)
    assert found.tolist() == [15 + 5, 15 + 10, 15 + 30]
    even = langevin.allocated(np.ones(3), np.array([1.0, np.nan, 1.0]), 90)
    assert even.tolist() == [30, 30, 30]


def test_intervals_of_local_entropy_cover_the_closed_form() -> None:
    # Chance of fewer than 52 of 60 at .95: 0.3 %. Rank 16 of 40, so that the model leaves noise.
    problem, params, matrix, gradient = quadratic(size=40, shift=2.0)
    expected = closed_form(matrix, gradient, 20.0) - closed_form(matrix, gradient, 2000.0)
    held = 0
    for seed in range(60):
        found = local_entropy(problem, params, gamma=20.0, reference=2000.0, seed=seed, **F64)
        assert found.interval is not None
        held += found.interval[0] <= expected <= found.interval[1]
    assert held >= 52


@pytest.mark.faults
def test_settings_that_cannot_be_meant_are_refused() -> None:
    problem, params, _, _ = quadratic()
    with pytest.raises(ConfigurationError, match="reference"):
        local_entropy(problem, params, gamma=10.0, reference=1.0)
    with pytest.raises(ConfigurationError, match="chains"):
        local_entropy(problem, params, chains=3)
