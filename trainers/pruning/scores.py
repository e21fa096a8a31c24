"""Pruning scores: how much a weight matters. Higher is kept.

A score is a function of `ScoreInputs` that returns one number per weight:

==========  ==================================  ========================================================
name        score of weight i                   source
==========  ==================================  ========================================================
snr         |μ_i| / σ_i                         Lange & Sprekeler 2023
magnitude   |θ_i|                               Han et al. 2015; Frankle & Carbin 2019
movement    ½ (θ_T,i² − θ_0,i²)                 movement pruning, Sanh et al. 2020
snip        |g_i θ_i|                           SNIP, Lee et al. 2019
grasp       θ_i (H g)_i                         GraSP, Wang et al. 2020
synflow     |θ_i| ∂R/∂|θ_i|                     SynFlow, Tanaka et al. 2020
random      uniform                             the control of all of them
==========  ==================================  ========================================================

θ are the weights (μ and σ mean and standard deviation of a search distribution), g and H gradient and
Hessian of the mean loss over some training examples, R the sum of the outputs of |θ| for an input of
ones. The first three look at trained weights. The next three are defined at initialisation, and prune
in one shot; SynFlow does so in many rounds of scoring and pruning (`trainers.pruning.scopes`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TypeVar

import numpy as np

from landscape.errors import ConfigurationError, did_you_mean

T = TypeVar("T")
Score = Callable[["ScoreInputs"], np.ndarray]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Derivatives:
    """Derivatives of the mean loss over some training examples, on vectors [n].

    Attributes
    ----------
    gradient : callable
        ``gradient(vector) -> [n]``.
    hessian_product : callable
        ``hessian_product(vector, direction) -> [n]``.
    flow : callable or None
        ``flow(vector) -> [n]``: gradient of the sum of the outputs for an input of ones; None for a
        problem whose outputs are not known.
    """

    gradient: Callable[[np.ndarray], np.ndarray]
    hessian_product: Callable[[np.ndarray, np.ndarray], np.ndarray]
    flow: Callable[[np.ndarray], np.ndarray] | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class ScoreInputs:
    """What a score may look at, each a vector [n] in the order of the layout.

    Attributes
    ----------
    mean : array
        The weights that are scored: the mean of the search distribution or the parameters of gradient
        descent, trained or initial; zero where masked.
    std : array or None
        Standard deviation of the search distribution; None for gradient descent.
    mask_seed : int
        Seed of random pruning.
    second_moment : array or None
        Adam's v̂, for gradient descent.
    initial : array or None
        The initialisation; zero where masked.
    mask : bool array or None
        Entries that are free so far.
    snr_denominator : str
        ``"std"`` or ``"variance"``.
    derivatives : Derivatives or None
        Of the loss, for scores that need them.
    """

    mean: np.ndarray
    std: np.ndarray | None
    mask_seed: int
    second_moment: np.ndarray | None = None
    initial: np.ndarray | None = None
    mask: np.ndarray | None = None
    snr_denominator: str = "std"
    derivatives: Derivatives | None = None


def snr(inputs: ScoreInputs) -> np.ndarray:
    r"""Return the signal-to-noise ratio of each weight.

    For evolution $|\mu| / \sigma$, or $|\mu| / \sigma^2$ with the denominator "variance" (what the
    published code divides by for Sep-CMA-ES). For gradient descent by Adam the scale is
    $\sigma = 1 / \sqrt{\hat v}$, see `trainers.training.gradient.gradient_noise_std`.

    Raises
    ------
    ConfigurationError
        If there is neither a search distribution nor a second moment.

    References
    ----------
    Lange & Sprekeler 2023, section 3: weights whose search distribution straddles zero go first.
    """
    power = {"std": 1, "variance": 2}[inputs.snr_denominator]
    size = np.abs(np.asarray(inputs.mean, np.float64))
    if inputs.std is not None:
        # Checkpoints hold std 0 where masked; pruning never looks at those entries, so 0/0 is not a fault.
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(size / np.asarray(inputs.std, np.float64) ** power)
    # Without v̂ there is no scale to divide by; with ones in its place this would be magnitude, unsaid.
    if inputs.second_moment is None:
        raise ConfigurationError(
            "score snr: neither a search distribution nor Adam's moments",
            hint="Use an evolution strategy with a scale for every weight, or adam or adamw.",
        )
    return np.asarray(size * np.sqrt(np.asarray(inputs.second_moment, np.float64)) ** power)


def magnitude(inputs: ScoreInputs) -> np.ndarray:
    """Return |mean| of each weight (Han et al. 2015; Frankle & Carbin 2019)."""
    return np.asarray(np.abs(inputs.mean))


def movement(inputs: ScoreInputs) -> np.ndarray:
    r"""Return $\tfrac12(\theta_T^2 - \theta_0^2)$: weights that moved away from zero score high.

    Movement pruning (Sanh et al. 2020, arXiv 2005.07683, equation 4) accumulates
    $-\sum_t \partial_\theta L \cdot \theta_t$, which for small steps along the negative gradient is
    $\int \theta\, d\theta$, this difference; so it needs no gradient and serves evolution too.
    """
    final, initial = (np.asarray(x, np.float64) for x in (inputs.mean, _given(inputs.initial, "movement")))
    return np.asarray(0.5 * (final**2 - initial**2))


def snip(inputs: ScoreInputs) -> np.ndarray:
    """Return |g ⊙ θ|, the effect of removing a weight to first order (Lee et al. 2019, 1810.02340)."""
    gradient = _given(inputs.derivatives, "snip").gradient(inputs.mean)
    return np.asarray(np.abs(gradient * np.asarray(inputs.mean, np.float64)))


def grasp(inputs: ScoreInputs) -> np.ndarray:
    """Return θ ⊙ Hg: weights whose removal would cost gradient flow score high.

    Wang et al. 2020 (arXiv 2002.07376, equation 8) score −θ ⊙ Hg and remove the highest; here the
    highest are kept, hence the sign.
    """
    derivatives = _given(inputs.derivatives, "grasp")
    gradient = derivatives.gradient(inputs.mean)
    product = derivatives.hessian_product(inputs.mean, gradient)
    return np.asarray(np.asarray(inputs.mean, np.float64) * product)


def without_outputs() -> ConfigurationError:
    """Return the refusal of what needs a network's outputs, where only its loss is known."""
    return ConfigurationError(
        "score synflow: the network's outputs are not known, only its loss",
        hint="Give Problem(outputs=landscape.Outputs(model, loss)).",
    )


