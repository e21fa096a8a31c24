"""What one estimate spends and what it has found: products, counted, and fields with their warnings."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from landscape.compute import SILENT, Progress
from landscape.curvature.estimates import Ending, status_of
from landscape.curvature.symmetric import SymmetricOperator


class Meter:
    """Products with an operator, counted: all that changes while an estimate is made.

    Attributes
    ----------
    operator : SymmetricOperator
        The matrix.
    most : int
        Products allowed.
    spent : int
        Products made.
    """

    def __init__(self, operator: SymmetricOperator, *, most: int, progress: Progress = SILENT) -> None:
        self.operator = operator
        self.most = most
        self.progress = progress
        self.spent = 0

    @property
    def left(self) -> int:
        """Products still allowed."""
        return self.most - self.spent

    def rows(self, rows: np.ndarray) -> np.ndarray:
        """Return the products with the rows of an array [b, n], as rows."""
        self.spent += len(rows)
        self.progress.advance(len(rows))
        return self.operator.rows(rows)

    def product(self, vector: np.ndarray) -> np.ndarray | None:
        """Return a product [n] in float64; None if it is not finite."""
        image: np.ndarray = self.rows(vector[None])[0].astype(np.float64)
        return image if np.isfinite(image).all() else None

    def column(self, i: int) -> np.ndarray | None:
        """Return a column [n] of the matrix, free where it has been formed; None if it is not finite."""
        if self.operator.formed is not None:
            return self.operator.formed[:, i].astype(np.float64)
        return self.product(np.eye(1, self.operator.dim, i, dtype=self.operator.dtype)[0])


@dataclasses.dataclass(frozen=True, kw_only=True)
class Estimate:
    """What an estimate has found.

    Attributes
    ----------
    fields : dict
        Of its result, with the status.
    warnings : tuple of str
        In the order in which they arose.
    stats : dict
        Products by what they were for.
    """

    fields: Mapping[str, Any]
    warnings: tuple[str, ...] = ()
    stats: Mapping[str, int] = dataclasses.field(default_factory=dict)

    @classmethod
    def ended(cls, meter: Meter, end: Ending, fields: Mapping[str, Any], *warnings: str) -> Estimate:
        """Return the fields with the status of an end, and its warning behind those given."""
        status, more = status_of(meter.operator, end)
        return cls(fields={**fields, "status": status}, warnings=(*warnings, *more))

    def having(self, *warnings: str, **stats: int) -> Estimate:
        """Return the estimate with warnings and statistics of what came before it."""
        return dataclasses.replace(self, warnings=(*warnings, *self.warnings), stats={**stats, **self.stats})
