"""``landscape flatness``: sharpness and flatness measures of one or many checkpoints."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource
from click.shell_completion import CompletionItem

from cli.shared import measuring, option
from cli.shared.frame import Outcome, Session
from landscape.errors import ConfigurationError, did_you_mean

if TYPE_CHECKING:
    from landscape import Checkpoint
    from landscape.compute import Progress
    from landscape.network import Estimate
    from landscape.results import Result


class Names(click.ParamType[str]):
    """Text with names of measures in it, which a shell completes."""

    name = "text"

    def __init__(self, after: str) -> None:
        self.after = after

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:  # noqa: ARG002
        """Return the text; the names are looked at when all options are known."""
        return str(value)

    def shell_complete(
        self,
        ctx: click.Context,  # noqa: ARG002
        param: click.Parameter,  # noqa: ARG002
        incomplete: str,
    ) -> list[CompletionItem]:
        """Let the shell complete the last name of the list."""
        from landscape.flatness import GROUPS, MEASURES

        before, comma, last = incomplete.rpartition(",")
        titles = {name: entry.title for name, entry in MEASURES.items()}
        if not self.after:
            titles |= dict.fromkeys(GROUPS, "a group of measures")
        return [
            CompletionItem(f"{before}{comma}{name}{self.after}", help=title)
            for name, title in titles.items()
            if name.startswith(last)
        ]


@option.command(
    "flatness",
    examples=(
        "landscape flatness a.h5",
        "landscape flatness a.h5 --measures all --dry-run",
        "landscape flatness a.h5 --measures sam,adaptive_l2 --radius sam=0.1 --set sam.m=64",
        "landscape flatness a.h5 --measures gaussian --radius 0.05,0.01,0.2",
        "landscape flatness run/*/seed-*/level-*.h5 -o flatness.html -o flatness.h5",
    ),
)
@option.checkpoints("CKPT...")
@click.option(
    "--measures",
    type=Names(after=""),
    multiple=True,
    metavar="NAME,...",
    show_default="standard",
    help="What to measure: quick, standard (at most 300 gradients' time per network), all, or names; --list "
    "shows them all with their costs.",
)
@click.option(
    "--list",
    "listed",
    is_flag=True,
    help="Print the measures, their costs and the rescalings that leave them unchanged.",
)
@click.option(
    "--radius",
    "radii",
    type=Names(after="="),
    multiple=True,
    metavar="[NAME=]VALUE,...",
    show_default="each measure's own",
    help="Radius of a measure (without its name where --measures names one measure). Several numbers are "
    "the radii of a Gaussian measure's curve; its value is at the first of them. Repeatable.",
)
@click.option(
    "--set",
    "overrides",
    type=Names(after="."),
    multiple=True,
    metavar="MEASURE.KEY=VALUE",
    show_default="nothing changed",
    help=option.SET_HELP,
)
@click.option(
    "--draws",
    type=click.IntRange(min=2),
    show_default="32",
    help="Mirrored pairs of random perturbations.",
)
@option.subspace
@click.option("--both", is_flag=True, help="Measure within the mask and in the full space.")
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
    """Measure sharpness and flatness of the loss at checkpoints.

    Means over random draws have standard errors and intervals; maximisations are lower bounds and say
    so. Several checkpoints of one network share their compiled programs; their ranks are compared.
    Keys of --set are settings of a measure, such as local_entropy.reference=1e5; an unknown key is answered
    with the list of keys.
    """
    if options.pop("listed"):
        return _catalogue()
    request = measuring.requested(ctx, checkpoints, options)
    if not request.checkpoints:
        raise click.UsageError("at least one checkpoint is expected", ctx)
    _one_space(ctx, request.options)
    settings = _settings(request.options)
    measuring.prepare(request)

    def measure(problem: Any, given: list[Checkpoint], progress: Progress) -> Result:
        from landscape import flatness_table

        return flatness_table(problem, given, **settings, names=request.names, progress=progress)

    def forecast(problem: Any, given: list[Checkpoint]) -> Estimate:
        from landscape.flatness import flatness_cost

        wanted = {key: value for key, value in settings.items() if key != "seed"}
        return flatness_cost(problem, given, **wanted)

    return measuring.answered(session, request, measure, forecast=forecast)


def _one_space(ctx: click.Context, options: dict[str, Any]) -> None:
    """Refuse ``--both`` beside ``--no-mask``; what is given replaces what a stored result says."""
    given = {
        name for name in ("both", "mask") if ctx.get_parameter_source(name) == ParameterSource.COMMANDLINE
    }
    if given == {"both", "mask"} and not options["mask"]:
        raise click.UsageError("--both and --no-mask exclude each other: both spaces, or the full one", ctx)
    if given == {"mask"}:
        options["both"] = False


def _settings(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the keywords of the library; names are looked at before anything is loaded."""
    names = [name.strip() for text in options["measures"] for name in text.split(",") if name.strip()]
    _check_names(names, "--measures", groups=True)
    if options["measures"] and not names:
        raise ConfigurationError(
            "--measures: no name in it",
            expected="names with commas between them",
            hint="Leave the option out for the standard measures.",
        )
    kept = ("draws", "split", "seed", "batch_size", "dtype", "allow_nonfinite")
    spaces = ("ticket", "full") if options["both"] else ("ticket" if options["mask"] else "full",)
    return {
        **{key: options[key] for key in kept},
        "measures": names or None,
        "radii": _radii(options["radii"], names),
        "settings": _overrides(options["overrides"]),
        "spaces": spaces,
        "where": tuple(options["where"]) or None,
        "subset": options["examples"],
    }


