r"""Extreme eigenpairs: thick-restart Lanczos, locking, a probe for what was missed, explicit residuals.

The steps, for the wanted end of the spectrum of a symmetric A:

1. *Form.* A matrix of few dimensions is formed, and all its eigenvalues are computed. Otherwise:
2. *Converge.* Lanczos steps until the wanted Ritz pairs have small residual norms. Whenever the basis is
   full, a *thick restart* [1]_ goes on from the wanted Ritz vectors and some of their neighbours.
3. *Lock.* What has converged is kept; every later run stays orthogonal to it (it is *deflated*) [2]_.
4. *Probe.* A run from a fresh random block, deflated against the locked pairs. A Ritz value beyond the last
   locked pair proves that an eigenvalue was missed: the run goes on to converge on what lies beyond (2, 3),
   and another probe follows. That nothing was missed is believed once the probe has resolved its extremes.
5. *Certify.* Rayleigh-Ritz within the locked vectors, then every residual ``‖Av − λv‖`` from a product of
   its own, and from a second product that is rounded otherwise what rounding may add to it.

What continues a search is a `State`, which no function changes: each returns the next one.

References
----------
.. [1] Wu and Simon, 2000. Thick-restart Lanczos method for large symmetric eigenvalue problems.
   SIAM J. Matrix Anal. Appl. 22(2).
.. [2] Parlett, 1998. The Symmetric Eigenvalue Problem, chapters 5, 11 and 13.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from landscape.compute import Progress
from landscape.curvature.lanczos import Lanczos, NonFiniteProductError
from landscape.curvature.locked_pairs import (
    Pairs,
    Probe,
    Settings,
    State,
    beyond,
    extremes_are_resolved,
    wanted_of,
)
from landscape.curvature.symmetric import SymmetricOperator

DENSE_UP_TO = 128
_LONGEST_PROBE = 3  # times the search: a probe that has not resolved its own extreme by then is undecided
_MARGIN = 3  # on the difference of two products that are rounded differently


@dataclasses.dataclass(frozen=True, kw_only=True)
class Solver:
    """The constants of a search."""

    operator: SymmetricOperator
    settings: Settings
    rng: np.random.Generator
    progress: Progress

    def products(self, rows: np.ndarray) -> np.ndarray:
        """Return the products with some rows [b, n], and tell of them."""
        self.progress.advance(len(rows))
        return self.operator.rows(rows)

    def deflated_run(self, locked: Pairs) -> Lanczos:
        """Return a Lanczos run from a random block that is orthogonal to the locked vectors."""
        settings = self.settings
        return Lanczos(
            self.products,
            self.operator.dim,
            num_vectors=settings.num_vectors + settings.block_size,
            block_size=settings.block_size,
            rng=self.rng,
            dtype=self.operator.dtype,
            locked=locked.ritz_vectors,
        )

    def exhausted(self, state: State, run: Lanczos) -> bool:
        """Return whether the products allowed are spent, those of a run included."""
        spent = state.num_products["search"] + state.num_products["probe"] + run.num_products
        return spent >= self.settings.max_matvecs

    def converged(self, state: State) -> bool:
        """Return whether all locked pairs have."""
        return bool(state.locked.converged(self.settings.tolerance, state.scale).all())


def solve(operator: SymmetricOperator, settings: Settings, progress: Progress) -> State:
    """Return the last state of a search: its locked pairs are the answer."""
    rng = np.random.default_rng(settings.seed)
    solver = Solver(operator=operator, settings=settings, rng=rng, progress=progress)
    nothing = Pairs(
        ritz_values=np.empty(0),
        ritz_vectors=np.empty((0, operator.dim), operator.dtype),
        residual_norms=np.empty(0),
    )
    counts = dict.fromkeys(("search", "residuals", "rounding", "probe"), 0)
    state = State(locked=nothing, num_products=counts, rounding=np.empty(0))
    progress.start("eigenpairs", total=None)
    try:
        state = form(solver, state) if is_small(solver) else iterate(solver, state)
        return certify(solver, state) if state.finite else uncertified(state)
    finally:
        progress.stop()


def is_small(solver: Solver) -> bool:
    """Return whether forming the matrix costs little more than one basis."""
    settings = solver.settings
    basis = settings.num_vectors + settings.num_wanted + 2 * settings.block_size
    return solver.operator.dim <= max(DENSE_UP_TO, basis)


def form(solver: Solver, state: State) -> State:
    """Do step 1: compute the whole spectrum."""
    operator = solver.operator
    matrix = operator.dense().astype(np.float64)
    state = state.charged("search", operator.dim)
    if not np.isfinite(matrix).all():
        return dataclasses.replace(state, finite=False)
    values, vectors = np.linalg.eigh((matrix + matrix.T) / 2)
    chosen = wanted_of(values, solver.settings)
    locked = Pairs(
        ritz_values=values[chosen],
        ritz_vectors=vectors.T[chosen].astype(operator.dtype),
        residual_norms=np.zeros(len(chosen)),
    )
    scale = float(np.abs(values).max())
    return dataclasses.replace(state, locked=locked, scale=scale, probe=Probe(exact=True))


def iterate(solver: Solver, state: State) -> State:
    """Do steps 2 to 4: converge, lock, and probe until a probe finds nothing more."""
    run = solver.deflated_run(state.locked)
    state = converge(solver, state, run).charged("search", run.num_products)
    while state.finite and solver.settings.probe_matvecs and solver.converged(state):
        run = solver.deflated_run(state.locked)
        state = probe(solver, state, run)
        again = state.finite and state.probe.missed and not solver.exhausted(state, run)
        if again:
            state = converge(solver, state, run, beyond_only=True)
        state = state.charged("probe", run.num_products)
        if not again:
            break
    return state


def converge(solver: Solver, state: State, run: Lanczos, *, beyond_only: bool = False) -> State:
    """Do step 2 until the wanted Ritz pairs have converged or products are spent, then step 3.

    With `beyond_only` the wanted ones are those beyond the locked pairs, which a probe has come upon.
    """
    settings, finite = solver.settings, True
    while True:
        spent = solver.exhausted(state, run)
        if run.count and (spent or not run.room or _may_be_done(run, settings)):
            theta, coefficients, residual_norms = run.ritz()
            state = _seen(state, theta)
            chosen = _chosen(solver, state, theta, beyond_only=beyond_only)
            # Half of the tolerance: the other half is left for the rounding that step 5 adds.
            small = residual_norms[chosen] <= 0.5 * settings.tolerance * state.scale
            # A basis with fewer vectors than wanted pairs would pass with those that it has.
            enough = beyond_only or len(theta) >= min(settings.num_wanted, solver.operator.dim)
            if (enough and small.all()) or spent:
                break
            if not run.room:
                thick_restart(run, settings, theta, coefficients)
        try:
            run.step()
        except NonFiniteProductError:
            finite = False
            break
    state = dataclasses.replace(state, finite=finite)
    return lock(solver, state, run, beyond_only=beyond_only) if run.count else state


def thick_restart(run: Lanczos, settings: Settings, theta: np.ndarray, coefficients: np.ndarray) -> None:
    """Go on from the wanted Ritz vectors, and from as many more as leave half of the room free.

    The neighbours of the wanted pairs are kept too: without them the run would have to find again what
    lies close by, which is what slows convergence.
    """
    more = max(1, (settings.num_vectors - settings.num_wanted) // 2)
    wide = dataclasses.replace(settings, k=settings.k + max(1, more // 2))
    most = max(1, settings.num_vectors - 2 * run.width)  # leaves room for a step
    kept = np.sort(wanted_of(theta, wide))[:most]
    run.restart(coefficients[:, kept], theta[kept])


def lock(solver: Solver, state: State, run: Lanczos, *, beyond_only: bool) -> State:
    """Do step 3: add the chosen Ritz pairs of a run to the locked ones, and keep the wanted of all."""
    theta, coefficients, residual_norms = run.ritz()
    state = _seen(state, theta)
    chosen, known = _chosen(solver, state, theta, beyond_only=beyond_only), state.locked
    values = np.concatenate([known.ritz_values, theta[chosen]])
    order = np.argsort(values, kind="stable")
    kept = order[wanted_of(values[order], solver.settings)]
    locked = Pairs(
        ritz_values=values[kept],
        ritz_vectors=np.concatenate([known.ritz_vectors, run.vectors(coefficients[:, chosen])])[kept],
        residual_norms=np.concatenate([known.residual_norms, residual_norms[chosen]])[kept],
    )
    return dataclasses.replace(state, locked=locked)


def probe(solver: Solver, state: State, run: Lanczos) -> State:
    """Do step 4 until it is decided whether an eigenvalue was missed, or products are spent."""
    least = solver.settings.probe_matvecs
    most = max(least, _LONGEST_PROBE * state.num_products["search"])
    missed = resolved = False
    while not (missed or resolved):
        ends = run.num_products >= most or solver.exhausted(state, run)
        if run.num_products >= least and (ends or _due_to_look(run)):
            theta, _, residual_norms = run.ritz()
            missed = bool(beyond(state, solver.settings, theta).any())
            resolved = extremes_are_resolved(state, solver.settings, theta, residual_norms)
            if ends:
                break
        if not run.room:
            theta, coefficients, _ = run.ritz()
            thick_restart(run, solver.settings, theta, coefficients)
        try:
            run.step()
        except NonFiniteProductError:
            return dataclasses.replace(state, finite=False)
    theta = run.ritz()[0]
    found = Probe(
        missed=missed,
        resolved=resolved,
        num_matvecs=run.num_products,
        extremes=theta[[0, -1]],
        most_extreme=float(theta[wanted_of(theta, solver.settings)[0]]),
    )
    return dataclasses.replace(state, probe=found)


def certify(solver: Solver, state: State) -> State:
    """Do step 5: Rayleigh-Ritz within the locked vectors, and a product of its own for every residual."""
    operator, settings = solver.operator, solver.settings
    vectors = state.locked.ritz_vectors
    # Vectors locked in different runs are orthonormal up to float32 only; Rayleigh-Ritz needs float64.
    orthonormal = np.linalg.qr(vectors.astype(np.float64).T)[0].T.astype(operator.dtype)
    products = solver.products(orthonormal)
    state = state.charged("residuals", len(orthonormal))
    if not np.isfinite(products).all():
        return uncertified(state)
    again = operator.rounded_otherwise(orthonormal, solver.rng)
    state = state.charged("rounding", len(orthonormal))
    if not np.isfinite(again).all():
        return uncertified(state)
    wide, images = orthonormal.astype(np.float64), products.astype(np.float64)
    inner = wide @ images.T
    values, mix = np.linalg.eigh((inner + inner.T) / 2)
    chosen = wanted_of(values, settings)
    values, mix = values[chosen], mix[:, chosen]
    change = np.linalg.norm(mix.T @ (again.astype(np.float64) - images), axis=1)
    # One change may be small by luck: no pair's rounding is taken to be below the root mean square of all.
    rounding = _MARGIN * np.maximum(change, np.sqrt(np.mean(change**2)))
    rows, images = mix.T @ wide, mix.T @ images
    residuals = np.linalg.norm(images - values[:, None] * rows, axis=1) / np.linalg.norm(rows, axis=1)
    certified = dataclasses.replace(
        state,
        locked=Pairs(
            ritz_values=values,
            ritz_vectors=rows.astype(operator.dtype),
            residual_norms=residuals + rounding,
        ),
        rounding=rounding,
        limited_by_rounding=solver.converged(state),
        scale=max(state.scale, float(np.abs(values).max())),
    )
    return _probe_still_passes(solver, certified)


def _probe_still_passes(solver: Solver, state: State) -> State:
    """Fail a probe whose Ritz values lie beyond the certified pairs: those may have moved inwards."""
    seen = state.probe.extremes
    if not state.probe.passed or seen is None:
        return state
    missed = bool(beyond(state, solver.settings, seen).any())
    return dataclasses.replace(state, probe=dataclasses.replace(state.probe, missed=missed))


def uncertified(state: State) -> State:
    """Return the state after a product that was not finite: no bound of rounding, the pairs as they are."""
    unknown = np.full(len(state.locked), np.nan)
    scale = state.scale if len(state.locked) else float("nan")
    return dataclasses.replace(state, rounding=unknown, scale=scale, finite=False)


def _seen(state: State, theta: np.ndarray) -> State:
    """Return the state after some Ritz values: they may be the largest so far."""
    return dataclasses.replace(state, scale=max(state.scale, float(np.abs(theta).max())))


def _may_be_done(run: Lanczos, settings: Settings) -> bool:
    """Return whether a run may hold enough pairs, and it is time to look."""
    return run.count >= settings.num_wanted + run.width and _due_to_look(run)


def _due_to_look(run: Lanczos) -> bool:
    """Return whether to look at the Ritz values: at every step of a short run, less often in a long one.

    A look costs the eigenvalues of the projected matrix: at every step they would cost more than products.
    """
    steps = run.count // run.width
    return not run.room or steps % max(1, steps // 16) == 0


def _chosen(solver: Solver, state: State, theta: np.ndarray, *, beyond_only: bool) -> np.ndarray:
    """Return the positions of the Ritz values that a run is after."""
    if beyond_only:
        return np.flatnonzero(beyond(state, solver.settings, theta))
    return wanted_of(theta, solver.settings)
