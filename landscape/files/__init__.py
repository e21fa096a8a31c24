"""Files: checkpoints, files of other tools, and their inspection. Nothing is unpickled. No jax."""

from __future__ import annotations

from typing import TYPE_CHECKING

from landscape.lazy import lazy_names

if TYPE_CHECKING:
    from landscape.files.checkpoint import (
        Checkpoint as Checkpoint,
        checked_unread as checked_unread,
        save as save,
    )
    from landscape.files.formats import (
        FORMATS as FORMATS,
        describe_foreign as describe_foreign,
        foreign_kind as foreign_kind,
        read_foreign as read_foreign,
        read_names as read_names,
        step_folder as step_folder,
    )
    from landscape.files.inspection import (
        compare as compare,
        describe as describe,
        verify as verify,
    )
    from landscape.files.loading import (
        in_structure as in_structure,
        load as load,
        load_info as load_info,
    )
    from landscape.files.pieces import Pieces as Pieces
    from landscape.files.places import (
        relative_name as relative_name,
        without_folders as without_folders,
    )
    from landscape.files.strict_json import (
        dump_json as dump_json,
        jsonable as jsonable,
    )

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "checkpoint": (
            "checked_unread",
            "Checkpoint",
            "save",
        ),
        "formats": (
            "FORMATS",
            "describe_foreign",
            "foreign_kind",
            "read_foreign",
            "read_names",
            "step_folder",
        ),
        "inspection": (
            "compare",
            "describe",
            "verify",
        ),
        "loading": (
            "in_structure",
            "load",
            "load_info",
        ),
        "pieces": ("Pieces",),
        "places": (
            "relative_name",
            "without_folders",
        ),
        "strict_json": (
            "dump_json",
            "jsonable",
        ),
    },
)
