"""Figures of perturbation curves: rise of the loss (on two log axes) or of a metric against the radius."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from landscape.flatness import title_of
from landscape.plots.names import short_names
from landscape.plots.series import FEW_SEEDS, add_band, add_heading, error_bars, interval_text
from landscape.plots.text import label, shorten, wrapped_label
from landscape.plots.theme import level_text, log_axis, log_ticks, numbers, power_text, style, style_of
from landscape.results import mean_interval

__all__ = ["curve_figure", "metrics_of"]

_LEAST_RISE = 1e-9  # of the highest one: smaller rises are rounding
_FEW_DRAWS = 2.0  # multiple of the standard error where the number of draws is not known
_MOST_TICKS = 9

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

    Colour, dash and marker are the method's; each level has a panel. A single network
    has Student's 95 % interval over draws as a band, a mean over five or more runs has one over
    runs; with fewer runs each is a marker. Rises of the loss that are too small for the axis, and those
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
    places = list(dict.fromkeys(_level(key, members) for key, members in groups.items()))
    fig = _panels(places, f"{what.title}: {title_of(measure)}", _caption(groups, summaries, what))
    for key, members in groups.items():
        row = 1 + places.index(_level(key, members))
        name, look = _name(key, members), {**style_of(key[0]), "method": key[0]}
        _draw(fig, name, members, points=summaries[key], look=look, what=what, row=row)
    units = str(curves[0].get("units") or "radius")
    fig.update_xaxes(**_radii_axis(curves))
    fig.update_xaxes(title_text=wrapped_label(units, 38), row=len(places), col=1)
    fig.update_yaxes(**axis)
    return fig


def _panels(places: Sequence[str], title: str, caption: str) -> go.Figure:
    """Return a figure with a panel per level, named by it where there are several."""
    count = len(places)
    height = 400 + 290 * (count - 1)
    spacing = 0 if count == 1 else 60 / (height - 130)
    fig = make_subplots(rows=count, cols=1, shared_xaxes=True, vertical_spacing=spacing)
    style(fig, title=title, height=height, caption=caption)
    if count > 1:
        fig.update_layout(legend_y=1 + 26 / (height - 130))
        for row, place in enumerate(places, start=1):
            add_heading(fig, label(place), row=row)
    return fig


def _caption(
    groups: Mapping[Key, list[Curve]], summaries: Mapping[Key, Sequence[Point]], what: _Quantity
) -> str:
    """Return what is drawn: lines, bands, markers of single runs, and the floor."""
    sizes = [len(members) for members in groups.values()]
    said = ["Lines are means over runs." if max(sizes) > 1 else "Each line is a network."]
    over = "runs" if max(sizes) >= FEW_SEEDS else "random draws"
    if any(low is not None for points in summaries.values() for _, low, _ in points):
        said.append(f"Bands are 95 % intervals over {over}.")
    if any(1 < size < FEW_SEEDS for size in sizes):
        said.append("Open markers are single runs with their own 95 % intervals over random draws.")
    if any(m is not None and m < what.floor for m in _means(summaries)):
        said.append("An open marker on the floor (≤) is a rise at or below it.")
    return " ".join(said)


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


def _level(key: Key, members: Sequence[Curve]) -> str:
    """Return the level of a group: weights remaining, or its number; empty where neither is known."""
    density = members[0].get("density")
    if density is not None:
        return level_text(100 * float(density))
    return "" if key[1] is None else f"level {key[1]}"


def _name(key: Key, members: Sequence[Curve]) -> str:
    level = _level(key, members)
    method = key[0] if members[0].get("method") else short_names([key[0]])[0]
    return f"{method}, {level}" if level else method


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
    """Return the power of ten under the smallest rise that is more than rounding, and the highest rise."""
    rises = [value for curve in curves for value in numbers(curve["loss_rise"]) if value is not None]
    top = max(rises, default=0.0)  # no rise is finite
    if top <= 0:
        return 1e-12, 1.0
    least = min(value for value in rises if value > _LEAST_RISE * top)
    return 10.0 ** math.floor(math.log10(least)), top


def _radii_axis(curves: Sequence[Curve]) -> dict[str, Any]:
    radii = [x for curve in curves for x in numbers(curve["radii"]) if x is not None and x > 0] or [1.0]
    return log_axis(min(radii), max(radii))


def _axis(floor: float, top: float, *, floored: bool) -> dict[str, Any]:
    """Return the settings of a log axis of powers of ten whose lowest says what lies on it."""
    ticks = log_ticks(floor, max(top * 2, floor * 10), steps=(1,))
    ticks = ticks[:: -(-len(ticks) // _MOST_TICKS)]
    names = [power_text(tick) for tick in ticks]
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
    row: int,
) -> None:
    radii, floor = numbers(members[0]["radii"]), what.floor
    known = [(x, *point) for x, point in zip(radii, points, strict=True) if point[0] is not None]
    band = [
        (x, max(low, floor), max(high, floor))
        for x, _, low, high in known
        if x is not None and low is not None and high is not None
    ]
    text = f"{label(shorten(name, 40))}, 95 % interval"
    add_band(fig, band, text, color=look["color"], legendgroup=name, row=row, col=1)
    if 1 < len(members) < FEW_SEEDS:
        _draw_runs(fig, name, members, look=look, what=what, row=row)
    _draw_mean(fig, name, known, runs=len(members), look=look, what=what, row=row)


def _draw_runs(
    fig: go.Figure,
    name: str,
    members: Sequence[Curve],
    *,
    look: Mapping[str, str],
    what: _Quantity,
    row: int,
) -> None:
    """Draw each run as small open markers with their own intervals over draws."""
    for number, member in enumerate(members, start=1):
        known = [
            (x, rise, low, high)
            for x, (rise, low, high) in zip(numbers(member["radii"]), what.points(member), strict=True)
            if rise is not None
        ]
        text = f"{label(name)}, run {number}"
        drawn = [max(rise, what.floor) for _, rise, *_ in known]
        ends = [(low, high) for *_, low, high in known]
        fig.add_scatter(
            x=[x for x, *_ in known],
            y=drawn,
            mode="markers",
            name=text,
            legendgroup=name,
            showlegend=False,
            marker={"symbol": f"{look['symbol']}-open", "size": 6, "color": look["color"]},
            error_y=error_bars(drawn, ends, color=look["color"], thickness=1, width=2),
            customdata=[[rise, low, high] for _, rise, low, high in known],
            hovertemplate=f"{text}<br>{what.word} %{{customdata[0]:.4~g}} at %{{x:.4~g}}"
            f"{interval_text(ends)}<extra></extra>",
            meta={"method": look.get("method"), "run": number},
            row=row,
            col=1,
        )


def _draw_mean(
    fig: go.Figure,
    name: str,
    known: Sequence[tuple[Any, ...]],
    *,
    runs: int,
    look: Mapping[str, str],
    what: _Quantity,
    row: int,
) -> None:
    floor = what.floor
    means = [mean for _, mean, *_ in known]
    ends = [(low, high) for *_, low, high in known]
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
        f"{interval_text(ends)}<extra></extra>",
        meta={"method": look.get("method")},
        row=row,
        col=1,
    )
