"""The entry point: a table of commands, of which only the one that is called is imported."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence

import click

from cli.shared import frame, streams
from cli.shared.signals import Signals

# What the overview says of each command; the module `cli.commands.NAME` holds it.
COMMANDS = {
    "quickstart": "The whole story on the built-in digits, ending in an HTML page.",
    "train": "Train sparse tickets: all methods, levels and seeds; resumable.",
    "transfer": "Retrain the tickets of runs by another algorithm or on another task.",
    "runs": "List the runs in a folder: what is finished, and how well it does.",
    "barrier": "Loss along the straight path between two checkpoints, and its barrier.",
    "align": "Permute and rescale the units of a checkpoint so that they match another's.",
    "connect": "Train a low-loss curve between two checkpoints, beside the straight line.",
    "curvature": "Eigenvalues, trace and spectral density of checkpoints, with errors.",
    "flatness": "Sharpness and flatness of checkpoints, by every measure, with errors.",
    "surface": "Loss on planes and lines through checkpoints; training paths on a plane.",
    "rollout": "Episodes of control policies: returns with errors, and one episode drawn.",
    "report": "Draw stored results again as one HTML page; nothing is computed.",
    "info": "Say what is in a checkpoint, a result or a run folder.",
    "diff": "Say whether two files match, and where they differ.",
    "verify": "Check files or whole run folders completely against their digests.",
    "convert": "Make a checkpoint of another tool's file; nothing is unpickled.",
    "completion": "Print the shell completion script for bash, zsh or fish.",
}


class LazyGroup(frame.Helpful, click.Group):
    """A group that imports a command's module when that command is looked up."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """Return the commands in the order in which a user meets them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Return the command, or None if no command has that name."""
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(f"cli.commands.{cmd_name}").command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command; an unknown name is answered with the nearest one."""
        name = args[0]
        if name not in COMMANDS and not name.startswith("-") and not ctx.resilient_parsing:
            raise click.exceptions.NoSuchCommand(name, possibilities=COMMANDS, ctx=ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """Write the overview from the table, importing nothing."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """Write the exit statuses that all commands share."""
        frame.write_exit_codes(formatter)


def _version(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        from landscape import __version__

        streams.write_out(f"landscape {__version__}")
        ctx.exit()


_HELP = """Measure loss landscapes with error bars, and train sparse tickets to measure.

\b
Examples:
  landscape quickstart
  landscape barrier --help
"""


@click.group(cls=LazyGroup, context_settings=frame.CONTEXT_SETTINGS, no_args_is_help=False, help=_HELP)
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_version, help="Print the version."
)
def group() -> None:
    """Hold the commands; its help text is `_HELP`, since click marks literal blocks by a backspace."""


def run(args: Sequence[str]) -> int:
    """Run one command line and return the exit status; nothing is raised."""
    return frame.run(group, args, known=COMMANDS)


def main() -> None:
    """Run the command line of this process and end it."""
    with Signals() as signals:
        code = frame.run(group, sys.argv[1:], known=COMMANDS, signals=signals)
        signals.end(code)
    sys.exit(code)
