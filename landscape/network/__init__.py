"""A network as an analysis sees it: its free coordinates, and the argument of a compiled program."""

from __future__ import annotations

from typing import TYPE_CHECKING

from landscape.lazy import lazy_names

if TYPE_CHECKING:
    from landscape.network.argument import (
        Network as Network,
        differentiable as differentiable,
        network_of as network_of,
        nudged as nudged,
        used_inputs as used_inputs,
    )
    from landscape.network.costs import (
        PASSES_PER_GRADIENT as PASSES_PER_GRADIENT,
        Cost as Cost,
        Estimate as Estimate,
        Pace as Pace,
        bar_label as bar_label,
        duration_text as duration_text,
        estimate_for as estimate_for,
        trace_products as trace_products,
    )
    from landscape.network.kernels import (
        as_matrix as as_matrix,
        filter_sizes as filter_sizes,
        from_matrix as from_matrix,
    )
    from landscape.network.pace import (
        measure_pace as measure_pace,
    )
    from landscape.network.parts import (
        parts_of as parts_of,
        refuse_statistics as refuse_statistics,
        statistics_in as statistics_in,
    )
    from landscape.network.subject import (
        Subject as Subject,
        check_names as check_names,
        check_networks as check_networks,
        facts_of as facts_of,
        make_subject as make_subject,
    )

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "argument": (
            "Network",
            "differentiable",
            "network_of",
            "nudged",
            "used_inputs",
        ),
        "costs": (
            "Cost",
            "Estimate",
            "PASSES_PER_GRADIENT",
            "Pace",
            "bar_label",
            "duration_text",
            "estimate_for",
            "trace_products",
        ),
        "kernels": ("as_matrix", "filter_sizes", "from_matrix"),
        "pace": ("measure_pace",),
        "parts": (
            "parts_of",
            "refuse_statistics",
            "statistics_in",
        ),
        "subject": (
            "Subject",
            "facts_of",
            "check_names",
            "check_networks",
            "make_subject",
        ),
    },
)
