"""The page of flatness: raw and scale-relative measures side by side, curves, ranks, every number."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from landscape.flatness.catalogue import MEASURES, invariances, title_of
from landscape.plots.flatness import curve_figure, networks_figure, sweep_of, values_figure
from landscape.plots.flatness_ranks import correlation_figure
from landscape.plots.page import Page

__all__ = ["flatness_page"]

_INTRODUCTION = (
    "Larger values mean a sharper loss, except for local entropy, where they mean a flatter one. "
    "Worst-case measures are **lower bounds**: the best point that a maximisation found. "
    "A raw measure depends on the scale of the weights, which a rectifier network can change without "
    "changing its function; the last table says which measures that leaves as they are."
)

_READING = (
    "Against weights remaining, lines are means over runs with Student's 95 % interval from five runs on; "
    "fewer runs are markers. Without a sweep, each network is a row."
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
    page = Page("Flatness", names[0] if len(names) == 1 else f"{len(names)} networks")
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
        page.section("Values").figure(
            values_figure(result),
            "Size of each value with its 95 % interval; arrows are lower bounds, open markers negative "
            "values. Values of zero have no place on the axis and are in the table.",
            "sizes",
        )
    _curves(page, result)
    _ranks(page, result)
    _tables(page, result)
    page.provenance({"status": result.status, **result.provenance})
    return page


def _spaces(result: Any) -> list[str]:
    return list(dict.fromkeys(str(network["space"]) for network in result.networks))


def _comparisons(page: Page, result: Any) -> None:
    """Add every measure of all networks; a raw one beside its scale-relative counterpart."""
    pairs, rest = _groups(result.measures)
    for space in _spaces(result):
        where = "" if len(_spaces(result)) == 1 else f", {space} space"
        page.section(f"Measures{where}", _READING)
        if pairs:
            page.text(
                "**Raw and scale-relative.** Left what the scale of the weights decides as well, right "
                "what it decides less or not at all."
            )
        for group in pairs:
            page.pair(_figures(result, group, space))
        if pairs and rest:
            page.text("**The other measures.**")
        page.pair(_figures(result, rest, space))
        norm = _comparison(result, "parameter_norm", space)
        if norm is not None:
            page.figure(norm, "The scale that raw measures are confounded with.", f"{space}-norm")


def _figures(result: Any, measures: Sequence[str], space: str) -> list[tuple[Any, str, str]]:
    figures = [(name, _comparison(result, name, space)) for name in measures]
    return [(fig, _remark(result, name), f"{space}-{name}") for name, fig in figures if fig is not None]


def _comparison(result: Any, measure: str, space: str) -> Any:
    """Return a measure against weights remaining, or network by network where that says nothing."""
    return sweep_of(result, measure, space=space) or networks_figure(result, measure, space=space)


def _groups(measures: Sequence[str]) -> tuple[list[tuple[str, str]], list[str]]:
    """Return raw measures with their scale-relative counterparts, each once, and the rest."""
    pairs: dict[str, str] = {}
    for measure in measures:
        entry = MEASURES.get(measure)
        counterpart = None if entry is None else entry.counterpart
        if counterpart in measures and counterpart is not None and counterpart not in pairs.values():
            pairs[measure] = counterpart
    taken = {*pairs, *pairs.values()}
    return list(pairs.items()), [measure for measure in measures if measure not in taken]


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
        "Mean rise of the loss under random noise. Bands are 95 % intervals: over draws for a single "
        "network, over runs from five runs on; fewer runs are markers. A rise "
        "at or below the floor (≤) is an open marker on it.",
    )
    for space in _spaces(result):
        if len(_spaces(result)) > 1:
            page.text(f"**{space.capitalize()} space.**")
        figures = [(name, curve_figure(result, name, space=space)) for name in measures]
        shown = [
            (fig, _remark(result, name, curve=True), f"{space}-curve-{name}")
            for name, fig in figures
            if fig is not None
        ]
        for at in range(0, len(shown), 2):
            page.pair(shown[at : at + 2])


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
            "intervals leave out whole runs (jackknife), and fewer than five runs have none.",
            f"ranks-{space}",
        )
        rows = [
            (pair["a"], pair["b"], pair["tau"], pair["interval"], pair["networks"], pair["runs"])
            for pair in result.correlations
            if pair["space"] == space
        ]
        headers = ("measure", "and", "τ", "95 % interval", "networks", "runs")
        page.table(headers, rows, "Rank correlations", f"ranks-{space}-table")


def _tables(page: Page, result: Any) -> None:
    page.section("Numbers")
    headers = (
        "network",
        "space",
        "measure",
        "value",
        "standard error",
        "95 % interval",
        "kind",
        "radius",
        "status",
    )
    page.table(headers, [_row(record) for record in result.records], "Every value", "values-table")
    kept = [row for row in invariances() if row["measure"] in result.measures]
    page.table(
        ("measure", "layer-wise rescaling", "neuron-wise rescaling"),
        [
            (title_of(str(row["measure"])), _word(row["layer_wise"]), _word(row["neuron_wise"]))
            for row in kept
        ],
        "What leaves a measure of a rectifier network unchanged",
        "invariances",
    )


def _row(record: Mapping[str, Any]) -> tuple[object, ...]:
    keys = ("name", "space", "measure", "value", "standard_error", "interval", "label", "radius", "status")
    return tuple(record.get(key) for key in keys)


def _word(unchanged: object) -> str:
    return "unchanged" if unchanged else "changes"
