"""Which weights a ticket keeps: scores, exact counts and masks."""

from trainers.pruning.masks import count_to_keep, keep_highest, layer_densities
from trainers.pruning.scores import SCORES, ScoreInputs, score

__all__ = ["SCORES", "ScoreInputs", "count_to_keep", "keep_highest", "layer_densities", "score"]
