"""How networks are connected: the loss along paths between them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from landscape.lazy import lazy_names

if TYPE_CHECKING:
    from landscape.connectivity.barrier import (
        Barrier as Barrier,
        loss_barrier as loss_barrier,
    )
    from landscape.connectivity.line import RECOMPUTE as RECOMPUTE, treatment as treatment

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "barrier": (
            "Barrier",
            "loss_barrier",
        ),
        "line": ("RECOMPUTE", "treatment"),
    },
)
