"""Flatness where it is hard: losses that overflow, wide spectra, noise that costs too much, mixed tasks."""

from __future__ import annotations

import gc
import weakref
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flatness_samples import F64, quadratic, relu_network, relu_problem, trust_region

import landscape
from landscape import Checkpoint, Metric, Outputs, Problem
from landscape.errors import ConfigurationError, ProblemError
from landscape.flatness import gaussian_integral


def spectrum_problem(values: np.ndarray) -> tuple[Problem, dict[str, np.ndarray]]:
    """Return the loss ½ Σ λᵢ wᵢ² at its critical point."""
    problem = Problem(lambda p, b: 0.5 * jnp.sum(b * p["w"] ** 2, axis=-1), train=values[None])
    return problem, {"w": np.zeros(len(values))}


# -- ascents -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["positive", "negative", "indefinite", "outliers"])
def test_ascents_reach_the_maximum_in_a_ball(kind: str) -> None:
    rng = np.random.default_rng(3)
    size = 30
    spectrum = {
        "positive": rng.exponential(size=size),
        "negative": -0.2 - rng.exponential(size=size),
        "indefinite": rng.normal(size=size),
        "outliers": np.r_[0.1 * rng.exponential(size=size - 2), 5.0, 9.0],
    }[kind]
    basis = np.linalg.qr(rng.normal(size=(size, size)))[0]
    matrix, slope = (basis * spectrum) @ basis.T, rng.normal(size=size)

    def loss(params: Any, batch: Any) -> jax.Array:
        w = params["w"]
        return batch[1] @ w + 0.5 * jnp.einsum("bij,i,j->b", batch[0], w, w)

    problem, params = Problem(loss, train=(matrix[None], slope[None])), {"w": np.zeros(size)}
    for radius in (0.3, 30.0):
        found = landscape.sam_sharpness(problem, params, radius=radius, m=1, ascent=True, **F64)
        highest = trust_region(matrix, slope, radius)
        assert found.value <= highest * (1 + 1e-9)
        assert found.value == pytest.approx(highest, rel=0.01)


def test_balls_and_boxes_are_one_program_for_any_number_of_starts_and_steps() -> None:
    problem, params, _, _ = quadratic()
    landscape.sam_sharpness(problem, params, m=1, ascent=True, **F64)
    programs = problem.__dict__["_flatness_programs"]["loss"]
    assert programs.compiled("climb", pytest.fail)._cache_size() == 1
    for norm in ("l2", "linf"):
        landscape.adaptive_sharpness(problem, params, m=1, norm=norm, starts=4, steps=5, seed=1, **F64)
    assert programs.compiled("climb", pytest.fail)._cache_size() == 1


@pytest.mark.parametrize("corner", range(4))
def test_corners_of_a_box_are_turned_until_the_highest_is_found(corner: int) -> None:
    # A convex loss: every corner keeps who has come there, and the first step leads to a low one.
    target = np.where(np.random.default_rng(corner).random(8) < 0.5, -1.0, 1.0)

    def loss(params: Any, batch: Any) -> jax.Array:
        w = params["w"]
        return batch * (5 * (w @ target / 8) ** 4 + 0.01 * jnp.sum(w))

    problem, params = Problem(loss, train=np.ones(1)), {"w": np.zeros(8)}
    options: dict[str, Any] = {"radius": 1.0, "norm": "linf", "scale": "absolute", "m": 1}
    found = landscape.adaptive_sharpness(problem, params, steps=400, starts=1, **options, **F64)
    assert found.value == pytest.approx(5 + 0.01 * abs(target.sum()), rel=1e-6)
    assert found.value > found.details["first_order"]


def test_points_of_an_ascent_that_are_not_finite_are_left_and_said() -> None:
    # NaN beyond 0.7: steps of the full radius 1 end there.
    def loss(params: Any, batch: Any) -> jax.Array:
        w = params["w"]
        length = jnp.sqrt(jnp.sum(w**2) + 1e-30)
        return jnp.where(length > 0.7, jnp.nan, batch * w[0])

    problem, params = Problem(loss, train=np.ones(3)), {"w": np.zeros(2)}
    found = landscape.sam_sharpness(problem, params, radius=1.0, ascent=True, **F64)
    assert found.status == "non-finite"
    assert 0.3 < found.value <= 0.7
    assert any("not finite" in text for text in found.warnings)
    alone = landscape.sam_sharpness(problem, params, radius=1.0, **F64)
    assert (np.isnan(alone.value), alone.status) == (True, "non-finite")
    near = landscape.sam_sharpness(problem, params, radius=0.5, ascent=True, **F64)
    assert (near.status, near.value) == ("ok", pytest.approx(0.5))


