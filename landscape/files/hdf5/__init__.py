"""HDF5 that is published whole and read without trust. No jax."""

from __future__ import annotations

from typing import TYPE_CHECKING

from landscape.lazy import lazy_names

if TYPE_CHECKING:
    from landscape.files.hdf5.opening import (
        HINT as HINT,
        boundary as boundary,
    )

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "opening": (
            "HINT",
            "boundary",
        ),
    },
)
