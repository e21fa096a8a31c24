"""What all commands share: how they start, what they return, how they end.

A command returns an `Outcome` or raises. The frame alone writes to standard output, decides the exit
status, and turns every exception into three lines on standard error and, with ``--json``, into one
JSON object on standard output.
"""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
import json
import os
import platform
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from cli.shared import explaining, streams
from cli.shared.signals import Signals, Stopped
from cli.shared.text import strict
from landscape import __version__
from landscape.compute import SILENT, Progress
from landscape.errors import InterruptedRunError, LandscapeError

CONTEXT_SETTINGS: dict[str, Any] = {
    "help_option_names": ["-h", "--help"],
    "show_default": True,
    "max_content_width": 100,
}
Sections = Callable[[], Mapping[str, list[tuple[str, str]]]]
EXIT_CODES = {
    "0": "done",
    "1": "a bug of landscape",
    "2": "the command line or configuration is invalid",
    "3": "input refused; nothing was written",
    "4": "computed and written, but not trustworthy; the status says why",
    "130, 143": "stopped by Ctrl-C or SIGTERM; train and quickstart can be resumed",
}


def write_exit_codes(formatter: click.HelpFormatter, changes: Mapping[str, str] | None = None) -> None:
    """Write the section of a help page on exit statuses."""
    with formatter.section("Exit status"):
        formatter.write_dl(list({**EXIT_CODES, **(changes or {})}.items()))


class Helpful(click.Command):
    """A command whose help goes where results go: to standard output, or the error says why not."""

    def get_help_option(self, ctx: click.Context) -> click.Option | None:
        """Return the option that prints the help page."""
        option = super().get_help_option(ctx)
        if option is not None:
            option.callback = _show_help
        return option


