"""One HTML page: a story in text, figures and tables, with its data beside it.

The page holds no clock time and no random id: written twice, it is the same bytes.
"""

from __future__ import annotations

import base64
import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from landscape.errors import ConfigurationError, InputError, did_you_mean
from landscape.plots import files
from landscape.plots.assets import SCRIPT, SCROLL_SIGNS, STYLE
from landscape.plots.tables import (
    FIGURE_HEADERS,
    cell,
    csv_text,
    figure_rows,
    flat,
    html_table,
    machine_columns,
    scroll_class,
)
from landscape.plots.text import escape, markup, slug, visible
from landscape.plots.theme import caption_of, without_title

if TYPE_CHECKING:
    import plotly.graph_objects as go

__all__ = ["PLOTLYJS", "Page"]

PLOTLYJS = ("embed", "cdn", "directory")
CONTENTS_FROM = 4  # sections; a page with as many or more has a table of contents
INLINE_LIMIT = 100_000  # bytes of CSV that a link may carry inside the page

_FIGURES = "figures.csv"  # the points of all figures
_CONFIG = '<script>window.PlotlyConfig = {MathJaxConfig: "local"};</script>'


@dataclasses.dataclass(frozen=True)
class _Table:
    """Rows that the page links: those of a table are a file of their own, those of figures share one."""

    file: str
    headers: tuple[str, ...]
    rows: tuple[tuple[object, ...], ...]
    shared: bool = False

    @property
    def text(self) -> str:
        return csv_text(self.headers, self.rows)


