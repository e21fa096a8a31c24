"""A problem: a per-example loss over data for any parameter tree; probed, never trusted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from landscape.lazy import lazy_names

if TYPE_CHECKING:
    from landscape.problem.along import per_example_along as per_example_along
    from landscape.problem.batch_statistics import (
        flax_statistics as flax_statistics,
    )
    from landscape.problem.data import (
        Data as Data,
    )
    from landscape.problem.derivatives import (
        require_gradient as require_gradient,
    )
    from landscape.problem.feature_moments import (
        Sample as Sample,
        merged as merged,
        moments as moments,
    )
    from landscape.problem.form import (
        Form as Form,
    )
    from landscape.problem.functions import (
        check_allowed as check_allowed,
        load_allowed_function as load_allowed_function,
        load_function as load_function,
    )
    from landscape.problem.metric import (
        Metric as Metric,
        as_metric as as_metric,
    )
    from landscape.problem.output_check import (
        checked_outputs as checked_outputs,
        require_outputs as require_outputs,
    )
    from landscape.problem.outputs import (
        Outputs as Outputs,
    )
    from landscape.problem.probing import (
        users_errors as users_errors,
    )
    from landscape.problem.problem import (
        Problem as Problem,
        Stream as Stream,
    )
    from landscape.problem.splits import (
        leading_axis as leading_axis,
    )
    from landscape.problem.subset import (
        example_numbers as example_numbers,
        stated as stated,
        subset_of as subset_of,
    )
    from landscape.problem.tasks import (
        load_problem as load_problem,
        load_trainable as load_trainable,
        problem_for as problem_for,
        problem_for_all as problem_for_all,
        problem_of as problem_of,
        task_names as task_names,
    )
    from landscape.problem.weighting import (
        Weighting as Weighting,
    )

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "along": ("per_example_along",),
        "batch_statistics": ("flax_statistics",),
        "data": ("Data",),
        "derivatives": ("require_gradient",),
        "feature_moments": (
            "Sample",
            "merged",
            "moments",
        ),
        "form": ("Form",),
        "functions": (
            "check_allowed",
            "load_allowed_function",
            "load_function",
        ),
        "metric": ("Metric", "as_metric"),
        "output_check": ("checked_outputs", "require_outputs"),
        "outputs": ("Outputs",),
        "probing": ("users_errors",),
        "problem": (
            "Problem",
            "Stream",
        ),
        "splits": ("leading_axis",),
        "subset": (
            "example_numbers",
            "stated",
            "subset_of",
        ),
        "tasks": (
            "load_problem",
            "load_trainable",
            "problem_for",
            "problem_for_all",
            "problem_of",
            "task_names",
        ),
        "weighting": ("Weighting",),
    },
)
