"""How estimates are written: ``value ± standard error [low, high]``, with one line that says so. No jax."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

__all__ = ["error_key", "format_value", "with_error"]

_INTERVAL = re.compile(r"\[[^\[\]]+, [^\[\]]+\]")


def format_value(value: Any) -> str:
    """Return a number with four significant digits, anything else as text."""
    if value is None:
        return "not available"
    if isinstance(value, (bool, np.bool_, str)):
        return str(value)
    if isinstance(value, (int, np.integer)):
        return f"{int(value):,}"
    if isinstance(value, (float, np.floating)):
        return f"{float(value):.4g}"
    return str(value)


def with_error(
    value: float | None, standard_error: float | None = None, interval: Sequence[float] | None = None
) -> str:
    """Return a value with its standard error and its interval, as far as they are known."""
    text = format_value(value)
    if standard_error is not None:
        text += f" ± {format_value(standard_error)}"
    if interval is not None:
        text += f" [{format_value(interval[0])}, {format_value(interval[1])}]"
    return text


def error_key(texts: Iterable[str], confidence: float = 0.95) -> str:
    """Return what the signs of `with_error` mean, of those that stand in some texts; empty if none does."""
    whole = "\n".join(texts)
    signs = ["± standard error"] if "±" in whole else []
    if _INTERVAL.search(whole):
        signs.append(f"[low, high] {format_value(100 * confidence)} % interval")
    return "; ".join(signs)
