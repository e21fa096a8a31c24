"""Evolution strategies on a masked vector: what a masked search needs around evosax's update rules.

Lange & Sprekeler 2023 search only the free weights of a ticket. Here the search vector keeps its dense
length n at every sparsity, so that one compiled program serves all levels. A masked search is the
search on the reduced vector because of five steps around the update rule:

1. constants: learning rates and norms are computed for the number of *free* dimensions, not for n
   (`Strategy.constants`);
2. ask: the update rule samples a population; masked entries of every member get the mean, which is
   zero there, in place of their noise (`trainers.training.evolution.Evolution.ask`);
3. evaluate: the fitness of a member is its mean loss on the minibatch, NaN where it is not finite;
4. tell: the update rule sees ranks or values of the fitness, in which NaN count as the worst
   (`Strategy.fitness`); a population without information changes nothing;
5. settle: statistics of masked entries are put back to their start, the standard deviation is
   decayed and floored (`Strategy.settle`).

The update rules themselves are evosax's (Lange 2022, arXiv 2212.04180); each module names the paper of
its own.
"""

from __future__ import annotations

from landscape.errors import ConfigurationError, did_you_mean
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
            f"evolution.strategy: unknown {config.strategy!r}",
            expected="one of " + ", ".join(STRATEGIES),
            hint=did_you_mean(config.strategy, STRATEGIES),
        )
    return STRATEGIES[config.strategy](config, num_dims)
