"""Every flatness measure against its closed form."""

from __future__ import annotations

import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from curvature_samples import INPUTS, LABELS, tanh_params, tanh_problem
from flatness_samples import (
    F64,
    SIZES,
    classifier,
    linear,
    quadratic,
    relu_model,
    relu_network,
    relu_problem,
    trust_region,
)
from scipy.optimize import brentq, minimize
from scipy.stats import norm as normal, t as student

import landscape
from landscape import Checkpoint, Problem
from landscape.curvature.operators import hessian
from landscape.flatness import keskar, measurement
from landscape.flatness.gaussian import mirrored
from landscape.flatness.neighbourhood import Neighbourhood
from landscape.flatness.options import Options
from landscape.trees import Layout

# -- mean rises ------------------------------------------------------------------------------------


def test_gaussian_robustness_of_a_quadratic_is_half_the_variance_times_the_trace() -> None:
    problem, params, matrix, _ = quadratic(shift=3.0)
    sigma = 0.3  # a standard deviation: the variance, 0.09, would give another value
    found = landscape.gaussian_robustness(problem, params, radius=sigma, draws=400, **F64)
    expected = 0.5 * sigma**2 * np.trace(matrix)
    assert found.standard_error is not None
    theory = 0.5 * sigma**2 * np.sqrt(2 * np.sum(matrix**2) / 400)
    assert found.standard_error == pytest.approx(theory, rel=0.2)
    assert abs(found.value - expected) < 4 * theory  # false alarm 6e-5, seed fixed


def test_a_relative_perturbation_weighs_the_hessian_with_the_parameters() -> None:
    problem, params, matrix, _ = quadratic(shift=3.0)
    found = landscape.gaussian_robustness(problem, params, radius=0.5, scale="weights", draws=400, **F64)
    expected = 0.5 * 0.25 * np.sum(np.diag(matrix) * params["w"] ** 2)
    assert abs(found.value - expected) < 4 * (found.standard_error or 0)


def test_filters_share_the_root_mean_square_of_their_weights() -> None:
    params = {"kernel": np.array([[3.0, 1.0], [4.0, 1.0]]), "bias": np.array([2.0, 0.0])}
    problem = Problem(lambda p, b: b @ p["kernel"].sum(1) + p["bias"].sum(), train=np.ones((3, 2)))
    around = Neighbourhood(problem, params, Options(**F64))
    rms = {"kernel": [[12.5**0.5, 1], [12.5**0.5, 1]], "bias": [2**0.5, 2**0.5]}
    assert around.scale("filter") == pytest.approx(np.r_[rms["bias"], np.ravel(rms["kernel"])])
    norms = around.scale("filter", filter_norm=True)
    assert norms == pytest.approx(np.r_[[2, 2], [5, 2**0.5, 5, 2**0.5]])


def test_average_sharpness_is_the_same_expectation_with_its_scales() -> None:
    problem, params, matrix, _ = quadratic(shift=3.0)
    for adaptive in (False, True):
        found = landscape.average_sharpness(problem, params, radius=0.2, adaptive=adaptive, draws=400, **F64)
        weight = params["w"] ** 2 if adaptive else 1.0
        expected = 0.5 * 0.04 * np.sum(np.diag(matrix) * weight)
        assert abs(found.value - expected) < 4 * (found.standard_error or 0)


def test_search_sharpness_weighs_the_hessian_with_the_search_variance() -> None:
    problem, params, matrix, _ = quadratic(shift=3.0)
    std = {"w": np.linspace(0.1, 0.6, 6)}
    found = landscape.search_sharpness(problem, Checkpoint(params=params, std=std), draws=400, **F64)
    expected = 0.5 * np.sum(np.diag(matrix) * std["w"] ** 2)
    assert abs(found.value - expected) < 4 * (found.standard_error or 0)


