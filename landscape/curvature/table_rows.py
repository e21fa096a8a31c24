"""Rows of a curvature table: flat ones for programs, printed ones for people. No jax."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from landscape.curvature.estimates import LAYERS, NOT_FINITE, PROBE, Trace, estimate_text, layer_text
from landscape.curvature.smoothed_results import SmoothedTrace
from landscape.results import (
    Later,
    Maybe,
    Numbers,
    Plain,
    Record,
    Text,
    Within,
    count,
    flag,
    format_value,
    interval,
    with_error,
)

_SHOWN = 8
_FACTS = ("name", "method", "seed", "level", "density", "dim")
_CHECKS = ("mass", "mean_eigenvalue", "mean_square")
# What is stored of one network; results of older versions lack what is `Maybe` here.
RECORD = Record(
    {
        "status": Text(("ok", "not-converged", "incomplete", "non-finite")),
        "name": Text(),
        **dict.fromkeys(("method", "seed", "level"), Maybe(Plain())),
        "density": Maybe(Numbers(finite=True, least=0, most=1)),
        "dim": count(least=1),
        "eigenvalues": Numbers("k", finite="ok"),
        "residuals": Numbers("k", finite="ok", least=0),
        "converged": Later(flag("k")),
        "multiplicity": Later(count("k")),
        "none_missed": Maybe(flag()),
        "complete_probe": PROBE,
        "trace": Maybe(
            Record(
                {
                    "value": Numbers(finite="ok"),
                    "standard_error": Maybe(Numbers(least=0), absent=False),
                    "interval": interval(),
                    "data_standard_error": Maybe(Numbers(least=0)),
                    "method": Text(),
                },
                (Within("value", "interval"),),
            )
        ),
        "per_layer": LAYERS,
        "num_matvecs": count(),
        "num_pairs": Maybe(count()),
        "pilot_pairs": Maybe(count()),
        "data_passes": Maybe(count()),
    }
)


def blank_record(dim: int) -> dict[str, Any]:
    """Return the record of a network of which nothing has been measured."""
    return {
        "dim": dim,
        "eigenvalues": np.empty(0),
        "residuals": np.empty(0),
        "converged": np.empty(0, bool),
        "multiplicity": np.empty(0, int),
        "trace": None,
        "per_layer": {},
        "status": "ok",
    }


def trace_record(found: Trace | SmoothedTrace, method: str) -> dict[str, Any]:
    """Return a trace as a record holds it."""
    return {
        "value": found.value,
        "standard_error": found.standard_error,
        "interval": None if found.interval is None else list(found.interval),
        "data_standard_error": found.data_standard_error,
        "method": method,
    }


def tidy_row(record: Mapping[str, Any], spectrum: Mapping[str, Any] | None, width: int) -> dict[str, Any]:
    """Return one checkpoint as flat columns; `width` is the number of columns for eigenvalues."""
    row: dict[str, Any] = {name: record.get(name) for name in _FACTS}
    for column, name in (("lambda", "eigenvalues"), ("residual", "residuals")):
        row |= _columns(column, [float(value) for value in record[name]], width)
    if "converged" in record:
        row |= _columns("converged", [bool(value) for value in record["converged"]], width)
    if "multiplicity" in record:
        row |= _columns("multiplicity", [int(value) for value in record["multiplicity"]], width)
    row["none_missed"] = record.get("none_missed")
    found = record.get("trace") or {}
    low, high = found.get("interval") or (None, None)
    row |= {
        "trace": found.get("value"),
        "trace_standard_error": found.get("standard_error"),
        "trace_low": low,
        "trace_high": high,
        "trace_data_standard_error": found.get("data_standard_error"),
        "trace_method": found.get("method"),
    }
    checks = {} if spectrum is None else spectrum["checks"]
    for name in _CHECKS:
        row[f"density_{name}"] = checks.get(name)
        if name != "mass":
            row[f"density_{name}_standard_error"] = checks.get(f"{name}_error")
            row[f"density_{name}_drawn"] = checks.get(f"{name}_drawn")
    return row | {name: record.get(name) for name in ("num_matvecs", "num_pairs", "data_passes", "status")}


def _columns(name: str, values: Sequence[Any], width: int) -> dict[str, Any]:
    padded = [*values, *[None] * (width - len(values))]
    return {f"{name}_{i}": value for i, value in enumerate(padded, start=1)}


def layer_rows(record: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the traces by layer of one checkpoint as flat columns."""
    rows = []
    for path, found in (record.get("per_layer") or {}).items():
        low, high = found.get("interval") or (None, None)
        rows.append(
            {
                **{name: record.get(name) for name in _FACTS[:-1]},
                "layer": path,
                "size": found.get("size"),
                "trace": found["value"],
                "standard_error": found.get("standard_error"),
                "low": low,
                "high": high,
            }
        )
    return rows


def printed(
    record: Mapping[str, Any], spectrum: Mapping[str, Any] | None, which: str
) -> list[tuple[str, str]]:
    """Return the printed lines of a table of one checkpoint."""
    rows = [("network", f"{record['name']}, {record['dim']:,} free parameters")]
    rows += [(f"λ{i + 1}", text) for i, text in enumerate(_pairs(record))]
    if len(record["eigenvalues"]):
        rows.append(("which", f"{which}; residual: ‖Hv − λv‖"))
        rows.append(("none missed", probe_text(record)))
    if record.get("trace") is not None:
        rows += _trace(record)
    if spectrum is not None:
        rows += [(label, text) for label, text in check_texts(spectrum["checks"])]
    if record.get("num_pairs") is not None:
        return [*rows, ("pairs", pairs_text(record))]
    return [*rows, ("products", products_text(record))]


