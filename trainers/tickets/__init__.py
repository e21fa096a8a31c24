"""Tickets: iterative pruning with rewinding, where tickets come from, transfer, the plan of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from landscape.lazy import lazy_names

if TYPE_CHECKING:
    from trainers.tickets.iterative import (
        train_tickets as train_tickets,
    )
    from trainers.tickets.planning import (
        plan as plan,
    )
    from trainers.tickets.ticket import (
        is_compared as is_compared,
        method_scores as method_scores,
        score_inputs as score_inputs,
    )
    from trainers.tickets.transfer import (
        TransferCell as TransferCell,
        refuse_own_problem as refuse_own_problem,
        transfer_config as transfer_config,
        transfer_table as transfer_table,
    )

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "iterative": ("train_tickets",),
        "planning": ("plan",),
        "ticket": (
            "is_compared",
            "method_scores",
            "score_inputs",
        ),
        "transfer": (
            "TransferCell",
            "refuse_own_problem",
            "transfer_config",
            "transfer_table",
        ),
    },
)
