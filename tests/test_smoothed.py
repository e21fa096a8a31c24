"""Derivatives of the smoothed loss: closed forms, unbiasedness, intervals, and what they do not depend on."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import episodes
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from curvature_samples import FAMILY, INPUTS, LABELS, dense_hessian, tanh_params, tanh_problem
from scipy.special import erf
from scipy.stats import norm
from stopping import Stopped, Stopping

import landscape
from landscape import Checkpoint, Problem, Stream
from landscape.errors import CheckpointError, ConfigurationError
from landscape.results import load_result

FORMS = ("gaussian", "sphere")
SIGMAS = (0.01, 0.3, 3.0)
LAYERS = {"a": 5, "b": 8}
RNG = np.random.default_rng(4)
HALF = RNG.normal(size=(13, 13))
MATRIX = HALF + HALF.T + 3 * np.eye(13)  # indefinite
SLOPE = RNG.normal(size=13)
# A deviation of more than 4.5 standard errors among a hundred normal ones has a chance of 7e-4.
MOST = 4.5


def vector(params: Any) -> jax.Array:
    return jnp.concatenate([params["a"], params["b"]])


def split(values: np.ndarray) -> dict[str, np.ndarray]:
    return {"a": values[:5], "b": values[5:]}


def quadratic(params: Any, batch: Any) -> jax.Array:
    """Return a quadratic of each example, with `MATRIX` and `SLOPE` in the mean over examples 0.5 to 1.5."""
    x = vector(params)
    return batch * (0.5 * x @ jnp.asarray(MATRIX, x.dtype) @ x + x @ jnp.asarray(SLOPE, x.dtype))


BOWL = Problem(quadratic, train=np.linspace(0.5, 1.5, 6))
AT = split(RNG.normal(size=13))
DIAGONAL = np.diag(MATRIX)
GRADIENT = MATRIX @ np.concatenate([AT["a"], AT["b"]]) + SLOPE


def of_function(function: Callable[[jax.Array], jax.Array]) -> Problem:
    """Return a problem of the sum of a function over all weights."""
    return Problem(lambda p, b: function(p["x"]).sum() + 0 * b, train=np.zeros(2), differentiable=False)


def at(*values: float) -> dict[str, np.ndarray]:
    return {"x": np.array(values, np.float64)}


def deviation(found: Any, expected: float) -> float:
    return abs(found.value - expected) / found.standard_error


def deviations(found: Any, expected: Any) -> float:
    return float(np.max(np.abs(found.values - np.asarray(expected)) / found.standard_errors))


# -- closed forms ----------------------------------------------------------------------------------


@pytest.mark.parametrize("sigma", SIGMAS)
def test_on_a_quadratic_everything_is_right_for_every_radius(sigma: float) -> None:
    more: dict[str, Any] = {"radius": sigma, "dtype": "float64", "num_pairs": 300}
    for form in FORMS:
        found = landscape.smoothed_trace(BOWL, AT, form=form, **more)
        assert deviation(found, DIAGONAL.sum()) < MOST
        assert found.rise == pytest.approx(0.5 * sigma**2 * DIAGONAL.sum(), abs=5 * found.rise_standard_error)
        for path, where in (("a", slice(0, 5)), ("b", slice(5, 13))):
            layer = found.per_layer[path]
            assert abs(layer["value"] - DIAGONAL[where].sum()) < MOST * layer["standard_error"]
        assert sum(layer["value"] for layer in found.per_layer.values()) == pytest.approx(found.value)
    assert deviations(landscape.smoothed_diagonal(BOWL, AT, **more), DIAGONAL) < MOST
    gradient = landscape.smoothed_gradient(BOWL, AT, **more)
    assert deviations(gradient, GRADIENT) < MOST
    error = np.linalg.norm(gradient.standard_errors)
    assert gradient.norm == pytest.approx(np.linalg.norm(GRADIENT), abs=3 * error)


def test_the_trace_of_a_multiple_of_the_identity_is_exact_on_the_sphere() -> None:
    problem = of_function(lambda x: 1.5 * x**2)
    found = landscape.smoothed_trace(problem, at(1, -2, 3), radius=0.7, form="sphere", dtype="float64")
    assert found.value == pytest.approx(9, rel=1e-9)
    assert found.standard_error < 1e-9


def test_a_cubic_has_its_closed_form() -> None:
    """L_σ of x³ is x³ + 3xσ²: slope 3x² + 3σ², curvature 6x."""
    x, sigma = np.array([-0.7, 0.2, 1.1]), 0.8
    more: dict[str, Any] = {"radius": sigma, "dtype": "float64", "num_pairs": 2000}
    problem = of_function(lambda x: x**3)
    assert deviations(landscape.smoothed_gradient(problem, at(*x), **more), 3 * x**2 + 3 * sigma**2) < MOST
    assert deviations(landscape.smoothed_diagonal(problem, at(*x), **more), 6 * x) < MOST
    for form in FORMS:
        assert deviation(landscape.smoothed_trace(problem, at(*x), form=form, **more), 6 * x.sum()) < MOST


def test_a_quartic_has_its_closed_forms_and_they_differ_by_form() -> None:
    """L_σ of x⁴ is x⁴ + 6x²σ² + 3σ⁴; on the sphere of radius r = σ√n, E u⁴ = 3r⁴ / n(n + 2)."""
    x, sigma = np.array([-0.7, 0.2, 1.1]), 0.8
    more: dict[str, Any] = {"radius": sigma, "dtype": "float64", "num_pairs": 3000}
    problem = of_function(lambda x: x**4)
    slope, curved = 4 * x**3 + 12 * x * sigma**2, 12 * x**2 + 12 * sigma**2
    assert deviations(landscape.smoothed_gradient(problem, at(*x), **more), slope) < MOST
    assert deviations(landscape.smoothed_diagonal(problem, at(*x), **more), curved) < MOST
    gaussian = landscape.smoothed_trace(problem, at(*x), form="gaussian", **more)
    sphere = landscape.smoothed_trace(problem, at(*x), form="sphere", **more)
    n, r = 3, sigma * math.sqrt(3)
    fourth = 3 * r**4 / (n * (n + 2))
    on_sphere = (2 * n / r**2) * np.sum(6 * x**2 * r**2 / n + fourth)
    assert deviation(gaussian, curved.sum()) < MOST
    assert deviation(sphere, on_sphere) < MOST
    assert abs(curved.sum() - on_sphere) > 5 * (gaussian.standard_error + sphere.standard_error)


def test_on_the_sphere_of_one_dimension_the_trace_is_the_central_difference() -> None:
    problem = of_function(lambda x: x**4)
    found = landscape.smoothed_trace(problem, at(0.5), radius=0.4, form="sphere", dtype="float64")
    expected = (0.9**4 + 0.1**4 - 2 * 0.5**4) / 0.4**2
    assert found.value == pytest.approx(expected, rel=1e-12)


def test_the_kink_of_an_absolute_value_has_its_closed_form() -> None:
    """L_σ of |x| has slope erf(x / σ√2) and curvature 2φ(x/σ)/σ; the loss itself has neither at 0."""
    x, sigma = np.array([-0.5, 0.0, 0.3, 2.0]), 0.5
    more: dict[str, Any] = {"radius": sigma, "dtype": "float64", "num_pairs": 3000}
    problem = of_function(jnp.abs)
    curved = 2 * norm.pdf(x / sigma) / sigma
    assert deviations(landscape.smoothed_diagonal(problem, at(*x), **more), curved) < MOST
    assert deviations(landscape.smoothed_gradient(problem, at(*x), **more), erf(x / sigma / 2**0.5)) < MOST
    found = landscape.smoothed_trace(problem, at(*x), form="gaussian", **more)
    assert deviation(found, curved.sum()) < MOST


def test_a_step_has_its_closed_form_whatever_the_loss_at_the_point_itself_is() -> None:
    """L_σ of 1{x > 0} is Φ(x/σ): slope φ(x/σ)/σ, curvature −xφ(x/σ)/σ³."""
    x, sigma = np.array([-0.4, 0.1, 0.6]), 0.5
    more: dict[str, Any] = {"radius": sigma, "dtype": "float64", "num_pairs": 4000}
    slope = norm.pdf(x / sigma) / sigma
    curved = -x * norm.pdf(x / sigma) / sigma**3
    for spike in (0.0, 5.0):  # a loss that is 5 higher at the very point

        def step(z: jax.Array, spike: float = spike) -> jax.Array:
            return (z > 0) + spike * jnp.all(z == jnp.asarray(x, z.dtype)) / 3

        problem = of_function(step)
        assert deviations(landscape.smoothed_gradient(problem, at(*x), **more), slope) < MOST
        found = landscape.smoothed_trace(problem, at(*x), form="gaussian", **more)
        assert deviation(found, curved.sum()) < MOST
        if not spike:
            assert deviations(landscape.smoothed_diagonal(problem, at(*x), **more), curved) < MOST


def test_errors_of_a_linear_classifier_have_the_slope_of_the_normal_law() -> None:
    problem, params = episodes.zero_one(count=50)
    x, y = problem.head(50)
    sigma, w = 0.4, params["w"]
    margin = y * (x @ w)
    length = sigma * np.linalg.norm(x, axis=1)
    slope = -(norm.pdf(margin / length) / length * y) @ x / 50
    found = landscape.smoothed_gradient(problem, params, radius=sigma, num_pairs=2000)
    assert deviations(found, slope) < MOST


def test_at_a_small_radius_they_are_the_derivatives_of_a_network() -> None:
    problem, params = tanh_problem(), tanh_params()
    dense = dense_hessian(problem.loss, params, (INPUTS, LABELS))
    more: dict[str, Any] = {"radius": 1e-3, "dtype": "float64", "num_pairs": 800}
    for form in FORMS:
        found = landscape.smoothed_trace(problem, params, form=form, **more)
        assert deviation(found, np.trace(dense)) < MOST
        for path, where in landscape.hessian(problem, params).layers().items():
            layer = found.per_layer[path]
            assert abs(layer["value"] - np.diag(dense)[where].sum()) < MOST * layer["standard_error"]
    assert deviations(landscape.smoothed_diagonal(problem, params, **more), np.diag(dense)) < MOST
    gradient = landscape.hessian(problem, params, dtype="float64").gradient()
    assert deviations(landscape.smoothed_gradient(problem, params, **more), gradient) < MOST


def test_episodes_that_are_smooth_have_the_gradient_of_backpropagation() -> None:
    params = episodes.weights(3)
    problem = episodes.pendulum()
    with jax.enable_x64(True):
        wide = jax.tree.map(lambda x: jnp.asarray(x, jnp.float64), (params, problem.head(16)))
        slopes = jax.jit(jax.grad(lambda p, b: problem.loss(p, b).mean()))(*wide)
        leaves = [slopes["in"]["bias"], slopes["in"]["kernel"], slopes["out"]]
        gradient = np.concatenate([np.asarray(leaf).reshape(-1) for leaf in leaves])
    found = landscape.smoothed_gradient(problem, params, radius=1e-3, num_pairs=400, dtype="float64")
    assert deviations(found, gradient) < MOST


# -- means and intervals over seeds ----------------------------------------------------------------


def small_bowl(values: np.ndarray) -> Problem:
    def loss(params: Any, batch: Any) -> jax.Array:
        x = params["w"]
        return 0.5 * jnp.sum(jnp.asarray(values, x.dtype) * x**2) + 0 * batch

    return Problem(loss, train=np.zeros(1))


@pytest.mark.parametrize("form", FORMS)
def test_the_trace_is_unbiased_over_a_thousand_seeds_and_its_intervals_cover(form: str) -> None:
    """False alarms: 6e-5 for the mean, and 1e-3 for a coverage of .95 that is found below .93."""
    values = np.array([3.0, 1.0, 0.5, -0.5, 0.1])
    problem, params = small_bowl(values), {"w": np.zeros(5, np.float32)}
    runs = [
        landscape.smoothed_trace(problem, params, radius=1.0, form=form, num_pairs=100, seed=seed)
        for seed in range(1000)
    ]
    found = np.array([run.value for run in runs])
    error = found.std(ddof=1) / math.sqrt(len(found))
    assert abs(found.mean() - values.sum()) < 4 * error
    stated = np.sqrt(np.mean([run.standard_error**2 for run in runs]))
    assert stated == pytest.approx(found.std(ddof=1), rel=0.12)
    covered = np.mean([run.interval[0] <= values.sum() <= run.interval[1] for run in runs])
    assert covered >= 0.93


@pytest.mark.parametrize("form", FORMS)
def test_stopping_on_the_error_asked_for_leaves_the_mean_as_it_is(form: str) -> None:
    """False alarm 6e-5; the pilot decides the number, fresh pairs answer."""
    values = FAMILY["1/i"][:20]
    problem, params = small_bowl(values), {"w": np.zeros(20, np.float32)}
    runs = [
        landscape.smoothed_trace(problem, params, radius=1.0, form=form, relative_error=0.1, seed=seed)
        for seed in range(100)
    ]
    found = np.array([run.value for run in runs])
    assert abs(found.mean() - values.sum()) < 4 * found.std(ddof=1) / math.sqrt(len(found))
    assert np.mean([run.status == "ok" for run in runs]) >= 0.9
    for run in runs:
        reached = run.standard_error <= 1.25 * 0.1 * abs(run.value)
        assert (run.status == "ok") == reached
        assert run.num_pairs + run.pilot_pairs <= 4000


def test_entries_are_unbiased_over_seeds_and_their_intervals_cover() -> None:
    """False alarms: 4e-4 for the ten means together, and 1e-3 for a coverage found below .93."""
    values = np.array([3.0, 1.0, 0.5, -0.5, 0.1])
    problem, params = small_bowl(values), {"w": np.array([1, -1, 0.5, 2, 0], np.float32)}
    for function, expected in (
        (landscape.smoothed_diagonal, values),
        (landscape.smoothed_gradient, values * params["w"]),
    ):
        runs = [function(problem, params, radius=0.5, num_pairs=300, seed=seed) for seed in range(300)]
        found = np.array([run.values for run in runs])
        error = found.std(axis=0, ddof=1) / math.sqrt(len(found))
        assert np.max(np.abs(found.mean(axis=0) - expected) / error) < MOST
        ends = np.array([run.intervals for run in runs])
        covered = np.mean((ends[..., 0] <= expected) & (expected <= ends[..., 1]))
        assert covered >= 0.93


def test_the_error_from_the_examples_is_that_of_other_samples() -> None:
    """The trace of a sample is σ-weighted by its examples; their spread over samples is what is stated."""
    weights = np.random.default_rng(1).uniform(0, 2, size=60 * 40)
    problem, found, stated = Problem(quadratic, train=weights), [], []
    for seed, sample in enumerate(np.split(np.arange(60 * 40), 60)):
        run = landscape.smoothed_trace(problem, AT, radius=0.1, num_pairs=400, seed=seed, subset=sample)
        found.append(weights[sample].mean() * DIAGONAL.sum())
        stated.append(run.data_standard_error)
    # The root of the mean square of 60 errors of 40 examples, and the spread of 60 values: 9 % each.
    assert math.sqrt(np.mean(np.square(stated))) == pytest.approx(np.std(found, ddof=1), rel=0.4)


# -- what an answer does not depend on -------------------------------------------------------------


def test_a_ticket_is_measured_in_its_own_subspace_as_the_reduced_network_is() -> None:
    mask = {"a": np.array([1, 0, 1, 0, 1], bool), "b": np.array([0, 1, 1, 0, 0, 1, 0, 1], bool)}
    params = {name: np.where(mask[name], AT[name], 0) for name in AT}
    free = np.flatnonzero(np.concatenate([mask["a"], mask["b"]]))

    def reduced(small: Any, batch: Any) -> jax.Array:
        x = jnp.zeros(13, small["a"].dtype).at[free].set(jnp.concatenate([small["a"], small["b"]]))
        return quadratic({"a": x[:5], "b": x[5:]}, batch)

    small = {name: params[name][mask[name]] for name in params}
    apart = Problem(reduced, train=np.linspace(0.5, 1.5, 6))
    ticket = Checkpoint(params=params, mask=mask)
    more: dict[str, Any] = {"radius": 0.3, "dtype": "float64", "num_pairs": 50}
    for form in FORMS:
        whole = landscape.smoothed_trace(BOWL, ticket, form=form, **more)
        alone = landscape.smoothed_trace(apart, small, form=form, **more)
        assert (whole.dim, alone.dim) == (7, 7)
        assert whole.value == pytest.approx(alone.value, rel=1e-9)
        assert whole.per_layer["b"]["value"] == pytest.approx(alone.per_layer["b"]["value"], rel=1e-9)
    for function in (landscape.smoothed_diagonal, landscape.smoothed_gradient):
        np.testing.assert_allclose(
            function(BOWL, ticket, **more).values, function(apart, small, **more).values, rtol=1e-9
        )


def test_nothing_depends_on_the_batch_size_or_on_a_stream() -> None:
    problem, params = tanh_problem(), tanh_params()
    stream = Problem(problem.loss, train=Stream([(INPUTS[:4], LABELS[:4]), (INPUTS[4:], LABELS[4:])]))
    more: dict[str, Any] = {"radius": 0.1, "dtype": "float64", "num_pairs": 40}
    whole = landscape.smoothed_trace(problem, params, **more)
    for given, size in ((problem, 1), (problem, 4), (problem, 11), (stream, 3)):
        other = landscape.smoothed_trace(given, params, batch_size=size, **more)
        assert other.value == pytest.approx(whole.value, rel=1e-9)
        assert other.standard_error == pytest.approx(whole.standard_error, rel=1e-9)
        assert other.data_standard_error == pytest.approx(whole.data_standard_error, rel=1e-9)


def test_one_seed_gives_one_answer_and_another_seed_another() -> None:
    first, again, other = (
        landscape.smoothed_diagonal(BOWL, AT, radius=0.2, num_pairs=20, seed=seed) for seed in (3, 3, 4)
    )
    np.testing.assert_array_equal(first.values, again.values)
    assert not np.array_equal(first.values, other.values)


def test_a_subset_is_measured_as_the_problem_of_its_examples() -> None:
    part = Problem(quadratic, train=np.linspace(0.5, 1.5, 6)[[1, 4]])
    more: dict[str, Any] = {"radius": 0.2, "num_pairs": 20}
    found = landscape.smoothed_trace(BOWL, AT, subset=[1, 4], **more)
    assert found.value == pytest.approx(landscape.smoothed_trace(part, AT, **more).value, rel=1e-5)


def test_layers_that_are_kept_are_all_that_moves() -> None:
    found = landscape.smoothed_diagonal(BOWL, AT, radius=0.1, where="b", num_pairs=400, dtype="float64")
    assert found.dim == 8
    assert deviations(found, DIAGONAL[5:]) < MOST


@pytest.mark.parametrize("after", [5, 25])
@pytest.mark.parametrize("form", FORMS)
def test_a_stopped_estimate_resumes_to_the_same_bits(tmp_path: Path, form: str, after: int) -> None:
    more: dict[str, Any] = {"radius": 0.3, "form": form, "relative_error": 0.2}
    whole = landscape.smoothed_trace(BOWL, AT, **more)
    folder = tmp_path / "kept"
    with pytest.raises(Stopped):
        landscape.smoothed_trace(BOWL, AT, resume=folder, progress=Stopping(after - 1), **more)
    assert (folder / "pairs.h5").exists()
    with pytest.raises(CheckpointError, match="another computation"):
        landscape.smoothed_trace(BOWL, AT, resume=folder, seed=1, **more)
    again = landscape.smoothed_trace(BOWL, AT, resume=folder, **more)
    assert (again.value, again.standard_error, again.data_standard_error) == (
        whole.value,
        whole.standard_error,
        whole.data_standard_error,
    )
    assert again.stats["num_evaluations"] < whole.stats["num_evaluations"]
    assert not folder.exists()


# -- what is said ----------------------------------------------------------------------------------


def test_a_loss_that_no_pair_changes_has_no_interval() -> None:
    problem = of_function(jnp.sign)
    found = landscape.smoothed_trace(problem, at(1.0, -1.0), radius=1e-3)
    assert (found.value, found.standard_error, found.interval) == (0, None, None)
    assert "larger radius" in found.warnings[0]
    entries = landscape.smoothed_diagonal(problem, at(1.0, -1.0), radius=1e-3)
    assert entries.intervals is None
    assert "larger radius" in entries.warnings[0]


@pytest.mark.faults
def test_a_loss_that_is_not_finite_somewhere_has_no_value() -> None:
    """Fault 46: neither a value nor a bound."""
    problem = of_function(lambda x: jnp.where(x > 1.5, jnp.inf, x**2))
    for function in (landscape.smoothed_trace, landscape.smoothed_diagonal, landscape.smoothed_gradient):
        found = function(problem, at(0.0, 0.5), radius=1.0)
        assert found.status == "non-finite"
        assert found.rise is None
        assert "not finite at" in found.warnings[-1]
        assert "unknown" in str(found)
        numbers = found.value if found.kind == "smoothed_trace" else found.values
        assert np.isnan(numbers).all()


def test_an_error_that_the_pairs_allowed_do_not_reach_is_said() -> None:
    found = landscape.smoothed_trace(BOWL, AT, radius=0.1, relative_error=1e-3, max_pairs=60)
    assert found.status == "not-converged"
    assert found.num_pairs + found.pilot_pairs <= 60
    few = landscape.smoothed_trace(BOWL, AT, radius=0.1, max_pairs=8, dtype="float64")
    assert (few.num_pairs, few.pilot_pairs, few.interval) == (8, 0, None)
    assert few.standard_error > 0
    assert "too few" in few.warnings[0]
    entries = landscape.smoothed_diagonal(BOWL, AT, radius=0.1, relative_error=1e-3, max_pairs=300)
    assert entries.status == "not-converged"
    few_entries = landscape.smoothed_diagonal(BOWL, AT, radius=0.1, num_pairs=299)
    assert few_entries.intervals is None
    assert "299 pairs are too few" in few_entries.warnings[0]
    layers = landscape.smoothed_trace(BOWL, AT, radius=0.1, num_pairs=150)
    assert layers.interval is not None
    assert layers.per_layer["a"]["interval"] is None
    assert "layers: no interval" in layers.warnings[0]
    easy = landscape.smoothed_diagonal(BOWL, AT, radius=0.1, relative_error=0.3, max_pairs=5000)
    assert easy.status == "ok"
    assert np.linalg.norm(easy.standard_errors) <= 1.25 * 0.3 * np.linalg.norm(easy.values)


@pytest.mark.parametrize(
    "setting",
    [
        {"radius": 0},
        {"radius": float("nan")},
        {"radius": -1.0},
        {"form": "cube"},
        {"num_pairs": 1},
        {"max_pairs": 1},
        {"relative_error": 0},
        {"absolute_error": -1},
        {"confidence": 1.5},
        {"seed": -1},
        {"dtype": "float16"},
    ],
)
def test_settings_that_mean_nothing_are_refused(setting: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=next(iter(setting))):
        landscape.smoothed_trace(BOWL, AT, **{"radius": 0.1, **setting})


def test_results_are_stored_drawn_and_told_as_rows(tmp_path: Path) -> None:
    from landscape.plots.points import points_of

    more: dict[str, Any] = {"radius": 0.3, "num_pairs": 300}
    for number, function in enumerate(
        (landscape.smoothed_trace, landscape.smoothed_diagonal, landscape.smoothed_gradient)
    ):
        found = function(BOWL, AT, **more)
        again = load_result(found.save(tmp_path / f"{number}.h5"))
        assert str(again) == str(found)
        assert "300 pairs, 20 before them as a pilot" in str(again)
        assert len(again.plot().data) >= 1
        rows = points_of(again)
        assert len(rows) == (3 if number == 0 else 13)
        assert rows[0]["quantity"] == found.kind
        assert rows[0]["low"] < rows[0]["value"] < rows[0]["high"]
