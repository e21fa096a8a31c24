"""The sections that a line, a plane and a trajectory add to a page."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from landscape.plots.page import Page
from landscape.plots.points import table_of
from landscape.plots.surfaces.lines import line_figure, spread_figure
from landscape.plots.surfaces.persistence import persistence_figure
from landscape.plots.surfaces.planes import contour_figure, surface_figure
from landscape.plots.surfaces.trajectories import hidden_figure, trajectory_figure

__all__ = ["add_line", "add_surface", "add_trajectory"]


def add_surface(page: Page, result: Any) -> None:
    """Add contours, the spread over planes, the persistence diagram and the numbers of a plane."""
    page.figure(contour_figure(result), "", "plane", points=table_of(result))
    if result.config.get("view") == "3d":
        page.figure(surface_figure(result), "", "plane-3d")
    if result.planes is not None:
        page.figure(spread_figure(result), "", "planes")
    page.figure(persistence_figure(result), "", "persistence")
    page.table(("quantity", "value"), result.printed(), "Numbers", "numbers")
    page.table(
        ("network", "x", "y", "loss"),
        [(name, a["x"], a["y"], a["loss"]) for name, a in result.anchors.items()],
        "Networks in the plane",
        "networks",
    )
    page.table(("minimum", "x", "y", "loss", "basin ends at", "depth"), _minima(result), "Minima", "minima")


def _minima(result: Any) -> list[tuple[object, ...]]:
    found = result.topology
    rows: list[tuple[object, ...]] = []
    for number, ((i, j), birth, death) in enumerate(
        zip(found.minima, found.births, found.deaths, strict=True), 1
    ):
        end = float(death) if math.isfinite(death) else None
        depth = None if end is None else end - float(birth)
        rows.append((number, float(result.x[i]), float(result.y[j]), float(birth), end, depth))
    return rows[:20]


def add_line(page: Page, result: Any) -> None:
    """Add the loss along the lines, and the numbers."""
    page.figure(line_figure(result), "", "lines", points=table_of(result))
    page.table(("quantity", "value"), result.printed(), "Numbers", "numbers")
    page.table(
        ("direction", "length of one unit"),
        list(zip(result.direction_names, np.asarray(result.lengths).tolist(), strict=True)),
        "Directions",
        "directions",
    )
    page.table(
        ("network", "x", "loss"),
        [(name, a["x"], a["loss"]) for name, a in result.anchors.items()],
        "Networks on the line",
        "networks",
    )


def add_trajectory(page: Page, result: Any) -> None:
    """Add the paths on their plane, what the projection hides, and the numbers."""
    page.figure(trajectory_figure(result), "", "trajectory", points=table_of(result))
    page.figure(hidden_figure(result), "", "hidden")
    page.table(("quantity", "value"), result.printed(), "Numbers", "numbers")
    rows = zip(
        result.names,
        result.paths,
        result.coordinates,
        result.distances,
        result.losses,
        result.plane_losses,
        strict=True,
    )
    page.table(
        ("network", "path", "x", "y", "distance", "loss", "loss of the plane"),
        [(n, p, float(c[0]), float(c[1]), float(d), float(own), float(at)) for n, p, c, d, own, at in rows],
        "Networks",
        "networks",
    )
