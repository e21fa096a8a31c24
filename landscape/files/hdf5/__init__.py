"""HDF5 that is published whole and read without trust. No jax."""

from __future__ import annotations

from typing import TYPE_CHECKING

from landscape.lazy import lazy_names

if TYPE_CHECKING:
    from landscape.files.hdf5.opening import (
        HINT as HINT,
        SIGNATURE as SIGNATURE,
        NotHDF5Error as NotHDF5Error,
        boundary as boundary,
        looks_like as looks_like,
        refused as refused,
        unreadable as unreadable,
    )

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "opening": (
            "HINT",
            "SIGNATURE",
            "NotHDF5Error",
            "boundary",
            "looks_like",
            "refused",
            "unreadable",
        ),
    },
)
