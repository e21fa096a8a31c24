"""The data and precision of every measure. No jax."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """The data and precision of measures; the same keywords in every public function.

    Attributes
    ----------
    mask : pytree of bool, False or None
        Free entries; None takes the checkpoint's, False perturbs the full space.
    where : str or sequence of str, optional
        Patterns of tree paths of the layers to perturb.
    split : str
        Which data.
    subset : int or sequence of int, optional
        How many examples from the first on, or their numbers.
    batch_size : int, optional
        Examples evaluated at once; no value depends on it but for rounding.
    dtype : {"float32", "float64"}, optional
        Precision on the device, local to the call.
    allow_nonfinite : bool
        Whether NaN and infinite weights are let through.
    """

    mask: Any = None
    where: str | Sequence[str] | None = None
    split: str = "train"
    subset: int | Sequence[int] | np.ndarray | None = None
    batch_size: int | None = None
    dtype: str | None = None
    allow_nonfinite: bool = False
