"""The search for extreme eigenpairs: rounds of Lanczos, explicit residuals, probes for what was missed."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from landscape.compute import Progress
from landscape.curvature.lanczos import Lanczos, NonFiniteProductError
from landscape.curvature.symmetric import SymmetricOperator
from landscape.results import provenance

NOT_CONVERGED, INCOMPLETE, NON_FINITE = "not-converged", "incomplete", "non-finite"
DENSE_UP_TO = 128
_LONGEST_PROBE = 3  # times the search: a probe that has not resolved its own extreme by then is undecided
_MARGIN = 3  # on the difference of two products that are rounded differently


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
    rounding: np.ndarray
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
            "rounding": self.rounding,
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
        self.rounding = np.empty(0)
        self.scale = 0.0
        self._seen: np.ndarray | None = None
        self.matvecs = {"search": 0, "residuals": 0, "rounding": 0, "probe": 0}
        self.probe: dict[str, Any] = {"passed": False, "decided": False, "exact": False, "num_matvecs": 0}
        self.warnings = [*operator.notes]

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
            rounding=self.rounding,
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
        self.probe.update(passed=True, decided=True, exact=True)
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
            try:
                if not self._missed(run) or not self._converge(run, beyond_only=True):
                    break
            finally:
                run.release()
        return True

    def _missed(self, run: Lanczos) -> bool:
        """Probe until that decides; return whether there is something to take in, and means to do so.

        A Ritz value beyond the last pair proves that an eigenvalue was missed. That none was, is believed
        only when the probe has resolved its own extreme: before, it may not have seen what lies there.
        """
        before, least = self.matvecs["probe"], self.settings.probe_matvecs
        most = max(least, _LONGEST_PROBE * self.matvecs["search"])
        missed = decided = False
        while not (missed or decided):
            spent = self.matvecs["probe"] - before
            if spent >= least and (spent >= most or _due_to_look(run) or self._spent()):
                theta, coefficients, residuals = run.ritz()
                missed = bool(self._beyond(theta).any())
                decided = self._decided(theta, residuals)
                if spent >= most or self._spent():
                    break
            if not run.room:
                theta, coefficients, residuals = run.ritz()
                self._thick_restart(run, theta, coefficients)
            try:
                run.step()
            except NonFiniteProductError:
                self.warnings.append("a product of the probe was not finite")
                return False
        theta = run.ritz()[0]
        self._seen = theta[[0, -1]]
        self.probe.update(
            passed=decided and not missed,
            decided=decided or missed,
            num_matvecs=self.matvecs["probe"] - before,
            most_extreme=float(theta[wanted_of(theta, self.settings)[0]]),
        )
        return missed and not self._spent()

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
        return run.count >= first and _due_to_look(run)

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

    def _ends(self) -> list[tuple[int, float, float]]:
        """Return the sign of each wanted end, the value there of the last pair, and what that may be off."""
        high = min(self.settings.k, len(self.values)) - 1
        last = {
            "largest": ((1, high),),
            "smallest": ((-1, -1),),
            "both": ((1, high), (-1, -1)),
            "magnitude": ((1, -1), (-1, -1)),
        }[self.settings.which]
        size = abs if self.settings.which == "magnitude" else None
        rounding = 10 * float(np.finfo(self.operator.dtype).eps) * self.scale
        return [
            (
                sign,
                float(size(self.values[at]) if size else sign * self.values[at]),
                float(self.estimates[at]) + rounding,
            )
            for sign, at in last
        ]

    def _beyond(self, theta: np.ndarray) -> np.ndarray:
        """Return which Ritz values of a deflated run prove that an eigenvalue was missed."""
        beyond = np.zeros(len(theta), bool)
        for sign, value, slack in self._ends():
            beyond |= sign * theta > value + slack
        return beyond

    def _decided(self, theta: np.ndarray, residuals: np.ndarray) -> bool:
        """Whether a deflated run has resolved its extremes well enough to say that none lies beyond."""
        extremes = [(value + 2 * slack, sign * theta + residuals) for sign, value, slack in self._ends()]
        return all(float(reach.max()) <= limit for limit, reach in extremes)

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
        self.matvecs["rounding"] += len(orthonormal)
        again = self.operator.rounded_otherwise(orthonormal, self.rng)
        if not np.isfinite(again).all():
            return self._as_they_are()
        wide, images = orthonormal.astype(np.float64), products.astype(np.float64)
        inner = wide @ images.T
        values, mix = np.linalg.eigh((inner + inner.T) / 2)
        chosen = wanted_of(values, self.settings)
        self.values, mix = values[chosen], mix[:, chosen]
        off = np.linalg.norm(mix.T @ (again.astype(np.float64) - images), axis=1)
        self.rounding = _MARGIN * np.maximum(off, np.sqrt(np.mean(off**2)))
        vectors, images = mix.T @ wide, mix.T @ images
        self.rows = vectors.astype(self.operator.dtype)
        self.limited_by_rounding = self._locked_enough()
        self.scale = max(self.scale, float(np.abs(self.values).max()))
        raw = np.linalg.norm(images - self.values[:, None] * vectors, axis=1)
        self.estimates = raw / np.linalg.norm(vectors, axis=1) + self.rounding
        if self.probe.get("passed") and self._seen is not None and self._beyond(self._seen).any():
            self.probe["passed"] = False
        return True

    def _as_they_are(self) -> bool:
        self.rounding = np.full(len(self.values), np.nan)
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
            self.warnings.append(
                "the last probe found an eigenvalue beyond those given"
                if self.probe["decided"]
                else "whether an eigenvalue was missed is undecided: the probe has not resolved its own "
                "extreme; allow more products, or another tolerance"
            )
            return INCOMPLETE
        return "ok"


def _due_to_look(run: Lanczos) -> bool:
    """Whether to look at the Ritz values: at every step of a short run, less often in a long one."""
    steps = run.count // run.width
    return not run.room or steps % max(1, steps // 16) == 0


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
