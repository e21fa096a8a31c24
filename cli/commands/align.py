"""``landscape align``: a network with its units in the order of another's."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cli.shared import devices, measuring, option, own_problem, stored, writing
from cli.shared.frame import Outcome, Session
from landscape.errors import InputError

if TYPE_CHECKING:
    from landscape.alignment import Aligned


@option.command(
    "align",
    examples=(
        "landscape align a.h5 b.h5 -o aligned.h5",
        "landscape align a.h5 b.h5 --method activations -o aligned.h5 -o aligned.html",
        "landscape align a.h5 b.h5 --symmetry permutation --symmetry scale -o aligned.h5",
    ),
)
@option.checkpoints("A B")
@click.option(
    "--method",
    type=click.Choice(["weights", "activations", "barrier"]),
    default="weights",
    help="Match units by their weights or by what they do on examples, or lower the barrier itself.",
)
@option.symmetry
@option.split
@option.seed
@option.batch_size
@option.problem
@click.option(
    "-o",
    "--output",
    "outputs",
    type=option.FilePath(),
    multiple=True,
    show_default="nothing is written",
    help="Write .h5 (the aligned checkpoint), .html (a page), .json or a picture; repeatable.",
)
@option.plotlyjs
@option.device
@option.force
@option.dry_run
@click.pass_context
def command(
    ctx: click.Context,
    /,
    session: Session,
    *,
    checkpoints: tuple[Path, ...],
    outputs: tuple[Path, ...],
    plotlyjs: str,
    device: str,
    force: bool,
    dry_run: bool,
    **options: Any,
) -> Outcome:
    """Permute and rescale the units of the second network so that they match those of the first.

    The function that it computes stays the same, which is checked on data. An output .h5 is a checkpoint,
    with mask, statistics and optimiser state moved along: give it to any other command.
    """
    if len(checkpoints) != 2:
        raise click.UsageError(f"two checkpoints are expected, got {len(checkpoints)}", ctx)
    writing.check(outputs, force=force, inputs=checkpoints)
    devices.configure(device)
    from landscape import align, load

    first, second = (load(path) for path in checkpoints)
    session.detail(f"device: {devices.require(device)}")
    problem = own_problem.load(options["problem"])
    how = {key: options[key] for key in ("method", "split", "batch_size")}
    if dry_run:
        from landscape.alignment import align_cost

        estimate = align_cost(problem, first, second, **how)
        return Outcome(text=str(estimate), data=estimate.to_dict())
    result: Aligned = align(
        problem,
        first,
        second,
        symmetry=options["symmetry"] or ("permutation",),
        seed=options["seed"],
        names=[str(path) for path in checkpoints],
        progress=session.progress(),
        **how,
    )
    session.shown.stop()
    result = stored.recorded(result, "align", checkpoints, options)
    written = [file for path in outputs for file in _written(result, path, plotlyjs=plotlyjs, force=force)]
    return measuring.outcome_of(result, written)


def _written(result: Aligned, path: Path, *, plotlyjs: str, force: bool) -> list[Path]:
    """Write a checkpoint where the suffix is ``.h5``, and the result in any other form."""
    if path.suffix != ".h5":
        return writing.write_result(result, path, plotlyjs=plotlyjs, force=force)
    from landscape import save

    if result.checkpoint is None:
        raise InputError(f"-o {path}: there is no checkpoint to write")
    return [save(path, result.checkpoint, force=force)]
