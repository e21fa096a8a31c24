"""How measures rank networks, and the intervals of it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from flatness_samples import QUICK, checkpoints, relu_network, relu_problem
from scipy.stats import kendalltau

from landscape import Checkpoint, flatness_table
from landscape.flatness.ranks import correlations, kendall_tau


def test_rank_correlations_are_kendalls() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        x, y = rng.integers(0, 6, (2, 12))
        assert kendall_tau(x, y) == pytest.approx(kendalltau(x, y).statistic)
    assert kendall_tau(np.ones(5), np.arange(5)) is None


def test_measures_are_ranked_against_each_other_and_the_gap() -> None:
    rng = np.random.default_rng(0)
    data = (rng.normal(size=(30, 4)), rng.integers(0, 3, 30).astype(np.int32))
    found = flatness_table(relu_problem(test=data), checkpoints(5, 2), measures=QUICK, draws=2)
    pairs = {(entry["a"], entry["b"]): entry for entry in found.correlations}
    assert ("gaussian", "gap") in pairs
    entry = pairs["gaussian", "top_eigenvalue"]
    expected = kendalltau(found.column("gaussian"), found.column("top_eigenvalue")).statistic
    assert entry["tau"] == pytest.approx(expected)
    assert (entry["networks"], entry["runs"]) == (10, 5)
    assert entry["interval"][0] <= entry["tau"] <= entry["interval"][1]


@pytest.mark.parametrize("sign", ["most", "least"])
def test_values_beyond_what_was_tried_are_ranked_beyond_all_and_tied(sign: str) -> None:
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(2, 12))
    networks = [{"name": str(i), "space": "ticket", "parameter_norm": v, "seed": i} for i, v in enumerate(y)]
    records = [
        {"name": str(i), "space": "ticket", "measure": "m", "value": float(v)} for i, v in enumerate(x)
    ]
    for i in (2, 7, 9):
        records[i] |= {"value": None, "details": {f"value_at_{sign}": 0.5}}
    x[[2, 7, 9]] = -9 if sign == "most" else 9
    entry = next(e for e in correlations(records, networks) if (e["a"], e["b"]) == ("m", "parameter_norm"))
    assert entry["tau"] == pytest.approx(kendalltau(x, y).statistic)
    assert (entry["networks"], entry["censored"]) == (12, 3)
    assert entry["interval"][0] < entry["tau"] < entry["interval"][1]


def test_few_runs_have_no_interval_and_two_networks_no_rank() -> None:
    found = flatness_table(relu_problem(), checkpoints(2, 2), measures=QUICK, draws=2)
    assert all(entry["interval"] is None for entry in found.correlations)
    assert all(entry["runs"] == 2 for entry in found.correlations)
    assert not flatness_table(relu_problem(), checkpoints(1, 2), measures=QUICK, draws=2).correlations


def test_one_network_given_twice_is_two_rows_of_equal_numbers() -> None:
    network = Checkpoint(params=relu_network())
    found = flatness_table(relu_problem(), [network] * 2, measures=QUICK, draws=2, names=["a", "a"])
    assert [entry["name"] for entry in found.networks] == ["a", "a (2)"]
    values = found.column("gaussian")
    assert values[0] == values[1]


def _ranked(x: np.ndarray, y: np.ndarray, runs: np.ndarray) -> dict[str, Any]:
    """Return the correlation of a measure with the gap over networks of the runs."""
    networks = [
        {"name": str(i), "space": "ticket", "seed": int(run), "method": "es", "parameter_norm": 1.0, "gap": v}
        for i, (run, v) in enumerate(zip(runs, y, strict=True))
    ]
    records = [
        {"name": str(i), "space": "ticket", "measure": "m", "value": float(v)} for i, v in enumerate(x)
    ]
    return next(e for e in correlations(records, networks) if (e["a"], e["b"]) == ("m", "gap"))


def test_levels_of_one_run_are_not_taken_for_independent_networks() -> None:
    """Many levels of few runs: the interval must be wider than one that counted networks."""
    rng = np.random.default_rng(0)
    runs = np.repeat(rng.normal(size=(6, 2)), 20, axis=0)
    x, y = (runs + 0.01 * rng.normal(size=runs.shape)).T
    interval = _ranked(x, y, np.repeat(np.arange(6), 20))["interval"]
    assert interval[1] - interval[0] > 0.8


@pytest.mark.parametrize(("runs", "levels"), [(5, 6), (12, 6), (8, 1)])
@pytest.mark.parametrize("shared", [0.0, 0.8, -0.8])
def test_the_interval_of_a_rank_correlation_covers_that_of_many_runs(
    runs: int, levels: int, shared: float
) -> None:
    """Gaussian runs and levels have τ = 2/π arcsin ρ between runs; levels of one run may turn it round."""
    rng = np.random.default_rng(0)
    trials, inside = 300, 0
    expected = 2 / np.pi * np.arcsin((shared + 0.4) / 2)  # variances 1 of runs and of levels
    for _ in range(trials):
        effect, level = rng.normal(size=(2, runs, 1)), rng.normal(size=(2, runs, levels))
        x, a = effect[0], level[0]
        y = shared * effect[0] + (1 - shared**2) ** 0.5 * effect[1]
        b = 0.4 * level[0] + 0.84**0.5 * level[1]
        entry = _ranked((x + a).ravel(), (y + b).ravel(), np.repeat(np.arange(runs), levels))
        assert entry["interval"][0] <= entry["tau"] <= entry["interval"][1]
        inside += entry["interval"][0] <= expected <= entry["interval"][1]
    assert inside / trials >= 0.93, inside / trials


def test_runs_that_all_agree_have_no_interval() -> None:
    """Ranks that never disagree say nothing of how often they would."""
    x = np.arange(12.0)
    entry = _ranked(x, x**3, np.arange(12) % 6)
    assert entry["tau"] == 1
    assert entry["interval"] is None