class Page:
    """A report under construction: its parts are shown in the order of the calls.

    All text is escaped, and control characters are shown as escapes. Every method returns the page,
    so that calls can be chained.

    Parameters
    ----------
    title, subtitle : str
        Plain text.

    Examples
    --------
    >>> page = Page("Barriers", "two runs").text("One **bold** word.")
    >>> "<strong>bold</strong>" in page.html()
    True
    """

    def __init__(self, title: str, subtitle: str = "") -> None:
        self.title = title
        self.subtitle = subtitle
        self._blocks: list[str | _Table] = []
        self._sections: list[tuple[str, str]] = []
        self._names: set[str] = set()
        self._provenance: list[tuple[str, object]] = []
        self._unique(Path(_FIGURES).stem)

    def section(self, title: str, text: str = "") -> Page:
        """Begin a section, with an introduction in the markup of `text`."""
        anchor = self._unique(title)
        self._sections.append((anchor, title))
        self._blocks.append(f'<h2 id="{anchor}">{escape(title)}</h2>')
        return self.text(text) if text else self

    def text(self, text: str, *, plain: bool = False) -> Page:
        """Add paragraphs.

        Parameters
        ----------
        text : str
            Paragraphs parted by blank lines, ``- `` lists, ``**bold**``, ``*emphasis*`` and
            ```` `code` ````. Tags are text, and there are no links.
        plain : bool
            Whether stars and backticks are text as well: for words that come from files.
        """
        self._blocks.append(f"<p>{escape(text)}</p>" if plain else markup(text))
        return self

    def warning(self, text: str) -> Page:
        """Add a plain-text warning that stands out."""
        shown = "\n".join(escape(line) for line in text.split("\n"))
        self._blocks.append(f'<div class="warning" role="note">{shown}</div>')
        return self

    def cards(self, cards: Sequence[Sequence[str]]) -> Page:
        """Add a strip of key numbers, each ``(label, value)`` or ``(label, value, note)``."""
        items = []
        for title, value, *note in cards:
            below = f"<dd>{escape(note[0])}</dd>" if note and note[0] else ""
            shown = f'<dd class="value">{escape(value)}</dd>'
            items.append(f'<div class="card"><dt>{escape(title)}</dt>{shown}{below}</div>')
        self._blocks.append(f'<dl class="cards">{"".join(items)}</dl>')
        return self

    def figure(
        self,
        fig: go.Figure,
        caption: str = "",
        name: str = "figure",
        *,
        points: tuple[Sequence[str], Sequence[Sequence[object]]] | None = None,
    ) -> Page:
        """Add a Plotly figure.

        Its title becomes the heading of the figure in HTML, where it can wrap on a narrow screen. Its own
        caption (see `theme.style`) follows the one given here.

        Parameters
        ----------
        fig : plotly Figure
            Left as it is.
        caption : str
            In the markup of `text`.
        name : str
            Part of the element id and of the CSV's name; a number is added where it is taken.
        points : tuple of headers and rows, optional
            What its CSV holds, in a file of its own: of contours, which are not series of points.
        """
        from plotly.io.json import to_json_plotly

        anchor = self._unique(name)
        specification = fig.to_plotly_json()
        layout = dict(specification["layout"])
        title = (layout.get("meta") or {}).get("title") if isinstance(layout.get("meta"), Mapping) else None
        if title is not None:
            layout = without_title(layout)
        height = layout.get("height") or 440
        heading = f"<h3>{escape(title)}</h3>" if title else ""
        said = "\n\n".join(part for part in (caption, caption_of(fig)) if part)
        frames = {"frames": found} if (found := specification.get("frames")) else {}
        data = to_json_plotly({"data": specification["data"], "layout": layout, **frames})
        self._blocks.append(
            f'<figure id="{anchor}">{heading}\n'
            f'<div class="plot" id="plot-{anchor}" style="height:{int(height)}px"></div>\n'
            f'<script type="application/json" class="figure" data-for="plot-{anchor}">{data}</script>\n'
            f"<figcaption>{markup(said)}</figcaption>"
        )
        if points is not None:
            self._blocks.append(_Table(f"{anchor}.csv", tuple(points[0]), tuple(map(tuple, points[1]))))
        elif rows := figure_rows(fig, anchor):
            self._blocks.append(_Table(f"{anchor}.csv", FIGURE_HEADERS, tuple(rows), shared=True))
        self._blocks.append("</figure>")
        return self

    def pair(self, figures: Sequence[tuple[go.Figure, str, str]]) -> Page:
        """Add figures, each (figure, caption, name), side by side where the screen is wide enough."""
        if len(figures) > 1:
            self._blocks.append('<div class="pair">')
        for fig, caption, name in figures:
            self.figure(fig, caption, name)
        if len(figures) > 1:
            self._blocks.append("</div>")
        return self

    def beside(
        self, figures: Sequence[tuple[go.Figure, str, str]], other: tuple[go.Figure, str, str]
    ) -> Page:
        """Add figures one below the other, and beside them one that stays in view as they pass."""
        self._blocks.append('<div class="pair"><div>')
        for fig, caption, name in figures:
            self.figure(fig, caption, name)
        self._blocks.append('</div><div class="stays">')
        self.figure(*other)
        self._blocks.append("</div></div>")
        return self

    def table(
        self,
        headers: Sequence[str],
        rows: Sequence[Sequence[object]],
        caption: str = "",
        name: str = "table",
        *,
        folded: bool = False,
    ) -> Page:
        """Add a table, and the same as a CSV file in full precision.

        A cell with two ends, under ``"95 % interval"``, is two columns of the file, ``low`` and ``high``.

        Parameters
        ----------
        headers, rows
            One cell per header.
        caption, name : str
            As for `figure`.
        folded : bool
            Whether the table opens when its caption is clicked.

        Raises
        ------
        InputError
            If a row does not have one cell per header.
        """
        for i, row in enumerate(rows):
            if len(row) != len(headers):
                raise InputError(
                    f"table {visible(name)!r}: row {i} does not fit the headers",
                    expected=f"{len(headers)} cells",
                    got=str(len(row)),
                )
        anchor = self._unique(name)
        title = f'<div class="caption"><h3>{escape(caption)}</h3></div>' if caption else ""
        if folded:
            title = f"<details><summary>{escape(caption or name)}</summary>"
        self._blocks.append(
            f'<div class="tablebox{" folded" if folded else ""}" id="{anchor}">{title}'
            f'<div class="{scroll_class(headers, rows)}" tabindex="0" role="region" '
            f'aria-label="{escape(caption or name)}">\n'
            f'{html_table(headers, rows)}\n</div><p class="more" aria-hidden="true"></p>'
        )
        names, cells = machine_columns(headers, rows)
        self._blocks.append(_Table(f"{anchor}.csv", tuple(names), tuple(map(tuple, cells))))
        self._blocks.append("</details></div>" if folded else "</div>")
        return self

    def data(self, headers: Sequence[str], rows: Sequence[Sequence[object]], name: str) -> Page:
        """Add the link to a CSV file without its table: for more rows than anybody reads."""
        file = f"{self._unique(name)}.csv"
        self._blocks.append(_Table(file, tuple(headers), tuple(map(tuple, rows))))
        return self

    def provenance(self, mapping: Mapping[str, Any]) -> Page:
        """Add to the block at the end that says where the numbers come from."""
        self._provenance.extend(flat(mapping))
        return self

    def html(self, *, plotlyjs: str = "embed", data_folder: str = "page-data") -> str:
        """Return the page as text; `data_folder` is where its links look for CSV files."""
        check_plotlyjs(plotlyjs)
        body = "\n".join(self._rendered(block, data_folder) for block in self._blocks)
        subtitle = f'<p class="subtitle">{escape(self.subtitle)}</p>' if self.subtitle else ""
        has_figures = any(isinstance(block, str) and block.startswith("<figure") for block in self._blocks)
        scripts = f"{_library(plotlyjs)}\n<script>{SCRIPT}</script>\n" if has_figures else ""
        if any(isinstance(block, _Table) and not block.shared for block in self._blocks):
            scripts += f"<script>{SCROLL_SIGNS}</script>\n"
        return (
            '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
            '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
            '<meta name="color-scheme" content="light dark">\n'
            f"<title>{escape(self.title)}</title>\n"
            f'<link rel="icon" href="data:,">\n<style>\n{STYLE}\n</style>\n</head>\n<body>\n<main>\n'
            f"<header>\n<h1>{escape(self.title)}</h1>\n{subtitle}\n</header>\n"
            f"{self._contents()}{body}\n{self._provenance_html()}</main>\n{scripts}</body>\n</html>\n"
        )

    def write(self, path: str | Path, *, plotlyjs: str = "embed", force: bool = False) -> list[Path]:
        """Write the page to `path` and its tables to the folder ``<page>-data`` beside it.

        Parameters
        ----------
        path : path
            The folder is made if it is missing.
        plotlyjs : {"embed", "cdn", "directory"}
            Whether plotly.js (about 5 MB) is in the page, fetched from its public network, or a file
            beside the page that several pages share.
        force : bool
            Whether files that are there may be replaced.

        Returns
        -------
        list of Path
            Every file written; the page itself comes first.

        Raises
        ------
        OutputExistsError
            If a file is there and `force` is false; nothing is written then.
        InputError
            If a file cannot be written.
        """
        path = Path(path).expanduser()
        folder = path.with_name(f"{path.stem}-data")
        tables = {folder / name: text for name, text in self._files().items()}
        text = self.html(plotlyjs=plotlyjs, data_folder=folder.name)
        files.check_targets((path, *tables), force=force)
        library = [_write_library(path.parent, force=force)] if plotlyjs == "directory" else []
        beside = [files.write_text(table, content) for table, content in tables.items()]
        return [files.write_text(path, text), *beside, *library]

    def _files(self) -> dict[str, str]:
        """Return the CSV files of the page: one per table, and one with the points of all figures."""
        blocks = [block for block in self._blocks if isinstance(block, _Table)]
        points = [row for block in blocks if block.shared for row in block.rows]
        figures = {_FIGURES: csv_text(FIGURE_HEADERS, points)} if points else {}
        return {**figures, **{block.file: block.text for block in blocks if not block.shared}}

    def _unique(self, name: object) -> str:
        anchor, count = (base := slug(visible(name))), 1
        while anchor in self._names:
            count += 1
            anchor = f"{base}-{count}"
        self._names.add(anchor)
        return anchor

    def _rendered(self, block: str | _Table, folder: str) -> str:
        if isinstance(block, str):
            return block
        data = block.text.encode("utf-8", "backslashreplace")
        beside = _FIGURES if block.shared else block.file
        href = f"{quote(folder)}/{quote(beside)}"
        if len(data) <= INLINE_LIMIT:  # a page that was sent alone still has its numbers
            href = f"data:text/csv;charset=utf-8;base64,{base64.b64encode(data).decode('ascii')}"
        return (
            f'<p class="data"><a href="{escape(href)}" download="{escape(block.file)}">Data (CSV)</a>'
            f" · {escape(folder)}/{escape(beside)}</p>"
        )

    def _contents(self) -> str:
        if len(self._sections) < CONTENTS_FROM:
            return ""
        links = "".join(f'<a href="#{anchor}">{escape(title)}</a>' for anchor, title in self._sections)
        return f'<nav aria-label="Contents">{links}</nav>\n'

    def _provenance_html(self) -> str:
        if not self._provenance:
            return ""
        rows = "\n".join(
            f'<tr><th scope="row">{escape(name)}</th><td>{escape(cell(value))}</td></tr>'
            for name, value in self._provenance
        )
        return (
            '<details class="provenance" id="provenance"><summary>Provenance: versions, settings, digests'
            f"</summary>\n<table><tbody>\n{rows}\n</tbody></table></details>\n"
        )


