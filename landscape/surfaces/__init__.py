"""The landscape around and between networks: lines, planes, trajectories and their topology."""

from __future__ import annotations

from typing import TYPE_CHECKING

from landscape.lazy import lazy_names

if TYPE_CHECKING:
    from landscape.surfaces.cost import surface_cost as surface_cost
    from landscape.surfaces.slices import LossLine as LossLine, loss_line as loss_line
    from landscape.surfaces.surface import Surface as Surface, loss_surface as loss_surface
    from landscape.surfaces.topology import Topology as Topology, topology_of as topology_of
    from landscape.surfaces.trajectories import Trajectory as Trajectory, trajectory as trajectory

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "cost": ("surface_cost",),
        "slices": ("LossLine", "loss_line"),
        "surface": ("Surface", "loss_surface"),
        "topology": ("Topology", "topology_of"),
        "trajectories": ("Trajectory", "trajectory"),
    },
)
