"""The device and the compiler: precision, memory, compiled programs, and how progress is told."""

from __future__ import annotations

from typing import TYPE_CHECKING

from landscape.lazy import lazy_names

if TYPE_CHECKING:
    from landscape.compute.compiling import (
        compile_seconds as compile_seconds,
        program as program,
    )
    from landscape.compute.devices import (
        device_memory as device_memory,
        on_device as on_device,
        precision as precision,
        remembered as remembered,
    )
    from landscape.compute.displays import (
        PlainProgress as PlainProgress,
        make_progress as make_progress,
        on_terminal as on_terminal,
        show_progress as show_progress,
        shown as shown,
    )
    from landscape.compute.progress import (
        SILENT as SILENT,
        Progress as Progress,
        Share as Share,
    )
    from landscape.compute.text import printable as printable
    from landscape.compute.walking import (
        Place as Place,
        inner_program as inner_program,
        run_keeping as run_keeping,
        shape_of as shape_of,
    )

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "compiling": (
            "compile_seconds",
            "program",
        ),
        "devices": (
            "device_memory",
            "on_device",
            "precision",
            "remembered",
        ),
        "displays": (
            "PlainProgress",
            "make_progress",
            "on_terminal",
            "show_progress",
            "shown",
        ),
        "progress": (
            "Progress",
            "SILENT",
            "Share",
        ),
        "text": ("printable",),
        "walking": (
            "Place",
            "inner_program",
            "run_keeping",
            "shape_of",
        ),
    },
)
