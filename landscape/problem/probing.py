"""The probe that a loss is a deterministic function of parameters and single examples."""

from __future__ import annotations

import contextlib
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.extend.core import jaxpr_as_fun

from landscape.compute import on_device, program
from landscape.errors import LandscapeError, ProblemError
from landscape.trees import arrays_with_paths

PyTree = Any
Values = Callable[[PyTree, PyTree], dict[str, jax.Array]]

# Another value of this context is another key of jax's caches: functions that were traced before are traced
# again. Their loops stay loops, where tracing without jit unrolls them: an episode has hundreds of steps.
_TRACED_ANEW = jax.make_user_context(None)
_NUDGES = 4
_MOST_NAMED = 6  # paths of a network that an error of the loss lists

# Rounding of a float32 network under another order of summation stays far below; statistics taken
# over a batch, or noise, move a loss by far more.
_RELATIVE = 1e-3


@contextlib.contextmanager
def users_errors(
    hint: str | None = None,
    *,
    what: str = "the problem's loss or a metric",
    expected: str = "loss(params, batch) -> [B] for these parameters and these data",
) -> Iterator[None]:
    """Turn what the user's functions raise into an error that says whose it is, with a likely reason."""
    try:
        yield
    except (LandscapeError, MemoryError, jax.errors.JaxRuntimeError):
        raise
    except Exception as error:
        frame = traceback.extract_tb(error.__traceback__)[-1]
        text = (str(error).strip().splitlines() or [""])[0]
        raise ProblemError(
            f"{what} raised {type(error).__name__}: {text}".removesuffix(": "),
            expected=expected,
            got=f"the error at {Path(frame.filename).name}:{frame.lineno}",
            hint=hint
            or "Are the parameters those of this problem? The traceback says where it began (--debug).",
        ) from error


def what_it_holds(params: PyTree) -> str:
    """Return a hint with the paths of the parameters: most losses that fail ask for others."""
    paths = [path or "one array" for path, _ in arrays_with_paths(params)]
    more = f" and {len(paths) - _MOST_NAMED} more" if len(paths) > _MOST_NAMED else ""
    return (
        f"The network holds {', '.join(paths[:_MOST_NAMED])}{more}. Are they the parameters of this problem? "
        "--debug shows where the error began."
    )


def probe(values: Values, params: PyTree, batch: PyTree, *, episodes: bool = False) -> bool:
    """Refuse functions that are random, or mix the examples of a batch.

    Three evaluations: a few examples twice, then the first two of them in turn, many times. Each runs the
    functions' Python again: randomness of Python freezes when a function is traced, so that two calls of
    a compiled loss would prove nothing.
    The first pair must be bit-identical; in the third, a larger batch, all copies of an example must agree
    with each other and with itself among its mates, or its value depends on its neighbours, its position or
    the size of the batch. Two examples, since one may have the same value in both batches by chance: copies
    of a single one behind batch normalisation have a loss of log C, which one in fifty is close to.
    The dynamics of episodes may be chaotic: rounding, which is another for another size of the batch, then
    moves a return by any amount. A value that weights moved by one unit in the last place change as much is
    no evidence, and is let through.

    Returns
    -------
    bool
        Whether that could be told: not where a value is not finite.

    Raises
    ------
    ProblemError
        Naming the function that failed and how.
    """
    few = jax.tree.map(np.asarray, batch)
    repeated = jax.tree.map(lambda x: x[np.arange(2 * len(x) + 1) % min(2, len(x))], few)
    batch, copies = jax.tree.map(on_device, (few, repeated))
    first, second, alone = (
        run_anew(values, params, given, unroll=not episodes) for given in (batch, batch, copies)
    )
    conclusive = True
    for name in first:
        a, b, c = (np.asarray(result[name], np.float64) for result in (first, second, alone))
        if not np.array_equal(a, b, equal_nan=True):
            raise ProblemError(
                f"{name}: two evaluations of the same parameters and examples differ",
                expected="a deterministic function",
                got=f"{a.flat[0]:.6g} and {b.flat[0]:.6g} for the first example",
                hint="Switch off dropout and shuffling, and fix every random key, in the loss you analyse.",
            )
        try:
            kinds = min(2, len(a))
            conclusive &= all(
                [_check_independent(name, a[kind], c[kind::kinds], size=len(c)) for kind in range(kinds)]
            )
        except ProblemError:
            if not (episodes and _sensitive(values, params, copies, name)):
                raise
    return conclusive


def _sensitive(values: Values, params: PyTree, copies: PyTree, name: str) -> bool:
    """Return whether weights moved by one unit in the last place change a value as mates may not."""
    rng, compiled = np.random.default_rng(0), program(values)

    def nudged(leaf: Any) -> Any:
        array = np.asarray(leaf)
        if array.dtype.kind != "f":
            return leaf
        steps = rng.integers(-1, 2, size=array.shape) * np.finfo(array.dtype).eps
        return on_device((array * (1 + steps)).astype(array.dtype))

    found = [compiled(jax.tree.map(nudged, params), copies)[name] for _ in range(_NUDGES)]
    moved = np.array([np.asarray(value, np.float64)[0] for value in found])
    return not float(np.ptp(moved)) <= _RELATIVE * max(float(np.max(np.abs(moved))), 1e-3)


def run_anew(function: Callable[..., PyTree], *arguments: PyTree, unroll: bool = True) -> PyTree:
    """Run a function's Python, functions within that were traced before included, and what it computes.

    As one program where it can be traced with its loops unrolled: operation by operation, a hundred
    small programs would be compiled, which takes seconds. Without `unroll` loops stay loops, and what their
    bodies draw is drawn once.
    """
    leaves, tree = jax.tree.flatten(arguments)

    def flat(*given: Any) -> PyTree:  # another one every time: traced anew
        return function(*jax.tree.unflatten(tree, given))

    with jax.disable_jit() if unroll else _TRACED_ANEW(object()):
        try:
            traced, shape = jax.make_jaxpr(flat, return_shape=True)(*leaves)
        except Exception:
            # Nothing is hidden: what cannot be traced (a loop whose length depends on values) runs as it
            # is, and an error of the function itself is raised again, outside of any tracing.
            return function(*arguments)
    found = program(jaxpr_as_fun(traced))(*leaves)
    return jax.tree.unflatten(jax.tree.structure(shape), found)


def _check_independent(name: str, among_mates: float, among_copies: np.ndarray, *, size: int) -> bool:
    """Refuse a value that depends on its mates; return whether the values can tell."""
    scale = max(abs(among_mates), float(np.max(np.abs(among_copies), initial=0.0)), 1e-3)
    if not np.isfinite(scale):
        return False
    off = np.abs(among_copies - among_mates)
    if float(off.max()) <= _RELATIVE * scale:
        return True
    raise ProblemError(
        f"{name}: the value of an example depends on the other examples of its batch, or on its place",
        expected=f"{among_mates:.6g} whatever stands beside it",
        got=f"{among_copies[int(off.argmax())]:.6g} among {size} copies of itself and another",
        hint="Use stored batch statistics (not those of the batch), no dropout, and no division by the size "
        "of the batch in the loss you analyse.",
    )
