"""How the ranks of weights change from the first level to the last, from the checkpoints of a run."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from landscape import Checkpoint
from landscape.results import FEW_SEEDS, mean_interval
from landscape.trees import Layout
from trainers.config import Method
from trainers.pruning import rank_correlations
from trainers.runs import Run
from trainers.tickets import is_compared, method_scores, score_inputs

__all__ = ["RankCorrelation", "final_rank_correlations"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class RankCorrelation:
    """Spearman's rank correlation of a level's scores with those of the first level.

    Attributes
    ----------
    layer : str
        Path of the kernel, or ``"all"``.
    level : int
        From 1; 0 is the dense one.
    density : float
        The scheduled density of the level.
    values : tuple of (float or None)
        One per seed; None where fewer than three weights survive or all scores are equal.
    """

    layer: str
    level: int
    density: float
    values: tuple[float | None, ...]

    @property
    def known(self) -> list[float]:
        """The values that there are."""
        return [value for value in self.values if value is not None]

    @property
    def mean(self) -> float | None:
        """Their mean."""
        return float(np.mean(self.known)) if self.known else None

    @property
    def interval(self) -> tuple[float, float] | None:
        """Student's 95 % interval of the mean over seeds; None for fewer than five."""
        return mean_interval(self.known) if len(self.known) >= FEW_SEEDS else None


def final_rank_correlations(
    run: Run, method: str, *, allow_code: Sequence[str] = ()
) -> list[RankCorrelation]:
    r"""Return how scores at each level rank beside those of the first, over the weights left at the end.

    With $s_k$ the scores of a trained level and $A$ the prunable weights that survive to the last level,
    Spearman's $\rho(s_k[A], s_0[A])$ over all of $A$ and over its part in each layer. As $A$ is the
    same for all levels, a curve shows only what training changes; what each level stores as
    ``rank_correlation`` is over the survivors of that level, which become fewer and more alike.

    Parameters
    ----------
    run : Run
        A run, or what is there of it.
    method : str
        A method that prunes by snr, magnitude, movement or a function of the user's.
    allow_code : sequence of str
        Functions that may be run: a run folder is data, so a score that it names has to be named again.

    Returns
    -------
    list of RankCorrelation
        By layer and level; empty for other methods, and until all seeds have finished the last level.

    Raises
    ------
    CodeRefusedError
        If the method's score is a function that `allow_code` does not name.

    References
    ----------
    Lange & Sprekeler 2023, figure 7.
    """
    resolved = run.config.resolved(method)
    last = len(resolved.pruning.schedule) - 1
    finished = all(set(range(last + 1)) <= set(run.levels(method, seed)) for seed in run.seeds)
    if not finished or last == 0 or resolved.source is not None or not is_compared(resolved.score):
        return []
    found = [_of_seed(run, resolved, index, last, allow_code=allow_code) for index in range(len(run.seeds))]
    layers = list(dict.fromkeys(layer for seed in found for level in seed for layer in level))
    return [
        RankCorrelation(
            layer=layer,
            level=level,
            density=resolved.pruning.schedule[level],
            values=tuple(seed[level - 1].get(layer) for seed in found),
        )
        for layer in layers
        for level in range(1, last + 1)
    ]


def _of_seed(
    run: Run, method: Method, index: int, last: int, *, allow_code: Sequence[str]
) -> Sequence[dict[str, float | None]]:
    """Return the correlations of levels 1 to `last` of one replicate."""
    seed = run.seeds[index]

    def loaded(level: int) -> Checkpoint:
        return run.checkpoints(method=method.name, seed=seed, level=level)[0].load()

    end = loaded(last)
    layout = Layout.of(end.params)
    prunable = layout.prunable(biases=method.pruning.prune_biases)
    alive = layout.flatten(end.mask).astype(bool) & prunable

    def scores(trained: Checkpoint) -> np.ndarray:
        initial = layout.flatten(trained.init)
        seeds = run.config.seeds[index]
        inputs = score_inputs(method, seeds, trained, layout=layout, initial=initial)
        return method_scores(method, inputs, allow_code=allow_code)

    first = scores(loaded(0))
    return [
        rank_correlations(scores(end if level == last else loaded(level)), first, alive, layout)
        for level in range(1, last + 1)
    ]
