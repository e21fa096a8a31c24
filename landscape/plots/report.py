"""The page of a result, or of several: drawn from what is stored, nothing is computed again."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from landscape.errors import InputError
from landscape.plots import figure_of
from landscape.plots.names import WIDTH, names_of, renamed, short_names
from landscape.plots.page import Page

__all__ = ["page_of", "report_page"]

# What a kind adds to a page of its own; the others are their figure and their printed lines.
_PARTS = {
    "aligned": ("landscape.plots.connectivity.alignment", "add_aligned"),
    "barrier": ("landscape.plots.connectivity.alignment_before", "add_aligned_barrier"),
    "barrier_matrix": ("landscape.plots.connectivity.alignment_before", "add_aligned_matrix"),
    "connecting_curve": ("landscape.plots.connectivity.curve", "add_curve"),
    "curvature": ("landscape.plots.curvature.page", "add_curvature"),
    "loss_line": ("landscape.plots.surfaces.page", "add_line"),
    "rollout": ("landscape.plots.rollouts.page", "add_rollout"),
    "scale_curvature": ("landscape.plots.curvature.page", "add_scale_curvature"),
    "surface": ("landscape.plots.surfaces.page", "add_surface"),
    "trajectory": ("landscape.plots.surfaces.page", "add_trajectory"),
}


def page_of(result: Any, *, names: Sequence[str] | None = None, title: str | None = None) -> Page:
    """Return the page of one result: its figures, its numbers, where they come from.

    Parameters
    ----------
    result : Result
        Of any kind that has a figure.
    names : sequence of str, optional
        What to call its networks, in their order; a table says which file each one is.
    title : str, optional
        Heading of the page.

    Raises
    ------
    InputError
        If there is no figure for its kind, or `names` are not one per network.
    """
    files = names_of(result)
    if names is not None:
        result = renamed(result, names)
    if result.kind == "flatness":
        from landscape.plots.flatness.page import flatness_page

        page = flatness_page(result)
    else:
        page = Page(title_of(result), subtitle=_subtitle(result))
        _add(page, result)
        page.provenance({"status": result.status, **result.provenance})
    page.title = title or page.title
    if files and (names is not None or getattr(result, "endpoints", None)):
        page.table(("network", "file"), _files(result, files), "The networks", "networks")
    return page


def _files(result: Any, files: Sequence[str]) -> list[tuple[str, str]]:
    """Return the short name of each network with the whole name of its file."""
    return list(zip(short_names(names_of(result)), files, strict=True))


def report_page(
    results: Mapping[str, Any], *, names: Sequence[str] | None = None, title: str | None = None
) -> Page:
    """Return one page of several results, one section per result.

    Parameters
    ----------
    results : mapping of str to Result
        By what to call them.
    names : sequence of str, optional
        As in `page_of`; of a single result only.
    title : str, optional
        Heading of the page.

    Raises
    ------
    InputError
        If there are none, or there is no figure for one's kind.
    """
    if not results:
        raise InputError("report: no results", expected="at least one result")
    if len(results) == 1:
        return page_of(*results.values(), names=names, title=title)
    if names is not None:
        raise InputError(
            "report: names for the networks of several results",
            expected="one result",
            got=f"{len(results)} results",
        )
    page = Page(title or "Report", f"{len(results)} results")
    for name, result in results.items():
        page.section(f"{title_of(result)}: {Path(name).name}")
        if subtitle := _subtitle(result):
            page.text(subtitle, plain=True)
        if not result.trustworthy:
            page.warning(f"status: {result.status}")
        _add(page, result)
        page.provenance({name: {"status": result.status, **result.provenance}})
    return page


def title_of(result: Any) -> str:
    """Return the heading of a result."""
    return str(result.kind).replace("_", " ").capitalize()


def _subtitle(result: Any) -> str:
    return " and ".join(short_names(_networks(result), 2 * WIDTH))


def _networks(result: Any) -> Sequence[str]:
    """Return the names of the networks of a result, where they are few."""
    names = names_of(result)
    return names if len(names) <= 2 else [f"{len(names)} networks"]


def together(warnings: Sequence[str], names: Sequence[str]) -> list[str]:
    """Return warnings with those that say the same of several networks as one, which names them."""
    said: dict[str, list[str]] = {}
    for warning in warnings:
        name = next((name for name in names if warning.startswith(f"{name}: ")), "")
        said.setdefault(warning.removeprefix(f"{name}: ") if name else warning, []).append(name)
    short = dict(zip(names, short_names(names), strict=True))
    told = []
    for text, whose in said.items():
        of = [name for name in whose if name]
        if len(of) > 1:
            told.append(f"{len(of)} networks: {text} ({', '.join(short[name] for name in of)})")
        else:
            told.append(f"{of[0]}: {text}" if of else text)
    return told


def _add(page: Page, result: Any) -> None:
    for warning in together(result.warnings, names_of(result)):
        page.warning(warning)
    if result.kind in _PARTS:
        module, function = _PARTS[result.kind]
        getattr(importlib.import_module(module), function)(page, result)
        return
    page.figure(figure_of(result), "", result.kind)
    page.table(("quantity", "value"), result.printed(), "Numbers", "numbers")
