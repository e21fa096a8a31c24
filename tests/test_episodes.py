"""Problems whose examples are episodes: what works without derivatives, and what is refused."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import episodes
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import landscape
from landscape import Checkpoint, Metric, Problem
from landscape.curvature import curvature_cost
from landscape.errors import LandscapeError, ProblemError
from landscape.flatness import MEASURES, flatness_cost
from landscape.network import make_subject, measure_pace

A, B = episodes.balancing(), episodes.weights(4, seed=5)
FREE = ["gaussian", "gaussian_relative", "gaussian_filter", "pac_bayes", "pac_bayes_magnitude"]


def nowhere_differentiable(**options: Any) -> Problem:
    """Return a problem whose loss may not even be evaluated: what is refused computes nothing."""

    def never(params: Any, batch: Any) -> jax.Array:
        raise AssertionError("the loss was evaluated")

    return Problem(never, train=np.arange(4), name="pole", differentiable=False, **options)


def pole_by_hand(params: Any, seed: int) -> float:
    """Return the steps that the pole stays up, by a loop of Python in float64."""
    start = jax.random.uniform(jax.random.key(seed), (4,), jnp.float32, -0.05, 0.05)
    x, v, angle, turn = (float(value) for value in start)
    first = {path: np.asarray(leaf, np.float64) for path, leaf in params["in"].items()}
    for step in range(episodes.POLE_STEPS):
        hidden = np.tanh(np.array([x, v, angle, turn]) @ first["kernel"] + first["bias"])
        force = 10.0 if np.tanh(hidden @ params["out"].astype(np.float64)) > 0 else -10.0
        sin, cos = np.sin(angle), np.cos(angle)
        pushed = (force + 0.05 * turn**2 * sin) / 1.1
        speeding = (9.8 * sin - cos * pushed) / (0.5 * (4 / 3 - 0.1 * cos**2 / 1.1))
        x, v, angle, turn = (
            x + 0.02 * v,
            v + 0.02 * (pushed - 0.05 * speeding * cos / 1.1),
            angle + 0.02 * turn,
            turn + 0.02 * speeding,
        )
        if not (abs(x) < 2.4 and abs(angle) < 0.21):
            return float(step)
    return float(episodes.POLE_STEPS)


def test_a_return_is_that_of_a_hand_written_loop() -> None:
    found = episodes.pole().per_example(A)
    expected = [pole_by_hand(A, seed) for seed in range(24)]
    np.testing.assert_array_equal(found["return"], expected)
    np.testing.assert_array_equal(found["loss"], -np.array(expected))
    assert 10 < np.mean(expected) < episodes.POLE_STEPS


@pytest.mark.parametrize("batch_size", [1, 5, 24])
def test_an_episode_is_the_same_whatever_stands_beside_it(batch_size: int) -> None:
    problem = episodes.pole()
    np.testing.assert_array_equal(
        problem.per_example(A, batch_size=batch_size)["loss"], problem.per_example(A)["loss"]
    )


@pytest.mark.faults
@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_seeds_that_stand_twice_are_refused(split: str) -> None:
    with pytest.raises(ProblemError, match=f"{split}: 1 of its seeds stand more than once"):
        episodes.pole(**{split: np.array([300, 301, 300])})


@pytest.mark.faults
@pytest.mark.parametrize("pair", [("train", "test"), ("train", "validation"), ("validation", "test")])
def test_splits_that_share_seeds_are_refused(pair: tuple[str, str]) -> None:
    given = {pair[0]: np.arange(300, 310), pair[1]: np.arange(308, 318)}
    with pytest.raises(ProblemError, match=f"{pair[0]} and {pair[1]}: share 2 seeds"):
        episodes.pole(**given)


def test_images_may_be_the_same_in_two_splits() -> None:
    Problem(lambda p, b: b * p["w"], train=np.arange(4), test=np.arange(4))


@pytest.mark.faults
def test_random_episodes_and_those_that_see_each_other_are_refused() -> None:
    """Fault 16, with loops that stay loops: functions that were traced before are traced again."""

    @jax.jit
    def noisy(value: jax.Array) -> jax.Array:
        return value + random.random()  # noqa: S311  not for secrets

    def of_pole(change: Callable[[jax.Array], jax.Array]) -> Problem:
        loss, _ = episodes.of_returns(episodes.pole_return)
        return Problem(lambda p, b: change(loss(p, b)), train=np.arange(8), differentiable=False)

    with pytest.raises(ProblemError, match=r"two evaluations .* differ"):
        of_pole(noisy).evaluate(A)
    with pytest.raises(ProblemError, match="depends on the other examples"):
        of_pole(lambda values: values - jnp.mean(jnp.square(values))).evaluate(A)
    with pytest.raises(ProblemError, match="depends on the other examples"):
        of_pole(lambda values: values / len(values)).evaluate(A)


def test_an_episode_that_rounding_changes_is_let_through() -> None:
    """A chaotic map turns rounding, another for another size of the batch, into another return."""

    def chaotic(params: Any, batch: Any) -> jax.Array:
        # Sums over a batch-sized axis of zeros stand for a kernel that rounds by the size of the batch.
        nudge = jnp.float32(1e-7) * len(batch)
        start = 0.3 + 0.01 * batch.astype(jnp.float32) + nudge + params["w"]
        return jax.lax.fori_loop(0, 200, lambda _, x: 3.99 * x * (1 - x), start)

    params = {"w": np.float32(0.1)}
    found = Problem(chaotic, train=np.arange(8), differentiable=False).evaluate(params)
    assert 0 < found["loss"] < 1
    with pytest.raises(ProblemError, match="depends on the other examples"):
        Problem(chaotic, train=np.arange(8)).evaluate(params)


def test_barrier_line_plane_matrix_and_trajectory_work_with_paired_intervals() -> None:
    problem = episodes.pole()
    found = landscape.loss_barrier(problem, A, B, num_points=5, num_resamples=200)
    points = [problem.evaluate(mixed(alpha))["loss"] for alpha in found.alphas]
    np.testing.assert_allclose(found.losses["train"]["loss"], points, rtol=1e-6)
    np.testing.assert_allclose(found.losses["train"]["return"], -np.array(points), rtol=1e-6)
    low, high = found.interval_above_chord
    assert low <= found.barrier_above_chord <= high
    matrix = landscape.barrier_matrix(problem, [A, B], num_points=5)
    assert matrix.trustworthy
    line = landscape.loss_line(problem, A, num_lines=1, x=(-1, 1, 3))
    assert line.losses["train"]["loss"][0][1] == pytest.approx(problem.evaluate(A)["loss"])
    plane = landscape.loss_surface(problem, A, x=(-1, 1, 3), y=(-1, 1, 3))
    assert plane.trustworthy
    given = [A, mixed(0.5), B, episodes.weights(4, seed=7)]
    path = landscape.trajectory(problem, given, x=(-1, 1, 3), y=(-1, 1, 3))
    np.testing.assert_allclose(path.losses, [problem.evaluate(one)["loss"] for one in given], rtol=1e-6)


def mixed(alpha: float) -> Any:
    return jax.tree.map(lambda a, b: (a + np.float32(alpha) * (b - a)).astype(np.float32), A, B)


def test_flatness_measures_without_derivatives_work_and_the_others_are_one_line() -> None:
    std = jax.tree.map(lambda leaf: np.full_like(leaf, 0.1), A)
    checkpoint = Checkpoint(params=A, std=std, info={"method": "es-snr"})
    found = landscape.measure_flatness(episodes.pole(), checkpoint, measures="all", draws=10)
    assert set(found.measures) == {*FREE, "search"}
    left = [line for line in found.warnings if line.startswith("left out")]
    assert len(left) == 1
    assert "keskar" in left[0]
    assert "the loss has no derivatives" in left[0]
    row = next(record for record in found.records if record["measure"] == "search")
    drop = row["metric_rises"]["return"]["rise"]
    assert drop == pytest.approx(-row["value"], rel=1e-6)


def test_noise_of_pac_bayes_costs_the_stated_share_of_the_span() -> None:
    problem = episodes.pole()
    found = landscape.pac_bayes_flatness(problem, A, draws=32, target=0.2)
    assert found.details["metric"] == "return"
    assert found.details["drop"] == pytest.approx(0.2, abs=0.02)
    rise = landscape.gaussian_robustness(problem, A, radius=found.details["sigma"], draws=32)
    assert rise.details["curve"]["return_rise"][2] == pytest.approx(
        -found.details["drop"] * episodes.POLE_STEPS, rel=1e-4
    )
    halved = landscape.pac_bayes_flatness(problem, A, draws=32, target=0.1, span=2 * episodes.POLE_STEPS)
    assert halved.details["sigma"] == pytest.approx(found.details["sigma"], rel=1e-6)


def test_a_loss_of_zeros_and_ones_has_its_closed_form_of_gaussian_robustness() -> None:
    """Errors under noise: w·x + σ‖x‖z is on the wrong side with a probability of the normal law."""
    from scipy.stats import norm

    problem, params = episodes.zero_one()
    found = landscape.gaussian_robustness(problem, params, radius=0.5, draws=400)
    x, y = problem.head(200)
    margin = y * (x @ params["w"]) / (0.5 * np.linalg.norm(x, axis=1))
    expected = norm.cdf(-margin).mean() - (margin <= 0).mean()
    assert abs(found.value - expected) < 4 * found.standard_error  # false alarm 6e-5
    assert found.standard_error < 0.01


CALLS: dict[str, Callable[[Problem], Any]] = {
    "hessian": lambda p: landscape.hessian(p, A),
    "gauss_newton": lambda p: landscape.gauss_newton(p, A),
    "fisher": lambda p: landscape.fisher(p, A),
    "curvature": lambda p: landscape.curvature_table(p, [A]),
    "curvature cost": lambda p: curvature_cost(p, [A]),
    "gradient_alignment": lambda p: landscape.gradient_alignment(p, A),
    "connect": lambda p: landscape.connect(p, A, B),
    "gradient": lambda p: landscape.loss_line(p, A, directions="gradient"),
    "eigenvectors": lambda p: landscape.loss_surface(p, A, directions="eigenvectors"),
    "keskar_sharpness": lambda p: landscape.keskar_sharpness(p, A),
    "sam_sharpness": lambda p: landscape.sam_sharpness(p, A),
    "adaptive_sharpness": lambda p: landscape.adaptive_sharpness(p, A),
    "local_entropy": lambda p: landscape.local_entropy(p, A),
    "relative_flatness": lambda p: landscape.relative_flatness(p, A),
    "fisher_rao_norm": lambda p: landscape.fisher_rao_norm(p, A),
    "hessian_flatness": lambda p: landscape.hessian_flatness(p, A),
    "pac_bayes worst": lambda p: landscape.pac_bayes_flatness(p, A, worst_case=True),
    "measure": lambda p: landscape.measure_flatness(p, A, measures=["gaussian", "sam"]),
    "flatness cost": lambda p: flatness_cost(p, [A], measures=["trace"]),
}


@pytest.mark.faults
@pytest.mark.parametrize("name", list(CALLS))
def test_what_needs_derivatives_refuses_in_one_sentence_before_anything_is_computed(name: str) -> None:
    with pytest.raises(ProblemError) as caught:
        CALLS[name](nowhere_differentiable())
    (line,) = caught.value.lines()
    assert "pole has none (differentiable=False); use " in line


def test_every_measure_by_name_is_refused_or_measured() -> None:
    for name in MEASURES:
        asked = landscape.flatness.request.Request.of([name], radii=None, draws=None, seed=0)
        try:
            asked.check_slopes(nowhere_differentiable())
        except ProblemError:
            assert name not in {*FREE, "search"}
        else:
            assert name in {*FREE, "search", "average_normalised"}


@pytest.mark.faults
def test_a_group_that_the_problem_allows_nothing_of_is_refused() -> None:
    with pytest.raises(LandscapeError, match=r"pole allows none of .*sam"):
        landscape.measure_flatness(episodes.pole(), A, measures="quick")


def test_pace_times_the_loss_alone_where_there_is_no_gradient() -> None:
    problem = episodes.pole()
    pace = measure_pace(problem, make_subject(problem, A), order=2)
    assert pace.measured == 0
    assert pace.forward > 0


@pytest.mark.parametrize("span", [0, -1.0, float("nan"), float("inf"), True, "500"])
def test_a_span_that_is_no_distance_is_refused(span: Any) -> None:
    with pytest.raises(ProblemError, match="span"):
        Metric(lambda p, b: b * p, span=span)