def test_a_curve_has_the_radii_asked_for_and_the_metrics() -> None:
    found = landscape.gaussian_robustness(
        relu_problem(), relu_network(), radius=0.1, radii=[0.05, 0.2], draws=8, **F64
    )
    curve = found.details["curve"]
    assert curve["radii"].tolist() == [0.05, 0.1, 0.2]
    assert curve["loss_rise"][1] == found.value
    assert (np.diff(curve["accuracy_rise"]) <= 0).all()
    assert curve["accuracy_rise"][-1] < 0


def test_normalised_logits_do_not_feel_the_size_of_the_logits() -> None:
    problem, network = relu_problem(), relu_network()
    larger = {**network, "Dense_2": {"kernel": 10 * network["Dense_2"]["kernel"]}}
    values = [
        landscape.average_sharpness(
            problem, given, adaptive=True, normalise=True, temperature=0.5, draws=10, **F64
        ).value
        for given in (network, larger)
    ]
    assert values[0] == pytest.approx(values[1], rel=1e-9)
    plain = [
        landscape.average_sharpness(problem, given, adaptive=True, draws=10, **F64).value
        for given in (network, larger)
    ]
    assert plain[1] > 2 * plain[0]


def test_intervals_of_mean_rises_cover() -> None:
    """48 pairs on a spread spectrum: 93-97 % of 1,000 seeds (false alarm 0.3 %)."""
    eigenvalues = np.linspace(0.5, 1.5, 60)
    truth, inside = 0.5 * eigenvalues.sum(), 0
    rng = np.random.default_rng(0)
    for _ in range(1000):
        rises = 0.5 * (rng.standard_normal((48, 60)) ** 2 @ eigenvalues)
        ends = measurement.mean_of(rises)[2]
        assert ends is not None
        inside += ends[0] <= truth <= ends[1]
    assert 930 <= inside <= 970


# -- highest rises ---------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_keskar_sharpness_of_a_linear_loss_is_the_corner_of_the_box(dtype: str) -> None:
    problem, params, slopes = linear()
    found = landscape.keskar_sharpness(problem, params, epsilon=5e-4, dtype=dtype)
    slope, theta = slopes.mean(0), params["w"]
    rise = np.sum(np.abs(slope) * 5e-4 * (np.abs(theta) + 1))
    assert found.value == pytest.approx(
        100 * rise / (1 + slope @ theta), rel=1e-3 if dtype == "float32" else 1e-9
    )
    assert found.label == "lower bound"


def test_keskar_sharpness_in_subspaces_is_the_mean_of_the_corners_of_their_boxes() -> None:
    problem, params, slopes = linear()
    found = landscape.keskar_sharpness(problem, params, epsilon=1e-3, subspace=3, seed=4, **F64)
    around = Neighbourhood(problem, params, Options(**F64))
    slope, theta = slopes.mean(0), params["w"]
    rng, rises = np.random.default_rng(4), []
    for _ in range(4):
        basis, scale = keskar._subspace(around, 3, 3, rng)
        assert scale == pytest.approx(np.abs(np.linalg.pinv(basis.T) @ theta) + 1)
        assert np.linalg.norm(basis, axis=1) == pytest.approx(np.ones(3))
        rises.append(100 * np.sum(np.abs(basis @ slope) * 1e-3 * scale) / (1 + slope @ theta))
    assert found.value == pytest.approx(np.mean(rises), rel=1e-9)
    assert found.standard_error == pytest.approx(np.std(rises, ddof=1) / 2, rel=1e-7)
    half = student.ppf(0.975, 3) * found.standard_error
    assert found.interval == pytest.approx((found.value - half, found.value + half))
    assert (found.label, found.details["subspaces"]) == ("lower bound", 4)


