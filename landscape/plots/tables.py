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

# One row per point. x and y are in the units that the axes of the figure name; low and high are the ends of
# the interval of y (95 % where the figure says nothing else). A cell is empty where a fact is not known.
FIGURE_HEADERS = ("figure", "series", "method", "run", "split", "x", "y", "low", "high")
_MOST_ROWS = 20  # of a table that is shown whole on a wide screen
_MOST_LINES = 60  # and on a narrow one
_SHORT, _LONG = 16, 24  # characters of a text that never breaks; of one that needs room to break well
_WIDE = 4  # columns; on a narrow screen each row of a wider table folds into a block


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
    """Return a table whose columns of numbers stand to the right.

    On a narrow screen its text wraps, and each row of a table of many columns becomes a block in which every
    cell is named: no number is ever out of sight.
    """
    right = [_numeric([row[i] for row in rows]) for i in range(len(headers))]
    folds = len(headers) > _WIDE
    head = "".join(
        f'<th scope="col"{_kind(number)}>{escape(header)}</th>'
        for header, number in zip(headers, right, strict=True)
    )
    names = [f' data-label="{escape(header)}"' if folds else "" for header in headers]
    body = "\n".join(
        f"<tr>{''.join(_cell(*each) for each in zip(row, right, names, strict=True))}</tr>" for row in rows
    )
    kind = ' class="folds"' if folds else ""
    return f"<table{kind}>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table>"


def scroll_class(headers: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Return the class of a table's box: long where it scrolls, on a wide screen or on a narrow one."""
    lines = len(rows) * (len(headers) if len(headers) > _WIDE else 1)
    return f"scroll{' long' if len(rows) > _MOST_ROWS else ''}{' long-folded' if lines > _MOST_LINES else ''}"


def _cell(value: object, number: bool, name: str) -> str:
    text = cell(value)
    width = "" if number else " short" if len(text) <= _SHORT else " path" if len(text) > _LONG else ""
    return f'<td class="{"number" if number else f"text{width}"}"{name}>{escape(text)}</td>'


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


def machine_columns(
    headers: Sequence[str], rows: Sequence[Sequence[object]]
) -> tuple[list[str], list[list[object]]]:
    """Return a table for programs: intervals are two columns, ``low`` and ``high``.

    Where a table has several columns of intervals, the names of the others stand in front.
    """
    pairs = {i for i in range(len(headers)) if _are_pairs([row[i] for row in rows], headers[i])}
    names: list[str] = []
    for i, header in enumerate(headers):
        before = "" if header.removeprefix("95 % ") == "interval" else f"{header.removesuffix(' interval')} "
        names += [f"{before}low", f"{before}high"] if i in pairs else [header]
    return names, [
        [cell for i, value in enumerate(row) for cell in (_ends(value) if i in pairs else [value])]
        for row in rows
    ]


def _are_pairs(column: Sequence[object], header: str) -> bool:
    known: list[Any] = [value for value in column if value is not None]
    return header.endswith("interval") and all(_is_interval(value) and len(value) == 2 for value in known)


def _ends(value: Any) -> list[object]:
    return [None, None] if value is None else [value[0], value[1]]


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


def figure_rows(fig: go.Figure, name: str = "") -> list[tuple[object, ...]]:
    """Return the numbers that a figure shows, one row per point, in the order of `FIGURE_HEADERS`.

    Where a trace carries ``customdata``, its rows are (value, low, high, x), or fewer: the true numbers
    behind a point that is drawn elsewhere (on the floor of a log axis, beside its neighbours). Bands are left
    out: their ends stand at the points of their line. ``meta`` of a trace says its ``method``, ``run`` and
    ``split``, and whether its value lies on the horizontal axis.
    """
    rows: list[tuple[object, ...]] = []
    for trace in fig.data:
        x, y = _list(trace, "x"), _list(trace, "y")
        facts = _facts(trace)
        if x is None or y is None or "z" in trace or facts.get("band"):
            continue
        behind = _list(trace, "customdata")
        who = (name, _name(trace), *(facts.get(key) for key in ("method", "run", "split")))
        for i, (at, value) in enumerate(zip(x, y, strict=False)):
            true = [*([] if behind is None else behind[i]), None, None, None, None][:4]
            if at is None or (value is None and true[0] is None):
                continue
            where, drawn = (value, at) if facts.get("horizontal") else (at, value)
            rows.append((*who, _first(true[3], where), _first(true[0], drawn), true[1], true[2]))
    return rows


def _facts(trace: Any) -> dict[str, Any]:
    """Return the ``meta`` of a trace: a word, or a mapping."""
    meta = trace.meta
    return dict(meta) if isinstance(meta, Mapping) else {} if meta is None else {str(meta): True}


def _first(preferred: object, other: object) -> object:
    return other if preferred is None else preferred


def _list(trace: Any, key: str) -> list[Any] | None:
    values = getattr(trace, key, None)
    if key == "x" and values is not None and len(values) == 2 and isinstance(values[0], (list, tuple)):
        return [", ".join(map(str, pair)) for pair in zip(*values, strict=True)]  # categories of two kinds
    return None if values is None else np.asarray(values, dtype=object).tolist()


def _name(trace: Any) -> str:
    import html

    return visible(html.unescape((trace.name or "").replace("<br>", " ")))
