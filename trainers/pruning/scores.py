"""Pruning scores: how much a trained weight matters. Higher is kept."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np

from landscape.errors import ConfigurationError


@dataclasses.dataclass(frozen=True, kw_only=True)
class ScoreInputs:
    """What a score may look at, each a vector [n] in the order of the layout.

    Attributes
    ----------
    mean : array
        Trained weights: the mean of the search distribution, or the parameters of gradient descent.
    std : array or None
        Standard deviation of the search distribution; None for gradient descent.
    mask_seed : int
        Seed of random pruning.
    """

    mean: np.ndarray
    std: np.ndarray | None
    mask_seed: int


def snr(inputs: ScoreInputs) -> np.ndarray:
    """Return the signal-to-noise ratio |mean| / std of each weight.

    References
    ----------
    Lange & Sprekeler 2023, section 3: weights whose search distribution straddles zero go first.
    """
    if inputs.std is None:
        raise ConfigurationError(
            "score snr: gradient descent has no search distribution", hint="Use magnitude or random for gd."
        )
    # Checkpoints hold std 0 where masked; those entries are never looked at.
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.abs(inputs.mean) / inputs.std)


def magnitude(inputs: ScoreInputs) -> np.ndarray:
    """Return |mean| of each weight (Han et al. 2015; Frankle & Carbin 2019)."""
    return np.asarray(np.abs(inputs.mean))


def random(inputs: ScoreInputs) -> np.ndarray:
    """Return uniform scores, one draw a `mask_seed`: the masks of successive levels are nested."""
    return np.random.default_rng([inputs.mask_seed, 0x6D61736B]).random(inputs.mean.size)


SCORES: dict[str, Callable[[ScoreInputs], np.ndarray]] = {
    "snr": snr,
    "magnitude": magnitude,
    "random": random,
}


def score(name: str, inputs: ScoreInputs) -> np.ndarray:
    """Return the scores [n] that `name` gives.

    Raises
    ------
    ConfigurationError
        If there is no such score, or it needs a search distribution and there is none.
    """
    if name not in SCORES:
        raise ConfigurationError(f"score {name!r}: unknown", expected="one of " + ", ".join(SCORES))
    return SCORES[name](inputs)
