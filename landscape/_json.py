"""Strict JSON: what results print, and what files store. No jax."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

_SPECIAL = {math.inf: "Infinity", -math.inf: "-Infinity"}
_FLOAT_KEY = "$float"
MAX_DEPTH = 64
_STRINGS = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)


def jsonable(value: Any) -> Any:
    """Return `value` as strict JSON types: arrays to lists, non-finite numbers to None."""
    return _convert(value, lambda _: None)


def dump_json(value: Any) -> str:
    """Return JSON for our own files; non-finite numbers survive as ``{"$float": …}``."""
    tagged = _convert(value, lambda x: {_FLOAT_KEY: _SPECIAL.get(x, "NaN")})
    return json.dumps(tagged, allow_nan=False, ensure_ascii=False, sort_keys=True)


def _convert(value: Any, special: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _convert(item, special) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_convert(item, special) for item in value]
    if isinstance(value, (np.ndarray, np.generic)) or hasattr(value, "__array__"):
        return _convert(np.asarray(value).tolist(), special)
    if isinstance(value, float):
        return value if math.isfinite(value) else special(value)
    return value if isinstance(value, (str, int, bool, type(None))) else str(value)


def load_json(text: str) -> Any:
    """Return what `dump_json` wrote.

    Raises
    ------
    ValueError
        If the text is not JSON, nests deeper than 64 levels, or repeats a key.
    """
    if _depth(text) > MAX_DEPTH:
        raise ValueError(f"JSON nests deeper than {MAX_DEPTH} levels")
    return json.loads(text, object_pairs_hook=_unique, parse_constant=_refuse_constant)


def _depth(text: str) -> int:
    """Return the deepest nesting, found without parsing: the parser recurses."""
    bare = np.frombuffer(_STRINGS.sub(b"", text.encode("utf-8", "surrogatepass")), np.uint8)
    opens = np.isin(bare, np.frombuffer(b"[{", np.uint8)).astype(np.int64)
    closes = np.isin(bare, np.frombuffer(b"]}", np.uint8)).astype(np.int64)
    return int(np.max(np.cumsum(opens - closes), initial=0))


def _unique(pairs: list[tuple[str, Any]]) -> Any:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("JSON repeats a key")
    if set(found) == {_FLOAT_KEY}:
        return float(found[_FLOAT_KEY])
    return found


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"JSON holds {name}, which strict JSON has not")
