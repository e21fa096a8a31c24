"""One look for every figure: colours that all can tell apart, always with a second channel.

The template is built anew and passed to each figure; nothing global is changed.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from landscape.plots.text import label

__all__ = [
    "BAR_BELOW",
    "COLORS",
    "DARK",
    "DASHES",
    "FONT",
    "GREY",
    "INK",
    "LIGHT",
    "MARKERS",
    "NETWORKS",
    "caption_of",
    "level_text",
    "level_ticks",
    "log_axis",
    "log_ticks",
    "numbers",
    "power_text",
    "style",
    "style_of",
    "swatch",
    "template",
    "tint",
    "wide_range",
    "without_title",
]

# Okabe and Ito's palette, told apart with any kind of colour blindness and in print.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")
MARKERS = ("circle", "square", "diamond", "triangle-up", "x", "triangle-down")
NETWORKS = "networks"  # how networks without a method are called
# The methods of the presets never share a colour; any other is placed by its name.
_METHODS = ("es-snr", "gd-magnitude", "es-random", "gd-snr", "gd-random", "es-magnitude")
# Those of control tasks, by the places of their colour, dash and marker: they stand beside evolution only.
_OF_CONTROL = {"ppo-magnitude": (1, 4, 3), "connected": (3, 2, 4)}
_MOST_LEVELS = 5  # ticks that a phone has room for
INK = "#1f2328"
GREY = "#6b7280"
GRID = "#e7e9ec"
# A colour bar below the plot, where it takes no width from the cells on a phone.
BAR_BELOW: dict[str, Any] = {
    "orientation": "h",
    "x": 0,
    "xanchor": "left",
    "y": 0,
    "yanchor": "top",
    "ypad": 12,
    "len": 1,
    "thickness": 12,
    "outlinewidth": 0,
}
LIGHT = "#fdfdfd"  # of lines and marks over a colour scale, which a dark page leaves as it is
# What each colour becomes on a dark page. Figures keep the light ones; a page's script exchanges them.
DARK = {
    "#0072B2": "#4aa8e0",
    "#D55E00": "#f08a45",
    "#009E73": "#35c49a",
    "#CC79A7": "#dd97bd",
    "#E69F00": "#f0b23c",
    "#56B4E9": "#86cdf5",
    INK: "#e4e7eb",
    GREY: "#9aa4b2",
    GRID: "#2b3138",
    "#3b424c": "#c3cad3",
    "#9aa1ab": "#59626e",
    "#c3c8cf": "#59626e",
    "#ffffff": "#15181c",
    "white": "#15181c",
}
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
                "maxheight": 1,  # whole: a legend never scrolls on its own
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
    caption: str | None = None,
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
    caption : str, optional
        What its lines, bands and marks are, in the markup of `Page.text` and in words that hold when panels
        are stacked. It is kept in ``layout.meta["caption"]``, where a page finds it.

    Returns
    -------
    plotly Figure
        `fig` itself.
    """
    fig.layout.template = template()  # an update would keep what plotly's own template says beside it
    fig.update_layout(height=height, autosize=True)
    said = {**(fig.layout.meta or {}), **({} if title is None else {"title": title})}
    fig.update_layout(meta={**said, **({} if caption is None else {"caption": caption})} or None)
    if title is not None:
        fig.update_layout(title_text=label(title))
    if x is not None:
        fig.update_xaxes(title_text=label(x))
    if y is not None:
        fig.update_yaxes(title_text=label(y))
    return fig


def caption_of(fig: go.Figure) -> str:
    """Return the caption that `style` gave a figure."""
    meta = fig.layout.meta
    return str(meta.get("caption") or "") if isinstance(meta, dict) else ""


def without_title(layout: dict[str, Any]) -> dict[str, Any]:
    """Return a layout whose title has gone to the page, with the room above the plot given back."""
    margin = {**layout.get("margin", {}), "t": 24}
    return {**{key: value for key, value in layout.items() if key != "title"}, "margin": margin}


