"""One look for every figure: colours that all can tell apart, always with a second channel.

The template is built anew and passed to each figure; nothing global is changed.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from landscape.plots.text import label

__all__ = [
    "COLORS",
    "DASHES",
    "FONT",
    "GREY",
    "INK",
    "MARKERS",
    "log_ticks",
    "numbers",
    "percent_ticks",
    "style",
    "swatch",
    "template",
    "tint",
    "wide_range",
]

# Okabe and Ito's palette, told apart with any kind of colour blindness and in print.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")
MARKERS = ("circle", "square", "diamond", "triangle-up", "x", "triangle-down")
INK = "#1f2328"
GREY = "#6b7280"
GRID = "#e7e9ec"
FONT = 'system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, "Liberation Sans", sans-serif'


def template() -> dict[str, Any]:
    """Return the Plotly template of this package."""
    axis = {
        "showline": True,
        "linecolor": "#9aa1ab",
        "linewidth": 1,
        "gridcolor": GRID,
        "gridwidth": 1,
        "zeroline": False,
        "ticks": "outside",
        "ticklen": 5,
        "tickcolor": "#9aa1ab",
        "tickfont": {"size": 13, "color": "#3b424c"},
        "title": {"font": {"size": 14, "color": INK}, "standoff": 10},
        "automargin": True,
        "exponentformat": "power",
    }
    return {
        "layout": {
            "colorway": list(COLORS),
            "font": {"family": FONT, "size": 14, "color": INK},
            "paper_bgcolor": "white",
            "plot_bgcolor": "white",
            "xaxis": axis,
            "yaxis": axis,
            "title": {
                "x": 0,
                "xref": "paper",
                "xanchor": "left",
                "y": 1,
                "yref": "container",
                "yanchor": "top",
                "pad": {"t": 16},
                "font": {"size": 18, "color": INK},
            },
            "margin": {"l": 64, "r": 20, "t": 80, "b": 56},  # above the plot: title, then legend
            "legend": {
                "orientation": "h",
                "x": 0,
                "xanchor": "left",
                "y": 1.02,
                "yanchor": "bottom",
                "font": {"size": 13},
                "title": {"font": {"size": 13, "color": GREY}},
            },
            "hoverlabel": {
                "bgcolor": "white",
                "bordercolor": "#c3c8cf",
                "font": {"family": FONT, "size": 13, "color": INK},
                "namelength": -1,
                "align": "left",
            },
            "hovermode": "closest",
            "colorscale": {"sequential": "Cividis", "sequentialminus": "Cividis"},
        }
    }


def style(
    fig: go.Figure,
    *,
    title: str | None = None,
    x: str | None = None,
    y: str | None = None,
    height: int = 440,
) -> go.Figure:
    """Give `fig` our template, an escaped title and axis names, and a height; the width follows the page.

    Parameters
    ----------
    fig : plotly Figure
        Changed in place.
    title, x, y : str, optional
        Plain text: tags and control characters in it are shown, not obeyed. The title as it came is
        kept in ``layout.meta["title"]``, where a page finds it.
    height : int
        In pixels.

    Returns
    -------
    plotly Figure
        `fig` itself.
    """
    fig.update_layout(template=template(), height=height, autosize=True)
    if title is not None:
        fig.update_layout(title_text=label(title), meta={"title": title})
    if x is not None:
        fig.update_xaxes(title_text=label(x))
    if y is not None:
        fig.update_yaxes(title_text=label(y))
    return fig


def swatch(position: int) -> dict[str, str]:
    """Return colour, dash and marker of the series at `position`.

    The dash and the marker go on where the colours begin again, so that 30 series differ.
    """
    shift = position + position // len(COLORS)
    return {
        "color": COLORS[position % len(COLORS)],
        "dash": DASHES[shift % len(DASHES)],
        "symbol": MARKERS[shift % len(MARKERS)],
    }


def tint(color: str, alpha: float) -> str:
    """Return ``#rrggbb`` with an opacity."""
    red, green, blue = (int(color[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},{alpha})"


def numbers(values: Any) -> list[float | None]:
    """Return a list of finite floats, with None for what is missing or not finite."""
    if values is None:
        return []
    array = np.asarray([math.nan if value is None else value for value in values], dtype=np.float64)
    return [float(value) if math.isfinite(value) else None for value in array]


def log_ticks(low: float, high: float, *, steps: Sequence[int] = (1, 2, 5)) -> list[float]:
    """Return round ticks (1, 2 and 5 times powers of ten) from `low` to `high`, both positive."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    ticks = [float(f"{step}e{decade}") for decade in decades for step in steps]
    return [tick for tick in ticks if low * (1 - 1e-9) <= tick <= high * (1 + 1e-9)]


def percent_ticks(low: float, high: float) -> dict[str, list[Any]]:
    """Return ticks of a log axis of percentages: round ones, and the smallest value itself."""
    ticks = [low, *(tick for tick in log_ticks(low, high * 1.1) if tick > 1.35 * low)]
    return {
        "tickvals": ticks,
        "ticktext": [f"{tick:.2g} %" if tick < 100 else f"{tick:g} %" for tick in ticks],
    }


def wide_range(values: Iterable[float | None], *, decades: float = 2.0) -> bool:
    """Return whether `values` are all positive and span more than so many powers of ten."""
    known = [value for value in values if value is not None]
    return bool(known) and min(known) > 0 and math.log10(max(known) / min(known)) > decades
