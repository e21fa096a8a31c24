"""Files of other tools, one module per format. Nothing is unpickled or executed. No jax."""

from __future__ import annotations

from typing import TYPE_CHECKING

from landscape.lazy import lazy_names

if TYPE_CHECKING:
    from landscape.files.formats.foreign import (
        describe_foreign as describe_foreign,
        foreign_kind as foreign_kind,
        read_foreign as read_foreign,
    )
    from landscape.files.formats.hdf5 import (
        KERAS as KERAS,
    )
    from landscape.files.formats.naming import (
        read_names as read_names,
    )
    from landscape.files.formats.orbax import (
        step_folder as step_folder,
    )
    from landscape.files.formats.register import (
        FORMATS as FORMATS,
    )

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "foreign": (
            "describe_foreign",
            "foreign_kind",
            "read_foreign",
        ),
        "hdf5": ("KERAS",),
        "naming": ("read_names",),
        "orbax": ("step_folder",),
        "register": ("FORMATS",),
    },
)