def style_of(method: str) -> dict[str, str]:
    """Return colour, dash and marker of a method: by its name, the same in every figure and on every page.

    The methods of the presets have the six colours; others share them and differ in dash or marker.
    """
    if method == NETWORKS:
        return swatch(0)
    if method in _METHODS:
        return swatch(_METHODS.index(method))
    if method in _OF_CONTROL:
        color, dash, symbol = _OF_CONTROL[method]
        return {"color": COLORS[color], "dash": DASHES[dash], "symbol": MARKERS[symbol]}
    name = method.encode("utf-8", "backslashreplace")
    place = int.from_bytes(hashlib.blake2b(name, digest_size=4).digest())
    color = place % 6  # with this colour, a method of the presets has the dash and the marker of its number
    return {
        "color": COLORS[color],
        "dash": DASHES[(color + 1 + place // 6 % 5) % 6],
        "symbol": MARKERS[(color + 1 + place // 30 % 5) % 6],
    }


def swatch(position: int) -> dict[str, str]:
    """Return colour, dash and marker of the series at `position`, where series are not methods.

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


def log_axis(low: float, high: float, *, pad: float = 1.2, most: int = 8) -> dict[str, Any]:
    """Return type, range and ticks of a log axis: decades, or 1-2-5 where there are fewer than two.

    Parameters
    ----------
    low, high : float
        Positive ends of what is drawn.
    pad : float
        Factor of the room beyond both ends.
    most : int
        Decades that are named at the most; of more, every second or third one is.
    """
    low, high = low / pad, high * pad
    ticks = log_ticks(low, high, steps=(1,))
    ticks = ticks[:: max(1, -(-len(ticks) // most))]
    for steps in ((1, 2, 5), range(1, 10)):
        if len(ticks) < 2:
            ticks = log_ticks(low, high, steps=steps)
    return {
        "type": "log",
        "range": [math.log10(low), math.log10(high)],
        "tickvals": ticks,
        "ticktext": [power_text(tick) for tick in ticks],
    }


def power_text(value: float) -> str:
    """Return a tick of a log axis: plain where it is short, else as a power of ten."""
    if 1e-4 <= value < 1e5:
        return f"{value:.10f}".rstrip("0").rstrip(".")
    power = math.floor(math.log10(value) + 1e-9)
    factor = round(value / 10.0**power)
    return f"{'' if factor == 1 else f'{factor}·'}10<sup>{'−' if power < 0 else ''}{abs(power)}</sup>"


def level_text(percent: float) -> str:
    """Return a level as a percentage: 12.5 %, not 12 %."""
    short = f"{percent:.4g}"
    return f"{short if math.isclose(float(short), percent, rel_tol=1e-9) else f'{percent:.3g}'} %"


def level_ticks(percents: Iterable[float]) -> dict[str, list[Any]]:
    """Return ticks of a log axis of levels: levels themselves, the densest and the sparsest always."""
    levels = sorted({float(f"{percent:.9g}") for percent in percents}, reverse=True)
    if not levels:
        return {"tickvals": [], "ticktext": []}
    least = math.log(levels[0] / levels[-1]) / _MOST_LEVELS * (1 - 1e-9)
    kept = levels[:1]
    for level in levels[1:-1]:
        if math.log(kept[-1] / level) >= least <= math.log(level / levels[-1]):
            kept.append(level)
    kept += levels[-1:] if len(levels) > 1 else []
    return {"tickvals": kept, "ticktext": [level_text(level) for level in kept]}


def wide_range(values: Iterable[float | None], *, decades: float = 2.0) -> bool:
    """Return whether `values` are all positive and span more than a number of powers of ten."""
    known = [value for value in values if value is not None]
    return bool(known) and min(known) > 0 and math.log10(max(known) / min(known)) > decades
