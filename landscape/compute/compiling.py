"""How our programs are compiled, and the seconds that it takes, so that they can be reported apart."""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.monitoring

_EVENTS = (
    "/jax/core/compile/jaxpr_to_mlir_module_duration",
    "/jax/core/compile/backend_compile_duration",
)
_collecting: dict[int, tuple[int, list[float]]] = {}

# XLA can build the loops of a CPU program by two routes. The newer one, by MLIR, takes half as long again to
# compile what this package compiles, and what it makes runs no faster: `landscape curvature` of a digits
# network as a whole takes 1.8 times as long by it, and `landscape flatness` 1.6 times. The level is XLA's
# default; it is stated because the last bits of results depend on it, so that XLA_FLAGS, which the tests set
# for what they compile themselves, does not change what the package computes.
_CPU: dict[str, str | bool | int] = {
    "xla_cpu_use_fusion_emitters": False,
    "xla_backend_optimization_level": 3,
}


@contextlib.contextmanager
def compile_seconds() -> Iterator[list[float]]:
    """Collect the seconds that jax spends, in this thread, on lowering and compiling inside the block."""
    _listen()
    spent: list[float] = []
    _collecting[id(spent)] = threading.get_ident(), spent
    try:
        yield spent
    finally:
        del _collecting[id(spent)]


@functools.cache
def _listen() -> None:
    """Register once for the process: jax before 0.9 cannot take a listener back."""
    jax.monitoring.register_event_duration_secs_listener(_hear)


def _hear(event: str, duration_secs: float, **_: str | int) -> None:
    if event in _EVENTS:
        for thread, spent in list(_collecting.values()):
            if thread == threading.get_ident():
                spent.append(duration_secs)


def program(function: Callable[..., Any], *, episodes: bool = False, **options: Any) -> Any:
    """Return ``jax.jit(function, **options)`` as this package compiles it.

    For programs that are called from Python: within another program the outer one decides, and jax refuses
    options of an inner one.

    Parameters
    ----------
    function : callable
        What is compiled.
    episodes : bool
        Whether it is mostly a long loop of small element-wise steps, as simulations are. These run up to
        twice as fast by the newer route (64 members on 8 episodes: Pendulum 16 ms instead of 27, CartPole 31
        instead of 62).
    **options
        Of `jax.jit`.
    """
    return jax.jit(function, compiler_options=None if episodes else _compiler_options(), **options)


@functools.cache
def _compiler_options() -> dict[str, str | bool | int] | None:
    """Return the options that this compiler knows; XLA does not promise to keep the names of its options."""
    if jax.default_backend() != "cpu":
        return None
    try:
        jax.jit(lambda x: x, compiler_options=_CPU).lower(0.0).compile()
    except jax.errors.JaxRuntimeError:  # no such option in this version
        return None
    return _CPU
