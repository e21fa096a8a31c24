"""What of a given network is weights, and what is statistics of normalisation layers. No jax."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from landscape.errors import ProblemError
from landscape.files import Checkpoint, in_structure
from landscape.trees import split_collections, statistics_paths

if TYPE_CHECKING:
    from landscape.problem import Problem

PyTree = Any

_LIKE_PARAMS = ("mask", "std", "init", "best")


def parts_of(given: Any, problem: Problem) -> tuple[PyTree, PyTree, Checkpoint | None]:
    """Return (params, batch_stats, checkpoint) of a network.

    Parameters
    ----------
    given : Checkpoint or pytree
        The network.
    problem : Problem
        Says what it takes: networks of another library by its `form`. Otherwise, where its loss takes the
        pair ``(params, batch_stats)``, a bare pair is taken apart, and so are Flax's variables ``{"params":
        …, "batch_stats": …}``, bare or as the parameters of a checkpoint; and the trees of a checkpoint are
        brought into the structure of its `like`.

    Raises
    ------
    ArchitectureMismatchError
        If a checkpoint has other paths or shapes than the problem's.
    """
    if problem.form is not None:
        return problem.form.take(given)
    with_stats, like = problem.update_stats is not None, problem.like
    if isinstance(given, Checkpoint):
        found = _without_collections(given) if with_stats and given.batch_stats is None else given
        found = found if like is None else in_structure(found, like)
        return found.params, found.batch_stats, found
    if with_stats and isinstance(given, tuple) and len(given) == 2:
        return given[0], given[1], None
    split = split_collections(given) if with_stats else None
    return (given, None, None) if split is None else (*split, None)


def _without_collections(checkpoint: Checkpoint) -> Checkpoint:
    split = split_collections(checkpoint.params)
    if split is None:
        return checkpoint
    others = {name: weights_only(getattr(checkpoint, name)) for name in _LIKE_PARAMS}
    return dataclasses.replace(checkpoint, params=split[0], batch_stats=split[1], **others)


def weights_only(tree: PyTree) -> PyTree:
    """Return the parameters of Flax's variables; any other tree as it is."""
    split = split_collections(tree)
    return tree if split is None else split[0]


def statistics_in(problem: Problem, params: PyTree) -> list[str]:
    """Return the paths of running statistics among parameters; none where the problem calls them weights."""
    return [] if problem.statistics_are_weights else statistics_paths(params)


def refuse_statistics(name: str, paths: list[str]) -> None:
    """Refuse running statistics that stand among the weights of a network whose weights are changed.

    Raises
    ------
    ProblemError
        With the lines to write.
    """
    more = f" and {len(paths) - 3} more" if len(paths) > 3 else ""
    raise ProblemError(
        f"{name}: holds running statistics among its weights: {', '.join(paths[:3])}{more}",
        expected="params and batch_stats apart: a straight path of statistics is not those of its networks",
        got="one tree, and a loss that takes it whole",
        hint="Write loss((params, batch_stats), batch), give the pair (variables['params'], "
        "variables['batch_stats']) and Problem(loss, train=…, update_stats=landscape.flax_statistics(module, "
        "train=False)). Or interpolate those stored with batch_stats='keep', or treat them as weights with "
        "Problem(statistics_are_weights=True).",
    )
