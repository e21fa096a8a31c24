"""``landscape connect``: a low-loss curve between two checkpoints."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cli.shared import measuring, option
from cli.shared.frame import Outcome, Session

if TYPE_CHECKING:
    from landscape import Checkpoint
    from landscape.compute import Progress
    from landscape.network import Estimate
    from landscape.results import Result

# Options that the library takes under another name; all others are spelt alike.
NAMES = {"points": "num_points", "resamples": "num_resamples"}


@option.command(
    "connect",
    examples=(
        "landscape connect a.h5 b.h5",
        "landscape connect a.h5 b.h5 --curve neb --steps 2000 -o curve.html -o curve.h5",
    ),
    exit_codes=measuring.RESUMABLE,
)
@option.checkpoints("A B")
@click.option(
    "--curve",
    type=click.Choice(["bezier", "chain", "neb"]),
    default="bezier",
    help="A Bézier curve, a polygon, or a nudged elastic band.",
)
@click.option(
    "--bends",
    type=click.IntRange(min=1),
    show_default="1; 7 of a band",
    help="Trained points between the two networks.",
)
@click.option("--steps", type=click.IntRange(min=0), default=500, help="Training steps.")
@click.option(
    "--learning-rate",
    type=click.FloatRange(0, min_open=True),
    default=0.01,
    help="Initial learning rate of Adam; it falls to zero along a cosine.",
)
@click.option(
    "--train-batch-size", type=click.IntRange(min=1), default=128, help="Examples per training step."
)
@option.points
@option.resamples
@option.confidence
@option.batch_stats
@option.fitted
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
    """Train a curve of low loss between two networks, and measure the loss along it.

    The straight line is measured beside it. A curve is trained on the training split; with --split test its
    barrier and the interval are those of examples that it has not seen.
    """
    request = measuring.requested(ctx, checkpoints, options)
    if len(request.checkpoints) != 2:
        raise click.UsageError(f"two checkpoints are expected, got {len(request.checkpoints)}", ctx)
    measuring.prepare(request)

    def measure(problem: Any, given: list[Checkpoint], progress: Progress) -> Result:
        from landscape import connect

        a, b = given
        first, second = request.names
        settings = measuring.keywords(request.options, left_out=("problem",), names=NAMES)
        folder = measuring.kept_in(session, request)
        result: Result = connect(
            problem, a, b, **settings, names=(first, second), resume=folder, progress=progress
        )
        return result

    return measuring.answered(session, request, measure, forecast=_forecast(request.options))


def _forecast(options: Mapping[str, Any]) -> measuring.Forecast:
    """Return what estimates the training and the measurement with these options."""
    left_out = ("problem", "learning_rate", "seed", "resamples", "confidence")
    settings = measuring.keywords(options, left_out=left_out, names=NAMES)

    def forecast(problem: Any, networks: list[Checkpoint]) -> Estimate:
        from landscape.connectivity import curve_cost

        a, b = networks
        return curve_cost(problem, a, b, **settings)

    return forecast
