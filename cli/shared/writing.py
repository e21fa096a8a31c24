"""Output files: looked at before anything is computed, written atomically afterwards."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import secrets
import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from landscape.errors import ConfigurationError, InputError, MissingDependencyError, OutputExistsError

if TYPE_CHECKING:
    from landscape.results import Result

IMAGES = (".png", ".svg", ".pdf")
SUFFIXES = (".html", ".h5", ".json", ".csv", *IMAGES)


def check(outputs: Sequence[Path], *, force: bool, inputs: Iterable[Path] = ()) -> None:
    """Refuse outputs that could not be written, before the computation.

    Raises
    ------
    ConfigurationError
        If a suffix is unknown, or an output is also an input or given twice.
    OutputExistsError
        If a file is there and `force` is false.
    InputError
        If its folder is missing.
    MissingDependencyError
        If it is a picture and the package that draws them is not installed.
    """
    seen = {os.path.realpath(path): path for path in inputs}
    for path in outputs:
        if path.suffix not in SUFFIXES:
            raise ConfigurationError(
                f"-o {path}: the suffix says what to write",
                expected=" or ".join(SUFFIXES),
                got=repr(path.suffix),
                hint=f"For instance -o {path.with_suffix('.html') if path.name else 'result.html'}",
            )
        real = os.path.realpath(path)  # unlike Path.resolve, it never raises
        if real in seen:
            raise ConfigurationError(
                f"-o {path}: the same file as {seen[real]}",
                expected="a name of its own for every output",
                hint="Choose another name.",
            )
        seen[real] = path
        _check_place(path, force)


def _check_place(path: Path, force: bool) -> None:
    if not path.parent.is_dir():
        raise InputError(
            f"-o {path}: there is no folder {path.parent}",
            hint=f"Make it first: mkdir -p {shlex.quote(str(path.parent))}",
        )
    if path.is_dir():
        raise InputError(f"-o {path}: is a folder", hint="Name a file in it.")
    tables = [path.with_name(f"{path.stem}-data")] if path.suffix == ".html" else []
    for target in (path, *tables):
        if target.exists() and not force:
            raise OutputExistsError(
                f"-o {path}: {target} already exists",
                expected="a name that is free",
                hint="Give --force to replace it.",
            )
    if path.suffix in IMAGES and importlib.util.find_spec("kaleido") is None:
        raise MissingDependencyError(
            "pictures need kaleido, which is not installed", hint="pip install kaleido"
        )


def write_result(
    result: Result,
    path: Path,
    *,
    plotlyjs: str,
    force: bool,
    labels: Sequence[str] = (),
    title: str | None = None,
) -> list[Path]:
    """Write a result in the form that the suffix of `path` names; return every file written.

    Names of files in it are relative to the folder of `path`. `labels` and `title` are of pages and pictures:
    what is read again keeps the names of the files.
    """
    result = result.relative_to(path.parent)
    if path.suffix == ".html":
        return write_page(result, path, plotlyjs=plotlyjs, force=force, labels=labels, title=title)
    if path.suffix == ".h5":
        result.save(path, force=force)
    elif path.suffix == ".json":
        write_text(path, result.to_json(indent=1) + "\n", force=force)
    elif path.suffix == ".csv":
        from landscape.plots import write_csv

        write_csv(result, path, force=force)
    else:
        from landscape.plots import figure_of, renamed, write_image

        write_image(figure_of(renamed(result, labels) if labels else result), path, force=force, title=title)
    return [path]


def write_page(
    result: Result,
    path: Path,
    *,
    plotlyjs: str,
    force: bool,
    labels: Sequence[str] = (),
    title: str | None = None,
) -> list[Path]:
    """Write the page of one result: its figure, its numbers, where they come from."""
    from landscape.plots import page_of

    return page_of(result, names=labels or None, title=title).write(path, plotlyjs=plotlyjs, force=force)


def check_labels(outputs: Sequence[Path], labels: Sequence[str], title: str | None) -> None:
    """Refuse names and titles that no output shows, and two networks of one name.

    Raises
    ------
    ConfigurationError
        With the output to add.
    """
    if not labels and title is None:
        return
    if not any(path.suffix in (".html", *IMAGES) for path in outputs):
        raise ConfigurationError(
            "--names" if labels else "--title",
            expected=f"an output that shows it: {', '.join(('.html', *IMAGES))}",
            got=", ".join(map(str, outputs)) or "no output",
            hint="Add, for instance, -o result.html",
        )
    if len(set(labels)) < len(labels):
        raise ConfigurationError("--names", expected="different names", got=", ".join(labels))


def write_text(path: Path, text: str, *, force: bool) -> None:
    """Write a text file: the old one or the whole new one is there, never a part.

    Raises
    ------
    OutputExistsError
        If it came into being meanwhile and `force` is false.
    OSError
        With the name of the file, if the disk is full or the folder may not be written to.
    """
    if path.exists() and not force:
        raise OutputExistsError(
            f"-o {path}: already exists",
            expected="a name that is free",
            hint="Give --force to replace it.",
        )
    temporary = path.with_name(f".{os.getpid()}-{secrets.token_hex(4)}.partial")
    try:
        with temporary.open("x", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    except OSError as error:
        # what is written to an open file fails without a name, and then it is not known to be an output
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()
