"""``landscape quickstart``: the whole story on the built-in digits."""

from __future__ import annotations

import shlex
from pathlib import Path

from cli import _device, _options
from cli._frame import Outcome, Session
from cli._text import aligned, strict


@_options.command(
    "quickstart",
    examples=("landscape quickstart", "landscape quickstart -o story --set 'seeds=[0, 1, 2]'"),
)
@_options.output_folder("quickstart", "quickstart")
@_options.set_values
@_options.plotlyjs
@_options.device
@_options.force
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

    Takes a few minutes on a laptop, without a network. A quickstart that was stopped goes on when the
    same command is given again.
    """
    _device.configure(device)
    session.detail(f"device: {_device.require(device)}")
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
    return Outcome(text=aligned(story.rows()), data=strict(story.to_dict()), outputs=[story.page])
