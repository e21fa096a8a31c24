"""Tables of a page: HTML for the reader, CSV for the next program, and the numbers behind a figure."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from landscape.plots.text import escape, visible
from landscape.results import format_value

FIGURE_HEADERS = ("series", "x", "y", "low", "high")


def is_number(value: object) -> bool:
    """Return whether a cell holds a number (a bool is a word)."""
    return isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(
        value, (bool, np.bool_)
    )


def cell(value: object) -> str:
    """Return a cell as shown: four significant digits, a dash for what is missing."""
    if value is None:
        return "–"
    if isinstance(value, (bool, np.bool_)):
        return "yes" if value else "no"
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(cell(item) for item in value)}]"
    return format_value(value)


def html_table(headers: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Return a table whose columns of numbers stand to the right."""
    right = [_numeric([row[i] for row in rows]) for i in range(len(headers))]
    head = "".join(
        f'<th scope="col"{_kind(number)}>{escape(header)}</th>'
        for header, number in zip(headers, right, strict=True)
    )
    body = "\n".join(
        f"<tr>{''.join(_cell(value, number) for value, number in zip(row, right, strict=True))}</tr>"
        for row in rows
    )
    return f"<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table>"


def _cell(value: object, number: bool) -> str:
    return f"<td{_kind(number)}>{escape(cell(value))}</td>"


def _kind(number: bool) -> str:
    return ' class="number"' if number else ' class="text"'


def _numeric(column: Iterable[object]) -> bool:
    known = [value for value in column if value is not None]
    return bool(known) and all(is_number(value) or _is_interval(value) for value in known)


def _is_interval(value: object) -> bool:
    return isinstance(value, (list, tuple, np.ndarray)) and all(is_number(item) for item in value)


def csv_text(headers: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return rows as CSV with numbers in full precision and nothing for what is missing."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(headers)
    writer.writerows([_plain(value) for value in row] for row in rows)
    return stream.getvalue()


def _plain(value: object) -> object:
    if isinstance(value, (np.ndarray, np.generic)):
        value = value.tolist()
    return " ".join(map(str, value)) if isinstance(value, (list, tuple)) else value


def flat(mapping: Mapping[str, Any], prefix: str = "") -> list[tuple[str, object]]:
    """Return the leaves of nested dictionaries with dotted names, in order."""
    leaves: list[tuple[str, object]] = []
    for key, value in mapping.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            leaves.extend(flat(value, f"{name}."))
        else:
            leaves.append((name, value))
    return leaves


def figure_rows(fig: go.Figure) -> list[tuple[object, ...]]:
    """Return the numbers that a figure shows, one row a point.

    Where a trace carries ``customdata``, its rows are (value, low, high, x), or fewer: the true numbers
    behind a point that is drawn elsewhere (on the floor of a log axis, beside its neighbours).
    """
    rows: list[tuple[object, ...]] = []
    for trace in fig.data:
        x, y = _list(trace, "x"), _list(trace, "y")
        if x is None or y is None or "z" in trace:
            continue
        behind = _list(trace, "customdata")
        horizontal = trace.meta == "horizontal"
        for i, (at, value) in enumerate(zip(x, y, strict=False)):
            true = [*([] if behind is None else behind[i]), None, None, None, None][:4]
            if at is None or (value is None and true[0] is None):
                continue
            where, drawn = (value, at) if horizontal else (at, value)
            rows.append((_name(trace), _first(true[3], where), _first(true[0], drawn), true[1], true[2]))
    return rows


def _first(preferred: object, other: object) -> object:
    return other if preferred is None else preferred


def _list(trace: Any, key: str) -> list[Any] | None:
    values = getattr(trace, key, None)
    return None if values is None else np.asarray(values, dtype=object).tolist()


def _name(trace: Any) -> str:
    import html

    return visible(html.unescape((trace.name or "").replace("<br>", " ")))
