"""Figures of perturbation curves: rise of the loss (on two log axes) or of a metric against the radius."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go

from landscape.flatness import title_of
from landscape.plots.series import FEW_SEEDS, error_bars
from landscape.plots.text import label, shorten, wrapped_label
from landscape.plots.theme import log_ticks, numbers, style, swatch, tint
from landscape.results import mean_interval

__all__ = ["curve_figure", "metrics_of"]

_LEAST_RISE = 1e-9  # of the highest one: smaller rises are rounding
_FEW_DRAWS = 2.0  # multiple of the standard error where the number of draws is not known
_MOST_TICKS = 9
_INTERVAL = "<br>95 % interval %{customdata[1]:.4~g} to %{customdata[2]:.4~g}"

Curve = Mapping[str, Any]
Key = tuple[str, Any]
Point = tuple[float | None, float | None, float | None]


@dataclasses.dataclass(frozen=True)
class _Quantity:
    """What a figure draws.

    Its name, the sign that makes worse positive, the multiple of a standard error that is half an
    interval over draws, and the floor of the axis.
    """

    name: str
    sign: float
    factor: float
    floor: float = -math.inf

    def rises(self, curve: Curve) -> list[float | None]:
        """Return by how much it gets worse at each radius."""
        return [None if rise is None else self.sign * rise for rise in numbers(curve[f"{self.name}_rise"])]

    def points(self, curve: Curve) -> list[Point]:
        """Return each rise with its interval over draws."""
        errors = numbers(curve[f"{self.name}_rise_error"])
        return [
            (rise, None, None) if rise is None or error is None else _around(rise, self.factor * error)
            for rise, error in zip(self.rises(curve), errors, strict=True)
        ]

    @property
    def title(self) -> str:
        """What the axis shows."""
        return f"{self.word.capitalize()} of the {self.name}"

    @property
    def word(self) -> str:
        """Which way is worse."""
        return "rise" if self.sign > 0 else "fall"


def metrics_of(result: Any, measure: str) -> list[str]:
    """Return the metrics that the curves of a measure hold and whose better direction is known.

    Parameters
    ----------
    result : Flatness
        Only its fields are read.
    measure : str
        Which one.
    """
    curves = [curve for curve in result.curves if curve["measure"] == measure]
    known = _directions(result)
    return [name for name in known if any(f"{name}_rise" in curve for curve in curves)]


def _directions(result: Any) -> Mapping[str, bool]:
    """Return whether more of each metric is better; results of old have the two usual ones."""
    config = getattr(result, "config", None) or {}
    return config.get("higher_is_better") or {"accuracy": True, "error": False}


def curve_figure(
    result: Any, measure: str, *, space: str | None = None, metric: str | None = None
) -> go.Figure | None:
    """Return the rise of the loss against the radius: the densest and sparsest networks of each method.

    A single network has Student's 95 % interval over draws as a band, a mean over five runs or more that
    over runs; of fewer runs each is a marker. Rises of the loss that are too small for the axis, and those
    that are not positive, are open markers on its floor.

    Parameters
    ----------
    result : Flatness
        Only its fields are read.
    measure : str
        Which one.
    space : str, optional
        By default the first that was measured.
    metric : str, optional
        Draw by how much this metric gets worse instead (an error rises, an accuracy falls), on an axis
        that is not logarithmic.

    Returns
    -------
    Figure or None
        None where the measure has no curve.
    """
    name = metric or "loss"
    curves = [c for c in result.curves if c["measure"] == measure and f"{name}_rise" in c]
    space = space or (str(curves[0]["space"]) if curves else None)
    curves = [curve for curve in curves if curve["space"] == space]
    if not curves:
        return None
    sign = -1.0 if metric is not None and _directions(result)[metric] else 1.0
    what = _Quantity(name, sign, _critical(result, measure))
    groups = _ends_of_methods(_groups(curves))
    axis: dict[str, Any] = {}
    if metric is None:
        floor, top = _range(curves)
        what = dataclasses.replace(what, floor=floor)
    summaries = {key: _summary(members, what) for key, members in groups.items()}
    if metric is None:
        axis = _axis(floor, top, floored=any(m is not None and m < floor for m in _means(summaries)))
    fig = style(go.Figure(), title=f"{what.title}: {title_of(measure)}")
    methods = list(dict.fromkeys(method for method, _ in groups))
    for i, (key, members) in enumerate(groups.items()):
        # Colour is the method; dash and marker tell its levels apart.
        first = next(j for j, other in enumerate(groups) if other[0] == key[0])
        look = {**swatch(i - first), "color": swatch(methods.index(key[0]))["color"]}
        _draw(fig, _name(key, members), members, points=summaries[key], look=look, what=what)
    units = str(curves[0].get("units") or "radius")
    fig.update_xaxes(title_text=wrapped_label(units, 38), **_radii_axis(curves))
    fig.update_yaxes(**axis)
    fig.update_layout(height=400)
    return fig


def _means(summaries: Mapping[Key, Sequence[Point]]) -> list[float | None]:
    return [mean for points in summaries.values() for mean, *_ in points]


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


def _summary(members: Sequence[Curve], what: _Quantity) -> list[Point]:
    """Return mean and interval at each radius; a rise that is not finite in one run has no mean."""
    if len(members) == 1:
        return what.points(members[0])
    rows = [what.rises(member) for member in members]
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
    what: _Quantity,
) -> None:
    radii, floor = numbers(members[0]["radii"]), what.floor
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
        _draw_runs(fig, name, members, look=look, what=what)
    _draw_mean(fig, name, known, runs=len(members), look=look, what=what)


def _draw_runs(
    fig: go.Figure, name: str, members: Sequence[Curve], *, look: Mapping[str, str], what: _Quantity
) -> None:
    """Draw each run as faint open markers with their own intervals over draws."""
    for number, member in enumerate(members, start=1):
        known = [
            (x, rise, low, high)
            for x, (rise, low, high) in zip(numbers(member["radii"]), what.points(member), strict=True)
            if rise is not None
        ]
        text = f"{label(name)}, run {number}"
        drawn = [max(rise, what.floor) for _, rise, *_ in known]
        intervals = any(low is not None for *_, low, _ in known)
        fig.add_scatter(
            x=[x for x, *_ in known],
            y=drawn,
            mode="markers",
            name=text,
            legendgroup=name,
            showlegend=False,
            marker={"symbol": f"{look['symbol']}-open", "size": 6, "color": tint(look["color"], 0.55)},
            error_y=error_bars(drawn, [(low, high) for *_, low, high in known], color=look["color"]),
            customdata=[[rise, low, high] for _, rise, low, high in known],
            hovertemplate=f"{text}<br>{what.word} %{{customdata[0]:.4~g}} at %{{x:.4~g}}"
            f"{_INTERVAL if intervals else ''}<extra></extra>",
        )


def _draw_mean(
    fig: go.Figure,
    name: str,
    known: Sequence[tuple[Any, ...]],
    *,
    runs: int,
    look: Mapping[str, str],
    what: _Quantity,
) -> None:
    floor = what.floor
    means = [mean for _, mean, *_ in known]
    intervals = any(low is not None for *_, low, _ in known)
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
        hovertemplate=f"{label(name)}{several}<br>{what.word} %{{customdata[0]:.4~g}} at %{{x:.4~g}}"
        f"{_INTERVAL if intervals else ''}<extra></extra>",
    )
