"""Strict JSON: what results print, and what files store. No jax."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from landscape.errors import InputError

_SPECIAL = {math.inf: "Infinity", -math.inf: "-Infinity"}
_FLOAT_KEY = "$float"
_NON_FINITE = {**{text: value for value, text in _SPECIAL.items()}, "NaN": math.nan}
MAX_DEPTH = 64
MAX_VALUES = 1_000_000  # parsed, a number or short text takes about 60 bytes
MAX_CONTAINERS = 250_000  # parsed, an object takes at least 184 bytes
MAX_KEYS = 500_000  # parsed, a key with its value takes about 170 bytes
_BLOCK = 1 << 18


def jsonable(value: Any) -> Any:
    """Return `value` as strict JSON types: arrays to lists, non-finite numbers to None."""
    return _convert(value, lambda _: None)


def dump_json(value: Any) -> str:
    """Return JSON for our own files; non-finite numbers survive as ``{"$float": …}``."""
    tagged = _convert(value, lambda x: {_FLOAT_KEY: _SPECIAL.get(x, "NaN")})
    return json.dumps(tagged, allow_nan=False, ensure_ascii=False, sort_keys=True)


def _convert(value: Any, special: Any) -> Any:
    if isinstance(value, Mapping):
        return _converted_items(value, special)
    if isinstance(value, (list, tuple)):
        return [_convert(item, special) for item in value]
    if isinstance(value, (np.ndarray, np.generic)) or hasattr(value, "__array__"):
        return _convert(np.asarray(value).tolist(), special)
    if isinstance(value, float):
        return value if math.isfinite(value) else special(value)
    return value if isinstance(value, (str, int, bool, type(None))) else str(value)


def _converted_items(value: Mapping[Any, Any], special: Any) -> dict[str, Any]:
    found = {str(key): _convert(item, special) for key, item in value.items()}
    if len(found) != len(value):
        texts = [str(key) for key in value]
        double = next(text for text in texts if texts.count(text) > 1)
        raise InputError(
            f"two keys of a mapping are both written {double!r}",
            got=", ".join(repr(key) for key in value if str(key) == double),
            hint="Rename one of them.",
        )
    if set(found) == {_FLOAT_KEY}:
        raise InputError(f"the key {_FLOAT_KEY!r} stands for numbers that are not finite", hint="Rename it.")
    return found


def load_json(text: str) -> Any:
    """Return what `dump_json` wrote.

    Raises
    ------
    ValueError
        If the text is not JSON, nests deeper than 64 levels, holds more than a million values, or
        repeats a key.
    """
    check_size(text)
    return json.loads(
        text, object_pairs_hook=_unique, parse_constant=_refuse_constant, parse_float=_finite_float
    )


def check_size(text: str) -> None:
    """Refuse a text whose parsed form would be deep or large, without parsing it: the parser recurses.

    Raises
    ------
    ValueError
        If it nests deeper than `MAX_DEPTH`, or holds more than `MAX_VALUES` values, `MAX_KEYS` keys
        or `MAX_CONTAINERS` arrays and objects.
    """
    depth, containers, keys, values = _extent(text)
    if depth > MAX_DEPTH:
        raise ValueError(f"JSON nests deeper than {MAX_DEPTH} levels")
    if values > MAX_VALUES or keys > MAX_KEYS or containers > MAX_CONTAINERS:
        raise ValueError(f"JSON of {values:,} values, {keys:,} keys, {containers:,} arrays and objects")


def _extent(text: str) -> tuple[int, int, int, int]:
    """Return the deepest nesting and the numbers of containers, keys and values, block by block."""
    raw = text.encode("utf-8", "surrogatepass")
    # Without escaped backslashes and then escaped quotes, every quote opens or closes a string.
    raw = raw.replace(b"\\\\", b"").replace(b'\\"', b"")
    depth = deepest = containers = keys = commas = quotes = 0
    for start in range(0, len(raw), _BLOCK):
        block = np.frombuffer(raw, np.uint8, min(_BLOCK, len(raw) - start), start)
        is_quote = block == ord('"')
        outside = (np.cumsum(is_quote, dtype=np.int32) + quotes) % 2 == 0
        opens = outside & ((block == ord("[")) | (block == ord("{")))
        closes = outside & ((block == ord("]")) | (block == ord("}")))
        levels = depth + np.cumsum(opens.astype(np.int8) - closes.astype(np.int8), dtype=np.int32)
        deepest, depth = max(deepest, int(levels.max())), int(levels[-1])
        quotes = (quotes + int(is_quote.sum())) % 2
        containers += int(opens.sum())
        keys += int((outside & (block == ord(":"))).sum())
        commas += int((outside & (block == ord(","))).sum())
    return deepest, containers, keys, containers + commas + 1


def _unique(pairs: list[tuple[str, Any]]) -> Any:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("JSON repeats a key")
    if set(found) == {_FLOAT_KEY}:
        return _non_finite(found[_FLOAT_KEY])
    return found


def _non_finite(name: Any) -> float:
    if not isinstance(name, str) or name not in _NON_FINITE:
        raise ValueError(f"{_FLOAT_KEY} names no number: {str(name)[:40]!r}")
    return _NON_FINITE[name]


def _finite_float(text: str) -> float:
    """Return a number; 1e999 would be read as infinity, which the file does not say."""
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"JSON holds the number {text[:40]}, which no float holds")
    return value


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"JSON holds {name}, which strict JSON has not")
