"""The figure of perturbation curves: rise of the loss against the radius, on two log axes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go

from landscape._stats import mean_interval
from landscape.flatness.catalogue import title_of
from landscape.plots._series import FEW_SEEDS
from landscape.plots._text import label, shorten, wrapped_label
from landscape.plots.theme import log_ticks, numbers, style, swatch, tint

__all__ = ["curve_figure"]

_LEAST_RISE = 1e-9  # of the highest one: smaller rises are rounding
_FEW_DRAWS = 2.0  # multiple of the standard error where the number of draws is not known
_MOST_TICKS = 9

Curve = Mapping[str, Any]
Key = tuple[str, Any]
Point = tuple[float | None, float | None, float | None]


def curve_figure(result: Any, measure: str, *, space: str | None = None) -> go.Figure | None:
    """Return the rise of the loss against the radius: the densest and sparsest networks of each method.

    A single network has Student's 95 % interval over draws as a band, a mean over five runs or more that
    over runs; of fewer runs each is a marker. Rises too small for the axis, and those that are not
    positive, are open markers on its floor.

    Parameters
    ----------
    result : Flatness
        Only its fields are read.
    measure : str
        Which one.
    space : str, optional
        By default the first that was measured.

    Returns
    -------
    Figure or None
        None where the measure has no curve.
    """
    curves = [curve for curve in result.curves if curve["measure"] == measure]
    space = space or (str(curves[0]["space"]) if curves else None)
    curves = [curve for curve in curves if curve["space"] == space]
    if not curves:
        return None
    fig = style(go.Figure(), title=f"Rise of the loss: {title_of(measure)}")
    units = str(curves[0].get("units") or "radius")
    groups = _ends_of_methods(_groups(curves))
    factor = _critical(result, measure)
    summaries = {key: _summary(members, factor) for key, members in groups.items()}
    floor, top = _range(curves)
    methods = list(dict.fromkeys(method for method, _ in groups))
    for i, (key, members) in enumerate(groups.items()):
        # Colour is the method; dash and marker tell its levels apart.
        first = next(j for j, other in enumerate(groups) if other[0] == key[0])
        look = {**swatch(i - first), "color": swatch(methods.index(key[0]))["color"]}
        _draw(fig, _name(key, members), members, points=summaries[key], look=look, floor=floor)
    floored = any(mean is not None and mean < floor for points in summaries.values() for mean, *_ in points)
    fig.update_xaxes(title_text=wrapped_label(units, 38), **_radii_axis(curves))
    fig.update_yaxes(**_axis(floor, top, floored=floored))
    fig.update_layout(height=400)
    return fig


def _groups(curves: Sequence[Curve]) -> dict[Key, list[Curve]]:
    """Return the runs of each method and density, or level where densities are not known; dense first."""

    def place(curve: Curve) -> Any:
        density = curve.get("density")
        return curve.get("level") if density is None else float(f"{float(density):.9g}")

    groups: dict[Key, list[Curve]] = {}
    for curve in curves:
        groups.setdefault((str(curve.get("method") or curve["name"]), place(curve)), []).append(curve)
    methods = list(dict.fromkeys(method for method, _ in groups))

    def order(key: Key) -> tuple[int, float]:
        known = groups[key][0].get("density") is not None
        return methods.index(key[0]), (-1.0 if known else 1.0) * float(key[1] or 0)

    return {key: groups[key] for key in sorted(groups, key=order)}


def _ends_of_methods(groups: Mapping[Key, list[Curve]]) -> dict[Key, list[Curve]]:
    """Return the densest and sparsest networks of each method, or all where there are few."""
    if len(groups) <= 4:
        return dict(groups)
    kept: dict[Key, list[Curve]] = {}
    for method in dict.fromkeys(method for method, _ in groups):
        own = [key for key in groups if key[0] == method]
        kept |= {key: groups[key] for key in (own[0], own[-1])}
    return kept


def _name(key: Key, members: Sequence[Curve]) -> str:
    method, place = key
    density = members[0].get("density")
    if density is not None:
        return f"{method}, {100 * float(density):.3g} %"
    return method if place is None else f"{method}, level {place}"


def _critical(result: Any, measure: str) -> float:
    """Return Student's multiple of a standard error over the draws of a measure."""
    details = [r.get("details") or {} for r in result.records if r["measure"] == measure]
    draws = next((int(found["draws"]) for found in details if found.get("draws")), 0)
    if draws < 2:
        return _FEW_DRAWS
    from scipy.special import stdtrit

    return float(stdtrit(draws - 1, 0.975))


def _summary(members: Sequence[Curve], factor: float) -> list[Point]:
    """Return mean and interval at each radius; a rise that is not finite in one run has no mean."""
    rows = [numbers(member["loss_rise"]) for member in members]
    if len(rows) == 1:
        errors = numbers(members[0]["loss_rise_error"])
        return [
            (rise, None, None) if rise is None or error is None else _around(rise, factor * error)
            for rise, error in zip(rows[0], errors, strict=True)
        ]
    points: list[Point] = []
    for column in zip(*rows, strict=True):
        known = [value for value in column if value is not None]
        if len(known) < len(column):
            points.append((None, None, None))
            continue
        interval = mean_interval(known) if len(known) >= FEW_SEEDS else None
        points.append((math.fsum(known) / len(known), *(interval or (None, None))))
    return points


