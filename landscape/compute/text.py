"""Text for a terminal: nothing in it that a terminal obeys."""

from __future__ import annotations

__all__ = ["fields_text", "printable"]


def printable(text: object) -> str:
    """Return `text` with every control, format and surrogate character as a visible escape.

    Names come from files of strangers: a terminal must not obey them, and a line break in a name
    must not look like a line of landscape.
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in str(text))


def fields_text(fields: dict[str, float | str]) -> str:
    """Return the fields as ``name value`` pairs with four significant digits."""
    parts = (
        f"{name} {value:.4g}" if isinstance(value, (int, float)) else f"{name} {value}"
        for name, value in fields.items()
    )
    return printable("  ".join(parts))
