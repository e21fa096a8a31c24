"""A function of another library inside jax's programs: values and derivatives by calls to the host.

For F(x, c) with x the arrays that are differentiated and c those that are not, there are five operations,
each one call:

=========  ==============================  ======================
operation  result                          linear in
=========  ==============================  ======================
value      F(x, c)
forward    J t                             t
reverse    Jᵀ u                            u
second     ∂(Jᵀ u)/∂x · t                  u and t, one at a time
twice      ∂(J t)/∂x · s                   t and s, one at a time
=========  ==============================  ======================

They are closed under differentiation up to second order, and under transposition: the transpose of forward is
reverse and the other way round; second is symmetric in what it takes and gives; twice and second are each
other's. Third derivatives are refused.

A call receives arrays that lie in the program's own memory, without a copy, and never calls jax: a call that
waits for jax in one of its threads can wait for ever.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from landscape.errors import ProblemError

Indices = tuple[int, ...]

VALUE, FORWARD, REVERSE, SECOND, TWICE = "value", "forward", "reverse", "second", "twice"


class Host(Protocol):
    """A function outside of jax, with its derivatives."""

    @property
    def name(self) -> str:
        """What messages call it."""

    def shape(self, fixed: Sequence[Any]) -> tuple[int, ...]:
        """Return the shape of the values, from the shapes of c."""

    def ready(self, operation: str, dtype: np.dtype[Any]) -> None:
        """Refuse, while a program is compiled, what cannot be computed."""

    def run(self, call: Call, operation: str, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Compute one operation; the arrays are read only, and no longer there afterwards."""


@dataclasses.dataclass(frozen=True)
class Call:
    """What an operation differentiates: the numbers of the arrays of x on either side.

    Attributes
    ----------
    host : Host
        The function.
    count : int
        How many arrays x are.
    fixed : int
        How many arrays c are.
    inward : tuple of int
        Of which arrays of x tangents come in.
    outward : tuple of int
        Of which arrays of x cotangents are given back (of ``twice``: of which the second tangents come in).
    """

    host: Host
    count: int
    fixed: int
    inward: Indices = ()
    outward: Indices = ()

    @property
    def held(self) -> int:
        """Number of operands before tangents and cotangents."""
        return self.count + self.fixed

    def of(self, inward: Indices = (), outward: Indices = ()) -> Call:
        """Return the call for other arrays."""
        return dataclasses.replace(self, inward=inward, outward=outward)


def call_host(host: Host, x: Sequence[Any], c: Sequence[Any]) -> jax.Array:
    """Return F(x, c)."""
    found: jax.Array = _VALUE.bind(*x, *c, call=Call(host, len(x), len(c)))[0]
    return found


def _results(operation: str, call: Call, avals: Sequence[Any]) -> list[Any]:
    """Return the shapes of the results."""
    dtype = avals[0].dtype
    if operation in (REVERSE, SECOND):
        return [jax.core.ShapedArray(avals[i].shape, avals[i].dtype) for i in call.outward]
    fixed = avals[call.count : call.held]
    return [jax.core.ShapedArray(call.host.shape(fixed), dtype)]


def _primitive(operation: str) -> Primitive:
    found = Primitive(f"host_{operation}")
    found.multiple_results = True
    found.def_abstract_eval(lambda *avals, call: _results(operation, call, avals))

    @functools.lru_cache(maxsize=256)
    def compiled(call: Call) -> Callable[..., Any]:
        return jax.jit(functools.partial(found.bind, call=call))

    found.def_impl(lambda *operands, call: compiled(call)(*operands))
    mlir.register_lowering(found, functools.partial(_lowered, operation))
    batching.primitive_batchers[found] = functools.partial(_batched, found)
    return found


def _lowered(operation: str, ctx: Any, *operands: Any, call: Call) -> Any:
    # Not earlier: a gradient is a derivative along directions, transposed before it runs.
    call.host.ready(operation, np.dtype(ctx.avals_in[0].dtype))

    # jax.pure_callback would put each array on a device before it calls, which can wait for ever, and would
    # cast float64 by a setting of the thread that happens to run the call.
    def callback(*arrays: np.ndarray) -> tuple[np.ndarray, ...]:
        return tuple(call.host.run(call, operation, arrays))

    module = ctx.module_context
    module.add_host_callback(callback)
    device = "cpu" if module.platforms[0] == "cpu" else "gpu"
    rule = jax.ffi.ffi_lowering(f"xla_ffi_python_{device}_callback", has_side_effect=False)
    return rule(ctx, *operands, index=np.uint64(len(module.host_callbacks) - 1))


