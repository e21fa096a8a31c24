"""Settings of analyses, refused by name where they are invalid. No jax."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from landscape.errors import ConfigurationError, did_you_mean


def check_whole(name: str, value: Any, least: int) -> int:
    """Return a whole number that is at least `least`.

    Raises
    ------
    ConfigurationError
        Naming the setting.
    """
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < least:
        raise ConfigurationError(
            f"{name}: not a possible value", expected=f"a whole number, {least} or more", got=repr(value)
        )
    return int(value)


def check_seed(value: Any) -> int:
    """Return a seed: a whole number of 32 bits, since jax's keys take no more and would fold two into one.

    Raises
    ------
    ConfigurationError
        Naming the setting.
    """
    if check_whole("seed", value, 0) >= 2**32:
        raise ConfigurationError(
            "seed: not a possible value", expected="a whole number below 2**32", got=repr(value)
        )
    return int(value)


def check_real(name: str, value: Any, *, most: float = math.inf) -> float:
    """Return a positive finite number below `most`.

    Raises
    ------
    ConfigurationError
        Naming the setting.
    """
    good = isinstance(value, (int, float, np.floating, np.integer)) and not isinstance(value, bool)
    if not good or not math.isfinite(value) or not 0 < value < most:
        limit = "" if most == math.inf else f" below {most:g}"
        raise ConfigurationError(
            f"{name}: not a possible value", expected=f"a positive number{limit}", got=repr(value)
        )
    return float(value)


def check_choice(name: str, value: Any, allowed: Sequence[str | None]) -> None:
    """Refuse a word that is not one of `allowed`.

    Raises
    ------
    ConfigurationError
        Naming the setting.
    """
    if value not in allowed:
        raise ConfigurationError(
            f"{name}: not a possible value",
            expected=" or ".join(map(str, allowed)),
            got=repr(value),
            hint=did_you_mean(value, [word for word in allowed if word is not None]),
        )


def check_evaluation(dtype: str | None, batch_stats: str) -> None:
    """Refuse a precision, or a treatment of batch statistics, that no evaluation of a path or plane has.

    Raises
    ------
    ConfigurationError
        Naming what can be chosen.
    """
    check_choice("dtype", dtype, (None, "float32", "float64"))
    check_choice("batch_stats", batch_stats, ("recompute", "keep"))
