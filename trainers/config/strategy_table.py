"""Facts about each evolution strategy that are needed before one is built. No jax.

The configuration reads this table: which keys a strategy uses and their defaults, whether it keeps
a standard deviation for every weight, and why the other algorithms of evosax are refused.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

AUTO = "auto"


@dataclasses.dataclass(frozen=True, kw_only=True)
class StrategyFacts:
    """Facts about one strategy.

    Attributes
    ----------
    title : str
        Name and publication.
    defaults : mapping
        The keys of `EvolutionConfig` that only some strategies use, and what "auto" stands for.
    per_parameter : bool
        Whether every weight has a standard deviation of its own, which a signal-to-noise score needs.
    mirrored : bool
        Whether members come in pairs mean ± noise, so that the population must be even.
    """

    title: str
    defaults: Mapping[str, float | None]
    per_parameter: bool = True
    mirrored: bool = False


_STEP = {"mean_learning_rate": 1.0, "mean_learning_rate_decay": 1.0, "mean_learning_rate_min": 0.0}
_ADAM = {
    "mean_learning_rate": 0.01,
    "mean_learning_rate_decay": 1.0,
    "mean_learning_rate_min": 0.0,
    "beta1": 0.99,
    "beta2": 0.999,
}

FACTS: dict[str, StrategyFacts] = {
    "snes": StrategyFacts(
        title="separable natural evolution strategy (Wierstra et al. 2014)",
        defaults={"temperature": 12.0, **_STEP},
    ),
    "sep-cma-es": StrategyFacts(
        title="separable CMA-ES (Ros & Hansen 2008)",
        defaults={"elite_ratio": 0.5, "mean_learning_rate": 1.0},
    ),
    "pgpe": StrategyFacts(
        title="policy gradients with parameter-based exploration (Sehnke et al. 2010)",
        defaults={"std_learning_rate": 0.1, **_ADAM},
        mirrored=True,
    ),
    "des": StrategyFacts(
        title="discovered evolution strategy (Lange et al. 2023)",
        defaults={"temperature": 12.5, "std_learning_rate": 0.1, **_STEP},
    ),
    "simple-es": StrategyFacts(
        title="(μ/μ, λ) strategy with a standard deviation per weight (Rechenberg 1973)",
        defaults={"elite_ratio": 0.5, "std_learning_rate": 0.1, **_STEP},
    ),
    "iamalgam": StrategyFacts(
        title="incremental AMaLGaM with a diagonal covariance (Bosman et al. 2013)",
        defaults={"elite_ratio": 0.5},
    ),
    "les": StrategyFacts(title="learned evolution strategy (Lange et al. 2023)", defaults={}),
    "open-es": StrategyFacts(
        title="OpenAI evolution strategy (Salimans et al. 2017)",
        defaults=_ADAM,
        per_parameter=False,
        mirrored=True,
    ),
    "ars": StrategyFacts(
        title="augmented random search (Mania et al. 2018)",
        defaults={"elite_ratio": 0.5, **_ADAM},
        per_parameter=False,
        mirrored=True,
    ),
}

# Keys of EvolutionConfig that not every strategy uses.
PARTIAL_KEYS = tuple(sorted({key for facts in FACTS.values() for key in facts.defaults}))

_KEPT_NOISE = "it keeps the noise of its samples in its state, pruned weights included, and learns from it"
_SQUARE = "its memory grows with the square of the number of weights"
_ONE_SCALE = "it has one standard deviation for all weights, and open-es and ars already stand for that"
_NO_SEARCH = "it has no search distribution: no mean to score and no standard deviation"

REFUSED: dict[str, str] = {
    "xnes": f"{_SQUARE}, and {_KEPT_NOISE}",
    "evotf-es": "its attention mixes all weights, so that pruned ones move the others",
    "guided-es": f"{_KEPT_NOISE}; it also wants gradients",
    "noise-reuse-es": _KEPT_NOISE,
    "persistent-es": _KEPT_NOISE,
    "cr-fm-nes": f"{_KEPT_NOISE}; it also averages its scale over all weights",
    "cma-anchored-les": "its gates average over all weights, so that pruned ones move the others",
    "lm-ma-es": f"{_KEPT_NOISE}; it also has one standard deviation for all weights",
    "cma-es": _SQUARE,
    "ma-es": f"{_SQUARE}, and {_KEPT_NOISE}",
    "iamalgam-full": _SQUARE,
    "asebo": _SQUARE,
    "sv-cma-es": f"{_SQUARE}, and it has several means",
    "sv-open-es": "it has several means, of which none is the solution",
    "rm-es": _ONE_SCALE,
    "esmc": _ONE_SCALE,
    "hill-climbing": "it keeps the best member it ever saw, which on minibatches is the luckiest",
    "simulated-annealing": "it moves to single members and has a fixed standard deviation",
    "gradientless-descent": "it keeps the best member it ever saw, which on minibatches is the luckiest",
    "random-search": _NO_SEARCH,
    "simple-ga": _NO_SEARCH,
    "samr-ga": _NO_SEARCH,
    "gesmr-ga": _NO_SEARCH,
    "mr15-ga": _NO_SEARCH,
    "lga": _NO_SEARCH,
    "differential-evolution": _NO_SEARCH,
    "diffusion-evolution": _NO_SEARCH,
    "pso": _NO_SEARCH,
}


def no_snr(strategy: str) -> str | None:
    """Return why `strategy` has no signal-to-noise score, None if it has one."""
    if FACTS[strategy].per_parameter:
        return None
    return (
        f"{strategy} has one standard deviation for all weights, so that |mean| / std "
        "would order them as magnitude does"
    )
