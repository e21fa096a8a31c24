r"""Estimators of traces and diagonals from products with random vectors.

All take ``products(rows [b, n]) -> [b, n]`` of a symmetric A and give one value per probe, so that the
error is that of independent values where the values are independent.

*Hutchinson* [1]_: the mean of ``zᵀAz`` over random signs z.

*Hutch++* [2]_, for a budget of products:

1. *Sketch*: Q, an orthonormal basis of ``A S`` for random signs S. What a pilot has multiplied serves as S.
2. *Exact part*: ``tr(QᵀAQ)``, from one more product per vector of Q.
3. *Remainder*: Hutchinson for ``(I − QQᵀ) A (I − QQᵀ)``; the traces of the two parts add up to that of A.

*XTrace* and *XDiag* [3]_: the sketch serves as probes too, each for the sketch of all others.

1. *Sketch*: ``A Ω = Q R`` for probes Ω, and the products ``A Q``.
2. *Leave one out*: without probe i the sketch spans ``Q (I − s_i s_iᵀ) Qᵀ`` with ``s_i`` the normalised i-th
   column of ``R^{-T}``: no further product.
3. *Estimate*: the exact part of each such sketch, and its remainder by the probe left out; then their mean.

References
----------
.. [1] Hutchinson, 1989. A stochastic estimator of the trace of the influence matrix. Comm. Stat. 18(3).
.. [2] Meyer et al., 2021. Hutch++: optimal stochastic trace estimation. arXiv:2010.09649.
.. [3] Epperly, Tropp and Webber, 2024. XTrace: making the most of every sample in stochastic trace
   estimation. SIAM J. Matrix Anal. Appl. 45(1), arXiv:2301.07825.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

Products = Callable[[np.ndarray], np.ndarray]
Layers = Mapping[str, np.ndarray]

FEW_REPLICATES = 8  # of XTrace: fewer have no standard error


def rademacher(rng: np.random.Generator, count: int, dim: int, dtype: np.dtype) -> np.ndarray:
    """Return random signs [count, dim]."""
    bits: np.ndarray = rng.integers(0, 2, size=(count, dim), dtype=np.int8)
    signs: np.ndarray = (2 * bits - 1).astype(dtype)
    return signs


def standard_error(values: Sequence[float] | np.ndarray) -> float:
    """Return the standard error of the mean of independent values."""
    return float(np.std(values, ddof=1) / np.sqrt(len(values))) if len(values) > 1 else float("nan")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExactPart:
    """The exact part of an estimate: the range of a sketch, which needs no probing.

    Attributes
    ----------
    total : float
        ``tr(QᵀAQ)``.
    layers : dict of str to float
        The share of each layer.
    squares : float
        Its part of the squared Frobenius norm.
    """

    total: float = 0.0
    layers: Mapping[str, float] = dataclasses.field(default_factory=dict)
    squares: float = 0.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Samples:
    """Independent values, one per probe, beside an exact part.

    Attributes
    ----------
    total : numpy.ndarray [m]
        ``zᵀAz`` of each probe.
    layers : dict of str to numpy.ndarray [m]
        The share of each layer.
    squares : numpy.ndarray [m]
        ``‖Az‖²`` of each probe, whose mean is the squared Frobenius norm (of the part probed).
    entries : numpy.ndarray [n]
        Sample variance of the entries of ``z ∘ Az``; NaN for fewer than two probes.
    exact : ExactPart
        What is added.
    finite : bool
        Whether every product was; after one that was not there are no more values.
    """

    total: np.ndarray
    layers: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)
    squares: np.ndarray
    entries: np.ndarray
    exact: ExactPart = ExactPart()
    finite: bool = True

    def __len__(self) -> int:
        return len(self.total)

    @property
    def value(self) -> float:
        """The estimate; NaN without a value."""
        return self.exact.total + float(np.mean(self.total)) if len(self) else float("nan")

    @property
    def standard_error(self) -> float:
        """Standard error of the mean over probes."""
        return standard_error(self.total)

    @property
    def foretold_variance(self) -> float:
        """The variance of one probe, known better than from the few values themselves.

        ``Var(zᵀAz) = 2 Σ_{i≠j} A_ij²``, and ``Var(z_i (Az)_i) = Σ_{j≠i} A_ij²``: twice the sum of the
        sample variances of all entries, which are many more than the probes.
        """
        return 2 * float(np.sum(self.entries))

    @property
    def frobenius(self) -> float:
        """Estimate of the Frobenius norm; NaN without a value."""
        if not len(self):
            return float("nan")
        return float(np.sqrt(max(self.exact.squares + float(np.mean(self.squares)), 0.0)))


class Recorder:
    """The values of probes as they come in."""

    def __init__(self, dim: int, layers: Layers) -> None:
        self.where = layers
        self.rows: list[tuple[float, float]] = []
        self.shares: dict[str, list[float]] = {}
        self._mean, self._spread = np.zeros(dim), np.zeros(dim)

    def add(self, signs: np.ndarray, probe: np.ndarray, image: np.ndarray) -> None:
        """Count one probe: the signs drawn, what was multiplied, and its product."""
        image = image.astype(np.float64)
        each = probe.astype(np.float64) * image
        self.rows.append((float(each.sum()), float(np.sum(image**2))))
        for path, where in self.where.items():
            self.shares.setdefault(path, []).append(float(each[where].sum()))
        entry = signs.astype(np.float64) * image
        off = entry - self._mean
        self._mean += off / len(self.rows)
        self._spread += off * (entry - self._mean)  # Welford's sum of squared deviations

    def samples(self, exact: ExactPart, *, finite: bool) -> Samples:
        """Return the values collected so far."""
        count = len(self.rows)
        totals, squares = np.array(self.rows).reshape(count, 2).T
        return Samples(
            total=totals,
            squares=squares,
            layers={path: np.array(shares) for path, shares in self.shares.items()},
            entries=self._spread / (count - 1) if count > 1 else np.full(len(self._spread), np.nan),
            exact=exact,
            finite=finite,
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Hutchinson:
    """``zᵀAz`` for random signs z: unbiased, variance ``2(‖A‖_F² − Σ A_ii²)``."""

    products: Products
    dim: int
    dtype: np.dtype
    rng: np.random.Generator
    layers: Layers

    def run(self, count: int) -> Samples:
        """Return the values of `count` fresh probes, stopping after one that is not finite."""
        return self.kept_run(count)[0]

    def kept_run(self, count: int) -> tuple[Samples, np.ndarray, np.ndarray]:
        """Return the values, and the probes [count, n] with their products: a sketch to be."""
        recorder = Recorder(self.dim, self.layers)
        probes: list[np.ndarray] = []
        images: list[np.ndarray] = []
        for _ in range(count):
            probe = rademacher(self.rng, 1, self.dim, self.dtype)
            image = self.products(probe)
            if not np.isfinite(image).all():
                return recorder.samples(ExactPart(), finite=False), np.array(probes), np.array(images)
            recorder.add(probe[0], probe[0], image[0])
            probes.append(probe[0])
            images.append(image[0])
        return recorder.samples(ExactPart(), finite=True), np.array(probes), np.array(images)


@dataclasses.dataclass(frozen=True, kw_only=True)
class HutchPP(Hutchinson):
    """Exact on the range of a sketch, Hutchinson on what is orthogonal to it.

    A layer's share gets the cross term ``(I−QQᵀ)AQQᵀ`` too, which is known from the same products and sums
    to zero over all coordinates.

    Attributes
    ----------
    basis : numpy.ndarray [s, n]
        Qᵀ, orthonormal rows.
    exact : ExactPart
        Of its range.
    """

    basis: np.ndarray
    exact: ExactPart

    @classmethod
    def sketched(cls, plain: Hutchinson, images: np.ndarray) -> HutchPP | None:
        """Do steps 1 and 2 with the products [s, n] of some probes; None if a further one is not finite."""
        if not np.isfinite(images).all():
            return None
        basis = np.linalg.qr(images.astype(np.float64).T)[0].T
        again = plain.products(basis.astype(plain.dtype)).astype(np.float64)
        if not np.isfinite(again).all():
            return None
        inner = basis @ again.T
        across = again - inner.T @ basis
        shares = np.sum(basis * again, axis=0) + np.sum(basis * across, axis=0)
        exact = ExactPart(
            total=float(np.trace(inner)),
            layers={path: float(shares[where].sum()) for path, where in plain.layers.items()},
            squares=float(np.sum(inner**2) + 2 * np.sum(across**2)),
        )
        fields: dict[str, Any] = {
            field.name: getattr(plain, field.name) for field in dataclasses.fields(plain)
        }
        return cls(**fields, basis=basis, exact=exact)

    def run(self, count: int) -> Samples:
        """Do step 3: return the values of `count` fresh probes of the remainder beside the exact part."""
        recorder = Recorder(self.dim, self.layers)
        for _ in range(count):
            signs = rademacher(self.rng, 1, self.dim, self.dtype)[0].astype(np.float64)
            probe = self._outside(signs)
            image = self.products(probe.astype(self.dtype)[None])[0].astype(np.float64)
            if not np.isfinite(image).all():
                return recorder.samples(self.exact, finite=False)
            recorder.add(signs, probe, self._outside(image))
        return recorder.samples(self.exact, finite=True)

    def _outside(self, row: np.ndarray) -> np.ndarray:
        # Twice: once leaves parts along Q as large as the rounding of what it took out.
        row = row - (self.basis @ row) @ self.basis
        left: np.ndarray = row - (self.basis @ row) @ self.basis
        return left


@dataclasses.dataclass(frozen=True)
class LeaveOneOut:
    """Steps 1 and 2 of XTrace and XDiag.

    Attributes
    ----------
    probes : numpy.ndarray [k, n]
        Ωᵀ.
    basis, images : numpy.ndarray [k, n]
        Qᵀ and its products.
    triangle : numpy.ndarray [k, k]
        R.
    left_out : numpy.ndarray [k, k]
        The directions s_i as columns.
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