@pytest.mark.faults
def test_settings_of_ascents_that_mean_nothing_are_refused() -> None:
    problem, params, _, _ = quadratic()
    with pytest.raises(ConfigurationError, match="ascent=True"):
        landscape.sam_sharpness(problem, params, steps=50)
    low = Problem(lambda p, b: b * p["w"].sum() - 3.0, train=np.ones(2))
    with pytest.raises(ProblemError, match="1 \\+ loss is not positive"):
        landscape.keskar_sharpness(low, {"w": np.zeros(2)})


# -- spectra -----------------------------------------------------------------------------------------


def test_a_small_top_eigenvalue_beside_a_large_negative_one_keeps_its_digits() -> None:
    values = np.r_[-1e4, -np.linspace(1, 50, 600), np.linspace(0, 0.2, 30), 1.0]
    problem, params = spectrum_problem(values)
    found = landscape.hessian_flatness(problem, params, summary="top_eigenvalue", **F64)
    assert found.value == pytest.approx(1.0, rel=1e-3)
    assert found.details["residual"] <= 1e-4


def test_a_top_eigenvalue_of_many_parameters_is_called_a_lower_bound_with_its_residual() -> None:
    values = np.linspace(0.0, 1.0, 1200) ** 4
    problem, params = spectrum_problem(values)
    found = landscape.hessian_flatness(problem, params, summary="top_eigenvalue", **F64)
    assert found.value == pytest.approx(1.0, rel=1e-3)
    assert found.label == "lower bound"
    assert found.value <= 1 + 1e-9
    assert "(Ritz value, residual" in str(found)


def test_a_top_eigenvalue_at_weights_that_are_not_finite_is_none() -> None:
    network = relu_network()
    network["Dense_1"]["kernel"][0, 0] = np.nan
    found = landscape.hessian_flatness(
        relu_problem(), network, summary="top_eigenvalue", allow_nonfinite=True
    )
    assert found.status == "non-finite"
    assert found.to_dict()["data"]["value"] is None


# -- local entropy -----------------------------------------------------------------------------------


def test_one_negative_eigenvalue_among_many_is_not_missed() -> None:
    # A start vector has 1/300 of its square along it; some 30 steps at γ = 1 would not show it.
    values = np.r_[np.linspace(0.0, 200.0, 299), -2.0]
    problem, params = spectrum_problem(values)
    found = landscape.local_entropy(problem, params, gamma=1.0, reference=1e4, method="gaussian", **F64)
    assert (found.value, found.status) == (None, "indefinite")
    assert found.details["lowest_eigenvalue"] == pytest.approx(-2.0, rel=1e-2)


def test_the_quadrature_takes_the_steps_that_a_wide_spectrum_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.geomspace(1e-3, 1e4, 400)
    problem, params = spectrum_problem(values)
    expected = -0.5 * float(np.sum(np.log1p(values / 0.5) - np.log1p(values / 1e4)))
    options: dict[str, Any] = {"gamma": 0.5, "reference": 1e4, "method": "gaussian", "probes": 20, **F64}
    found = landscape.local_entropy(problem, params, **options)
    assert found.status == "ok"
    assert abs(found.value - expected) < max(4 * (found.standard_error or 0), 2e-3 * abs(expected))
    monkeypatch.setattr(gaussian_integral, "_STEPS", 4)
    monkeypatch.setattr(gaussian_integral, "_MOST_STEPS", 4)
    short = landscape.local_entropy(problem, params, **options)
    assert (short.status, short.interval, short.standard_error) == ("not-converged", None, None)
    assert any("wide" in text for text in short.warnings)


def test_chains_that_disagree_have_no_interval() -> None:
    # Two wells that no chain leaves: every chain answers for its own.
    def loss(params: Any, batch: Any) -> jax.Array:
        x = params["w"]
        return batch * 2000.0 * jnp.sum((x**2 - 1) ** 2 * (1 + 0.5 * jnp.sign(x))) - 40.0 * x[0]

    problem, params = Problem(loss, train=np.ones(1)), {"w": np.zeros(1)}
    found = landscape.local_entropy(problem, params, gamma=0.5, reference=50.0, samples=30, **F64)
    assert found.details["r_hat"] > 1.1
    assert (found.status, found.interval, found.standard_error) == ("not-converged", None, None)


