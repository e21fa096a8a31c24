"""What a barrier or a matrix says of an alignment before it: the fields, and the printed lines."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from landscape.results import (
    Items,
    Maybe,
    Numbers,
    Record,
    Table,
    Text,
    count,
    format_value,
    interval,
    means_by_split,
)

__all__ = ["ALIGNED_MATRIX", "ALIGNED_PATH", "ALIGN_METHODS", "median_text", "moved_rows"]

ALIGN_METHODS = ("weights", "activations", "barrier")

_HOW: dict[str, Any] = {
    "method": Text(ALIGN_METHODS),
    "symmetry": Items(Text()),
    "units": Table(count(least=1)),
}
ALIGNED_PATH = Maybe(
    Record(
        {
            **_HOW,
            "rescaled": Table(count()),
            "moved": Table(Numbers(finite=True, least=0, most=1)),
            "before": Record(
                {
                    "losses": means_by_split(Numbers("T")),
                    "barrier_above_chord": Maybe(Numbers(finite=True)),
                    "barrier_above_mean": Maybe(Numbers(finite=True)),
                    "interval_above_chord": interval(),
                    "interval_above_mean": interval(),
                }
            ),
        }
    )
)
ALIGNED_MATRIX = Maybe(
    Record(
        {
            **_HOW,
            "moved": Table(Numbers("n", finite=True, least=0, most=1)),
            "before": Record(
                {
                    "losses": means_by_split(Numbers("P", "T")),
                    "barriers": Table(Table(Table(Numbers("P")))),
                    "intervals": Table(Numbers("P", 2, ordered=True)),
                    "alpha_max": Table(Numbers("P", least=0, most=1)),
                    "distances": Numbers("P", least=0),
                }
            ),
        }
    )
)


def moved_rows(aligned: Mapping[str, Any], before: str) -> list[tuple[str, str]]:
    """Return the printed lines of what an alignment did: how, the moved units by layer, what was before."""
    classes = ", ".join(aligned["symmetry"])
    rows = [("aligned by", f"{aligned['method']} ({classes})")]
    for name, share in aligned["moved"].items():
        units = int(aligned["units"][name])
        shares = np.atleast_1d(share)
        if np.ndim(share):
            low, high = (format_value(round(float(s) * units)) for s in (shares[1:].min(), shares[1:].max()))
            text = f"{low} to {high} of {units} units per network"
        else:
            text = f"{round(float(share) * units)} of {units} units"
        rows.append((f"moved, {name}", text))
    return [*rows, ("before alignment", before)]


def median_text(heights: np.ndarray) -> str:
    """Return the median of the barriers that are finite, in words."""
    known = heights[np.isfinite(heights)]
    return f"median {format_value(float(np.median(known)))} above chord" if len(known) else "not available"
