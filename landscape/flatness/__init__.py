"""Sharpness and flatness of minima: every measure with its error, and which rescalings it survives."""

from __future__ import annotations

from typing import TYPE_CHECKING

from landscape.lazy import lazy_names

if TYPE_CHECKING:
    from landscape.flatness.entropy import (
        local_entropy as local_entropy,
    )
    from landscape.flatness.forecast import (
        flatness_cost as flatness_cost,
    )
    from landscape.flatness.gaussian import (
        average_sharpness as average_sharpness,
        gaussian_robustness as gaussian_robustness,
        search_sharpness as search_sharpness,
    )
    from landscape.flatness.keskar import (
        keskar_sharpness as keskar_sharpness,
    )
    from landscape.flatness.norms import (
        fisher_rao_norm as fisher_rao_norm,
        relative_flatness as relative_flatness,
    )
    from landscape.flatness.pac_bayes import (
        pac_bayes_flatness as pac_bayes_flatness,
    )
    from landscape.flatness.register import (
        GROUPS as GROUPS,
        MEASURES as MEASURES,
        SYNONYMS as SYNONYMS,
        cost_of as cost_of,
        invariances as invariances,
        measures_of as measures_of,
        title_of as title_of,
    )
    from landscape.flatness.request import (
        measures_with_radius as measures_with_radius,
    )
    from landscape.flatness.results import (
        Flatness as Flatness,
        FlatnessMeasure as FlatnessMeasure,
        bound_of as bound_of,
    )
    from landscape.flatness.spectral import (
        hessian_flatness as hessian_flatness,
    )
    from landscape.flatness.table import (
        flatness_table as flatness_table,
        measure_flatness as measure_flatness,
    )
    from landscape.flatness.worst_case import (
        adaptive_sharpness as adaptive_sharpness,
        sam_sharpness as sam_sharpness,
    )

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "entropy": ("local_entropy",),
        "forecast": ("flatness_cost",),
        "gaussian": (
            "average_sharpness",
            "gaussian_robustness",
            "search_sharpness",
        ),
        "keskar": ("keskar_sharpness",),
        "norms": (
            "fisher_rao_norm",
            "relative_flatness",
        ),
        "pac_bayes": ("pac_bayes_flatness",),
        "register": (
            "GROUPS",
            "MEASURES",
            "SYNONYMS",
            "cost_of",
            "invariances",
            "measures_of",
            "title_of",
        ),
        "request": ("measures_with_radius",),
        "results": (
            "Flatness",
            "FlatnessMeasure",
            "bound_of",
        ),
        "spectral": ("hessian_flatness",),
        "table": (
            "flatness_table",
            "measure_flatness",
        ),
        "worst_case": (
            "adaptive_sharpness",
            "sam_sharpness",
        ),
    },
)
