"""Choose the device and the compilation cache. Works through the environment, before jax is imported."""

from __future__ import annotations

import os
from pathlib import Path

from landscape.errors import InputError

# Programs that compile faster than this are not worth a file.
CACHE_FROM_SECONDS = "0.2"


def configure(device: str, *, preallocate: bool = False) -> None:
    """Set what jax reads when it is imported; the user's own settings stay, but for the device asked for.

    Parameters
    ----------
    device : str
        ``"auto"``, ``"cpu"`` or ``"gpu"``.
    preallocate : bool
        Whether jax may take most of the GPU's memory at once: fine for training, unfriendly for an
        analysis beside a training run.
    """
    if device == "cpu":
        os.environ["JAX_PLATFORMS"] = "cpu"
    elif device == "gpu":
        os.environ.pop("JAX_PLATFORMS", None)
    if not preallocate:
        os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    _configure_cache()


def _configure_cache() -> None:
    if "JAX_COMPILATION_CACHE_DIR" in os.environ:
        return
    try:
        root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        folder = Path(root) / "landscape" / "xla"
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError):
        return  # a cache is a convenience: without it programs are compiled again
    if not os.access(folder, os.W_OK | os.X_OK):
        return
    os.environ["JAX_COMPILATION_CACHE_DIR"] = str(folder)
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", CACHE_FROM_SECONDS)


def require(device: str) -> str:
    """Import jax, and return a description of the device that will be used.

    Raises
    ------
    InputError
        If ``"gpu"`` was asked for and jax finds none.
    """
    import jax

    try:
        backend = jax.default_backend()
    except RuntimeError as error:  # JAX_PLATFORMS names something that is not there
        raise InputError(
            f"--device {device}: jax finds no device",
            got=f"JAX_PLATFORMS={os.environ.get('JAX_PLATFORMS', '')}",
            hint="Unset JAX_PLATFORMS, or give --device cpu.",
        ) from error
    if device == "gpu" and backend != "gpu":
        raise InputError(
            "--device gpu: jax finds no GPU",
            got=f"{backend} only",
            hint="Install the CUDA build (pip install 'jax[cuda13]' or 'jax[cuda12]'), check nvidia-smi, "
            "or leave --device out.",
        )
    first = jax.devices()[0]
    return f"{jax.device_count()} x {first.device_kind} ({first.platform}), jax {jax.__version__}"
