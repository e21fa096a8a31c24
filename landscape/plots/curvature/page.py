"""Pages of curvature: figures, certificates, and every number as a row for the next program."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from landscape.curvature import check_texts, probe_text, products_text
from landscape.plots.curvature.figures import curvature_figure
from landscape.plots.curvature.scale import scale_figure
from landscape.plots.curvature.sweep import sweep_figures
from landscape.plots.page import Page

__all__ = ["add_curvature", "add_scale_curvature"]

Row = tuple[object, ...]

_READING = (
    "An eigenvalue of the matrix lies within the residual of each value. A standard error of a trace is "
    "that of its random probes; where only some examples were used, the error from their choice is given "
    "apart. That none was missed is evidence from a fresh random block, not proof."
)
_SMOOTHED = (
    "The trace of the Hessian of the loss smoothed by noise on the parameters, from values of it alone. "
    "A standard error is that of the random pairs; the error from the choice of examples is given apart. "
    "Another radius is another loss: compare networks at one."
)
_WHOSE = ("name", "method", "seed", "level", "layer", "networks", "size", "rank", "rank_low", "rank_high")
_NUMBERS = ("quantity", "value", "error", "kind of error", "low", "high", "remark")
_SCALE = (
    "Correlation of 1/σ² with the Hessian's diagonal over the free parameters. Where the diagonal is "
    "estimated, the linear one is corrected for the noise of its probes and the rank correlation is not: "
    "noise makes it smaller. Intervals are over networks."
)


def add_curvature(page: Page, result: Any) -> None:
    """Add the figures and numbers of a `CurvatureTable`."""
    page.text(_SMOOTHED if getattr(result, "smoothed", False) else _READING)
    if len(result.records) == 1:
        record, spectrum = result.records[0], result.spectrum(0)
        page.figure(curvature_figure(result), "", "figure")
        page.table(_NUMBERS, _numbers(result, record, spectrum), "Numbers", "numbers")
    else:
        for figure, caption, name in sweep_figures(result):
            page.figure(figure, caption, name)
    caption = "One row per network" if len(result.records) > 1 else "The same as one row"
    _tidy(page, result.tidy(), caption, "curvature")
    if len(result.records) > 1:
        _tidy(page, result.tidy_layers(), "Trace by layer", "trace-by-layer")


def _tidy(page: Page, rows: Sequence[Mapping[str, Any]], caption: str, name: str) -> None:
    """Add rows as a table, without the columns in which there is nothing."""
    columns = dict.fromkeys(key for row in rows for key in row)
    kept = [key for key in columns if any(row.get(key) is not None for row in rows)]
    if rows:
        page.table(kept, [[row.get(key) for key in kept] for row in rows], caption, name)


def _numbers(result: Any, record: Mapping[str, Any], spectrum: Any) -> list[Row]:
    rows = [*_eigenvalues(record, result.which), *_trace(record)]
    if spectrum is not None:
        rows += _checks(spectrum["checks"])
    if record.get("num_pairs") is not None:
        return [*rows, ("pairs", record["num_pairs"], *[None] * 4, "of the answer; a pilot came before them")]
    remark = products_text(record) if record.get("data_passes") else ""
    return [*rows, ("products", record["num_matvecs"], *[None] * 4, remark)]


def _eigenvalues(record: Mapping[str, Any], which: str) -> list[Row]:
    count = len(record["eigenvalues"])
    converged, copies = record.get("converged", [None] * count), record.get("multiplicity", [1] * count)
    rows: list[Row] = []
    for i in range(count):
        value, residual = float(record["eigenvalues"][i]), float(record["residuals"][i])
        said = [] if converged[i] is None else ["converged" if converged[i] else "not converged"]
        said += [f"one of {int(copies[i])} that cannot be told apart"] if copies[i] > 1 else []
        ends = (value - residual, value + residual)
        rows.append((f"λ{i + 1} ({which})", value, residual, "residual", *ends, ", ".join(said)))
    return [*rows, ("none missed", *[None] * 5, probe_text(record))] if rows else rows


def _trace(record: Mapping[str, Any]) -> list[Row]:
    found = record.get("trace")
    if not found:
        return []
    kind, value = "standard error", found["value"]
    ends = found.get("interval") or (None, None)
    rows: list[Row] = [("trace", value, found["standard_error"], kind, *ends, found["method"])]
    apart = found.get("data_standard_error")
    if apart is not None:
        rows.append(("trace, from the examples", None, apart, kind, None, None, "apart from the probes"))
    for path, layer in (record.get("per_layer") or {}).items():
        ends = layer.get("interval") or (None, None)
        rows.append((f"trace of {path}", layer["value"], layer["standard_error"], kind, *ends, ""))
    return rows


def _checks(checks: Mapping[str, float]) -> list[Row]:
    texts = dict(check_texts(checks))
    rows: list[Row] = [("density: mass", checks["mass"], *[None] * 4, texts["density: mass"])]
    for name in ("mean_eigenvalue", "mean_square"):
        drawn = f"{checks[f'{name}_drawn']:.4g} as drawn"
        error = checks[f"{name}_error"]
        label = f"density: {name.replace('_', ' ')}"
        rows.append((label, checks[name], error, "standard error", None, None, drawn))
    return rows


def add_scale_curvature(page: Page, result: Any) -> None:
    """Add the figure and numbers of a `ScaleCurvature`."""
    page.text(_SCALE).figure(scale_figure(result), "", "figure")
    means = [_ordered(_flat(found)) for found in result.summary]
    _tidy(page, means, "Means over networks", "summary")
    rows = [_ordered(record) for record in result.records]
    _tidy(page, rows, "One row per network and layer", "correlations")


def _ordered(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row with whose it is first: a stored one has its keys in the order of the alphabet."""
    return {key: row[key] for key in (*_WHOSE, *sorted(set(row).difference(_WHOSE))) if key in row}


def _flat(found: Mapping[str, Any]) -> dict[str, Any]:
    """Return an entry with its intervals as two columns each."""
    row: dict[str, Any] = {}
    for key, value in found.items():
        if key.endswith("_interval"):
            low, high = value or (None, None)
            row |= {key.replace("_interval", "_low"): low, key.replace("_interval", "_high"): high}
        else:
            row[key] = value
    return row