def _around(value: float, half: float) -> Point:
    return value, value - half, value + half


def _range(curves: Sequence[Curve]) -> tuple[float, float]:
    """Return the power of ten under the smallest rise that is none of rounding, and the highest rise."""
    rises = [value for curve in curves for value in numbers(curve["loss_rise"]) if value is not None]
    top = max(rises, default=1.0)
    if top <= 0:
        return 1e-12, 1.0
    least = min(value for value in rises if value > _LEAST_RISE * top)
    return 10.0 ** math.floor(math.log10(least)), top


def _radii_axis(curves: Sequence[Curve]) -> dict[str, Any]:
    radii = [x for curve in curves for x in numbers(curve["radii"]) if x is not None and x > 0] or [1.0]
    steps = (1, 2, 5) if max(radii) < 100 * min(radii) else (1,)
    ticks = log_ticks(min(radii) / 1.2, max(radii) * 1.2, steps=steps)
    return {"type": "log", "tickvals": ticks, "ticktext": [f"{tick:g}" for tick in ticks]}


def _axis(floor: float, top: float, *, floored: bool) -> dict[str, Any]:
    """Return the settings of a log axis of powers of ten whose lowest says what lies on it."""
    ticks = log_ticks(floor, max(top * 2, floor * 10), steps=(1,))
    ticks = ticks[:: -(-len(ticks) // _MOST_TICKS)]
    names = [f"{tick:g}" for tick in ticks]
    return {
        "type": "log",
        "range": [math.log10(floor / 1.5), math.log10(max(top * 2, floor * 10))],
        "tickvals": ticks,
        "ticktext": [f"≤ {names[0]}", *names[1:]] if floored else names,
    }


def _draw(
    fig: go.Figure,
    name: str,
    members: Sequence[Curve],
    *,
    points: Sequence[Point],
    look: Mapping[str, str],
    floor: float,
) -> None:
    radii = numbers(members[0]["radii"])
    shared: dict[str, Any] = {"legendgroup": name}
    known = [(x, *point) for x, point in zip(radii, points, strict=True) if point[0] is not None]
    band = [(x, low, high) for x, _, low, high in known if low is not None and high is not None]
    if band:
        fig.add_scatter(
            x=[x for x, *_ in band] + [x for x, *_ in band[::-1]],
            y=[max(high, floor) for *_, high in band] + [max(low, floor) for _, low, _ in band[::-1]],
            mode="lines",
            fill="toself",
            fillcolor=tint(look["color"], 0.14),
            line={"width": 0},
            showlegend=False,
            hoverinfo="skip",
            name=f"{label(shorten(name, 40))}, 95 % interval",
            **shared,
        )
    if 1 < len(members) < FEW_SEEDS:
        _draw_runs(fig, name, members, look=look, floor=floor)
    _draw_mean(fig, name, known, runs=len(members), look=look, floor=floor)


def _draw_runs(
    fig: go.Figure, name: str, members: Sequence[Curve], *, look: Mapping[str, str], floor: float
) -> None:
    """Draw each run as faint open markers."""
    for number, member in enumerate(members, start=1):
        rises = numbers(member["loss_rise"])
        text = f"{label(name)}, run {number}"
        fig.add_scatter(
            x=numbers(member["radii"]),
            y=[None if rise is None else max(rise, floor) for rise in rises],
            mode="markers",
            name=text,
            legendgroup=name,
            showlegend=False,
            marker={"symbol": f"{look['symbol']}-open", "size": 6, "color": tint(look["color"], 0.55)},
            customdata=[[rise] for rise in rises],
            hovertemplate=f"{text}<br>rise %{{customdata[0]:.4~g}} at %{{x:.4~g}}<extra></extra>",
        )


def _draw_mean(
    fig: go.Figure,
    name: str,
    known: Sequence[tuple[Any, ...]],
    *,
    runs: int,
    look: Mapping[str, str],
    floor: float,
) -> None:
    means = [mean for _, mean, *_ in known]
    intervals = any(low is not None for *_, low, _ in known)
    interval = "<br>95 % interval %{customdata[1]:.4~g} to %{customdata[2]:.4~g}" if intervals else ""
    several = f", mean of {runs} runs" if runs > 1 else ""
    fig.add_scatter(
        x=[x for x, *_ in known],
        y=[max(mean, floor) for mean in means],
        mode="lines+markers",
        name=label(shorten(name, 40)),
        legendgroup=name,
        line={"color": look["color"], "dash": look["dash"], "width": 2},
        marker={
            "symbol": [f"{look['symbol']}-open" if mean < floor else look["symbol"] for mean in means],
            "size": 7,
            "color": look["color"],
        },
        customdata=[[mean, low, high] for _, mean, low, high in known],
        hovertemplate=f"{label(name)}{several}<br>rise %{{customdata[0]:.4~g}} at %{{x:.4~g}}{interval}"
        "<extra></extra>",
    )
