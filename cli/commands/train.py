"""``landscape train``: sparse tickets from a configuration or a preset."""

from __future__ import annotations

import contextlib
import dataclasses
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cli.shared import devices, option
from cli.shared.frame import Outcome, Session
from cli.shared.text import aligned, cell, strict
from landscape.errors import RunError

if TYPE_CHECKING:
    from trainers.config import RunConfig
    from trainers.runs import Run


_SHOWN = 5  # warnings printed; all are in the JSON object


@dataclasses.dataclass(frozen=True, kw_only=True)
class Code:
    """The functions that the command line names: the problem, and what scores may be."""

    problem: str | None
    allowed: tuple[str, ...]

    def options(self) -> str:
        """Return the options that name them, to be put behind a command."""
        named = [("--problem", self.problem)] if self.problem else []
        named += [("--allow-code", name) for name in dict.fromkeys(self.allowed)]
        return "".join(f" {option} {shlex.quote(str(name))}" for option, name in named)


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
)
@click.argument("source", required=False, type=Source(), metavar="CONFIG|PRESET")
@option.output_folder(None, "runs/NAME")
@option.set_values
@option.config("A TOML file that changes keys of CONFIG or PRESET.")
@option.problem
@option.allow_code
@option.resume
@option.dry_run
@option.device
@click.pass_context
def command(  # noqa: PLR0913  one parameter an option
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

    CONFIG is a TOML file; PRESET is a name from the list that an unknown name is answered with.
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
        return planned(config, folder, problem)
    session.detail(f"device: {devices.require(device)}")
    code = Code(problem=problem, allowed=(*allow_code, *named_code(overrides)))
    return _train(session, config, folder, code=code, resume=resume)


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


def planned(config: RunConfig, folder: Path, problem: str | None = None) -> Outcome:
    """Return the resolved configuration as TOML, with what it takes as comments in it."""
    from trainers.config import to_dict, to_toml
    from trainers.tickets import plan

    own, init, _ = own_problem(problem)
    estimate = plan(config, problem=own, init=init)
    notes = aligned([*estimate.rows(), ("folder", str(folder))])
    comments = "\n".join(f"# {line}" for line in notes.splitlines())
    return Outcome(
        text=f"{to_toml(config).rstrip()}\n\n{comments}",
        data={"config": strict(to_dict(config)), "plan": strict(estimate.to_dict()), "folder": str(folder)},
    )


def own_problem(spec: str | None) -> tuple[Any, Any, Any]:
    """Return the user's problem, initialiser and chain of layers, or None for each."""
    if spec is None:
        return None, None, None
    from landscape.problem import load_trainable

    return load_trainable(spec)


def _train(session: Session, config: RunConfig, folder: Path, *, code: Code, resume: bool) -> Outcome:
    run = trained(session, config, folder, code=code, resume=resume)
    rows = run.summary_rows()
    return finished(run, text=aligned(rows), data={"summary": strict(dict(rows)), "run": str(folder)})


def trained(session: Session, config: RunConfig, folder: Path, *, code: Code, resume: bool) -> Run:
    """Train a run, stoppable; what is left on disk if it ends early comes with how to go on."""
    again = f"landscape train --resume -o {shlex.quote(str(folder))}{code.options()}"

    def hint() -> str:
        if (folder / "run.toml").exists():
            return f"Go on with: {again}"
        return "Nothing has been written; the same command starts again."

    with session.stoppable(folder, hint) as should_stop:
        from trainers.tickets import train_tickets

        own, init, chain = own_problem(code.problem)
        with _damage_explained(folder, again):
            run = train_tickets(
                config,
                folder,
                problem=own,
                init=init,
                chain=chain,
                resume=resume,
                allow_code=code.allowed,
                progress=session.progress(),
                should_stop=should_stop,
            )
    session.shown.stop()
    return run


@contextlib.contextmanager
def _damage_explained(folder: Path, again: str) -> Iterator[None]:
    """Say of a damaged file of the run that it can be trained again: there may be no other copy."""
    from landscape.errors import CheckpointError
    from landscape.files.hdf5 import HINT

    try:
        yield
    except CheckpointError as error:
        if error.hint == HINT and error.what.startswith(str(folder)):
            error.hint = f"Copy it from elsewhere, or remove it and train that level again: {again}"
        raise


def finished(run: Run, *, text: str, data: dict[str, Any]) -> Outcome:
    """Return how a command ends that has trained: status 4 where a level has diverged."""
    troubles = run.troubles()
    listed = troubles[:_SHOWN] + ([f"and {len(troubles) - _SHOWN} more"] if len(troubles) > _SHOWN else [])
    return Outcome(
        text="\n".join([text, *(f"warning: {cell(line)}" for line in listed)]),
        data=data,
        status="non-finite" if run.diverged else "ok",
        warnings=troubles,
        outputs=[run.path, *written_page(run)],
        exit_code=4 if run.diverged else 0,
    )


def written_page(run: Run) -> list[Path]:
    """Draw a finished run: ``results/tickets.html`` in its folder, anew each time it is trained on."""
    from trainers.reports import write_run_page

    return write_run_page(run, run.path / "results" / "tickets.html", force=True)[:1]
