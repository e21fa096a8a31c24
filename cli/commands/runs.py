"""``landscape runs``: lists runs and how much of each is finished. Loads no jax."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from cli.shared import option
from cli.shared.frame import Outcome, Session
from cli.shared.text import aligned, cell, keyed, strict

if TYPE_CHECKING:
    from trainers.reports import RunSummary


@option.command("runs", examples=("landscape runs runs", "landscape runs runs --json"))
@click.argument("folder", type=option.FilePath(), default="runs", metavar="[DIR]")
def command(session: Session, *, folder: Path) -> Outcome:
    """List the runs in DIR and the folders in it: what is finished, and how well it does.

    DIR is a run, or holds runs at any depth down to four; by default it is "runs".
    """
    del session
    from trainers.reports import summaries

    found = summaries(folder)
    return Outcome(
        text="\n\n".join(_block(summary) for summary in found),
        data={"runs": [strict(summary.to_dict()) for summary in found]},
    )


def _block(summary: RunSummary) -> str:
    from trainers.runs import score_text

    if summary.reason is not None:
        return aligned(
            [("run", str(summary.path)), ("state", summary.state), ("reason", cell(summary.reason))]
        )
    lines = [
        ("run", str(summary.path)),
        ("name, task", f"{summary.name}, {summary.task}"),
        ("state", summary.state),
        ("checkpoints", f"{summary.num_finished} of {summary.num_checkpoints}"),
        ("seeds", ", ".join(map(str, summary.seeds))),
    ]
    for method in summary.methods:
        ends = ", ".join(
            f"{score_text((mean, interval))} at {100 * density:.3g} %"
            for (density, mean), interval in zip(method.scores, method.intervals, strict=True)
        )
        done = f"{method.num_finished} of {method.num_checkpoints} checkpoints"
        lines.append((method.name, f"{done}; {summary.metric} {ends}" if ends else done))
    return aligned(keyed(lines))
