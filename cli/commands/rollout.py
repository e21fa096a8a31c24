"""``landscape rollout``: episodes of a control policy, or of two on the same seeds."""

from __future__ import annotations

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


@option.command(
    "rollout",
    examples=(
        "landscape rollout pendulum.h5 -o episodes.html",
        "landscape rollout es.h5 ppo.h5 --episodes 64 --episode 3 -o both.html -o both.h5",
    ),
)
@option.checkpoints("CKPT [CKPT2]")
@click.option(
    "--episodes",
    type=click.IntRange(min=1),
    show_default="all of the split",
    help="Play only this number of episodes, from the first on.",
)
@click.option(
    "--episode",
    type=click.IntRange(min=0),
    show_default="the one with the median return",
    help="The episode that is drawn, by its number in the split, from 0.",
)
@option.confidence
@option.split_from("test")
@option.problem
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
    """Play episodes with the policy of a checkpoint, or with two on the same seeds.

    Returns have intervals over episodes, and two policies the interval of the paired difference. The page
    draws one episode with a slider and shows its rewards, actions and states over time. Control tasks need
    the extra named control.
    """
    request = measuring.requested(ctx, checkpoints, options)
    if len(request.checkpoints) not in (1, 2):
        raise click.UsageError(f"one or two checkpoints are expected, got {len(request.checkpoints)}", ctx)
    measuring.prepare(request)
    chosen = {key: request.options[key] for key in ("split", "episodes")}

    def measure(problem: Any, given: list[Checkpoint], progress: Progress) -> Result:
        from trainers import play_episodes

        result: Result = play_episodes(
            *given,
            problem=problem,
            **chosen,
            shown=request.options["episode"],
            confidence=request.options["confidence"],
            names=request.names,
            progress=progress,
        )
        return result

    def forecast(problem: Any, given: list[Checkpoint]) -> Estimate:
        from trainers.rollouts import rollout_cost

        return rollout_cost(*given, problem=problem, **chosen)

    return measuring.answered(session, request, measure, forecast=forecast)
