"""Plotly figures of results, and the HTML report. Plotly is loaded when a figure is made."""

from __future__ import annotations

from typing import TYPE_CHECKING

from landscape.lazy import lazy_names

if TYPE_CHECKING:
    from landscape.plots.figures import (
        FIGURES as FIGURES,
        figure_of as figure_of,
    )
    from landscape.plots.names import (
        renamed as renamed,
    )
    from landscape.plots.page import (
        Page as Page,
    )
    from landscape.plots.report import (
        page_of as page_of,
        report_page as report_page,
    )
    from landscape.plots.series import (
        FEW_SEEDS as FEW_SEEDS,
    )
    from landscape.plots.tickets.barriers import (
        barrier_levels_figure as barrier_levels_figure,
        barrier_pairs_figure as barrier_pairs_figure,
    )
    from landscape.plots.tickets.sweeps import (
        density_figure as density_figure,
        sweep_figure as sweep_figure,
    )
    from landscape.plots.writing import (
        write_csv as write_csv,
        write_html as write_html,
        write_image as write_image,
    )

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "figures": ("FIGURES", "figure_of"),
        "names": ("renamed",),
        "page": ("Page",),
        "report": (
            "page_of",
            "report_page",
        ),
        "series": ("FEW_SEEDS",),
        "tickets.barriers": (
            "barrier_levels_figure",
            "barrier_pairs_figure",
        ),
        "tickets.sweeps": (
            "density_figure",
            "sweep_figure",
        ),
        "writing": (
            "write_csv",
            "write_html",
            "write_image",
        ),
    },
)
