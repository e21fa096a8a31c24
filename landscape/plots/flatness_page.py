"""The page of flatness: raw and scale-relative measures side by side, curves, ranks, every number."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from landscape.flatness.catalogue import MEASURES, invariances, title_of
from landscape.plots.flatness import curve_figure, sweep_of, values_figure
from landscape.plots.flatness_ranks import correlation_figure
from landscape.plots.page import Page

__all__ = ["flatness_page"]

_INTRODUCTION = (
    "Larger values mean a sharper loss, except for local entropy, where they mean a flatter one. "
    "Worst-case measures are **lower bounds**: the best point that a maximisation found. "
    "A raw measure depends on the scale of the weights, which a rectifier network can change without "
    "changing its function; a measure relative to the weights does not."
)


def flatness_page(result: Any) -> Page:
    """Return the page of a `Flatness` result.

    Parameters
    ----------
    result : Flatness
        Only its fields are read.
    """
    names = list(dict.fromkeys(str(network["name"]) for network in result.networks))
    page = Page("Flatness", names[0] if len(names) == 1 else f"{len(names)} networks")
    for warning in list(result.warnings)[:12]:
        page.warning(warning)
    page.text(_INTRODUCTION)
    several = len(names) > 1
    if several:
        _sweeps(page, result)
    else:
        page.section("Values").figure(
            values_figure(result),
            "Size of each value; triangles are lower bounds, open markers negative values.",
            "values",
        )
    _curves(page, result)
    _ranks(page, result)
    _tables(page, result)
    page.provenance({"status": result.status, **result.provenance})
    return page


def _spaces(result: Any) -> list[str]:
    return list(dict.fromkeys(str(network["space"]) for network in result.networks))


def _sweeps(page: Page, result: Any) -> None:
    """Add every measure against weights remaining; a raw one beside its scale-relative counterpart."""
    for space in _spaces(result):
        page.section(
            "Across sparsity" if len(_spaces(result)) == 1 else f"Across sparsity, {space} space",
            "Left what the weights' scale decides as well, right what it does not. Lines: means over runs.",
        )
        for group in _groups(result.measures):
            figures = [(name, sweep_of(result, name, space=space)) for name in group]
            page.pair([(fig, _remark(name), f"{space}-{name}") for name, fig in figures if fig is not None])
        norm = sweep_of(result, "parameter_norm", space=space)
        if norm is not None:
            page.figure(norm, "The scale that raw measures are confounded with.", f"{space}-norm")


def _groups(measures: Sequence[str]) -> list[list[str]]:
    """Return raw measures with the scale-relative counterpart that they share behind them, then the rest."""
    groups: dict[str, list[str]] = {}
    for measure in measures:
        entry = MEASURES.get(measure)
        counterpart = entry.counterpart if entry is not None else None
        if counterpart in measures and counterpart is not None:
            groups.setdefault(counterpart, []).append(measure)
    paired = [[*raw, counterpart] for counterpart, raw in groups.items()]
    taken = {name for group in paired for name in group}
    rest = [measure for measure in measures if measure not in taken]
    return [*paired, *([rest] if rest else [])]


def _remark(measure: str) -> str:
    entry = MEASURES.get(measure)
    if entry is None:
        return ""
    if entry.neuron_wise:
        return "Unchanged under layer-wise and neuron-wise rescaling."
    if entry.layer_wise:
        return "Unchanged under layer-wise rescaling only."
    return "Depends on the scale of the weights."


def _curves(page: Page, result: Any) -> None:
    measures = list(dict.fromkeys(curve["measure"] for curve in result.curves))
    if not measures:
        return
    page.section(
        "Perturbation curves",
        "Mean rise of the loss under random noise; bands are 95 % intervals, over runs where there are five.",
    )
    figures = [(name, curve_figure(result, name, space=_spaces(result)[0])) for name in measures]
    shown = [(fig, _remark(name), f"curve-{name}") for name, fig in figures if fig is not None]
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
            "generalisation gap (test minus train loss). Levels of one run are not independent: intervals "
            "resample whole runs, and fewer than five runs have none.",
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