def test_a_ticket_has_the_subspaces_of_the_smaller_network_to_the_bit() -> None:
    rng = np.random.default_rng(0)
    theta, rest = rng.normal(size=20), np.zeros(9)
    whole = {"a": rest, "b": theta}
    mask = {"a": np.zeros(9, bool), "b": np.ones(20, bool)}
    slopes = rng.normal(size=(4, 20))
    problem = Problem(lambda p, b: b @ p["b"] + 0 * p.get("a", rest).sum(), train=slopes)
    found = landscape.keskar_sharpness(problem, whole, mask=mask, subspace=100, **F64)
    same = landscape.keskar_sharpness(problem, {"b": theta}, subspace=100, **F64)
    assert found.details["subspace"] == same.details["subspace"] == 10
    assert any("10 directions" in text for text in found.warnings)
    around = [
        Neighbourhood(problem, whole, Options(mask=mask, **F64)),
        Neighbourhood(problem, {"b": theta}, Options(**F64)),
    ]
    (basis, scale), (other, box) = (keskar._subspace(one, 10, 10, np.random.default_rng(0)) for one in around)
    assert np.array_equal(basis[:, 9:], other)
    assert np.array_equal(scale, box)
    assert found.value == pytest.approx(same.value, rel=1e-12)


def test_a_random_subspace_of_few_parameters_does_not_explode() -> None:
    """On a linear loss the rise in p directions is about p/n of that of the whole space, times √n |g||x|."""
    values = []
    for size in (60, 100, 200, 400):
        rng = np.random.default_rng(size)
        slope, theta = rng.normal(size=size), rng.normal(size=size)
        slope *= 1 / np.linalg.norm(slope)
        problem = Problem(lambda p, b: b @ p["w"] + 9.0, train=slope[None])
        found = landscape.keskar_sharpness(problem, {"w": theta}, subspace=100, steps=2, starts=1, **F64)
        used = found.details["subspace"]
        assert used == min(100, size // 2)
        # Σ |a·g| ε (|y| + 1) with a·g ∼ N(0, 1/n) and y of root mean square √(n/(n − p − 1)).
        spread = np.sqrt(size / (size - used - 1))
        expected = used * np.sqrt(2 / np.pi / size) * (np.sqrt(2 / np.pi) * spread + 1)
        values.append(found.value * (10 + slope @ theta) / 0.1 / expected)
    assert values == pytest.approx([1.0] * 4, rel=0.35)


def test_keskar_sharpness_finds_at_least_what_ten_steps_of_lbfgs_find() -> None:
    problem, network = relu_problem(), relu_network()
    layout = Layout.of(network)
    theta = layout.flatten(network)
    with jax.enable_x64(True):
        batch = jax.tree.map(jnp.asarray, problem.arrays("train"))
        fall = jax.jit(
            jax.value_and_grad(lambda v: -problem.loss(layout.unflatten(v, network), batch).mean())
        )
        for epsilon in (1e-3, 0.1):
            box = epsilon * (np.abs(theta) + 1)
            oracle = minimize(
                lambda v: [np.asarray(x, np.float64) for x in fall(jnp.asarray(v))],
                theta,
                jac=True,
                method="L-BFGS-B",
                bounds=list(zip(theta - box, theta + box, strict=True)),
                options={"maxiter": 10},
            )
            found = landscape.keskar_sharpness(problem, network, epsilon=epsilon, **F64)
            reached = 100 * (-oracle.fun - found.loss) / (1 + found.loss)
            assert found.value is not None
            assert found.value >= 0.999 * reached


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("shift", [0.0, 4.0])
@pytest.mark.parametrize("slope", [0.0, 0.3])
def test_ascent_on_a_quadratic_reaches_the_trust_region_solution(
    seed: int, shift: float, slope: float
) -> None:
    problem, params, matrix, gradient = quadratic(size=8, seed=seed, shift=shift, slope=slope)
    found = landscape.sam_sharpness(problem, params, radius=0.7, m=10, ascent=True, steps=60, starts=6, **F64)
    exact = trust_region(matrix, gradient, 0.7)
    assert found.value is not None
    assert found.value <= exact * (1 + 1e-9)
    assert found.value == pytest.approx(exact, rel=0.01)


def test_first_order_sharpness_is_the_rise_along_the_gradient() -> None:
    problem, params, matrix, gradient = quadratic()
    found = landscape.sam_sharpness(problem, params, radius=0.4, m=5, **F64)
    step = 0.4 * gradient / np.linalg.norm(gradient)
    assert found.value == pytest.approx(gradient @ step + 0.5 * step @ matrix @ step, rel=1e-9)
    assert found.details["first_order"] == found.value


def test_m_sharpness_maximises_on_every_batch_apart() -> None:
    problem, params, slopes = linear(examples=5)
    found = landscape.sam_sharpness(problem, params, radius=0.1, m=2, **F64)
    parts = [slopes[:2], slopes[2:4], slopes[4:]]
    expected = 0.1 * sum(len(part) * np.linalg.norm(part.mean(0)) for part in parts) / 5
    assert found.value == pytest.approx(expected, rel=1e-9)
    assert found.details["num_batches"] == 3
    whole = landscape.sam_sharpness(problem, params, radius=0.1, m=100, **F64)
    assert whole.value == pytest.approx(0.1 * np.linalg.norm(slopes.mean(0)), rel=1e-9)


def test_adaptive_sharpness_of_a_linear_loss_is_its_dual_norm() -> None:
    problem, params, slopes = linear()
    weighted = slopes.mean(0) * params["w"]
    box = landscape.adaptive_sharpness(problem, params, radius=0.01, norm="linf", m=9, **F64)
    assert box.value == pytest.approx(0.01 * np.abs(weighted).sum(), rel=1e-9)
    ball = landscape.adaptive_sharpness(problem, params, radius=0.5, norm="l2", m=9, **F64)
    assert ball.value == pytest.approx(0.5 * np.linalg.norm(weighted), rel=1e-9)
    moved = landscape.adaptive_sharpness(problem, params, radius=0.5, norm="l2", eta=0.1, m=9, **F64)
    assert moved.value == pytest.approx(
        0.5 * np.linalg.norm(slopes.mean(0) * (np.abs(params["w"]) + 0.1)), rel=1e-9
    )


@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_worst_case_sharpness_with_equal_scales_is_the_dual_norm_of_the_gradient(norm: str) -> None:
    problem, params, slopes = linear()
    found = landscape.adaptive_sharpness(problem, params, scale="absolute", norm=norm, m=9, **F64)
    order = 2 if norm == "l2" else 1
    assert found.radius == {"l2": 0.05, "linf": 0.0005}[norm]
    assert found.value == pytest.approx(found.radius * np.linalg.norm(slopes.mean(0), order), rel=1e-9)


def test_variants_beside_the_catalogue_have_names_and_units_of_their_own() -> None:
    problem, network = relu_problem(), relu_network()
    few: dict[str, Any] = {"steps": 1, "starts": 1}
    given: list[tuple[dict[str, Any], str]] = [
        ({}, "adaptive_l2"),
        ({"norm": "linf"}, "adaptive_linf"),
        ({"norm": "linf", "normalise": True}, "adaptive_normalised"),
        ({"normalise": True}, "adaptive_l2_normalised"),
        ({"normalise": True, "temperature": 0.5}, "adaptive_l2_normalised_temperature_0.5"),
        ({"scale": "filter"}, "adaptive_l2_filter"),
        ({"eta": 0.1}, "adaptive_l2_eta_0.1"),
        ({"scale": "absolute", "norm": "linf"}, "worst_case_linf"),
    ]
    units = set()
    for options, name in given:
        found = landscape.adaptive_sharpness(problem, network, **options, **few)
        assert found.name == name
        units.add(found.details["units"])
    assert units == {
        "ℓ2 length relative to |θ|",
        "ℓ∞ length relative to |θ|",
        "ℓ2 length relative to the filter's norm",
        "ℓ2 length relative to |θ| + 0.1",
        "ℓ∞ length",
    }
    plain = landscape.average_sharpness(problem, network, normalise=True, draws=2)
    assert plain.name == "average_absolute_normalised"
    assert landscape.sam_sharpness(problem, network, normalise=True).name == "sam_normalised"
    assert landscape.fisher_rao_norm(problem, network, labels="model").name == "fisher_rao_model"


def test_corners_of_boxes_are_searched_beyond_the_first_local_maximum() -> None:
    """Convex quadratics in 12 dimensions, one a batch, against all 4,096 corners."""
    rng, size, count = np.random.default_rng(0), 12, 30
    bases = np.linalg.qr(rng.normal(size=(count, size, size)))[0]
    matrices = np.einsum("nij,nj,nkj->nik", bases, rng.exponential(size=(count, size)), bases)
    slopes = 0.3 * rng.normal(size=(count, size))
    corners = np.array(list(itertools.product((-1.0, 1.0), repeat=size)))
    highest = (corners @ slopes.T + 0.5 * np.einsum("ci,nij,cj->cn", corners, matrices, corners)).max(0)

    def loss(params: Any, batch: Any) -> jax.Array:
        w = params["w"]
        return batch[1] @ w + 0.5 * jnp.einsum("bij,i,j->b", batch[0], w, w)

    found = landscape.adaptive_sharpness(
        Problem(loss, train=(matrices, slopes)),
        {"w": np.zeros(size)},
        scale="absolute",
        norm="linf",
        radius=1.0,
        m=1,
        **F64,
    )
    share = found.details["batches"] / highest
    assert share.max() <= 1 + 1e-9
    assert share.mean() > 0.94  # 0.853 without turned corners


def test_at_a_critical_point_worst_case_sharpness_is_half_the_square_times_the_top_eigenvalue() -> None:
    problem, params, matrix, _ = quadratic(slope=0.0, shift=2.0)
    found = landscape.sam_sharpness(problem, params, radius=0.01, m=5, ascent=True, steps=60, starts=4, **F64)
    assert found.value == pytest.approx(0.5e-4 * np.linalg.eigvalsh(matrix)[-1], rel=1e-3)
    assert found.details["first_order"] == 0.0


# -- norms -----------------------------------------------------------------------------------------


def petzka(matrix: np.ndarray, network: dict[str, Any], layout: Layout, path: str) -> float:
    """Return Σ ⟨w_s, w_s'⟩ Tr H_{s,s'} of a kernel (inputs, outputs) from the dense Hessian."""
    at = layout.slices[path]
    kernel = network[path.split("/")[0]]["kernel"]
    blocks = matrix[at, at].reshape(*kernel.shape, *kernel.shape)
    return float(np.einsum("ks,kt,isit->", kernel, kernel, blocks))


def test_relative_flatness_is_the_weighted_sum_of_traces_of_every_kernel() -> None:
    problem, network = relu_problem(), relu_network()
    matrix = hessian(problem, network, **F64).dense()
    layout = Layout.of(network)
    found = landscape.relative_flatness(problem, network, draws=3000, **F64)
    layers = found.details["layers"]
    for path, layer in layers.items():
        exact = petzka(matrix, network, layout, path)
        assert abs(layer["value"] - exact) < 4 * layer["standard_error"]
        assert layer["standard_error"] < 0.2 * abs(exact)
    assert found.value == pytest.approx(sum(layer["value"] for layer in layers.values()), rel=0.2)
    total = sum(petzka(matrix, network, layout, path) for path in layers)
    assert abs(found.value - total) < 4 * (found.standard_error or 0)


def test_intervals_through_the_public_functions_cover() -> None:
    """At least 105 of 120 and 51 of 60 seeds hold the exact value: a false alarm is below 1 in 500 each."""
    problem, network = relu_problem(), relu_network()
    matrix = hessian(problem, network, **F64).dense()
    layout = Layout.of(network)
    kappa = sum(petzka(matrix, network, layout, path) for path in layout.paths)
    square, params, curvature, _ = quadratic(size=12, examples=1, shift=9.0)
    robust = 0.5 * 0.05**2 * np.trace(curvature)
    linear, weights, signed = classifier()
    margins = signed @ weights["w"] / np.linalg.norm(signed, axis=1)
    sigma = brentq(lambda size: normal.cdf(-margins / size).mean() - 0.1, 1e-3, 1e3)
    inside = np.zeros(3, int)
    for seed in range(120):
        found = [
            (landscape.relative_flatness(problem, network, seed=seed, **F64), kappa),
            (landscape.gaussian_robustness(square, params, radii=[0.05], seed=seed, **F64), robust),
        ]
        if seed < 60:
            found.append((landscape.pac_bayes_flatness(linear, weights, seed=seed, **F64), sigma**-2))
        for i, (one, exact) in enumerate(found):
            assert one.interval is not None
            inside[i] += one.interval[0] <= exact <= one.interval[1]
    assert (inside >= (105, 105, 51)).all(), inside


def test_relative_flatness_of_a_ticket_takes_its_own_entries_only() -> None:
    problem, network = relu_problem(), relu_network()
    rng = np.random.default_rng(0)
    mask = jax.tree.map(lambda x: rng.random(x.shape) < 0.6, network)
    ticket = jax.tree.map(np.multiply, network, mask)
    layout = Layout.of(network)
    free = layout.flatten(mask).astype(bool)
    matrix = hessian(problem, ticket, **F64).dense() * np.outer(free, free)
    found = landscape.relative_flatness(problem, ticket, mask=mask, draws=3000, **F64)
    for path, layer in found.details["layers"].items():
        exact = petzka(matrix, ticket, layout, path)
        assert abs(layer["value"] - exact) < 4 * layer["standard_error"]


def test_features_scaled_to_one_give_the_relative_flatness_of_the_scaled_network() -> None:
    problem, network = relu_problem(), relu_network()
    spread = np.array([0.5, 2.0, 1.0, 4.0])
    found = landscape.relative_flatness(
        problem, network, feature_std={"Dense_0/kernel": spread}, draws=50, where="Dense_0/*", **F64
    )
    kernel = network["Dense_0"]["kernel"] * spread[:, None]
    inputs, labels = (np.asarray(x) for x in problem.head(1000))
    scaled = Problem(problem.loss, train=(inputs / spread, labels))
    same = landscape.relative_flatness(
        scaled, {**network, "Dense_0": {"kernel": kernel}}, draws=50, where="Dense_0/*", **F64
    )
    assert found.value == pytest.approx(same.value, rel=1e-9)
    assert found.details["features"] != same.details["features"]


@pytest.mark.parametrize("labels", ["data", "model"])
def test_fisher_rao_norm_of_a_bias_free_network_comes_from_its_outputs(labels: str) -> None:
    problem, network = relu_problem(), relu_network()
    found = landscape.fisher_rao_norm(problem, network, labels=labels, **F64)
    inputs, classes = (np.asarray(x) for x in problem.head(1000))
    with jax.enable_x64(True):
        logits = np.asarray(relu_model(network, (jnp.asarray(inputs), classes)))
    shares = np.exp(logits - logits.max(1, keepdims=True))
    shares /= shares.sum(1, keepdims=True)
    mean = (shares * logits).sum(1)
    if labels == "data":
        along = (mean - logits[np.arange(len(logits)), classes]) ** 2
    else:
        along = (shares * logits**2).sum(1) - mean**2
    assert found.value == pytest.approx(9 * along.mean(), rel=1e-10)  # (L + 1)² with three layers
    assert found.details["norm"] == pytest.approx(3 * along.mean() ** 0.5)
    assert len(SIZES) == 4


def test_hessian_summaries_are_those_of_the_matrix() -> None:
    problem, params, matrix, _ = quadratic(shift=2.0)
    expected = {
        "top_eigenvalue": np.linalg.eigvalsh(matrix)[-1],
        "trace": np.trace(matrix),
        "mean_eigenvalue": np.trace(matrix) / 6,
    }
    for summary, value in expected.items():
        found = landscape.hessian_flatness(problem, params, summary=summary, **F64)
        assert found.value == pytest.approx(value, rel=1e-9)
        assert found.label == "exact"


# -- small radii of a network, against the curvature operators ----------------------------------------


def test_mean_rises_of_small_radius_are_half_the_weighted_trace_of_the_hessian() -> None:
    # Weight decay beside the network's own loss: its trace alone is near zero.
    problem, network = tanh_problem(), tanh_params()

    def loss(params: Any, batch: Any) -> jax.Array:
        decay = 0.5 * sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(params))
        return problem.loss(params, batch) + decay

    decayed = landscape.Problem(loss, train=(INPUTS, LABELS))
    operator = hessian(decayed, network, **F64)
    exact = landscape.diagonal(operator, method="exact").values
    theta = operator.flatten(network)
    for adaptive, weight in ((False, 1.0), (True, theta**2)):
        found = landscape.average_sharpness(
            decayed, network, radius=1e-3, adaptive=adaptive, draws=3000, **F64
        )
        expected = 0.5e-6 * float(np.sum(weight * exact))
        assert abs(found.value - expected) < 4 * (found.standard_error or 0)
        assert (found.standard_error or 1) < 0.1 * abs(expected)


