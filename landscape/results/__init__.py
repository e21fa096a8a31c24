"""Results: the base of all, where they come from, intervals, and checks of settings. No jax."""

from __future__ import annotations

from typing import TYPE_CHECKING

from landscape.lazy import lazy_names

if TYPE_CHECKING:
    from landscape.results.drawing import figure_of as figure_of, register_figures as register_figures
    from landscape.results.intervals import (
        FEW_SEEDS as FEW_SEEDS,
        mean_interval as mean_interval,
        wilson_interval as wilson_interval,
    )
    from landscape.results.notation import (
        error_key as error_key,
        format_value as format_value,
        with_error as with_error,
    )
    from landscape.results.origin import (
        provenance as provenance,
        read_from as read_from,
        read_from_each as read_from_each,
        versions as versions,
    )
    from landscape.results.probes import (
        FEWEST_PROBES as FEWEST_PROBES,
        error_reached as error_reached,
        hull_factors as hull_factors,
        hull_interval as hull_interval,
        probe_interval as probe_interval,
        probes_needed as probes_needed,
        too_few_probes as too_few_probes,
    )
    from landscape.results.relations import (
        Alike as Alike,
        Among as Among,
        Filled as Filled,
        KeysIn as KeysIn,
        OnePer as OnePer,
        Paired as Paired,
        Within as Within,
    )
    from landscape.results.result import (
        Result as Result,
        load_result as load_result,
        same_fields as same_fields,
    )
    from landscape.results.settings import (
        check_choice as check_choice,
        check_evaluation as check_evaluation,
        check_real as check_real,
        check_seed as check_seed,
        check_whole as check_whole,
    )
    from landscape.results.spec import (
        MOST_KEPT as MOST_KEPT,
        STATUSES as STATUSES,
        Anything as Anything,
        Items as Items,
        Later as Later,
        Maybe as Maybe,
        Numbers as Numbers,
        Plain as Plain,
        Record as Record,
        Table as Table,
        Text as Text,
        count as count,
        fact as fact,
        flag as flag,
        interval as interval,
        means_by_split as means_by_split,
    )

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "drawing": ("figure_of", "register_figures"),
        "intervals": (
            "FEW_SEEDS",
            "mean_interval",
            "wilson_interval",
        ),
        "notation": ("error_key", "format_value", "with_error"),
        "origin": (
            "provenance",
            "read_from",
            "read_from_each",
            "versions",
        ),
        "probes": (
            "FEWEST_PROBES",
            "error_reached",
            "hull_factors",
            "hull_interval",
            "probe_interval",
            "probes_needed",
            "too_few_probes",
        ),
        "relations": ("Alike", "Among", "Filled", "KeysIn", "OnePer", "Paired", "Within"),
        "result": (
            "Result",
            "load_result",
            "same_fields",
        ),
        "settings": (
            "check_choice",
            "check_evaluation",
            "check_real",
            "check_seed",
            "check_whole",
        ),
        "spec": (
            "MOST_KEPT",
            "STATUSES",
            "Anything",
            "Items",
            "Later",
            "Maybe",
            "Numbers",
            "Plain",
            "Record",
            "Table",
            "Text",
            "count",
            "fact",
            "flag",
            "interval",
            "means_by_split",
        ),
    },
)
