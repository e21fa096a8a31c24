"""``landscape completion``: the shell completion script."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from cli.shared import option
from cli.shared.frame import Outcome, Session

SHELLS = ("bash", "zsh", "fish")


@option.command(
    "completion",
    examples=(
        'eval "$(landscape completion bash)"',
        "landscape completion fish > ~/.config/fish/completions/landscape.fish",
    ),
)
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def command(ctx: click.Context, _: Session, *, shell: str) -> Outcome:
    """Print the script that makes a shell complete commands, options and presets.

    Put the first example into ~/.bashrc; for zsh, the same line with zsh into ~/.zshrc.
    """
    completer = get_completion_class(shell)
    if completer is None:
        raise click.UsageError(f"no completion for {shell}", ctx)
    script = completer(ctx.find_root().command, {}, "landscape", "_LANDSCAPE_COMPLETE")
    # The template itself: source() of bash would start a bash to ask for its version.
    text = script.source_template % script.source_vars()
    return Outcome(text=text.strip("\n"), data={"shell": shell, "script": text})
