"""The seconds that jax spends on compiling, so that they can be reported apart."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator

import jax.monitoring

_EVENTS = (
    "/jax/core/compile/jaxpr_to_mlir_module_duration",
    "/jax/core/compile/backend_compile_duration",
)
_collecting: dict[int, list[float]] = {}


@contextlib.contextmanager
def compile_seconds() -> Iterator[list[float]]:
    """Collect the seconds that jax spends on lowering and compiling inside the block."""
    _listen()
    spent: list[float] = []
    _collecting[id(spent)] = spent
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
        for spent in list(_collecting.values()):
            spent.append(duration_secs)