def _batched(primitive: Primitive, operands: Sequence[Any], dims: Sequence[Any], *, call: Call) -> Any:
    """Map over an axis one by one: the function outside knows nothing of it."""
    mapped = [i for i, dim in enumerate(dims) if dim is not None]
    moved = [jnp.moveaxis(operands[i], dims[i], 0) for i in mapped]

    def one(parts: list[Any]) -> Any:
        own = list(operands)
        for i, part in zip(mapped, parts, strict=True):
            own[i] = part
        return primitive.bind(*own, call=call)

    found = jax.lax.map(one, moved)
    return found, [0] * len(found)


_VALUE, _FORWARD, _REVERSE, _SECOND, _TWICE = map(_primitive, (VALUE, FORWARD, REVERSE, SECOND, TWICE))


def _moving(call: Call, tangents: Sequence[Any]) -> Indices:
    """Return which arrays of x have tangents; refuse tangents of data."""
    if any(type(t) is not ad.Zero for t in tangents[call.count : call.held]):
        raise ProblemError(
            f"{call.host.name}: asked for a derivative in its data or its batch statistics",
            expected="derivatives in the parameters",
            hint="This measure needs a problem written in jax.numpy.",
        )
    return tuple(i for i in range(call.count) if type(tangents[i]) is not ad.Zero)


def _sum(parts: Sequence[Sequence[Any]], like: Sequence[Any]) -> list[Any]:
    """Return the sum of lists of tangents; symbolic zeros for none."""
    if not parts:
        return [ad.Zero(jax.typeof(x).to_tangent_aval()) for x in like]
    return [functools.reduce(lambda a, b: a + b, terms) for terms in zip(*parts, strict=True)]


def _present(tangents: Sequence[Any], numbers: Indices) -> tuple[Indices, list[Any]]:
    """Return the numbers of the tangents that are no symbolic zeros, and these tangents."""
    kept = [(i, t) for i, t in zip(numbers, tangents, strict=True) if type(t) is not ad.Zero]
    return tuple(i for i, _ in kept), [t for _, t in kept]


def _value_jvp(primals: Sequence[Any], tangents: Sequence[Any], *, call: Call) -> Any:
    found = _VALUE.bind(*primals, call=call)
    moving = _moving(call, tangents)
    parts = []
    if moving:
        parts.append(_FORWARD.bind(*primals, *(tangents[i] for i in moving), call=call.of(inward=moving)))
    return found, _sum(parts, found)


def _forward_jvp(primals: Sequence[Any], tangents: Sequence[Any], *, call: Call) -> Any:
    held, t = primals[: call.held], primals[call.held :]
    found = _FORWARD.bind(*primals, call=call)
    parts = []
    numbers, changes = _present(tangents[call.held :], call.inward)
    if numbers:
        parts.append(_FORWARD.bind(*held, *changes, call=call.of(inward=numbers)))
    moving = _moving(call, tangents)
    if moving:
        more = call.of(inward=call.inward, outward=moving)
        parts.append(_TWICE.bind(*held, *t, *(tangents[i] for i in moving), call=more))
    return found, _sum(parts, found)


def _reverse_jvp(primals: Sequence[Any], tangents: Sequence[Any], *, call: Call) -> Any:
    found = _REVERSE.bind(*primals, call=call)
    parts = []
    if type(tangents[-1]) is not ad.Zero:
        parts.append(_REVERSE.bind(*primals[:-1], tangents[-1], call=call))
    moving = _moving(call, tangents)
    if moving:
        more = call.of(inward=moving, outward=call.outward)
        parts.append(_SECOND.bind(*primals, *(tangents[i] for i in moving), call=more))
    return found, _sum(parts, found)


def _second_jvp(primals: Sequence[Any], tangents: Sequence[Any], *, call: Call) -> Any:
    _refuse_third(call, tangents)
    held, u, t = primals[: call.held], primals[call.held], primals[call.held + 1 :]
    found = _SECOND.bind(*primals, call=call)
    parts = []
    if type(tangents[call.held]) is not ad.Zero:
        parts.append(_SECOND.bind(*held, tangents[call.held], *t, call=call))
    numbers, changes = _present(tangents[call.held + 1 :], call.inward)
    if numbers:
        parts.append(_SECOND.bind(*held, u, *changes, call=call.of(inward=numbers, outward=call.outward)))
    return found, _sum(parts, found)


