"""Progress bars on a terminal. The only module that imports rich, which honours NO_COLOR."""

from __future__ import annotations

from rich.console import Console
from rich.progress import BarColumn, Progress as RichProgress, ProgressColumn, Task, TextColumn
from rich.text import Text

from landscape.compute.text import fields_text, printable


class _Status(ProgressColumn):
    """Steps, rate, time left and the current fields, or the note that stands for them."""

    def render(self, task: Task) -> Text:
        note = str(task.fields.get("note", ""))
        if note:
            return Text(note)
        done = f"{task.completed:,.0f}" + ("" if task.total is None else f"/{task.total:,.0f}")
        rate = "" if not task.speed else f"{task.speed:.3g}/s"
        left = "" if task.time_remaining is None else f"{task.time_remaining:.0f} s left"
        shown = (done, rate, left, str(task.fields.get("shown", "")))
        return Text("  ".join(part for part in shown if part))


class BarProgress:
    """One bar at a time, redrawn in place and gone when the task ends.

    Parameters
    ----------
    console : rich.console.Console, optional
        Where to draw; standard error by default.
    """

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(stderr=True)
        self._bars: RichProgress | None = None

    def start(self, label: str, total: int | None = None) -> None:
        """Begin a task."""
        self.stop()
        columns = (TextColumn("{task.description}", markup=False), BarColumn(bar_width=24), _Status())
        self._bars = RichProgress(*columns, console=self._console, transient=True, refresh_per_second=5)
        self._task = self._bars.add_task(printable(label), total=total, note="", shown="")
        self._bars.start()

    def advance(self, n: int = 1, **fields: float | str) -> None:
        """Count steps."""
        if self._bars is not None:
            self._bars.update(self._task, advance=n, note="", shown=fields_text(fields))

    def note(self, text: str) -> None:
        """Say what happens now."""
        if self._bars is not None:
            self._bars.update(self._task, note=printable(text))

    def stop(self) -> None:
        """End the task and free the line."""
        if self._bars is not None:
            self._bars.stop()
            self._bars = None
