"""Pages and summaries of runs, and the quickstart."""

from __future__ import annotations

from typing import TYPE_CHECKING

from landscape.lazy import lazy_names

if TYPE_CHECKING:
    from trainers.reports.quickstart import (
        run_quickstart as run_quickstart,
    )
    from trainers.reports.run_page import (
        write_run_page as write_run_page,
    )
    from trainers.reports.summary import (
        RunSummary as RunSummary,
        summaries as summaries,
    )

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "quickstart": ("run_quickstart",),
        "run_page": ("write_run_page",),
        "summary": (
            "RunSummary",
            "summaries",
        ),
    },
)
