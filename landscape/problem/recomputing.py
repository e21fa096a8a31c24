"""Statistics of normalisation layers over a data set, by the user's own function or exactly."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import jax.numpy as jnp
import numpy as np

from landscape.compute import program
from landscape.errors import ProblemError
from landscape.trees import arrays_by_path, map_arrays, opened, sealed

PyTree = Any
Batches = Callable[[], Iterable[tuple[PyTree, int]]]

# Statistics that do not depend on those that came in agree to rounding; a running mean with its usual
# momentum keeps nine tenths or more of them.
_RELATIVE = 1e-3


def program_of(update: Callable[..., PyTree]) -> Callable[..., PyTree]:
    """Return the program ``(params, stats, batch) -> stats`` of an `update_stats`; made once per problem."""
    found: Callable[..., PyTree] = program(
        lambda params, stats, batch: update((opened(params), opened(stats)), batch)
    )
    return found


def recomputed(
    update: Callable[..., PyTree], point: PyTree, batches: Batches, *, checked: bool
) -> tuple[PyTree, bool]:
    """Return the statistics over all batches, and whether they are known not to depend on what came in.

    Parameters
    ----------
    update : callable
        The program of the problem's `update_stats`, or an object with a method ``over``, which computes over
        all batches by itself.
    point : pytree
        The pair ``(params, batch_stats)``.
    batches : callable
        Returns the pairs (batch, examples), anew at every call.
    checked : bool
        Whether that is known already.

    Raises
    ------
    ProblemError
        If the result depends on the statistics that came in.
    """
    over = getattr(update, "over", None)
    if over is not None:
        return over(point, batches), True
    params, stats = sealed(point[0]), sealed(point[1])
    total: dict[str, np.ndarray] = {}
    examples = 0
    for batch, count in batches():
        part = arrays_by_path(update(params, stats, batch))
        if not checked:
            checked = _check_independent(part, arrays_by_path(update(params, _other(stats), batch)))
        for path, value in part.items():
            wide = np.asarray(value, np.float64) * count
            total[path] = total[path] + wide if path in total else wide
        examples += count
    found = map_arrays(
        lambda path, leaf: jnp.asarray(total[path] / examples, jnp.asarray(leaf).dtype), point[1]
    )
    return found, checked


def _other(stats: PyTree) -> PyTree:
    """Return other statistics that are valid as well: means moved, variances larger."""
    return map_arrays(
        lambda _, leaf: (
            1 + 2 * jnp.abs(leaf) if jnp.issubdtype(jnp.result_type(leaf), jnp.floating) else leaf
        ),
        stats,
    )


def _check_independent(first: dict[str, Any], second: dict[str, Any]) -> bool:
    """Refuse statistics that differ with those that came in; return whether the values can tell."""
    conclusive = True
    for path in first:
        a, b = (np.asarray(found[path], np.float64) for found in (first, second))
        scale = max(float(np.abs(a).max(initial=0)), float(np.abs(b).max(initial=0)), 1e-6)
        if not np.isfinite(scale):
            conclusive = False
        elif float(np.abs(a - b).max(initial=0)) > _RELATIVE * scale:
            place = int(np.abs(a - b).argmax())
            raise ProblemError(
                f"update_stats: its result depends on the statistics that came in, at {path or 'the array'}",
                expected="the same statistics whatever came in: those of the batch alone",
                got=f"{a.flat[place]:.6g} and {b.flat[place]:.6g} from two different ones",
                hint="A running mean with momentum keeps most of the old value. Give Problem(update_stats="
                "landscape.flax_statistics(module, train=False)) for exact statistics, or return those of "
                "the batch.",
            )
    return conclusive