def test_a_wide_range_of_stiffness_takes_more_of_them() -> None:
    problem, params, matrix, slope = quadratic(shift=3.0)
    found = landscape.local_entropy(problem, params, gamma=4.0, reference=4e6, chains=16, samples=300, **F64)

    def closed_form(gamma: float) -> float:
        size = len(slope)
        determinant = np.linalg.slogdet(np.eye(size) + matrix / gamma)[1]
        return float(0.5 * slope @ np.linalg.solve(matrix + gamma * np.eye(size), slope) - 0.5 * determinant)

    assert (
        len(found.details["acceptance"]) == 14
    )  # 5 for a factor of 100; the model takes most of the integrand
    assert abs(found.value - (closed_form(4.0) - closed_form(4e6))) < 4 * (found.standard_error or 0)


# -- PAC-Bayes ---------------------------------------------------------------------------------------


def test_noise_that_costs_too_much_at_once_is_told_from_noise_that_never_does() -> None:
    sharp = Problem(
        lambda p, b: (b * p["w"]) ** 2,
        train=np.ones(4),
        metrics={"error": lambda p, b: b * (jnp.abs(p["w"] - 1.0) > 1e-12)},
    )
    found = landscape.pac_bayes_flatness(sharp, {"w": np.array(1.0)}, draws=4, **F64)
    assert (found.value, found.status) == (None, "not-found")
    assert any("even noise of" in text for text in found.warnings)


@pytest.mark.faults
def test_an_accuracy_that_is_better_lower_is_refused() -> None:
    problem = Problem(
        lambda p, b: (b * p["w"]) ** 2,
        train=np.ones(4),
        metrics={"accuracy": Metric(lambda p, b: b * p["w"] > 0, higher_is_better=False)},
    )
    with pytest.raises(ProblemError, match="accuracy"):
        landscape.pac_bayes_flatness(problem, {"w": np.array(1.0)})


# -- what is refused, and what is kept ---------------------------------------------------------------


@pytest.mark.faults
def test_one_number_an_example_cannot_be_normalised() -> None:
    def model(params: Any, batch: Any) -> jax.Array:
        return batch[0] @ params["w"]

    def logistic(z: jax.Array, batch: Any) -> jax.Array:
        return jnp.logaddexp(0.0, -batch[1] * z)

    problem = Problem(
        lambda p, b: logistic(model(p, b), b),
        train=(np.ones((4, 3)), np.array([1.0, -1.0, 1.0, -1.0])),
        outputs=Outputs(model, logistic, likelihood=None),
    )
    with pytest.raises(ProblemError, match="one number per example"):
        landscape.average_sharpness(problem, {"w": np.ones(3)}, normalise=True)


@pytest.mark.faults
def test_networks_of_different_tasks_are_not_measured_on_the_first_ones() -> None:
    network = relu_network()
    given = [
        Checkpoint(params=network, info={"task": {"name": name, "seed": 0}}) for name in ("one", "other")
    ]
    with pytest.raises(ConfigurationError, match="different tasks"):
        landscape.flatness_table(None, given, measures=["sam"])
    found = landscape.flatness_table(relu_problem(), given, measures=["sam"])
    assert len(found.records) == 2


@pytest.mark.faults
def test_names_are_one_a_network_and_all_different() -> None:
    given = [relu_network(), relu_network(seed=3), relu_network(seed=4)]
    found = landscape.flatness_table(relu_problem(), given, measures=["sam"], names=["a", "a", "a (2)"])
    assert len({row["name"] for row in found.networks}) == 3
    assert found.networks[0]["name"] == "a"
    with pytest.raises(ConfigurationError, match="names"):
        landscape.flatness_table(relu_problem(), given, measures=["sam"], names=["a", "b"])


def test_one_measure_may_be_asked_for_by_its_name_alone() -> None:
    found = landscape.measure_flatness(relu_problem(), relu_network(), measures="sam")
    assert [record["measure"] for record in found.records] == ["sam"]


def test_a_problem_whose_loss_holds_it_is_let_go_of(tmp_path: Path) -> None:
    class Mine:
        def __init__(self) -> None:
            self.problem = Problem(
                self.loss,
                train=np.ones((4, 2)),
                metrics={"accuracy": Metric(lambda p, b: b @ p["w"] > 0, higher_is_better=True)},
            )

        def loss(self, params: Any, batch: Any) -> jax.Array:
            return (batch @ params["w"]) ** 2

    mine = Mine()
    landscape.measure_flatness(mine.problem, {"w": np.ones(2)}, measures=["gaussian", "trace"], draws=2)
    held = weakref.ref(mine)
    del mine
    gc.collect()
    jax.clear_caches()
    gc.collect()
    assert held() is None
