"""Which weights a ticket keeps: scores, scopes, exact counts, controls and diagnostics."""

from trainers.pruning.controls import CONTROLS, ControlInputs, control, without_chain
from trainers.pruning.diagnostics import densities, mask_overlap, rank_correlations
from trainers.pruning.masks import count_to_keep, keep_highest, layer_densities
from trainers.pruning.paths import ChainLayer, chain_faults, effective_mask
from trainers.pruning.scopes import SCOPES, layer_counts, prune, prune_in_steps
from trainers.pruning.scores import (
    AT_INITIALISATION,
    NEED_DERIVATIVES,
    SCORES,
    Derivatives,
    ScoreInputs,
    score,
    without_outputs,
)

__all__ = [
    "AT_INITIALISATION",
    "CONTROLS",
    "NEED_DERIVATIVES",
    "SCOPES",
    "SCORES",
    "ChainLayer",
    "ControlInputs",
    "Derivatives",
    "ScoreInputs",
    "chain_faults",
    "control",
    "count_to_keep",
    "densities",
    "effective_mask",
    "keep_highest",
    "layer_counts",
    "layer_densities",
    "mask_overlap",
    "prune",
    "prune_in_steps",
    "rank_correlations",
    "score",
    "without_chain",
    "without_outputs",
]