def test_highest_rises_of_small_radius_are_the_dual_norms_of_the_gradient() -> None:
    problem, network = tanh_problem(), tanh_params()
    operator = hessian(problem, network, **F64)
    slope, theta = operator.gradient(), operator.flatten(network)
    options: dict[str, Any] = {"m": 1000, **F64}
    plain = landscape.sam_sharpness(problem, network, radius=1e-6, **options)
    assert plain.value == pytest.approx(1e-6 * np.linalg.norm(slope), rel=1e-5)
    ball = landscape.adaptive_sharpness(problem, network, radius=1e-6, norm="l2", **options)
    assert ball.value == pytest.approx(1e-6 * np.linalg.norm(slope * theta), rel=1e-5)
    box = landscape.adaptive_sharpness(problem, network, radius=1e-6, norm="linf", **options)
    assert box.value == pytest.approx(1e-6 * np.abs(slope * theta).sum(), rel=1e-5)


def test_local_entropy_of_a_stiff_reference_is_that_of_the_curvature() -> None:
    problem, network = tanh_problem(), tanh_params()
    matrix = hessian(problem, network, **F64)
    eigenvalues, slope = np.linalg.eigvalsh(matrix.dense()), matrix.gradient()
    found = landscape.local_entropy(problem, network, gamma=1e5, reference=1e7, chains=32, samples=300, **F64)
    inverse = 0.5 * (np.sum(slope**2) * (1e-5 - 1e-7))  # H is nothing beside γ
    expected = inverse - 0.5 * float(np.sum(np.log1p(eigenvalues / 1e5) - np.log1p(eigenvalues / 1e7)))
    assert abs(found.value - expected) < 4 * (found.standard_error or 0) + 1e-3 * abs(expected)


