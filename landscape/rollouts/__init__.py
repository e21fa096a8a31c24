"""Episodes of policies as a result: returns, lengths, and one episode step by step. No jax."""

from __future__ import annotations

from typing import TYPE_CHECKING

from landscape.lazy import lazy_names

if TYPE_CHECKING:
    from landscape.rollouts.episodes import Rollout as Rollout

__getattr__, __dir__, __all__ = lazy_names(__name__, {"episodes": ("Rollout",)})
