"""What commands that train have in common: the plan, the run that can be stopped, how they end."""

from __future__ import annotations

import contextlib
import dataclasses
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cli.shared.frame import Outcome, Session
from cli.shared.text import aligned, cell, strict

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


def planned(config: RunConfig, folder: Path, *, problem: str | None, resume: bool, memory: bool) -> Outcome:
    """Return the resolved configuration as TOML, and behind it, as comments, what it takes and where it goes.

    A folder that the command would refuse is refused here too.
    """
    from trainers.config import to_dict, to_toml
    from trainers.runs import run_begun
    from trainers.tickets import plan

    begun = run_begun(folder, config, resume=resume)
    own, init, _ = own_problem(problem)
    estimate = plan(config, problem=own, init=init, memory=memory)
    place = f"{folder}, {'a new run' if begun is None else 'where the run goes on'}"
    further = [] if memory else [("memory", "with -v, which compiles the programs")]
    notes = aligned([*estimate.rows(), *further, ("folder", place)])
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


def trained(session: Session, config: RunConfig, folder: Path, *, code: Code, resume: bool) -> Run:
    """Train a run, stoppable; if it ends early, say what is on disk and how to resume."""
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
