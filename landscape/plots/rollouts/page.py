"""The sections that a rollout adds to a page."""

from __future__ import annotations

from typing import Any

from landscape.plots.page import Page
from landscape.plots.points import table_of
from landscape.plots.rollouts.animation import animation_figure
from landscape.plots.rollouts.returns import returns_figure
from landscape.plots.rollouts.series import series_figure

__all__ = ["add_rollout"]


def add_rollout(page: Page, result: Any) -> None:
    """Add the returns of all episodes, the one that is shown, step by step, and the numbers."""
    page.figure(returns_figure(result), "", "returns")
    moving = animation_figure(result)
    if moving is not None:
        page.figure(moving, "", "episode")
    page.figure(series_figure(result), "", "steps")
    page.table(("quantity", "value"), result.printed(), "Numbers", "numbers")
    page.data(*table_of(result), "rollout")
