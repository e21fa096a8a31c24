"""The register of figures: `landscape.plots` fills it, and a result looks its figure and its rows up in it.

Results stand below plots and do not import them. The register is filled by the module that `FILLED_BY` names,
which is loaded when the first figure is asked for.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from landscape.errors import InputError

if TYPE_CHECKING:
    import plotly.graph_objects as go

__all__ = ["figure_of", "register_figures", "rows_of"]

FILLED_BY = "landscape.plots.figures"

ROWS_FROM = "landscape.plots.points"

_FIGURES: dict[str, str] = {}


def register_figures(figures: Mapping[str, str]) -> None:
    """Say which function draws a kind of result.

    Parameters
    ----------
    figures : mapping of str to str
        Kind of result to ``"module:function"``; the function takes the result and returns a Plotly figure.
    """
    _FIGURES.update(figures)


def rows_of(result: Any) -> list[dict[str, Any]]:
    """Return a result as rows for another program, one per point (see `landscape.plots.points`)."""
    rows: list[dict[str, Any]] = importlib.import_module(ROWS_FROM).points_of(result)
    return rows


def figure_of(result: Any) -> go.Figure:
    """Return the figure of a result.

    Parameters
    ----------
    result : Result
        Its ``kind`` chooses the figure.

    Raises
    ------
    InputError
        If there is no figure for that kind.
    """
    importlib.import_module(FILLED_BY)
    kind = getattr(result, "kind", type(result).__name__)
    if kind not in _FIGURES:
        raise InputError(
            f"no figure for a result of kind {kind!r}", expected="one of " + ", ".join(sorted(_FIGURES))
        )
    module, _, function = _FIGURES[kind].partition(":")
    return getattr(importlib.import_module(module), function)(result)