def check_plotlyjs(plotlyjs: str) -> None:
    """Refuse an unknown way to find plotly.js.

    Raises
    ------
    ConfigurationError
        If it is not one of `PLOTLYJS`.
    """
    if plotlyjs not in PLOTLYJS:
        raise ConfigurationError(
            "plotlyjs: unknown way to find plotly.js",
            expected=" or ".join(PLOTLYJS),
            got=repr(plotlyjs),
            hint=did_you_mean(plotlyjs, PLOTLYJS),
        )


def _library(plotlyjs: str) -> str:
    from plotly.offline import get_plotlyjs, get_plotlyjs_version

    if plotlyjs == "embed":
        return f"{_CONFIG}\n<script>{get_plotlyjs()}</script>"
    if plotlyjs == "directory":
        return f'{_CONFIG}\n<script src="{_library_name()}"></script>'
    digest = hashlib.sha256(get_plotlyjs().encode()).digest()
    integrity = f"sha256-{base64.b64encode(digest).decode('ascii')}"
    source = f"https://cdn.plot.ly/plotly-{get_plotlyjs_version()}.min.js"
    return f'{_CONFIG}\n<script src="{source}" integrity="{integrity}" crossorigin="anonymous"></script>'


def _library_name() -> str:
    """Return a file name that says the version: pages of another one beside it are not disturbed."""
    from plotly.offline import get_plotlyjs_version

    return f"plotly-{get_plotlyjs_version()}.min.js"


def _write_library(folder: Path, *, force: bool) -> Path:
    from plotly.offline import get_plotlyjs

    path = folder / _library_name()
    text = get_plotlyjs()
    if path.is_file() and path.read_bytes() == text.encode():
        return path
    files.check_targets([path], force=force)
    return files.write_text(path, text)
