"""The search for extreme eigenpairs: rounds of Lanczos, explicit residuals, probes for what was missed."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from landscape.curvature._lanczos import Lanczos, NonFiniteProductError
from landscape.curvature._linear import SymmetricOperator
from landscape.progress import Progress
from landscape.provenance import provenance

NOT_CONVERGED, INCOMPLETE, NON_FINITE = "not-converged", "incomplete", "non-finite"
DENSE_UP_TO = 128


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """What `top_eigenpairs` was asked for."""

    k: int
    which: str
    tolerance: float
    num_vectors: int
    block_size: int
    max_matvecs: int
    probe_matvecs: int
    seed: int


@dataclasses.dataclass(kw_only=True)
class Found:
    """What a search came to."""

    operator: SymmetricOperator
    settings: Settings
    values: np.ndarray
    rows: np.ndarray
    residuals: np.ndarray
    scale: float
    status: str
    warnings: list[str]
    probe: dict[str, Any]
    matvecs: dict[str, int]

    def named(self, *, seconds: float) -> dict[str, Any]:
        """Return the fields of the result."""
        settings, operator = self.settings, self.operator
        digests = operator.digests()
        return {
            "eigenvalues": self.values,
            "eigenvectors": np.ascontiguousarray(self.rows.T),
            "residuals": self.residuals,
            "converged": self.residuals <= settings.tolerance * self.scale,
            "multiplicity": _multiplicity(self.values, self.residuals, self.scale, operator.dtype),
            "scale": self.scale,
            "which": settings.which,
            "tolerance": settings.tolerance,
            "dim": operator.dim,
            "num_matvecs": sum(self.matvecs.values()),
            "complete_probe": self.probe,
            "status": self.status,
            "warnings": tuple(self.warnings),
            "config": {**operator.config, **dataclasses.asdict(settings)},
            "stats": {**operator.stats, "matvecs": self.matvecs, "seconds": seconds},
            "provenance": provenance(seed=settings.seed, dtype=operator.dtype.name, digests=digests),
        }


class Search:
    """One search: pairs that are found and locked, and the products spent."""

    def __init__(self, operator: SymmetricOperator, settings: Settings, progress: Progress) -> None:
        self.operator = operator
        self.settings = settings
        self.progress = progress
        self.rng = np.random.default_rng(settings.seed)
        self.values = np.empty(0)
        self.rows = np.empty((0, operator.dim), operator.dtype)
        self.estimates = np.empty(0)
        self.limited_by_rounding = False
        self.scale = 0.0
        self.matvecs = {"search": 0, "residuals": 0, "probe": 0}
        self.probe: dict[str, Any] = {"passed": False, "exact": False, "num_matvecs": 0}
        self.warnings = [*getattr(getattr(operator, "subject", None), "notes", ())]

    def run(self) -> Found:
        """Return the pairs."""
        self.progress.start("eigenpairs", total=None)
        try:
            finite = self._dense() if self._small() else self._rounds()
            finite = self._explicit() if finite else self._as_they_are()
        finally:
            self.progress.stop()
        return Found(
            operator=self.operator,
            settings=self.settings,
            values=self.values,
            rows=self.rows,
            residuals=self.estimates,
            scale=self.scale,
            status=self._status(finite),
            warnings=self.warnings,
            probe=self.probe,
            matvecs=self.matvecs,
        )

    def _small(self) -> bool:
        settings, dim = self.settings, self.operator.dim
        wanted = settings.k * (2 if settings.which == "both" else 1)
        if settings.k > dim or (wanted > dim and settings.which == "both"):
            self.warnings.append(f"k = {settings.k} is more than the {dim} dimensions have: clipped")
        return dim <= max(DENSE_UP_TO, settings.num_vectors + wanted + 2 * settings.block_size)

    def _dense(self) -> bool:
        """Compute the whole spectrum of a small matrix; return whether it is finite."""
        matrix = self.operator.dense().astype(np.float64)
        self.matvecs["search"] += self.operator.dim
        if not np.isfinite(matrix).all():
            return False
        values, vectors = np.linalg.eigh((matrix + matrix.T) / 2)
        self.scale = float(np.abs(values).max())
        chosen = wanted_of(values, self.settings)
        self.values, self.rows = values[chosen], vectors.T[chosen].astype(self.operator.dtype)
        self.probe.update(passed=True, exact=True)
        return True

    def _products(self, purpose: str) -> Any:
        def products(rows: np.ndarray) -> np.ndarray:
            self.matvecs[purpose] += len(rows)
            self.progress.advance(len(rows))
            return self.operator.rows(rows)

        return products

    def _lanczos(self, purpose: str) -> Lanczos:
        settings = self.settings
        return Lanczos(
            self._products(purpose),
            self.operator.dim,
            num_vectors=settings.num_vectors + settings.block_size,
            block_size=settings.block_size,
            rng=self.rng,
            dtype=self.operator.dtype,
            locked=self.rows,
        )

    def _rounds(self) -> bool:
        """Search, then probe until a probe finds nothing; return whether all products were finite."""
        run = self._lanczos("search")
        finite = self._converge(run)
        run.release()
        if not finite:
            return False
        while self.settings.probe_matvecs and len(self.values) and self._locked_enough():
            run = self._lanczos("probe")
            spent = self.matvecs["probe"]
            try:
                while self.matvecs["probe"] - spent < self.settings.probe_matvecs and run.room:
                    run.step()
            except NonFiniteProductError:
                self.warnings.append("a product of the probe was not finite")
                return True
            theta = run.ritz()[0]
            beyond = self._beyond(theta)
            self.probe.update(
                passed=not beyond.any(),
                num_matvecs=self.matvecs["probe"] - spent,
                most_extreme=float(theta[wanted_of(theta, self.settings)[0]]),
            )
            if not beyond.any() or self._spent():
                return True
            finite = self._converge(run, beyond_only=True)
            run.release()
            if not finite:
                return True
        return True

    def _locked_enough(self) -> bool:
        return bool((self.estimates <= self.settings.tolerance * self.scale).all())

    def _spent(self) -> bool:
        return self.matvecs["search"] + self.matvecs["probe"] >= self.settings.max_matvecs

    def _converge(self, run: Lanczos, *, beyond_only: bool = False) -> bool:
        """Run until the wanted Ritz pairs have converged, and lock them; False after a bad product."""
        finite = True
        while True:
            if run.count and self._due(run):
                theta, coefficients, residuals = run.ritz()
                self.scale = max(self.scale, float(np.abs(theta).max()))
                chosen = self._chosen(theta, beyond_only=beyond_only)
                goal = 0.5 * self.settings.tolerance * self.scale  # rounding takes its share of the rest
                enough = len(theta) >= min(self._wanted(), self.operator.dim) or beyond_only
                if (enough and (residuals[chosen] <= goal).all()) or self._spent():
                    break
                if not run.room:
                    self._thick_restart(run, theta, coefficients)
            try:
                run.step()
            except NonFiniteProductError:
                finite = False
                break
        if run.count:
            theta, coefficients, residuals = run.ritz()
            self.scale = max(self.scale, float(np.abs(theta).max()))
            chosen = self._chosen(theta, beyond_only=beyond_only)
            self._lock(theta[chosen], run.vectors(coefficients[:, chosen]), residuals[chosen])
        return finite

    def _due(self, run: Lanczos) -> bool:
        """Whether to look at the Ritz values now: at every step that may be the last one."""
        if not run.room or self._spent():
            return True
        first = self._wanted() + run.width
        return run.count >= first and (run.count // run.width) % max(1, run.count // (16 * run.width)) == 0

    def _wanted(self) -> int:
        return self.settings.k * (2 if self.settings.which == "both" else 1)

    def _chosen(self, theta: np.ndarray, *, beyond_only: bool) -> np.ndarray:
        return np.flatnonzero(self._beyond(theta)) if beyond_only else wanted_of(theta, self.settings)

    def _thick_restart(self, run: Lanczos, theta: np.ndarray, coefficients: np.ndarray) -> None:
        """Keep the wanted Ritz vectors and as many more as leave half of the room free."""
        more = max(1, (self.settings.num_vectors - self._wanted()) // 2)
        wide = dataclasses.replace(self.settings, k=self.settings.k + max(1, more // 2))
        kept = np.sort(wanted_of(theta, wide))[: max(1, self.settings.num_vectors - 2 * run.width)]
        run.restart(coefficients[:, kept], theta[kept])

    def _beyond(self, theta: np.ndarray) -> np.ndarray:
        """Return which Ritz values of a deflated run prove that an eigenvalue was missed."""
        slack, k = self.settings.tolerance * self.scale, self.settings.k
        beyond = np.zeros(len(theta), bool)
        ordered = np.sort(self.values)
        if self.settings.which == "magnitude":
            beyond |= np.abs(theta) > np.abs(ordered).min() + slack
        if self.settings.which in ("largest", "both"):
            beyond |= theta > ordered[-k:].min() + slack
        if self.settings.which in ("smallest", "both"):
            beyond |= theta < ordered[:k].max() - slack
        return beyond

    def _lock(self, values: np.ndarray, rows: np.ndarray, residuals: np.ndarray) -> None:
        """Add pairs to those found, and keep the wanted ones."""
        values = np.concatenate([self.values, values])
        rows = np.concatenate([self.rows, rows])
        residuals = np.concatenate([self.estimates, residuals])
        order = np.argsort(values, kind="stable")
        chosen = order[wanted_of(values[order], self.settings)]
        self.values, self.rows, self.estimates = values[chosen], rows[chosen], residuals[chosen]

    def _explicit(self) -> bool:
        """Diagonalise within the found vectors, and compute each residual with a product of its own."""
        if not len(self.values):
            return False
        orthonormal = np.linalg.qr(self.rows.astype(np.float64).T)[0].T.astype(self.operator.dtype)
        products = self._products("residuals")(orthonormal)
        if not np.isfinite(products).all():
            return self._as_they_are()
        wide, images = orthonormal.astype(np.float64), products.astype(np.float64)
        inner = wide @ images.T
        values, mix = np.linalg.eigh((inner + inner.T) / 2)
        chosen = wanted_of(values, self.settings)
        self.values, mix = values[chosen], mix[:, chosen]
        vectors, images = mix.T @ wide, mix.T @ images
        self.rows = vectors.astype(self.operator.dtype)
        self.limited_by_rounding = self._locked_enough()
        self.estimates = np.linalg.norm(images - self.values[:, None] * vectors, axis=1)
        self.scale = max(self.scale, float(np.abs(self.values).max()))
        return True

    def _as_they_are(self) -> bool:
        self.warnings.append(
            f"a product held NaN or infinity: {len(self.values)} pairs of before it, "
            "with the residuals of the recurrence"
        )
        return False

    def _way_out(self) -> str:
        if not self.limited_by_rounding:
            return "allow more products, or another tolerance"
        name, left = self.operator.dtype.name, float(self.estimates.max()) / self.scale
        advice = "dtype float64, or " if name != "float64" else ""
        return (
            f"more products would not help, since rounding of {name} leaves residuals of {left:.1e} of the "
            f"largest eigenvalue: take {advice}a tolerance above that"
        )

    def _status(self, finite: bool) -> str:
        subject = getattr(self.operator, "subject", None)
        if not finite or (subject is not None and not subject.finite):
            return NON_FINITE
        if not self._locked_enough():
            self.warnings.append(f"not converged: {self._way_out()}")
            return NOT_CONVERGED
        if self.settings.probe_matvecs and not self.probe["passed"]:
            self.warnings.append("the last probe found an eigenvalue beyond those given")
            return INCOMPLETE
        return "ok"


def wanted_of(theta: np.ndarray, settings: Settings) -> np.ndarray:
    """Return the positions of the wanted ones among ascending values, in the order of the report."""
    count, k = len(theta), settings.k
    descending = np.arange(count)[::-1]
    if settings.which == "largest":
        return descending[:k]
    if settings.which == "smallest":
        return np.arange(count)[:k]
    if settings.which == "magnitude":
        return np.argsort(-np.abs(theta), kind="stable")[:k]
    high = descending[:k]
    return np.concatenate([high, np.arange(min(k, count - len(high)))])


def _multiplicity(values: np.ndarray, residuals: np.ndarray, scale: float, dtype: np.dtype) -> np.ndarray:
    """Return how many found values lie within the residuals (and rounding) of each other."""
    rounding = 10 * float(np.finfo(dtype).eps) * scale
    reach = residuals[:, None] + residuals[None, :] + rounding
    near: np.ndarray = np.sum(np.abs(values[:, None] - values[None, :]) <= reach, axis=1)
    return near
