"""``landscape quickstart``: the whole story on the built-in digits."""

from __future__ import annotations

import shlex
from pathlib import Path

from cli.shared import devices, option
from cli.shared.frame import Outcome, Session
from cli.shared.text import aligned, keyed, strict


@option.command(
    "quickstart",
    examples=("landscape quickstart", "landscape quickstart -o story --set 'seeds=[0, 1, 2]'"),
)
@option.output_folder("quickstart", "quickstart")
@option.set_values
@option.plotlyjs
@option.device
@option.force
def command(
    session: Session,
    *,
    output: Path,
    overrides: tuple[str, ...],
    plotlyjs: str,
    device: str,
    force: bool,
) -> Outcome:
    """Train sparse tickets on the digits, measure the barriers between them, and write one HTML page.

    Takes a few minutes on a laptop and needs no internet connection. To resume a stopped quickstart, give
    the same command again.
    """
    devices.configure(device)
    session.detail(f"device: {devices.require(device)}")
    again = f"landscape quickstart {'--force ' if force else ''}-o {shlex.quote(str(output))}"
    with session.stoppable(output, lambda: f"Go on with: {again}") as should_stop:
        from trainers.reports import run_quickstart

        story = run_quickstart(
            output,
            overrides=overrides,
            force=force,
            progress=session.progress(),
            should_stop=should_stop,
            plotlyjs=plotlyjs,
        )
    session.shown.stop()
    return Outcome(text=aligned(keyed(story.rows())), data=strict(story.to_dict()), outputs=[story.page])