def _show_help(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        streams.write_out(ctx.get_help().rstrip("\n"))
        ctx.exit()


class Command(Helpful):
    """A command whose help opens with a sentence and examples and ends with the exit statuses.

    Parameters
    ----------
    examples : sequence of str
        Command lines that run.
    exit_codes : mapping
        What a status means for this command, where that differs.
    sections : callable, optional
        Returns further sections of the help page: (word, explanation) rows by title.
    """

    def __init__(
        self,
        *args: Any,
        examples: Sequence[str] = (),
        exit_codes: Mapping[str, str] | None = None,
        sections: Sections = dict,
        **kwargs: Any,
    ) -> None:
        kwargs["context_settings"] = {**CONTEXT_SETTINGS, **(kwargs.get("context_settings") or {})}
        super().__init__(*args, **kwargs)
        self.examples = tuple(examples)
        self.exit_codes = dict(exit_codes or {})
        self.sections = sections

    def format_help_text(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """Write the first sentence, the examples, then the rest of the text."""
        head, _, rest = inspect.cleandoc(self.help or "").partition("\n\n")
        formatter.write_paragraph()
        with formatter.indentation():
            formatter.write_text(head)
        with formatter.section("Examples"):
            for example in self.examples:
                formatter.write(f"{' ' * formatter.current_indent}{example}\n")
        if rest:
            formatter.write_paragraph()
            with formatter.indentation():
                formatter.write_text(rest)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """Write the command's own sections and the exit statuses."""
        for heading, rows in self.sections().items():
            with formatter.section(heading):
                formatter.write_dl(rows)
        write_exit_codes(formatter, self.exit_codes)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Outcome:
    """The result of a command.

    Attributes
    ----------
    text : str
        For people, printed on standard output; names in it are escaped already.
    data : mapping
        The same for programs, without non-finite numbers or anything that JSON lacks.
    status : str
        ``"ok"`` or a word that says why not.
    outputs : sequence of Path
        Files written.
    exit_code : int
        See `EXIT_CODES`.
    error : BaseException, optional
        What kept part of the work from being done; printed, and in the JSON object.
    extra : mapping
        Further keys of the JSON object.
    """

    text: str = ""
    data: Mapping[str, Any] | None = None
    status: str = "ok"
    warnings: Sequence[str] = ()
    provenance: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    outputs: Sequence[Path] = ()
    exit_code: int = 0
    error: BaseException | None = None
    extra: Mapping[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass
class Session:
    """One run of the command line: its switches, its signals and where it speaks."""

    command: str = ""
    as_json: bool = False
    debug: bool = False
    quiet: bool = False
    verbose: bool = False
    warnings: list[str] = dataclasses.field(default_factory=list)
    signals: Signals = dataclasses.field(default_factory=Signals)
    shown: Progress = SILENT
    hint: Callable[[], str] | None = None
    finishing: threading.Lock = dataclasses.field(default_factory=threading.Lock)

    def say(self, text: str) -> None:
        """Write a message for the user to standard error, unless ``-q``."""
        if not self.quiet:
            streams.write_err(streams.printable(text))

    def detail(self, text: str) -> None:
        """Write a message that only ``-v`` asks for."""
        if self.verbose:
            self.say(text)

    def progress(self) -> Progress:
        """Return the progress display; it ends with the session."""
        from cli.shared.progress import make_progress

        self.shown.stop()
        self.shown = make_progress(quiet=self.quiet)
        return self.shown

    @contextlib.contextmanager
    def stoppable(self, what: object, hint: Callable[[], str]) -> Iterator[Callable[[], int | None]]:
        """Yield `should_stop` for a computation that polls it; a stop is reported with `hint`.

        Parameters
        ----------
        what : object
            What is being computed: the name of a folder.
        hint : callable
            Returns the hint: the command that resumes the computation, if any of it is on disk.
        """
        self.hint = hint
        notice = "stopping after this chunk; once more stops at once"
        try:
            with self.signals.polled(lambda: self.say(notice)) as should_stop:
                yield should_stop
        except InterruptedRunError as stop:
            raise InterruptedRunError(stop.what, signum=stop.signum, hint=hint()) from stop
        except Stopped as stop:
            text = f"{what}: stopped before the computation went on"
            raise InterruptedRunError(text, signum=stop.signum, hint=hint()) from stop

    def aborted(self, signum: int) -> None:
        """Leave the terminal and the JSON reader in order before the process ends at once."""
        if not self.finishing.acquire(blocking=False):
            return  # what there is to say has been said, or is being said: there is one JSON object
        stop = Stopped(signum)
        error = stop if self.hint is None else InterruptedRunError(str(stop), signum=signum, hint=self.hint())
        with contextlib.suppress(OSError, AttributeError, ValueError):
            sys.stderr = sys.__stderr__ or sys.stderr  # a bar on the terminal has put itself in front
            if sys.stderr.isatty():
                os.write(sys.stderr.fileno(), b"\x1b[?25h\n")
        _finish(self, Outcome(error=error, exit_code=128 + signum))


def run(
    group: click.Group, args: Sequence[str], *, known: Mapping[str, Any], signals: Signals | None = None
) -> int:
    """Run one command line and return the exit status; nothing is raised.

    Parameters
    ----------
    group : Group
        The commands.
    args : sequence of str
        The command line, without the program's name.
    known : mapping
        What the commands are called.
    signals : Signals, optional
        Entered by a caller that ends the process afterwards; by default the handlers are given back.
    """
    streams.prepare()
    arguments = list(args) or ["--help"]
    words = arguments[: arguments.index("--")] if "--" in arguments else arguments
    command = next((word for word in words if word in known), "")
    session = Session(command=command, as_json="--json" in words, debug="--debug" in words)
    session.signals = signals or Signals()
    session.signals.on_abort = session.aborted
    try:
        with _captured_warnings(session), session.signals if signals is None else contextlib.nullcontext():
            outcome = _guarded(group, arguments, session)
            session.finishing.acquire()  # for good: a second signal finds it taken, and adds nothing
            code = 0 if outcome is None else _finish(session, outcome)
            session.signals.settle()
    except (KeyboardInterrupt, Stopped) as error:  # while the result was being printed
        session.signals.settle()
        return explaining.explain(error).exit_code
    else:
        return code


def _guarded(group: click.Group, arguments: list[str], session: Session) -> Outcome | None:
    """Return what the command returned, or what its exception means."""
    try:
        try:
            return _invoke(group, arguments, session)
        finally:
            session.shown.stop()
    except click.exceptions.Exit as stop:
        return Outcome(exit_code=stop.exit_code) if stop.exit_code else None
    except BrokenPipeError:  # a help page that is not read to its end
        streams.silence(sys.stdout)
        return None
    except (Exception, KeyboardInterrupt, Stopped) as error:  # the boundary of the program
        cause: BaseException = error
        if session.signals.received is not None:
            session.signals.settle()
            if not isinstance(error, LandscapeError):  # whatever the stop became on its way here
                cause = Stopped(session.signals.received)
        return Outcome(error=cause, exit_code=explaining.explain(cause).exit_code)


def _invoke(group: click.Group, arguments: list[str], session: Session) -> Outcome | None:
    instruction = os.environ.get("_LANDSCAPE_COMPLETE")
    if instruction:
        from click.shell_completion import shell_complete

        raise click.exceptions.Exit(
            shell_complete(group, {}, "landscape", "_LANDSCAPE_COMPLETE", instruction)
        )
    with group.make_context("landscape", arguments, obj=session) as ctx:
        try:
            outcome: Outcome | None = group.invoke(ctx)
        except LandscapeError as error:
            command = group.get_command(ctx, session.command) if session.command else None
            error.what = explaining.as_typed(error.what, [] if command is None else command.params)
            raise
    return outcome


def _finish(session: Session, outcome: Outcome) -> int:
    """Write the result and the messages; return the exit status."""
    code = outcome.exit_code
    try:
        if session.as_json:
            streams.write_out(json.dumps(strict(_envelope(session, outcome)), allow_nan=False))
        elif outcome.text:
            streams.write_out(outcome.text)
    except LandscapeError as error:  # standard output is full: the JSON object cannot say so
        outcome = dataclasses.replace(outcome, error=error, exit_code=error.exit_code)
        code = error.exit_code
    for path in outcome.outputs:
        session.say(f"wrote {path}")
    if outcome.error is not None:
        if session.debug:
            explaining.write_traceback(outcome.error)
        streams.write_err("\n".join(explaining.explain(outcome.error).lines()))
    return code


def _envelope(session: Session, outcome: Outcome) -> dict[str, Any]:
    failed = outcome.error is not None
    envelope = {
        "schema": f"landscape.{session.command or 'cli'}/1",
        "status": "error" if failed else outcome.status,
        "data": None if outcome.data is None else dict(outcome.data),
        "warnings": list(dict.fromkeys([*outcome.warnings, *session.warnings])),
        "provenance": dict(outcome.provenance)
        or {"versions": {"landscape": __version__, "python": platform.python_version()}},
        "outputs": [str(path) for path in outcome.outputs],
        **outcome.extra,
    }
    if outcome.error is not None:
        envelope["error"] = explaining.explain(outcome.error).to_dict()
    return envelope


@contextlib.contextmanager
def _captured_warnings(session: Session) -> Iterator[None]:
    """Show warnings for users as one line, and keep them for the JSON object."""

    def show(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
        if issubclass(category, UserWarning):
            session.warnings.append(str(message))
            session.say(f"warning: {message}")
        else:
            session.detail(f"{category.__name__}: {message}")

    with warnings.catch_warnings():
        # correct, and only a matter of memory: jax could not reuse a buffer
        warnings.filterwarnings("ignore", message="Some donated buffers were not usable")
        warnings.showwarning = show
        yield