def _pairs(record: Mapping[str, Any]) -> list[str]:
    count = len(record["eigenvalues"])
    converged, multiplicity = record.get("converged", [True] * count), record.get("multiplicity", [1] * count)
    return [
        f"{format_value(float(value))} (residual {format_value(float(residual))})"
        + (f", one of {copies} that cannot be told apart" if copies > 1 else "")
        + ("" if ok else " (not converged)")
        for value, residual, ok, copies in zip(
            record["eigenvalues"], record["residuals"], converged, multiplicity, strict=True
        )
    ]


def probe_text(record: Mapping[str, Any]) -> str:
    """Return the result of the probe for missed eigenvalues, in words."""
    probe = record.get("complete_probe") or {}
    if probe.get("exact"):
        return "exact: the whole spectrum was computed"
    if not probe:  # a result of a version that kept the answer alone
        answer = record.get("none_missed")
        return "not probed" if answer is None else ("passed" if answer else "failed, or not probed")
    if not probe.get("num_matvecs"):
        return "not probed"
    word = "passed" if probe.get("passed") else ("failed" if probe.get("decided", True) else "undecided")
    return f"{word}: a fresh random block of {probe['num_matvecs']} products"


def _trace(record: Mapping[str, Any]) -> list[tuple[str, str]]:
    found = record["trace"]
    text = estimate_text(
        found["value"], found["standard_error"], found.get("interval"), method=found["method"]
    )
    rows = [("trace", text if found["method"] == "exact" else f"{text}, {found['method']}")]
    if found.get("data_standard_error") is not None:
        rows.append(("from the examples", f"± {format_value(found['data_standard_error'])}"))
    layers = [
        (path, layer)
        for path, layer in (record.get("per_layer") or {}).items()
        if math.isfinite(layer["value"])
    ]
    rows += [(path, layer_text(layer)) for path, layer in layers[:_SHOWN]]
    if len(layers) > _SHOWN:
        rows.append(("", f"and {len(layers) - _SHOWN} more layers (all in the JSON form)"))
    return rows


def check_texts(checks: Mapping[str, float]) -> list[tuple[str, str]]:
    """Return the checks of a density: its mass, and its moments beside those of the probes."""
    if not math.isfinite(checks["mass"]):
        return [("density", NOT_FINITE)]
    rows = [("density: mass", f"{checks['mass']:.6f} as drawn (1 if none is lost)")]
    for name in _CHECKS[1:]:
        text = with_error(checks[name], checks[f"{name}_error"])
        drawn = format_value(checks[f"{name}_drawn"])
        rows.append((f"density: {name.replace('_', ' ')}", f"{text}, {drawn} as drawn"))
    return rows


def products_text(record: Mapping[str, Any]) -> str:
    """Return the cost in products, and in passes where examples were taken in groups."""
    text = format_value(record["num_matvecs"])
    passes = record.get("data_passes")
    return f"{text}, and {passes} passes in groups of examples" if passes else text


def pairs_text(record: Mapping[str, Any]) -> str:
    """Return the number of pairs from which a smoothed trace is estimated, and those before them."""
    pilot = record.get("pilot_pairs")
    before = f", {format_value(pilot)} before them as a pilot" if pilot else ""
    return f"{format_value(record['num_pairs'])}{before}"


def line(record: Mapping[str, Any], spectrum: Mapping[str, Any] | None) -> str:
    """Return one checkpoint of several as a line: every eigenvalue, the trace, and their faults."""
    parts = [f"{record['dim']:,} free"]
    values = record["eigenvalues"]
    if len(values):
        names = "λ1" if len(values) == 1 else f"λ1-λ{len(values)}"
        shown = ", ".join(format_value(float(value)) for value in values)
        parts.append(f"{names} {shown} (residuals up to {format_value(float(max(record['residuals'])))})")
    if record.get("trace") is not None:
        found = record["trace"]
        text = f"trace {_short(found)}"
        if found.get("data_standard_error") is not None:
            text += f" (from the examples ± {format_value(found['data_standard_error'])})"
        parts.append(text)
    if spectrum is not None:
        mass = spectrum["checks"]["mass"]
        parts.append(f"density of mass {mass:.4f}" if math.isfinite(mass) else f"density {NOT_FINITE}")
    return "; ".join([*parts, *_doubts(record)])


def _short(found: Mapping[str, Any]) -> str:
    """Return a value with its errors, for a line among others."""
    return estimate_text(
        found["value"], found["standard_error"], found.get("interval"), method=found.get("method", "")
    )


def _doubts(record: Mapping[str, Any]) -> list[str]:
    doubts = [f"λ{i} not converged" for i, ok in enumerate(record.get("converged", ()), start=1) if not ok]
    if len(record["eigenvalues"]) and record.get("none_missed") is False:
        doubts.append(f"none missed: {probe_text(record)}")
    return [*doubts, *([] if record["status"] == "ok" else [str(record["status"])])]
