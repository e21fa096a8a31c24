r"""The density of a spectrum by stochastic Lanczos quadrature, with a band over its probes.

The steps [1]_ [2]_, for a symmetric A of n rows:

1. *Probe*: a vector of random signs, of length √n.
2. *Lanczos* from it, with full reorthogonalisation: the projected matrix T, its Ritz values θ_i and their
   coefficients s_i.
3. *Gauss quadrature*: :math:`z^\top f(A) z / n \approx \sum_i \omega_i f(\theta_i)` with the weights
   :math:`\omega_i = (e_1^\top s_i)^2`, the squared first components; exact for polynomials of degree below
   twice the steps.
4. *Smooth*: a Gaussian kernel around every node, and the mean over probes; their spread is the band.

Where the matrix has been formed, its eigenvalues are the nodes, each of weight 1/n, and nothing is estimated.

References
----------
.. [1] Ubaru, Chen and Saad, 2017. Fast estimation of tr(f(A)) via stochastic Lanczos quadrature.
   SIAM J. Matrix Anal. Appl. 38(4).
.. [2] Golub and Welsch, 1969. Calculation of Gauss quadrature rules. Math. Comp. 23(106).
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from landscape.compute import Progress, shown
from landscape.curvature.eigenpairs import Eigenpairs
from landscape.curvature.estimates import NOT_FINITE
from landscape.curvature.estimators import rademacher, standard_error
from landscape.curvature.lanczos import Lanczos, NonFiniteProductError
from landscape.curvature.symmetric import SymmetricOperator, as_operator
from landscape.results import (
    FEWEST_PROBES,
    Later,
    Numbers,
    Record,
    Result,
    check_real,
    check_seed,
    check_whole,
    count,
    flag,
    format_value,
    provenance,
    with_error,
)

__all__ = ["SpectralDensity", "spectral_density"]

# Width of the kernel in parts of the range: the reference's variance, freed of the spectrum's units.
_WIDTH = 1e-5**0.5
_REACH = 5  # kernel widths beyond the outermost node: leaves 6e-7 of the mass outside
_ROUNDING = 1e-5
_FLOOR = 1e-8  # of the range: smaller eigenvalues are one bin of the log density

# What is stored of a density, alone or in a table.
_BOUND = 1e300  # a band may be NaN, where one probe was made, and never infinite
_MOMENTS = ("mean_eigenvalue", "mean_square")
DENSITY = {
    "grid": Numbers("T", finite="ok", fewest=2),
    "density": Numbers("T", finite="ok"),
    "standard_error": Numbers("T", least=0, most=_BOUND),
    "log_grid": Numbers("U", finite="ok", fewest=2),
    "log_density": Numbers("U", finite="ok"),
    "log_standard_error": Numbers("U", least=0, most=_BOUND),
    "checks": Record(
        {
            "mass": Numbers(),
            **{f"{name}{end}": Numbers() for name in _MOMENTS for end in ("", "_error", "_drawn")},
        }
    ),
}


@dataclasses.dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class SpectralDensity(Result):
    """The smoothed density of eigenvalues.

    Attributes
    ----------
    grid : numpy.ndarray [T]
        Where it is evaluated.
    density : numpy.ndarray [T]
        Mean over probes; its integral is 1.
    standard_error : numpy.ndarray [T]
        Over probes (NaN for one probe).
    log_grid, log_density, log_standard_error : numpy.ndarray [T]
        The density of ``log10(|λ| + floor)``.
    nodes, weights : numpy.ndarray [num_probes, num_steps]
        Ritz values, and squared first components of their vectors in the Lanczos basis.
    sigma, log_sigma : float
        Widths of the Gaussian kernels.
    floor : float
        Added to ``|λ|`` before the logarithm.
    checks : dict
        ``mass`` of the drawn density; ``mean_eigenvalue`` and ``mean_square`` from the first two steps
        (exact but for the probes) with standard errors, and from the drawn density.
    outliers, outlier_residuals : numpy.ndarray
        Exact extreme eigenvalues, if they were given.
    num_probes, num_steps, dim, num_matvecs : int
        Sizes.
    exact : bool
        Whether the nodes are all eigenvalues: standard errors are 0, and no probe was made.
    """

    kind: ClassVar[str] = "spectral_density"

    statuses = ("ok", "non-finite")
    spec = Record(
        {
            **DENSITY,
            "nodes": Numbers("probes", "steps", finite="ok", fewest=1),
            "weights": Numbers("probes", "steps", finite="ok"),
            "sigma": Numbers(),
            "log_sigma": Numbers(),
            "floor": Numbers(),
            "outliers": Numbers("outliers"),
            "outlier_residuals": Numbers("outliers", least=0),
            "num_probes": count(),
            "num_steps": count(equals="steps"),
            "dim": count(least=1),
            "num_matvecs": count(),
            "exact": Later(flag()),
        }
    )

    grid: np.ndarray
    density: np.ndarray
    standard_error: np.ndarray
    log_grid: np.ndarray
    log_density: np.ndarray
    log_standard_error: np.ndarray
    nodes: np.ndarray
    weights: np.ndarray
    sigma: float
    log_sigma: float
    floor: float
    checks: Mapping[str, float]
    outliers: np.ndarray
    outlier_residuals: np.ndarray
    num_probes: int
    num_steps: int
    dim: int
    num_matvecs: int
    exact: bool = False

    def rows(self) -> list[tuple[str, str]]:
        """Return the printed lines."""
        checks, low, high = self.checks, self.nodes.min(), self.nodes.max()
        if not np.isfinite(self.nodes).all():
            return [("density", NOT_FINITE), ("method", f"{self.num_matvecs} products")]
        return [
            ("Ritz values", f"from {format_value(low)} to {format_value(high)}"),
            ("mean eigenvalue", _with_error(checks, "mean_eigenvalue")),
            ("mean square", _with_error(checks, "mean_square")),
            ("mass drawn", f"{checks['mass']:.6f}"),
            ("kernel width", format_value(self.sigma)),
            ("method", self._method()),
        ]

    def _method(self) -> str:
        if self.exact:
            return f"exact: all {self.dim:,} eigenvalues"
        return f"{self.num_probes} probes of {self.num_steps} steps, {self.num_matvecs} products"


def _few(probes: int) -> tuple[str, ...]:
    """Return the reason why the band over few probes is not a measure of its error."""
    if probes == 1:
        return ("one probe does not know its own error: no band",)
    if probes < FEWEST_PROBES:
        return (f"the band is rough: {probes} probes are too few to know their own error",)
    return ()


def _with_error(checks: Mapping[str, float], name: str) -> str:
    drawn = format_value(checks[f"{name}_drawn"])
    return f"{with_error(checks[name], checks[f'{name}_error'])}, {drawn} as drawn"


def spectral_density(
    operator: SymmetricOperator | Any,
    *,
    num_probes: int = 10,
    num_steps: int = 80,
    num_points: int = 1000,
    sigma: float | None = None,
    outliers: Eigenpairs | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> SpectralDensity:
    r"""Estimate the density of eigenvalues, linear and logarithmic, with its spread over probes.

    :math:`\varphi_\sigma(t) = \frac{1}{n_v} \sum_k \sum_i \omega_i^{(k)} N(t; \theta_i^{(k)}, \sigma^2)`
    with Ritz values :math:`\theta_i` of Lanczos from a random vector and
    :math:`\omega_i = (e_1^\top s_i)^2`, the squared first components of their coefficients [1]_ [2]_.
    Of a small matrix that has been formed already the eigenvalues are used instead.

    Parameters
    ----------
    operator : SymmetricOperator or matrix
        Real and symmetric.
    num_probes : int
        Random starts; the band is their spread.
    num_steps : int
        Lanczos steps of each: products in all are `num_probes` times this.
    num_points : int
        Points of each grid.
    sigma : float, optional
        Kernel width; by default :math:`\sqrt{10^{-5}}` of the range of the Ritz values.
    outliers : Eigenpairs, optional
        Exact extreme eigenvalues, drawn on the density.
    seed : int
        Of the starts.
    progress : Progress, optional
        Is told of every product; by default a bar where standard error is a terminal.

    Returns
    -------
    SpectralDensity
        Status ``"non-finite"`` if a product was; the probes before it stand.

    References
    ----------
    .. [1] Ubaru, Chen and Saad, 2017. Fast estimation of tr(f(A)) via stochastic Lanczos quadrature.
       SIAM J. Matrix Anal. Appl. 38(4).
    .. [2] Ghorbani, Krishnan and Xiao, 2019. An investigation into neural net optimization via Hessian
       eigenvalue density. arXiv:1901.10159.

    Examples
    --------
    >>> import numpy as np
    >>> found = spectral_density(np.diag(np.linspace(0.0, 1.0, 300)), num_steps=30)
    >>> bool(abs(found.checks["mass"] - 1) < 1e-3)
    True
    """
    operator = as_operator(operator)
    probes = check_whole("num_probes", num_probes, 1)
    steps = min(check_whole("num_steps", num_steps, 2), operator.dim)
    check_whole("num_points", num_points, 10)
    started, before = time.perf_counter(), operator.num_matvecs
    rng = np.random.default_rng(check_seed(seed))
    progress = shown(progress)
    progress.start("spectral density", total=probes * steps)
    exact = operator.formed is not None
    try:
        if operator.formed is not None:
            nodes, weights, finite = *_whole_spectrum(operator.formed), True
        else:
            nodes, weights, finite = _quadrature(operator, probes, steps, rng=rng, progress=progress)
    finally:
        progress.stop()
    span, size = float(nodes.max() - nodes.min()), float(np.abs(nodes).max())
    if span <= _ROUNDING * size:  # a multiple of the identity: what range there is, is rounding
        span = size or 1.0
    width = _WIDTH * span if sigma is None else check_real("sigma", sigma)
    floor = _FLOOR * span
    logs = np.log10(np.abs(nodes) + floor)
    log_width = 0.01 * (float(np.ptp(logs)) or 1.0)
    grid, values = _smooth(nodes, weights, width, num_points)
    log_grid, log_values = _smooth(logs, weights, log_width, num_points)
    subject = getattr(operator, "subject", None)
    config = {
        "num_probes": probes,
        "num_steps": steps,
        "num_points": num_points,
        "sigma": sigma,
        "seed": seed,
    }
    return SpectralDensity(
        grid=grid,
        density=values.mean(axis=0),
        standard_error=np.zeros(len(grid)) if exact else _spread(values),
        log_grid=log_grid,
        log_density=log_values.mean(axis=0),
        log_standard_error=np.zeros(len(log_grid)) if exact else _spread(log_values),
        nodes=nodes,
        weights=weights,
        sigma=width,
        log_sigma=log_width,
        floor=floor,
        checks=_checks(nodes, weights, grid, values.mean(axis=0), width=width)
        | (dict.fromkeys(("mean_eigenvalue_error", "mean_square_error"), 0.0) if exact else {}),
        outliers=np.empty(0) if outliers is None else outliers.eigenvalues,
        outlier_residuals=np.empty(0) if outliers is None else outliers.residuals,
        num_probes=0 if exact else int(np.isfinite(nodes).all(axis=1).sum()),
        num_steps=nodes.shape[1],
        exact=exact,
        dim=operator.dim,
        num_matvecs=operator.num_matvecs - before,
        status="ok" if finite and (subject is None or subject.finite) else "non-finite",
        warnings=(
            *operator.notes,
            *(() if finite else (_what_stands(nodes),)),
            *(() if exact else _few(probes)),
        ),
        config={**operator.config, **config},
        stats={**operator.stats, "seconds": time.perf_counter() - started},
        provenance=provenance(seed=seed, dtype=operator.dtype.name, digests=operator.digests()),
    )


def _whole_spectrum(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the eigenvalues of a matrix as nodes [1, n], and their weights."""
    wide = matrix.astype(np.float64)
    nodes = np.linalg.eigvalsh((wide + wide.T) / 2)[None]
    return nodes, np.full(nodes.shape, 1 / nodes.size)


