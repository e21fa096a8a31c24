"""Policies of control tasks played over episodes, and one episode of them as a drawing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from landscape.lazy import lazy_names

if TYPE_CHECKING:
    from trainers.rollouts.playing import play_episodes as play_episodes, rollout_cost as rollout_cost

__getattr__, __dir__, __all__ = lazy_names(__name__, {"playing": ("play_episodes", "rollout_cost")})
