"""What a line, a plane and a trajectory add to a page."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from landscape.plots.page import Page
from landscape.plots.surfaces.lines import FEW, line_figure, spread_figure
from landscape.plots.surfaces.persistence import persistence_figure
from landscape.plots.surfaces.planes import contour_figure, surface_figure
from landscape.plots.surfaces.trajectories import hidden_figure, trajectory_figure

__all__ = ["add_line", "add_surface", "add_trajectory"]


# What each figure shows, in words that hold wherever it stands.
_PLANE = (
    "Colours and contour lines are the loss; ★ is the network at the origin, ● are others in the plane, "
    "with their own losses on hover. White circles and crosses are further minima of the sampled "
    "surface and the saddles that part them from deeper ones. Slanted marks, if any, are points at "
    "which the sampling error of the examples exceeds the spacing of the contours."
)
_RANDOM = (
    " A random plane is one draw out of very many dimensions: a shape that the other planes do not have "
    "is no property of the network."
)
_PERSISTENCE = (
    "Each point is a minimum of the sampled surface: how low it is, and how high the loss must rise to "
    "leave its basin for a deeper one. Points near the dashed line have no depth. ★ is the lowest "
    "minimum, which nothing ends."
)
_BAND_RANGE = "Bands are the lowest to the highest line."
_BAND_ERROR = "Bands are ±1.96 standard errors of the difference from the origin, over the examples."
_PATHS = (
    "Colours are the loss of the plane, lines are the paths. The larger a marker, the farther its "
    "network lies from the plane: contours around a large marker say little about that network."
)
_HIDDEN = (
    "Full lines are the networks' own losses, dotted lines the losses of their projections onto the plane."
)


def add_surface(page: Page, result: Any) -> None:
    """Add contours, the spread over planes, the persistence diagram and the numbers of a plane."""
    caption = _PLANE + (_RANDOM if result.directions == "random" else "")
    page.figure(contour_figure(result), caption, "plane")
    if result.config.get("view") == "3d":
        page.figure(surface_figure(result), "The same plane in three dimensions.", "plane-3d")
    if result.planes is not None:
        page.figure(
            spread_figure(result),
            "Each line is one random plane: the mean loss of the grid points at about that distance.",
            "planes",
        )
    page.figure(persistence_figure(result), _PERSISTENCE, "persistence")
    page.table(("quantity", "value"), result.rows(), "Numbers", "numbers")
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
    bands = _BAND_RANGE if len(result.direction_names) > FEW else _BAND_ERROR
    page.figure(line_figure(result), f"★ is the network at the origin. {bands}", "lines")
    page.table(("quantity", "value"), result.rows(), "Numbers", "numbers")
    page.table(
        ("direction", "length of one unit"),
        list(zip(result.direction_names, np.asarray(result.lengths).tolist(), strict=True)),
        "Directions",
        "directions",
    )


def add_trajectory(page: Page, result: Any) -> None:
    """Add the paths on their plane, what the projection hides, and the numbers."""
    page.figure(trajectory_figure(result), _PATHS, "trajectory")
    page.figure(hidden_figure(result), _HIDDEN, "hidden")
    page.table(("quantity", "value"), result.rows(), "Numbers", "numbers")
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
