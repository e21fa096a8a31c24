"""What a loss or a metric may return."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from landscape.errors import ProblemError


def one_value_each(name: str, values: Any, count: int) -> jax.Array:
    """Return what a function gave for a batch of `count` examples, as floats.

    Raises
    ------
    ProblemError
        If it is not one value per example.
    """
    if isinstance(values, (tuple, list, Mapping)):
        raise ProblemError(
            f"{name}: returned several things, and the per-example values alone are wanted",
            expected=f"an array of shape ({count},) for a batch of {count}",
            got=f"a {type(values).__name__} of {len(values)}",
            hint="For a function that returns (loss, aux) give lambda params, batch: function(params, "
            "batch)[0]. What aux holds per example can be a metric. For one that returns (numerator, "
            "denominator) give their quotient, and Problem(weights=…) for the denominator.",
        )
    shape = tuple(jnp.shape(values))
    if shape != (count,):
        raise ProblemError(
            f"{name}: must give one value per example",
            expected=f"shape ({count},) for a batch of {count}",
            got=f"shape {shape}",
            hint="Return the per-example values; the mean over examples is taken for you.",
        )
    array = jnp.asarray(values)
    if not jnp.issubdtype(array.dtype, jnp.floating):
        array = array.astype(jnp.result_type(float))
    return array