def _twice_jvp(primals: Sequence[Any], tangents: Sequence[Any], *, call: Call) -> Any:
    _refuse_third(call, tangents)
    held, cut = primals[: call.held], call.held + len(call.inward)
    t, s = primals[call.held : cut], primals[cut:]
    found = _TWICE.bind(*primals, call=call)
    parts = []
    first, changes = _present(tangents[call.held : cut], call.inward)
    if first:
        parts.append(_TWICE.bind(*held, *changes, *s, call=call.of(inward=first, outward=call.outward)))
    second, changes = _present(tangents[cut:], call.outward)
    if second:
        parts.append(_TWICE.bind(*held, *t, *changes, call=call.of(inward=call.inward, outward=second)))
    return found, _sum(parts, found)


def _refuse_third(call: Call, tangents: Sequence[Any]) -> None:
    if _moving(call, tangents):
        raise ProblemError(
            f"{call.host.name}: asked for a third derivative, which is not computed for PyTorch modules",
            expected="derivatives of first and second order",
            hint="This measure needs a problem written in jax.numpy.",
        )


def _asked(operands: Sequence[Any], numbers: Indices) -> Indices:
    """Return the numbers of the operands whose cotangents are asked for."""
    return tuple(i for x, i in zip(operands, numbers, strict=True) if ad.is_undefined_primal(x))


def _placed(asked: Indices, found: Sequence[Any], numbers: Indices) -> list[Any]:
    known = dict(zip(asked, found, strict=True))
    return [known.get(i) for i in numbers]


def _forward_transpose(cotangents: Sequence[Any], *operands: Any, call: Call) -> list[Any]:
    (u,) = cotangents
    held, t = operands[: call.held], operands[call.held :]
    nothing = [None] * call.held
    if type(u) is ad.Zero:
        return nothing + [None] * len(t)
    asked = _asked(t, call.inward)
    found = _REVERSE.bind(*held, u, call=call.of(outward=asked))
    return nothing + _placed(asked, found, call.inward)


def _reverse_transpose(cotangents: Sequence[Any], *operands: Any, call: Call) -> list[Any]:
    numbers, t = _present(cotangents, call.outward)
    nothing: list[Any] = [None] * call.held
    if not numbers:
        return [*nothing, None]
    (found,) = _FORWARD.bind(*operands[: call.held], *t, call=call.of(inward=numbers))
    return [*nothing, found]


def _second_transpose(cotangents: Sequence[Any], *operands: Any, call: Call) -> list[Any]:
    held, u, t = operands[: call.held], operands[call.held], operands[call.held + 1 :]
    numbers, s = _present(cotangents, call.outward)
    nothing: list[Any] = [None] * call.held
    if not numbers:
        return nothing + [None] * (1 + len(t))
    if ad.is_undefined_primal(u):
        (found,) = _TWICE.bind(*held, *t, *s, call=call.of(inward=call.inward, outward=numbers))
        return [*nothing, found, *(None for _ in t)]
    asked = _asked(t, call.inward)
    given = _SECOND.bind(*held, u, *s, call=call.of(inward=numbers, outward=asked))
    return [*nothing, None, *_placed(asked, given, call.inward)]


def _twice_transpose(cotangents: Sequence[Any], *operands: Any, call: Call) -> list[Any]:
    (u,) = cotangents
    held, cut = operands[: call.held], call.held + len(call.inward)
    t, s = operands[call.held : cut], operands[cut:]
    nothing: list[Any] = [None] * call.held
    if type(u) is ad.Zero:
        return nothing + [None] * (len(t) + len(s))
    asked = _asked(t, call.inward)
    if asked:
        found = _SECOND.bind(*held, u, *s, call=call.of(inward=call.outward, outward=asked))
        return [*nothing, *_placed(asked, found, call.inward), *(None for _ in s)]
    asked = _asked(s, call.outward)
    found = _SECOND.bind(*held, u, *t, call=call.of(inward=call.inward, outward=asked))
    return [*nothing, *(None for _ in t), *_placed(asked, found, call.outward)]


ad.primitive_jvps[_VALUE] = _value_jvp
ad.primitive_jvps[_FORWARD] = _forward_jvp
ad.primitive_jvps[_REVERSE] = _reverse_jvp
ad.primitive_jvps[_SECOND] = _second_jvp
ad.primitive_jvps[_TWICE] = _twice_jvp
ad.primitive_transposes[_FORWARD] = _forward_transpose
ad.primitive_transposes[_REVERSE] = _reverse_transpose
ad.primitive_transposes[_SECOND] = _second_transpose
ad.primitive_transposes[_TWICE] = _twice_transpose
