"""Files: checkpoints, those of other tools, and what is in them. Nothing is unpickled. No jax."""

from __future__ import annotations

from typing import TYPE_CHECKING

from landscape.lazy import lazy_names

if TYPE_CHECKING:
    from landscape.files.checkpoint import (
        Checkpoint as Checkpoint,
        load as load,
        load_info as load_info,
        save as save,
    )
    from landscape.files.foreign import (
        read_foreign as read_foreign,
    )
    from landscape.files.inspection import (
        compare as compare,
        describe as describe,
        verify as verify,
    )
    from landscape.files.pieces import Pieces as Pieces
    from landscape.files.strict_json import (
        dump_json as dump_json,
        jsonable as jsonable,
    )

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "checkpoint": (
            "Checkpoint",
            "load",
            "load_info",
            "save",
        ),
        "foreign": ("read_foreign",),
        "inspection": (
            "compare",
            "describe",
            "verify",
        ),
        "pieces": ("Pieces",),
        "strict_json": (
            "dump_json",
            "jsonable",
        ),
    },
)
