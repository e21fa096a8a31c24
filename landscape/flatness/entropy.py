r"""Local entropy, relative to a reference stiffness: by Langevin chains, or of the quadratic model.

With :math:`F(\gamma) = \log\int\exp(-L(w') - \tfrac\gamma2\|w-w'\|^2)\,dw'` both measures return
:math:`F(\gamma) - F(\gamma_0) - \tfrac n2\log(\gamma_0/\gamma)`: the difference from the reference, without
the volume of the Gaussian, which depends on nothing but the number of parameters.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from landscape.compute import Progress
from landscape.errors import ConfigurationError
from landscape.flatness.evaluations import Part, Place, Programs
from landscape.flatness.gaussian_integral import spectrum_beside
from landscape.flatness.measurement import mean_of, measured
from landscape.flatness.neighbourhood import Neighbourhood, Options
from landscape.flatness.results import ESTIMATE, GAUSSIAN, FlatnessMeasure
from landscape.network import differentiable
from landscape.results import check_choice, check_real, check_seed, check_whole

__all__ = ["local_entropy"]

_NODES = 6
_MOST_R_HAT = 1.1
_ACCEPTED = 0.75  # what the step size is tuned to
# Numbers of all chains up to which they run side by side, in two thirds of the time on small networks;
# of large ones the activations of all chains would have to be held.
_TOGETHER = 2**17


def local_entropy(  # noqa: PLR0913  one keyword a setting
    problem: Any,
    params: Any,
    *,
    gamma: float = 100.0,
    reference: float = 10_000.0,
    method: str = "langevin",
    chains: int = 4,
    samples: int = 60,
    probes: int = 10,
    seed: int = 0,
    progress: Progress | None = None,
    **options: Any,
) -> FlatnessMeasure:
    r"""Measure the local entropy of Chaudhari et al. 2017 [1]_ against that at a reference γ₀.

    With :math:`G(\gamma) = F(\gamma) - \tfrac n2\log(2\pi/\gamma)`, the logarithm of the mean of
    :math:`e^{-L}` under a Gaussian of variance 1/γ around w, the value is G(γ) − G(γ₀). From
    :math:`F'(\gamma) = -\tfrac12 E\|w'-w\|^2` and partial integration
    :math:`dG/d\log\gamma = \tfrac12 E[(w'-w)\cdot\nabla L(w')]`, which is integrated over log γ by Gauss
    and Legendre's rule.

    Parameters
    ----------
    problem : Problem or None
        The loss and its data (arrays); None rebuilds the task that the checkpoint names.
    params : Checkpoint, path of one, or pytree
        The network.
    gamma : float
        γ; 1/√γ is the size of the neighbourhood in each parameter.
    reference : float
        γ₀, greater than `gamma`.
    method : {"langevin", "gaussian"}
        Expectations over Metropolis-adjusted Langevin chains; or of the quadratic model of the loss,
        :math:`G = -L + \tfrac12 g^\top(H+\gamma I)^{-1}g - \tfrac12\log\det(I + H/\gamma)`, by stochastic
        Lanczos quadrature.
    chains : int
        Independent chains, at least 4; the standard error is between them.
    samples : int
        Steps of each at each value of γ (six, more for a wide range), after a third as many of burn-in.
    probes : int
        Of the quadrature; the standard error is over them.
    seed, progress, **options
        As for `gaussian_robustness`.

    Returns
    -------
    FlatnessMeasure
        ``details["volume"]`` is the constant that makes it F(γ) − F(γ₀). Status ``"not-converged"`` where
        chains disagree (R̂ above 1.1), ``"indefinite"`` and no value where H + γI is not positive.

    Notes
    -----
    The chains discretise Langevin's equation half implicitly in the Gaussian part [2]_, so that their
    step does not shrink with the number of parameters as plain MALA's does; the Metropolis test keeps
    them exact. The raw F grows with n, which is why a difference is returned.

    References
    ----------
    .. [1] Chaudhari et al., 2017. Entropy-SGD: biasing gradient descent into wide valleys. ICLR,
       arXiv:1611.01838.
    .. [2] Cotter, Roberts, Stuart and White, 2013. MCMC methods for functions: modifying old algorithms
       to make them faster. Statistical Science 28(3).
    """
    check_choice("method", method, ("langevin", "gaussian"))
    around = Neighbourhood(problem, params, Options(**options), progress=progress)
    if method == "gaussian":
        return gaussian_entropy_of(around, radius=gamma, reference=reference, probes=probes, seed=seed)
    return entropy_of(around, radius=gamma, reference=reference, chains=chains, samples=samples, seed=seed)


def entropy_of(
    around: Neighbourhood,
    *,
    radius: float,
    reference: float,
    chains: int = 4,
    samples: int = 60,
    seed: int,
) -> FlatnessMeasure:
    """Measure `local_entropy` by chains in given surroundings; `radius` is γ."""
    gamma = _check(radius, reference)
    check_whole("chains", chains, 4)
    check_whole("samples", samples, 10)
    count = max(_NODES, math.ceil(2 * math.log(reference / gamma)))
    nodes, weights = np.polynomial.legendre.leggauss(count)
    half = math.log(reference / gamma) / 2
    stiffness = np.exp(math.log(gamma) + half * (nodes + 1))[::-1]  # stiff first: it mixes at once
    around.progress.note("Langevin chains")
    with around.computing(), differentiable():
        found = _Chains(around, chains=chains, samples=samples, seed=check_seed(seed))
        drifts = np.stack([found.run(float(one)) for one in stiffness])  # [K, C, T]
    around.num_evaluations += len(stiffness) * chains * (len(found.tuning) + 1)
    each = -half * np.einsum("k,kct->c", weights[::-1], drifts) / samples
    value, error, interval = mean_of(each)
    worst = max(_r_hat(node) for node in drifts)
    settings = {"radius": gamma, "reference": reference, "chains": chains, "samples": samples, "seed": seed}
    agree = worst <= _MOST_R_HAT
    return measured(
        around,
        "local_entropy",
        value,
        label=ESTIMATE,
        standard_error=error if agree else None,
        interval=interval if agree else None,
        radius=gamma,
        details={
            "units": f"γ, against γ₀ = {reference:g}",
            "volume": 0.5 * around.dim * math.log(reference / gamma),
            "r_hat": worst,
            "acceptance": found.acceptance,
            "chains": chains,
            "samples": samples,
        },
        settings=settings,
        status="ok" if agree else "not-converged",
        warnings=[] if agree else [f"local_entropy: chains disagree (R̂ {worst:.2f}): take more samples"],
    )


class _Chains:
    """Langevin chains that go on from one stiffness to the next."""

    def __init__(self, around: Neighbourhood, *, chains: int, samples: int, seed: int) -> None:
        self.around = around
        programs = around.parts()[0]
        self.program = programs.compiled("wander", lambda: functools.partial(_wander, programs))
        self.parts = around.stacked()
        self.free = around.on_device(around.free)
        self.seed = seed
        # One long burn-in to tune the step, short ones as the stiffness changes.
        self.tuning = np.arange(samples + max(samples // 3, 10)) < max(samples // 3, 10)
        self.states: Any = np.zeros((chains, around.size), around.dtype)
        self.steps: Any = np.ones(chains, around.dtype)
        self.stiffness: float | None = None
        self.acceptance: list[float] = []

    def run(self, stiffness: float) -> np.ndarray:
        """Return ½ x·∇L at every step of every chain after burn-in [C, T]."""
        around, before = self.around, self.stiffness or stiffness
        stage = len(self.acceptance)
        words = [
            np.random.SeedSequence((self.seed, stage, i)).generate_state(2) for i in range(len(self.steps))
        ]
        chains = np.array(words), self.states, self.steps
        settings = [np.asarray(one, around.dtype) for one in (stiffness, math.sqrt(before / stiffness))]
        found = self.program(around.place, self.parts, (*settings, self.free, self.tuning), chains)
        self.stiffness = stiffness
        self.states, self.steps, drifts, accepted = found
        self.around.progress.advance(1)
        kept = ~self.tuning
        self.acceptance.append(float(np.mean(np.asarray(accepted)[:, kept])))
        return np.asarray(drifts, np.float64)[:, kept]


def _wander(programs: Programs, place: Place, parts: Part, /, *given: Any) -> Any:
    """Run every chain once through the steps; returns states, steps, drifts and acceptances [C, T].

    For a potential Φ and the prior N(0, C), C = 1/γ on free coordinates, the proposal is
    ``(2 + δ) x' = (2 − δ) x − 2δ C∇Φ(x) + √(8δ) C^½ ξ`` (Cotter et al. 2013, their preconditioned
    Crank-Nicolson Langevin proposal), accepted with probability ``min(1, exp(ρ(x, x') − ρ(x', x)))`` with
    ``ρ(u, v) = Φ(u) + ½(v − u)·∇Φ(u) + ¼δ(u + v)·∇Φ(u) + ¼δ‖C^½∇Φ(u)‖²``.
    """
    (gamma, stretch, free, tuning), chains = given
    climb = jax.value_and_grad(
        lambda flat: programs.stacked_loss(dataclasses.replace(place, flat=flat), parts)
    )

    def step(state: Any, turn: tuple[jax.Array, jax.Array]) -> Any:
        number, tune = turn
        begins = number == 0
        words, x, value, slope, delta = state
        key = jax.random.fold_in(jax.random.wrap_key_data(words, impl="threefry2x32"), number)
        drawn = jax.random.normal(key, (x.size + 2,), x.dtype)
        noise, rest = drawn[:-2] * free, drawn[-2:]
        there = ((2 - delta) * x - 2 * delta / gamma * slope + jnp.sqrt(8 * delta / gamma) * noise) / (
            2 + delta
        )
        there = jnp.where(begins, x, there)
        rise, turned = climb(place.flat + there)
        turned = turned * free
        # All sums in one: each that stands alone is three loops to compile.
        moved, middle = there - x, there + x
        factors = [(moved, slope), (middle, slope), (slope, slope)]
        factors += [(-moved, turned), (middle, turned), (turned, turned), (x, slope), (there, turned)]
        sums = jnp.stack([a * b for a, b in factors]).sum(1)
        weights = jnp.stack([0.5 * jnp.ones_like(delta), delta / 4, delta / (4 * gamma)])
        ratio = value - rise + jnp.sum(weights * (sums[:3] - sums[3:6]))
        # Half the square of two normal numbers is exponential, as minus the logarithm of a uniform one.
        # Never, if the ratio is not a number.
        accept = begins | (-0.5 * jnp.sum(rest**2) < ratio)
        x, value, slope, drift = (
            jnp.where(accept, new, old)
            for new, old in zip((there, rise, turned, sums[7]), (x, value, slope, sums[6]), strict=True)
        )
        rate = jnp.clip(jnp.exp(jnp.nan_to_num(ratio, nan=-jnp.inf)), 0, 1)
        tuned = jnp.clip(delta * jnp.exp(0.3 * (rate - _ACCEPTED)), 1e-5, 2.0)
        delta = jnp.where(tune, tuned, delta)
        return (words, x, value, slope, delta), (0.5 * drift, accept)

    def chain(given: Any) -> Any:
        words, x, delta = given
        # The first turn evaluates the chain where it is: outside, that would be compiled a second time.
        state = (words, x * stretch, jnp.zeros((), x.dtype), jnp.zeros_like(x), delta)
        turns = jnp.arange(len(tuning) + 1), jnp.concatenate([jnp.zeros(1, bool), tuning])
        (_, x, _, _, delta), (drifts, accepted) = lax.scan(step, state, turns)
        return x, delta, drifts[1:], accepted[1:]

    if chains[1].size <= _TOGETHER:
        return jax.vmap(chain)(chains)
    return lax.map(chain, chains)


def _r_hat(drifts: np.ndarray) -> float:
    """Return the potential scale reduction over the halves of all chains [C, T].

    Gelman et al., 2013. Bayesian data analysis, section 11.4.
    """
    length = drifts.shape[1] // 2
    halves = np.concatenate([drifts[:, :length], drifts[:, -length:]])
    within = float(np.mean(np.var(halves, axis=1, ddof=1)))
    between = length * float(np.var(halves.mean(axis=1), ddof=1))
    if within == 0:
        return 1.0 if between == 0 else math.inf
    return math.sqrt(((length - 1) / length * within + between / length) / within)


def gaussian_entropy_of(
    around: Neighbourhood, *, radius: float, reference: float, probes: int = 10, seed: int
) -> FlatnessMeasure:
    """Measure `local_entropy` of the quadratic model in given surroundings; `radius` is γ."""
    gamma = _check(radius, reference)
    check_whole("probes", probes, 2)
    settings = {"radius": gamma, "reference": reference, "probes": probes, "seed": seed}
    operator = around.operator("hessian")
    slope = operator.gradient()
    found = spectrum_beside(operator, slope, (gamma, reference), probes=probes, seed=seed)
    around.progress.advance(1)
    details = {
        "units": f"γ, against γ₀ = {reference:g}",
        "volume": 0.5 * around.dim * math.log(reference / gamma),
        "lowest_eigenvalue": found.lowest,
        "exact_determinant": len(found.determinants) == 1,
        "gradient_norm": float(np.linalg.norm(slope)),
    }
    name = "local_entropy_gaussian"
    common: dict[str, Any] = {"label": GAUSSIAN, "radius": gamma, "details": details, "settings": settings}
    if found.status == "non-finite":
        text = f"{name}: a product with the Hessian is not finite"
        return measured(around, name, None, status="non-finite", warnings=[text], **common)
    if not found.lowest > -gamma:
        text = f"{name}: H + γI is not positive (an eigenvalue of H is {found.lowest:.4g})"
        return measured(around, name, None, status="indefinite", warnings=[text], **common)
    value, error, interval = mean_of(found.solved - 0.5 * found.determinants)
    if found.truncation > 0.2 * (error or 0.0) and found.truncation > 1e-3 * abs(value):
        text = f"the quadrature of {found.steps} steps still moves by {found.truncation:.2g}"
    elif found.undecided:
        text = f"whether H + γI is positive is not certain: the lowest eigenvalue found is {found.lowest:.4g}"
    else:
        return measured(around, name, value, standard_error=error, interval=interval, **common)
    warnings = [f"{name}: {text}; the spectrum is wide beside γ"]
    return measured(around, name, value, status="not-converged", warnings=warnings, **common)


def _check(gamma: float, reference: float) -> float:
    check_real("gamma", gamma)
    check_real("reference", reference)
    if not reference > gamma:
        raise ConfigurationError(
            "reference: not above gamma", expected=f"more than {gamma:g}", got=f"{reference:g}"
        )
    return float(gamma)
