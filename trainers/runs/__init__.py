"""Run folders: who writes, what is finished, resuming, reading. No jax."""

from __future__ import annotations

from typing import TYPE_CHECKING

from landscape.lazy import lazy_names

if TYPE_CHECKING:
    from trainers.runs.files import (
        explained as explained,
        folder_path as folder_path,
    )
    from trainers.runs.folder import (
        Run as Run,
        RunCheckpoint as RunCheckpoint,
        RunFolder as RunFolder,
        open_run as open_run,
    )
    from trainers.runs.lock import (
        is_locked as is_locked,
    )
    from trainers.runs.reader import (
        Score as Score,
        score_text as score_text,
    )
    from trainers.runs.resume import (
        CONFIG_NAME as CONFIG_NAME,
        run_begun as run_begun,
    )

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "files": (
            "explained",
            "folder_path",
        ),
        "folder": (
            "Run",
            "RunCheckpoint",
            "RunFolder",
            "open_run",
        ),
        "lock": ("is_locked",),
        "reader": (
            "Score",
            "score_text",
        ),
        "resume": ("CONFIG_NAME", "run_begun"),
    },
)
