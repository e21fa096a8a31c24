"""``landscape report``: stored results in, their page out; nothing is computed again."""

from __future__ import annotations

from pathlib import Path

import click

from cli.shared import option, writing
from cli.shared.frame import Outcome, Session
from cli.shared.text import table
from landscape.errors import ConfigurationError


@option.command(
    "report",
    examples=(
        "landscape report curvature.h5 -o curvature.html",
        "landscape report barrier.h5 curvature.h5 flatness.h5 -o page.html --force",
    ),
)
@click.argument("results", nargs=-1, required=True, type=option.FilePath(), metavar="RESULT...")
@click.option(
    "-o",
    "--output",
    "output",
    type=option.FilePath(),
    required=True,
    metavar="PAGE.html",
    help="The page to write; its tables lie beside it as CSV.",
)
@option.plotlyjs
@option.force
def command(_: Session, *, results: tuple[Path, ...], output: Path, plotlyjs: str, force: bool) -> Outcome:
    """Draw stored results (.h5) again as one HTML page.

    The numbers are those of the files; to measure again, give a result to its command as --config. A
    result that is not trustworthy says so on the page.
    """
    if output.suffix != ".html":
        raise ConfigurationError(
            f"-o {output}: a report is a page", expected=".html", got=repr(output.suffix)
        )
    writing.check([output], force=force, inputs=results)
    from landscape import load_result
    from landscape.plots import report_page

    loaded = {str(path): load_result(path) for path in results}
    files = report_page(loaded).write(output, plotlyjs=plotlyjs, force=force)
    rows = [(name, result.kind, result.status) for name, result in loaded.items()]
    return Outcome(
        text=table(("result", "kind", "status"), rows),
        data={"results": [dict(zip(("path", "kind", "status"), row, strict=True)) for row in rows]},
        warnings=[f"{name}: {text}" for name, result in loaded.items() for text in result.warnings],
        outputs=files,
    )
