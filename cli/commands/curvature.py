"""``landscape curvature``: eigenvalues, trace and spectral density of one or many checkpoints."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from cli.shared import measuring, option
from cli.shared.frame import Outcome, Session

if TYPE_CHECKING:
    from landscape import Checkpoint
    from landscape.compute import Progress
    from landscape.network import Estimate
    from landscape.results import Result

# Options that the library takes under another name; all others are spelt alike.
NAMES = {"top": "k", "mask": "use_mask", "examples": "subset"}
# Options of one kind of measurement only.
OF_PRODUCTS = ("top", "which", "tolerance", "trace", "density", "matrix")
OF_PAIRS = ("form", "max_pairs")
SCALE_PAIRS = 400  # of the diagonals that search distributions are compared with


@option.command(
    "curvature",
    examples=(
        "landscape curvature a.h5",
        "landscape curvature a.h5 --top 10 --density -o curvature.html -o curvature.h5",
        "landscape curvature run/es-snr/seed-0/level-*.h5 --json",
        "landscape curvature a.h5 --smoothed 0.1 -o smoothed.html",
    ),
    exit_codes={"130, 143": "stopped by Ctrl-C or SIGTERM; with --smoothed and -o, the same command goes on"},
)
@option.checkpoints("CKPT...")
@click.option(
    "--top",
    type=click.IntRange(min=0),
    default=5,
    help="Eigenvalues of each checkpoint; the trace is estimated as well, unless --no-trace.",
)
@click.option(
    "--which",
    type=click.Choice(["largest", "smallest", "both", "magnitude"]),
    default="largest",
    help="Which end of the spectrum.",
)
@click.option(
    "--tolerance",
    type=click.FloatRange(0, min_open=True),
    default=1e-4,
    help="Largest residual, relative to the largest eigenvalue.",
)
@click.option("--trace/--no-trace", default=True, help="Estimate the trace (about 40 products).")
@click.option(
    "--relative-error",
    type=click.FloatRange(0, min_open=True),
    default=0.05,
    help="Standard error of the trace asked for, relative to it.",
)
@click.option("--per-layer/--no-per-layer", default=True, help="Give the trace of each layer too.")
@click.option("--density/--no-density", default=False, help="Estimate the spectral density (800 products).")
@click.option(
    "--matrix",
    type=click.Choice(["hessian", "gauss_newton", "fisher", "model_fisher"]),
    default="hessian",
    help="Which curvature matrix.",
)
@click.option(
    "--scale",
    is_flag=True,
    help="Instead, correlate 1/σ² of an evolution strategy's search distribution with the Hessian diagonal.",
)
@click.option(
    "--smoothed",
    type=click.FloatRange(0, min_open=True),
    metavar="RADIUS",
    show_default="not smoothed",
    help="Instead, the trace of the loss smoothed by noise of this standard deviation on each parameter: for "
    "losses without derivatives. With --scale, its diagonal stands in place of the Hessian's.",
)
@click.option(
    "--form",
    type=click.Choice(["gaussian", "sphere"]),
    default="gaussian",
    help="Noise of a smoothed trace; the sphere has less variance, and holds the loss at the very point.",
)
@click.option(
    "--max-pairs",
    type=click.IntRange(min=2),
    default=4000,
    help="Most pairs of a smoothed trace, of four evaluations each (two on the sphere).",
)
@option.subspace
@option.evaluation
@option.results
@click.pass_context
def command(
    ctx: click.Context,
    /,
    session: Session,
    *,
    checkpoints: tuple[Path, ...],
    **options: Any,
) -> Outcome:
    """Measure eigenvalues, trace and spectral density of the loss at checkpoints.

    Every eigenvalue comes with its residual (an eigenvalue lies within it), every estimate with a
    standard error and an interval. Several checkpoints of one network share one compiled program.
    """
    request = measuring.requested(ctx, checkpoints, options)
    if not request.checkpoints:
        raise click.UsageError("at least one checkpoint is expected", ctx)
    _check_smoothed(ctx, request.options)
    measuring.prepare(request)
    chosen = request.options
    typed = {key for key in chosen if ctx.get_parameter_source(key) == ParameterSource.COMMANDLINE}
    if "top" in typed and chosen["trace"] and not {"trace", "scale", "relative_error"} & typed:
        session.say("the trace is estimated as well (about 40 products): --no-trace leaves it out")

    def measure(problem: Any, given: list[Checkpoint], progress: Progress) -> Result:
        if chosen["scale"]:
            return _scale(problem, given, chosen, progress=progress)
        if chosen["smoothed"] is not None:
            resume = measuring.kept_in(session, request)
            return _smoothed(problem, given, chosen, names=request.names, resume=resume, progress=progress)
        return _table(problem, given, chosen, names=request.names, progress=progress)

    return measuring.answered(session, request, measure, forecast=_forecast(chosen))


def _check_smoothed(ctx: click.Context, options: Mapping[str, Any]) -> None:
    """Refuse options that stand on the command line and are of the other kind of measurement."""
    smoothed = options["smoothed"] is not None
    other = OF_PRODUCTS if smoothed else OF_PAIRS
    wrong = [name for name in other if ctx.get_parameter_source(name) == ParameterSource.COMMANDLINE]
    if wrong:
        listed = ", ".join(f"--{name.replace('_', '-')}" for name in wrong)
        reason = (
            "not with --smoothed, which takes no derivatives" if smoothed else "only with --smoothed RADIUS"
        )
        raise click.UsageError(f"{listed}: {reason}", ctx)


def _forecast(options: Mapping[str, Any]) -> measuring.Forecast:
    """Return what estimates a measurement with these options."""
    evaluated = ("split", "batch_size", "dtype", "allow_nonfinite")
    given = {key: options[key] for key in evaluated}
    given |= {"subset": options["examples"], "mask": None if options["mask"] else False}
    if options["smoothed"] is not None:
        wanted: tuple[str, ...] = () if options["scale"] else ("form", "relative_error", "max_pairs")
        given |= {"num_pairs": SCALE_PAIRS} if options["scale"] else {}
    else:
        wanted = ("which", "trace", "relative_error", "density", "scale")
        given |= {"k": options["top"]}
    given |= {key: options[key] for key in wanted}
    given["where"] = tuple(options["where"]) or None

    def forecast(problem: Any, checkpoints: list[Checkpoint]) -> Estimate:
        from landscape.curvature import curvature_cost, smoothed_cost

        if options["smoothed"] is not None:
            return smoothed_cost(problem, checkpoints, **given)
        return curvature_cost(problem, checkpoints, **given)

    return forecast


def _table(
    problem: Any,
    given: list[Checkpoint],
    options: Mapping[str, Any],
    *,
    names: list[str],
    progress: Progress,
) -> Result:
    """Measure eigenvalues, trace and density."""
    from landscape import curvature_table

    left_out = ("problem", "scale", "smoothed", *OF_PAIRS)
    settings = measuring.keywords(options, left_out=left_out, names=NAMES)
    result: Result = curvature_table(problem, given, **settings, names=names, progress=progress)
    return result


def _smoothed(
    problem: Any,
    given: list[Checkpoint],
    options: Mapping[str, Any],
    *,
    names: list[str],
    resume: Path | None,
    progress: Progress,
) -> Result:
    """Estimate the traces of the smoothed loss."""
    from landscape import smoothed_table

    left_out = ("problem", "scale", "smoothed", *OF_PRODUCTS)
    settings = measuring.keywords(options, left_out=left_out, names=NAMES)
    result: Result = smoothed_table(
        problem,
        given,
        radius=options["smoothed"],
        **settings,
        names=names,
        resume=resume,
        progress=progress,
    )
    return result


def _scale(
    problem: Any, given: list[Checkpoint], options: Mapping[str, Any], *, progress: Progress
) -> Result:
    """Correlate the search distributions with the diagonals."""
    from landscape import scale_curvature

    result: Result = scale_curvature(
        problem,
        given,
        split=options["split"],
        subset=options["examples"],
        smoothed=options["smoothed"],
        seed=options["seed"],
        mask=None if options["mask"] else False,
        where=tuple(options["where"]) or None,
        batch_size=options["batch_size"],
        dtype=options["dtype"],
        allow_nonfinite=options["allow_nonfinite"],
        progress=progress,
    )
    return result
