"""The seconds that jax spends on compiling, so that they can be reported apart."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import jax.monitoring

_EVENTS = (
    "/jax/core/compile/jaxpr_to_mlir_module_duration",
    "/jax/core/compile/backend_compile_duration",
)


@contextlib.contextmanager
def compile_seconds() -> Iterator[list[float]]:
    """Collect the seconds that jax spends on lowering and compiling inside the block."""
    spent: list[float] = []

    def listen(event: str, duration_secs: float, **_: str | int) -> None:
        if event in _EVENTS:
            spent.append(duration_secs)

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        yield spent
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)
