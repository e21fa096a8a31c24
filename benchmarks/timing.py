"""Medians and ratios of interleaved timings, and the peak of the machine's matrix product."""

from __future__ import annotations

import importlib.metadata
import platform
import statistics
import time
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp

Timed = Callable[[], object]


def interleaved(candidates: Mapping[str, Timed], *, repeats: int = 9) -> dict[str, list[float]]:
    """Return seconds of each candidate, all of them run in turn `repeats` times after a warm-up.

    Machines drift; what is compared runs side by side, and ratios are taken within a round.
    """
    return {name: wall for name, (wall, _) in interleaved_clocks(candidates, repeats=repeats).items()}


def interleaved_clocks(
    candidates: Mapping[str, Timed], *, repeats: int
) -> dict[str, tuple[list[float], list[float]]]:
    """Return (seconds on the wall, of the processor) of each candidate, run as by `interleaved`."""
    for run in candidates.values():
        jax.block_until_ready(run())
    found: dict[str, tuple[list[float], list[float]]] = {name: ([], []) for name in candidates}
    for _ in range(repeats):
        for name, run in candidates.items():
            began = time.perf_counter(), time.process_time()
            jax.block_until_ready(run())
            found[name][0].append(time.perf_counter() - began[0])
            found[name][1].append(time.process_time() - began[1])
    return found


def median(values: list[float]) -> float:
    """Return the median."""
    return statistics.median(values)


def ratio(numerator: list[float], denominator: list[float]) -> float:
    """Return the median of the ratios round by round."""
    return statistics.median(a / b for a, b in zip(numerator, denominator, strict=True))


def peak_size() -> int:
    """Return the size of the square matrices whose product stands for the peak."""
    return 2_048 if jax.default_backend() == "cpu" else 8_192


def matrix_product(precision: str = "float32") -> Timed:
    """Return a call of a square matrix product in "float32", "tf32" or "bfloat16"."""
    kind = jnp.bfloat16 if precision == "bfloat16" else jnp.float32
    matrix = jax.random.normal(jax.random.key(0), (peak_size(), peak_size()), kind)
    product = jax.jit(lambda x: x @ x)

    def run() -> object:
        with jax.default_matmul_precision("tensorfloat32" if precision == "tf32" else "highest"):
            return product(matrix)

    return run


def matmul_peak() -> float:
    """Return the measured rate of a square float32 matrix product, in GFLOP/s."""
    seconds = interleaved({"product": matrix_product()}, repeats=7)["product"]
    return 2 * peak_size() ** 3 / min(seconds) / 1e9


def machine() -> str:
    """Return one line about device and versions."""
    versions = ", ".join(
        f"{name} {importlib.metadata.version(name)}" for name in ("jax", "jaxlib", "evosax", "numpy")
    )
    device = f"{jax.devices()[0].device_kind} ({platform.machine()})"
    return f"{device}, Python {platform.python_version()}, {versions}"
