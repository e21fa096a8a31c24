"""``landscape quickstart``: the whole story on the built-in digits."""

from __future__ import annotations

from pathlib import Path

from cli import _device, _options
from cli._frame import Outcome, Session
from cli._signals import Stopped
from cli._text import aligned, strict
from landscape.errors import InterruptedRunError


@_options.command(
    "quickstart",
    examples=("landscape quickstart", "landscape quickstart -o story --set seeds.count=3"),
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
    hint = f"Go on with: landscape quickstart -o {output}"
    try:
        with session.stoppable() as should_stop:
            from trainers.quickstart import run_quickstart

            story = run_quickstart(
                output,
                overrides=overrides,
                force=force,
                progress=session.progress(),
                should_stop=should_stop,
                plotlyjs=plotlyjs,
            )
    except InterruptedRunError as stop:
        raise InterruptedRunError(stop.what, signum=stop.signum, hint=hint) from stop
    except (Stopped, KeyboardInterrupt) as stop:
        what = f"{output}: stopped before training went on"
        raise InterruptedRunError(what, signum=getattr(stop, "signum", 2), hint=hint) from stop
    session.shown.stop()
    return Outcome(text=aligned(story.rows()), data=strict(story.to_dict()), outputs=[story.page])
