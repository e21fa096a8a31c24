"""The device: its precision, and the error when its memory is full."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from landscape.errors import DeviceMemoryError, LandscapeError


def on_device(leaf: Any, dtype: Any = None) -> jax.Array:
    """Return an array on the device, floats as `dtype`; one that is on the device already stays as it is.

    What comes from the host is copied once, and nothing is compiled for it: jnp.asarray compiles a small
    program for every shape, and copies memory twice that is not aligned as XLA wants it.
    """
    if isinstance(leaf, jax.Array):
        if dtype is None or not jnp.issubdtype(leaf.dtype, jnp.floating):
            return leaf
        cast: jax.Array = leaf.astype(dtype)
        return cast
    given = np.asarray(leaf)
    if dtype is not None and jnp.issubdtype(given.dtype, jnp.floating):
        given = given.astype(dtype, copy=False)
    placed: jax.Array = jax.device_put(given)
    # What is aligned is shared on a CPU, and the caller may go on writing to it.
    shared = all(device.platform == "cpu" for device in placed.devices())
    if shared and np.may_share_memory(np.asarray(placed), given):
        placed = jax.device_put(given.copy())
    return placed


@contextlib.contextmanager
def precision(dtype: Any) -> Iterator[None]:
    """Measure inside the block at full float32, and at float64, only there, if `dtype` asks for it.

    By default a GPU multiplies matrices with a 10-bit mantissa, which would show as a barrier.
    """
    wide = dtype is not None and np.dtype(dtype) == np.float64
    with jax.default_matmul_precision("highest"), jax.enable_x64(True) if wide else contextlib.nullcontext():
        yield


# What calls to the host raised inside compiled programs, of which jax only keeps a text.
_raised: list[LandscapeError] = []


def remembered(error: LandscapeError) -> None:
    """Keep an error that a call to the host raises inside a program, for who waits for the program."""
    _raised[:] = [error]


@contextlib.contextmanager
def device_memory(batch_size: int, *, hint: str | None = None) -> Iterator[None]:
    """Turn the device's out-of-memory error into one that says what to do.

    An error of landscape that a call to the host raised inside a program is raised again as it was.

    Parameters
    ----------
    batch_size : int
        Examples per batch, for the message.
    hint : str, optional
        The advice where ``--batch-size`` does not decide how much memory is used.
    """
    _raised.clear()
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        if _raised:
            raise _raised.pop() from error
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        raise DeviceMemoryError(
            f"the device ran out of memory with batches of {batch_size:,} examples",
            hint=hint or f"Try --batch-size {max(1, batch_size // 2)}.",
        ) from error
