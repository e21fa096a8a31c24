"""The ends of a spectrum, each eigenvalue with its residual."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from landscape.compute import Progress, shown
from landscape.curvature.eigensolver import solve
from landscape.curvature.estimates import NOT_FINITE, PROBE
from landscape.curvature.locked_pairs import Settings, State
from landscape.curvature.symmetric import SymmetricOperator, as_operator
from landscape.files import jsonable
from landscape.results import (
    Maybe,
    Numbers,
    Record,
    Result,
    Text,
    check_choice,
    check_real,
    check_seed,
    check_whole,
    count,
    flag,
    format_value,
    provenance,
)

__all__ = ["Eigenpairs", "top_eigenpairs"]

WHICH = ("largest", "smallest", "both", "magnitude")
NOT_CONVERGED, INCOMPLETE, NON_FINITE = "not-converged", "incomplete", "non-finite"


@dataclasses.dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class Eigenpairs(Result):
    """Extreme eigenvalues with their vectors and residuals.

    Attributes
    ----------
    eigenvalues : numpy.ndarray [k]
        In the order asked for: descending for ``"largest"``, ascending for ``"smallest"``, by size for
        ``"magnitude"``, the largest before the smallest for ``"both"``.
    eigenvectors : numpy.ndarray [dim, k]
        Orthonormal columns; not part of the JSON form.
    residuals : numpy.ndarray [k]
        ``‖Hv − λv‖``, computed with a product of its own, and `rounding`: an eigenvalue of the matrix
        that exact arithmetic would give lies within it of λ.
    rounding : numpy.ndarray [k] or None
        What rounding may add to a computed residual, and does to `residuals`: three times the change of
        the product when it is repeated with other roundings (for a network, with its parameters moved by
        a unit in the last place and vectors and weights of the examples scaled), or of the root mean
        square over the pairs where that is larger. A measurement, not a bound.
    converged : numpy.ndarray [k]
        Whether the residual is at most `tolerance` times `scale`.
    multiplicity : numpy.ndarray [k]
        Number of found eigenvalues that this one cannot be told from, itself included.
    scale : float
        The largest size of a Ritz value, a lower bound on the spectral norm.
    which : str
        Which end.
    tolerance : float
        See `converged`.
    dim : int
        Size of the matrix.
    num_matvecs : int
        Products in all; by purpose in ``stats``.
    complete_probe : dict
        Of the search for missed eigenvalues by a fresh random block orthogonal to those found:
        ``passed`` (nothing beyond the last eigenvalue and its residual), ``decided`` (its own extreme was
        resolved), ``num_matvecs`` and its ``most_extreme`` Ritz value. Passing is evidence, not proof;
        ``exact`` says that the whole spectrum was computed.
    """

    kind: ClassVar[str] = "eigenpairs"

    statuses = ("ok", "not-converged", "incomplete", "non-finite")
    spec = Record(
        {
            "eigenvalues": Numbers("k", finite="ok"),
            "eigenvectors": Numbers("dim", "k", limit=None),
            "residuals": Numbers("k", finite="ok", least=0),
            "rounding": Maybe(Numbers("k", least=0)),
            "converged": flag("k"),
            "multiplicity": count("k"),
            "scale": Numbers(),
            "which": Text(WHICH),
            "tolerance": Numbers(finite=True, least=0),
            "dim": count(equals="dim"),
            "num_matvecs": count(),
            "complete_probe": PROBE,
        }
    )

    eigenvalues: np.ndarray
    eigenvectors: np.ndarray
    residuals: np.ndarray
    converged: np.ndarray
    multiplicity: np.ndarray
    scale: float
    which: str
    tolerance: float
    dim: int
    num_matvecs: int
    complete_probe: Mapping[str, Any]
    rounding: np.ndarray | None = None

    @property
    def relative_residuals(self) -> np.ndarray:
        """Residual over the size of the eigenvalue; infinite where that is zero."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(self.residuals == 0, 0.0, self.residuals / np.abs(self.eigenvalues))

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form, without the eigenvectors."""
        form = dict(self.data())
        del form["eigenvectors"]
        form["relative_residuals"] = self.relative_residuals
        whole = dataclasses.replace(self, eigenvectors=np.empty((0, 0)))
        return {**Result.to_dict(whole), "data": jsonable(form)}

    def rows(self) -> list[tuple[str, str]]:
        """Return the printed lines: every eigenvalue with its residual."""
        pairs = zip(self.eigenvalues, self.residuals, self.relative_residuals, self.converged, strict=True)
        rows = [
            (
                f"λ{i + 1}",
                f"{format_value(value)} (residual {format_value(residual)}, {format_value(relative)} of it"
                + (")" if ok else ", not converged)"),
            )
            for i, (value, residual, relative, ok) in enumerate(pairs)
        ]
        if not rows:
            rows.append(("eigenvalues", NOT_FINITE if self.status == NON_FINITE else "none"))
        kind = "of the recurrence, up to a bad product" if self.status == NON_FINITE else "with its rounding"
        rows.append(("which", f"{self.which} of {self.dim:,}; residual: ‖Hv − λv‖ {kind}"))
        rows.append(("none missed", self._probe()))
        rows.append(("products", format_value(self.num_matvecs)))
        return rows

    def _probe(self) -> str:
        probe = self.complete_probe
        if probe.get("exact"):
            return "exact: the whole spectrum was computed"
        if not probe.get("num_matvecs"):
            return "not probed"
        spent = f"a fresh random block of {probe['num_matvecs']} products"
        if probe.get("passed"):
            return f"passed: {spent} found none beyond the last one and its residual"
        if probe.get("decided", True):
            return f"failed: {spent} found one beyond the last one and its residual"
        return f"undecided: {spent} has not resolved its own extreme"


def top_eigenpairs(  # noqa: PLR0913  one keyword per setting
    operator: SymmetricOperator | Any,
    k: int = 10,
    *,
    which: str = "largest",
    tolerance: float = 1e-4,
    num_vectors: int | None = None,
    block_size: int = 1,
    max_matvecs: int | None = None,
    probe_matvecs: int = 10,
    seed: int = 0,
    progress: Progress | None = None,
) -> Eigenpairs:
    r"""Compute extreme eigenvalues and eigenvectors, each with an explicit residual.

    Lanczos with full reorthogonalisation and thick restart [1]_; then every pair's residual
    :math:`\|Hv - \lambda v\|` with a product of its own, and a probe for missed eigenvalues: Lanczos
    from fresh random vectors orthogonal to those found, until it has resolved its own extreme. What it
    finds beyond the k-th and its residual (a second copy of a multiple eigenvalue, say) is taken in and
    probed again.

    Parameters
    ----------
    operator : SymmetricOperator or matrix
        Of `hessian`, `gauss_newton` or `fisher`; or any real symmetric matrix.
    k : int
        How many (at each end for ``which="both"``); clipped, with a warning, to the dimension.
    which : {"largest", "smallest", "both", "magnitude"}
        Which end of the spectrum; "largest" and "smallest" go by sign.
    tolerance : float
        A pair has converged when its residual is at most this times the largest ``|θ|``.
    num_vectors : int, optional
        Most vectors held at once; by default ``max(2k + 20, 50)``, twice that for both ends.
    block_size : int
        Vectors per step. A block finds as many copies of an eigenvalue at once.
    max_matvecs : int, optional
        Most products before the explicit residuals; by default ``max(300, 40 k)``.
    probe_matvecs : int
        Fewest products of the probe for missed eigenvalues, which takes up to three times those of the
        search where it needs them; 0 leaves it out.
    seed : int
        Of the random starts.
    progress : Progress, optional
        Is told of every step; by default a bar where standard error is a terminal.

    Returns
    -------
    Eigenpairs
        Status ``"not-converged"`` if a pair has not converged, ``"incomplete"`` if the last probe found
        an eigenvalue beyond the k-th or could not decide, ``"non-finite"`` if a product was NaN or
        infinite (what had been found before stands, with the residuals of the recurrence).

    Raises
    ------
    ConfigurationError
        If a setting is invalid.

    Notes
    -----
    Memory: `num_vectors` vectors and those found, on the host. Up to 128 dimensions the matrix is formed
    and all eigenvalues are computed.

    References
    ----------
    .. [1] Wu and Simon, 2000. Thick-restart Lanczos method for large symmetric eigenvalue problems.
       SIAM J. Matrix Anal. Appl. 22(2).

    Examples
    --------
    >>> import numpy as np
    >>> found = top_eigenpairs(np.diag(np.arange(200.0)), 3)
    >>> found.eigenvalues.round(3), bool(found.converged.all())
    (array([199., 198., 197.]), True)
    """
    check_choice("which", which, WHICH)
    check_whole("k", k, 1)
    check_whole("block_size", block_size, 1)
    check_whole("probe_matvecs", probe_matvecs, 0)
    check_seed(seed)
    check_real("tolerance", tolerance)
    operator = as_operator(operator)
    ends = 2 if which == "both" else 1
    default = max(2 * k + 20, 50) * ends
    settings = Settings(
        k=int(k),
        which=which,
        tolerance=float(tolerance),
        num_vectors=check_whole("num_vectors", default if num_vectors is None else num_vectors, ends * k + 3),
        block_size=int(block_size),
        max_matvecs=check_whole("max_matvecs", max_matvecs or max(300, 40 * k), 1),
        probe_matvecs=int(probe_matvecs),
        seed=int(seed),
    )
    started = time.perf_counter()
    state = solve(operator, settings, shown(progress))
    status, warnings = _status(operator, settings, state)
    asked = settings.num_wanted
    if k > operator.dim or (asked > operator.dim and which == "both"):
        warnings = [f"k = {k} is more than the {operator.dim} dimensions have: clipped", *warnings]
    pairs = state.locked
    return Eigenpairs(
        eigenvalues=pairs.ritz_values,
        eigenvectors=np.ascontiguousarray(pairs.ritz_vectors.T),
        residuals=pairs.residual_norms,
        rounding=state.rounding,
        converged=pairs.converged(settings.tolerance, state.scale),
        multiplicity=_multiplicity(state, operator.dtype),
        scale=state.scale,
        which=which,
        tolerance=settings.tolerance,
        dim=operator.dim,
        num_matvecs=sum(state.num_products.values()),
        complete_probe=state.probe.to_dict(),
        status=status,
        warnings=(*operator.notes, *warnings),
        config={**operator.config, **dataclasses.asdict(settings)},
        stats={
            **operator.stats,
            "matvecs": dict(state.num_products),
            "seconds": time.perf_counter() - started,
        },
        provenance=provenance(seed=settings.seed, dtype=operator.dtype.name, digests=operator.digests()),
    )


def _status(operator: SymmetricOperator, settings: Settings, state: State) -> tuple[str, list[str]]:
    """Return the status of a search, and the reason unless it is ok."""
    subject = getattr(operator, "subject", None)
    if not state.finite or (subject is not None and not subject.finite):
        return NON_FINITE, [_what_stands(len(state.locked))]
    if not state.locked.converged(settings.tolerance, state.scale).all():
        return NOT_CONVERGED, [f"not converged: {_way_out(operator, state)}"]
    if not settings.probe_matvecs or state.probe.passed:
        return "ok", []
    if state.probe.missed:
        return INCOMPLETE, ["the last probe found an eigenvalue beyond those given"]
    return INCOMPLETE, [
        "whether an eigenvalue was missed is undecided: the probe has not resolved its own extreme; allow "
        "more products, or another tolerance"
    ]


def _what_stands(count: int) -> str:
    if not count:
        return "a product held NaN or infinity: no eigenpairs"
    return (
        f"a product held NaN or infinity: {count} pairs from before it, with the residuals of the recurrence"
    )


def _way_out(operator: SymmetricOperator, state: State) -> str:
    if not state.limited_by_rounding:
        return "allow more products, or another tolerance"
    name, left = operator.dtype.name, float(state.locked.residual_norms.max()) / state.scale
    advice = "dtype float64, or " if name != "float64" else ""
    return (
        f"more products would not help, since rounding of {name} leaves residuals of {left:.1e} of the "
        f"largest eigenvalue: take {advice}a tolerance above that"
    )


def _multiplicity(state: State, dtype: np.dtype) -> np.ndarray:
    """Return how many found values lie within the residuals (and rounding) of each other."""
    values, residuals = state.locked.ritz_values, state.locked.residual_norms
    rounding = 10 * float(np.finfo(dtype).eps) * state.scale
    reach = residuals[:, None] + residuals[None, :] + rounding
    near: np.ndarray = np.sum(np.abs(values[:, None] - values[None, :]) <= reach, axis=1)
    return near
