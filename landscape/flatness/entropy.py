r"""Local entropy, relative to a reference stiffness: by Langevin chains, or of the quadratic model.

With :math:`F(\gamma) = \log\int\exp(-L(w') - \tfrac\gamma2\|w-w'\|^2)\,dw'` both measures return
:math:`F(\gamma) - F(\gamma_0) - \tfrac n2\log(\gamma_0/\gamma)`: the difference from the reference, without
the volume of the Gaussian, which depends on nothing but the number of parameters.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np

from landscape.compute import Progress
from landscape.errors import ConfigurationError
from landscape.flatness import langevin
from landscape.flatness.gaussian_integral import spectrum_beside
from landscape.flatness.measurement import mean_of, measured
from landscape.flatness.meter import with_bar
from landscape.flatness.neighbourhood import Neighbourhood
from landscape.flatness.options import Options
from landscape.flatness.results import ESTIMATE, GAUSSIAN, FlatnessMeasure
from landscape.network import differentiable
from landscape.results import check_choice, check_real, check_seed, check_whole

__all__ = ["local_entropy"]

_NODES = 4
_MOST_R_HAT = 1.1


@with_bar
def local_entropy(  # noqa: PLR0913  one keyword per setting
    problem: Any,
    params: Any,
    *,
    gamma: float = 100.0,
    reference: float = 10_000.0,
    method: str = "langevin",
    chains: int = 4,
    samples: int = 40,
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
    around = Neighbourhood(problem, params, Options(**options), progress=progress, slopes_of="local_entropy")
    if method == "gaussian":
        return gaussian_entropy_of(around, radius=gamma, reference=reference, probes=probes, seed=seed)
    return entropy_of(around, radius=gamma, reference=reference, chains=chains, samples=samples, seed=seed)


def entropy_of(
    around: Neighbourhood,
    *,
    radius: float,
    reference: float,
    chains: int = 4,
    samples: int = 40,
    seed: int,
) -> FlatnessMeasure:
    """Measure `local_entropy` by chains in given surroundings; `radius` is γ."""
    gamma = _check(radius, reference)
    check_whole("chains", chains, 4)
    check_whole("samples", samples, 10)
    around.meter.progress.note("Langevin chains")
    with around.computing(), differentiable():
        nodes = _nodes(gamma, reference)
        found = _drifts(around, nodes, chains=chains, samples=samples, seed=check_seed(seed))
    integrals = _integrated(found, nodes, gamma, reference)
    value, error, interval = _with_rounding(mean_of(integrals), around.dtype)
    worst = max(_r_hat(drifts) for drifts in found.plain)
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
            "variance_left": found.variance_left,
            "chains": chains,
            "samples": samples,
        },
        settings=settings,
        status="ok" if agree else "not-converged",
        warnings=[] if agree else [f"local_entropy: chains disagree (R̂ {worst:.2f}): take more samples"],
    )


@dataclasses.dataclass(frozen=True)
class _Nodes:
    """Gauss and Legendre's rule over log γ: stiffnesses from stiff to soft, and their weights [K]."""

    stiffness: np.ndarray
    weights: np.ndarray


def _nodes(gamma: float, reference: float) -> _Nodes:
    """Return the rule; for a quadratic loss it is exact to 1e-4 of the number of eigenvalues and less.

    Each eigenvalue λ contributes λ/(λ + γ), a logistic function of log γ with poles π away from the real
    axis, so that the error falls as ρ⁻²ᴷ with ρ = 3 at two nodes per factor of e².
    """
    count = max(_NODES, math.ceil(math.log(reference / gamma)))
    nodes, weights = np.polynomial.legendre.leggauss(count)
    half = math.log(reference / gamma) / 2
    stiffness = np.exp(math.log(gamma) + half * (nodes + 1))[::-1]
    return _Nodes(stiffness, half * weights[::-1])


@dataclasses.dataclass(frozen=True)
class _Found:
    """Drifts ½ x·∇L at every stiffness, [C, T] each: as they are, and less their control variates."""

    plain: list[np.ndarray]
    controlled: list[np.ndarray]
    model: langevin.Model
    acceptance: list[float]
    variance_left: float  # the share of the variance that the control variates leave


def _integrated(found: _Found, nodes: _Nodes, gamma: float, reference: float) -> np.ndarray:
    """Return G(γ) − G(γ₀) by each chain [C]: the model's in closed form, and the rest by the rule."""
    rest = [
        weight * (drifts.mean(1) - found.model.drift(stiffness))
        for stiffness, weight, drifts in zip(
            nodes.stiffness.tolist(), nodes.weights, found.controlled, strict=True
        )
    ]
    integrals: np.ndarray = -found.model.integral(gamma, reference) - np.sum(rest, axis=0)
    return integrals


def _with_rounding(
    found: tuple[float, float | None, tuple[float, float] | None], dtype: np.dtype
) -> tuple[float, float | None, tuple[float, float] | None]:
    """Return mean, error and interval with rounding allowed for: a model that fits leaves no other error."""
    value, error, interval = found
    if error is None or interval is None:
        return found
    rounding = 16 * float(np.finfo(dtype).eps) * abs(value)
    low, high = interval
    return value, math.hypot(error, rounding), (low - 2 * rounding, high + 2 * rounding)


def _drifts(around: Neighbourhood, nodes: _Nodes, *, chains: int, samples: int, seed: int) -> _Found:
    """Sample the drift at every stiffness, by the numbered steps of `landscape.flatness.langevin`."""
    model = langevin.quadratic_model(around, float(nodes.stiffness[-1]), seed=seed)
    sampler = langevin.Sampler(around, model, seed, langevin.block_of(samples))
    state = langevin.Chains(np.zeros((chains, around.size), around.dtype), np.ones(chains, around.dtype), 0)
    pilots, noise, before = [], [], float(nodes.stiffness[0])
    for stage, stiffness in enumerate(nodes.stiffness.tolist()):
        # As far out as the softer target is wider, so that the pilot begins near it.
        state = state._replace(x=state.x * around.dtype.type(math.sqrt(before / stiffness)), turns=0)
        blocks = max(3, math.ceil(samples / (3 * sampler.block)))
        state, turns = sampler.run(state, stiffness, stage=stage, blocks=blocks, tune=True)
        pilots.append(state)
        noise.append(langevin.pilot_noise(model, turns, stiffness, around.dim))
        before = stiffness
    total = math.ceil(len(pilots) * (samples + 1) / sampler.block)
    shares = langevin.allocated(nodes.weights, np.array(noise), total)
    plain, controlled, acceptance = [], [], []
    for stage, stiffness in enumerate(nodes.stiffness.tolist()):
        _, turns = sampler.run(pilots[stage], stiffness, stage=stage, blocks=int(shares[stage]))
        plain.append(turns.drift / 2)
        controlled.append(langevin.controlled(model, turns, stiffness, around.dim))
        acceptance.append(float(turns.accepted.mean()))
    left = sum(float(np.var(x)) for x in controlled) / max(sum(float(np.var(x)) for x in plain), 1e-300)
    return _Found(plain, controlled, model, acceptance, left)


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
    found = spectrum_beside(
        operator, slope, (gamma, reference), probes=probes, seed=seed, progress=around.products
    )
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
