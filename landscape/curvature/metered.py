"""What one estimate spends and what it has found: products, counted, and fields with their warnings."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from landscape.compute import SILENT, Progress
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

    def ended(
        self, fields: Mapping[str, Any], *warnings: str, finite: bool, kept: str, reached: bool = True
    ) -> Estimate:
        """Return the fields with the status of how an estimate ended, and its warning behind those given.

        Parameters
        ----------
        fields, *warnings
            Of the estimate.
        finite : bool
            Whether every product was.
        kept : str
            What stands after a product that was not finite.
        reached : bool
            Whether the error asked for, if one was, is reached.
        """
        subject, status, more = getattr(self.operator, "subject", None), "ok", []
        if not finite or (subject is not None and not subject.finite):
            status, more = "non-finite", [f"a product held NaN or infinity: {kept}"]
        elif not reached:
            most = f"at most {self.most} products, and the number that a pilot foretold"
            status, more = "not-converged", [f"the error asked for was not reached within {most}"]
        return Estimate(fields={**fields, "status": status}, warnings=(*warnings, *more))


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

    def having(self, *warnings: str, **stats: int) -> Estimate:
        """Return the estimate with warnings and statistics of what came before it."""
        return dataclasses.replace(self, warnings=(*warnings, *self.warnings), stats={**stats, **self.stats})