@pytest.mark.parametrize(
    "spectrum",
    [np.ones(12), 1 / np.arange(1.0, 13), np.r_[100.0, np.full(11, 0.1)], np.r_[3.0, 1.0, 1.0, np.zeros(9)]],
    ids=["flat", "1/i", "spike", "rank 3"],
)
def test_intervals_of_mean_rises_cover_on_quadratics(spectrum: np.ndarray) -> None:
    # 2,000 answers of 32 draws: at least .93 of them, less 2.6 of their standard errors (false alarm 0.5 %).
    problem = Problem(lambda p, b: 0.5 * b * jnp.sum(spectrum * p["w"] ** 2), train=np.ones(1))
    around = Neighbourhood(problem, {"w": np.zeros(12)}, Options(**F64))
    rises = mirrored(around, around.scale("absolute"), [1.0], draws=64_000, seed=0)["loss"][:, 0]
    expected = 0.5 * spectrum.sum()
    held = 0
    for values in rises.reshape(-1, 32):
        _, _, interval = measurement.drawn_mean_of(values)
        assert interval is not None
        held += interval[0] <= expected <= interval[1]
    assert held / 2000 >= 0.93 - 2.6 * np.sqrt(0.93 * 0.07 / 2000)


@pytest.mark.faults
def test_row_44_few_draws_have_an_error_and_no_interval_with_the_reason() -> None:
    found = landscape.gaussian_robustness(relu_problem(), relu_network(), draws=4)
    assert found.standard_error is not None
    assert found.interval is None
    assert any("no interval: 4 draws" in text for text in found.warnings)
    enough = landscape.gaussian_robustness(relu_problem(), relu_network(), draws=10)
    assert enough.interval is not None
