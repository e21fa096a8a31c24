"""The figure of rank correlations between measures of flatness."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import plotly.graph_objects as go

from landscape.plots.flatness.values import first_space
from landscape.plots.series import in_brackets
from landscape.plots.text import label, wrapped_label
from landscape.plots.theme import BAR_BELOW, COLORS, GREY, INK, style, tint

__all__ = ["correlation_figure"]

_CAPTION = (
    "Orange: two measures order the networks alike; blue: the other way round. Columns are numbered like "
    "the rows."
)
_MOST_NUMBERS = 12  # columns that are all numbered


def correlation_figure(result: Any, *, space: str | None = None) -> go.Figure | None:
    """Return Kendall's rank correlations of measures, norm and gap as a matrix, blue to orange."""
    space = space or (first_space(result) if len(result.networks) else None)
    pairs = [c for c in result.correlations if c["space"] == space and c["tau"] is not None]
    if not pairs:
        return None
    names = list(dict.fromkeys([name for pair in pairs for name in (pair["a"], pair["b"])]))
    known = {(pair["a"], pair["b"]): pair for pair in pairs}
    values: list[list[float | None]] = []
    texts = []
    for a in names:
        row = [known.get((a, b)) or known.get((b, a)) for b in names]
        values.append([None if cell is None else float(cell["tau"]) for cell in row])
        texts.append([_pair_text(a, b, cell) for b, cell in zip(names, row, strict=True)])
    shown = [wrapped_label(_short(name), 18) for name in names]
    height = 190 + 30 * len(names)
    fig = style(go.Figure(), title="Rank correlations (Kendall's τ)", height=height, caption=_CAPTION)
    fig.add_heatmap(
        z=values,
        x=list(range(len(names))),
        y=list(range(len(names))),
        zmin=-1,
        zmax=1,
        colorscale=[[0, COLORS[0]], [0.5, "#ffffff"], [1, COLORS[1]]],
        text=texts,
        hovertemplate="%{text}<extra></extra>",
        colorbar=BAR_BELOW,
        xgap=1,
        ygap=1,
    )
    places = list(range(len(names)))
    step = 1 if len(names) <= _MOST_NUMBERS else 5  # a phone has no room for all
    numbered = [i for i in places if (i + 1) % step == 0]
    fig.update_xaxes(
        tickvals=numbered,
        ticktext=[str(i + 1) for i in numbered],
        tickangle=0,
        side="top",
        showgrid=False,
    )
    fig.update_yaxes(
        tickvals=places,
        ticktext=[f"{text} {i + 1}" for i, text in enumerate(shown)],
        autorange="reversed",
        showgrid=False,
        ticks="",
        tickfont={"size": 11.5, "color": INK},
    )
    fig.update_layout(plot_bgcolor=tint(GREY, 0.08))
    return fig


def _short(name: str) -> str:
    return {"gap": "generalisation gap", "parameter_norm": "parameter norm"}.get(name, name.replace("_", " "))


def _pair_text(a: str, b: str, pair: Mapping[str, Any] | None) -> str:
    head = f"<b>{label(_short(a))}</b> and <b>{label(_short(b))}</b>"
    if pair is None:
        return head if a != b else f"<b>{label(_short(a))}</b>"
    ends = in_brackets(pair.get("interval"))
    return f"{head}<br>τ = {pair['tau']:.4g}{ends}<br>{pair['networks']} networks of {pair['runs']} runs"
