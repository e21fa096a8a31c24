r"""Estimators of traces and diagonals from products with random vectors.

All take ``products(rows [b, n]) -> [b, n]`` of a symmetric A and return one value a probe, so that errors
are those of independent values wherever that is what they are.

References
----------
Hutchinson, 1989. A stochastic estimator of the trace of the influence matrix. Comm. Stat. 18(3).
Meyer et al., 2021. Hutch++: optimal stochastic trace estimation. arXiv:2010.09649.
Epperly, Tropp and Webber, 2024. XTrace: making the most of every sample in stochastic trace
estimation. SIAM J. Matrix Anal. Appl. 45(1), arXiv:2301.07825.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping

import numpy as np

from landscape.curvature.symmetric import SymmetricOperator

Products = Callable[[np.ndarray], np.ndarray]
Layers = Mapping[str, np.ndarray]


def rademacher(rng: np.random.Generator, count: int, dim: int, dtype: np.dtype) -> np.ndarray:
    """Return random signs [count, dim]."""
    bits: np.ndarray = rng.integers(0, 2, size=(count, dim), dtype=np.int8)
    signs: np.ndarray = (2 * bits - 1).astype(dtype)
    return signs


@dataclasses.dataclass
class Samples:
    """Independent values, one a probe, of a total and of its layers, beside an exact part.

    Attributes
    ----------
    total : list of float
        Values of the probes.
    layers : dict of str to list of float
        The share of each layer.
    squares : list of float
        ``‖Az‖²`` of each probe, whose mean is the squared Frobenius norm (of the part probed).
    exact_total, exact_layers
        What needs no probing.
    """

    total: list[float] = dataclasses.field(default_factory=list)
    layers: dict[str, list[float]] = dataclasses.field(default_factory=dict)
    squares: list[float] = dataclasses.field(default_factory=list)
    exact_total: float = 0.0
    exact_layers: dict[str, float] = dataclasses.field(default_factory=dict)
    exact_squares: float = 0.0
    failed: bool = False

    def add(self, probe: np.ndarray, image: np.ndarray, layers: Layers) -> None:
        """Count ``zᵀAz`` and its layers' shares."""
        each = probe.astype(np.float64) * image
        self.total.append(float(each.sum()))
        self.squares.append(float(np.sum(image.astype(np.float64) ** 2)))
        for path, where in layers.items():
            self.layers.setdefault(path, []).append(float(each[where].sum()))

    def fail(self) -> None:
        """Note that a product was not finite: the values before it stand."""
        self.failed = True

    @property
    def finite(self) -> bool:
        """Whether every product was."""
        return not self.failed and bool(np.isfinite(self.total).all() and np.isfinite(self.exact_total))

    @property
    def value(self) -> float:
        """The estimate; NaN without a value."""
        return self.exact_total + float(np.mean(self.total)) if self.total else float("nan")

    @property
    def standard_error(self) -> float:
        """Standard error of the mean over probes."""
        return standard_error(self.total)

    @property
    def frobenius(self) -> float:
        """Estimate of the Frobenius norm; NaN without a value."""
        if not self.squares:
            return float("nan")
        return float(np.sqrt(max(self.exact_squares + float(np.mean(self.squares)), 0.0)))


def standard_error(values: list[float] | np.ndarray) -> float:
    """Return the standard error of the mean of independent values."""
    return float(np.std(values, ddof=1) / np.sqrt(len(values))) if len(values) > 1 else float("nan")


class Hutchinson:
    """``zᵀAz`` for random signs z: unbiased, variance ``2(‖A‖_F² − Σ A_ii²)``."""

    def __init__(
        self, products: Products, dim: int, *, dtype: np.dtype, rng: np.random.Generator, layers: Layers
    ) -> None:
        self.products = products
        self.dim = dim
        self.dtype = dtype
        self.rng = rng
        self.layers = layers
        self.samples = Samples()

    def run(self, count: int) -> Samples:
        """Add `count` probes, stopping after one that is not finite."""
        for _ in range(count):
            probe = rademacher(self.rng, 1, self.dim, self.dtype)
            image = self.products(probe)[0]
            if not np.isfinite(image).all():
                self.samples.fail()
                break
            self.samples.add(probe[0], image, self.layers)
        return self.samples


