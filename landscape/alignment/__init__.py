"""Networks modulo the symmetries of their architecture: which units can be permuted, and which is which."""

from __future__ import annotations

from typing import TYPE_CHECKING

from landscape.lazy import lazy_names

if TYPE_CHECKING:
    from landscape.alignment.aligned import Aligned as Aligned
    from landscape.alignment.bringing import align as align
    from landscape.alignment.cost import align_cost as align_cost
    from landscape.alignment.several import align_all as align_all
    from landscape.alignment.structure import Structure as Structure, structure_of as structure_of

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "aligned": ("Aligned",),
        "bringing": ("align",),
        "cost": ("align_cost",),
        "several": ("align_all",),
        "structure": ("Structure", "structure_of"),
    },
)
