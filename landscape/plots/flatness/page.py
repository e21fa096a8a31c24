"""The page of flatness: raw and scale-relative measures side by side, perturbation curves, ranks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from landscape.flatness import MEASURES, bound_of
from landscape.plots.flatness.curves import metrics_of
from landscape.plots.flatness.figures import curve_figure, networks_figure, sweep_of, values_figure
from landscape.plots.flatness.ranks import correlation_figure
from landscape.plots.flatness.tables import add_tables
from landscape.plots.names import short_names
from landscape.plots.page import Page

__all__ = ["flatness_page"]

_INTRODUCTION = (
    "Larger values mean a sharper loss, except for local entropy, where they mean a flatter one. "
    "Worst-case measures are **lower bounds**: the best point that a maximisation found. "
    "A raw measure depends on the scale of the weights, which a rectifier network can change without "
    "changing its function; the last table names the measures that stay the same."
)

_READING = (
    "Against weights remaining, a mean over five or more runs has Student's 95 % interval; fewer runs are "
    "markers with their own intervals over random draws, and a single run has that as its band. Where "
    "sparsity does not vary, each network is a row."
)
_MOST_WARNINGS = 12


def flatness_page(result: Any) -> Page:
    """Return the page of a `Flatness` result.

    Parameters
    ----------
    result : Flatness
        Only its fields are read.
    """
    names = list(dict.fromkeys(str(network["name"]) for network in result.networks))
    page = Page("Flatness", short_names(names)[0] if len(names) == 1 else f"{len(names)} networks")
    warnings = [str(warning) for warning in result.warnings[:_MOST_WARNINGS]]
    if len(result.warnings) > _MOST_WARNINGS:
        left = len(result.warnings) - _MOST_WARNINGS
        warnings.append(f"and {left} more warnings (all in the JSON form)")
    if warnings:
        page.warning("\n".join(warnings))
    page.text(_INTRODUCTION)
    if len(names) > 1:
        _comparisons(page, result)
    else:
        _values(page, result)
    _curves(page, result)
    _ranks(page, result)
    add_tables(page, result)
    page.provenance({"status": result.status, **result.provenance})
    return page


def _spaces(result: Any) -> list[str]:
    return list(dict.fromkeys(str(network["space"]) for network in result.networks))


def _values(page: Page, result: Any) -> None:
    """Add every measure of a single network, raw ones beside those that rescaling leaves as they are."""
    page.section(
        "Values",
        "Sizes of all values. Those of zero have no place on the axis and are in the table.",
    )
    counterparts = {entry.counterpart for entry in MEASURES.values()}
    relative = [m for m in result.measures if m in counterparts or (m in MEASURES and MEASURES[m].layer_wise)]
    raw = [measure for measure in result.measures if measure not in relative]
    if not raw or not relative:
        page.figure(values_figure(result), "", "sizes")
        return
    left = values_figure(result, raw, title="Raw measures")
    right = values_figure(result, relative, title="Scale-relative measures")
    page.pair(
        [
            (left, "The scale of the weights decides these as well.", "sizes-raw"),
            (
                right,
                "Rescaling whole layers leaves these as they are, or changes them less.",
                "sizes-relative",
            ),
        ]
    )


def _comparisons(page: Page, result: Any) -> None:
    """Add every measure of all networks; raw ones beside their scale-relative counterpart."""
    groups, rest = _groups(result.measures)
    for space in _spaces(result):
        where = "" if len(_spaces(result)) == 1 else f", {space} space"
        page.section(f"Measures{where}", _READING)
        if groups:
            page.text(
                "**Raw and scale-relative.** A raw measure comes first; it depends on the scale of the "
                "weights. Its scale-relative counterpart follows; it depends on the scale less, or not at "
                "all."
            )
        for counterpart, raw in groups.items():
            left, right = _figures(result, raw, space), _figures(result, [counterpart], space)
            if left and right:
                page.beside(left, right[0])
            else:
                page.pair([*left, *right])
        if groups and rest:
            page.text("**The other measures.**")
        page.pair(_figures(result, rest, space))
        norm = _comparison(result, "parameter_norm", space)
        if norm is not None:
            page.figure(norm, "The scale that raw measures are confounded with.", f"{space}-norm")


def _figures(result: Any, measures: Sequence[str], space: str) -> list[tuple[Any, str, str]]:
    figures = [(name, _comparison(result, name, space)) for name in measures]
    return [
        (fig, f"{_remark(result, name)}{_beyond(result, name, space)}", f"{space}-{name}")
        for name, fig in figures
        if fig is not None
    ]


def _beyond(result: Any, measure: str, space: str) -> str:
    """Return how many networks have only a bound of a measure."""
    own = [r for r in result.records if (r["measure"], r["space"]) == (measure, space)]
    count = sum(bound_of(record) is not None for record in own)
    return f" Beyond what was tried at {count} of {len(own)} networks." if count else ""


def _comparison(result: Any, measure: str, space: str) -> Any:
    """Return a measure against weights remaining, or network by network where sparsity does not vary."""
    return sweep_of(result, measure, space=space) or networks_figure(result, measure, space=space)


def _groups(measures: Sequence[str]) -> tuple[dict[str, list[str]], list[str]]:
    """Return scale-relative measures, each with the raw ones that it is the counterpart of, and the rest."""
    groups: dict[str, list[str]] = {}
    for measure in measures:
        counterpart = MEASURES[measure].counterpart if measure in MEASURES else None
        if counterpart is not None and counterpart in measures:
            groups.setdefault(counterpart, []).append(measure)
    taken = {*groups, *(measure for raw in groups.values() for measure in raw)}
    return groups, [measure for measure in measures if measure not in taken]


def _remark(result: Any, measure: str, *, curve: bool = False) -> str:
    """Return what kind of number a measure is, and which rescalings leave it unchanged."""
    entry = MEASURES.get(measure)
    labels = {record["label"] for record in result.records if record["measure"] == measure}
    said = ["Lower bound (≥)."] if "lower bound" in labels and not curve else []
    if entry is not None:
        said += ["Larger means flatter."] if entry.flat > 0 else []
        said.append(
            "Unchanged under layer-wise and neuron-wise rescaling."
            if entry.neuron_wise
            else "Unchanged under layer-wise rescaling only."
            if entry.layer_wise
            else "Depends on the scale of the weights."
        )
    return " ".join(said)


def _curves(page: Page, result: Any) -> None:
    measures = [m for m in result.measures if any(curve["measure"] == m for curve in result.curves)]
    if not measures:
        return
    page.section(
        "Perturbation curves",
        "Mean rise of the loss under random noise, and by how much the metrics get worse.",
    )
    for space in _spaces(result):
        if len(_spaces(result)) > 1:
            page.text(f"**{space.capitalize()} space.**")
        shown = [(m, _curve_figures(result, m, space)) for m in measures]
        if all(len(figures) < 2 for _, figures in shown):
            single = [figure for _, figures in shown for figure in figures]
            for at in range(0, len(single), 2):
                page.pair(single[at : at + 2])
            continue
        for _, figures in shown:
            page.pair(figures)


def _curve_figures(result: Any, measure: str, space: str) -> list[tuple[Any, str, str]]:
    """Return the curve of the loss and those of the metrics."""
    said = _remark(result, measure, curve=True)
    found = [(curve_figure(result, measure, space=space), said, f"{space}-curve-{measure}")]
    found += [
        (curve_figure(result, measure, space=space, metric=name), said, f"{space}-curve-{measure}-{name}")
        for name in metrics_of(result, measure)
    ]
    return [(fig, text, name) for fig, text, name in found if fig is not None]


def _ranks(page: Page, result: Any) -> None:
    for space in _spaces(result):
        figure = correlation_figure(result, space=space)
        if figure is None:
            continue
        page.section("Ranks" if len(_spaces(result)) == 1 else f"Ranks, {space} space")
        page.figure(
            figure,
            "How the measures order the networks, against each other, the parameters' norm and the "
            "generalisation gap (test minus train loss). Levels of one run are not independent: "
            "intervals leave out whole runs (jackknife), and fewer than five runs have none. Networks whose "
            "value lies beyond what was tried are ranked beyond all others, tied with each other.",
            f"ranks-{space}",
        )
        rows = [
            (
                *(pair[key] for key in ("a", "b", "tau", "interval", "networks", "runs")),
                pair.get("censored", 0),
            )
            for pair in result.correlations
            if pair["space"] == space
        ]
        headers = ("measure", "and", "τ", "95 % interval", "networks", "runs", "beyond what was tried")
        page.table(headers, rows, "Rank correlations", f"ranks-{space}-table")
