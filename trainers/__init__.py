"""Sparse tickets by iterative pruning, with evolution strategies and gradient descent.

Importing this package loads neither jax nor evosax: public names are resolved when first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from landscape.lazy import lazy_names

if TYPE_CHECKING:
    from trainers.config import (
        RunConfig as RunConfig,
        resolve as resolve,
    )
    from trainers.pruning import (
        ChainLayer as ChainLayer,
    )
    from trainers.reports import (
        run_quickstart as run_quickstart,
    )
    from trainers.rollouts import (
        play_episodes as play_episodes,
    )
    from trainers.runs import (
        Run as Run,
        open_run as open_run,
    )
    from trainers.tickets import (
        train_tickets as train_tickets,
        transfer_config as transfer_config,
        transfer_table as transfer_table,
    )

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "config": (
            "RunConfig",
            "resolve",
        ),
        "pruning": ("ChainLayer",),
        "reports": ("run_quickstart",),
        "rollouts": ("play_episodes",),
        "runs": (
            "Run",
            "open_run",
        ),
        "tickets": (
            "train_tickets",
            "transfer_config",
            "transfer_table",
        ),
    },
)
