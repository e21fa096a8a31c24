"""The status of an estimate from random probes, and the warning that goes with it."""

from __future__ import annotations

import dataclasses

from landscape.curvature.symmetric import SymmetricOperator


@dataclasses.dataclass(frozen=True, kw_only=True)
class Asked:
    """How an estimate ended.

    Attributes
    ----------
    finite : bool
        Whether every product was.
    reached : bool
        Whether the error asked for, if one was, is reached.
    most : int
        Products allowed.
    kept : str
        What stands after a product that was not finite.
    """

    finite: bool
    reached: bool
    most: int
    kept: str


def status_of(operator: SymmetricOperator, ended: Asked) -> tuple[str, list[str]]:
    """Return the status of an estimate, and the warning that it gives unless it is ok."""
    subject = getattr(operator, "subject", None)
    if not ended.finite or (subject is not None and not subject.finite):
        return "non-finite", [f"a product held NaN or infinity: {ended.kept}"]
    if not ended.reached:
        most = f"at most {ended.most} products, and the number that a pilot foretold"
        return "not-converged", [f"the error asked for was not reached within {most}"]
    return "ok", []
