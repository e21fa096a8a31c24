"""The options, each spelt and explained once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from cli.shared.frame import Command, Sections, Session

F = TypeVar("F", bound=Callable[..., Any])


class FilePath(click.ParamType[Path]):
    """A path with ``~`` expanded; the command that uses it checks whether it exists."""

    name = "path"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """Return the path."""
        if not str(value):
            self.fail("an empty path", param, ctx)
        try:
            return Path(value).expanduser()
        except RuntimeError:
            self.fail(f"{value}: no home folder for it", param, ctx)

    def shell_complete(
        self,
        ctx: click.Context,  # noqa: ARG002
        param: click.Parameter,  # noqa: ARG002
        incomplete: str,
    ) -> list[click.shell_completion.CompletionItem]:
        """Let the shell complete file names."""
        return [click.shell_completion.CompletionItem(incomplete, type="file")]


def command(
    name: str,
    *,
    examples: tuple[str, ...],
    exit_codes: dict[str, str] | None = None,
    sections: Sections = dict,
) -> Callable[[Callable[..., Any]], click.Command]:
    """Return the decorator that makes a function a command with the switches that all commands have."""

    def decorate(function: Callable[..., Any]) -> click.Command:
        make = click.command(name, cls=Command, examples=examples, exit_codes=exit_codes, sections=sections)
        made: click.Command = make(click.pass_obj(function))
        made.params.extend(_switches())
        return made

    return decorate


def group(*options: Callable[[F], F]) -> Callable[[F], F]:
    """Return several options as one decorator; the help page has them in this order."""

    def decorate(function: F) -> F:
        for one in reversed(options):
            function = one(function)
        return function

    return decorate


def _switch(attribute: str) -> Callable[[click.Context, click.Parameter, bool], None]:
    def callback(ctx: click.Context, _: click.Parameter, value: bool) -> None:
        if value:
            setattr(ctx.ensure_object(Session), attribute, True)

    return callback


def _switches() -> list[click.Option]:
    """Return the options that every command has."""
    named = {
        ("--json",): ("as_json", "Print one JSON object instead of text."),
        ("-q", "--quiet"): ("quiet", "No progress and no messages but errors."),
        ("-v", "--verbose"): ("verbose", "More messages: device, times."),
        ("--debug",): ("debug", "Show the traceback of an error."),
    }
    return [
        click.Option(names, is_flag=True, expose_value=False, callback=_switch(attribute), help=text)
        for names, (attribute, text) in named.items()
    ]


points = click.option(
    "--points", type=click.IntRange(min=3), default=25, help="Points of the uniform grid on the path."
)
resamples = click.option(
    "--resamples",
    type=click.IntRange(min=1),
    default=1000,
    help="Bootstrap resamples of the examples for the interval.",
)
confidence = click.option(
    "--confidence",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    default=0.95,
    help="Level of the interval.",
)
batch_stats = click.option(
    "--batch-stats",
    type=click.Choice(["recompute", "keep"]),
    default="recompute",
    help="Batch-norm statistics of the networks between and around the checkpoints.",
)
repair = click.option(
    "--repair/--no-repair",
    default=False,
    help="Renormalise the hidden units of the networks inside the path (Jordan et al. 2022).",
)
symmetry = click.option(
    "--symmetry",
    type=click.Choice(["permutation", "scale", "attention"]),
    multiple=True,
    show_default="permutation",
    help="What an alignment may change: order of units, scale of rectifiers, inside of heads; repeatable.",
)
seed = click.option(
    "--seed", type=click.IntRange(0, 2**32 - 1), default=0, help="Seed of everything that is random."
)
batch_size = click.option(
    "--batch-size",
    type=click.IntRange(min=1),
    show_default="the problem's own, at most 2048",
    help="Examples evaluated at once; no result depends on it.",
)


def split_from(default: str) -> Callable[[F], F]:
    """Return the option ``--split`` with a default."""
    return click.option(
        "--split",
        type=click.Choice(["train", "validation", "test"]),
        default=default,
        help="The data that the headline numbers are for.",
    )


split = split_from("train")
device = click.option(
    "--device", type=click.Choice(["auto", "cpu", "gpu"]), default="auto", help="Where to compute."
)
dtype = click.option(
    "--dtype",
    type=click.Choice(["float32", "float64"]),
    default="float32",
    help="Precision of the computation on the device.",
)
problem = click.option(
    "--problem",
    metavar="MODULE:NAME",
    show_default="the task that the checkpoint names",
    help="A landscape.Problem, or a function that returns one: package.module:name or file.py:name.",
)
trained_problem = click.option(
    "--problem",
    metavar="MODULE:FUNCTION",
    show_default="the task that the configuration names",
    help="A function that returns (landscape.Problem, init) with init(seed) -> params: "
    "package.module:function or file.py:function.",
)
allow_code = click.option(
    "--allow-code",
    metavar="FILE.py:FUNCTION",
    multiple=True,
    show_default="none",
    help="A function that may be run as a pruning score; one that only the configuration or the run names is "
    "refused. Repeatable.",
)
mask = click.option(
    "--mask/--no-mask",
    default=True,
    help="Measure a pruned network within its mask: only the weights that are left are free.",
)
where = click.option(
    "--where",
    multiple=True,
    metavar="PATTERN",
    show_default="all layers",
    help="Layers to measure, by tree path ('Dense_0/*'); repeatable.",
)
examples = click.option(
    "--examples",
    type=click.IntRange(min=1),
    show_default="all of the split",
    help="Use only this number of examples, from the first on.",
)
allow_nonfinite = click.option(
    "--allow-nonfinite", is_flag=True, help="Compute with NaN or infinite weights (exit status 4)."
)
step = click.option(
    "--step",
    type=click.IntRange(min=0),
    default=None,
    show_default="the only one",
    help="The step in the folder of an Orbax CheckpointManager.",
)
force = click.option("--force", is_flag=True, help="Replace outputs that exist.")
resume = click.option("--resume", is_flag=True, help="Resume the run in the folder, or extend it.")
dry_run = click.option(
    "--dry-run", is_flag=True, help="Say what would be done and what it takes; do nothing."
)
SET_HELP = "Change one key of the configuration; repeatable."
set_values = click.option(
    "--set",
    "overrides",
    metavar="KEY=VALUE",
    multiple=True,
    show_default="nothing changed",
    help=SET_HELP,
)
plotlyjs = click.option(
    "--plotlyjs",
    type=click.Choice(["embed", "cdn", "directory"]),
    default="embed",
    help="Put plotly.js into the page, load it from the network, or keep it beside the page.",
)


def config(text: str) -> Callable[[F], F]:
    """Return the option ``--config``, explained by `text`."""
    return click.option("--config", "config_file", type=FilePath(), show_default="none", help=text)


def output_folder(default: str | None, shown: str) -> Callable[[F], F]:
    """Return ``-o/--output`` for a folder."""
    return click.option(
        "-o",
        "--output",
        type=FilePath(),
        default=default,
        show_default=shown,
        metavar="FOLDER",
        help="Folder to write to.",
    )


output_files = click.option(
    "-o",
    "--output",
    "outputs",
    type=FilePath(),
    multiple=True,
    show_default="nothing is written",
    help="Write .html (a page), .h5 (the result), .json or a picture (.png, .svg, .pdf); repeatable.",
)

names = click.option(
    "--names",
    "labels",
    multiple=True,
    metavar="NAME",
    show_default="the files, by what tells them apart",
    help="What a network is called on pages and pictures; repeatable, in the order of the files.",
)
title = click.option(
    "--title", metavar="TEXT", show_default="by the kind", help="Title of the page or picture."
)


def checkpoints(metavar: str) -> Callable[[F], F]:
    """Return the argument for checkpoint files, shown as `metavar`."""
    return click.argument("checkpoints", nargs=-1, type=FilePath(), metavar=metavar)


# The groups of an analysis: which part of the network, how the loss is evaluated, what becomes of the result.
subspace = group(mask, where, examples)
fitted = group(step, split, seed, batch_size, dtype, problem)
evaluation = group(step, split, seed, batch_size, dtype, problem, allow_nonfinite)
labels = group(names, title)
results = group(
    config("A stored result (.h5): the options and files not given here are taken from it."),
    output_files,
    labels,
    plotlyjs,
    device,
    force,
    dry_run,
)
# The groups of a training command: where the run is, and how it goes on.
training = group(set_values, trained_problem, allow_code, resume, dry_run, device)
