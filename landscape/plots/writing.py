"""Figures and pages as files: HTML with its numbers beside it, and still pictures."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from landscape.errors import InputError, MissingDependencyError
from landscape.plots import files
from landscape.plots.page import Page
from landscape.plots.points import COLUMNS, points_of
from landscape.plots.tables import csv_text
from landscape.plots.text import label

if TYPE_CHECKING:
    import plotly.graph_objects as go

__all__ = ["write_csv", "write_html", "write_image"]


def write_html(
    figure: go.Figure | Page,
    path: str | Path,
    *,
    plotlyjs: str = "embed",
    force: bool = False,
    title: str | None = None,
) -> list[Path]:
    """Write a figure or a page as HTML, with its numbers as CSV in a folder beside it.

    Parameters
    ----------
    figure : plotly Figure or Page
        A figure becomes a page of its own.
    path : path
        The page.
    plotlyjs : {"embed", "cdn", "directory"}
        As in `Page.write`.
    force : bool
        Whether files that are there may be replaced.
    title : str, optional
        Heading of the page of a figure; the default is the title of the figure.

    Returns
    -------
    list of Path
        Every file written; the page comes first.

    Raises
    ------
    OutputExistsError
        If a file is there and `force` is false; nothing is written then.
    """
    if isinstance(figure, Page):
        return figure.write(path, plotlyjs=plotlyjs, force=force)
    meta = figure.layout.meta
    own = meta.get("title") if isinstance(meta, dict) else None
    page = Page(title or own or Path(path).stem)
    name = Path(path).stem
    if title is None and own is not None:
        figure = type(figure)(figure)
        figure.update_layout(meta={"title": ""})
    return page.figure(figure, "", name).write(path, plotlyjs=plotlyjs, force=force)


def write_csv(result: Any, path: str | Path, *, force: bool = False) -> Path:
    """Write a result as CSV, one row per point; `landscape.plots.points.COLUMNS` says what the columns hold.

    Raises
    ------
    OutputExistsError
        If the file is there and `force` is false.
    InputError
        If it cannot be written.
    """
    path = Path(path).expanduser()
    files.check_targets([path], force=force)
    rows = [list(row.values()) for row in points_of(result)]
    return files.write_text(path, csv_text(list(COLUMNS), rows))


def write_image(
    figure: go.Figure,
    path: str | Path,
    *,
    force: bool = False,
    scale: float = 2.0,
    title: str | None = None,
) -> Path:
    """Write a figure as a still picture: PNG, SVG, PDF, JPEG or WebP by the suffix of `path`.

    Parameters
    ----------
    figure : plotly Figure
        Left as it is.
    path : path
        The picture.
    force : bool
        Whether a file that is there may be replaced.
    scale : float
        Pixels of a PNG, JPEG or WebP per pixel of the figure.
    title : str, optional
        Plain text; the default is the title of the figure.

    Raises
    ------
    MissingDependencyError
        If kaleido or a browser for it is missing.
    OutputExistsError
        If the file is there and `force` is false.
    InputError
        If the picture cannot be made or written.
    """
    path = Path(path).expanduser()
    files.check_targets([path], force=force)
    kind = path.suffix.lower().lstrip(".")
    if kind not in _IMAGES:
        raise InputError(
            f"{path}: unknown kind of picture", expected=", ".join(f".{name}" for name in _IMAGES)
        )
    if title is not None:
        figure = type(figure)(figure)
        figure.update_layout(title_text=label(title))
    return files.write_bytes(path, _image(figure, kind, scale))


_IMAGES = ("png", "svg", "pdf", "jpg", "jpeg", "webp")


def _image(figure: go.Figure, kind: str, scale: float) -> bytes:
    try:
        importlib.import_module("kaleido")
    except ImportError as error:
        raise MissingDependencyError(
            "pictures need kaleido, which is not installed", hint="pip install kaleido"
        ) from error
    try:
        width = figure.layout.width or 900
        return bytes(figure.to_image(format=kind, width=width, height=figure.layout.height, scale=scale))
    except Exception as error:  # kaleido's errors have no base class of their own
        raise _explained(error) from error


def _explained(error: Exception) -> InputError:
    reason = f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else ''}"
    if "chrome" in f"{type(error).__name__} {error}".lower():
        return MissingDependencyError(
            "pictures need Chrome or Chromium, and none was found or it did not start",
            got=reason,
            hint="Install a browser (or run plotly_get_chrome) beside: pip install kaleido",
        )
    return InputError("the picture could not be made", got=reason, hint="Write HTML instead.")
