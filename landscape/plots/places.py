"""Where networks stand on the horizontal axis of a figure of several."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go

from landscape.plots.names import short_names
from landscape.plots.series import remaining_axis
from landscape.plots.text import label
from landscape.plots.theme import NETWORKS

_MOST_NAMES = 12  # networks whose names stand under an axis
_DODGE = 1.02  # between methods at the same density, so that their bars can be told apart

Record = Mapping[str, Any]


def by_method(records: Sequence[Record]) -> dict[str, list[int]]:
    """Return the positions of the networks of each method."""
    groups: dict[str, list[int]] = {}
    for position, record in enumerate(records):
        groups.setdefault(str(record.get("method") or NETWORKS), []).append(position)
    return groups


@dataclasses.dataclass(frozen=True)
class Places:
    """Where each network stands on the horizontal axis."""

    records: Sequence[Record]

    @property
    def densities(self) -> list[float]:
        """Densities of the networks that have one."""
        return [float(record["density"]) for record in self.records if record.get("density")]

    @property
    def names(self) -> list[str]:
        """Short names of the networks."""
        return short_names([record["name"] for record in self.records])

    @property
    def spread(self) -> bool:
        """Whether all networks have a density, and not one and the same."""
        found = self.densities
        return len(found) == len(self.records) and max(found) > min(found) * (1 + 1e-9)

    def at(self, position: int) -> float:
        """Return the place of a network: per cent of weights remaining, or its number."""
        return 100 * float(self.records[position]["density"]) if self.spread else position + 1.0

    def drawn_at(self, position: int) -> float:
        """Return where a network is drawn: beside those of other methods with the same density."""
        methods = list(by_method(self.records))
        own = str(self.records[position].get("method") or NETWORKS)
        shift = methods.index(own) - (len(methods) - 1) / 2
        return self.at(position) * (_DODGE**shift if self.spread else 1)

    def axis(self, fig: go.Figure, row: int, *, title: bool) -> None:
        """Set up the axis of a row of panels."""
        where = {"row": row, "col": 1}
        if self.spread:
            remaining_axis(fig, self.densities, **where)
        else:
            names = [label(name) for name in self.names]
            ticks = {"tickvals": list(range(1, len(names) + 1)), "ticktext": names}
            fig.update_xaxes(title_text="network", **(ticks if len(names) <= _MOST_NAMES else {}), **where)
            fig.update_xaxes(range=[0.5, len(names) + 0.5], **where)
        if not title:
            fig.update_xaxes(title_text=None, **where)
