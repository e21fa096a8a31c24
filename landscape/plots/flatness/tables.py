"""The tables of a page of flatness: networks, every value, the details of each measure, invariances."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from landscape.flatness import bound_of, invariances, title_of
from landscape.plots.flatness.values import LOWER
from landscape.plots.page import Page
from landscape.plots.tables import cell, flat
from landscape.plots.text import capital

__all__ = ["add_tables"]

_MOST_ENTRIES = 8  # of a list that is shown whole
_FACTS = ("name", "method", "seed", "level", "density", "space", "dim", "parameter_norm", "loss")
_HEADERS = {"dim": "free weights", "parameter_norm": "norm of the parameters", "name": "network"}

Record = Mapping[str, Any]


def add_tables(page: Page, result: Any) -> None:
    """Add all tables of a `Flatness` result to a page."""
    page.section("Numbers")
    chosen = flat({"radius": result.config.get("radii") or {}, **(result.config.get("settings") or {})})
    if chosen:
        page.text(
            "Set by hand: " + ", ".join(f"{name} = {cell(value)}" for name, value in chosen), plain=True
        )
    page.table(*_networks(result.networks), "The networks", "networks-table")
    page.table(*_values(result.records), "Every value", "values-table")
    _details(page, result)
    page.table(
        *_invariances(result.measures),
        "What leaves a measure of a rectifier network unchanged",
        "invariances",
    )


def _networks(networks: Sequence[Record]) -> tuple[list[str], list[list[object]]]:
    """Return headers and rows: what is known of each network itself."""
    leaves = [dict(flat(network)) for network in networks]
    columns = [name for name in _FACTS if any(row.get(name) is not None for row in leaves)]
    columns += [name for name in dict.fromkeys(key for row in leaves for key in row) if name not in _FACTS]
    headers = [_HEADERS.get(name, _words(name).replace("metrics.", "")) for name in columns]
    return headers, [[row.get(name) for name in columns] for row in leaves]


def _values(records: Sequence[Record]) -> tuple[list[str], list[list[object]]]:
    metrics = list(dict.fromkeys(name for record in records for name in record.get("metric_rises") or {}))
    keys = {
        "name": "network",
        "space": "space",
        "measure": "measure",
        "value": "value",
        "standard_error": "standard error",
        "interval": "95 % interval",
        "label": "kind",
        "radius": "radius",
        "status": "status",
    }
    headers = [*keys.values(), *(f"{text}{name}" for name in metrics for text in ("rise of ", "its error, "))]
    rows = []
    for record in map(_one_sided, records):
        rises = record.get("metric_rises") or {}
        found = [(rises.get(name) or {}).get(key) for name in metrics for key in ("rise", "standard_error")]
        rows.append([*(_kind(record) if key == "label" else record.get(key) for key in keys), *found])
    return headers, rows


def _one_sided(record: Record) -> Record:
    """Return a record without the errors of a lower bound: those are not of the maximum."""
    return {**record, "standard_error": None, "interval": None} if record.get("label") == LOWER else record


def _kind(record: Record) -> object:
    bound = bound_of(record)
    return record.get("label") if bound is None else f"{bound[0]} {bound[1]:.4g}, beyond what was tried"


def _details(page: Page, result: Any) -> None:
    """Add what else measures have to say, in one table: folded where it is of several networks."""
    single = len({network["name"] for network in result.networks}) == 1
    rows = [
        (record["name"], record["space"], capital(title_of(record["measure"])), _words(detail), value)
        for record in result.records
        for detail, value in _leaves(record)
    ]
    headers = ("network", "space", "measure", "detail", "value")
    if rows:
        page.table(headers, rows, "Details of each measure", "details", folded=not single)


def _leaves(record: Record) -> list[tuple[str, object]]:
    """Return what a record says beside its value, and its kind and status first."""
    found = [("kind", _kind(record)), ("status", record.get("status"))]
    found += [(name, _short(value)) for name, value in flat(record.get("details") or {})]
    return found if len(found) > 2 else []


def _short(value: object) -> object:
    """Return a long list as its length and range."""
    if not isinstance(value, (list, tuple, np.ndarray)) or len(value) <= _MOST_ENTRIES:
        return value
    known = [float(one) for one in value if one is not None]
    return f"{len(value)} values, {cell(min(known, default=None))} to {cell(max(known, default=None))}"


def _words(name: str) -> str:
    return name.replace("_", " ")


def _invariances(measures: Sequence[str]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    rows: list[tuple[str, ...]] = [
        (title_of(str(row["measure"])), _unchanged(row["layer_wise"]), _unchanged(row["neuron_wise"]))
        for row in invariances()
        if row["measure"] in measures
    ]
    return ("measure", "layer-wise rescaling", "neuron-wise rescaling"), rows


def _unchanged(unchanged: object) -> str:
    return "unchanged" if unchanged else "changes"
