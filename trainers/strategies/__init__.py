"""Evolution strategies on a masked vector: what evosax needs around it.

The vector keeps its dense length at every sparsity. A strategy's constants are computed for the
number of *free* dimensions, sampled noise is removed from masked entries before evaluation, and the
statistics of masked entries are put back after the update, so that a masked search is the search
on the reduced vector. The update rules themselves are evosax's.
"""

from __future__ import annotations

from landscape.errors import ConfigurationError
from trainers.config import FACTS, REFUSED, EvolutionConfig, no_snr
from trainers.strategies.amalgam import AMaLGaMStrategy
from trainers.strategies.base import Strategy
from trainers.strategies.cma import SepCMAStrategy
from trainers.strategies.pgpe import PGPEStrategy
from trainers.strategies.recombination import DESStrategy, LearnedESStrategy, SimpleESStrategy
from trainers.strategies.scalar import ARSStrategy, OpenESStrategy
from trainers.strategies.snes import SNESStrategy

__all__ = ["FACTS", "REFUSED", "STRATEGIES", "Strategy", "make_strategy", "no_snr"]

STRATEGIES: dict[str, type[Strategy]] = {
    "snes": SNESStrategy,
    "sep-cma-es": SepCMAStrategy,
    "pgpe": PGPEStrategy,
    "des": DESStrategy,
    "simple-es": SimpleESStrategy,
    "iamalgam": AMaLGaMStrategy,
    "les": LearnedESStrategy,
    "open-es": OpenESStrategy,
    "ars": ARSStrategy,
}


def make_strategy(config: EvolutionConfig, num_dims: int) -> Strategy:
    """Return the strategy that `config` names, for vectors of `num_dims` entries.

    Raises
    ------
    ConfigurationError
        If there is no such strategy.
    """
    if config.strategy not in STRATEGIES:
        raise ConfigurationError(
            f"evolution.strategy: unknown {config.strategy!r}", expected="one of " + ", ".join(STRATEGIES)
        )
    return STRATEGIES[config.strategy](config, num_dims)
