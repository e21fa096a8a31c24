"""How networks are connected: the loss along paths between them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from landscape.lazy import lazy_names

if TYPE_CHECKING:
    from landscape.connectivity.barrier import Barrier as Barrier
    from landscape.connectivity.cost import (
        barrier_cost as barrier_cost,
        curve_cost as curve_cost,
        matrix_cost as matrix_cost,
    )
    from landscape.connectivity.curves import ConnectingCurve as ConnectingCurve, connect as connect
    from landscape.connectivity.endpoints import (
        Endpoint as Endpoint,
        make_ends as make_ends,
        names_of as names_of,
        read as read,
    )
    from landscape.connectivity.line import RECOMPUTE as RECOMPUTE, treatment as treatment
    from landscape.connectivity.matrix import BarrierMatrix as BarrierMatrix, barrier_matrix as barrier_matrix
    from landscape.connectivity.relations import PATTERNS as PATTERNS
    from landscape.connectivity.straight_path import loss_barrier as loss_barrier

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "barrier": ("Barrier",),
        "cost": ("barrier_cost", "curve_cost", "matrix_cost"),
        "matrix": ("BarrierMatrix", "barrier_matrix"),
        "relations": ("PATTERNS",),
        "curves": ("ConnectingCurve", "connect"),
        "endpoints": ("Endpoint", "make_ends", "names_of", "read"),
        "line": ("RECOMPUTE", "treatment"),
        "straight_path": ("loss_barrier",),
    },
)
