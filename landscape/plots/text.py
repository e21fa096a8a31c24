"""Text from strangers: made visible, escaped for HTML and for Plotly, and a small safe markup."""

from __future__ import annotations

import html
import re
import textwrap

_CODE = re.compile(r"`([^`]+)`")
_STRONG = re.compile(r"\*\*(\S(?:.*?\S)?)\*\*")
_EMPHASIS = re.compile(r"(?<![\w*])\*(\S(?:[^*]*?\S)?)\*(?![\w*])")
_NO_SLUG = re.compile(r"[^a-z0-9]+")


def visible(text: object, *, keep: str = "") -> str:
    """Return `text` with every control, format and surrogate character as a visible escape."""
    return "".join(
        c if c.isprintable() or c in keep else c.encode("unicode_escape").decode("ascii") for c in str(text)
    )


def escape(text: object) -> str:
    """Return `text` for the inside of an HTML element or a quoted attribute."""
    return html.escape(visible(text), quote=True)


def label(text: object) -> str:
    """Return `text` for a Plotly title, name, annotation or hover template.

    Plotly obeys a subset of HTML, templates (``%{…}``) and, where MathJax is loaded, formulas between
    dollar signs: all three are switched off by entities, which it decodes last.
    """
    escaped = html.escape(visible(text), quote=False)
    return escaped.replace("%{", "%&#123;").replace("$", "&#36;")


def capital(name: str) -> str:
    """Return a title that begins with a capital, unless it begins with a symbol (``m-sharpness``)."""
    return name if name[1:2] == "-" else name[:1].upper() + name[1:]


def shorten(text: object, width: int) -> str:
    """Return `text` with its middle left out where it is longer than `width` characters."""
    shown = visible(text)
    if len(shown) <= width:
        return shown
    head = (width - 1) // 2
    return f"{shown[:head]}…{shown[len(shown) - (width - 1 - head) :]}"


def wrapped_label(text: object, width: int, *, lines: int = 2) -> str:
    """Return `text` as a Plotly label of at most `lines` lines of `width` characters."""
    limit = width * lines
    while len(parts := textwrap.wrap(shorten(text, limit), width, break_on_hyphens=False)) > lines:
        limit -= 1
    return "<br>".join(label(part) for part in parts)


def slug(name: object) -> str:
    """Return `name` as a part of an element id or a file name."""
    return _NO_SLUG.sub("-", str(name).lower()).strip("-")[:60] or "item"


def markup(text: str) -> str:
    """Return HTML of plain paragraphs, ``- `` lists, ``**bold**``, ``*emphasis*`` and ```` `code` ````.

    Everything else is text: tags are escaped and there are no links.
    """
    blocks = re.split(r"\n\s*\n", text.strip("\n"))
    return "".join(_block(block) for block in blocks if block.strip())


def _block(block: str) -> str:
    lines = [line.strip() for line in block.strip().split("\n")]
    if all(line.startswith("- ") for line in lines):
        items = "".join(f"<li>{_inline(line[2:])}</li>" for line in lines)
        return f"<ul>{items}</ul>"
    return f"<p>{_inline(' '.join(lines))}</p>"


def _inline(line: str) -> str:
    """Return one line with its marks; the text between backticks is taken as it is."""
    pieces = _CODE.split(line)
    return "".join(
        f"<code>{escape(piece)}</code>" if i % 2 else _marks(escape(piece)) for i, piece in enumerate(pieces)
    )


def _marks(escaped: str) -> str:
    return _EMPHASIS.sub(r"<em>\1</em>", _STRONG.sub(r"<strong>\1</strong>", escaped))
