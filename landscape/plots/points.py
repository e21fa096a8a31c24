"""Results as rows for the next program: one per point, the same columns for every kind.

No row repeats another and none is an outline of something drawn. `COLUMNS` says what each column holds and in
which units; a cell is None (empty in CSV) where a fact does not apply or is not known.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

__all__ = ["COLUMNS", "points_of", "table_of"]

COLUMNS = {
    "name": "the network, or the two endpoints of a path",
    "method": "how the network was trained, where its checkpoint says so",
    "seed": "train seed of the network",
    "level": "pruning level, 0 is dense",
    "density": "share of weights remaining, 0 to 1",
    "split": "data that the value is measured on",
    "space": "space in which a network was perturbed: ticket or full",
    "layer": "path of the parameters that the value is of; empty for all",
    "quantity": "what the value is: loss, a metric, eigenvalue, trace, a measure",
    "x": "place: α on a path (0 to 1), rank of an eigenvalue (from 1), radius, "
    "coordinate on a line or plane, seed of an episode, number of a step or state of it (from 0)",
    "y": "second coordinate on a plane, in units of its direction",
    "value": "the number, in the units of its quantity (a loss as the problem returns it, accuracy 0 to 1)",
    "low": "lower end of the 95 % interval of the value; of an eigenvalue, value minus residual",
    "high": "upper end of the 95 % interval of the value; of an eigenvalue, value plus residual",
    "standard_error": "standard error of the value",
    "label": "what kind of number it is: exact, estimate, lower bound",
    "status": "ok, or why the value is not to be trusted",
}

Row = dict[str, Any]
_FACTS = ("name", "method", "seed", "level", "density")


def points_of(result: Any) -> list[Row]:
    """Return a result as rows, each with the keys of `COLUMNS` in their order.

    Parameters
    ----------
    result : Result
        Of any kind. Kinds without rows of their own have one per number: scalars by name, arrays by index.
    """
    rows = _KINDS.get(str(result.kind), _generic)(result)
    return [{column: _plain(row.get(column)) for column in COLUMNS} for row in rows]


def table_of(result: Any) -> tuple[list[str], list[list[Any]]]:
    """Return the rows of a result as a table of the columns that hold something."""
    rows = points_of(result)
    used = [column for column in COLUMNS if any(row[column] is not None for row in rows)]
    return used, [[row[column] for column in used] for row in rows]


def _plain(value: Any) -> Any:
    if isinstance(value, (np.generic, np.ndarray)):
        value = value.tolist()
    return value


def _facts(record: Mapping[str, Any]) -> Row:
    return {name: record.get(name) for name in _FACTS}


def _ends(interval: Any) -> Row:
    low, high = (None, None) if interval is None else interval
    return {"low": low, "high": high}


def _barrier(result: Any) -> Iterator[Row]:
    name = " → ".join(map(str, result.endpoints))
    for split, quantities in result.losses.items():
        for quantity, values in quantities.items():
            bounds = _band(result) if (split, quantity) == (result.split, "loss") else {}
            for at, (alpha, value) in enumerate(zip(result.alphas, values, strict=True)):
                row = {"name": name, "split": split, "quantity": quantity, "x": float(alpha), "value": value}
                yield {**row, **bounds.get(at, {})}
    for alpha, value in zip(result.refined_alphas, result.refined_losses, strict=True):
        yield {"name": name, "split": result.split, "quantity": "loss", "x": float(alpha), "value": value}
    yield from _before(result, name)
    for which in ("above_chord", "above_mean"):
        value, alpha = getattr(result, f"barrier_{which}"), result.alpha_max.get(which)
        row = {"name": name, "split": result.split, "quantity": f"barrier_{which}", "x": alpha}
        yield {**row, "value": value, **_ends(getattr(result, f"interval_{which}"))}


def _before(result: Any, name: str) -> Iterator[Row]:
    """Yield the losses and barriers of a path before its second network was aligned."""
    if result.aligned is None:
        return
    found, same = result.aligned["before"], {"name": f"{name}, before alignment"}
    for split, quantities in found["losses"].items():
        for quantity, values in quantities.items():
            for alpha, value in zip(result.alphas, values, strict=True):
                yield {**same, "split": split, "quantity": quantity, "x": float(alpha), "value": value}
    for which in ("above_chord", "above_mean"):
        ends = _ends(found.get(f"interval_{which}"))
        row = {**same, "split": result.split, "quantity": f"barrier_{which}"}
        yield {**row, "value": found.get(f"barrier_{which}"), **ends}


def _band(result: Any) -> dict[int, Row]:
    """Return the ends of the simultaneous band of the loss above the chord, by point."""
    band = (result.band or {}).get("above_chord") or {}
    if band.get("critical") is None:
        return {}
    loss = np.asarray(result.losses[result.split]["loss"], np.float64)
    alphas = np.asarray(result.alphas, np.float64)
    middle = (1 - alphas) * loss[0] + alphas * loss[-1] + np.asarray(band["excess"], np.float64)
    half = float(band["critical"]) * np.asarray(band["standard_error"], np.float64)
    known = np.isfinite(middle) & np.isfinite(half)
    ends = zip(middle - half, middle + half, known, strict=True)
    return {i: {"low": low, "high": high} for i, (low, high, ok) in enumerate(ends) if ok}


def _barrier_matrix(result: Any) -> Iterator[Row]:
    yield from _of_pairs(result, "")
    if result.aligned is not None:
        yield from _of_pairs(result.unaligned(), ", before alignment")


def _of_pairs(result: Any, note: str) -> Iterator[Row]:
    headers, rows = result.table()
    for cells in rows:
        one = dict(zip(headers, cells, strict=True))
        row = {"name": f"{one['name_a']} → {one['name_b']}{note}", "split": one["split"], "x": one["alpha"]}
        quantity = f"{one['metric']}, barrier_{one['definition']}"
        ends = {"low": one["low"], "high": one["high"]}
        yield {**row, "quantity": quantity, "value": one["barrier"], **ends, "label": one["relation"]}


def _curvature(result: Any) -> Iterator[Row]:
    split = result.config.get("split")
    for record in result.records:
        facts = {**_facts(record), "split": split, "status": record.get("status")}
        yield from ({**facts, **row} for row in _spectrum(record["eigenvalues"], record["residuals"]))
        quantity = "smoothed trace" if getattr(result, "smoothed", False) else "trace"
        if record.get("trace"):
            yield {**facts, "quantity": quantity, **_estimate(record["trace"])}
        for layer, found in (record.get("per_layer") or {}).items():
            yield {**facts, "quantity": quantity, "layer": layer, **_estimate(found)}


def _spectrum(values: Any, residuals: Any) -> Iterator[Row]:
    for rank, (value, residual) in enumerate(zip(values, residuals, strict=True), start=1):
        ends = {"low": float(value) - float(residual), "high": float(value) + float(residual)}
        yield {"quantity": "eigenvalue", "x": rank, "value": value, **ends}


def _estimate(found: Mapping[str, Any]) -> Row:
    error = found.get("standard_error")
    return {"value": found.get("value"), "standard_error": error, **_ends(found.get("interval"))}


def _eigenpairs(result: Any) -> Iterator[Row]:
    for row in _spectrum(result.eigenvalues, result.residuals):
        yield {**row, "split": result.config.get("split"), "status": result.status}


def _trace(result: Any) -> Iterator[Row]:
    facts = {"split": result.config.get("split"), "quantity": str(result.kind), "status": result.status}
    yield {**facts, **_estimate(vars(result))}
    for layer, found in (getattr(result, "per_layer", None) or {}).items():
        yield {**facts, "layer": layer, **_estimate(found)}


def _entries(result: Any) -> Iterator[Row]:
    """Return one row per entry: its rank in the order of the parameters, from 0, and its errors."""
    quantity = str(result.kind)
    facts = {"split": result.config.get("split"), "quantity": quantity, "status": result.status}
    errors = [None] * len(result.values) if result.standard_errors is None else result.standard_errors
    ends = [None] * len(result.values) if result.intervals is None else result.intervals
    for x, (value, error, pair) in enumerate(zip(result.values, errors, ends, strict=True)):
        yield {**facts, "x": x, "value": value, "standard_error": error, **_ends(pair)}


def _density(result: Any) -> Iterator[Row]:
    for prefix, quantity in (("", "density"), ("log_", "density_of_log10_size")):
        columns = (getattr(result, f"{prefix}{name}") for name in ("grid", "density", "standard_error"))
        for x, value, error in zip(*columns, strict=True):
            yield {"quantity": quantity, "x": x, "value": value, "standard_error": error}


def _flatness(result: Any) -> Iterator[Row]:
    for record in result.records:
        row = {**_facts(record), "space": record.get("space"), "quantity": record["measure"]}
        found = {"x": record.get("radius"), **_estimate(record)}
        yield {**row, **found, "label": record.get("label"), "status": record.get("status")}
    for curve in result.curves:
        quantity = f"{curve['measure']}: rise of the loss"
        row = {**_facts(curve), "space": curve.get("space"), "quantity": quantity}
        for x, value, error in _three(curve):
            yield {**row, "x": x, "value": value, "standard_error": error, "label": "curve"}


def _three(curve: Mapping[str, Any]) -> Iterator[tuple[Any, ...]]:
    return zip(curve["radii"], curve["loss_rise"], curve["loss_rise_error"], strict=True)


def _scale(result: Any) -> Iterator[Row]:
    for record in result.records:
        row = {**_facts(record), "layer": record["layer"]}
        for quantity in ("rank", "linear"):
            yield {**row, "quantity": f"{quantity} correlation", "value": record.get(quantity)}


def _line(result: Any) -> Iterator[Row]:
    errors = np.asarray(result.standard_error)
    for split, quantities in result.losses.items():
        for quantity, lines in quantities.items():
            known = (split, quantity) == (result.split, "loss")
            for number, (direction, values) in enumerate(zip(result.direction_names, lines, strict=True)):
                for at, (x, value) in enumerate(zip(result.x, values, strict=True)):
                    row = {"name": direction, "split": split, "quantity": quantity, "x": x, "value": value}
                    yield {**row, "standard_error": errors[number, at] if known else None}
    yield from _anchors(result)


def _surface(result: Any) -> Iterator[Row]:
    errors = np.asarray(result.standard_error)
    for split, quantities in result.losses.items():
        for quantity, values in quantities.items():
            known = (split, quantity) == (result.split, "loss")
            for row, place in _grid(result, values):
                row |= {"split": split, "quantity": quantity}
                yield {**row, "standard_error": errors[place] if known else None}
    for number, plane in enumerate([] if result.planes is None else result.planes[1:], start=2):
        for row, _ in _grid(result, plane):
            yield {**row, "name": f"plane {number}", "split": result.split, "quantity": "loss"}
    yield from _anchors(result)


def _grid(result: Any, values: Any) -> Iterator[tuple[Row, tuple[int, ...]]]:
    """Return one row per point of a plane, with its place in the grid."""
    for place, value in np.ndenumerate(np.asarray(values)):
        yield {"x": result.x[place[0]], "y": result.y[place[1]], "value": value}, place


def _anchors(result: Any) -> Iterator[Row]:
    """Return one row per network: where it lies, and its own loss."""
    for name, place in result.anchors.items():
        row = {"name": name, "split": result.split, "quantity": "loss of the network"}
        yield {**row, "x": place["x"], "y": place.get("y"), "value": place["loss"]}


def _trajectory(result: Any) -> Iterator[Row]:
    columns = {
        "loss": result.losses,
        "loss of the plane below it": result.plane_losses,
        "distance from the plane": result.distances,
    }
    for at, (name, path) in enumerate(zip(result.names, result.paths, strict=True)):
        x, y = result.coordinates[at]
        row = {"name": name, "method": path, "split": result.split, "x": x, "y": y}
        yield from ({**row, "quantity": quantity, "value": found[at]} for quantity, found in columns.items())
    for row, _ in _grid(result, result.surface):
        yield {**row, "split": result.split, "quantity": "loss of the plane"}


def _connecting_curve(result: Any) -> Iterator[Row]:
    name = " → ".join(map(str, result.endpoints))
    for split, quantities in result.losses.items():
        for quantity, values in quantities.items():
            for x, value in zip(result.ts, values, strict=True):
                yield {"name": name, "split": split, "quantity": quantity, "x": x, "value": value}
    row = {"name": name, "split": result.split}
    for x, value in zip(result.ts, result.line_losses, strict=True):
        yield {**row, "quantity": "loss on the straight line", "x": x, "value": value}
    for which in ("barrier_above_chord", "barrier_above_mean", "line_barrier_above_chord"):
        interval = getattr(result, which.replace("barrier", "interval"))
        yield {**row, "quantity": which, "value": getattr(result, which), **_ends(interval)}


def _rollout(result: Any) -> Iterator[Row]:
    for place, name in enumerate(result.names):
        row = {"name": name, "split": result.split}
        low, high = (None if np.isnan(end) else float(end) for end in result.intervals[place])
        yield {**row, "quantity": "mean return", "value": result.means[place], "low": low, "high": high}
        columns = {"return": result.returns[place], "length": result.lengths[place]}
        for quantity, values in columns.items():
            for seed, value in zip(result.seeds, values, strict=True):
                yield {**row, "quantity": quantity, "x": seed, "value": value}
        yield from ({**row, **step} for step in _steps(result.episodes[place]))
    if result.difference is not None:
        row = {"name": " → ".join(result.names), "split": result.split, "quantity": "difference of returns"}
        yield {**row, "value": result.difference, **_ends(result.interval_difference)}


def _steps(episode: Mapping[str, Any]) -> Iterator[Row]:
    """Return one row per step and number of the episode that is shown; images are not in it."""
    columns = {"reward": np.asarray(episode["rewards"])[:, None], "action": episode["actions"]}
    columns |= {f"state {name}": values for name, values in (episode.get("states") or {}).items()}
    for quantity, values in columns.items():
        several = np.shape(values)[1] > 1
        for (x, part), value in np.ndenumerate(np.asarray(values)):
            yield {"quantity": f"{quantity}, {part + 1}" if several else quantity, "x": x, "value": value}


def _generic(result: Any) -> Iterator[Row]:
    for name, value in result.data().items():
        if isinstance(value, (Mapping, str)) or value is None:
            continue
        array = np.asarray(value, object) if isinstance(value, Sequence) else np.asarray(value)
        if array.ndim > 2 or array.dtype.kind not in "fiub":
            continue
        for place, found in np.ndenumerate(array):
            x, y = (*place, None, None)[:2]
            yield {"quantity": name, "x": x, "y": y, "value": found, "status": result.status}


_KINDS: dict[str, Callable[[Any], Iterator[Row]]] = {
    "barrier": _barrier,
    "barrier_matrix": _barrier_matrix,
    "connecting_curve": _connecting_curve,
    "curvature": _curvature,
    "eigenpairs": _eigenpairs,
    "flatness": _flatness,
    "frobenius_norm": _trace,
    "loss_line": _line,
    "rollout": _rollout,
    "scale_curvature": _scale,
    "spectral_density": _density,
    "smoothed_diagonal": _entries,
    "smoothed_gradient": _entries,
    "smoothed_trace": _trace,
    "surface": _surface,
    "trace": _trace,
    "trajectory": _trajectory,
}
