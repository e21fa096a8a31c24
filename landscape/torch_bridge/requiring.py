"""PyTorch, where it is installed."""

from __future__ import annotations

from typing import Any

from landscape.errors import MissingDependencyError


def require_torch() -> Any:
    """Return the module ``torch``.

    Raises
    ------
    MissingDependencyError
        If it is not installed.
    """
    try:
        import torch
    except ImportError as error:
        raise MissingDependencyError(
            "PyTorch is not installed, and this problem is a torch.nn.Module",
            hint='Install it: pip install "ticketscape[torch]", or PyTorch\'s own wheel for your machine.',
        ) from error
    return torch