def _what_stands(nodes: np.ndarray) -> str:
    known = int(np.isfinite(nodes).all(axis=1).sum())
    return (
        f"a product held NaN or infinity: {f'the {known} probes before it stand' if known else 'no density'}"
    )


def _quadrature(
    operator: SymmetricOperator, probes: int, steps: int, *, rng: np.random.Generator, progress: Progress
) -> tuple[np.ndarray, np.ndarray, bool]:
    """Return nodes and weights [probes, steps]; the probe in which a product fails is the last one."""

    def products(rows: np.ndarray) -> np.ndarray:
        progress.advance(len(rows))
        return operator.rows(rows)

    nodes, weights = np.zeros((probes, steps)), np.zeros((probes, steps))
    for k in range(probes):
        start = rademacher(rng, 1, operator.dim, operator.dtype)
        run = Lanczos(
            products, operator.dim, num_vectors=steps + 1, rng=rng, dtype=operator.dtype, start=start
        )
        try:
            for _ in range(steps - 1):
                run.step()
            run.last_step()
        except NonFiniteProductError:
            kept = max(k, 1)
            nodes[0] = np.nan if k == 0 else nodes[0]
            return nodes[:kept], weights[:kept], False
        theta, coefficients, _ = run.ritz()
        nodes[k], weights[k] = theta, coefficients[0] ** 2
    return nodes, weights, True


