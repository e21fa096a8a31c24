"""Eigenpairs on matrices with prescribed spectra."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from curvature_samples import prescribed, tanh_params, tanh_problem
from scipy.sparse.linalg import LinearOperator, eigsh

import landscape
from landscape import MatrixOperator, Problem, hessian, top_eigenpairs
from landscape.curvature import Lanczos, eigensolver
from landscape.curvature.symmetric import SymmetricOperator

N = 300
SPECTRA = {
    "simple": np.linspace(-1, 2, N),
    "indefinite": np.random.default_rng(0).normal(size=N),
    "repeated": np.r_[np.full(5, 3.0), np.full(3, -4.0), np.linspace(-1, 1, N - 8)],
    "rank three": np.r_[1.0, 2.0, 3.0, np.zeros(N - 3)],
    "zero": np.zeros(N),
    "identity": np.ones(N),
    "negative": -np.logspace(0, 3, N),
    "clustered": np.r_[10 + 1e-3 * np.arange(4), np.linspace(0, 1, N - 4)],
}


def expected(values: np.ndarray, k: int, which: str) -> np.ndarray:
    ascending = np.sort(values)
    if which == "largest":
        return ascending[::-1][:k]
    if which == "smallest":
        return ascending[:k]
    if which == "both":
        return np.r_[ascending[::-1][:k], ascending[:k]]
    return np.sort(np.abs(values))[::-1][:k]


@pytest.mark.parametrize("which", ["largest", "smallest", "both", "magnitude"])
@pytest.mark.parametrize("name", SPECTRA)
def test_prescribed_spectra_are_found_at_every_end(name: str, which: str) -> None:
    values = SPECTRA[name]
    found = top_eigenpairs(prescribed(values), 6, which=which, tolerance=1e-9, max_matvecs=3000)
    shown = np.abs(found.eigenvalues) if which == "magnitude" else found.eigenvalues
    np.testing.assert_allclose(shown, expected(values, 6, which), atol=1e-8 * max(np.abs(values).max(), 1))
    assert found.status == "ok"
    assert found.complete_probe["passed"]


@pytest.mark.parametrize("name", SPECTRA)
def test_residuals_are_those_of_the_pairs_and_vectors_are_orthonormal(name: str) -> None:
    matrix = prescribed(SPECTRA[name])
    found = top_eigenpairs(matrix, 4)
    images = matrix @ found.eigenvectors
    residuals = np.linalg.norm(images - found.eigenvalues * found.eigenvectors, axis=0)
    np.testing.assert_allclose(found.residuals, residuals, atol=1e-12 * max(found.scale, 1))
    np.testing.assert_allclose(found.eigenvectors.T @ found.eigenvectors, np.eye(4), atol=1e-12)
    nearest = np.abs(SPECTRA[name][:, None] - found.eigenvalues).min(axis=0)
    assert np.all(nearest <= found.residuals + 1e-12 * max(found.scale, 1))


def test_spread_over_eight_decades_is_certified_in_float64() -> None:
    values = np.logspace(0, 8, N)
    found = top_eigenpairs(prescribed(values), 8, tolerance=1e-10)
    np.testing.assert_allclose(found.eigenvalues, np.sort(values)[::-1][:8], rtol=1e-9)


def test_multiplicity_is_found_and_counted() -> None:
    found = top_eigenpairs(prescribed(SPECTRA["repeated"]), 6, tolerance=1e-8)
    assert found.multiplicity[:5].tolist() == [5] * 5
    assert found.multiplicity[5] == 1


@pytest.mark.parametrize("block_size", [2, 3, 5])
def test_blocks_find_what_single_vectors_find(block_size: int) -> None:
    values = SPECTRA["repeated"]
    found = top_eigenpairs(prescribed(values), 7, tolerance=1e-9, block_size=block_size)
    np.testing.assert_allclose(found.eigenvalues, expected(values, 7, "largest"), atol=1e-8)


def test_a_small_basis_restarts_and_still_converges() -> None:
    values = np.linspace(0, 1, N) ** 4
    found = top_eigenpairs(prescribed(values), 5, num_vectors=14, tolerance=1e-8, max_matvecs=5000)
    np.testing.assert_allclose(found.eigenvalues, expected(values, 5, "largest"), atol=1e-7)
    assert found.status == "ok"
    assert found.config["num_vectors"] == 14


class Diagonal(SymmetricOperator):
    """A large diagonal matrix."""

    def __init__(self, values: np.ndarray) -> None:
        super().__init__(len(values), values.dtype)
        self.values = values

    def _products(self, rows: np.ndarray) -> np.ndarray:
        return rows * self.values


def test_a_hundred_steps_in_float32_show_no_ghosts_in_twenty_thousand_dimensions() -> None:
    rng = np.random.default_rng(0)
    values = np.sort(np.r_[100 * 0.7 ** np.arange(10), rng.uniform(0, 0.01, 19_990)]).astype(np.float32)
    run = Lanczos(Diagonal(values).rows, len(values), num_vectors=101, rng=rng, dtype=np.dtype(np.float32))
    for _ in range(100):
        run.step()
    basis = run.basis[: run.count].astype(np.float64)
    assert np.abs(basis @ basis.T - np.eye(len(basis))).max() < 1e-5
    theta = run.ritz()[0][::-1]
    np.testing.assert_allclose(theta[:10], values[::-1][:10], rtol=2e-6)
    assert theta[10] < 0.011  # the next one is of the bulk: no eigenvalue has come twice


def test_eigenpairs_and_orthogonality_survive_vectors_read_in_parts() -> None:
    rng = np.random.default_rng(0)
    values = np.r_[20 * 0.8 ** np.arange(12), rng.uniform(-0.1, 0.1, 2**16)].astype(np.float32)
    found = top_eigenpairs(Diagonal(values), 8, num_vectors=24, tolerance=1e-5)
    assert found.status == "ok"
    np.testing.assert_allclose(found.eigenvalues, values[:8], rtol=1e-5)
    run = Lanczos(Diagonal(values).rows, len(values), num_vectors=41, rng=rng, dtype=np.dtype(np.float32))
    for _ in range(40):
        run.step()
    basis = run.basis[: run.count].astype(np.float64)
    assert np.abs(basis @ basis.T - np.eye(40)).max() < 1e-5


@pytest.mark.parametrize("block_size", [1, 2])
def test_lengths_of_long_vectors_keep_their_digits(block_size: int) -> None:
    """BLAS adds ten million equal float32 numbers up with an error in the third digit."""
    start = np.full((block_size, 2_500_000), 0.1, np.float32)
    start[1:, ::2] = -0.1
    values = np.full(start.shape[1], 2, np.float32)
    run = Lanczos(
        Diagonal(values).rows,
        len(values),
        num_vectors=2 * block_size,
        block_size=block_size,
        rng=np.random.default_rng(0),
        dtype=np.dtype(np.float32),
        start=start,
    )
    run.step()
    np.testing.assert_allclose(np.square(run.basis[:block_size], dtype=np.float64).sum(axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(np.diag(run.projected)[:block_size], 2, rtol=1e-5)


def test_products_that_are_too_coarse_are_told_from_too_few() -> None:
    class Coarse(Diagonal):
        def _products(self, rows: np.ndarray) -> np.ndarray:
            return np.asarray(rows * self.values, np.float16).astype(np.float32)

    values = np.r_[10 * 0.5 ** np.arange(8), np.full(400, 1e-3)].astype(np.float32)
    found = top_eigenpairs(Coarse(values), 2, tolerance=1e-6)
    assert found.status == "not-converged"
    assert "more products would not help" in found.warnings[-1]
    assert "float64" in found.warnings[-1]
    few = top_eigenpairs(Diagonal(values), 5, tolerance=1e-6, max_matvecs=6)
    assert "allow more products" in few.warnings[-1]


def test_eigenpairs_agree_with_eigsh() -> None:
    operator = hessian(tanh_problem(), tanh_params(), dtype="float64")
    ours = top_eigenpairs(operator, 5, which="magnitude", tolerance=1e-10)
    theirs = eigsh(operator.to_scipy(), k=5, which="LM", return_eigenvectors=False)
    np.testing.assert_allclose(np.sort(ours.eigenvalues), np.sort(theirs), atol=1e-10)
    matrix = prescribed(SPECTRA["indefinite"])
    linear = LinearOperator(
        matrix.shape, matvec=lambda v: matrix @ v, matmat=lambda v: matrix @ v, dtype=float
    )
    found = top_eigenpairs(linear, 3, tolerance=1e-9)
    np.testing.assert_allclose(found.eigenvalues, expected(SPECTRA["indefinite"], 3, "largest"), atol=1e-9)


def test_a_small_matrix_is_computed_whole_and_said_to_be() -> None:
    found = top_eigenpairs(np.diag([3.0, 1.0, 2.0]), 2)
    assert found.eigenvalues.tolist() == [3.0, 2.0]
    assert found.complete_probe["exact"]


@pytest.mark.faults
def test_more_eigenvalues_than_dimensions_are_clipped_with_a_note() -> None:
    found = top_eigenpairs(np.diag([3.0, 1.0]), 5)
    assert found.eigenvalues.tolist() == [3.0, 1.0]
    assert "clipped" in found.warnings[0]
    assert len(top_eigenpairs(np.diag([3.0, 1.0, 0.0]), 2, which="both").eigenvalues) == 3


def test_too_few_products_say_so_and_keep_what_was_found() -> None:
    found = top_eigenpairs(prescribed(SPECTRA["simple"]), 5, tolerance=1e-12, max_matvecs=20)
    assert found.status == "not-converged"
    assert not found.converged.all()
    assert len(found.eigenvalues) == 5


def test_a_missed_eigenvalue_fails_the_probe_or_is_taken_in() -> None:
    values = np.r_[5.0, 5.0, 3.0, np.linspace(0, 0.01, N - 3)]
    found = top_eigenpairs(prescribed(values), 2)
    np.testing.assert_allclose(found.eigenvalues, [5.0, 5.0], atol=1e-6)  # one vector sees one copy
    blind = top_eigenpairs(prescribed(values), 2, probe_matvecs=0)
    np.testing.assert_allclose(blind.eigenvalues, [5.0, 3.0], atol=1e-6)
    assert not blind.complete_probe["passed"]


class Failing(SymmetricOperator):
    """A diagonal matrix whose products turn to NaN."""

    def __init__(self, after: int) -> None:
        super().__init__(N, np.dtype(float))
        self.after = after

    def _products(self, rows: np.ndarray) -> np.ndarray:
        self.after -= len(rows)
        return rows * (np.arange(N) if self.after >= 0 else np.nan)


@pytest.mark.faults
@pytest.mark.parametrize("after", [0, 1, 20])
def test_a_product_that_turns_to_nan_half_way_keeps_partial_values(after: int) -> None:
    found = top_eigenpairs(Failing(after), 3)
    assert found.status == "non-finite"
    assert "NaN" in " ".join(found.warnings)
    assert np.isfinite(found.eigenvalues).all()
    assert len(found.eigenvalues) == min(3, after)
    assert found.complete_probe["passed"] is False
    if after == 0:
        assert np.isnan(found.scale)
        assert "no eigenpairs" in found.warnings[0]


def test_two_processes_give_the_same_bytes() -> None:
    program = (
        "import numpy as np, hashlib, sys; sys.path.insert(0, 'tests')\n"
        "from curvature_samples import network_problem, tanh_params, tanh_problem\n"
        "from landscape import hessian, top_eigenpairs, trace, spectral_density\n"
        "h = hessian(tanh_problem(), tanh_params())\n"
        "a = top_eigenpairs(h, 3, seed=3); b = trace(h, method='hutchinson', num_probes=20, seed=3)\n"
        "c = spectral_density(h, num_probes=2, num_steps=5, seed=3)\n"
        "data = a.eigenvalues.tobytes() + a.eigenvectors.tobytes() + np.float64(b.value).tobytes()\n"
        "h = hessian(*network_problem('lenet-300-100')); a = top_eigenpairs(h, 3, seed=3)\n"
        "assert h.dim > 2**16 and not a.complete_probe['exact'] and a.status == 'ok'\n"
        "data += a.eigenvalues.tobytes() + a.eigenvectors.tobytes() + a.residuals.tobytes()\n"
        "print(hashlib.sha256(data + c.density.tobytes()).hexdigest())"
    )
    runs = [
        subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
        for _ in range(2)
    ]
    assert len(runs[0].strip()) == 64
    assert runs[0] == runs[1]


def test_a_result_is_stored_and_loaded_with_its_vectors(tmp_path: Any) -> None:
    found = top_eigenpairs(MatrixOperator(prescribed(SPECTRA["simple"])), 3)
    found.save(tmp_path / "pairs.h5")
    again = landscape.load_result(tmp_path / "pairs.h5")
    np.testing.assert_array_equal(again.eigenvectors, found.eigenvectors)  # type: ignore[attr-defined]
    assert str(again) == str(found)
    assert "eigenvectors" not in found.to_dict()["data"]


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("k", 0),
        ("which", "middle"),
        ("tolerance", -1.0),
        ("tolerance", float("nan")),
        ("num_vectors", 3),
        ("seed", -1),
        ("seed", 2**32),
    ],
)
def test_settings_that_cannot_be_meant_are_refused_by_name(setting: str, value: Any) -> None:
    options = {"k": 3, setting: value}
    with pytest.raises(landscape.errors.ConfigurationError, match=setting):
        top_eigenpairs(np.eye(200), **options)


# -- what was missed ----------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("copies", "gap", "tolerance"), [(5, 0.05, 1e-3), (2, 0.02, 1e-3), (2, 0.2, 1e-4)])
def test_copies_just_above_a_dense_bulk_are_found_or_not_called_ok(
    copies: int, gap: float, tolerance: float, dtype: Any
) -> None:
    values = np.r_[np.linspace(0, 1, 1000 - copies), np.full(copies, 1 + gap)].astype(dtype)
    for seed in range(4):
        found = top_eigenpairs(Diagonal(values), copies, tolerance=tolerance, seed=seed)
        assert found.eigenvalues[-1] > 1 + gap - 2 * tolerance or found.status != "ok"
        assert found.complete_probe["decided"]


def test_nothing_lies_beyond_the_last_pair_and_its_residual_where_the_probe_passed() -> None:
    values = np.r_[1e6, np.linspace(1, 2, N - 1)]
    found = top_eigenpairs(prescribed(values), 5)  # the tolerance is 100: it separates nothing below 1e6
    assert found.status == "ok"
    assert found.complete_probe["passed"]
    last, slack = found.eigenvalues[-1], found.residuals[-1]
    assert expected(values, 5, "largest")[-1] <= last + slack
    assert found.complete_probe["most_extreme"] <= last + slack
    assert "of it" in found.rows()[1][1]
    sharp = top_eigenpairs(prescribed(values), 5, tolerance=1e-10, max_matvecs=2000)
    np.testing.assert_allclose(sharp.eigenvalues, expected(values, 5, "largest"), rtol=1e-6)


def test_a_probe_without_the_means_to_decide_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(eigensolver, "_LONGEST_PROBE", 0)
    found = top_eigenpairs(Diagonal(np.linspace(0, 1, 1000)), 3, tolerance=1e-5, probe_matvecs=3)
    assert found.status == "incomplete"
    assert not found.complete_probe["passed"]
    assert not found.complete_probe["decided"]
    assert "undecided" in str(found)


# -- what rounding leaves -----------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 3, 10])  # large weights saturate the loss, where float32 loses most
def test_an_eigenvalue_of_the_float64_matrix_lies_within_every_float32_residual(size: int) -> None:
    rng = np.random.default_rng(0)
    for _ in range(8):
        params = jax.tree.map(lambda x: size * rng.normal(size=x.shape).astype(np.float32), tanh_params())
        matrix = hessian(tanh_problem(), params, dtype="float64").dense()
        true = np.linalg.eigvalsh(matrix)
        found = top_eigenpairs(hessian(tanh_problem(), params), 4, which="both")
        assert np.all(np.abs(true[:, None] - found.eigenvalues).min(axis=0) <= found.residuals)
        vectors = found.eigenvectors.astype(np.float64)
        actual = np.linalg.norm(matrix @ vectors - found.eigenvalues * vectors, axis=0)
        assert np.all(actual <= found.residuals * (1 + 1e-6))
        assert found.rounding is not None
        assert np.all((found.rounding > 0) & (found.rounding <= found.residuals))


def test_sums_over_many_examples_are_within_their_rounding() -> None:
    data = np.random.default_rng(0).uniform(0.5, 1.5, 60_000).astype(np.float32)
    problem = Problem(lambda p, b: 0.5 * b * jnp.sum(p["w"] ** 2), train=data)
    found = top_eigenpairs(hessian(problem, {"w": np.ones(300, np.float32)}), 2)
    assert np.all(np.abs(found.eigenvalues - data.mean(dtype=np.float64)) <= found.residuals)
