"""Modules of PyTorch as they are: values and derivatives by PyTorch, analyses by this package."""

from __future__ import annotations

from typing import TYPE_CHECKING

from landscape.lazy import lazy_names

if TYPE_CHECKING:
    from landscape.torch_bridge.entry import (
        torch_problem as torch_problem,
    )

__getattr__, __dir__, __all__ = lazy_names(__name__, {"entry": ("torch_problem",)})