@dataclasses.dataclass(frozen=True, kw_only=True)
class Replicates:
    """Independent repetitions of XTrace.

    Attributes
    ----------
    means, spreads : tuple of float
        Mean and error estimate of the leave-one-out values of each.
    squares : tuple of float
        Estimates of the squared Frobenius norm.
    failed : bool
        Whether a product was not finite.
    """

    means: tuple[float, ...] = ()
    spreads: tuple[float, ...] = ()
    squares: tuple[float, ...] = ()
    failed: bool = False

    def and_one(self, mean: float, spread: float, square: float) -> Replicates:
        """Return these and another."""
        return Replicates(
            means=(*self.means, mean), spreads=(*self.spreads, spread), squares=(*self.squares, square)
        )

    @property
    def value(self) -> float:
        """The estimate; NaN without a replicate."""
        return float(np.mean(self.means)) if self.means else float("nan")

    @property
    def frobenius(self) -> float:
        """Estimate of the Frobenius norm."""
        return float(np.sqrt(np.mean(self.squares))) if self.squares else float("nan")

    @property
    def error_estimate(self) -> float:
        """Spread of the leave-one-out values, over all replicates."""
        return float(np.mean(self.spreads) / np.sqrt(len(self.means))) if self.means else float("nan")

    @property
    def standard_error(self) -> float | None:
        """Standard error over replicates; None for too few."""
        return standard_error(self.means) if len(self.means) >= FEW_REPLICATES else None

    @property
    def error(self) -> float:
        """The error that is compared with the one asked for: the standard error where there is one."""
        error = self.standard_error
        return self.error_estimate if error is None else error


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