def _radii(texts: Iterable[str], names: list[str]) -> dict[str, float | list[float]]:
    """Return the radius or the radii of each measure named."""
    radii: dict[str, float | list[float]] = {}
    for text in texts:
        name, _, values = (part.strip() for part in text.rpartition("="))
        try:
            found = [float(value) for value in values.split(",")]
        except ValueError as error:
            raise ConfigurationError(
                f"--radius {text}: not a measure and its radius",
                expected="NAME=VALUE, for instance sam=0.1, or gaussian=0.05,0.01,0.2",
            ) from error
        name = name or _only_measure(text, names)
        _check_names([name], "--radius")
        if name in radii:
            raise ConfigurationError(
                f"--radius {text}: a second one of {name}",
                expected="one --radius per measure, several values with commas between them",
                got=f"{name}={radii[name]} before it",
            )
        radii[name] = found[0] if len(found) == 1 else found
    return radii


def _only_measure(text: str, names: list[str]) -> str:
    """Return the measure that a radius without a name is of."""
    from landscape.flatness import measures_with_radius

    able = measures_with_radius(names)
    if len(able) != 1:
        raise ConfigurationError(
            f"--radius {text}: of which measure",
            expected="NAME=VALUE, for instance sam=0.1, or --measures with one measure that has a radius",
            got=f"--measures {','.join(names)}" if names else "all measures",
        )
    return able[0]


def _overrides(texts: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Return the settings of each measure; the library checks the keys."""
    from trainers.config import parse_override

    found: dict[str, dict[str, Any]] = {}
    for text in texts:
        parts = [part.strip() for part in text.partition("=")[0].split(".")]
        if "=" not in text or len(parts) != 2 or not all(parts):
            raise ConfigurationError(
                f"--set {text}: cannot be read",
                expected="MEASURE.KEY=VALUE, for instance sam.m=64",
            )
        _check_names(parts[:1], "--set")
        found.setdefault(parts[0], {}).update(parse_override(text)[parts[0]])
    return found


def _check_names(names: Iterable[str], option: str, *, groups: bool = False) -> None:
    from landscape.flatness import GROUPS, MEASURES, SYNONYMS

    known = [*MEASURES, *SYNONYMS, *(GROUPS if groups else ())]
    for name in names:
        if name not in known:
            raise ConfigurationError(
                f"{option}: there is no measure {name!r}",
                expected="a name that landscape flatness --list prints",
                hint=did_you_mean(name, known) or "landscape flatness --list names them all.",
            )


def _catalogue() -> Outcome:
    """Return the names, what they are and cost, and which rescalings leave them unchanged."""
    from landscape.flatness import MEASURES, SYNONYMS, cost_of, invariances

    also = {same: other for other, same in SYNONYMS.items()}
    table = [("name", "group", "unchanged", "cost per network", "measure")]
    for name, entry in MEASURES.items():
        kept = "neuron-wise" if entry.neuron_wise else "layer-wise" if entry.layer_wise else "none"
        title = f"{entry.title} (also called {also[name]})" if name in also else entry.title
        table.append((name, entry.group, kept, str(cost_of(name)), title))
    widths = [max(len(row[i]) for row in table) for i in range(4)]
    lines = [
        "  ".join(text.ljust(width) for text, width in zip(row, [*widths, 0], strict=True)) for row in table
    ]
    return Outcome(text="\n".join(lines), data={"measures": invariances()})
