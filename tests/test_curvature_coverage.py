"""What estimates that end by their own error promise: no bias, coverage, or no interval and the reason."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from curvature_samples import FAMILY, prescribed

from landscape import MatrixOperator, frobenius_norm, trace
from landscape.curvature.diagonal_and_norm import DiagonalRun, NormRun
from landscape.curvature.metered import Meter
from landscape.curvature.trace_run import TraceGoal, TraceRun

SEEDS = 600


def trace_fields(
    matrix: np.ndarray, method: str, seed: int, *, probes: int | None = None, replicates: int = 1, **more: Any
) -> dict[str, Any]:
    """Return the estimated fields of a trace, without the provenance that a result looks up."""
    goal = TraceGoal(**{"relative_error": 0.02, "absolute_error": 0.0, "confidence": 0.95, **more})
    meter = Meter(MatrixOperator(matrix), most=1000)
    run = TraceRun(meter=meter, goal=goal, rng=np.random.default_rng(seed), layers={})
    return dict(run.run(method, num_probes=probes, num_replicates=replicates).fields)


def norm_fields(matrix: np.ndarray, seed: int, error: float | None) -> dict[str, Any]:
    return dict(NormRun(**probing(matrix, seed, 1000), num_probes=10, relative_error=error).run().fields)


def diagonal_fields(matrix: np.ndarray, seed: int) -> dict[str, Any]:
    run = DiagonalRun(**probing(matrix, seed, 100), num_probes=2, relative_error=0.3)
    return dict(run.run("hutchinson").fields)


def probing(matrix: np.ndarray, seed: int, most: int) -> dict[str, Any]:
    meter = Meter(MatrixOperator(matrix), most=most)
    return {"meter": meter, "rng": np.random.default_rng(seed), "confidence": 0.95}


def held(results: list[dict[str, Any]], truth: float) -> float:
    """Return how often the intervals that are stated hold the truth, up to the rounding of exact ones.

    With 600 a true coverage of .955, the hull's for most spectra, is seen below .93 once in 500 times.
    """
    stated = [found["interval"] for found in results if found["interval"] is not None]
    assert len(stated) >= 0.95 * len(results)
    off = 1e-12 * abs(truth)
    return float(np.mean([low - off <= truth <= high + off for low, high in stated]))


def unbiased(results: list[dict[str, Any]], truth: float) -> bool:
    """Return whether the mean lies within four of its standard errors: one false alarm in 16,000."""
    values = np.array([found["value"] for found in results])
    return bool(abs(values.mean() - truth) <= 4 * values.std() / np.sqrt(len(values)) + 1e-9 * abs(truth))


@pytest.mark.parametrize("method", ["auto", "hutchinson"])
@pytest.mark.parametrize("name", FAMILY)
def test_traces_to_an_error_are_unbiased_and_cover(name: str, method: str) -> None:
    matrix, truth = prescribed(FAMILY[name]), float(FAMILY[name].sum())
    error = 0.05 if method == "auto" else 0.3
    found = [trace_fields(matrix, method, seed, relative_error=error) for seed in range(SEEDS)]
    assert held(found, truth) >= 0.93
    assert unbiased(found, truth)
    if method == "auto":
        assert np.mean([one["status"] == "ok" for one in found]) >= 0.95


@pytest.mark.parametrize("name", FAMILY)
def test_norms_of_few_probes_and_norms_to_an_error_cover(name: str) -> None:
    matrix, truth = prescribed(FAMILY[name]), float(np.linalg.norm(FAMILY[name]))
    for error in (None, 0.2):
        found = [norm_fields(matrix, seed, error) for seed in range(SEEDS)]
        assert held(found, truth) >= 0.93


@pytest.mark.parametrize("name", ["1/i", "indefinite"])
def test_replicates_of_xtrace_cover(name: str) -> None:
    matrix, truth = prescribed(FAMILY[name]), float(FAMILY[name].sum())
    found = [trace_fields(matrix, "xtrace", seed, probes=4, replicates=8) for seed in range(SEEDS // 2)]
    assert held(found, truth) >= 0.93


@pytest.mark.parametrize("name", FAMILY)
def test_diagonals_to_an_error_are_unbiased_and_cover_entry_by_entry(name: str) -> None:
    matrix = prescribed(FAMILY[name])
    truth = np.diag(matrix)
    found = [diagonal_fields(matrix, seed) for seed in range(SEEDS // 4)]
    inside = [(one["intervals"][:, 0] <= truth) & (truth <= one["intervals"][:, 1]) for one in found]
    assert np.mean(inside) >= 0.93  # of 18,000 intervals
    values = np.array([one["values"] for one in found])
    scores = (values.mean(axis=0) - truth) / (values.std(axis=0) / np.sqrt(len(values)))
    assert np.abs(scores).max() < 4.5  # of 120 entries: one false alarm in 1,200


@pytest.mark.faults
@pytest.mark.parametrize("method", ["hutchinson", "hutch++"])
def test_too_few_probes_to_know_their_own_error_give_the_reason_and_no_interval(method: str) -> None:
    matrix = prescribed(FAMILY["rank 3"] + 0.01 * FAMILY["1/i"])
    found = trace(matrix, method=method, num_probes=4)
    assert found.interval is None
    assert "4 probes are too few" in found.warnings[0]
    assert "no interval" in str(found)
    norm = frobenius_norm(matrix, num_probes=9)
    assert norm.interval is None
    assert "9 probes are too few" in norm.warnings[0]
    few = trace(matrix, method="xtrace", num_probes=8, num_replicates=3)
    assert few.interval is None
    assert "3 replicates are too few" in few.warnings[0]