def _smooth(
    nodes: np.ndarray, weights: np.ndarray, width: float, num_points: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return a grid [T] that resolves the kernel around every node, and each probe's density [k, T]."""
    low, high = nodes.min() - _REACH * width, nodes.max() + _REACH * width
    if not np.isfinite([low, high]).all():
        return np.full(num_points, np.nan), np.full((len(nodes), num_points), np.nan)
    even = np.linspace(low, high, num_points)
    if (high - low) / num_points > width / 2:  # an even grid would step over the peaks
        count = int(np.ceil(2 * (high - low) / width))
        even = np.linspace(low, high, min(count, 20 * num_points))
    scale = width * np.sqrt(2 * np.pi)
    kernels = (np.exp(-0.5 * ((even[:, None] - row) / width) ** 2) / scale for row in nodes)
    return even, np.stack([kernel @ weight for kernel, weight in zip(kernels, weights, strict=True)])


def _spread(values: np.ndarray) -> np.ndarray:
    if len(values) < 2:
        return np.full(values.shape[1], np.nan)
    spread: np.ndarray = values.std(axis=0, ddof=1) / np.sqrt(len(values))
    return spread


def _checks(
    nodes: np.ndarray, weights: np.ndarray, grid: np.ndarray, density: np.ndarray, *, width: float
) -> dict[str, float]:
    """Return the mass and moments of what is drawn beside those of the probes."""
    first, second = np.sum(weights * nodes, axis=1), np.sum(weights * nodes**2, axis=1)
    return {
        "mass": float(np.trapezoid(density, grid)),
        "mean_eigenvalue": float(first.mean()),
        "mean_eigenvalue_error": standard_error(first),
        "mean_eigenvalue_drawn": float(np.trapezoid(grid * density, grid)),
        "mean_square": float(second.mean()),
        "mean_square_error": standard_error(second),
        "mean_square_drawn": float(np.trapezoid(grid**2 * density, grid)) - width**2,
    }