def synflow(inputs: ScoreInputs) -> np.ndarray:
    """Return ∂R/∂|θ| ⊙ |θ| with R the sum of the outputs of |θ| for an input of ones.

    Tanaka et al. 2020 (arXiv 2006.05467, equation 2). Pruning by it is iterative: see
    `trainers.pruning.scopes.prune_in_steps`.
    """
    derivatives = _given(inputs.derivatives, "synflow")
    if derivatives.flow is None:
        raise without_outputs()
    size = np.abs(np.asarray(inputs.mean, np.float64))
    return np.asarray(derivatives.flow(size) * size)


def random(inputs: ScoreInputs) -> np.ndarray:
    """Return uniform scores, one draw per `mask_seed`: the masks of successive levels are nested."""
    return np.random.default_rng([inputs.mask_seed, 0x6D61736B]).random(inputs.mean.size)


def _given(value: T | None, name: str) -> T:
    if value is None:
        raise ConfigurationError(f"score {name}: its inputs are missing")
    return value


SCORES: dict[str, Score] = {
    "snr": snr,
    "magnitude": magnitude,
    "movement": movement,
    "snip": snip,
    "grasp": grasp,
    "synflow": synflow,
    "random": random,
}
# Scores that look at the loss or the network.
NEED_DERIVATIVES = ("snip", "grasp", "synflow")
# Scores that are defined at initialisation, and prune in one shot.
AT_INITIALISATION = ("snip", "grasp", "synflow")


def score(name: str, inputs: ScoreInputs) -> np.ndarray:
    """Return the scores [n] that `name` gives.

    Raises
    ------
    ConfigurationError
        If there is no such score, or what it needs is not there.
    """
    if name not in SCORES:
        raise ConfigurationError(
            f"score {name!r}: unknown",
            expected="one of " + ", ".join(SCORES),
            hint=did_you_mean(name, SCORES),
        )
    return SCORES[name](inputs)