class HutchPP(Hutchinson):
    """Exact on the range of a sketch, Hutchinson on what is orthogonal to it.

    With Q an orthonormal basis of ``A S`` for random S, ``tr A = tr(QᵀAQ) + tr((I−QQᵀ)A(I−QQᵀ))``; a
    layer's share gets the cross term ``(I−QQᵀ)AQQᵀ`` too, which is known from the same products and
    sums to zero over all coordinates.
    """

    def sketch(self, count: int) -> None:
        """Make Q of `count` vectors: twice as many products."""
        probes = rademacher(self.rng, count, self.dim, self.dtype)
        first = self.products(probes)
        images = np.full((1, 1), np.nan)
        if np.isfinite(first).all():
            self.basis = np.linalg.qr(first.astype(np.float64).T)[0].T
            images = self.products(self.basis.astype(self.dtype)).astype(np.float64)
        if not np.isfinite(images).all():
            self._without_sketch(probes, first)
            return
        inner = self.basis @ images.T
        across = images - inner.T @ self.basis
        shares = np.sum(self.basis * images, axis=0) + np.sum(self.basis * across, axis=0)
        self.samples.exact_total = float(np.trace(inner))
        self.samples.exact_layers = {path: float(shares[where].sum()) for path, where in self.layers.items()}
        self.samples.exact_squares = float(np.sum(inner**2) + 2 * np.sum(across**2))

    def _without_sketch(self, probes: np.ndarray, images: np.ndarray) -> None:
        """Keep what a failed sketch gives nevertheless: values of Hutchinson's estimator."""
        good = np.isfinite(images).all(axis=1)
        for probe, image in zip(probes[good], images[good], strict=True):
            self.samples.add(probe, image, self.layers)
        self.samples.fail()

    def run(self, count: int) -> Samples:
        """Add `count` probes of the part orthogonal to Q."""
        for _ in range(count if self.samples.finite else 0):
            probe = self._outside(rademacher(self.rng, 1, self.dim, self.dtype)[0].astype(np.float64))
            image = self.products(probe.astype(self.dtype)[None])[0].astype(np.float64)
            if not np.isfinite(image).all():
                self.samples.fail()
                break
            self.samples.add(probe, self._outside(image), self.layers)
        return self.samples

    def _outside(self, row: np.ndarray) -> np.ndarray:
        row = row - (self.basis @ row) @ self.basis
        left: np.ndarray = row - (self.basis @ row) @ self.basis
        return left


@dataclasses.dataclass(frozen=True)
class LeaveOneOut:
    """What both leave-one-out estimators share: a basis, its image, and the left-out directions.

    Without the i-th probe the sketch spans ``Q(I − s_i s_iᵀ)Qᵀ`` with ``s_i`` the normalised i-th column
    of ``R^{-T}``, so that no further product is needed.
    """

    probes: np.ndarray
    basis: np.ndarray
    images: np.ndarray
    triangle: np.ndarray
    left_out: np.ndarray

    @classmethod
    def of(cls, products: Products, probes: np.ndarray) -> LeaveOneOut:
        """Make the sketch of some probes [k, n]: 2k products."""
        first = products(probes).astype(np.float64)
        basis, triangle = np.linalg.qr(first.T)
        images = products(basis.T.astype(probes.dtype)).astype(np.float64)
        scale = np.abs(np.diag(triangle)).max() if np.isfinite(triangle).all() else 0.0
        if not scale:
            raise FloatingPointError
        # A sketch of lower rank than it has probes: the excess columns are noise of rounding. A tiny
        # ridge keeps the solve finite; what it changes is below the precision of the products.
        ridge = np.finfo(probes.dtype).eps * scale
        safe = triangle + np.diag(np.where(np.abs(np.diag(triangle)) < ridge, ridge, 0.0))
        inverse = np.linalg.inv(safe).T
        return cls(
            probes.astype(np.float64), basis.T, images, triangle, inverse / np.linalg.norm(inverse, axis=0)
        )


def xtrace(products: Products, probes: np.ndarray) -> np.ndarray:
    """Return the leave-one-out estimates [k] of the trace; they are exchangeable, not independent."""
    sketch = LeaveOneOut.of(products, probes)
    dim, count = probes.shape[1], len(probes)
    inner = sketch.basis @ sketch.images.T
    inner = (inner + inner.T) / 2
    along = sketch.basis @ sketch.probes.T
    estimates = np.empty(count)
    for i in range(count):
        s, w, r = sketch.left_out[:, i], along[:, i], sketch.triangle[:, i]
        kept = w - s * (s @ w)
        outside = w @ r - 2 * kept @ r + kept @ inner @ kept
        length = float(sketch.probes[i] @ sketch.probes[i]) - float(w @ kept)
        stretch = (dim - count + 1) / length if length > 0 else 0.0
        estimates[i] = np.trace(inner) - s @ inner @ s + stretch * outside
    return estimates


def xdiag(products: Products, probes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the leave-one-out estimate [n] of the diagonal, from random signs [k, n], and its spread [n].

    The spread is the error estimate of the reference, the root of ``Σ (d_i − d)² / (k (k − 1))``: the
    values that leave out one probe each are exchangeable, not independent.
    """
    sketch, count = LeaveOneOut.of(products, probes), len(probes)
    directions = sketch.left_out.T @ sketch.basis
    images = sketch.left_out.T @ sketch.images
    weights = np.einsum("ki,ki->i", sketch.left_out, sketch.triangle)
    whole = np.einsum("kn,kn->n", sketch.basis, sketch.images)
    rest = directions * (weights[:, None] * sketch.probes - images)
    spread = np.std(rest, axis=0, ddof=1) / np.sqrt(count) if count > 1 else np.full(len(whole), np.nan)
    return whole + rest.sum(axis=0) / count, spread


def status_of(
    operator: SymmetricOperator, warnings: list[str], *, finite: bool, kept: str, reached: bool, most: int
) -> str:
    """Return the status of an estimate, and warn unless it is ok; `kept` says what stands of a bad one."""
    subject = getattr(operator, "subject", None)
    if not finite or (subject is not None and not subject.finite):
        warnings.append(f"a product held NaN or infinity{kept}")
        return "non-finite"
    if not reached:
        warnings.append(f"the error asked for was not reached within {most} products")
        return "not-converged"
    return "ok"
