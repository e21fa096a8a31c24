"""Where a number comes from: versions, device, seeds and digests. No clock times, no jax at import."""

from __future__ import annotations

import functools
import importlib.metadata
import platform
import sys
from typing import Any

__all__ = ["describe_device", "versions"]

_PACKAGES = ("jax", "jaxlib", "numpy", "scipy", "h5py", "evosax", "flax", "optax")


@functools.cache
def _versions() -> tuple[tuple[str, str], ...]:
    from landscape import __version__

    found = [("landscape", __version__), ("python", platform.python_version())]
    for name in _PACKAGES:
        try:
            found.append((name, importlib.metadata.version(name)))
        except importlib.metadata.PackageNotFoundError:
            continue
    return tuple(found)


def versions() -> dict[str, str]:
    """Return the versions of the package, Python and the libraries that numbers depend on."""
    return dict(_versions())


def describe_device() -> dict[str, Any]:
    """Return backend and kind of the device that jax uses; loads jax."""
    import jax

    device = jax.devices()[0]
    return {
        "backend": jax.default_backend(),
        "device": device.device_kind,
        "platform": f"{sys.platform}-{platform.machine()}",
    }
