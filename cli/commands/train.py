"""``landscape train``: sparse tickets from a configuration or a preset."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from cli.shared import devices, option, training
from cli.shared.frame import Outcome, Session
from cli.shared.text import aligned, keyed, strict
from landscape.errors import RunError

if TYPE_CHECKING:
    from trainers.config import RunConfig


class Source(click.ParamType[str]):
    """A configuration file or the name of a preset."""

    name = "config"

    def shell_complete(
        self,
        ctx: click.Context,  # noqa: ARG002
        param: click.Parameter,  # noqa: ARG002
        incomplete: str,
    ) -> list[click.shell_completion.CompletionItem]:
        """Offer the presets; a path is completed as a file."""
        from trainers.config import preset_names

        item = click.shell_completion.CompletionItem
        found = [item(name) for name in preset_names() if name.startswith(incomplete)]
        return found or [item(incomplete, type="file")]


@option.command(
    "train",
    examples=(
        "landscape train quickstart -o runs/digits",
        "landscape train quickstart --set evolution.generations=300 --dry-run",
    ),
    sections=lambda: {"Presets": _presets()},
)
@click.argument("source", required=False, type=Source(), metavar="CONFIG|PRESET")
@option.output_folder(None, "runs/NAME")
@option.config("A TOML file that changes keys of CONFIG or PRESET.")
@option.training
@click.pass_context
def command(  # noqa: PLR0913  one parameter per option
    ctx: click.Context,
    /,
    session: Session,
    *,
    source: str | None,
    output: Path | None,
    overrides: tuple[str, ...],
    config_file: Path | None,
    problem: str | None,
    allow_code: tuple[str, ...],
    resume: bool,
    dry_run: bool,
    device: str,
) -> Outcome:
    """Train sparse tickets: every method, pruning level and seed of a configuration, into a run folder.

    CONFIG is a TOML file; PRESET is one of those below.
    Values come from defaults, then CONFIG, then --config, then --set. With --resume and -o the
    configuration can be left out: the folder has it.
    """
    from trainers.config import named_code, resolve

    config = resolve(
        _source(ctx, source, output, resume),
        extra=config_file,
        overrides=overrides,
        own_problem=problem is not None,
    )
    folder = output if output is not None else Path("runs") / config.name
    devices.configure(device, preallocate=True)
    if dry_run:
        return training.planned(config, folder, problem=problem, resume=resume, memory=session.verbose)
    session.detail(f"device: {devices.require(device)}")
    code = training.Code(problem=problem, allowed=(*allow_code, *named_code(overrides)))
    return _train(session, config, folder, code=code, resume=resume)


def _presets() -> list[tuple[str, str]]:
    """Return the presets, one line each."""
    from trainers.config import preset_summaries

    return list(preset_summaries().items())


def _source(ctx: click.Context, source: str | None, output: Path | None, resume: bool) -> str | Path:
    if source is not None:
        return source
    if resume and output is not None:
        if not (output / "run.toml").exists():
            raise RunError(
                f"{output}: no run to go on with",
                expected="the folder of a run",
                hint="Check the name, or give a CONFIG or PRESET to begin one.",
            )
        return output / "run.toml"
    raise click.UsageError("no CONFIG or PRESET given (only --resume with -o FOLDER needs none)", ctx)


def _train(
    session: Session, config: RunConfig, folder: Path, *, code: training.Code, resume: bool
) -> Outcome:
    run = training.trained(session, config, folder, code=code, resume=resume)
    rows = run.summary_rows()
    data = {"summary": strict(dict(rows)), "run": str(folder)}
    return training.finished(run, text=aligned(keyed(rows)), data=data)
