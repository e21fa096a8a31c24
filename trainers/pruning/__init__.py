"""Which weights a ticket keeps: scores, scopes, exact counts, controls and diagnostics."""

from __future__ import annotations

from typing import TYPE_CHECKING

from landscape.lazy import lazy_names

if TYPE_CHECKING:
    from trainers.pruning.controls import (
        CONTROLS as CONTROLS,
        ControlInputs as ControlInputs,
        control as control,
        without_chain as without_chain,
    )
    from trainers.pruning.derivatives import (
        loss_derivatives as loss_derivatives,
    )
    from trainers.pruning.diagnostics import (
        densities as densities,
        mask_overlap as mask_overlap,
        rank_correlations as rank_correlations,
    )
    from trainers.pruning.masks import (
        count_to_keep as count_to_keep,
        keep_highest as keep_highest,
        layer_densities as layer_densities,
    )
    from trainers.pruning.paths import (
        ChainLayer as ChainLayer,
        chain_faults as chain_faults,
        effective_mask as effective_mask,
    )
    from trainers.pruning.scopes import (
        SCOPES as SCOPES,
        layer_counts as layer_counts,
        prune as prune,
        prune_in_steps as prune_in_steps,
    )
    from trainers.pruning.scores import (
        AT_INITIALISATION as AT_INITIALISATION,
        NEED_DERIVATIVES as NEED_DERIVATIVES,
        SCORES as SCORES,
        Derivatives as Derivatives,
        ScoreInputs as ScoreInputs,
        score as score,
        without_outputs as without_outputs,
    )

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "controls": (
            "CONTROLS",
            "ControlInputs",
            "control",
            "without_chain",
        ),
        "derivatives": ("loss_derivatives",),
        "diagnostics": (
            "densities",
            "mask_overlap",
            "rank_correlations",
        ),
        "masks": (
            "count_to_keep",
            "keep_highest",
            "layer_densities",
        ),
        "paths": (
            "ChainLayer",
            "chain_faults",
            "effective_mask",
        ),
        "scopes": (
            "SCOPES",
            "layer_counts",
            "prune",
            "prune_in_steps",
        ),
        "scores": (
            "AT_INITIALISATION",
            "Derivatives",
            "NEED_DERIVATIVES",
            "SCORES",
            "ScoreInputs",
            "score",
            "without_outputs",
        ),
    },
)
