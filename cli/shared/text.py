"""Plain aligned text for results, tables and nested dictionaries."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from cli.shared.streams import printable

MAX_ROWS = 40


def cell(value: object) -> str:
    """Return a value as shown: four significant digits, escaped text, lists in one line."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, (list, tuple)):
        return ", ".join(cell(item) for item in value) or "none"
    if isinstance(value, Mapping):
        return ", ".join(f"{printable(key)} {cell(item)}" for key, item in value.items()) or "none"
    return printable(value)


def aligned(rows: Iterable[tuple[object, object]], indent: int = 0) -> str:
    """Return (label, value) lines with the values in one column."""
    cells = [(printable(label), cell(value)) for label, value in rows]
    width = max((len(label) for label, _ in cells), default=0)
    return "\n".join(f"{' ' * indent}{label:<{width}}  {value}".rstrip() for label, value in cells)


def keyed(rows: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return rows with a last one that says what brackets and ± in them are, where they stand."""
    from landscape.results import error_key

    listed = list(rows)
    key = error_key(value for _, value in listed)
    return [*listed, ("errors", key)] if key else listed


def table(headers: Sequence[object], rows: Iterable[Sequence[object]], indent: int = 0) -> str:
    """Return a table; columns of numbers stand to the right."""
    body = [list(row) for row in rows]
    texts = [[cell(value) for value in row] for row in body]
    heads = [printable(header) for header in headers]
    widths = [max(len(line[i]) for line in [heads, *texts]) for i in range(len(heads))]
    numeric = [
        bool(body) and all(isinstance(row[i], (int, float)) for row in body) for i in range(len(heads))
    ]
    return "\n".join(" " * indent + _row(line, widths, numeric) for line in [heads, *texts])


def _row(line: list[str], widths: list[int], numeric: list[bool]) -> str:
    parts = (
        f"{text:>{width}}" if right else f"{text:<{width}}"
        for text, width, right in zip(line, widths, numeric, strict=True)
    )
    return "  ".join(parts).rstrip()


def outline(data: Mapping[str, Any], indent: int = 0) -> str:
    """Return a nested dictionary as text: plain values first, then one indented block per sub-dictionary."""
    plain = [(key, value) for key, value in data.items() if not _is_block(value)]
    parts = [aligned(plain, indent)] if plain else []
    for key, value in data.items():
        if _is_block(value):
            parts.append(f"{' ' * indent}{printable(key)}")
            parts.append(_block(value, indent + 2))
    return "\n".join(parts)


def _is_block(value: Any) -> bool:
    return bool(value) and (isinstance(value, Mapping) or _is_table(value))


def _is_table(value: Any) -> bool:
    return isinstance(value, (list, tuple)) and all(isinstance(row, Mapping) for row in value)


def _block(value: Any, indent: int) -> str:
    if isinstance(value, Mapping):
        return outline(value, indent)
    headers = list(dict.fromkeys(key for row in value for key in row))
    rows = [[row.get(key) for key in headers] for row in value[:MAX_ROWS]]
    more = (
        f"\n{' ' * indent}... and {len(value) - MAX_ROWS} more (all with --json)"
        if len(value) > MAX_ROWS
        else ""
    )
    return table(headers, rows, indent) + more


def strict(value: Any) -> Any:
    """Return `value` as strict JSON types, non-finite numbers as None."""
    if isinstance(value, Mapping):
        return {str(key): strict(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [strict(item) for item in value]
    if hasattr(value, "tolist"):
        return strict(value.tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if isinstance(value, (str, int, bool, type(None))) else str(value)
