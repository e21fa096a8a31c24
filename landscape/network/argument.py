"""A network as the argument of a compiled program, and errors of programs that cannot be differentiated."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import numpy as np

from landscape.compute import on_device
from landscape.errors import LandscapeError, ProblemError, first_line
from landscape.network.subject import Subject
from landscape.trees import arrays_by_path, map_arrays, opened, sealed

PyTree = Any


@dataclasses.dataclass(frozen=True)
class Network:
    """The arguments of a program that describe a network: a pytree.

    Attributes
    ----------
    leaves : dict of str to array
        The differentiated leaves by path.
    rest : pytree
        All parameters, with zeros of no size in place of the differentiated leaves.
    stats : pytree or None
        Batch statistics, held fixed.
    """

    leaves: dict[str, jax.Array]
    rest: PyTree
    stats: PyTree

    def point(self, leaves: Mapping[str, Any]) -> PyTree:
        """Return what the loss takes first."""
        params = opened(map_arrays(leaves.get, self.rest))
        return params if self.stats is None else (params, opened(self.stats))


jax.tree_util.register_dataclass(Network, ["leaves", "rest", "stats"], [])


def network_of(subject: Subject, dtype: np.dtype) -> Network:
    """Return the arguments that describe a network, floats as `dtype`."""
    chosen = set(subject.layout.paths)

    def emptied(path: str, leaf: Any) -> jax.Array:
        array = np.asarray(leaf)
        return on_device(array[:0] if path in chosen and array.ndim else array, dtype)

    # From the host, wherever the caller has them: parameters and data must end on one device.
    given = arrays_by_path(subject.params)
    leaves = {path: on_device(np.asarray(given[path]), dtype) for path in subject.layout.paths}
    rest = map_arrays(emptied, sealed(subject.params))
    stats = None
    if subject.batch_stats is not None:
        stats = map_arrays(lambda _, leaf: on_device(np.asarray(leaf), dtype), sealed(subject.batch_stats))
    return Network(leaves, rest, stats)


def used_inputs(function: Callable[[PyTree], PyTree], tree: PyTree) -> list[bool]:
    """Return for each leaf of an argument whether the function's program reads it on the way to its result.

    Of a call inside the program (a jitted function, a loop) every input counts as read.
    """
    program = jax.make_jaxpr(function)(tree).jaxpr
    needed = {id(variable) for variable in program.outvars}
    for equation in reversed(program.eqns):
        if any(id(variable) in needed for variable in equation.outvars):
            needed |= {id(variable) for variable in equation.invars}
    return [id(variable) in needed for variable in program.invars]


def nudged(network: Network, dtype: np.dtype, rng: np.random.Generator) -> Network:
    """Return a network whose parameters are moved by at most one unit in the last place; zeros stay."""
    eps = np.finfo(dtype).eps

    def moved(leaf: jax.Array) -> jax.Array:
        if leaf.dtype != dtype:
            return leaf
        steps = rng.integers(-1, 2, size=leaf.shape, dtype=np.int8)
        return on_device(np.asarray(leaf) * (1 + steps * eps).astype(dtype))

    leaves, rest = jax.tree.map(moved, (network.leaves, network.rest))
    return dataclasses.replace(network, leaves=leaves, rest=rest)


@contextlib.contextmanager
def differentiable() -> Iterator[None]:
    """Turn jax's errors about missing derivatives into one that says whose they are."""
    try:
        yield
    except LandscapeError:
        raise
    except (TypeError, ValueError, NotImplementedError) as error:
        sentence = first_line(error)[:200]
        if "custom_vjp" in str(error):
            raise ProblemError(
                "loss: a part of it has a rule for reverse mode only (custom_vjp); this needs forward mode",
                expected="a loss that jax can differentiate again",
                got=sentence,
                hint="Measures of gradients work: fisher(labels='data'), sharpness, barriers, surfaces. For "
                "the others write the rule with jax.custom_jvp.",
            ) from error
        raise ProblemError(
            "loss: cannot be differentiated as this matrix needs",
            expected="a loss that jax can differentiate, twice for a Hessian",
            got=sentence,
            hint="Write it in jax.numpy, without callbacks or rules that cannot be differentiated.",
        ) from error
