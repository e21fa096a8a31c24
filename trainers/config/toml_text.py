"""TOML: plain nested values written so that `tomllib` reads them back, and read with good errors."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from landscape.errors import ConfigurationError


def dump_toml(values: Mapping[str, Any]) -> str:
    """Return TOML: scalars and lists first, then one table per mapping. None becomes "none"."""
    lines = [
        f"{_key(key)} = {_value(value)}" for key, value in values.items() if not isinstance(value, Mapping)
    ]
    for key, value in values.items():
        if isinstance(value, Mapping):
            lines += ["", f"[{_key(key)}]", *(f"{_key(k)} = {_value(v)}" for k, v in value.items())]
    return "\n".join(lines) + "\n"


def _key(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else _string(key)


def _string(text: str) -> str:
    # A JSON string is a TOML basic string, but for two things: TOML has no surrogate pairs, so
    # nothing beyond ASCII is escaped, and it wants DEL escaped.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007F")


def _value(value: Any) -> str:
    if value is None:
        return '"none"'
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return _string(value)
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_key(k)} = {_value(v)}" for k, v in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(_value(item) for item in value) + "]"
    return repr(value)


def read_toml(path: Path) -> dict[str, Any]:
    """Return what a TOML file holds.

    Raises
    ------
    ConfigurationError
        If it cannot be read, or is not TOML: with the file and the line.
    """
    try:
        path = path.expanduser()
        if path.exists() and not path.is_file():
            raise ConfigurationError(f"{path}: not a regular file", expected="a TOML file")
        data = path.read_bytes()
    except (OSError, ValueError, RuntimeError) as error:
        if isinstance(error, ConfigurationError):
            raise
        reason = getattr(error, "strerror", None) or str(error)
        hint = "Check the name; presets are named without .toml."
        raise ConfigurationError(f"{path}: cannot be read", got=reason, hint=hint) from error
    return parse_toml(data, where=str(path))


def parse_toml(data: bytes, *, where: str) -> dict[str, Any]:
    """Return what TOML text holds; `where` stands in messages."""
    hint = "Mend that line; strings stand in quotes."
    try:
        return tomllib.loads(data.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        what = f"{where}, line {line}: not TOML"
        raise ConfigurationError(what, got=f"byte {data[error.start]:#04x}, which is not UTF-8") from error
    except (ValueError, RecursionError) as error:
        found = re.search(r"\(?at line (\d+), column \d+\)?$", str(error))
        at_end = "end of document" in str(error)
        line = int(found[1]) if found else data.count(b"\n") + 1
        place = f", line {line}" if found or at_end else ""
        raise ConfigurationError(f"{where}{place}: not TOML", got=str(error), hint=hint) from error


def parse_override(text: str) -> dict[str, Any]:
    """Return the nested tables of ``key=value`` with a dotted key.

    The value is TOML; a bare word is a string, and a list may hold bare words.

    Raises
    ------
    ConfigurationError
        If the text is not of that form.
    """
    key, separator, value = text.partition("=")
    parts = [part.strip() for part in key.split(".")]
    if not separator or not all(parts):
        what = f"{text}: not of the form key=value"
        raise ConfigurationError(what, hint="For instance pruning.levels=5 or seeds=[0,1].")
    nested = _parsed(value.strip())
    for part in reversed(parts):
        nested = {part: nested}
    return dict(nested)


def _parsed(value: str) -> Any:
    try:
        found = tomllib.loads(f"x = {value}")
    except (ValueError, RecursionError):
        found = {}
    if set(found) == {"x"}:
        return found["x"]
    inner = value[1:-1]
    if value[:1] == "[" and value[-1:] == "]" and not set(inner) & set("[]{}\"'"):
        return [_parsed(item.strip()) for item in inner.split(",") if item.strip()]
    return value
