"""``landscape report``: stored results in, their page out; nothing is computed again."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cli.shared import option, writing
from cli.shared.frame import Outcome, Session
from cli.shared.text import table
from landscape.errors import ConfigurationError

if TYPE_CHECKING:
    from landscape.results import Result

# What stores a result of each kind: a command, or a function that a Python program calls.
WRITERS = {
    "barrier": "landscape barrier A B",
    "barrier_matrix": "landscape barrier A B C …, or of a run",
    "connecting_curve": "landscape connect",
    "curvature": "landscape curvature",
    "scale_curvature": "landscape curvature --scale",
    "flatness": "landscape flatness",
    "surface": "landscape surface",
    "loss_line": "landscape surface --line",
    "trajectory": "landscape surface --trajectory",
    "rollout": "landscape rollout",
    "aligned": "Python: landscape.align",
    "alignment": "Python: landscape.gradient_alignment",
    "diagonal": "Python: landscape.diagonal",
    "eigenpairs": "Python: landscape.top_eigenpairs",
    "flatness_measure": "Python: a measure, such as landscape.sam_sharpness",
    "frobenius_norm": "Python: landscape.frobenius_norm",
    "smoothed_diagonal": "Python: landscape.smoothed_diagonal",
    "smoothed_gradient": "Python: landscape.smoothed_gradient",
    "smoothed_trace": "Python: landscape.smoothed_trace",
    "spectral_density": "Python: landscape.spectral_density",
    "trace": "Python: landscape.trace",
}


@option.command(
    "report",
    examples=(
        "landscape report curvature.h5 -o curvature.html",
        "landscape report barrier.h5 curvature.h5 flatness.h5 -o page.html --force",
        "landscape report barrier.h5 -o barrier.svg",
    ),
    sections=lambda: {"Kinds of results, and what stores them": _kinds()},
)
@click.argument("results", nargs=-1, required=True, type=option.FilePath(), metavar="RESULT...")
@click.option(
    "-o",
    "--output",
    "output",
    type=option.FilePath(),
    required=True,
    metavar="FILE",
    help="The page (.html; its tables lie beside it as CSV), or a picture of one result (.png, .svg, .pdf).",
)
@option.labels
@option.plotlyjs
@option.force
def command(_: Session, *, results: tuple[Path, ...], output: Path, **options: Any) -> Outcome:
    """Draw stored results (.h5) again as one HTML page, or one of them as a picture.

    The numbers are those of the files; to measure again, give a result to its command as --config. A
    result that is not trustworthy says so on the page. Pictures need kaleido and a browser:
    pip install kaleido.
    """
    _check_form(output, results)
    writing.check([output], force=options["force"], inputs=results)
    writing.check_labels([output], options["labels"], options["title"])
    from landscape import load_result

    loaded = {str(path): load_result(path) for path in results}
    files = _drawn(loaded, output, options)
    rows = [(name, result.kind, result.status) for name, result in loaded.items()]
    return Outcome(
        text=table(("result", "kind", "status"), rows),
        data={"results": [dict(zip(("path", "kind", "status"), row, strict=True)) for row in rows]},
        warnings=[f"{name}: {text}" for name, result in loaded.items() for text in result.warnings],
        outputs=files,
    )


def _kinds() -> list[tuple[str, str]]:
    """Return the kinds of results that are drawn, each with what stores it."""
    return list(WRITERS.items())


def _check_form(output: Path, results: tuple[Path, ...]) -> None:
    """Refuse a suffix that says neither page nor picture, and a picture of several results."""
    forms = (".html", *writing.IMAGES)
    if output.suffix not in forms:
        raise ConfigurationError(
            f"-o {output}: a report is a page or a picture",
            expected=" or ".join(forms),
            got=repr(output.suffix),
        )
    if output.suffix != ".html" and len(results) > 1:
        raise ConfigurationError(
            f"-o {output}: a picture shows one result",
            expected="one RESULT",
            got=f"{len(results)}",
            hint=f"Draw them one by one, or all as a page: -o {output.with_suffix('.html')}",
        )


def _drawn(loaded: dict[str, Result], output: Path, options: dict[str, Any]) -> list[Path]:
    """Write the page or the picture; return every file written."""
    if output.suffix == ".html":
        from landscape.plots import report_page

        page = report_page(loaded, names=options["labels"] or None, title=options["title"])
        return page.write(output, plotlyjs=options["plotlyjs"], force=options["force"])
    (result,) = loaded.values()
    return writing.write_result(result, output, **options)
