"""What a dry run of an analysis says: how long it will take, and how much memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cli.shared import devices, own_problem
from cli.shared.frame import Outcome

if TYPE_CHECKING:
    from landscape import Checkpoint
    from landscape.network import Estimate


def planned(
    paths: tuple[Path, ...],
    *,
    device: str,
    options: Mapping[str, Any],
    estimate: Callable[[Any, list[Checkpoint]], Estimate],
) -> Outcome:
    """Return the estimate for the problem and the checkpoints; nothing is measured."""
    from landscape import load

    given = [load(path, allow_nonfinite=bool(options["allow_nonfinite"])) for path in paths]
    devices.require(device)
    found = estimate(own_problem.load(options["problem"]), given)
    return Outcome(text=str(found), data=found.to_dict())
