"""Barriers between many networks: the matrix, the path of a pair, distances and levels."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import plotly.graph_objects as go

from landscape.plots.names import short_names
from landscape.plots.page import Page
from landscape.plots.series import in_brackets
from landscape.plots.text import label
from landscape.plots.theme import BAR_BELOW, COLORS, LIGHT, numbers, style, swatch
from landscape.plots.tickets.barriers import barrier_levels_figure

__all__ = ["above_chord", "add_matrix", "distance_figure", "levels_of", "matrix_figure", "paths_figure"]

CHORD = "above_chord"
LEVELS = "levels"
_TOP = 12  # pairs in the table of the page; its CSV has all
_NAMED = 60  # networks that are named along an axis
_LARGE = 12  # networks whose names have room for larger letters
_NUMBERED = 8  # columns that are numbered, about
_MATRIX = (
    "Each cell is the barrier above the chord between two networks; white cells were not measured. "
    "Columns stand in the order of the rows. "
    "Networks stand in the order of a dendrogram (average linkage) where every pair was measured. On the "
    "page a click on a cell shows its path in the next figure."
)
_BAR = {**BAR_BELOW, "title": {"text": "barrier", "side": "top", "font": {"size": 13}}}
_PATHS = "The loss along the straight path of one pair: at first the pair with the largest barrier."
_DISTANCE = (
    "Each marker is a pair, with the interval of its barrier over the examples; colours and shapes are how "
    "the two networks are related."
)


def matrix_figure(found: Any) -> go.Figure:
    """Return the heat map of barriers in the order of their dendrogram.

    Parameters
    ----------
    found : BarrierMatrix
        Only its fields are read.
    """
    order = list(found.order())
    names = [label(name) for name in short_names(found.names)]
    values = np.asarray(found.matrix(), np.float64)[np.ix_(order, order)]
    places, texts = _cells(found, order)
    count = len(order)
    fig = style(
        go.Figure(),
        title=f"Barriers between {count} networks, {found.split}",
        height=min(1100, 190 + 22 * count),
        caption=_MATRIX,
    )
    finite = values[np.isfinite(values)]
    low, high = min(0.0, float(finite.min())), (float(finite.max()) if finite.max() > 0 else 1.0)
    fig.add_heatmap(
        z=[numbers(row) for row in values],
        x=list(range(count)),
        y=list(range(count)),
        zmin=low,
        zmax=high,
        colorscale="Cividis",
        colorbar={**_BAR, **_ticks(low, high)},
        customdata=places,
        text=texts,
        hovertemplate="%{text}<extra></extra>",
        hoverongaps=False,
    )
    columns = list(range(0, count, -(-count // _NUMBERED)))
    texts_of_columns = [str(i + 1) for i in columns]
    fig.update_xaxes(tickvals=columns, ticktext=texts_of_columns, tickangle=0, side="top", showgrid=False)
    rows = [f"{names[at]} {i}" for i, at in enumerate(order, 1)] if count <= _NAMED else []
    fig.update_yaxes(
        tickvals=list(range(len(rows))),
        ticktext=rows,
        tickfont={"size": 13 if count <= _LARGE else 11},
        ticks="",
        showgrid=False,
        autorange="reversed",
    )
    fig.update_layout(meta={**(fig.layout.meta or {}), "click": "next"}, margin_t=56)
    fig.update_layout(plot_bgcolor=LIGHT)  # on a dark page too: the lowest colour is dark
    return fig


def above_chord(barriers: Mapping[str, Any], split: str) -> np.ndarray:
    """Return the barriers of the pairs above the chord of their losses."""
    return np.asarray(barriers[split]["loss"][CHORD], np.float64)


def _ticks(low: float, high: float) -> dict[str, Any]:
    """Return the marks of the colour bar: zero, the ends, and the middle."""
    marks = sorted({low, 0.0, high / 2, high})
    return {"tickvals": marks, "ticktext": [f"{mark:.3g}" for mark in marks]}


def _cells(found: Any, order: list[int]) -> tuple[list[list[int | None]], list[list[str]]]:
    """Return for each cell the number of its pair, and what is said of it."""
    numbered = {frozenset(map(int, pair)): i for i, pair in enumerate(found.pairs)}
    names = [label(name) for name in short_names(found.names)]
    said = [_said(found, i, names) for i in range(len(found.pairs))]
    places, texts = [], []
    for row in order:
        line = [numbered.get(frozenset((row, column))) if row != column else None for column in order]
        places.append(line)
        texts.append(
            [
                names[row] if row == column else ("not measured" if at is None else said[at])
                for at, column in zip(line, order, strict=True)
            ]
        )
    return places, texts


def _said(found: Any, number: int, names: list[str]) -> str:
    first, second = found.pairs[number]
    value = float(found.barriers[found.split]["loss"][CHORD][number])
    barrier = f"barrier {value:.4g}" if math.isfinite(value) else "barrier not available"
    ends = in_brackets(found.intervals[CHORD][number])
    distance = f"distance {float(found.distances[number]):.4g}"
    return f"{names[first]} and {names[second]}<br>{barrier}{ends}<br>{distance}"


def paths_figure(found: Any) -> go.Figure:
    """Return the loss along the path of every pair, of which one is shown: that of the largest barrier.

    Parameters
    ----------
    found : BarrierMatrix
        Only its fields are read.
    """
    names = [label(name) for name in short_names(found.names)]
    values = above_chord(found.barriers, found.split)
    largest = int(np.nanargmax(values)) if np.isfinite(values).any() else 0
    fig = style(
        go.Figure(),
        title="Loss along the path of a pair",
        x="position on the path, α",
        y=f"loss, {found.split}",
        caption=_PATHS,
    )
    alphas = [float(alpha) for alpha in found.alphas]
    for number, (first, second) in enumerate(found.pairs):
        fig.add_scatter(
            x=alphas,
            y=numbers(found.losses[found.split]["loss"][number]),
            mode="lines+markers",
            name=f"{names[first]} → {names[second]}",
            visible=number == largest,
            showlegend=True,
            line={"color": COLORS[0], "width": 2.2},
            marker={"size": 5},
            hovertemplate="loss %{y:.4~g}<br>α = %{x:.3~g}<extra></extra>",
        )
    return fig


def distance_figure(found: Any) -> go.Figure:
    """Return the barrier of each pair against the distance of its networks, by relation.

    Parameters
    ----------
    found : BarrierMatrix
        Only its fields are read.
    """
    fig = style(
        go.Figure(),
        title="Barrier against distance",
        x="distance in parameter space",
        y="barrier (loss above the chord)",
        caption=_DISTANCE,
    )
    names = [label(name) for name in short_names(found.names)]
    values = above_chord(found.barriers, found.split)
    ends = np.asarray(found.intervals[CHORD], np.float64)
    for position, relation in enumerate(dict.fromkeys(found.relations)):
        places = [i for i, name in enumerate(found.relations) if name == relation]
        look = swatch(position)
        fig.add_scatter(
            x=[float(found.distances[i]) for i in places],
            y=numbers(values[places]),
            error_y={
                "type": "data",
                "symmetric": False,
                "array": numbers(ends[places, 1] - values[places]),
                "arrayminus": numbers(values[places] - ends[places, 0]),
                "thickness": 1,
                "width": 2,
            },
            mode="markers",
            name=label(relation),
            marker={"color": look["color"], "symbol": look["symbol"], "size": 8},
            text=[_said(found, i, names) for i in places],
            hovertemplate="%{text}<extra></extra>",
        )
    return fig


def levels_of(found: Any) -> list[dict[str, Any]]:
    """Return the barriers between successive levels by method, a row per seed.

    Empty where no pair is one of successive levels with known densities.
    """
    rows: dict[str, dict[tuple[Any, Any], dict[float, int]]] = {}
    for number, ((first, second), relation) in enumerate(zip(found.pairs, found.relations, strict=True)):
        known: list[Mapping[str, Any]] = [found.records[first], found.records[second]]
        densities = [float(one["density"]) for one in known if one["density"] is not None]
        if relation == LEVELS and densities:
            seeds = rows.setdefault(str(known[0]["method"]), {})
            seeds.setdefault((known[0]["init"], known[0]["seed"]), {})[min(densities)] = number
    values = above_chord(found.barriers, found.split)
    ends = np.asarray(found.intervals[CHORD], np.float64)
    series = []
    for method, seeds in rows.items():
        densities = sorted({density for row in seeds.values() for density in row}, reverse=True)
        at = [[row.get(density) for density in densities] for row in seeds.values()]
        heights = [[None if i is None else float(values[i]) for i in row] for row in at]
        pairs = [[None if i is None else ends[i].tolist() for i in row] for row in at]
        series.append({"name": method, "densities": densities, "values": heights, "intervals": pairs})
    return series


def add_matrix(page: Page, found: Any) -> None:
    """Add the heat map, the path of a pair, barriers against distance and weights remaining, and pairs."""
    page.figure(matrix_figure(found), "", "matrix")
    page.figure(paths_figure(found), "", "paths")
    page.figure(distance_figure(found), "", "distance")
    if series := levels_of(found):
        page.figure(barrier_levels_figure(series), "Each seed is one run.", "levels")
    page.table(("quantity", "value"), found.printed(), "Numbers", "numbers")
    headers, rows = found.table()
    page.table(
        ("pair", "relation", "distance", "barrier", "95 % interval"),
        _largest(found),
        "Pairs with the largest barriers",
        "largest",
    )
    page.text(f"Every pair, split, metric and definition, in {len(rows):,} rows:").data(
        headers, rows, "pairs"
    )


def _largest(found: Any) -> list[tuple[object, ...]]:
    names = short_names(found.names)
    values = above_chord(found.barriers, found.split)
    order = sorted(range(len(values)), key=lambda i: -values[i] if math.isfinite(values[i]) else math.inf)
    rows: list[tuple[object, ...]] = []
    for i in order[:_TOP]:
        first, second = found.pairs[i]
        ends = np.asarray(found.intervals[CHORD][i], np.float64)
        interval = ends.tolist() if np.isfinite(ends).all() else None
        value = float(values[i]) if math.isfinite(values[i]) else None
        pair = f"{names[first]} → {names[second]}"
        rows.append((pair, found.relations[i], float(found.distances[i]), value, interval))
    return rows
