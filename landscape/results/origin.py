"""Where a result comes from: versions, device, precision, seed and digests. No clock times."""

from __future__ import annotations

import functools
import importlib.metadata
import platform
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from landscape.files import Checkpoint

DISTRIBUTION = "ticketscape"
_READ_FROM = "read_from"
LIBRARIES = ("jax", "jaxlib", "numpy", "scipy", "h5py", "evosax", "flax", "optax")


def versions() -> dict[str, str]:
    """Return the versions of this package, Python and the numerical libraries.

    They are read from the installed metadata, so that nothing has to be imported for it.
    """
    found = {"landscape": _version(DISTRIBUTION), "python": platform.python_version()}
    return {**found, **{name: _version(name) for name in LIBRARIES}}


@functools.cache  # looked up in every file of metadata: 2 ms, for every checkpoint that is written
def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "not installed as a distribution"


def device() -> dict[str, str]:
    """Return the platform and the kind of the device that jax computes on now."""
    import jax.numpy as jnp

    used = next(iter(jnp.zeros(()).devices()))  # asks jax, which may have been told another default
    return {"platform": str(used.platform), "kind": str(used.device_kind)}


def provenance(*, seed: int | None, dtype: str, digests: Mapping[str, Any]) -> dict[str, Any]:
    """Return the provenance of a result.

    Parameters
    ----------
    seed : int or None
        Seed of everything random in the analysis; None if nothing is.
    dtype : str
        Floating type of the computation on the device.
    digests : mapping
        BLAKE2b-128 of what was analysed: parameters and data; and what `read_from` adds.
    """
    own = {name: value for name, value in digests.items() if name != _READ_FROM}
    sources = {_READ_FROM: digests[_READ_FROM]} if _READ_FROM in digests else {}
    return {
        "versions": versions(),
        "device": device(),
        "dtype": dtype,
        "seed": seed,
        "digests": own,
        **sources,
    }


def read_from(networks: Mapping[str, Checkpoint | None]) -> dict[str, Any]:
    """Return what `provenance` notes, beside digests, of networks from files of other tools; {} for none."""
    found = {name: dict(c.source) for name, c in networks.items() if c is not None and c.source is not None}
    return {_READ_FROM: found} if found else {}


def read_from_each(digests: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the same for several networks, each with the digests of its own."""
    found = {
        f"network {i + 1}": source
        for i, own in enumerate(digests)
        for source in own.get(_READ_FROM, {}).values()
    }
    return {_READ_FROM: found} if found else {}
